"""GTA, "GTA: A Geometry-Aware Attention Mechanism": as PRoPE without intrinsics, P = w2c."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from smx.models._vlm.poses import Matrix, PoseEncoding


class Encoding(PoseEncoding):
    """A token of camera i sees one of camera j through w2c_i · w2c_j⁻¹, in the logits and in what is read."""

    words: ClassVar[str] = "GTA: extrinsics"
    acts: ClassVar[Mapping[str, Matrix]] = {"q": "P.T", "k": "P_inv", "v": "P_inv", "o": "P"}
