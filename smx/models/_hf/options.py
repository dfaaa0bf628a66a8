"""What a variant of base hf may say. Light on purpose (pydantic only)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from smx.models import BaseVLM


class HFOptions(BaseVLM):
    """Prompt, positions and pixels are the model's own; poses none."""

    show: Literal["auto", "video", "pictures"] = "auto"  # auto: a video where the processor and its template have them
    attention: Literal["auto", "flash_attention_2", "sdpa", "eager"] = "auto"  # auto: what transformers chooses
    processor: dict[str, Any] = Field(default_factory=dict)  # further arguments of it, as transformers names them

    @model_validator(mode="before")
    @classmethod
    def _poses_are_not_its(cls, values: Any) -> Any:
        """`pose: {kind: none}` may be said; another pose or `rope` is refused with the reason."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        pose = values.pop("pose", {})
        kind = pose.get("kind", "none") if isinstance(pose, dict) else pose
        if kind != "none":
            raise ValueError(
                f"base hf runs a model as transformers has it, without poses ({kind}): "
                "qwen2_5_vl, qwen3_vl and spatial_mllm take them"
            )
        if "rope" in values:
            raise ValueError("base hf runs a model at transformers' own positions: leave out 'rope'")
        return values

    def pipeline(self) -> list[tuple[str, str]]:
        """From frames to the answer, as far as it is the same for all of them."""
        shown = {
            "auto": "as a video where the checkpoint's processor and chat template have one, else as pictures",
            "video": "as a video",
            "pictures": "as pictures, in order",
        }
        return [
            ("frames", f"{shown[self.show]}, ahead of the question; resized as the processor has it"),
            ("positions", "transformers' own"),
            ("poses", "none"),
            ("language model", f"the checkpoint's, not trained here; attention {self.attention}"),
        ]
