"""The law: the same run id is the same bytes, whatever file of a dataset was edited, whatever lay there before."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from support import licensed

from smx import plugins
from smx.datasets._rooms_files import write_frames, write_vsibench
from smx.digests import checkpoint_digest
from smx.errors import SceneError, UserError
from smx.geometry.cameras import inverse
from smx.geometry.view import GeometryOptions
from smx.node.geometry import source_of
from smx.node.sampling import make_sample
from smx.resolve import Resolver
from smx.rooms import RoomScene, named_scene
from smx.run import Run
from smx.spec import GenSpec
from smx.workspace import Workspace

EDITS = 2  # of each dataset, besides one of each kind of file
NOT_READ = {"extrinsic_color.txt", "extrinsic_depth.txt"}


def frames_with_poses(room: RoomScene, root: Path) -> None:
    """Folders of pictures, depth, one pose a file, and intrinsics."""
    licensed.scannet_exported(room, root / "kitchen", scan_info=False)


def joined(room: RoomScene, root: Path) -> None:
    write_vsibench(root, [room])
    (root / "test.parquet").unlink()
    licensed.scannet_exported(room, root / "originals" / "scannet" / room.name)


DATASETS: dict[str, tuple[str, dict[str, Any], Callable[[RoomScene, Path], object]]] = {
    "frames, video": ("frames", {}, lambda room, root: write_frames(room, root / "kitchen")),
    "frames, pictures": ("frames", {}, frames_with_poses),
    "scannet, exported": ("scannet", {}, lambda room, root: licensed.scannet_exported(room, root / "scene0000_00")),
    "scannet, sens": ("scannet", {}, lambda room, root: licensed.scannet_sens(room, root / "s" / "s.sens")),
    "scannetpp": ("scannetpp", {}, lambda room, root: licensed.scannetpp_iphone(room, root / "data" / "one")),
    "scannetpp, colmap": (
        "scannetpp",
        {"poses": "colmap"},
        lambda room, root: licensed.scannetpp_iphone(room, root / "data" / "one", registered=1),
    ),
    "arkitscenes": ("arkitscenes", {}, lambda room, root: licensed.arkitscenes(room, root, "41048190", sky="Left")),
    "vsibench, joined": ("vsibench", {"joined": True}, joined),
}


@pytest.mark.parametrize("layout", DATASETS)
def test_an_edit_of_any_file_makes_another_run_and_the_same_run_has_the_same_bytes(tmp_path: Path, layout: str) -> None:
    """Lost otherwise: yesterday's cameras answer for today's, under the run id of a fresh workspace."""
    name, options, write = DATASETS[layout]
    root = tmp_path / "root"
    write(named_scene("test-000", frames=4, width=64, height=48), root)
    rng = np.random.default_rng(list(DATASETS).index(layout))
    made: dict[str, object] = {}

    def check() -> str:
        run, data = asked(tmp_path, root, name, options)
        used = outcome(tmp_path / "used", root, name, options, data)
        fresh = outcome(tmp_path / f"fresh-{len(made)}", root, name, options, data)
        assert used == fresh == made.setdefault(run, fresh)
        return run

    right = check()
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name not in NOT_READ)
    kinds = {(path.parent, path.suffix): path for path in files}
    for path in [*kinds.values(), *(files[k] for k in rng.integers(0, len(files), EDITS))]:
        before = path.read_bytes()
        edit(path, rng)
        assert path.read_bytes() != before
        assert check() != right, f"{path.relative_to(root)} is no part of the run"
        path.write_bytes(before)
        assert check() == right


def test_an_edit_of_any_camera_file_is_another_run_and_the_one_that_was_planned_meets_no_other(tmp_path: Path) -> None:
    """Lost otherwise: `--poses` is mended between plan and node, and the sample says that it has the old cameras."""
    room = named_scene("test-000", frames=4, width=64, height=48)
    write_frames(room, tmp_path / "root" / "kitchen")
    poses = tmp_path / "slam" / "kitchen"
    poses.mkdir(parents=True)
    rows = (" ".join(f"{x:.9f}" for x in (k / 30, *inverse(room.w2c)[k, :3, 3], 0, 0, 0, 1)) for k in range(4))
    (poses / "groundtruth.txt").write_text("\n".join(rows) + "\n")
    (poses / "intrinsics.txt").write_text("\n".join(" ".join(f"{x:.6f}" for x in row) for row in room.K) + "\n")
    scene = plugins.load("datasets", "frames")().open(tmp_path / "root", "kitchen")
    rng = np.random.default_rng(7)

    def planned() -> Run:
        request = {"sampler": "fps", "frames": 2, "dataset": "frames", "root": str(tmp_path / "root")}
        (run,) = Resolver(Workspace(tmp_path, "default")).gen({**request, "poses": str(tmp_path / "slam")})
        return run

    def cameras(run: Run) -> bytes:
        """As the node of a run that was planned then reads them now."""
        assert isinstance(run.spec, GenSpec)
        found = source_of(run.spec.geometry, Path(str(run.paths["poses"])))(scene, scene.frame_ids).cameras(
            [0, 1, 2, 3]
        )
        assert found is not None
        return found.w2c.tobytes() + found.K.tobytes()

    right = planned()
    before = cameras(right)
    for path in [*poses.iterdir()] * EDITS:
        kept = path.read_bytes()
        edit(path, rng)
        assert planned().fingerprint != right.fingerprint
        with pytest.raises(UserError, match="have changed since this run was planned"):
            cameras(right)
        path.write_bytes(kept)
        assert planned().fingerprint == right.fingerprint
        assert cameras(right) == before


def test_weights_of_a_network_that_were_edited_after_planning_are_not_used(tmp_path: Path) -> None:
    """Lost otherwise: a checkpoint is replaced while a job waits, and its depth stands under the old one's digest."""
    weights = tmp_path / "vggt"
    weights.mkdir()
    save_file({"layer": np.arange(4096, dtype=np.float32)}, weights / "model.safetensors")
    (weights / "config.json").write_text('{"embed": 32}')
    write_frames(named_scene("test-000", frames=4, width=64, height=48), tmp_path / "kitchen")
    scene = plugins.load("datasets", "frames")().open(tmp_path / "kitchen", "kitchen")
    options = GeometryOptions(source="vggt", content=checkpoint_digest(weights))
    for path, old, new in (("config.json", b"32", b"48"), ("model.safetensors", b"\x00\x00\x00E", b"\x00\x00\x00F")):
        kept = (weights / path).read_bytes()
        assert old in kept
        (weights / path).write_bytes(kept.replace(old, new))
        source = source_of(options, weights)(scene, scene.frame_ids)
        with pytest.raises(SceneError, match="have changed since this run was planned"):
            source.cameras([0])
        (weights / path).write_bytes(kept)


