"""Where geometry comes from: the dataset, camera files of any format, or a network behind the same contract."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.doubles import SCALE, NetworkGeometry
from support.walks import INTRINSICS, Walk, Wander

from smx import plugins, sampleset
from smx.datasets._posed import PosedScene, digest
from smx.datasets._prefetch import DecodedOnce, ahead
from smx.errors import SceneError, UserError
from smx.geometry.cameras import centres, inverse, reprojection_error
from smx.geometry.source import SourceOf
from smx.geometry.view import GeometryOptions, SceneView
from smx.geometry.voxels import select_by_coverage
from smx.node import geometry as node_geometry
from smx.node.sampling import make_sample
from smx.resolve import Resolver
from smx.rooms import named_scene
from smx.workspace import Workspace

# --- camera files, written here the way other tools write them


def tum(folder: Path, scene: Walk, c2w: np.ndarray) -> None:
    lines = []
    for time, pose in zip(scene.timestamps(), c2w, strict=True):
        q = quaternion(pose[:3, :3])
        lines.append(" ".join(f"{x:.9f}" for x in [time, *pose[:3, 3], *q]))
    (folder / "trajectory.txt").write_text("# ts tx ty tz qx qy qz qw\n" + "\n".join(lines))
    intrinsics(folder)


def open3d(folder: Path, scene: Walk, c2w: np.ndarray) -> None:
    rows = ["\n".join(" ".join(f"{x:.9f}" for x in row) for row in pose) for pose in c2w]
    (folder / "trajectory.log").write_text("\n".join(f"{i} {i} {i + 1}\n{row}" for i, row in enumerate(rows)))
    intrinsics(folder)


def colmap(folder: Path, scene: Walk, c2w: np.ndarray) -> None:
    fx, cx, cy = INTRINSICS[0, 0], INTRINSICS[0, 2] + 0.5, INTRINSICS[1, 2] + 0.5
    (folder / "cameras.txt").write_text(f"1 PINHOLE {scene.width} {scene.height} {fx} {fx} {cx} {cy}\n")
    lines = []
    for at, pose in enumerate(inverse(c2w)):
        x, y, z, w = quaternion(pose[:3, :3])
        where = " ".join(f"{v:.9f}" for v in [w, x, y, z, *pose[:3, 3]])
        lines.append(f"{at + 1} {where} 1 frame_{scene.frame_ids[at]:06d}.png\n0 0 -1\n")
    (folder / "images.txt").write_text("".join(reversed(lines)))


def nerfstudio(folder: Path, scene: Walk, c2w: np.ndarray) -> None:
    frames = [
        {"file_path": f"images/frame_{i:06d}.png", "transform_matrix": (pose @ np.diag([1.0, -1, -1, 1])).tolist()}
        for i, pose in zip(scene.frame_ids, c2w, strict=True)
    ]
    camera = {"fl_x": INTRINSICS[0, 0], "fl_y": INTRINSICS[1, 1], "w": scene.width, "h": scene.height}
    camera |= {"cx": INTRINSICS[0, 2] + 0.5, "cy": INTRINSICS[1, 2] + 0.5}
    (folder / "transforms.json").write_text(json.dumps({**camera, "frames": frames}))


def posetxt(folder: Path, scene: Walk, c2w: np.ndarray) -> None:
    for i, pose in zip(scene.frame_ids, c2w, strict=True):
        (folder / f"frame-{i:06d}.pose.txt").write_text("\n".join(" ".join(map(str, row)) for row in pose))
    intrinsics(folder)


def cameras_json(folder: Path, scene: Walk, c2w: np.ndarray) -> None:
    data = {"w2c": inverse(c2w).tolist(), "K": INTRINSICS.tolist(), "frame_ids": scene.frame_ids.tolist()}
    (folder / "cameras.json").write_text(json.dumps(data))


WRITERS = [tum, open3d, colmap, nerfstudio, posetxt, cameras_json]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_cameras_of_every_format_are_the_scenes_own(
    write: Callable[[Path, Walk, np.ndarray], None], tmp_path: Path
) -> None:
    """Lost otherwise: poses of SLAM or of another tool turn the room inside out."""
    scene = Wander(24, 3, step=5)
    folder = tmp_path / scene.id
    folder.mkdir(parents=True)
    write(folder, scene, truth(scene))
    posed = PosedScene(Bare(24, 3, step=5), tmp_path, "auto", True)
    assert posed.record["cameras"]["format"] == write.__name__
    found = posed.cameras(scene.frame_ids.tolist())
    np.testing.assert_allclose(found.w2c, inverse(truth(scene)), atol=1e-6)
    np.testing.assert_allclose(found.K, np.tile(INTRINSICS, (24, 1, 1)), atol=1e-6)
    i, j = 3, 4
    first, second = (posed.depth(int(scene.frame_ids[at])) for at in (i, j))
    assert first is not None
    assert second is not None
    assert reprojection_error(*first, found.w2c[i], *second, found.w2c[j]).median < 0.05


def test_frames_that_slam_lost_have_no_camera_and_are_not_chosen(tmp_path: Path) -> None:
    """Lost otherwise: a tracker that lost ten frames makes the whole scene useless, or shifts every later pose."""
    scene = Wander(40, 8)
    folder = tmp_path / scene.id
    folder.mkdir(parents=True)
    kept = [i for i in range(40) if not 10 <= i < 20]
    data = {"w2c": inverse(truth(scene)[kept]).tolist(), "K": INTRINSICS.tolist(), "frame_ids": kept}
    (folder / "cameras.json").write_text(json.dumps(data))
    posed = PosedScene(Bare(40, 8), tmp_path, "auto", None)
    assert np.isnan(posed.cameras([10, 19]).w2c).all()
    np.testing.assert_allclose(posed.cameras([20]).w2c, inverse(truth(scene)[[20]]))
    view = SceneView(posed, GeometryOptions())
    for name in ("sa", "fps", "efficient", "tma_sa"):
        assert not {*range(10, 20)} & set(plugins.load("samplers", name)().choose(view, 8, 0).ids)


def test_a_column_of_frame_numbers_is_no_column_of_seconds(tmp_path: Path) -> None:
    """Lost otherwise: SLAM that numbers its lines 0, 1, 2 … gives the first second's frames poses of the whole clip."""
    scene = Wander(90, 2)
    (tmp_path / "wander").mkdir()
    lines = [
        " ".join(f"{x:.9f}" for x in [float(i), *pose[:3, 3], *quaternion(pose[:3, :3])])
        for i, pose in enumerate(truth(scene))
    ]
    (tmp_path / f"{scene.id}.txt").write_text("\n".join(lines))
    posed = PosedScene(Wander(90, 2), tmp_path, "auto", None)
    assert posed.record["cameras"]["matched_by"] == "number"
    np.testing.assert_allclose(posed.cameras(range(90)).w2c, inverse(truth(scene)), atol=1e-6)


