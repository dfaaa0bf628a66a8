"""VLMEvalKit's reading of a VSI-Bench answer, by rules (its judge `extract_matching`), to the last digit.

Source: vlmeval/dataset/vsibench.py and vlmeval/dataset/utils/spatial_bench (matching_func.py, cal_scores.py) at
401916c0 of March 2026, unchanged at e8e78f05 of August 2026. Its rules have surprises that a number made with it has
too: `<answer>chair</answer>` chooses C, "twenty-one" becomes "20-1", and of several numbers the last counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from smx.benches import Verdict
from smx.benches._scorers import TENS, UNITS, finite, mra

_TAIL_LINES, _TAIL_CHARACTERS = 6, 800
_OPENERS, _CLOSERS = r"[(\[{（【]", r"[)\]}）】]"
_NUMBER = r"[-+]?(?:\d*\.\d+|\d+)(?:[eE][-+]?\d+)?"
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\ufeff"))


def vlmevalkit(text: str, truth: str, *, numerical: bool) -> Verdict:
    """A letter by the first of seven rules that finds one, the truth's too; a number: the last one. MRA with `<=`."""
    if numerical:
        value = _last_number(text)
        return Verdict(None if value is None else f"{value:.12g}", mra(value, truth))
    chosen = _letter(text)
    return Verdict(chosen, float(chosen is not None and chosen == _letter(truth)))


def _letter(text: str) -> str | None:
    """The letter that a text chooses: tagged, before a closing tag, in the last lines, in a phrase, or the only one."""
    text = text.strip().translate(_INVISIBLE)
    tail = text[-_TAIL_CHARACTERS:]
    if hit := _TAGGED_LETTER.search(text) or _BEFORE_ANSWER.search(tail) or _BEFORE_THINK.search(tail):
        return hit[1].upper()
    for part in (_behind_thinking(text), tail):
        if chosen := next(_in_lines(part.splitlines()[-_TAIL_LINES:]), None):
            return chosen
    if hit := _PHRASE.search(text):
        return hit[1].upper()
    rest = "\n".join(line for line in text.splitlines() if not _OPTION_LINE.match(line))
    return _only(_ALONE.findall(rest))


def _in_lines(lines: Sequence[str]) -> Iterator[str]:
    """The letters that lines choose, the last line first; a line that spells out an option chooses nothing."""
    for line in (stripped for line in reversed(lines) if (stripped := line.strip())):
        if _OPTION_LINE.match(line):
            continue
        if hit := _WHOLE_LINE.fullmatch(line) or _LABEL.match(line):
            yield hit[1].upper()
        elif chosen := _only(_INLINE.findall(line)):
            yield chosen


def _only(letters: Sequence[str]) -> str | None:
    return letters[0] if len(set(letters)) == 1 else None


def _last_number(text: str) -> float | None:
    """The number in answer tags, else the last one behind the thinking, else the last one."""
    if text.strip().startswith("[") and text.strip().endswith("]"):
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None  # what the original does with a list that is none
        text = str(values[0]) if isinstance(values, list) and values else text
    text = _SMALL.sub(lambda word: str(_SMALL_WORDS.index(word[0].lower())), text.strip().translate(_INVISIBLE))
    if hit := _TAGGED_NUMBER.search(text):
        return finite(hit[1])
    numbers = re.findall(_NUMBER, _behind_thinking(text)) or re.findall(_NUMBER, text)
    return finite(numbers[-1]) if numbers else None


def _behind_thinking(text: str) -> str:
    """What stands behind the last closing tag of thinking, else behind the last opening one, else everything."""
    for tag in (_THOUGHT, _THINKS):
        if hit := list(tag.finditer(text)):
            return text[hit[-1].end() :].strip()
    return text


_THINKS, _THOUGHT = (re.compile(rf"<{slash}\s*think\s*>", re.IGNORECASE) for slash in (r"\s*", r"/"))
_TAGGED_LETTER = re.compile(
    r"<\s*answer\b[^>]*>\s*([A-J])(?:\s*[.．:：)\]】、])?.*?<\s*/\s*answer\s*>", re.IGNORECASE | re.DOTALL
)
_TAGGED_NUMBER = re.compile(
    rf"<\s*answer\b[^>]*>\s*({_NUMBER})(?:[^\d<][^<]*)?<\s*/\s*answer\s*>", re.IGNORECASE | re.DOTALL
)
_BEFORE_ANSWER, _BEFORE_THINK = (
    re.compile(rf"(?<![A-Za-z]){_OPENERS}?\s*([A-F])\s*{_CLOSERS}?\s*</\s*{tag}\s*>", re.IGNORECASE)
    for tag in ("answer", "think")
)
_OPTION_LINE = re.compile(r"[*_>\-\s]*(?:option|选项)\s+[A-J]\s*[:：]", re.IGNORECASE)
_WHOLE_LINE = re.compile(r"\s*[*_`>（）\[\]【】()]*\s*([A-Fa-f])\s*[*_`（）\[\]【】()]*\s*")
_LABEL = re.compile(r"\s*([A-F])\s*[.．:：)\]】、-]\s+", re.IGNORECASE)
_INLINE = re.compile(r"(?<![A-Za-z])[*_`（\[{(]*\s*([A-F])\s*[*_`）\]})]*(?=$|[\s.,:;!?)\]，。；、：）】》」』])")
_PHRASE = re.compile(
    r"(?:final\s*answer|the\s*answer\s*is|answer(?:\s*is)?|correct\s*answer|答案|最终答案|结论|所以|因此|我选(?:择)?|选择|选)"
    rf"\s*[:：>＝=]?\s*{_OPENERS}?\s*([A-F])\s*{_CLOSERS}?(?:\b|[.)、。])",
    re.IGNORECASE,
)
_ALONE = re.compile(rf"(?<![A-Za-z]){_OPENERS}?\s*([A-F])\s*{_CLOSERS}?(?![A-Za-z])")
_SMALL_WORDS = (*UNITS, TENS[0])  # zero to twenty; larger numbers in words are not understood
_SMALL = re.compile(rf"\b({'|'.join(_SMALL_WORDS)})\b", re.IGNORECASE)
