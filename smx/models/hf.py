"""Any image-text-to-text model of transformers, with its own processor and chat template; it is asked, not trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from smx.errors import UserError
from smx.models import Decoding, Query, Runner
from smx.models._hf.options import HFOptions
from smx.models._vlm import generation_config


class Model(HFOptions):
    """What transformers' `AutoModelForImageTextToText` builds."""

    needs_checkpoint: ClassVar[bool] = True

    def check(self, checkpoint: Path | None) -> None:
        """Architecture, files of the processor, and weights as their headers say."""
        from smx.models._hf.checkpoint import check

        check(_named(checkpoint))

    def checkpoint_decoding(self, checkpoint: Path) -> Decoding:
        """Of its generation_config.json."""
        return generation_config.decoding_of(checkpoint)

    def left_out_by_greedy(self, checkpoint: Path) -> str:
        """Of its generation_config.json."""
        return generation_config.left_out(checkpoint)

    def load(
        self,
        checkpoint: Path | None,
        *,
        seed: int,
        device: str,
        dtype: str,
        training: Sequence[tuple[Query, str]] = (),
    ) -> Runner:
        """Read `checkpoint`; nothing is random."""
        folder = _named(checkpoint)
        self.check(folder)
        from smx.models._hf.runner import from_folder

        return from_folder(folder, self, device=device, dtype=dtype)


def _named(checkpoint: Path | None) -> Path:
    if checkpoint is None:
        raise UserError("base hf needs a checkpoint folder", "give --checkpoint PATH, or checkpoint: in the variant")
    return checkpoint
