"""What a sampler looks at: a scene's frames, cameras and the voxels each frame sees, computed when asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from smx.errors import SceneError, UserError
from smx.geometry.source import CamerasLike, DepthSource, GeometrySource, SceneLike
from smx.options import Options

if TYPE_CHECKING:
    import numpy as np

    from smx.geometry.depth_agreement import Agreement
    from smx.geometry.voxels import VoxelGrid, VoxelSets

_SAMPLED = 4096  # points of a frame that tell how far the scene reaches

# Options that only some sources read.
_READ_BY = {
    **dict.fromkeys(("poses", "metric", "causal", "depth_scale"), ("file",)),
    **dict.fromkeys(("points", "precision", "together", "reference_rotation"), ("vggt",)),
    "content": ("file", "vggt"),
}


class GeometryOptions(Options):
    """Where world points come from and how they become voxels."""

    source: Literal["dataset", "file", "vggt"] = "dataset"
    candidates: int = Field(default=128, ge=2)  # frames a sampler may weigh against each other
    voxel_size: float | None = Field(default=None, gt=0)  # edge in metres; None: smallest side / 20
    # Of source `file` alone:
    poses: Literal["auto", "tum", "open3d", "colmap", "nerfstudio", "posetxt", "cameras_json"] = "auto"
    metric: bool | None = None  # whether the file's translations are metres; None: as its format has it
    depth_scale: float | None = Field(default=None, gt=0)  # units of a metre in --depth; None: floats 1, others 1000
    causal: bool = False  # made online: no pose knows of later frames. Recorded, so that tables keep them apart
    # Of source `vggt` alone:
    points: Literal["point_head", "depth_head"] = "point_head"  # who makes world points; depth is lifted
    precision: Literal["float32", "bfloat16"] = "float32"  # of the aggregator; the heads are float32
    together: int = Field(default=128, ge=4)  # frames in one pass; more are joined by frames that passes share
    reference_rotation: bool = False  # turn portrait frames by -90 degrees first, as the reference does
    content: str | None = None  # digest of the camera files or of VGGT's weights; smx fills it in

    @model_validator(mode="after")
    def _of_this_source(self) -> GeometryOptions:
        for name, sources in _READ_BY.items():
            if self.source not in sources and getattr(self, name) != type(self).model_fields[name].default:
                raise UserError(
                    f"geometry.{name} means something for geometry.source={' or '.join(sources)} only",
                    "--poses DIR" if "file" in sources else "--set geometry.source=vggt",
                )
        return self

    @model_serializer(mode="wrap")
    def _what_counts(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Options that this source does not read are no part of what was done."""
        found: dict[str, Any] = serialize(self)
        return {name: value for name, value in found.items() if self.source in _READ_BY.get(name, (self.source,))}


def candidates_of(frame_ids: np.ndarray, count: int) -> np.ndarray:
    """[T] raw frame ids at linspace(0, N-1, min(count, N)), truncated."""
    import numpy as np

    total = len(frame_ids)
    return np.asarray(frame_ids[np.linspace(0, total - 1, min(count, total)).astype(np.int64)])


class _Camera(NamedTuple):
    w2c: np.ndarray  # [4, 4], NaN where lost
    K: np.ndarray  # [3, 3]
    pose_enc: np.ndarray | None  # [9]


class _Cameras(NamedTuple):
    w2c: np.ndarray  # [n, 4, 4]
    K: np.ndarray  # [n, 3, 3]
    metric: bool
    pose_enc: np.ndarray | None  # [n, 9]


