"""What a Qwen-like variant file may say: rotary positions, pose attention, tubelets, attention backend.

Light on purpose (pydantic only): the login node validates variants with it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from smx.models import BaseVLM, Decoding
from smx.models._vlm import generation_config
from smx.models._vlm.checkpoint_json import memory, tokens_per_second
from smx.models._vlm.position_options import Pose, Rope
from smx.tokens import FRAME_PIXELS, PATCH


class VisionOptions(BaseVLM):
    """Options shared by every base model that looks at frames."""

    trainable: ClassVar[bool] = True
    # As Spatial-MLLM's training script has it, for its base too: who compares the two compares what they see.
    recipe: ClassVar[Mapping[str, Any]] = {"train": {"llm": None, "merger": 2e-5}}

    tubelets: Literal["pair", "repeat"] = "pair"
    attention: Literal["auto", "flash_attention_2", "sdpa", "flex", "eager"] = "auto"
    pixels: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = FRAME_PIXELS  # per frame: fewest, most
    allow_position_mismatch: bool = False  # run a checkpoint at other positions than it was trained with

    @model_validator(mode="after")
    def _budget_in_order(self) -> Self:
        if self.pixels[0] > self.pixels[1]:
            raise ValueError("'pixels' is [fewest, most]: the first must not be larger")
        return self

    def parts(self) -> Mapping[str, str]:
        """The language model with its head, what brings vision tokens to its width, the vision encoder."""
        return {"llm": "", "merger": "", "vision": ""}

    def fate(self, part: str) -> str:
        """What training does to a part where the recipe says nothing else: "trained" or "frozen"."""
        return "trained" if part in self.recipe.get("train", self.parts()) else "frozen"

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

    def checkpoint_decoding(self, checkpoint: Path) -> Decoding:
        """Of its generation_config.json."""
        return generation_config.decoding_of(checkpoint)

    def left_out_by_greedy(self, checkpoint: Path) -> str:
        """Of its generation_config.json."""
        return generation_config.left_out(checkpoint)

    def adds_bias(self) -> bool:
        """Whether attention needs a bias on its logits, which flash attention cannot take."""
        return False

    def record(self) -> dict[str, Any]:
        """What a run records of these options, effective values in words."""
        return {
            **{name.replace(" ", "_"): value for name, value in self.positions().items()},
            "pixels": list(self.pixels),
        }


class PosedOptions(VisionOptions):
    """Options shared by every base model whose attention takes camera poses."""

    has_vggt: ClassVar[bool] = False  # whether `pose.source: vggt` has cameras to give

    pose: Pose = Pose()

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

    def adds_bias(self) -> bool:
        """Where the pose encoding is one."""
        return self.pose.encoding.biased

    def learned(self) -> dict[str, Any]:
        """What weights get used to in training, besides positions."""
        if not self.pose.encoding.reads_cameras:
            return {"pose": self.pose.kind}
        details = self.pose.model_dump(mode="json", exclude={"kind"})
        return {"pose": self.pose.kind} | {f"pose {name}": value for name, value in details.items()}

    def training_mismatch(self, trained: Mapping[str, Any]) -> str:
        """Positions, poses, features and connector."""
        before = type(self).parse(dict(trained), "the training's options")
        ours, theirs = ({**each.positions(), **each.learned()} for each in (self, before))
        other = [name for name in theirs if name in ours and theirs[name] != ours[name]]
        if not other:
            return ""
        was, now = (" and ".join(f"{name} {each[name]}" for name in other) for each in (theirs, ours))
        return f"was trained with {was}, this variant would run it with {now}"

    def record(self) -> dict[str, Any]:
        """Poses as well."""
        return super().record() | {"pose": self.pose.model_dump(mode="json")}


class QwenOptions(PosedOptions):
    """Options shared by every base model of the Qwen2.5-VL architecture."""

    sections: ClassVar[tuple[int, int, int]] = (16, 24, 24)  # rotary pairs of t, h, w in a head

    rope: Rope = Rope()
    trained_stride: Annotated[float, Field(ge=0)] | None = None  # for checkpoints that do not carry it themselves

    def reads_times(self) -> bool:
        """With `seconds_per_grid: auto`; every other stride is fixed."""
        return self.rope.fixed_stride() is None

    def at(self, checkpoint: Path | None) -> Self:
        """Tokens per second are the checkpoint's, where the variant names none."""
        if self.rope.tokens_per_second is not None or (checkpoint and not (checkpoint / "config.json").is_file()):
            return self
        return self._at_rate(self.rope.rate if checkpoint is None else tokens_per_second(checkpoint))

    def like(self, trained: BaseVLM) -> Self:
        """Tokens per second are those of the training, where the variant names none."""
        assert isinstance(trained, QwenOptions)
        return self if self.rope.tokens_per_second is not None else self._at_rate(trained.rope.rate)

    def _at_rate(self, rate: float) -> Self:
        return self.model_copy(update={"rope": self.rope.model_copy(update={"tokens_per_second": rate})})

    def resolved(self) -> dict[str, Any]:
        """Where a clip's seconds come from is said only where they are read: elsewhere it changes nothing."""
        content = super().resolved()
        if self.rope.fixed_stride() is not None:
            del content["rope"]["auto"]
        return content

    def position_mismatch(self, checkpoint: Path) -> str:
        """As above; and tokens per second that the variant names, where the checkpoint's own are others."""
        named = self.rope.tokens_per_second
        if named is not None and self.rope.reads_rate and (checkpoint / "config.json").is_file():
            own = tokens_per_second(checkpoint)
            if own != named:
                return f"has tokens_per_second {own:g} in its vision_config, this variant would run it with {named:g}"
        return super().position_mismatch(checkpoint)

    def stride_word(self) -> float | str:
        """A number, or "auto x tokens_per_second"."""
        return self.rope.stride_word()

    def positions(self) -> dict[str, Any]:
        """As above; `thw` and `hw` are told apart by their stride alone."""
        return super().positions() | {"text start": self.rope.text_start, "rope layout": self.rope.layout}

    def pipeline(self) -> list[tuple[str, str]]:
        """Frames, encoder, positions, poses, language model, tokens."""
        from smx.models._vlm import describe

        language = ("language model", f"{self.fate('llm')}; attention {self.attention}")
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
        return [("vision", f"Qwen2.5-VL's encoder, {self.fate('vision')}; its merger, {self.fate('merger')}")]

    def token_words(self) -> list[tuple[str, str]]:
        """How many tokens a frame becomes."""
        from smx.models._vlm import describe

        return describe.tokens(self.pixels, self.tubelets, PATCH)

    def record(self) -> dict[str, Any]:
        """The rotary base as well."""
        return super().record() | {"rope_base": self.rope.base}
