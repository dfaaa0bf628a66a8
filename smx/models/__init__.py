"""Base models: what a variant file's `base:` may name. One file each, `class Model(BaseVLM)`.

The class itself is light (options only); torch and transformers are imported by `load`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from smx.errors import UserError
from smx.options import Options

if TYPE_CHECKING:
    import numpy as np
    import torch


WHOLE = "model"  # the one part of a base model that names none


@dataclass(frozen=True)
class SceneInput:
    """The chosen frames of one scene, in list order."""

    scene: str
    frames: np.ndarray  # [n, H, W, 3] uint8 RGB
    timestamps: np.ndarray  # [n] float64 seconds, NaN where unknown: then no model is asked that reads them
    w2c: np.ndarray | None = None  # [n, 4, 4] float64, OpenCV axes
    K: np.ndarray | None = None  # [n, 3, 3] pixels of `frames`
    duration: float | None = None  # seconds of the whole clip that they were chosen from; None where unknown


@dataclass(frozen=True)
class Query:
    """One question, ready to be asked: `text` is the whole user prompt after the video."""

    id: str
    text: str
    type: str  # question type of the bench
    options: tuple[str, ...] | None = None  # None for open (numerical, short) answers


@dataclass(frozen=True)
class AnswerCost:
    """What an answer took. Questions answered together share their time, and a scene's questions that of its video."""

    seconds: float
    together: int  # questions answered at once, this one among them
    peak_memory: int = 0  # bytes: of the GPU since the scene began, or of the process so far
    halved: int = 0  # times that memory was not enough so far, and fewer were answered at once from then on
    dollars: float | None = None  # where an endpoint or its price list says
    by: str = ""  # the model that an endpoint says has answered


@dataclass(frozen=True)
class Reply:
    """What the model said, raw."""

    text: str
    prompt_tokens: int = 0
    new_tokens: int = 0
    cost: AnswerCost | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Decoding:
    """How each token of an answer is chosen: the most likely one, after what a checkpoint asks for."""

    # As in transformers: logits of ids that the prompt or the answer holds are divided by it, negative ones multiplied.
    repetition_penalty: float = 1.0
    stops: frozenset[int] | None = None  # ids that end an answer; None: those of the prompt's format
    note: str = ""  # what else was asked for and comes to the same, in words


class Runner(ABC):
    """A loaded model, on one device. Built by `Model.load`, used by eval."""

    untrained: bool = False  # weights are random: every table says so
    info: dict[str, Any]  # recorded with the run: effective temporal stride, attention, dtype, parameters …
    decoding: Decoding = Decoding()  # set by eval before it asks: what `decoding: checkpoint` found
    share_prefix: bool = True  # False: every question by itself, its video computed again; the slow reference

    @abstractmethod
    def answer(self, scene: SceneInput | None, queries: Sequence[Query], max_new_tokens: int) -> Iterator[Reply]:
        """Greedy answers, in order, each yielded as soon as it is known. `scene` is None for blind models.

        An exception for one query must not spoil the next: the caller calls again with the remaining ones.
        """

    def outcomes(
        self, scene: SceneInput | None, queries: Sequence[Query], max_new_tokens: int
    ) -> Iterator[Reply | Exception]:
        """One outcome per query, in order: its answer, or what it raised."""
        left = list(queries)
        while left:
            answers = self.answer(scene, tuple(left), max_new_tokens)
            for _ in tuple(left):
                left.pop(0)
                try:
                    yield next(answers)
                except Exception as error:  # noqa: BLE001 - this query's outcome
                    yield error
                    break  # the iterator is spent; the rest is asked anew

    def adapt(self, adapter: Path) -> None:
        """Merge a LoRA adapter, which `Model.check_adapter` has passed, into the weights; `info` says so."""
        raise UserError(f"this base model takes no adapter ({adapter})", "merge it into its base first")

    def prepare(self, scene: SceneInput) -> None:  # noqa: B027 - most have nothing to do ahead
        """Do what answers about `scene` need and the device is not needed for. Called from another thread, ahead."""


