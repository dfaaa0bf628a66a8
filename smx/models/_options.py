"""What a Qwen-like variant file may say: rotary positions, pose attention, tubelets, attention backend.

Light on purpose (pydantic only): the login node validates variants with it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from smx.models import BaseVLM
from smx.options import Options
from smx.tokens import FRAME_PIXELS

LATER_POSES = ("cape", "geo_alibi")


class Rope(Options):
    """Rotary positions of the video and of the text behind it."""

    base: Literal["thw", "hw"] = "thw"  # hw: every visual token has the video's start as its time
    temporal: Literal["index", "seconds", "constant", "stride"] = "seconds"
    stride: Annotated[float, Field(gt=0)] | None = None  # for `temporal: stride`
    tokens_per_second: Annotated[float, Field(gt=0)] = 2.0
    seconds_per_grid: Annotated[float, Field(gt=0)] | Literal["auto"] = 1.0  # auto: from the frames' timestamps
    text_start: Literal["max", "grid"] = "max"

    @model_validator(mode="after")
    def _stride_only_where_read(self) -> Rope:
        if (self.temporal == "stride") != (self.stride is not None):
            raise ValueError("'stride' and 'temporal: stride' belong together: give both or neither")
        return self

    def fixed_stride(self) -> float | None:
        """Temporal step between tubelets in position ids; None where it depends on the frames' timestamps."""
        if self.base == "hw" or self.temporal == "constant":
            return 0.0
        if self.temporal == "index":
            return 1.0
        if self.temporal == "stride":
            return self.stride
        return None if self.seconds_per_grid == "auto" else self.seconds_per_grid * self.tokens_per_second

    def stride_word(self) -> float | str:
        """The stride as it is recorded: a number, or "auto x tokens_per_second"."""
        fixed = self.fixed_stride()
        return f"auto x {self.tokens_per_second:g}" if fixed is None else fixed


class Pose(Options):
    """Camera poses inside the LLM's attention (models.md, "Pose attention")."""

    kind: Literal["none", "prope", "gta", "cape", "geo_alibi"] = "none"
    dims: str = "auto"  # auto | low | high | section:t | section:h | section:w
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.25
    apply: Literal["qkvo", "qk", "vo"] = "qkvo"
    use: Literal["both", "rotation", "translation"] = "both"
    tubelet: Literal["first", "mean", "split"] = "first"
    scale: Literal["mean", "max", "none"] = "mean"
    reference: Literal["first", "middle", "medoid"] = "first"

    @field_validator("kind")
    @classmethod
    def _kind_exists(cls, kind: str) -> str:
        if kind in LATER_POSES:
            raise ValueError(f"{kind} is not built yet; use none, prope or gta")
        return kind

    @field_validator("dims")
    @classmethod
    def _dims_exist(cls, dims: str) -> str:
        valid = ("auto", "low", "high", "section:t", "section:h", "section:w")
        if dims not in valid:
            raise ValueError(f"must be one of {', '.join(valid)}")
        return dims


class QwenOptions(BaseVLM):
    """Options shared by every base model of the Qwen2.5-VL architecture."""

    trainable: ClassVar[bool] = True

    rope: Rope = Rope()
    pose: Pose = Pose()
    tubelets: Literal["pair", "repeat"] = "pair"
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    trained_stride: Annotated[float, Field(ge=0)] | None = None  # for checkpoints that do not carry it themselves
    pixels: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = FRAME_PIXELS  # per frame: fewest, most

    @model_validator(mode="after")
    def _budget_in_order(self) -> QwenOptions:
        if self.pixels[0] > self.pixels[1]:
            raise ValueError("'pixels' is [fewest, most]: the first must not be larger")
        return self

    def wants_cameras(self) -> bool:
        """Pose attention reads w2c and K; nothing else here does."""
        return self.pose.kind != "none"