def test_poses_without_scale_do_not_lift_depth_in_metres(tmp_path: Path) -> None:
    """Lost otherwise: COLMAP's arbitrary unit and depth in metres make point clouds that look right and are not."""
    scene = Wander(24, 3)
    folder = tmp_path / scene.id
    folder.mkdir(parents=True)
    colmap(folder, scene, truth(scene))
    posed = PosedScene(Bare(24, 3), tmp_path, "auto", None)
    with pytest.raises(SceneError, match=r"no scale.*geometry\.metric=true"):
        SceneView(posed, GeometryOptions()).voxels([0])
    assert len(plugins.load("samplers", "fps")().choose(SceneView(posed, GeometryOptions()), 8, 0).ids) == 8


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "nothing of this scene": ({"other.txt": "0 0 0 0 0 0 0 1"}, "no poses of scene 'wander/24-3'.*SCENE.txt"),
    "cameras of other frames": (
        {"wander/24-3.log": "99 99 100\n" + "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"},
        "its headers name frames 99 to 99",
    ),
    "inf in a pose": ({"wander/24-3.txt": "0 inf 0 0 0 0 0 1"}, "24-3.txt"),
    "broken line": ({"wander/24-3.txt": "0 0 0"}, "24-3.txt:1: expected 8 numbers"),
    "no matrix": ({"wander/24-3.json": '{"w2c": [], "K": [[1]]}'}, "24-3.json"),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_wrong_camera_files_are_named_with_the_scene(case: str, tmp_path: Path) -> None:
    """Lost otherwise: a scene fails and nobody knows which file to mend."""
    files, message = WRONG[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(SceneError, match=message):
        PosedScene(Wander(24, 3), tmp_path, "auto", None)


def test_other_contents_are_another_digest_and_nothing_is_an_error(tmp_path: Path) -> None:
    """Lost otherwise: samples of two SLAM systems lie under one name."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("1")
    first = digest(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest(tmp_path / "b") == first
    (tmp_path / "b" / "x.txt").write_text("2")
    assert digest(tmp_path / "b") != first
    for wrong in (tmp_path / "gone", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=r"no camera file|nothing at"):
            digest(wrong)


def test_an_eval_on_camera_files_has_them_made_into_samples_first(tmp_path: Path) -> None:
    """Lost otherwise: eval evaluates frames chosen by the dataset's cameras under the name of SLAM's."""
    rooms = {"scenes": 2, "train_scenes": 2, "frames": 24}
    for name in ("test-000", "test-001"):
        (tmp_path / "slam").mkdir(exist_ok=True)
        room = named_scene(name, frames=24, width=320, height=240)
        data = {"w2c": room.w2c.tolist(), "K": room.K.tolist(), "width": 320, "height": 240}
        (tmp_path / "slam" / f"{name}.json").write_text(json.dumps(data))
    asked = {"model": "tiny", "bench": "rooms", "sampler": "fps", "frames": 8, "bench_options": rooms}
    resolver = Resolver(Workspace(tmp_path, "--workspace"))
    usual, posed = (resolver.eval({**asked, **more}) for more in ({}, {"poses": tmp_path / "slam"}))
    assert posed[0].kind == "gen"
    assert posed[0].paths["poses"] == str(tmp_path / "slam")
    assert posed[0].spec.model_dump()["geometry"]["content"] == digest(tmp_path / "slam")
    assert posed[1].needs == (posed[0].fingerprint,)
    assert not {cell.fingerprint for cell in usual} & {cell.fingerprint for cell in posed}
    with pytest.raises(UserError, match=r"cameras of one scene, and 2 scenes"):
        resolver.eval({**asked, "poses": tmp_path / "slam" / "test-000.json"})
    with pytest.raises(UserError, match=r"geometry\.source is 'dataset'"):
        resolver.eval({**asked, "poses": tmp_path / "slam", "geometry": {"source": "dataset"}})


# --- a network


@pytest.mark.parametrize("name", plugins.names("samplers"))
def test_a_network_with_the_datasets_geometry_chooses_what_the_dataset_does(name: str) -> None:
    """Lost otherwise: samplers depend on the unit or the world frame of whoever made the geometry.

    (Where `efficient` lays its cells and where voxels are cut depends on the world's axes: those may differ.)
    """
    scene = Wander(60, 4)
    sampler = plugins.load("samplers", name)()
    options = GeometryOptions(candidates=20)
    view = SceneView(scene, options)
    network = NetworkGeometry(scene, view.candidates)
    theirs = sampler.choose(SceneView(scene, options, network), 8, 0)
    assert len(theirs.ids) == 8
    if not sampler.needs - {"cameras"} and name != "efficient":
        assert theirs.ids == sampler.choose(view, 8, 0).ids


def test_points_count_from_the_median_confidence_on_as_in_the_reference() -> None:
    """Lost otherwise: `sa` on VGGT's points is not the published sampler."""
    scene = Wander(40, 6)
    view = SceneView(scene, GeometryOptions())
    network = NetworkGeometry(scene, view.candidates, unsure=1.5)
    maps = [network.point_map(i) for i in range(40)]
    points, confidence = (np.stack([getattr(m, part) for m in maps]) for part in ("points", "confidence"))
    expected = select_by_coverage(points, confidence, 8)
    theirs = SceneView(scene, GeometryOptions(), network)
    chosen = plugins.load("samplers", "sa")().choose(theirs, 8, 0)
    assert [i for i, fill in zip(chosen.ids, chosen.fill, strict=True) if not fill] == expected.selected
    assert float(theirs.grid().edge) == expected.voxel_size
    assert theirs.voxels(range(40)).counts.tolist() == expected.voxels_per_frame.tolist()
    assert set(network.forgotten) == set(range(40))


@pytest.fixture
def vggt(monkeypatch: pytest.MonkeyPatch) -> list[NetworkGeometry]:
    """`geometry.source: vggt`, served by the double; every one that was made."""
    made: list[NetworkGeometry] = []

    def maker(options: GeometryOptions, poses: Path | None) -> SourceOf:
        def make(scene: Any, candidates: np.ndarray) -> NetworkGeometry:
            made.append(NetworkGeometry(scene, candidates))
            return made[-1]

        return make

    monkeypatch.setitem(node_geometry.SOURCES, "vggt", maker)
    return made


def test_a_networks_geometry_is_computed_once_for_all_samplers_and_counts(
    vggt: list[NetworkGeometry], tmp_path: Path
) -> None:
    """Lost otherwise: seven samplers at three frame counts run VGGT 21 times over every scene."""
    options = GeometryOptions.parse({"source": "vggt", "candidates": 24}, "geometry")
    for name in ("sa", "tma_sa", "fps", "mergeaware_sa"):
        for n in (4, 8):
            write(tmp_path, Counting(60, 4), name, n, options)
    assert [len(network.decoded) for network in vggt] == [24] + [0] * 7


def test_a_frame_is_decoded_once_though_the_network_and_the_writer_want_it(
    vggt: list[NetworkGeometry], tmp_path: Path
) -> None:
    """Lost otherwise: the chosen frames of a long video are sought and decoded a second time."""
    scene = Counting(60, 4)
    sample = write(tmp_path, scene, "sa", 8, GeometryOptions.parse({"source": "vggt", "candidates": 24}, "geometry"))
    assert len(scene.decoded) == len(set(scene.decoded)) == 24
    assert set(sample.ids) <= set(scene.decoded)
    for i, pixels in zip(sample.ids, sample.frames(), strict=True):
        assert (pixels == i % 251).all()


def test_a_networks_sample_says_whose_cameras_these_are(vggt: list[NetworkGeometry], tmp_path: Path) -> None:
    """Lost otherwise: cameras in VGGT's unit are taken for metres, or for those of another checkpoint."""
    scene = Counting(60, 4)
    options = GeometryOptions.parse({"source": "vggt", "candidates": 24}, "geometry")
    write(tmp_path, scene, "sa", 4, options)
    sample = write(tmp_path, scene, "sa", 8, options)  # from the cache
    assert sample.record["geometry"]["checkpoint"] == "0" * 64
    assert sample.record["geometry"]["reference_frame"] == "camera of the first candidate"
    assert sample.record["geometry"]["source"] == "vggt"
    assert not sample.metric
    assert sample.w2c is not None
    assert sample.pose_enc is not None
    assert sample.pose_enc.shape == (8, 9)
    apart = np.linalg.norm(np.diff(centres(sample.w2c), axis=0), axis=1)
    own = scene.cameras(sample.ids)
    assert own is not None
    np.testing.assert_allclose(apart, SCALE * np.linalg.norm(np.diff(centres(own.w2c), axis=0), axis=1), atol=1e-9)


# --- decoding once, and ahead


def test_what_does_not_fit_is_decoded_again_and_nothing_is_lost() -> None:
    """Lost otherwise: 128 frames of 1920x1440 fill the memory of the node."""
    scene = Counting(30, 1)
    once = DecodedOnce(scene, keep=5 * 18 * 24 * 3)
    assert [i for i, _ in once.decode(range(10))] == list(range(10))
    assert [i for i, _ in once.take([1, 4, 7, 9, 12])] == [1, 4, 7, 9, 12]
    assert sorted(scene.decoded) == sorted([*range(10), 7, 9, 12])


def test_an_error_while_decoding_ahead_comes_at_its_frame() -> None:
    """Lost otherwise: a broken tail costs the frames before it, or is never heard of."""

    def frames() -> Iterator[tuple[int, np.ndarray]]:
        for i in range(3):
            yield i, np.zeros(1)
        raise SceneError("video.mp4: frame 3 is damaged")

    made = ahead(frames(), most=2)
    assert [next(made)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SceneError, match="frame 3"):
        next(made)


def test_who_stops_early_leaves_no_thread_behind() -> None:
    """Lost otherwise: every broken scene leaves a decoder that holds its video open."""
    ended = []

    def frames() -> Iterator[tuple[int, np.ndarray]]:
        try:
            for i in range(10**6):
                yield i, np.zeros(1)
        finally:
            ended.append(True)

    endless = ahead(made := frames(), most=2)
    assert next(endless)[0] == 0
    endless.close()  # type: ignore[attr-defined]
    made.close()  # type: ignore[attr-defined]  # not while it is running in another thread: that would raise
    assert ended == [True]


# --- helpers


class Bare(Wander):
    """The same walk with depth and without cameras or intrinsics of its own."""

    def cameras(self, ids: Sequence[int]) -> None:
        return None


class Counting(Wander):
    """Notes which frames were decoded."""

    def __init__(self, frames: int, seed: int) -> None:
        super().__init__(frames, seed)
        self.decoded: list[int] = []

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for frame_id, pixels in super().decode(ids):
            self.decoded.append(frame_id)
            yield frame_id, pixels


def write(place: Path, scene: Walk, name: str, n: int, options: GeometryOptions) -> sampleset.Sample:
    folder = place / name / str(n)
    make_sample(
        scene,
        sampler_name=name,
        sampler=plugins.load("samplers", name)(),
        n=n,
        seed=0,
        geometry=options,
        folder=folder,
        extra={},
        cache=place / "cache.npz",
        source_of=node_geometry.source_of(options, None),
    )
    return sampleset.read(folder)


def truth(scene: Walk) -> np.ndarray:
    return np.stack([scene.c2w(int(i)) for i in scene.frame_ids])


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """x y z w, by the eigenvector of Bar-Itzhack's matrix."""
    m = rotation
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    found: np.ndarray = np.linalg.eigh(k)[1][:, -1]
    return found


def intrinsics(folder: Path) -> None:
    (folder / "camera_intrinsic.json").write_text(json.dumps({"intrinsic_matrix": INTRINSICS.T.ravel().tolist()}))


@pytest.mark.parametrize(
    ("K", "words"),
    [
        ([[50.0, 0, 640], [0, 50, 24], [0, 0, 1]], "frame 7: the principal point cx 640 is outside the picture, 64"),
        ([[4000.0, 0, 31.5], [0, 4000, 23.5], [0, 0, 1]], r"frame 7: fx 4000 is a field of view of 0\.917° over 64"),
        ([[40.0, 0, 31.5], [0, 1, 23.5], [0, 0, 1]], r"frame 7: fy 1 is a field of view of 17\d° over 48"),
    ],
)
def test_intrinsics_of_another_picture_are_refused_by_name(K: list[list[float]], words: str) -> None:
    """Lost otherwise: K of the full-size picture beside a small one gives voxels, overlap and poses that are wrong."""
    from types import SimpleNamespace

    from smx.datasets import Cameras
    from smx.geometry.source import DepthSource

    good = [[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]]
    cameras = Cameras(np.tile(np.eye(4), (2, 1, 1)), np.array([good, K]))
    scene = SimpleNamespace(id="room", width=64, height=48, cameras=lambda ids: cameras)
    with pytest.raises(SceneError, match=f"scene 'room': intrinsics of {words}"):
        DepthSource(scene).cameras([3, 7])
