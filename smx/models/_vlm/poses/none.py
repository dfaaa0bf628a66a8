"""No cameras: the base model as it is."""

from __future__ import annotations

from typing import ClassVar

from smx.models._vlm.poses import PoseEncoding


class Encoding(PoseEncoding):
    """Changes nothing."""

    words: ClassVar[str] = "none"
