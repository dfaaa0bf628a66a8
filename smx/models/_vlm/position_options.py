"""What a variant file may say of rotary positions and of camera poses in the attention. Light: pydantic only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from smx.errors import nearest
from smx.models._vlm import poses
from smx.models._vlm.poses import PROJECTIONS, PoseEncoding
from smx.options import Options

APPLY = ("qkvo", "qk", "vo")


RELEASED_RATE = 2.0  # vision_config.tokens_per_second of Qwen2.5-VL as released, and of the tiny model


class Rope(Options):
    """Rotary positions of the video and of the text behind it."""

    base: Literal["thw", "hw"] = "thw"  # hw: every visual token has the video's start as its time
    temporal: Literal["index", "seconds", "constant", "stride"] = "seconds"
    stride: Annotated[float, Field(gt=0)] | None = None  # for `temporal: stride`
    tokens_per_second: Annotated[float, Field(gt=0)] | None = None  # the checkpoint's, where no other is named
    seconds_per_grid: Annotated[float, Field(gt=0)] | Literal["auto"] = 1.0  # auto: from the clip
    auto: Literal["duration"] = "duration"  # of the clip over its frames; runs that lack it took the frames' spacing
    text_start: Literal["max", "grid"] = "max"
    layout: Literal["chunked", "interleaved"] = "chunked"  # of the rotary sections: t…h…w… or thwthw…

    @model_validator(mode="after")
    def _stride_only_where_read(self) -> Rope:
        if (self.temporal == "stride") != (self.stride is not None):
            raise ValueError("'stride' and 'temporal: stride' belong together: give both or neither")
        return self

    @property
    def rate(self) -> float:
        """Tokens per second; the released checkpoints', where neither variant nor checkpoint has said."""
        return RELEASED_RATE if self.tokens_per_second is None else self.tokens_per_second

    @property
    def reads_rate(self) -> bool:
        """Whether tokens per second decide anything."""
        return self.base == "thw" and self.temporal == "seconds"

    def fixed_stride(self) -> float | None:
        """Temporal step between tubelets in position ids; None where it depends on the frames' timestamps."""
        if self.base == "hw" or self.temporal == "constant":
            return 0.0
        if self.temporal == "index":
            return 1.0
        if self.temporal == "stride":
            return self.stride
        return None if self.seconds_per_grid == "auto" else self.seconds_per_grid * self.rate

    def stride_word(self) -> float | str:
        """The stride as it is recorded: a number, or "auto x tokens_per_second"."""
        fixed = self.fixed_stride()
        return f"auto x {self.rate:g}" if fixed is None else fixed


class Pose(Options):
    """Camera poses inside the LLM's attention: docs/poses.md."""

    kind: Annotated[str, Field(json_schema_extra=lambda schema: schema.update(enum=list(poses.names())))] = "none"
    dims: str = "auto"  # auto | low | high | section:t | section:h | section:w
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.25
    apply: Annotated[str, Field(json_schema_extra={"enum": list(APPLY)})] = "qkvo"  # the default: all that a kind has
    use: Literal["both", "rotation", "translation"] = "both"
    tubelet: Literal["first", "mean", "split"] = "first"
    scale: Literal["mean", "max", "none"] = "mean"
    reference: Literal["first", "middle", "medoid"] = "first"
    source: Literal["sample", "vggt"] = "sample"  # cameras of the sample set, or those the model's own VGGT finds

    @property
    def encoding(self) -> PoseEncoding:
        """What its kind does."""
        return poses.encoding(self.kind)

    @model_validator(mode="before")
    @classmethod
    def _applied_to_what_there_is(cls, values: Any) -> Any:
        """What a kind applies to is recorded as what it is, also where the file leaves it out."""
        if isinstance(values, dict) and values.get("kind") in poses.names() and "apply" not in values:
            return {**values, "apply": poses.encoding(values["kind"]).apply}
        return values

    @field_validator("kind")
    @classmethod
    def _kind_exists(cls, kind: str) -> str:
        if kind not in poses.names():
            raise ValueError(f"no pose encoding is called so; {nearest(kind, poses.names(), 'valid kinds')}")
        return kind

    @model_validator(mode="after")
    def _options_the_kind_reads(self) -> Pose:
        kind = self.encoding
        if self.apply not in (*APPLY, kind.apply):
            raise ValueError(f"'apply' must be one of {', '.join(APPLY)}, not {self.apply}")
        if kind.acts and set(self.apply) - set(kind.acts):
            only = " and ".join(words for name, words in PROJECTIONS.items() if name in kind.acts)
            raise ValueError(f"{self.kind} acts on {only} only: 'apply' is {kind.apply}, not {self.apply}")
        unread = [name for name in kind.unread if getattr(self, name) != type(self).model_fields[name].default]
        if unread:
            raise ValueError(f"{self.kind} ({kind.words}) reads no {', '.join(unread)}: leave out")
        kind.check(self.model_dump())
        return self

    @field_validator("dims")
    @classmethod
    def _dims_exist(cls, dims: str) -> str:
        valid = ("auto", "low", "high", "section:t", "section:h", "section:w")
        if dims not in valid:
            raise ValueError(f"must be one of {', '.join(valid)}")
        return dims
