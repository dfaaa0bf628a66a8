"""Pair overlap and coverage against the frame count, drawn from `smx.samples.stats.stats`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smx.errors import UserError
from smx.samples.drawing import FAINT, INK, Canvas, Png, Svg, page, table
from smx.samples.stats import label, unshared

SUFFIXES = (".png", ".svg", ".html")
# Told apart by colour-blind readers too (Okabe and Ito 2008), then darker ones of the same.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6d1f", "#5b3f8c", "#3b3f46", "#a3303b")
_PANEL_W, _PANEL_H, _GAP, _LEFT, _TOP, _FOOT = 400.0, 280.0, 90.0, 70.0, 70.0, 60.0
_DOT, _RING = 4.5, 2.5  # radius of a mark, and what it grows by for each mark on top of it
_ONE_SPOT = 0.006  # shares that differ by less are drawn on one spot
_LINE = 19.0  # height of a line of the legend
_SHADE = "#e4e7eb"

Row = Mapping[str, Any]


def check_suffix(path: Path) -> None:
    """`UserError` where no drawing is written with this ending."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"--plot {path.name!r}: no drawing ends in {path.suffix or 'nothing'}", f"one of {', '.join(SUFFIXES)}"
        )


def plot(found: Mapping[str, Any], suffix: str) -> bytes:
    """The drawing of what `stats` found, as `.png`, `.svg` or `.html`. `UserError` where there is nothing to draw."""
    if not found["rows"]:
        raise UserError("there are no samples to plot", "smx gen --sampler mergeaware_sa --frames 8,16,32")
    size = _size(found)
    if suffix == ".png":
        png = Png(*size)
        draw(found, png)
        return png.render()
    svg = Svg(*size)
    draw(found, svg)
    whole = svg.render() if suffix == ".svg" else page("Pair overlap and coverage", svg.render(), _numbers(found))
    return whole.encode()


def draw(found: Mapping[str, Any], canvas: Canvas) -> None:
    """A row of two panels for each dataset, and one legend."""
    canvas.text(_LEFT, 34, "Overlap of merged frames and coverage, against the frame count", 17, bold=True)
    names = _series_names(found["rows"])
    for k, dataset in enumerate(_datasets(found)):
        rows = [row for row in found["rows"] if row["dataset"] == dataset]
        fits = [fit for fit in found["fits"] if fit["dataset"] == dataset]
        scenes = max(row["scenes"] for row in rows)
        said = "; ".join(line.partition(": ")[2] for line in unshared(rows))
        y = _TOP + 26 + k * (_PANEL_H + _FOOT + 26)
        canvas.text(_LEFT, y - 14, f"{dataset}, {said or f'{scenes} scene' + 's' * (scenes > 1)}", 13, FAINT)
        _panel(canvas, _LEFT, y, "overlap", "mean overlap within pairs, %", rows, fits, found["rows"], names)
        x = _LEFT + _PANEL_W + _GAP
        _panel(canvas, x, y, "coverage", "coverage of the scene, %", rows, [], found["rows"], names)
    _legend(canvas, found, names)


