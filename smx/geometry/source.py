"""Where cameras and world points of a scene's frames come from: the contract, and points lifted from depth maps.

A source answers in one world frame that never changes: whatever is asked, and in whatever order, cameras and
points of all frames fit together (a network that sees some frames at a time joins its passes by frames they
share). Axes are OpenCV's; lengths are in one unit, metres where `metric`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from smx.errors import SceneError

if TYPE_CHECKING:
    import numpy as np

_KEEP_BYTES = 256 << 20  # depth maps up to this size are kept between two passes instead of read twice


class CamerasLike(Protocol):
    """`smx.datasets.Cameras`: n cameras, all NaN in `w2c` where there is none."""

    @property
    def w2c(self) -> np.ndarray: ...
    @property
    def K(self) -> np.ndarray: ...
    @property
    def metric(self) -> bool: ...
    @property
    def pose_enc(self) -> np.ndarray | None: ...


class SceneLike(Protocol):
    """The part of `smx.datasets.Scene` that geometry needs."""

    id: str
    frame_ids: np.ndarray
    width: int
    height: int

    def cameras(self, ids: Sequence[int]) -> CamerasLike | None: ...
    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None: ...
    def depth_map(self, frame_id: int) -> np.ndarray | None: ...


class PointMap(NamedTuple):
    """What one frame sees, as world points."""

    points: np.ndarray  # [h, w, 3] float32; not finite where nothing is known
    confidence: np.ndarray | None  # [h, w] float32; None where every finite point counts


class GeometrySource(Protocol):
    """One scene's geometry. Nothing is computed before it is asked for (voxels may be cached)."""

    def cameras(self, ids: Sequence[int]) -> CamerasLike | None:
        """Cameras of `ids`, `K` in pixels of the decoded frames; None where the scene has none."""

    def point_map(self, frame_id: int) -> PointMap | None:
        """World points of a frame; None where there are none. The median of confidences is taken over candidates."""

    def forget(self, frame_id: int) -> None:
        """The frame's points will not be asked for again: memory may be freed."""

    def record(self) -> dict[str, Any]:
        """What `sample.json` says of it: `reference_frame`, and what identifies it (a digest). No absolute path."""


# (scene, raw ids of the candidates, which a network wants to see together) -> its geometry
SourceOf = Callable[[Any, "np.ndarray"], GeometrySource]


class NoGeometry:
    """Of a scene whose cameras cannot be read, for samplers that look at none."""

    def cameras(self, ids: Sequence[int]) -> CamerasLike | None:
        """None."""
        return None

    def point_map(self, frame_id: int) -> PointMap | None:
        """None."""
        return None

    def forget(self, frame_id: int) -> None:
        """Nothing is kept."""

    def record(self) -> dict[str, Any]:
        """Nothing is known."""
        return {}


class DepthSource:
    """World points by lifting the scene's depth maps through its cameras; poses and depth as the scene has them."""

    def __init__(self, scene: SceneLike, record: dict[str, Any] | None = None) -> None:
        self._scene = scene
        self._record = record or {"reference_frame": "world of the dataset"}
        self._depths: dict[int, tuple[np.ndarray, np.ndarray] | None] = {}
        self._kept = 0

    def cameras(self, ids: Sequence[int]) -> CamerasLike | None:
        """The scene's own. `SceneError` naming the first frame whose intrinsics no camera of its pictures can have."""
        from smx.geometry.cameras import impossible_intrinsics

        found = self._scene.cameras(ids)
        if found is not None and (wrong := impossible_intrinsics(found.K, (self._scene.width, self._scene.height))):
            raise SceneError(
                f"scene {self._scene.id!r}: intrinsics of frame {ids[wrong[0]]}: {wrong[1]}; are they for pictures of "
                f"another size than {self._scene.width}x{self._scene.height}?"
            )
        return found

    def point_map(self, frame_id: int) -> PointMap | None:
        """NaN where depth is invalid; None without pose or depth."""
        import numpy as np

        from smx.geometry import _kernels

        cameras = self._scene.cameras([frame_id])
        if cameras is None or not np.isfinite(cameras.w2c).all():
            return None
        found = self.depth(frame_id)
        if found is None:
            return None
        depth, intrinsics = found
        depth = np.ascontiguousarray(depth, dtype=np.float32)
        points = np.empty((depth.size, 3), dtype=np.float32)
        k_inverse, c2w = np.linalg.inv(intrinsics.astype(np.float64)), np.linalg.inv(cameras.w2c[0])
        _kernels.unproject(depth, k_inverse, c2w, points)
        return PointMap(points.reshape(*depth.shape, 3), None)

    def has_depth(self, ids: Sequence[int]) -> bool:
        """Whether one of `ids` has a depth map, whether its scale fits the cameras or not."""
        return any(self._scene.depth_map(frame_id) is not None for frame_id in ids)

    def forget(self, frame_id: int) -> None:
        """Drop its depth map."""
        found = self._depths.pop(frame_id, None)
        self._kept -= 0 if found is None else found[0].nbytes

    def record(self) -> dict[str, Any]:
        """As given."""
        return self._record

    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None:
        """(depth map, its K) of a frame as the scene has it, kept until it is forgotten."""
        if frame_id not in self._depths:
            found = self._scene.depth(frame_id)
            size = 0 if found is None else found[0].nbytes
            if self._kept + size > _KEEP_BYTES:
                return found
            self._depths[frame_id] = found
            self._kept += size
        return self._depths[frame_id]