class TrainableRunner(Runner):
    """A loaded model that can be trained; what `Model.load` gives where `Model.trainable`."""

    @abstractmethod
    def module(self) -> torch.nn.Module:
        """The trainable module; its forward takes a collated batch and returns an object with `.loss`.

        With `weights` in the batch, the loss is the sum of its tokens' cross entropies times their weights. What is
        trained are its parameters that require gradients.
        """

    def parts(self) -> dict[str, list[torch.nn.Parameter]]:
        """Every parameter of `module`, each once, by its part: names as in `BaseVLM.parts`, which may have more."""
        return {WHOLE: list(self.module().parameters())}

    def train_only(self, trained: Collection[str]) -> dict[str, Any]:
        """Freeze all parts but these. What a run records of it: how many numbers are trained, and of how many."""
        sizes = {}
        for part, weights in self.parts().items():
            sizes[part] = sum(weight.numel() for weight in weights)
            for weight in weights:
                weight.requires_grad_(part in trained)
        total = sum(sizes.values())
        return {"trained_parameters": sum(sizes.get(part, 0) for part in trained), "parameters": total}

    @abstractmethod
    def example(self, scene: SceneInput, query: Query, answer: str) -> dict[str, torch.Tensor]:
        """One training example. Loss only on the answer's tokens: those whose entry of `labels` [L] is not -100."""

    @abstractmethod
    def collate(self, examples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Examples of different lengths into one batch for `module().forward(**batch)`.

        An example may have `weights` [L] float32, which are collated as its labels are.
        """

    def has_trained(self, steps: int) -> None:
        """Told that its weights have so many steps behind them, which another process may have done."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights (safetensors), config and tokenizer so that `Model.load(folder)` reads them back."""


class BaseVLM(Options):
    """Contract of a base model. Fields are what a variant file may say besides `base` and `checkpoint`."""

    needs_frames: ClassVar[bool] = True  # False for answers without looking (chance, frequency)
    needs_checkpoint: ClassVar[bool] = False  # True where there is nothing to run without weights on disk
    needs_training_answers: ClassVar[bool] = False  # chance and frequency look at the training answers
    computes_here: ClassVar[bool] = True  # False where somebody else's server does: no precision, no device
    per_run: ClassVar[frozenset[str]] = frozenset()  # options that say where, not what: `--set model.KEY=…` sets them
    seeded: ClassVar[bool] = False  # True where answers depend on the seed even when the weights are given
    trainable: ClassVar[bool] = False
    threads: ClassVar[int | None] = None  # CPU threads that pay off; None: all there are
    # Where it differs from spec.Recipe's defaults. `train` has the parts that are trained: each with a learning rate of
    # its own, or None for `lr`; without it all that can be are trained at `lr`.
    recipe: ClassVar[Mapping[str, Any]] = {}

    def wants_cameras(self) -> bool:
        """Whether this configuration needs w2c and K of the frames."""
        return False

    def reads_times(self) -> bool:
        """Whether prompts or positions of this configuration depend on when frames were taken."""
        return False

    def pipeline(self) -> list[tuple[str, str]]:
        """(stage, what happens there) from frames to answer, in words: what `smx list models NAME` draws."""
        return []

    def parts(self) -> Mapping[str, str]:
        """Part of the model -> why training cannot change it in this configuration; "" where it can."""
        return {WHOLE: ""} if self.trainable else {}

    def lacks(self, checkpoint: Path) -> tuple[str, ...]:
        """Parts that a checkpoint does not hold and that have folders of their own: `parts:` in the variant's file."""
        return ()

    def beside(self, parts: Mapping[str, Path]) -> Self:
        """These options, told in which folders such parts are."""
        return self

    def sizes(self, checkpoint: Path | None) -> Mapping[str, int]:
        """Part -> numbers in it, of the model that `load` makes. Without torch; empty where nothing tells."""
        return {}

    def positions(self) -> dict[str, Any]:
        """What position ids depend on, effective values by name: printed and recorded with every run."""
        return {}

    def at(self, checkpoint: Path | None) -> Self:
        """These options with what the variant leaves to `checkpoint` filled in (None: to the model made here)."""
        return self

    def like(self, trained: BaseVLM) -> Self:
        """As `at`, for weights that a run with the options `trained` makes."""
        return self

    def training_mismatch(self, trained: Mapping[str, Any]) -> str:
        """How these differ from `trained`, a training's options, in what weights are trained for; empty: in nothing."""
        return ""

    def position_mismatch(self, checkpoint: Path) -> str:
        """How these differ from what `checkpoint` was trained with, in words; empty where nothing known does."""
        return ""

    def checkpoint_decoding(self, checkpoint: Path) -> Decoding:
        """What `decoding: checkpoint` means for these weights. Without torch.

        `UserError` where it cannot be done: answers would be drawn at random, or this base model knows no such thing.
        """
        raise UserError("this base model applies no generation_config.json", "ask it with --set decoding=greedy")

    def left_out_by_greedy(self, checkpoint: Path) -> str:
        """What the checkpoint's generation_config.json asks for and `decoding: greedy` does not do; empty: nothing."""
        return ""

    def check(self, checkpoint: Path | None) -> None:
        """On the login node, before the queue, without torch: options and checkpoint fit together.

        Raises `UserError` with what was found and what was expected (architecture, files, shapes in headers).
        """

    def check_adapter(self, adapter: Path, checkpoint: Path) -> None:
        """As `check`, for a LoRA adapter (a folder that peft wrote) to be merged into the weights of `checkpoint`."""
        raise UserError(f"this base model takes no adapter ({adapter})", "merge it into its base first")

    @abstractmethod
    def load(
        self,
        checkpoint: Path | None,
        *,
        seed: int,
        device: str,
        dtype: str,
        training: Sequence[tuple[Query, str]] = (),
    ) -> Runner:
        """Load (or, without a checkpoint and where allowed, build with `seed`) and be ready to answer."""
