"""What a variant of base qwen3_vl may say. Light on purpose (pydantic only)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import model_validator

from smx.models._vlm.options import PosedOptions
from smx.models._vlm.position_options import Pose, Rope

PATCH = 16  # Qwen3-VL's; tubelets and merge are Qwen2.5-VL's
STRIDE = "timestamps in the text"
LAYOUT = Rope(layout="interleaved")  # of its rotary sections, as transformers' Qwen3VLTextRotaryEmbedding has them
SECTIONS = (24, 20, 20)  # rotary pairs of t, h, w in a head


class Qwen3Options(PosedOptions):
    """Positions are the architecture's own: time stands in the prompt, before each pair of frames."""

    later: ClassVar[Mapping[str, Any]] = {"pose": Pose().model_dump(mode="json")}

    @model_validator(mode="before")
    @classmethod
    def _positions_are_its_own(cls, values: Any) -> Any:
        """`rope` is refused with the reason."""
        if isinstance(values, dict) and "rope" in values:
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
            *describe.pose(self.pose, LAYOUT, SECTIONS, self.tubelets),
            ("language model", f"{self.fate('llm')}; attention {self.attention}"),
            *describe.tokens(self.pixels, self.tubelets, PATCH),
        ]

    def reads_times(self) -> bool:
        """They stand in the prompt."""
        return True

    def stride_word(self) -> str:
        """No number: the temporal position of a video token is that of the text around it."""
        return STRIDE
