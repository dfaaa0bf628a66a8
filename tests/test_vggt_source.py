"""VGGT as the source of a scene's geometry: passes that fit memory, one world, cameras of the decoded frames."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from smx import sampleset
from smx.cli import run
from smx.errors import SceneError, UserError
from smx.geometry import pose_encoding
from smx.geometry.cameras import inverse
from smx.geometry.view import GeometryOptions
from smx.models._vggt.checkpoint import check
from smx.models._vggt.geometry_source import Network, VGGTSource, lift, prepare, resized

torch.set_num_threads(1)

FIELDS = np.array([0.9, 1.1])  # vertical, horizontal: of the picture as VGGT sees it


@pytest.fixture(scope="module")
def golden(fixtures: Path) -> Path:
    return fixtures / "golden/spatial_mllm_tiny"


class Clip:
    """A scene whose pixels say which frame they are of."""

    id = "clip"

    def __init__(self, frames: int, width: int = 64, height: int = 48) -> None:
        self.frame_ids, self.width, self.height = np.arange(frames), width, height
        self.decoded: list[int] = []

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for i in ids:
            self.decoded.append(i)
            yield i, np.full((self.height, self.width, 3), i, np.uint8)


class Knowing:
    """A network that is right about everything: each pass in the frame of its first picture and a unit of its own."""

    def __init__(self) -> None:
        self.passes: list[list[int]] = []

    def see(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids = [round(float(image.mean())) for image in images]
        self.passes.append(ids)
        unit = 0.3 + 0.2 * len(self.passes)
        w2c = np.stack([camera(i) for i in ids]) @ inverse(camera(ids[0]))
        w2c[:, :3, 3] *= unit
        size = (images.shape[2], images.shape[1])
        encodings = pose_encoding.encode(w2c, np.tile(FIELDS, (len(ids), 1)))
        _, K = pose_encoding.decode(encodings, size)
        points = lift(unit * np.stack([depth(i, size) for i in ids]), K, w2c)
        confidence = np.stack([np.linspace(1, 3, size[0] * size[1]).reshape(size[1], size[0])] * len(ids))
        return encodings, points, confidence


def camera(i: int) -> np.ndarray:
    """[4, 4] w2c of frame i on a walk."""
    w2c = np.eye(4)
    w2c[:3, :3] = Rotation.from_rotvec([0.02 * i, 0.1 * i, -0.01 * i]).as_matrix()
    w2c[:3, 3] = (0.3 * i, 0.1 * np.sin(i), 0.05 * i)
    return w2c


def depth(i: int, size: tuple[int, int]) -> np.ndarray:
    v, u = np.mgrid[: size[1], : size[0]]
    waves: np.ndarray = 3 + np.sin(u / 70 + i) + 0.5 * np.cos(v / 50 - i)
    return waves


def source(scene: Clip, network: Any, candidates: Sequence[int], **options: Any) -> VGGTSource:
    chosen = GeometryOptions.parse({"source": "vggt", "content": "0" * 64, **options}, "geometry")
    return VGGTSource(lambda: network, scene, np.asarray(candidates), chosen)


def test_frames_are_prepared_as_the_reference_does() -> None:
    """Another size is another point map, and other frames are chosen."""
    assert resized(640, 480) == (518, 392)
    assert prepare(np.zeros((480, 640, 3), np.uint8)).shape == (392, 518, 3)
    assert prepare(np.zeros((640, 480, 3), np.uint8)).shape == (518, 518, 3)
    assert prepare(np.zeros((640, 480, 3), np.uint8), turned=True).shape == (392, 518, 3)
    tall = np.zeros((1036, 518, 3), np.uint8)
    tall[259:777] = 200
    assert (prepare(tall) == 200).all()
    corner = np.zeros((640, 480, 3), np.uint8)
    corner[:100, :100] = 255  # upper left goes to the upper right
    assert prepare(corner, turned=True)[5, -5].tolist() == [255] * 3
    with pytest.raises(SceneError, match="too flat"):
        resized(4000, 20)


def test_all_candidates_go_through_one_pass_and_the_world_is_the_first_ones() -> None:
    """As the reference has it: a point map depends on every frame it is made with."""
    network, scene = Knowing(), Clip(40)
    found = source(scene, network, range(0, 40, 2))
    cameras = found.cameras([0, 6, 38])
    assert network.passes == [list(range(0, 40, 2))]
    assert np.allclose(cameras.w2c[0], np.eye(4))
    assert not cameras.metric
    assert cameras.pose_enc.shape == (3, 9)
    found.point_map(6)
    found.forget(6)
    found.cameras([6])
    assert len(network.passes) == 1
    assert sorted(scene.decoded) == list(range(0, 40, 2))
    assert found.record() == {"reference_frame": "camera of frame 0", "checkpoint": "0" * 64}


@pytest.mark.parametrize("together", [4, 7, 12])
def test_passes_that_share_frames_make_one_world(together: int) -> None:
    """Partners of candidates, and clips that do not fit: each pass has a unit and a frame of its own."""
    ids = [0, 3, 5, 8, 13, 18, 19]
    expected = source(Clip(20), Knowing(), range(20), together=128)
    network = Knowing()
    found = source(Clip(20), network, range(0, 20, 2), together=together)
    ours, theirs = found.cameras(ids), expected.cameras(ids)
    assert max(map(len, network.passes)) <= together
    assert len(network.passes) > 1
    assert np.allclose(ours.w2c, theirs.w2c, atol=1e-4)
    assert np.allclose(ours.K, theirs.K)
    for i in ids:
        points = found.point_map(i).points
        assert points.dtype == np.float32
        assert np.abs(points - expected.point_map(i).points).max() < 1e-3
    decoded, _ = pose_encoding.decode(ours.pose_enc, (1, 1))
    assert np.allclose(decoded, theirs.w2c, atol=1e-4)


@pytest.mark.parametrize(
    ("width", "height", "turned"), [(640, 480, False), (480, 640, False), (480, 640, True), (100, 90, False)]
)
def test_cameras_are_those_of_the_decoded_frames(width: int, height: int, turned: bool) -> None:
    """Resized, cropped and turned for the network, and back: a point must land on the pixel it was made from."""
    scene, network = Clip(4, width, height), Knowing()
    found = source(scene, network, range(4), reference_rotation=turned)
    cameras = found.cameras([2])
    points, _ = found.point_map(2)
    seen_h, seen_w = points.shape[:2]
    wide, high = resized(*((height, width) if turned else (width, height)))
    v, u = 30, 200
    row = v + (high - seen_h) // 2
    there = cameras.w2c[0] @ np.append(points[v, u], 1)
    pixel = cameras.K[0] @ there[:3]
    x, y = pixel[:2] / pixel[2]
    if turned:  # (u, v) of the picture turned clockwise is (v, height - u) of the frame
        assert np.allclose((x, y), (row * width / high, height - u * height / wide), atol=0.01)
    else:
        assert np.allclose((x, y), (u * width / wide, row * height / high), atol=0.01)
    assert seen_w == 518


def test_depth_is_lifted_through_its_cameras() -> None:
    """`points: depth_head`: the same points, from depth along the axis."""

    class Deep(Knowing):
        def see(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            encodings, points, confidence = super().see(images)
            w2c, _ = pose_encoding.decode(encodings, (1, 1))
            along = points @ w2c[:, None, 2:3, :3].transpose(0, 1, 3, 2) + w2c[:, None, None, 2:3, 3]
            return encodings, along, confidence

    ours, theirs = (source(Clip(4), network, range(4)).point_map(3).points for network in (Deep(), Knowing()))
    assert np.abs(ours - theirs).max() < 1e-4


def test_a_camera_that_is_none_names_the_scene() -> None:
    """A field of view of 0 must not become a focal length of inf in a sample."""

    class Blind(Knowing):
        def see(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            encodings, points, confidence = super().see(images)
            encodings[1, 7] = 0
            return encodings, points, confidence

    with pytest.raises(SceneError, match=r"scene 'clip': VGGT gave fields of view for frames 1"):
        source(Clip(4), Blind(), range(4)).cameras([0])


def test_a_few_frames_at_a_time_change_no_number(golden: Path) -> None:
    """What fits memory must be what the reference computes at once."""
    network = Network(golden, "point_head", "float32", "cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (5, 56, 84, 3), dtype=np.uint8)
    images = torch.from_numpy(pictures)[None].permute(0, 1, 4, 2, 3) / 255
    with torch.inference_mode():
        whole, parts = (network.aggregator(images, [0, 1], few=few) for few in (None, 2))
        assert all(torch.allclose(whole[layer], parts[layer], atol=1e-5) for layer in (0, 1))
    encodings, points, confidence = network.see(pictures)
    assert encodings.shape == (5, 9)
    assert [each.shape for each in points] == [(56, 84, 3)] * 5
    assert min(each.min() for each in confidence) > 1


def test_gen_with_vggt_and_its_weights(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--vggt DIR` end to end: samples say whose cameras these are, and the site file can name the weights."""
    weights = vggt_alone(golden, tmp_path / "vggt")
    ask = ["-w", str(tmp_path), "gen", "--dataset", "rooms", "--scenes", "test-000", "--frames", "4", "--sampler", "sa"]
    ask += ["--set", "geometry.source=vggt", "--set", "geometry.candidates=6"]
    assert run(ask) == 2
    assert "where are its weights?" in capsys.readouterr().err
    assert run([*ask[:-4], "--vggt", str(weights)]) == 2
    assert "geometry.source=vggt reads them" in capsys.readouterr().err
    assert run([*ask, "--vggt", str(weights)]) == 0
    [index] = (tmp_path / "samples").rglob("sample.json")
    sample = sampleset.read(index.parent)
    geometry = sample.record["geometry"]
    assert (geometry["source"], geometry["reference_frame"]) == ("vggt", "camera of frame 0")
    assert len(geometry["checkpoint"]) == 64
    assert not sample.metric
    assert sample.pose_enc is not None
    assert sample.pose_enc.shape == (4, 9)
    assert sample.record["coverage"] > 0
    (tmp_path / "experiments").mkdir(exist_ok=True)
    site = {"checkpoints": {"facebook/VGGT-1B": str(weights)}}
    (tmp_path / "experiments/site.yaml").write_text(json.dumps(site))
    capsys.readouterr()
    assert run([*ask, "--dry-run"]) == 0
    assert "done, 1/1 item" in capsys.readouterr().out


