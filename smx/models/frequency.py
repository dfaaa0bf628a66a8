"""Answers every question with the most frequent known answer of its type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from smx.models import BaseVLM, Query
from smx.models._baseline import BaselineRunner


class Model(BaseVLM):
    """VSI-Bench's "chance level (frequency)"; a tie goes to the answer seen first."""

    needs_frames: ClassVar[bool] = False
    needs_training_answers: ClassVar[bool] = True

    def pipeline(self) -> list[tuple[str, str]]:
        """No frames, no weights."""
        return [
            ("answer", "says the most frequent known answer of the question's type; looks at no frames, has no weights")
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
        """Nothing is random here; seed, device and dtype have no meaning."""
        return _Frequency(training, {"baseline": "frequency"})


class _Frequency(BaselineRunner):
    def __init__(self, training: Sequence[tuple[Query, str]], info: dict[str, str]) -> None:
        super().__init__(training, dict(info))
        self.top = {kind: Counter(answers).most_common(1)[0][0] for kind, answers in self.known.items()}

    def reply(self, query: Query) -> str:
        self.answers_of(query.type)
        return self.top[query.type]
