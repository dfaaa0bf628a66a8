"""CaPE of "EscherNet" (6-DoF): P = w2c, in the logits alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from smx.models._vlm.poses import Matrix, PoseEncoding


class Encoding(PoseEncoding):
    """Logits between cameras i and j see w2c_j · w2c_i⁻¹; values and output stay as they are."""

    words: ClassVar[str] = "CaPE: extrinsics, in the logits alone"
    acts: ClassVar[Mapping[str, Matrix]] = {"q": "P_inv", "k": "P.T"}
