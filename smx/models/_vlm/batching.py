"""Many questions about one video, answered together behind its keys and values.

packed: one row, question after question; a block mask lets each token see the video and its own question only. The
video's keys and values are there once. padded: a row for each question, for attention backends that take no such mask.

The mask is additive: a boolean one is read wrongly by eager attention, which adds it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from smx.models._vlm.decoding import Answers, Rule

if TYPE_CHECKING:
    from transformers.cache_utils import DynamicCache

    from smx.models._vlm.model import PositionedVLM

SHARED = -1  # owner of keys that every question sees
# Tokens of questions that are read at once: each is masked for the others', so more in a row costs more than it saves,
# once that row is long beside the video's.
ROW = 256


@torch.inference_mode()
def packed(
    model: PositionedVLM,
    cache: DynamicCache,
    start: int,
    questions: list[list[int]],
    rule: Rule,
    shared: list[int],
) -> list[list[int]]:
    """Greedy ids for each of `questions`, which begin at position `start` behind what `cache` [1, …] holds.

    `shared`: the ids of what it holds, the beginning of every question's prompt. `cache` is added to.
    `FloatingPointError` where logits are not finite: as a masked value that is no number still makes every sum over it
    none, it cannot be said here which question is to blame.
    """
    answers, device = Answers([shared + ids for ids in questions], rule), model.device
    held = cache.get_seq_length()
    logits, new = [], []
    for row in _rows(questions, max(ROW, held // 2)):
        branch = fork(cache)
        logits.append(_read(model, branch, start, row))
        new.append([(layer.keys[..., held:, :], layer.values[..., held:, :]) for layer in branch.layers])
    for number, layer in enumerate(cache.layers):
        layer.keys = torch.cat((layer.keys, *(row[number][0] for row in new)), dim=-2)
        layer.values = torch.cat((layer.values, *(row[number][1] for row in new)), dim=-2)
    answers.add(torch.cat(logits))
    lengths = [len(ids) for ids in questions]
    keys = torch.cat((torch.full((held,), SHARED), _owners(lengths))).to(device)
    positions = [length + start for length in lengths]
    while answers.going:
        owners = torch.tensor(answers.going, device=device)
        keys = torch.cat((keys, owners))
        where = torch.tensor([positions[question] for question in answers.going], device=device).expand(3, 1, -1)
        for question in answers.going:
            positions[question] += 1
        ids = torch.tensor([answers.last()], device=device)
        answers.add(_logits(model, model.hidden(ids, where, model.block_mask(_sees(owners, keys)), cache=cache))[0])
    return answers.said


@torch.inference_mode()
def padded(
    model: PositionedVLM,
    cache: DynamicCache,
    start: int,
    questions: list[list[int]],
    rule: Rule,
    shared: list[int],
    pad: int,
) -> list[list[int]]:
    """The same with a row for each question, padded with `pad` between the video and the question."""
    answers, device, rows = Answers([shared + ids for ids in questions], rule), model.device, len(questions)
    held = cache.get_seq_length()
    for layer in cache.layers:
        layer.keys = layer.keys.expand(rows, *layer.keys.shape[1:])
        layer.values = layer.values.expand(rows, *layer.values.shape[1:])
    width = max(map(len, questions))
    ids = torch.full((rows, width), pad)
    places = torch.zeros(rows, width, dtype=torch.long)
    mask = torch.ones(rows, held + width, dtype=torch.long)
    for row, question in enumerate(questions):
        ids[row, width - len(question) :] = torch.tensor(question)
        places[row, width - len(question) :] = torch.arange(start, start + len(question))
        mask[row, held : held + width - len(question)] = 0
    ids, places, mask = ids.to(device), places.to(device), mask.to(device)
    while True:
        hidden = model.hidden(ids, places.expand(3, -1, -1), mask, cache=cache)
        before = answers.going
        answers.add(_logits(model, hidden[before, -1]))
        if not answers.going:
            return answers.said
        newest = torch.full((rows, 1), pad)  # those that ended go on with nobody listening
        newest[answers.going, 0] = torch.tensor(answers.last())
        ids, places = newest.to(device), places[:, -1:] + 1
        mask = torch.cat((mask, mask.new_ones(rows, 1)), dim=1)


def _rows(questions: list[list[int]], most: int) -> Iterator[list[list[int]]]:
    """`questions` in rows of about `most` tokens."""
    row: list[list[int]] = []
    for question in questions:
        if row and sum(map(len, row)) + len(question) > most:
            yield row
            row = []
        row.append(question)
    yield row


def _read(model: PositionedVLM, cache: DynamicCache, start: int, questions: list[list[int]]) -> Tensor:
    """[questions, vocabulary] after each of the questions in one row, which is added to `cache`."""
    lengths = [len(ids) for ids in questions]
    owners = _owners(lengths)
    seen = _sees(owners, torch.cat((torch.full((cache.get_seq_length(),), SHARED), owners)))
    seen[:, -len(owners) :].tril_()
    ids = torch.tensor([[token for question in questions for token in question]])
    where = torch.cat([torch.arange(start, start + length) for length in lengths]).expand(3, 1, -1)
    mask = model.block_mask(seen.to(model.device))
    hidden = model.hidden(ids.to(model.device), where.to(model.device), mask, cache=cache)
    return _logits(model, hidden[0, torch.tensor(lengths).cumsum(0) - 1])


def _owners(lengths: list[int]) -> Tensor:
    """Whose each token is."""
    return torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))


def fork(cache: DynamicCache) -> DynamicCache:
    """One to go on from: what `cache` holds is never written to, a layer's update makes new tensors."""
    branch = copy.copy(cache)
    branch.layers = [copy.copy(layer) for layer in cache.layers]
    return branch


def _sees(owners: Tensor, keys: Tensor) -> Tensor:
    """[queries, keys] bool: keys that are everyone's or the query's own."""
    return (keys[None] == SHARED) | (keys[None] == owners[:, None])


def _logits(model: PositionedVLM, hidden: Tensor) -> Tensor:
    logits: Tensor = model.vlm.lm_head(hidden)
    return logits
