"""Draws `docs/imports.svg`: the units of smx in their layers, and which imports which.

An arrow that follows from others (a imports b, b imports c) is left out, so that what is left can be read: from a
unit, everything that lies below it along arrows may be imported by it, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape

_WIDTH, _ROW, _BOX, _GAP, _CHARACTER, _LABEL = 1160, 78, 26, 14, 7.3, 20


def picture(layers: Sequence[Collection[str]], imports: Mapping[str, Collection[str]]) -> str:
    """An SVG. `layers`: units, lowest first; `imports`: unit -> units it imports."""
    centres: dict[str, tuple[float, float]] = {}
    boxes: list[str] = []
    rows = [[unit for unit in layer if unit in imports] for layer in reversed(layers)]
    rows = [row for row in rows if row]
    for number, row in enumerate(rows):
        widths = [len(unit) * _CHARACTER + _LABEL for unit in row]
        x = (_WIDTH - sum(widths) - _GAP * (len(row) - 1)) / 2
        y = 20 + number * _ROW
        for unit, width in zip(row, widths, strict=True):
            boxes.append(
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{_BOX}" rx="5"/>'
                f'<text x="{x + width / 2:.0f}" y="{y + 17}">{escape(unit)}</text>'
            )
            centres[unit] = (x + width / 2, y)
            x += width + _GAP
    arrows = [
        f'<path d="M{x:.0f} {y + _BOX} C{x:.0f} {y + _BOX + 26} {u:.0f} {v - 30} {u:.0f} {v - 3}"/>'
        for source, targets in sorted(_needed(imports).items())
        for target in sorted(targets)
        for (x, y), (u, v) in [(centres[source], centres[target])]
    ]
    height = 20 + len(rows) * _ROW
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
            "<title>The units of smx: an arrow points to what a unit imports</title>",
            "<style>rect{fill:#f4f6fa;stroke:#5b6b8c}text{font:12px monospace;text-anchor:middle;fill:#1c2433}"
            "path{fill:none;stroke:#9aa7c0;marker-end:url(#tip)}"
            "@media (prefers-color-scheme: dark){rect{fill:#232b3b}text{fill:#e6ebf5}path{stroke:#5b6b8c}}</style>",
            '<defs><marker id="tip" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="5" markerHeight="5" orient="auto">'
            '<path d="M0 0 6 3 0 6z" style="fill:#9aa7c0;stroke:none;marker-end:none"/></marker></defs>',
            *arrows,
            *boxes,
            "</svg>\n",
        ]
    )


def _needed(imports: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Without the arrows that follow from others. The graph has no cycle: imports point down."""
    reached: dict[str, set[str]] = {}

    def below(unit: str) -> set[str]:
        if unit not in reached:
            reached[unit] = {deep for target in imports[unit] for deep in (target, *below(target))}
        return reached[unit]

    return {
        unit: {target for target in targets if not any(target in below(other) for other in targets if other != target)}
        for unit, targets in imports.items()
    }
