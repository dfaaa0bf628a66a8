"""What a sampler looks at: a scene's frames, cameras and the voxels each frame sees, computed when asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import Field, field_validator

from smx.errors import SceneError, UserError
from smx.options import Options

if TYPE_CHECKING:
    import numpy as np

    from smx.geometry.voxels import VoxelGrid, VoxelSets

WORKS_NOW = ("dataset",)
_KEEP_BYTES = 256 << 20  # depth maps up to this size are kept between the two passes instead of read twice


class GeometryOptions(Options):
    """Where world points come from and how they become voxels."""

    source: Literal["dataset", "file", "vggt"] = "dataset"
    candidates: int = Field(default=128, ge=2)  # frames a sampler may weigh against each other
    voxel_size: float | None = Field(default=None, gt=0)  # edge in metres; None: smallest side / 20

    @field_validator("source")
    @classmethod
    def _must_work_now(cls, source: str) -> str:
        if source not in WORKS_NOW:
            raise UserError(f"geometry source {source!r} does not work yet", f"works now: {', '.join(WORKS_NOW)}")
        return source


class CamerasLike(Protocol):
    """`smx.datasets.Cameras`."""

    @property
    def w2c(self) -> np.ndarray: ...
    @property
    def K(self) -> np.ndarray: ...
    @property
    def metric(self) -> bool: ...


class SceneLike(Protocol):
    """The part of `smx.datasets.Scene` that geometry needs."""

    id: str
    frame_ids: np.ndarray
    width: int
    height: int

    def cameras(self, ids: Sequence[int]) -> CamerasLike | None: ...
    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None: ...


class SceneView:
    """A scene as samplers see it (`smx.samplers.View`).

    Depth maps are lifted one at a time into world points (float32, the unit of the cameras): once over the
    candidates to fit the voxel grid, once to find each frame's voxels, which are cached. Any frame may be
    asked for. A frame without pose or depth sees nothing; a scene without any is an error.
    """

    def __init__(self, scene: SceneLike, options: GeometryOptions) -> None:
        self._scene = scene
        self._options = options
        self._cameras: CamerasLike | None = None
        self._grid: VoxelGrid | None = None
        self._keys: dict[int, np.ndarray] = {}
        self._depths: dict[int, tuple[np.ndarray, np.ndarray] | None] = {}
        self._kept = 0
        self._fresh = False  # something was computed that no cache knows
        self.depth_size: tuple[int, int] | None = None  # (width, height) of the depth maps, once one was read

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
        """[T] int64 raw frame ids at linspace(0, N-1, min(candidates, N)), truncated."""
        import numpy as np

        total = len(self.frame_ids)
        positions = np.linspace(0, total - 1, min(self._options.candidates, total)).astype(np.int64)
        return np.asarray(self.frame_ids[positions])

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the decoded frames, pixels."""
        return self._scene.width, self._scene.height

    def has_camera(self, ids: Sequence[int]) -> np.ndarray:
        """[n] bool: which of those frames have a finite pose. `SceneError` where the scene has no cameras at all."""
        import numpy as np

        poses = self._all_cameras().w2c[self._positions(ids)]
        return np.asarray(np.isfinite(poses).all(axis=(1, 2)))

    def w2c(self, ids: Sequence[int]) -> np.ndarray:
        """[n, 4, 4] float64 of those frames. `SceneError` where a camera is missing or not finite."""
        import numpy as np

        poses = self._all_cameras().w2c[self._positions(ids)]
        lost = [int(i) for i, pose in zip(ids, poses, strict=True) if not np.isfinite(pose).all()]
        if lost:
            raise SceneError(f"scene {self.scene!r}: no camera for frame {', '.join(map(str, lost[:5]))}")
        return np.asarray(poses)

    def K(self, ids: Sequence[int]) -> np.ndarray:
        """[n, 3, 3] float64 intrinsics of those frames, pixels of the decoded frame."""
        import numpy as np

        return np.asarray(self._all_cameras().K[self._positions(ids)])

    def metric(self) -> bool:
        """Whether camera translations are metres."""
        return self._all_cameras().metric

    def grid(self) -> VoxelGrid:
        """The voxel grid, fitted to the candidates' points."""
        from smx.geometry.voxels import VoxelGrid, bounding_box, merge_boxes

        if self._grid is None:
            seen = (self._points(int(frame_id)) for frame_id in self.candidates)
            boxes = [bounding_box(points) for points in seen if points is not None]
            if not boxes:
                raise SceneError(f"scene {self.scene!r} has no depth with a camera, so what its frames see is unknown")
            try:
                self._grid = VoxelGrid.fit(merge_boxes(boxes), self._options.voxel_size)
            except SceneError as error:
                raise SceneError(f"scene {self.scene!r}: {error}") from None
        return self._grid

    def voxels(self, ids: Sequence[int]) -> VoxelSets:
        """Occupied voxels of those frames, row k for ids[k], on the grid fitted to the candidates."""
        import numpy as np

        from smx.geometry.voxels import VoxelSets

        grid = self.grid()
        for frame_id in map(int, ids):
            if frame_id not in self._keys:
                points = self._points(frame_id)
                self._keys[frame_id] = np.empty(0, dtype=np.int64) if points is None else grid.keys(points)
                self._forget(frame_id)
                self._fresh = True
        return VoxelSets.pack([self._keys[int(frame_id)] for frame_id in ids])

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
        return {
            "low": self._grid.low,
            "high": self._grid.high,
            "edge": np.asarray(self._grid.edge),
            "depth_size": np.array(self.depth_size),
            "ids": ids,
            "voxels": voxels,
            "seen": np.packbits(seen, axis=1),
        }

    def adopt(self, known: Mapping[str, np.ndarray]) -> None:
        """Take what another view of the same scene, data and options computed, instead of computing it."""
        import numpy as np

        from smx.geometry.voxels import VoxelGrid

        self._grid = VoxelGrid(low=known["low"], high=known["high"], edge=np.float32(known["edge"]))
        width, height = known["depth_size"].tolist()
        self.depth_size = (width, height)
        seen = np.unpackbits(known["seen"], axis=1, count=len(known["voxels"])).astype(bool)
        self._keys = {int(i): known["voxels"][row] for i, row in zip(known["ids"], seen, strict=True)}
        self._fresh = False

    def _all_cameras(self) -> CamerasLike:
        if self._cameras is None:
            self._cameras = self._scene.cameras([int(i) for i in self.frame_ids])
        if self._cameras is None:
            raise SceneError(f"scene {self.scene!r} has no cameras")
        return self._cameras

    def _points(self, frame_id: int) -> np.ndarray | None:
        """[h*w, 3] float32 world points of a frame, NaN where depth is invalid; None without pose or depth."""
        import numpy as np

        from smx.geometry import _kernels

        w2c = self._all_cameras().w2c[self._positions([frame_id])[0]]
        if not np.isfinite(w2c).all():
            return None
        found = self._depth(frame_id)
        if found is None:
            return None
        depth, intrinsics = found
        depth = np.ascontiguousarray(depth, dtype=np.float32)
        self.depth_size = (depth.shape[1], depth.shape[0])
        points = np.empty((depth.size, 3), dtype=np.float32)
        _kernels.unproject(depth, np.linalg.inv(intrinsics.astype(np.float64)), np.linalg.inv(w2c), points)
        return points

    def _depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None:
        if frame_id not in self._depths:
            found = self._scene.depth(frame_id)
            size = 0 if found is None else found[0].nbytes
            if self._kept + size > _KEEP_BYTES:
                return found
            self._depths[frame_id] = found
            self._kept += size
        return self._depths[frame_id]

    def _forget(self, frame_id: int) -> None:
        found = self._depths.pop(frame_id, None)
        self._kept -= 0 if found is None else found[0].nbytes

    def _positions(self, ids: Sequence[int]) -> np.ndarray:
        import numpy as np

        wanted = np.asarray(ids, dtype=np.int64)
        positions = np.searchsorted(self.frame_ids, wanted)
        found = np.take(self.frame_ids, positions, mode="clip") == wanted
        if not found.all():
            raise SceneError(f"scene {self.scene!r} has no frame {int(wanted[~found][0])}")
        return positions
