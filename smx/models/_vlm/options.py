"""What a Qwen-like variant file may say: rotary positions, pose attention, tubelets, attention backend.

Light on purpose (pydantic only): the login node validates variants with it.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from smx.models import BaseVLM
from smx.models._vlm.checkpoint_json import memory
from smx.models._vlm.position_options import Pose, Rope
from smx.tokens import FRAME_PIXELS, PATCH


class VisionOptions(BaseVLM):
    """Options shared by every base model that looks at frames."""

    trainable: ClassVar[bool] = True

    tubelets: Literal["pair", "repeat"] = "pair"
    attention: Literal["auto", "flash_attention_2", "sdpa", "flex", "eager"] = "auto"
    pixels: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = FRAME_PIXELS  # per frame: fewest, most
    allow_position_mismatch: bool = False  # run a checkpoint at other positions than it was trained with

    @model_validator(mode="after")
    def _budget_in_order(self) -> Self:
        if self.pixels[0] > self.pixels[1]:
            raise ValueError("'pixels' is [fewest, most]: the first must not be larger")
        return self

    @abstractmethod
    def stride_word(self) -> float | str:
        """The temporal stride as it is recorded and compared with a checkpoint's."""

    def positions(self) -> dict[str, Any]:
        """Everything that the position ids of a prompt depend on, but its words and its grid: effective values."""
        return {"temporal stride": self.stride_word(), "tubelets": self.tubelets}

    def position_mismatch(self, checkpoint: Path) -> str:
        """`was trained with temporal stride 1, this variant would run it with 2`; empty where nothing known differs.

        Checkpoints that smx made carry their positions; of others only the stride is known, where the variant says so.
        """
        stride = getattr(self, "trained_stride", None)
        trained: dict[str, Any] = {} if stride is None else {"temporal stride": stride}
        trained = memory(checkpoint).get("positions") or trained
        ours = self.positions()
        other = [name for name in trained if name in ours and trained[name] != ours[name]]
        if not other:
            return ""
        before = " and ".join(f"{name} {trained[name]}" for name in other)
        return f"was trained with {before}, this variant would run it with {' and '.join(str(ours[n]) for n in other)}"

    def adds_bias(self) -> bool:
        """Whether attention needs a bias on its logits, which flash attention cannot take."""
        return False

    def record(self) -> dict[str, Any]:
        """What a run records of these options, effective values in words."""
        return {
            **{name.replace(" ", "_"): value for name, value in self.positions().items()},
            "pixels": list(self.pixels),
        }


class QwenOptions(VisionOptions):
    """Options shared by every base model of the Qwen2.5-VL architecture."""

    has_vggt: ClassVar[bool] = False  # whether `pose.source: vggt` has cameras to give
    sections: ClassVar[tuple[int, int, int]] = (16, 24, 24)  # rotary pairs of t, h, w in a head

    rope: Rope = Rope()
    pose: Pose = Pose()
    trained_stride: Annotated[float, Field(ge=0)] | None = None  # for checkpoints that do not carry it themselves

    @model_validator(mode="after")
    def _parts_that_fit(self) -> Self:
        if self.pose.source == "vggt" and not self.has_vggt:
            raise ValueError(
                "'pose.source: vggt' needs a base with a VGGT of its own: use sample (smx gen makes cameras)"
            )
        if self.adds_bias() and self.attention == "flash_attention_2":
            raise ValueError(
                f"{self.pose.kind} adds a bias to the logits, flash attention takes none: use auto or sdpa"
            )
        return self

    def wants_cameras(self) -> bool:
        """Pose attention reads w2c and K of the sample set; nothing else here does."""
        return self.pose.encoding.reads_cameras and self.pose.source == "sample"

    def reads_times(self) -> bool:
        """With `seconds_per_grid: auto`; every other stride is fixed."""
        return self.rope.fixed_stride() is None

    def stride_word(self) -> float | str:
        """A number, or "auto x tokens_per_second"."""
        return self.rope.stride_word()

    def positions(self) -> dict[str, Any]:
        """As above; `thw` and `hw` are told apart by their stride alone."""
        return super().positions() | {"text start": self.rope.text_start, "rope layout": self.rope.layout}

    def pipeline(self) -> list[tuple[str, str]]:
        """Frames, encoder, positions, poses, language model, tokens."""
        from smx.models._vlm import describe

        language = ("language model", f"trained; attention {self.attention}")
        return [
            *describe.frames(self.pixels, self.tubelets, PATCH),
            *self.encoders(),
            *describe.positions(self.rope, self.sections, self.trained_stride),
            *describe.pose(self.pose, self.rope, self.sections, self.tubelets),
            language,
            *self.token_words(),
        ]

    def encoders(self) -> list[tuple[str, str]]:
        """What frames go through before the language model, and what of it is trained."""
        return [("vision", "Qwen2.5-VL's encoder and merger, trained")]

    def token_words(self) -> list[tuple[str, str]]:
        """How many tokens a frame becomes."""
        from smx.models._vlm import describe

        return describe.tokens(self.pixels, self.tubelets, PATCH)

    def adds_bias(self) -> bool:
        """Where the pose encoding is one."""
        return self.pose.encoding.biased

    def record(self) -> dict[str, Any]:
        """Positions and poses as well."""
        return super().record() | {
            "rope_base": self.rope.base,
            "pose": self.pose.model_dump(mode="json"),
        }
