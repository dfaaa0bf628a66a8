"""What a person would read in an answer: for telling a wrong answer from a badly worded one.

No published number is made so. The table of tests/test_lenient.py is the definition; what is written here is its rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from smx.benches import Verdict
from smx.benches._scorers import NUMBER_WORDS, TENS, UNITS, finite, mra


def lenient(text: str, truth: str, options: Sequence[str] | None, *, numerical: bool) -> Verdict:
    """Read what a person would, behind the thinking; full-width characters are ordinary ones.

    Of the last `<answer>…</answer>` or `\\boxed{…}`, or all of the text. A number: the one stated as the answer, else
    the first, in digits or words; scored as `official` does. A letter, by the first rule that fits: it stands alone;
    it is stated as the answer ("answer is X", "I choose X", "X is correct", "it's X", "选X"); it is a line of its own;
    it begins the text; it is the only option named by its letter; exactly one option's text is there (of options
    within each other, the longest). Two letters where one is asked for are none.
    """
    answer = _answer_in(text.translate(_PLAIN))
    if numerical:
        value = _number(answer)
        return Verdict(None if value is None else f"{value:.12g}", mra(value, truth))
    letter = _letter(answer, options or ())
    return Verdict(letter, float(letter is not None and letter.lower() == truth.lower()))


def _answer_in(text: str) -> str:
    """The part of a text that is its answer."""
    behind = _THOUGHT.split(text)[-1]
    finished = _UNFINISHED.split(behind)[0]
    for part in (finished, text) if not finished.strip() else (finished,):
        if marked := _TAGGED.findall(part) or _BOXED.findall(part):
            return _without_markup(marked[-1])
    return _without_markup(finished)


def _without_markup(text: str) -> str:
    r"""Without Markdown's and LaTeX's signs; `\text{B}` is B."""
    text = re.sub(r"\\(?:text|textbf|mathrm|mathbf|mathtt|boxed)\s*\{([^{}]*)\}", r"\1", text)
    return re.sub(r"[*`$]|(?<!\w)_+|_+(?!\w)|^#+\s", "", text, flags=re.MULTILINE).strip()


# ---- letters


def _letter(answer: str, options: Sequence[str]) -> str | None:
    """The letter that an answer chooses, upper case. Without options any letter is one."""
    rules = _Rules(_LETTERS[: len(options)] if options else _LETTERS)
    if whole := rules.alone.fullmatch(answer):
        return whole[1].upper()
    answer = rules.denied.sub("", answer)
    for pattern in rules.stated:
        if statements := list(pattern.finditer(answer)):
            return rules.chosen(statements[-1])
    if behind := list(_STATEMENT.finditer(answer)):
        stated = answer[behind[-1].end() :].strip()
        if letter := _named(re.split(r"[,.;\n]", stated)[0], options) or _named(stated, options):
            return letter
    if lines := [line[1] for part in answer.splitlines() if (line := rules.alone.fullmatch(part))]:
        return _only(lines)
    labels = list(dict.fromkeys(rules.label.findall(answer)))
    listed = len(labels) > 1 and labels == list(_LETTERS[: len(labels)])  # the options, spelled out one after the other
    if not listed and (first := rules.first.match(answer)):
        return rules.chosen(first)
    mentioned = [] if listed else ["".join(groups) for groups in rules.mention.findall(answer)]
    return _only(mentioned) if mentioned else _named(answer, options)


class _Rules:
    """Patterns for one set of letters; every group that is found is the letter."""

    def __init__(self, letters: str) -> None:
        upper, either = f"[{letters}]", f"[{letters}{letters.lower()}]"
        # "A" may be an article and "I" a person: as letters they are followed by the end, a sign or such a word
        sure = f"[{letters.replace('A', '').replace('I', '')}]" if set(letters) - set("AI") else "(?!)"
        then = rf"(?=\W*$|\s*[^\w\s'’]|\s+(?:{_THEN})\b)"
        capital = rf"(?:(?<![^\W\d_])(?<!['’])(?:({sure})(?![\w'’])|([{letters}]){then}))"
        small = rf"(?:({either})(?=\W*$|\s*[.,;:)\]]))"
        word = r"(?:(?:the|my)\s+)?(?:(?:option|choice|letter|answer|number)\s*)?[(\[{\"'“‘:\s]*"
        self.alone = re.compile(rf"\W*(?:(?i:option|choice|answer)\W+)?({either})\W*")
        self.denied = re.compile(
            rf"(?i:\b(?:not|n't|nor|rather than|instead of))\s+(?i:option\s+)?\(?{upper}(?!\w)\)?,?"
            rf"|,?\s*(?i:\boption\s+)?\(?(?<!\w){upper}\)?\s+(?i:is\s+(?:not|wrong|incorrect|false)|isn['’]?t)\b"
        )
        self.stated = tuple(
            re.compile(pattern, re.MULTILINE)
            for pattern in (
                rf"{_STATEMENT_TEXT}[\s(\[{{\"'“‘:>-]*(?i:{word})(?:{capital}|{small})",
                rf"(?i:\b(?:choose|chose|choosing|pick|picked|select|selected|go with|going with|went with|vote for"
                rf"|opt for|settle on))\s+(?i:{word})(?:{capital}|{small})",
                rf"({upper})(?:才?是)?(?:正确|对)",
                rf"(?:选择?|选项|应选|答)(?:的是|为|是)?[\s:(\[]*({either})(?![A-Za-z])",
                rf"(?<!\w)\(?({upper})\)?(?:[.:]\s*[^.\n]{{0,40}})?\s+(?i:(?:is|must be|should be|would be|seems)\s+"
                rf"(?:the\s+|definitely\s+|clearly\s+)?(?:correct|right|true|best|answer|closest match))\b",
                rf"(?i:\b(?:it'?s|it is|that'?s|that is|this is|it must be|it should be|it would be|must be|should be"
                rf"|i think|i believe|i guess|i say|i'd say|so|therefore|thus|hence))[,:]?\s+(?i:{word}){capital}",
            )
        )
        self.first = re.compile(rf"\W*(?:({either})[.):](?:\W|$)|\(({either})\)|{capital})")
        self.label = re.compile(rf"(?<!\w)({upper})[.):]")
        self.mention = re.compile(
            rf"(?i:\b(?:option|choice)\s*)\(?({upper})(?!\w)|\(({upper})\)|(?<!\w)({upper})[.):](?=\W|$)|{capital}"
        )
        self.another = re.compile(rf"[.):\]]*\s*(?:,?\s*(?:or|and)\b|[/&,])\s*(?:option\s+)?\(?{upper}(?!\w)")

    def chosen(self, hit: re.Match[str]) -> str | None:
        """The letter of a match; None where another one stands beside it."""
        another = self.another.match(hit.string, hit.end())
        return None if another else next(group for group in hit.groups() if group).upper()


def _only(letters: Sequence[str]) -> str | None:
    """The one letter there is among them; None where there are two."""
    distinct = {letter.upper() for letter in letters}
    return distinct.pop() if len(distinct) == 1 else None


def _named(answer: str, options: Sequence[str]) -> str | None:
    """The letter of the one option whose text is in the answer."""
    rest, letters = " ".join(answer.lower().split()), set()
    texts = [" ".join(re.sub(r"^\W*[A-Za-z][.):]\s*", "", option).lower().split()) for option in options]
    for letter, text in sorted(zip(_LETTERS, texts, strict=False), key=lambda pair: -len(pair[1])):
        rest, times = re.subn(rf"(?<!\w){re.escape(text)}(?!\w)", " | ", rest) if text else (rest, 0)
        if times:
            letters.add(letter)
    return letters.pop() if len(letters) == 1 else None


# ---- numbers


def _number(answer: str) -> float | None:
    """The number stated as the answer, else the first one; None where there is none (or none that is finite)."""
    for statement in (_STATEMENT, _EQUALS):
        for statement_match in reversed(list(statement.finditer(answer))):
            if (value := _first_number(answer[statement_match.end() :])) is not None:
                return value
    return _first_number(answer)


def _first_number(text: str) -> float | None:
    numeral = _NUMERAL.search(text)
    if numeral is None:
        return None
    if numeral["digits"] is None:
        return _in_words(numeral["words"].lower())
    value = _in_digits(numeral["digits"])
    if value is not None and numeral["power"]:
        value = finite(f"{value!r}e{numeral['power'].replace('−', '-')}")
    if value is not None and numeral["over"]:
        part = finite(numeral["over"])
        value = value / part if part else None
    if value is not None and numeral["whole"]:
        value += float(numeral["whole"])
    if value is not None and numeral["times"]:
        value *= _SCALES[numeral["times"].lower()]
    return value


def _in_digits(digits: str) -> float | None:
    """Digits with separators of thousands and a decimal point or comma as a number.

    "1,234" is 1234 and "1,5" is 1.5: a comma is decimal unless exactly three digits follow a number without a zero
    in front.
    """
    digits = re.sub(r"['’\u00a0\u2009\u202f]", "", digits.replace("−", "-"))
    if re.fullmatch(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?", digits):
        return finite(digits.replace(",", ""))
    if re.fullmatch(r"[-+]?[1-9]\d{0,2}(?:\.\d{3})+,\d+", digits):
        return finite(digits.replace(".", "").replace(",", "."))
    if re.fullmatch(r"[-+]?\d+,\d+", digits):
        return finite(digits.replace(",", "."))
    return finite(digits.partition(",")[0])


def _in_words(words: str) -> float:
    """ "a hundred and twenty", "two and a half", "one point five" as a number."""
    whole, _, decimals = words.partition(" point ")
    half = re.search(r"(?:\band\s+)?(?:\ban?\s+)?\b(half|quarter)\b", whole)
    thousands = rest = 0
    for word in re.findall(r"[a-z]+", whole[: half.start()] if half else whole):
        if word in ("dozen", "couple"):
            rest = max(rest, 1) * int(_SCALES[word])
        elif word in ("thousand", "million"):
            thousands, rest = thousands + max(rest, 1) * int(_SCALES[word]), 0
        elif word == "hundred":
            rest = max(rest, 1) * 100
        else:
            rest += NUMBER_WORDS.get(word, 0)
    value = float(thousands + rest)
    if decimals:
        return float(f"{value:.0f}.{''.join(str(UNITS.index(word)) for word in decimals.split())}")
    if half:
        part = 0.5 if half[1] == "half" else 0.25
        of = next((scale for word, scale in _SCALES.items() if word in whole[half.end() :].split()), 1)
        value += part * of
    return value


_PLAIN = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width
    **dict(zip(map(ord, "\u3000。、【】"), " .,[]", strict=True)),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\ufeff"), ""),  # no width at all
}
_TAG = r"(?:think|thinking|thought|reasoning|analysis|reflection)"
_THOUGHT = re.compile(rf"(?:<|◁)\s*/\s*{_TAG}\s*(?:>|▷)", re.IGNORECASE)
_UNFINISHED = re.compile(rf"(?:<|◁)\s*{_TAG}\s*(?:>|▷)", re.IGNORECASE)
_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_THEN = "because|since|as|for|due|which|but|so|and|or|with|is|was|not|given|based"
_STATEMENT_TEXT = (
    r"(?i:\banswers?[\"']?\s*(?:(?:is|would be|should be|must be|will be|to (?:this|the) question is|=|:|->|→)\s*)+"
    r"|\banswer(?=\s+[A-Z]\b)|答案(?:应该)?(?:是|为|选)?\s*:?)"
)
_STATEMENT = re.compile(_STATEMENT_TEXT)
_EQUALS = re.compile(r"(?:=|≈|≃|~=)\s*(?=[-+−.]?\d)")
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "dozen": 12.0, "couple": 2.0}
_UNIT = "|".join(sorted(UNITS, key=len, reverse=True))
_SMALL = rf"(?:(?:{'|'.join(TENS)})(?:[\s-]+(?:{'|'.join(UNITS[1:10])}))?|{_UNIT})"
_STEP = rf"(?:{_SMALL}|hundred|thousand|million|dozen|couple)"
_NUMERAL = re.compile(
    r"(?:(?<![\w.,])(?P<whole>\d+)\s+(?=\d+/\d))?"
    r"(?P<digits>(?:(?<!\w)[-+−])?(?:\d{1,3}(?:['’\u00a0\u2009\u202f]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"(?:\s?[×x*]\s?10\s?\^?\s?\{?(?P<power>[-−]?\d+)\}?|/(?P<over>\d+)(?![\d/]))?"
    r"(?:\s+(?P<times>hundred|thousand|million|dozen)\b)?"
    rf"|\b(?P<words>(?:an?\s+)?(?:half|quarter)\s+(?:an?\s+)?(?:dozen|hundred|thousand|million)"
    rf"|(?:an?\s+)?{_STEP}(?:(?:[\s-]+|\s+and\s+){_STEP})*(?:\s+point(?:\s+(?:{_UNIT}))+|\s+and\s+(?:an?\s+)?(?:half|quarter))?"
    rf"|half|(?:an?\s+)quarter)\b",
    re.IGNORECASE,
)
