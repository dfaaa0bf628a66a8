"""The law: the same run id is the same bytes, whatever file of a dataset was edited, whatever lay there before."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import licensed

from smx import plugins
from smx.datasets._rooms_files import write_frames, write_vsibench
from smx.errors import SceneError
from smx.geometry.view import GeometryOptions
from smx.node.sampling import make_sample
from smx.resolve import Resolver
from smx.rooms import RoomScene, named_scene
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