def asked(tmp_path: Path, root: Path, name: str, options: dict[str, Any]) -> tuple[str, str]:
    """Run id, and the digest of the one scene's files."""
    request = {"sampler": "uniform", "frames": 2, "dataset": name, "dataset_options": options, "root": str(root)}
    (run,) = Resolver(Workspace(tmp_path, "default")).gen(request)
    return run.fingerprint, run.items[0].data


def outcome(place: Path, root: Path, name: str, options: dict[str, Any], data: str) -> dict[str, bytes] | str:
    """The sample's files, or why there is none."""
    dataset = plugins.load("datasets", name).parse(options, name)
    (scene,) = dataset.scenes(root)
    folder = place / scene
    try:
        make_sample(
            dataset.open(root, scene),
            inputs=dataset.inputs(root, [scene])[scene],
            sampler_name="uniform",
            sampler=plugins.load("samplers", "uniform").parse({}, "uniform"),
            n=2,
            seed=0,
            geometry=GeometryOptions(candidates=2),
            folder=folder,
            extra={},
            cache=place / "voxels" / f"{data}.npz",
        )
    except SceneError as error:
        return str(error)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit(path: Path, rng: np.random.Generator) -> None:
    """Another digit, pixel or byte; the size of a text stays."""
    if path.suffix in (".txt", ".json", ".traj", ".pincam"):
        text = path.read_text()
        place = rng.choice([match.start() for match in re.finditer(r"[1-8]", text)])
        path.write_text(text[:place] + str(int(text[place]) + 1) + text[place + 1 :])
    elif path.suffix == ".csv":
        path.write_text(path.read_text().replace("Left", "Down"))
    elif path.suffix in (".png", ".jpg"):
        pixels = np.array(Image.open(path))
        pixels[tuple(rng.integers(0, size) for size in pixels.shape[:2])] ^= 64
        Image.fromarray(pixels).save(path, quality=95)
    else:
        content = bytearray(path.read_bytes())
        content[int(rng.integers(len(content) // 2, len(content)))] ^= 1
        path.write_bytes(bytes(content))
