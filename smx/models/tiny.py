"""A real Qwen2.5-VL of two million parameters with its own tokenizer: random from a seed, or trained by smx."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from smx.errors import UserError
from smx.models import Query, TrainableRunner
from smx.models._vlm.adapter import check as adapter_fits
from smx.models._vlm.checkpoint import check, expected_shapes
from smx.models._vlm.checkpoint_json import MEMORY
from smx.models._vlm.options import QwenOptions
from smx.models._vlm.parts import sizes

TOKENIZER = Path(__file__).with_name("_tiny_tokenizer.json")
WIDTH = 192
# Of initial weights, about 1/√width. With Qwen's 0.02 attention begins so even that a model this narrow needs
# many times the steps before it looks at one word of a question.
SPREAD = 0.08
CONFIG: dict[str, Any] = {
    "text_config": {
        "hidden_size": WIDTH,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        # heads of 32: 16 rotary pairs. The base is small because positions here are: a frame is 3 rows of 4 cells.
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [4, 6, 6]},
        "initializer_range": SPREAD,
        "tie_word_embeddings": True,
    },
    "vision_config": {
        "depth": 3,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_heads": 4,
        "out_hidden_size": WIDTH,
        "tokens_per_second": 2,
        "fullatt_block_indexes": [2],
        "initializer_range": SPREAD,
    },
    "tie_word_embeddings": True,
}


def config() -> dict[str, Any]:
    """`CONFIG` with the size of the tokenizer's vocabulary, as the model is built."""
    content = json.loads(TOKENIZER.read_text(encoding="utf-8"))
    known = set(content["model"]["vocab"].values()) | {token["id"] for token in content["added_tokens"]}
    return {**CONFIG, "text_config": {**CONFIG["text_config"], "vocab_size": len(known)}}


class Model(QwenOptions):
    """The demo's and the tests' model. 4:3 frames become 112x84: one tubelet is 12 tokens."""

    threads: ClassVar[int | None] = 1  # its matrices are too small to share: a second thread only waits
    recipe: ClassVar[dict[str, Any]] = {
        "steps": 160,
        "batch": 8,
        "lr": 1.5e-3,
        "train": {"llm": None, "merger": None, "vision": None},  # it starts from nothing, in every part
        "weight_decay": 0.01,
        "warmup": 0.05,
        "save_every": 40,
    }

    sections: ClassVar[tuple[int, int, int]] = (4, 6, 6)

    pixels: tuple[int, int] = (56 * 56, 9800)

    def sizes(self, checkpoint: Path | None) -> Mapping[str, int]:
        """A checkpoint is of the same size: smx made it."""
        return sizes(expected_shapes(config()), tied=True)

    def check(self, checkpoint: Path | None) -> None:
        """A checkpoint, where given, must be one that smx made from this base."""
        if checkpoint is None:
            return
        if checkpoint.is_dir() and not (checkpoint / MEMORY).is_file():
            raise UserError(
                f"{checkpoint} has no {MEMORY}: smx did not make it from base tiny",
                "train one, or use base qwen2_5_vl for other checkpoints",
            )
        check(checkpoint, self, "tiny")

    def check_adapter(self, adapter: Path, checkpoint: Path) -> None:
        """Factors of the names and shapes that the weights have."""
        adapter_fits(adapter, checkpoint)

    def load(
        self,
        checkpoint: Path | None,
        *,
        seed: int,
        device: str,
        dtype: str,
        training: Sequence[tuple[Query, str]] = (),
    ) -> TrainableRunner:
        """Read `checkpoint`, or build from `seed`."""
        from smx.models._vlm import loading

        self.check(checkpoint)
        if checkpoint is None:
            return loading.from_config(
                CONFIG, TOKENIZER, self.at(None), base="tiny", seed=seed, device=device, dtype=dtype
            )
        return loading.from_folder(checkpoint, self.at(checkpoint), base="tiny", device=device, dtype=dtype)
