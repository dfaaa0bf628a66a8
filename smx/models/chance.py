"""Answers at random: the letter of one of the options, or a random known answer of the type."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from smx.models import BaseVLM, Query
from smx.models._baseline import BaselineRunner


class Model(BaseVLM):
    """VSI-Bench's "chance level (random)", extended to numerical questions by drawing a known answer."""

    needs_frames: ClassVar[bool] = False
    needs_training_answers: ClassVar[bool] = True
    seeded: ClassVar[bool] = True

    def pipeline(self) -> list[tuple[str, str]]:
        """No frames, no weights."""
        return [
            ("answer", "drawn at random: a letter of the options, or a known answer of the type; no frames or weights")
        ]

    def load(
        self,
        checkpoint: Path | None,
        *,
        seed: int,
        device: str,
        dtype: str,
        training: Sequence[tuple[Query, str]] = (),
    ) -> BaselineRunner:
        """Draws depend on `seed` and the question's id alone. Device and dtype have no meaning here."""
        ordered = sorted(training, key=lambda pair: (pair[0].id, pair[1]))
        return _Chance(ordered, {"baseline": "chance", "seed": seed})


class _Chance(BaselineRunner):
    def reply(self, query: Query) -> str:
        if query.options:
            return chr(ord("A") + self._draw(query, len(query.options)))
        known = self.answers_of(query.type)
        return known[self._draw(query, len(known))]

    def _draw(self, query: Query, n: int) -> int:
        """A number in 0..n-1: the same on every machine and Python version, unlike `random`'s shortcuts."""
        digest = hashlib.sha256(f"{self.info['seed']}\n{query.id}".encode()).digest()
        return int.from_bytes(digest[:16]) % n
