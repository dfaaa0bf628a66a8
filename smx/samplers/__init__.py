"""Samplers: rules that order and pick n frames of a scene. One short file each, `class Sampler(BaseSampler)`.

The list a sampler returns is ordered: positions 2k and 2k+1 are merged into one tubelet by the vision
encoder, so consecutive pairs are part of the result.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from smx.errors import UserError
from smx.options import Options

if TYPE_CHECKING:
    import numpy as np

    from smx.geometry.voxels import VoxelSets

TUBELET = 2  # frames merged into one by the vision encoder (Qwen's temporal_patch_size)


class View(Protocol):
    """What a sampler may look at. Geometry is computed only when asked for, and cached."""

    @property
    def scene(self) -> str:
        """Scene id."""

    @property
    def frame_ids(self) -> np.ndarray:
        """[N] int64: every raw frame id of the scene, ascending."""

    @property
    def candidates(self) -> np.ndarray:
        """[T] int64 raw frame ids: linspace(0, N-1, min(128, N)) truncated, as positions in `frame_ids`."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the decoded frames, pixels."""

    def has_camera(self, ids: Sequence[int]) -> np.ndarray:
        """[n] bool: which of those frames have a finite pose. `SceneError` where the scene has no cameras at all."""

    def w2c(self, ids: Sequence[int]) -> np.ndarray:
        """[n, 4, 4] float64 of those frames. `SceneError` where a camera is missing or not finite."""

    def K(self, ids: Sequence[int]) -> np.ndarray:
        """[n, 3, 3] float64 intrinsics of those frames, pixels of the decoded frame."""

    def metric(self) -> bool:
        """Whether camera translations are metres."""

    def voxels(self, ids: Sequence[int]) -> VoxelSets:
        """Occupied voxels of those frames, on the grid fitted to the candidates."""


@dataclass(frozen=True)
class Choice:
    """An ordered pick. `ids` and `fill` have length n; pairs are (ids[2k], ids[2k+1])."""

    ids: list[int]
    fill: list[bool]  # True where the rule ran dry and the frame only fills up to n
    notes: dict[str, Any] = field(default_factory=dict)  # what the sampler wants recorded (window used …)


class BaseSampler(Options):
    """Contract of a sampler plugin. Fields are its options."""

    needs: ClassVar[frozenset[str]] = frozenset()  # subset of {"cameras", "voxels"}
    seeded: ClassVar[bool] = False  # True where the seed changes the pick; else every seed is the same sample set

    def requires(self) -> frozenset[str]:
        """What these options need; `needs`, unless an option asks for more."""
        return self.needs

    @abstractmethod
    def choose(self, view: View, n: int, seed: int) -> Choice:
        """Pick n frames (n even, n <= number of frames). Deterministic for (scene, options, seed)."""

    def check_frames(self, n: int) -> None:
        """`UserError` naming the two nearest valid counts, unless n is a positive multiple of `TUBELET`."""
        if n > 0 and n % TUBELET == 0:
            return
        below = n - n % TUBELET
        nearest = f"{below} or {below + TUBELET}" if below > 0 else f"{TUBELET} or {2 * TUBELET}"
        raise UserError(
            f"{n} frames cannot be paired: the vision encoder merges frames two by two", f"use {nearest} frames"
        )
