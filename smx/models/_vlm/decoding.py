"""The next id of each of several answers: the most likely one, after the repetition penalty where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smx.models._vlm.numerics import not_finite


@dataclass(frozen=True)
class Rule:
    """Which ids are taken, and when an answer ends."""

    limit: int  # ids of an answer at most
    stops: frozenset[int]  # ids that end it, left out
    penalty: float = 1.0  # repetition penalty, 1: none


class Answers:
    """What is said to each of several questions, and which of them go on."""

    def __init__(self, prompts: Sequence[Sequence[int]], rule: Rule) -> None:
        """`prompts`: all ids of each question's prompt, placeholders of its video among them."""
        self.said: list[list[int]] = [[] for _ in prompts]
        self.going = list(range(len(prompts)))
        self._prompts, self._rule = prompts, rule
        self._used: Tensor | None = None  # [questions, vocabulary] bool: ids of prompt and answer

    def add(self, logits: Tensor) -> None:
        """Take the most likely id of each row [those going, vocabulary]; who has ended goes on no more."""
        if not torch.isfinite(logits).all():
            raise not_finite(len(self.said[self.going[0]]))
        tokens = self._penalised(logits).argmax(-1)
        if self._used is not None:
            self._used[torch.tensor(self.going, device=tokens.device), tokens] = True
        going = []
        for question, token in zip(self.going, tokens.tolist(), strict=True):
            if token not in self._rule.stops:
                self.said[question].append(token)
                if len(self.said[question]) < self._rule.limit:
                    going.append(question)
        self.going = going

    def last(self) -> list[int]:
        """The newest id of each question that goes on."""
        return [self.said[question][-1] for question in self.going]

    def _penalised(self, logits: Tensor) -> Tensor:
        """As transformers' `RepetitionPenaltyLogitsProcessor`, in float32 as `generate` has its logits."""
        penalty = self._rule.penalty
        if penalty == 1:
            return logits
        if self._used is None:
            used = torch.zeros(len(self._prompts), logits.shape[-1], dtype=torch.bool)
            for row, prompt in zip(used, self._prompts, strict=True):
                row[torch.tensor(list(set(prompt)))] = True
            self._used = used.to(logits.device)
        scores = logits.float()
        lowered = torch.where(scores < 0, scores * penalty, scores / penalty)
        return torch.where(self._used[self.going], lowered, scores)