def _panel(
    canvas: Canvas, x: float, y: float, key: str, title: str, rows: Sequence[Row], fits: Sequence[Row],
    every: Sequence[Row], names: Sequence[str],
) -> None:  # fmt: skip
    counts = sorted({row["frames"] for row in rows})
    low, high = counts[0], counts[-1]
    room = 0.08 * (high - low) or 1.0

    def at(n: float, share: float) -> tuple[float, float]:
        return x + (n - low + room) / (high - low + 2 * room) * _PANEL_W, y + (1 - share) * _PANEL_H

    for tick in range(0, 101, 20):
        left, level = x, y + (1 - tick / 100) * _PANEL_H
        canvas.line([(left, level), (left + _PANEL_W, level)], _SHADE, 1)
        canvas.text(left - 8, level + 4, str(tick), 11, FAINT, "end")
    for n in counts:
        canvas.text(at(n, 0)[0], y + _PANEL_H + 17, str(n), 11, FAINT, "middle")
    canvas.text(x + _PANEL_W / 2, y + _PANEL_H + 36, "frames n", 12, INK, "middle")
    canvas.text(x + _PANEL_W, y - 14, title, 12, INK, "end", bold=True)
    for fit in fits:
        a, b = fit["linear"]["a"], fit["linear"]["b"]
        ends = [at(n, min(1.0, max(0.0, a + b * n))) for n in (fit["points"][0][0], fit["points"][-1][0])]
        canvas.line(ends, _colour(label(fit, every), names), 1.2, dash=True)
    series = {
        name: sorted((row["frames"], row[key]) for row in rows if label(row, every) == name and row[key] is not None)
        for name in names
    }
    if not (key == "overlap" and fits):
        for name, mine in series.items():
            if len(mine) > 1:
                canvas.line([at(n, share) for n, share in mine], _colour(name, names), 1.6)
    for place, (name, mine) in enumerate(series.items()):
        later = [point for others in list(series.values())[place + 1 :] for point in others]
        for n, share in mine:
            # What later ones would hide (tma_sa covers as much as sa) stands out behind them as a ring.
            hidden = sum(m == n and abs(other - share) < _ONE_SPOT for m, other in later)
            px, py = at(n, share)
            canvas.circle(
                px, py, _DOT + _RING * hidden, _colour(name, names), f"{name}, {n} frames: {100 * share:.1f} %"
            )


def _legend(canvas: Canvas, found: Mapping[str, Any], names: Sequence[str]) -> None:
    y = _TOP + len(_datasets(found)) * (_PANEL_H + _FOOT + 26) + 14
    dashed = "dashed: a + b·n, fitted over the scenes that every frame count has; a trend as found, no law"
    canvas.text(_LEFT, y, dashed, 11, FAINT)
    for k, name in enumerate(names):
        line = y + 22 + k * _LINE
        canvas.circle(_LEFT + 6, line - 4, _DOT, _colour(name, names))
        canvas.text(_LEFT + 18, line, name, 12)
        fits = [fit for fit in found["fits"] if label(fit, found["rows"]) == name]
        canvas.text(_LEFT + _PANEL_W + _GAP, line, "; ".join(_fit_words(fit, found) for fit in fits), 12, FAINT)


def _fit_words(fit: Row, found: Mapping[str, Any]) -> str:
    line = fit["linear"]
    place = f"{fit['dataset']}: " if len(_datasets(found)) > 1 else ""
    fitness = "" if line["r2"] is None else f"  (R² {line['r2']:.2f})"
    return f"{place}{line['a']:.3f} {line['b']:+.4f}·n{fitness}"


def _numbers(found: Mapping[str, Any]) -> str:
    """The rows behind the drawing, as an HTML table."""
    columns = ["sampler", "dataset", "n", "scenes", "overlap %", "p10 %", "below %", "coverage %", "as sa %", "fill %"]
    keys = ("overlap", "overlap_p10", "below", "coverage", "shared_with_sa", "fill")
    cells = [
        [
            label(row, found["rows"]),
            row["dataset"],
            str(row["frames"]),
            str(row["scenes"]),
            *(_percent(row[k]) for k in keys),
        ]
        for row in found["rows"]
    ]
    return table(columns, cells)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _series_names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(label(row, rows) for row in rows))


def _datasets(found: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["dataset"] for row in found["rows"]))


def _colour(name: str, names: Sequence[str]) -> str:
    return COLOURS[names.index(name) % len(COLOURS)]


def _size(found: Mapping[str, Any]) -> tuple[float, float]:
    legend = 30 + _LINE * len(_series_names(found["rows"])) + 14
    height = _TOP + len(_datasets(found)) * (_PANEL_H + _FOOT + 26) + legend
    return _LEFT + 2 * _PANEL_W + _GAP + 30, height
