"""What the two baselines share: answers known beforehand, sorted by question type, and no frames."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from smx.models import Query, Reply, Runner, SceneInput


class BaselineRunner(Runner):
    """Answers from the answers given to `Model.load`; every query by itself, so order and shards do not matter."""

    def __init__(self, training: Sequence[tuple[Query, str]], info: dict[str, Any]) -> None:
        self.known: dict[str, list[str]] = defaultdict(list)  # question type -> answers, in the order given
        for query, answer in training:
            self.known[query.type].append(answer)
        self.info = {**info, "known_answers": len(training)}

    def answer(self, scene: SceneInput | None, queries: Sequence[Query], max_new_tokens: int) -> Iterator[Reply]:
        """One reply per query; `LookupError` for a question type of which no answer is known."""
        for query in queries:
            yield Reply(self.reply(query))

    @abstractmethod
    def reply(self, query: Query) -> str:
        """The whole answer to one query."""

    def answers_of(self, kind: str) -> list[str]:
        """All known answers to questions of one type."""
        if not self.known.get(kind):
            types = ", ".join(sorted(k for k, answers in self.known.items() if answers)) or "none"
            raise LookupError(f"no answer to a question of type {kind!r} is known (types known: {types})")
        return self.known[kind]
