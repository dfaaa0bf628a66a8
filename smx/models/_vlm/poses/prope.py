"""PRoPE, "Cameras as Relative Positional Encoding": P is the whole projection, K in units of the image times w2c."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from smx.models._vlm.poses import Matrix, PoseEncoding


class Encoding(PoseEncoding):
    """A token of camera i sees one of camera j through P_i · P_j⁻¹, in the logits and in what is read."""

    words: ClassVar[str] = "PRoPE: extrinsics and intrinsics"
    intrinsics: ClassVar[bool] = True
    acts: ClassVar[Mapping[str, Matrix]] = {"q": "P.T", "k": "P_inv", "v": "P_inv", "o": "P"}
