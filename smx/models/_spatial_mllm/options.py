"""What a variant of base spatial_mllm may say, beside what every Qwen-like variant may. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import PrivateAttr, model_validator

from smx.models._vlm.options import QwenOptions
from smx.tokens import PATCH


class SpatialOptions(QwenOptions):
    """Which features the language model reads, and how the spatial ones are brought to its width."""

    has_vggt: ClassVar[bool] = True
    # Spatial-MLLM's training script; the rest of it is spec.Recipe's defaults.
    recipe: ClassVar[Mapping[str, Any]] = {"train": {"llm": None, "connector": 2e-5, "merger": 2e-5}}

    features: Literal["fused", "2d", "3d", "cat", "camera"] = "fused"
    connector: Literal["mlp_add", "spatial_merge"] = "mlp_add"

    _vggt_folder: Path | None = PrivateAttr(None)  # a place, no option: it is no part of what is hashed

    @property
    def vggt_folder(self) -> Path | None:
        """VGGT's own weights, for a checkpoint that has none."""
        return self._vggt_folder

    def beside(self, parts: Mapping[str, Path]) -> Self:
        """VGGT's folder, where it is one of its own."""
        made = self.model_copy()
        made._vggt_folder = parts.get("vggt", self._vggt_folder)
        return made

    @model_validator(mode="after")
    def _connector_fits(self) -> SpatialOptions:
        if self.connector == "spatial_merge" and (self.features, self.tubelets) != ("3d", "repeat"):
            raise ValueError(
                "spatial_merge keeps the tokens of every frame, so nothing else has as many: "
                f"it needs 'features: 3d' and 'tubelets: repeat', not {self.features} and {self.tubelets}"
            )
        return self

    def parts(self) -> Mapping[str, str]:
        """The connector and VGGT as well."""
        unread = "its features are 3d, without 2-D tokens" if self.features == "3d" else ""
        plain = "its features are 2d, without spatial tokens" if self.features == "2d" else ""
        return {"llm": "", "connector": plain, "merger": unread, "vision": unread, "vggt": "it runs without gradients"}

    def record(self) -> dict[str, Any]:
        """Features and connector as well."""
        return super().record() | {"features": self.features, "connector": self.connector}

    def learned(self) -> dict[str, Any]:
        """Features and connector as well."""
        return super().learned() | {"features": self.features, "connector": self.connector}

    def positions(self) -> dict[str, Any]:
        """VGGT's camera tokens have places of their own."""
        return super().positions() | {"camera tokens": self.features == "camera"}

    def encoders(self) -> list[tuple[str, str]]:
        """Qwen's encoder and VGGT side by side, and how they meet."""
        stages = [] if self.features == "3d" else super().encoders()
        if self.vggt_parts():
            heads = " and camera head" if "camera_head" in self.vggt_parts() else ""
            stages.append(("geometry", f"VGGT's aggregator{heads}, frozen: every frame 5 + P tokens of 2,048"))
        merged = "2x2 patches of one frame" if self.connector == "spatial_merge" else "2x2 patches of 2 frames"
        met = {
            "fused": f"{self.connector}, trained: {merged} become one spatial token, added to the 2-D one",
            "2d": "none: 2-D tokens alone",
            "3d": f"{self.connector}, trained: {merged} become one spatial token, in place of the 2-D one",
            "cat": f"{self.connector}, trained: 2-D tokens fill half of the width, spatial ones the other half",
            "camera": "trained: VGGT's camera token of each frame, behind the video's 2-D tokens",
        }
        return [*stages, ("connector", met[self.features])]

    def token_words(self) -> list[tuple[str, str]]:
        """One more per frame where camera tokens are read."""
        from smx.models._vlm import describe

        return describe.tokens(self.pixels, self.tubelets, PATCH, beside=int(self.features == "camera"))

    def connects(self) -> bool:
        """Whether spatial tokens go through the connector."""
        return self.features in ("fused", "3d", "cat")

    def vggt_parts(self) -> frozenset[str]:
        """The parts of VGGT that are run."""
        if self.pose.encoding.reads_cameras and self.pose.source == "vggt":
            return frozenset(("aggregator", "camera_head"))
        return frozenset() if self.features == "2d" else frozenset(("aggregator",))

    def layers(self, spatial: int, depth: int) -> tuple[int, ...]:
        """Which of the aggregator's `depth` layers are read; nothing beyond the last of them is built or computed.

        `spatial`: the layer whose tokens the checkpoint's connector takes.
        """
        read = {spatial} if self.connects() else set()
        if self.features == "camera" or "camera_head" in self.vggt_parts():
            read.add(depth - 1)
        return tuple(sorted(read))
