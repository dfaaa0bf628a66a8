"""What SQA3D and ScanQA share: open questions with short answers, scored by exact match after cleaning.

`em` and `em-r` are LEO's evaluation of both benches (evaluator/scanqa_eval.py and data/data_utils.py of
embodied-generalist at 567f2d8), which later models report as EM@1 and EM-R@1; `any-word` is SQA3D's own of language
models (LLM/eval_sqa3d_llm.py of SQA3D at a98da8f). One difference: an answer in which nothing is left after cleaning is
unparsed and wrong here, and contained in every truth there.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

from smx.benches import BaseBench, Question, Verdict
from smx.benches._averages import summarize
from smx.benches._rows import list_in
from smx.errors import UserError, unknown

_TYPOS = {
    "letf": "left",
    "let": "left",
    "tehre": "there",
    "rigth": "right",
    "rght": "right",
    "behine": "behind",
    "chai": "chair",
    "wasing": "washing",
    "waslked": "walked",
    "oclock": "o'clock",
    "tv": "TV",
}
_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_NUMBERS = dict(enumerate(_SMALL)) | {23: "twenty-three"}  # 21 and 22 are in no answer, nor in anybody's cleaning
_WORDS = _TYPOS | {str(number): word for number, word in _NUMBERS.items()} | {"none": "zero"}
_WORD = re.compile(rf"\b({'|'.join(sorted(map(re.escape, _WORDS), key=len, reverse=True))})\b")


def clean(text: str) -> str:
    """As LEO does: stripped, lower case, only `a-z 0-9 , ' - :` kept, typos and numbers as words, no articles.

    Blanks are made one before characters are dropped, and line breaks stay: "chair ." ends in a blank, is not equal to
    "chair", and EM counts it as wrong. "tv" becomes "TV", so it is no part of "tvs".
    """
    text = re.sub(" {2,}", " ", text.strip().lower())
    text = re.sub(r"[^a-z0-9,'\s:-]+", "", text)
    text = _WORD.sub(lambda found: _WORDS[found[0]], text)
    text = re.sub(r"\bo' +clock\b", "o'clock", text)
    text = re.sub(r"\b([a-zA-Z]+)[0-9]\b", r"\1", text)  # numbered objects: table2
    for article in ("a", "an", "the"):
        text = re.sub(rf"\b{article}\b ([a-zA-Z]+)", r"\1", text)
    return re.sub(r"\bbackwards\b", "backward", text)


def exact(said: str, truths: Sequence[str]) -> bool:
    """EM@1: the first of the answers that matches in LEO's sense (`refined`) is equal.

    An answer that is only contained ends LEO's search, so "sofa" for "big sofa", "sofa" is EM-R and not EM.
    """
    return next((said == truth for truth in truths if said == truth or _contained(said, truth)), False)


def refined(said: str, truths: Sequence[str]) -> bool:
    """EM-R@1: equal, or one contains the other, blanks left out of account."""
    return any(_contained(said, truth) for truth in truths)


def shares_a_word(said: str, truths: Sequence[str]) -> bool:
    """SQA3D's rule for language models: contained in an answer, blanks left out or not, or a word in common.

    An answer that is contained in what the model said is no reason: "I do not know" is not "no".
    """
    return any(
        said in truth or _squeezed(said) in _squeezed(truth) or set(said.split()) & set(truth.split())
        for truth in truths
    )


def _contained(said: str, truth: str) -> bool:
    return _squeezed(said) in _squeezed(truth) or _squeezed(truth) in _squeezed(said)


def _squeezed(text: str) -> str:
    return "".join(text.split())


SCORERS: dict[str, Callable[[str, Sequence[str]], bool]] = {
    "em": exact,
    "em-r": refined,
    "any-word": shares_a_word,
}


class ShortAnswers(BaseBench):
    """A bench of open questions; a subclass says where they come from and what types there are."""

    scorers: ClassVar[tuple[str, ...]] = tuple(SCORERS)
    scorer_versions: ClassVar[Mapping[str, str]] = dict.fromkeys(SCORERS, "2")
    types: ClassVar[tuple[str, ...]]  # by the question's first word; the last is for all others

    def judge(self, question: Question, text: str, scorer: str) -> Verdict:
        """Score one raw answer. An empty one (also after cleaning) is unparsed: it would be "contained" in any."""
        if scorer not in SCORERS:
            raise unknown("scorer", scorer, SCORERS)
        said = clean(text)
        if not said.strip(string.punctuation):
            return Verdict(None, 0.0)
        truths = [cleaned for truth in question.truths if (cleaned := clean(truth))]
        return Verdict(said, float(SCORERS[scorer](said, truths)))

    def summarize(self, scored: Sequence[tuple[Question, Verdict]]) -> Mapping[str, Any]:
        """Scores by type; `all.micro` (the published overall) over questions, `all.macro` over types."""
        return summarize(scored, self.tasks(), self.averages())

    def tasks(self) -> Mapping[str, tuple[str, ...]]:
        """Every type by itself."""
        return {kind: (kind,) for kind in self.types}

    def averages(self) -> Mapping[str, Collection[str]]:
        """There are no parts: one average."""
        return {"all": self.types}

    def question_of(self, row: Mapping[str, Any], place: str) -> Question:
        """A row of a file of predictions: its question (or question type) and its answers must be there."""
        kind = row.get("question_type")
        if kind not in self.types:
            text = row.get("question")
            if not isinstance(text, str) or not text.strip():
                problem = f"{place}: no 'question', whose first word says its type"
                raise UserError(problem, f"fields here: {', '.join(map(str, row)) or 'none'}")
            kind = self.type_of(text)
        truths = answers_of(row, place)
        identity = str(row.get("question_id", row.get("id", "")))
        scene = str(row.get("scene_id", row.get("scene", "")))
        return Question(identity, "scannet", scene, kind, str(row.get("question", "")), None, truths[0], truths[1:])

    def type_of(self, question: str) -> str:
        """The question's first word, where that is a type."""
        word = re.match(r"\W*(\w*)", question.lower())
        return word[1] if word and word[1] in self.types else self.types[-1]


_TRUTHS = ("answers", "answer", "ground_truth", "gt", "truth", "target", "gt_response")


def answers_of(row: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """The answers that count as right. `UserError` starting with `place` where there is none."""
    found = next((row[key] for key in _TRUTHS if key in row), None)
    if isinstance(found, str) and found.strip().startswith("["):  # a cell of a csv file
        found = list_in(found)
    listed = found if isinstance(found, list | tuple) else [found]
    texts = [entry.get("answer") if isinstance(entry, Mapping) else entry for entry in listed]
    known = [text for text in texts if isinstance(text, str | int | float) and text == text]  # NaN: an empty cell
    kept = tuple(str(text).strip() for text in known if str(text).strip())
    if not kept:
        raise UserError(f"{place}: no answer", "a question without a known answer cannot be scored")
    return kept
