"""The caption metrics that ScanQA is published with, computed by pycocoevalcap, which its authors used.

They are of a whole file, not of one answer: CIDEr weighs words by how many questions' answers have them, and BLEU
counts over all answers at once. The package comes with `smx[scanqa]`; its tokenizer and METEOR are Java programs.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from smx.errors import UserError

Answers = Sequence[tuple[Sequence[str], str]]  # the answers that are right, what the model said


def scanqa(answers: Answers) -> dict[str, float | None]:
    """CIDEr, BLEU-1 to 4, METEOR and ROUGE-L as ScanQA's scripts/score.py (at 0a9f162) has them; 1 is 100 there.

    Both sides go through the Penn Treebank tokenizer: lower case, signs left out. `UserError` without Java.
    """
    tokenizer = _part("tokenizer.ptbtokenizer", "PTBTokenizer")
    if shutil.which("java") is None:
        raise UserError(
            "there is no java here, and the tokenizer of ScanQA's scores and METEOR are Java programs",
            "install a Java runtime; --scorer spatial-mllm needs it for METEOR alone",
        )
    truths = {str(k): [{"caption": truth} for truth in right] for k, (right, _) in enumerate(answers)}
    texts = {str(k): [{"caption": text}] for k, (_, text) in enumerate(answers)}
    try:
        return _scores(tokenizer().tokenize(truths), tokenizer().tokenize(texts), meteor=True)
    except OSError as error:  # it writes beside its own jar
        hint = "its folder must be writable: install it for yourself"
        raise UserError(f"pycocoevalcap cannot run: {error}", hint) from None


def spatial_mllm(answers: Answers) -> dict[str, float | None]:
    """The same as Spatial-MLLM v1.1's src/evaluation/scanqa/score_scanqa.py (at 9fc4738) has them.

    Words are split at blanks and nothing is made lower case; the full stops at the end of an answer are left out.
    METEOR is None without Java.
    """
    truths = {str(k): list(right) for k, (right, _) in enumerate(answers)}
    texts = {str(k): [text.rstrip(".")] for k, (_, text) in enumerate(answers)}
    return _scores(truths, texts, meteor=shutil.which("java") is not None)


def _scores(
    truths: Mapping[str, list[str]], texts: Mapping[str, list[str]], *, meteor: bool
) -> dict[str, float | None]:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints lengths
        bleu = _part("bleu.bleu", "Bleu")(4).compute_score(truths, texts)[0]
        cider = _part("cider.cider", "Cider")().compute_score(truths, texts)[0]
        rouge = _part("rouge.rouge", "Rouge")().compute_score(truths, texts)[0]
        by_java = _part("meteor.meteor", "Meteor")().compute_score(truths, texts)[0] if meteor else None
    scores = {"cider": cider, **{f"bleu-{n}": share for n, share in enumerate(bleu, start=1)}, "meteor": by_java}
    return {name: None if value is None else float(value) for name, value in {**scores, "rouge-l": rouge}.items()}


def _part(module: str, name: str) -> Any:
    """A class of pycocoevalcap. `UserError` where that is not installed."""
    import importlib

    try:
        return getattr(importlib.import_module(f"pycocoevalcap.{module}"), name)
    except ImportError:
        raise UserError(
            "ScanQA's caption metrics need the package pycocoevalcap, which is not installed",
            "pip install 'smx[scanqa]'; the scorers em and em-r do without",
        ) from None
