"""What a Qwen-like variant file may say: rotary positions, pose attention, tubelets, attention backend.

Light on purpose (pydantic only): the login node validates variants with it.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from smx.errors import nearest
from smx.models import BaseVLM
from smx.models._vlm import poses
from smx.models._vlm.poses import PROJECTIONS, PoseEncoding
from smx.options import Options
from smx.tokens import FRAME_PIXELS, PATCH

APPLY = ("qkvo", "qk", "vo")


class Rope(Options):
    """Rotary positions of the video and of the text behind it."""

    base: Literal["thw", "hw"] = "thw"  # hw: every visual token has the video's start as its time
    temporal: Literal["index", "seconds", "constant", "stride"] = "seconds"
    stride: Annotated[float, Field(gt=0)] | None = None  # for `temporal: stride`
    tokens_per_second: Annotated[float, Field(gt=0)] = 2.0
    seconds_per_grid: Annotated[float, Field(gt=0)] | Literal["auto"] = 1.0  # auto: from the frames' timestamps
    text_start: Literal["max", "grid"] = "max"
    layout: Literal["chunked", "interleaved"] = "chunked"  # of the rotary sections: t…h…w… or thwthw…

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
        """By what the checkpoint remembers, or the variant's `trained_stride`."""
        from smx.models._vlm.checkpoint import position_mismatch

        return position_mismatch(checkpoint, self)

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
        stages = [*describe.frames(self, PATCH), *self.encoders()]
        return [*stages, *describe.positions(self), *describe.pose(self), language, *self.token_words()]

    def encoders(self) -> list[tuple[str, str]]:
        """What frames go through before the language model, and what of it is trained."""
        return [("vision", "Qwen2.5-VL's encoder and merger, trained")]

    def token_words(self) -> list[tuple[str, str]]:
        """How many tokens a frame becomes."""
        from smx.models._vlm import describe

        return describe.tokens(self, PATCH)

    def adds_bias(self) -> bool:
        """Where the pose encoding is one."""
        return self.pose.encoding.biased

    def record(self) -> dict[str, Any]:
        """Positions and poses as well."""
        return super().record() | {
            "rope_base": self.rope.base,
            "pose": self.pose.model_dump(mode="json"),
        }
