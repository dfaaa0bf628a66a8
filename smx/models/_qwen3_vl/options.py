"""What a variant of base qwen3_vl may say. Light on purpose (pydantic only)."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from smx.models._vlm.options import VisionOptions

PATCH = 16  # Qwen3-VL's; tubelets and merge are Qwen2.5-VL's
STRIDE = "timestamps in the text"


class Qwen3Options(VisionOptions):
    """Positions are the architecture's own: time stands in the prompt, before each pair of frames."""

    @model_validator(mode="before")
    @classmethod
    def _positions_are_its_own(cls, values: Any) -> Any:
        """`pose: {kind: none}` may be said; another pose or `rope` is refused with the reason."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        pose = values.pop("pose", {})
        kind = pose.get("kind", "none") if isinstance(pose, dict) else pose
        if kind != "none":
            raise ValueError(
                f"pose {kind} is not built for qwen3_vl yet: use base qwen2_5_vl or spatial_mllm, or leave out 'pose'"
            )
        if "rope" in values:
            raise ValueError(
                "qwen3_vl has positions of its own (a timestamp before each pair of frames): leave out 'rope'"
            )
        return values

    def pipeline(self) -> list[tuple[str, str]]:
        """Frames, encoder, positions, language model, tokens."""
        from smx.models._vlm import describe

        return [
            *describe.frames(self.pixels, self.tubelets, PATCH),
            (
                "vision",
                f"Qwen3-VL's encoder, {self.fate('vision')}; its mergers, {self.fate('merger')}; "
                "three of its layers also reach the first LLM layers",
            ),
            ("positions", "row and column in a block per tubelet; time is a timestamp in the text before it"),
            ("poses", "none"),
            ("language model", f"{self.fate('llm')}; attention {self.attention}"),
            *describe.tokens(self.pixels, self.tubelets, PATCH),
        ]

    def reads_times(self) -> bool:
        """They stand in the prompt."""
        return True

    def stride_word(self) -> str:
        """No number: the temporal position of a video token is that of the text around it."""
        return STRIDE