class SceneView:
    """A scene as samplers see it (`smx.samplers.View`).

    World points are asked of `source` one frame at a time: over the candidates to fit the voxel grid, then to
    find each frame's voxels, which are cached. Where points have a confidence, one counts that is at least the
    median over all candidates and above 0.1. Any frame may be asked for. A frame without points sees nothing;
    a scene without any is an error.
    """

    def __init__(self, scene: SceneLike, options: GeometryOptions, source: GeometrySource | None = None) -> None:
        self._scene = scene
        self._options = options
        self.source: GeometrySource = source or DepthSource(scene)
        self._cameras: dict[int, _Camera] = {}
        self._metric = False
        self._grid: VoxelGrid | None = None
        self._least: np.float32 | None = None  # confidence from which a point counts; None until it is known
        self._keys: dict[int, np.ndarray] = {}
        self._fresh = False  # something was computed that no cache knows
        self._agreement: tuple[Agreement | None] | None = None  # once it was looked at
        self._left_out: frozenset[int] = frozenset()  # frames whose cameras no neighbour confirms
        self.map_size: tuple[int, int] | None = None  # (width, height) of the point maps, once one was seen

    @property
    def scene(self) -> str:
        """Scene id."""
        return self._scene.id

    @property
    def frame_ids(self) -> np.ndarray:
        """[N] int64 raw frame ids, ascending."""
        return self._scene.frame_ids

    @property
    def candidates(self) -> np.ndarray:
        """[T] int64 raw frame ids at linspace(0, N-1, min(candidates, N)), truncated; see `agreement`."""
        found = candidates_of(self.frame_ids, self._options.candidates)
        if self._left_out:
            import numpy as np

            found = found[~np.isin(found, list(self._left_out))]
        return found

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the decoded frames, pixels."""
        return self._scene.width, self._scene.height

    def cameras(self, ids: Sequence[int]) -> CamerasLike | None:
        """All that is known of the cameras of those frames; None where the scene has none."""
        import numpy as np

        if not self._learn(ids):
            return None
        found = self._cameras_of(ids)
        encoded = [camera.pose_enc for camera in found if camera.pose_enc is not None]
        w2c, K = np.stack([camera.w2c for camera in found]), np.stack([camera.K for camera in found])
        return _Cameras(w2c, K, self._metric, np.stack(encoded) if len(encoded) == len(found) else None)

    def has_camera(self, ids: Sequence[int]) -> np.ndarray:
        """[n] bool: which of those frames have a finite pose. `SceneError` where the scene has no cameras at all."""
        import numpy as np

        return np.array([np.isfinite(camera.w2c).all() for camera in self._cameras_of(ids)], dtype=bool)

    def w2c(self, ids: Sequence[int]) -> np.ndarray:
        """[n, 4, 4] float64 of those frames. `SceneError` where a camera is missing or not finite."""
        import numpy as np

        poses = np.stack([camera.w2c for camera in self._cameras_of(ids)])
        lost = [int(i) for i, pose in zip(ids, poses, strict=True) if not np.isfinite(pose).all()]
        if lost:
            raise SceneError(f"scene {self.scene!r}: no camera for frame {', '.join(map(str, lost[:5]))}")
        return poses

    def K(self, ids: Sequence[int]) -> np.ndarray:
        """[n, 3, 3] float64 intrinsics of those frames, pixels of the decoded frame."""
        import numpy as np

        return np.stack([camera.K for camera in self._cameras_of(ids)])

    def has_depth(self) -> bool:
        """Whether any candidate has a depth map, whatever is to be made of it."""
        return isinstance(self.source, DepthSource) and self.source.has_depth(self.candidates.tolist())

    def metric(self) -> bool:
        """Whether camera translations are metres."""
        self._cameras_of([int(self.frame_ids[0])] if not self._cameras else [])
        return self._metric

    def grid(self) -> VoxelGrid:
        """The voxel grid, fitted to the candidates' points."""
        from smx.geometry.voxels import VoxelGrid

        if self._grid is None:
            self._cameras_of(self.candidates.tolist())  # without any, that is the reason to name
            self.agreement()
            box = self._box()
            try:
                self._grid = VoxelGrid.fit(box, self._options.voxel_size)
            except SceneError as error:
                raise SceneError(f"scene {self.scene!r}: {error}") from None
        return self._grid

    def agreement(self) -> Agreement | None:
        """How well cameras agree with measured depth; None where one of them is missing, or a network made them.

        From then on, cameras that no neighbour confirms are lost, and their frames are no candidates.
        """
        if not isinstance(self.source, DepthSource):
            return None
        if self._agreement is None:
            self._agreement = (self._agree(self.source),)
        found = self._agreement[0]
        if found is not None and found.unconfirmed and not self._left_out:
            self._left_out = frozenset(found.unconfirmed)
            self._lose(found.unconfirmed)
        return found

    def _agree(self, source: DepthSource) -> Agreement | None:
        from smx.geometry.depth_agreement import agreement

        ids = self.candidates.tolist()
        cameras = self.cameras(ids)
        if cameras is None:
            return None

        def all_poses() -> tuple[np.ndarray, np.ndarray]:
            whole = source.cameras(self.frame_ids.tolist())
            assert whole is not None
            return self.frame_ids, whole.w2c

        return agreement(ids, cameras.w2c, source.depth, all_poses)

    def _lose(self, ids: Sequence[int]) -> None:
        import numpy as np

        for frame_id, camera in zip(ids, self._cameras_of(ids), strict=True):
            self._cameras[frame_id] = camera._replace(w2c=np.full((4, 4), np.nan))

    def _box(self) -> np.ndarray:
        """[2, 3] around the candidates' points; of measured ones, around all but a few that lie far out."""
        import numpy as np

        from smx.geometry.voxels import bounding_box, merge_boxes, without_strays

        least = self._confident()
        boxes, some = [], []
        for frame_id in self.candidates.tolist():
            found = self._map(frame_id)
            if found is None:
                continue
            boxes.append(bounding_box(*found, least))
            if found[1] is None:
                step = max(1, int((found[0].size / 3 / _SAMPLED) ** 0.5))
                some.append(found[0][::step, ::step].reshape(-1, 3))
        if not boxes:
            raise SceneError(f"scene {self.scene!r} has no depth with a camera, so what its frames see is unknown")
        box = merge_boxes(boxes)
        return without_strays(box, np.concatenate(some)) if some else box

    def voxels(self, ids: Sequence[int]) -> VoxelSets:
        """Occupied voxels of those frames, row k for ids[k], on the grid fitted to the candidates."""
        import numpy as np

        from smx.geometry.voxels import VoxelSets

        self.agreement()
        grid, least = self.grid(), self._confident()
        for frame_id in map(int, ids):
            if frame_id not in self._keys:
                found = self._map(frame_id)
                self._keys[frame_id] = np.empty(0, dtype=np.int64) if found is None else grid.keys(*found, least)
                self.source.forget(frame_id)
                self._fresh = True
        return VoxelSets.pack([self._keys[int(frame_id)] for frame_id in ids])

    def seen(self, ids: Sequence[int]) -> dict[str, np.ndarray]:
        """What those frames see, for drawing: `low` [3] and `edge` of the grid, `cells` [V, 3] int32 of all voxels
        of the candidates and of `ids`, `seen` a row of V bits for each of `ids`, `candidate` V bits.
        """
        import numpy as np

        candidates = self.candidates.tolist()
        self.voxels([*candidates, *ids])
        grid = self.grid()
        keys = np.unique(np.concatenate([self._keys[int(i)] for i in (*candidates, *ids)]))
        known = np.unique(np.concatenate([self._keys[int(i)] for i in candidates]))
        rows = np.stack([np.isin(keys, self._keys[int(i)], assume_unique=True) for i in ids])
        return {
            "low": grid.low,
            "edge": np.asarray(grid.edge),
            "cells": grid.cells(keys).astype(np.int32),
            "seen": np.packbits(rows, axis=1),
            "candidate": np.packbits(np.isin(keys, known, assume_unique=True)),
        }

    def known(self) -> dict[str, np.ndarray] | None:
        """What was computed, as arrays that `adopt` takes back: grid, and a bit per frame and voxel seen.

        None where nothing was computed (beyond what was adopted).
        """
        import numpy as np

        if self._grid is None or not self._fresh:
            return None
        ids = np.array(sorted(self._keys), dtype=np.int64)
        voxels = np.unique(np.concatenate([self._keys[int(i)] for i in ids])) if len(ids) else ids
        seen = np.stack([np.isin(voxels, self._keys[int(i)]) for i in ids]) if len(ids) else np.empty((0, 0), bool)
        posed = sorted(self._cameras)
        encoded = [enc for i in posed if (enc := self._cameras[i].pose_enc) is not None]
        return {
            "low": self._grid.low,
            "high": self._grid.high,
            "edge": np.asarray(self._grid.edge),
            "least": np.asarray(self._confident()),
            "map_size": np.array(self.map_size),
            "ids": ids,
            "voxels": voxels,
            "seen": np.packbits(seen, axis=1),
            "posed": np.array(posed, dtype=np.int64),
            "w2c": self._stacked([self._cameras[i].w2c for i in posed], (4, 4)),
            "K": self._stacked([self._cameras[i].K for i in posed], (3, 3)),
            "pose_enc": self._stacked(encoded, (9,)),
            "metric": np.array(self._metric),
            "agreement": np.array(json.dumps([asdict(one) if one else None for one in self._agreement or ()])),
        }

    def adopt(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take what another view of the same scene, data and options computed, instead of computing it."""
        import numpy as np

        from smx.geometry.depth_agreement import Agreement
        from smx.geometry.voxels import VoxelGrid

        for entry in json.loads(str(arrays["agreement"])):
            self._agreement = (
                None if entry is None else Agreement(**{**entry, "unconfirmed": tuple(entry["unconfirmed"])}),
            )
        self._grid = VoxelGrid(low=arrays["low"], high=arrays["high"], edge=np.float32(arrays["edge"]))
        self._least = np.float32(arrays["least"])
        width, height = arrays["map_size"].tolist()
        self.map_size = (width, height)
        seen = np.unpackbits(arrays["seen"], axis=1, count=len(arrays["voxels"])).astype(bool)
        self._keys = {int(i): arrays["voxels"][row] for i, row in zip(arrays["ids"], seen, strict=True)}
        encoded = arrays["pose_enc"] if len(arrays["pose_enc"]) else [None] * len(arrays["posed"])
        cameras = map(_Camera, arrays["w2c"], arrays["K"], encoded)
        self._cameras = dict(zip(arrays["posed"].tolist(), cameras, strict=True))
        self._metric = bool(arrays["metric"])
        self._fresh = False

    def _cameras_of(self, ids: Sequence[int]) -> list[_Camera]:
        """Of each frame. `SceneError` where the scene has no cameras or no such frame."""
        if not self._learn(ids):
            raise SceneError(f"scene {self.scene!r} has no cameras")
        return [self._cameras[int(i)] for i in ids]

    def _learn(self, ids: Sequence[int]) -> bool:
        """Ask the source for cameras that were not asked for yet; False where the scene has none."""
        self._positions(ids)
        unknown = sorted({int(i) for i in ids} - self._cameras.keys())
        if unknown:
            learnt = self.source.cameras(unknown)
            if learnt is None:
                return False
            encoded = [None] * len(unknown) if learnt.pose_enc is None else learnt.pose_enc
            self._cameras.update(zip(unknown, map(_Camera, learnt.w2c, learnt.K, encoded), strict=True))
            self._metric = learnt.metric
        return True

    def _map(self, frame_id: int) -> tuple[np.ndarray, np.ndarray | None] | None:
        """(points, confidence) of a frame."""
        found = None if frame_id in self._left_out else self.source.point_map(frame_id)
        if found is None:
            return None
        self.map_size = (found.points.shape[1], found.points.shape[0])
        return found.points, found.confidence

    def _confident(self) -> np.float32:
        """The least confidence of a point that counts: of the candidates' median, where points have one."""
        import numpy as np

        from smx.geometry.voxels import least_confidence

        if self._least is None:
            confidences = []
            for frame_id in self.candidates.tolist():
                mapped = self.source.point_map(frame_id)
                if mapped is not None and mapped.confidence is not None:
                    confidences.append(mapped.confidence)
                elif mapped is not None:
                    break  # a source whose points have none
            self._least = least_confidence(confidences) if confidences else np.float32(-np.inf)
        return self._least

    @staticmethod
    def _stacked(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        import numpy as np

        return np.stack(arrays) if arrays else np.empty((0, *shape))

    def _positions(self, ids: Sequence[int]) -> np.ndarray:
        import numpy as np

        wanted = np.asarray(ids, dtype=np.int64)
        positions = np.searchsorted(self.frame_ids, wanted)
        found = np.take(self.frame_ids, positions, mode="clip") == wanted
        if not found.all():
            raise SceneError(f"scene {self.scene!r} has no frame {int(wanted[~found][0])}")
        return positions
