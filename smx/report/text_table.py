"""A text table that fits the terminal: headings in levels, decimal points under each other, wide tables in blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence

GAP = "  "
_NUMBER = re.compile(r"\d+\.\d")


def lay_out(
    stub_heads: Sequence[str],
    stubs: Sequence[Sequence[str]],
    level_names: Sequence[str],
    heads: Sequence[Sequence[str]],
    body: Sequence[Sequence[str]],
    width: int | None,
) -> list[str]:
    """Lines of the table.

    `stub_heads`: names of the row axes; `stubs[row]`: their values; `level_names`: names of the column axes;
    `heads[col]`: their values, outermost first; `body[row][col]`: cells. Columns that do not fit `width`
    characters follow below in further blocks, with the names of the rows that have something there.
    """
    lasts = [_wrap(head[-1]) if head else ["score"] for head in heads]
    columns = [_align([line[i] for line in body]) for i in range(len(heads))]
    sizes = [max(map(len, [*column, *last])) for column, last in zip(columns, lasts, strict=True)]
    left = _stub_lines(stub_heads, stubs, level_names)
    blocks = []
    for block in _blocks(heads, sizes, len(left[0]), width):
        widths = _stretch([heads[i] for i in block], [sizes[i] for i in block])
        depth = max(len(lasts[i]) for i in block)
        upper = [_spans([heads[i] for i in block], widths, level) for level in range(len(level_names) - 1)]
        wrapped = [[""] * (depth - len(lasts[i])) + lasts[i] for i in block]
        lower = [_join([w[line] for w in wrapped], widths) for line in range(depth)]
        rows = [_join([columns[i][row] for i in block], widths) for row in range(len(body))]
        edge = [" " * len(left[0])] * (depth - 1)
        names = [*left[: len(upper)], *edge, *left[len(upper) :]]
        texts = [*upper, *lower, *rows]
        above = len(upper) + depth
        lines = [
            f"{name}{GAP}{text}".rstrip()
            for number, (name, text) in enumerate(zip(names, texts, strict=True))
            if number < above or text.strip() or len(block) == len(heads)
        ]
        lines.insert(above, "─" * max(map(len, lines)))
        blocks.append(lines)
    return [line for number, lines in enumerate(blocks) for line in ([""] if number else []) + lines]


def _stub_lines(heads: Sequence[str], stubs: Sequence[Sequence[str]], levels: Sequence[str]) -> list[str]:
    """One line for each level of headings, then one for each row; all of one width. Repeated names are left out."""
    sizes = [max(len(line[i]) for line in [*stubs, heads]) for i in range(len(heads))]
    lines = [_join(heads, sizes)]
    before: Sequence[str] = ()
    for stub in stubs:
        same = next((i for i, name in enumerate(stub) if i >= len(before) or before[i] != name), len(stub))
        lines.append(_join([""] * same + list(stub[same:]), sizes))
        before = stub
    last = levels[-1] if levels else ""
    named = lines[0].rstrip()
    size = max(*map(len, lines[1:]), len(named) + len(GAP) + len(last), *map(len, levels))
    first = named + last.rjust(size - len(named))
    return [*(name.rjust(size) for name in levels[:-1]), first, *(line.ljust(size) for line in lines[1:])]


def _align(cells: Sequence[str]) -> list[str]:
    """Numbers with their decimal points under each other; short words end where the numbers do."""
    numbers = [m.group() if (m := _NUMBER.match(cell)) else "" for cell in cells]
    lead = max((len(number) for number in numbers), default=0)
    return [
        " " * (lead - len(number or cell)) + cell if (number or len(cell) < lead) else cell
        for cell, number in zip(cells, numbers, strict=True)
    ]


def _wrap(head: str) -> list[str]:
    """A long name over several lines, broken behind its underscores and spaces."""
    lines = [""]
    for piece in re.findall(r"[^_ ]+[_ ]*|[_ ]+", head) or [""]:
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > 10:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _blocks(heads: Sequence[Sequence[str]], sizes: Sequence[int], stub: int, width: int | None) -> list[list[int]]:
    """Column numbers of each block; columns under one outer heading stay together where they fit."""
    if width is None:
        return [list(range(len(sizes)))]
    groups: list[list[int]] = []
    for i, head in enumerate(heads):
        if groups and len(head) > 1 and heads[groups[-1][-1]][0] == head[0]:
            groups[-1].append(i)
        else:
            groups.append([i])

    def wide(columns: Sequence[int]) -> int:
        return stub + sum(len(GAP) + w for w in _stretch([heads[i] for i in columns], [sizes[i] for i in columns]))

    blocks: list[list[int]] = [[]]
    for group in groups:
        if wide(blocks[-1] + group) <= width:
            blocks[-1] += group
            continue
        for number, i in enumerate(group):
            if blocks[-1] and (wide([*blocks[-1], i]) > width or (number == 0 and wide(group) <= width)):
                blocks.append([])
            blocks[-1].append(i)
    return blocks


def _stretch(heads: Sequence[Sequence[str]], sizes: Sequence[int]) -> list[int]:
    """Column widths, the last of each group widened until the outer headings fit."""
    widths = list(sizes)
    for level in range(len(heads[0]) - 1 if heads else 0):
        for start, end in _groups(heads, level):
            room = sum(widths[start:end]) + len(GAP) * (end - start - 1)
            widths[end - 1] += max(0, len(heads[start][level]) - room)
    return widths


def _spans(heads: Sequence[Sequence[str]], widths: Sequence[int], level: int) -> str:
    """Outer headings of one level, each over the first of its columns."""
    texts = [
        heads[start][level].ljust(sum(widths[start:end]) + len(GAP) * (end - start - 1))
        for start, end in _groups(heads, level)
    ]
    return GAP.join(texts)


def _groups(heads: Sequence[Sequence[str]], level: int) -> list[tuple[int, int]]:
    starts = [i for i in range(len(heads)) if i == 0 or heads[i][: level + 1] != heads[i - 1][: level + 1]]
    return list(zip(starts, [*starts[1:], len(heads)], strict=True))


def _join(texts: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(text.ljust(width) for text, width in zip(texts, widths, strict=True))