def test_weights_that_are_no_vggt_are_refused(golden: Path, tmp_path: Path) -> None:
    """Before a job waits in the queue for them."""
    parts = ("aggregator", "camera_head", "point_head")
    check(golden, parts)
    alone = vggt_alone(golden, tmp_path / "vggt", without="point_head.")
    check(alone, ("aggregator", "camera_head", "depth_head"))
    with pytest.raises(UserError, match=r"missing, first point_head\..*\n.*point_head"):
        check(alone, parts)
    with pytest.raises(UserError, match="no VGGT at"):
        check(tmp_path / "none", parts)
    (alone / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    with pytest.raises(UserError, match="holds a 'qwen2_5_vl', no VGGT"):
        check(alone, parts)
    config = json.loads((golden / "config.json").read_text())["spatial_config"]
    (alone / "config.json").write_text(json.dumps(config | {"embed_dim": 32}))
    with pytest.raises(UserError, match=r"config\.json expects"):
        check(alone, ("aggregator", "camera_head", "depth_head"))


@pytest.mark.parametrize("option", [{"together": 8}, {"points": "depth_head"}, {"precision": "bfloat16"}])
def test_options_of_vggt_mean_nothing_to_other_sources(option: dict[str, Any]) -> None:
    """An option that is read by nobody would make two names for one sample set."""
    with pytest.raises(UserError, match=r"geometry\.source=vggt only"):
        GeometryOptions.parse(option, "geometry")
    assert "together" not in GeometryOptions().model_dump()
    assert "poses" not in GeometryOptions.parse({"source": "vggt"}, "geometry").model_dump()


def vggt_alone(golden: Path, to: Path, without: str = "-") -> Path:
    """The VGGT of the fixture's checkpoint in the layout of facebook/VGGT-1B."""
    from safetensors.torch import load_file, save_file

    prefix = "spatial_encoder.vggt_model."
    to.mkdir()
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in load_file(golden / "model.safetensors").items()
        if name.startswith(prefix) and not name.startswith(prefix + without)
    }
    save_file(weights, to / "model.safetensors")
    config = json.loads((golden / "config.json").read_text())["spatial_config"]
    (to / "config.json").write_text(json.dumps({key: v for key, v in config.items() if key != "model_type"}))
    shutil.copystat(golden, to)
    to.chmod(0o755)
    return to
