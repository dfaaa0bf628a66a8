"""Pose encodings: the ways in which cameras enter a language model's attention.

One file each: `poses/<kind>.py` holds `class Encoding(PoseEncoding)`, and its name is what a variant says as
`pose.kind`. Options, checks, hooks, words and tests read the class; nothing else names a kind. Light: no torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from smx.geometry import pose_attention as pa

if TYPE_CHECKING:
    from torch import Tensor

Matrix = Literal["P", "P.T", "P_inv"]
PROJECTIONS = {"q": "queries", "k": "keys", "v": "values", "o": "the output"}


class PoseEncoding:
    """The camera of a frame is a 4x4 matrix P; what P is, and where it or its inverse acts, is what kinds differ in.

    A kind without `acts` and without `bias` brings no cameras in.
    """

    words: ClassVar[str]  # what it is, after "poses" in `smx list models NAME`
    intrinsics: ClassVar[bool] = False  # P holds K: frames without one are refused
    acts: ClassVar[Mapping[str, Matrix]] = {}  # q, k, v, o -> what multiplies the 4-blocks of a video token there
    biased: ClassVar[bool] = False  # `bias` is added to the logits between video tokens
    unread: ClassVar[tuple[str, ...]] = ()  # options of `Pose` that would change nothing, and are refused

    @property
    def reads_cameras(self) -> bool:
        """Whether it needs the cameras of the frames."""
        return bool(self.acts) or self.biased

    @property
    def apply(self) -> str:
        """The projections it acts on, as `pose.apply` spells them; all where it acts on none."""
        return "".join(name for name in PROJECTIONS if name in self.acts) or "".join(PROJECTIONS)

    def check(self, options: Mapping[str, Any]) -> None:
        """`ValueError` where `options`, a `Pose` by names, say what this kind cannot do."""

    def matrices(self, w2c: Tensor, K: Tensor, size: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """P and P⁻¹ [..., 4, 4] of cameras `w2c` [..., 4, 4] and `K` [..., 3, 3] in pixels of `size` (W, H)."""
        return pa.projections(w2c, K if self.intrinsics else None, size)

    def bias(self, P: Tensor, heads: int) -> Tensor:
        """What is added to each head's logits between the tokens of two tubelets: [B, T, 4, 4] -> [B, heads, T, T]."""
        return P.new_zeros(P.shape[0], heads, P.shape[1], P.shape[1])


@cache
def names() -> tuple[str, ...]:
    """Every kind, sorted."""
    return tuple(sorted(file.stem for folder in __path__ for file in Path(folder).glob("[!_]*.py")))


@cache
def encoding(kind: str) -> PoseEncoding:
    """The encoding of a kind that `names` has."""
    found: PoseEncoding = importlib.import_module(f"{__name__}.{kind}").Encoding()
    return found
