"""geo-ALiBi: logits of two video tokens fall by slope x angle between their cameras, slope 2^(-8h/H) of head h."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from smx.geometry import pose_attention as pa
from smx.models._vlm.poses import PoseEncoding

if TYPE_CHECKING:
    from torch import Tensor


class Encoding(PoseEncoding):
    """A bias; queries, keys and values stay as they are."""

    words: ClassVar[str] = "geo-ALiBi: a bias of -slope x angle between two cameras, a slope per head"
    biased: ClassVar[bool] = True
    # an angle has no unit and no world
    unread: ClassVar[tuple[str, ...]] = ("dims", "fraction", "apply", "use", "scale", "reference")

    def check(self, options: Mapping[str, Any]) -> None:
        """A token has one angle to another."""
        if options["tubelet"] == "split":
            raise ValueError("geo_alibi has no blocks to split between two cameras: use tubelet first or mean")

    def bias(self, P: Tensor, heads: int) -> Tensor:
        """−slope · angle in radians, of P = w2c."""
        angles = pa.rotation_angles(P)
        return -angles.new_tensor(pa.slopes(heads))[:, None, None] * angles[:, None]
