"""Whether a dataset's scenes can give what is asked of them, before anything waits in a queue for it.

One scene that can is enough: others fail alone, as items.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from smx import plugins
from smx.datasets import BaseDataset, Scene
from smx.errors import SceneError, UserError
from smx.spec import GenSpec

if TYPE_CHECKING:
    from smx.datasets._posed import OtherTool


def needs_of(spec: GenSpec) -> frozenset[str]:
    """What the sampler needs of a scene: "cameras", "voxels"."""
    needs: frozenset[str] = plugins.load("samplers", spec.sampler)(**spec.sampler_options).requires()
    return needs


def require_usable(
    spec: GenSpec, dataset: BaseDataset, root: Path | None, scenes: Sequence[str], poses: OtherTool | None
) -> None:
    """`UserError` where none of `scenes` can give what the sampler needs. `poses`: camera files that serve for all.

    A short scene repeats its last frame; where every scene is short, the frame count is a mistake.
    """
    if poses is not None:
        _require_poses_of_each(scenes, poses.poses)
    needs = needs_of(spec)
    longest, problems = 0, []
    for name in scenes:
        try:
            scene = _open(spec, dataset, root, name, poses)
            given = dataset.has_cameras or spec.geometry.source == "vggt"
            problem = "" if given else lacks(scene, needs)
        except SceneError as error:
            problems.append(str(error))
            continue
        if problem:
            problems.append(f"{problem}, which sampler {spec.sampler!r} needs")
            if type(scene).cameras is Scene.cameras:
                break  # no scene of this dataset has any
        elif len(scene.frame_ids) >= spec.frames:
            return
        else:
            longest = max(longest, len(scene.frame_ids))
    if longest:
        raise UserError(
            f"{spec.frames} frames are asked for, and the longest scene of dataset {spec.dataset!r} has {longest}",
            f"--frames {longest - longest % 2}" if longest >= 2 else "use longer scenes",
        )
    every = f"none of the {len(scenes)} scenes of dataset {spec.dataset!r} can be used: " if len(scenes) > 1 else ""
    free = [name for name in plugins.names("samplers") if not plugins.load("samplers", name).needs]
    raise UserError(every + problems[0], f"samplers that need frames only: {', '.join(free)}" if needs else "")


def require_cameras(model: str, name: str, dataset: BaseDataset, root: Path | None, scenes: Sequence[str]) -> None:
    """`UserError` where a pose variant, `model`, would find cameras in no scene of dataset `name`."""
    unread = ""
    for scene_id in scenes:
        try:
            scene = dataset.open(root, scene_id)
            if not lacks(scene, frozenset(("cameras",))):
                return
        except SceneError as error:
            unread = unread or f" that can be read: {error}"
            continue
        if type(scene).cameras is Scene.cameras:
            break  # no scene of this dataset has any
    raise UserError(
        f"model {model!r} needs the cameras of its frames (w2c and K), and dataset {name!r} has none{unread}",
        "name a variant without poses: smx list models",
    )


def require_times(model: str, name: str, dataset: BaseDataset, root: Path | None, scenes: Sequence[str]) -> None:
    """`UserError` where `model`, which reads when its frames were taken, would meet a scene that does not tell."""
    for scene_id in () if dataset.always_timed else scenes:
        try:
            scene = dataset.open(root, scene_id)
        except SceneError:
            continue
        if scene.clock() is not None:
            continue
        raise UserError(
            f"model {model!r} reads when its frames were taken, which nothing tells of scene {scene_id!r}"
            f" of dataset {name!r}: its pictures are numbered, and have no rate",
            "give the dataset's option fps, where it has one (fps: 30), or a model that reads no times:"
            " smx list models",
        )


def lacks(scene: Scene, needs: frozenset[str]) -> str:
    """What the scene lacks of a sampler's needs ("cameras", "voxels"), in words; "" where nothing."""
    if needs and scene.cameras([int(scene.frame_ids[0])]) is None:
        return f"scene {scene.id!r} has no cameras"
    if "voxels" in needs and not any(scene.depth(int(i)) is not None for i in scene.frame_ids):
        return f"scene {scene.id!r} has no depth"
    return ""


def _require_poses_of_each(scenes: Sequence[str], poses: Path) -> None:
    from smx.datasets._posed import LOOKED_FOR, of_one_scene

    if len(scenes) > 1 and of_one_scene(poses):
        raise UserError(
            f"{poses} holds the cameras of one scene, and {len(scenes)} scenes are asked for",
            f"--scenes NAME, or a folder that has for each scene {LOOKED_FOR}",
        )


def _open(spec: GenSpec, dataset: BaseDataset, root: Path | None, name: str, poses: OtherTool | None) -> Scene:
    scene = dataset.open(root, name)
    if poses is None:
        return scene
    from smx.datasets._posed import PosedScene

    return PosedScene(scene, poses, spec.geometry.poses, spec.geometry.metric, spec.geometry.depth_scale)
