"""A contact sheet of one sample: its frames in order, pairs joined and coloured by overlap, and a map from above."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smx.samples.drawing import FAINT, INK, Canvas, Png, Svg, mixed, page, table
from smx.samples.top_view import Floor, floor_of

if TYPE_CHECKING:
    import numpy as np

    from smx.sampleset import Sample

MARGIN, GAP, JOIN, BAND = 28.0, 22.0, 3.0, 46.0  # BAND: what stands below a row of pictures
THUMB = 150.0  # width of a picture that is wider than high; the longer side of any
ACROSS = 8  # pictures in a row
LOW, LEAST, HIGH, UNKNOWN = "#c8372d", "#f0c04a", "#1b7f79", "#b3bcc5"
_HEAD, _MAP = 74.0, 460.0


@dataclass(frozen=True)
class Sheet:
    """What is drawn of one sample."""

    sample: Sample
    title: str
    facts: str
    least: float  # overlap that the sampler wants of a pair
    pictures: np.ndarray  # [n, H, W, 3] uint8
    floor: Floor | None
    no_floor: str  # why there is no map

    @property
    def overlaps(self) -> list[float | None]:
        """Of each pair, 0..1."""
        return [None if pair["overlap"] is None else float(pair["overlap"]) for pair in self.sample.pairs]


def sheet_of(sample: Sample) -> Sheet:
    """Read a sample for drawing. `SceneError` where its files are damaged."""
    record = sample.record
    overlaps = [pair["overlap"] for pair in sample.pairs if pair["overlap"] is not None]
    facts = [
        f"{len(sample.ids)} frames of {record['source'].get('frames', '?')}",
        f"mean pair overlap {100 * sum(overlaps) / len(overlaps):.0f} %" if overlaps else "pair overlap unknown",
        "coverage unknown" if sample.coverage is None else f"coverage {100 * sample.coverage:.0f} %",
    ]
    if any(sample.fill):
        facts.append(f"{sum(sample.fill)} fill")
    floor, why = floor_of(sample)
    return Sheet(
        sample,
        f"{record['sampler']} · {len(sample.ids)} frames · {record.get('dataset', '')}/{sample.scene}",
        " · ".join(facts),
        float(record.get("options", {}).get("min_overlap", 0.5)),
        sample.frames(),
        floor,
        why,
    )


def as_png(sheet: Sheet) -> bytes:
    """The sheet as a PNG picture."""
    canvas = Png(*_size(sheet))
    draw(sheet, canvas)
    return canvas.render()


def as_html(sheet: Sheet, answers: str = "") -> str:
    """The sheet as one HTML page with everything in it: a drawing with notes under the mouse, and the numbers.

    `answers`: HTML that goes between the two.
    """
    canvas = Svg(*_size(sheet))
    draw(sheet, canvas)
    rows = [
        [f"{2 * k + 1}, {2 * k + 2}", *map(str, pair["ids"]), _percent(pair["overlap"]), _percent(pair.get("iou"))]
        for k, pair in enumerate(sheet.sample.pairs)
    ]
    return page(sheet.title, canvas.render(), answers + table(["pair", "frame", "frame", "overlap", "IoU"], rows))


def draw(sheet: Sheet, canvas: Canvas) -> None:
    """The whole sheet."""
    canvas.text(MARGIN, MARGIN + 14, sheet.title, 18, bold=True)
    canvas.text(MARGIN, MARGIN + 36, sheet.facts, 13, FAINT)
    _legend(sheet, canvas)
    width, height = _thumb(sheet)
    for position in range(len(sheet.sample.ids)):
        row, column = divmod(position, ACROSS)
        x = MARGIN + column // 2 * (2 * width + JOIN + GAP) + column % 2 * (width + JOIN)
        y = MARGIN + _HEAD + row * (height + BAND)
        _frame(sheet, canvas, position, x, y, width, height)
        if position % 2 == 0:
            _joint(sheet, canvas, position // 2, x, y + height, 2 * width + JOIN)
    top = MARGIN + _HEAD + _rows(sheet) * (height + BAND)
    canvas.text(MARGIN, top + 16, "Seen from above", 14, bold=True)
    if sheet.floor is None:
        canvas.text(MARGIN, top + 40, sheet.no_floor, 13, FAINT)
    else:
        colours = [pair_colour(value, sheet.least) for value in sheet.overlaps]
        wide = _size(sheet)[0] - 2 * MARGIN
        sheet.floor.draw(canvas, MARGIN, top + 30, 0.62 * wide, _MAP - 60, colours, sheet.overlaps)
        if (between := overlaps_between(sheet.sample)) is not None:
            side = min(_MAP - 60, 0.34 * wide)
            _matrix(sheet, canvas, between, MARGIN + wide - side, top, side)


def overlaps_between(sample: Sample) -> np.ndarray | None:
    """[n, n] overlap of every two frames of the list, NaN where one sees nothing; None where that is unknown."""
    import numpy as np

    voxels = sample.voxels
    if voxels is None:
        return None
    seen = np.unpackbits(voxels["seen"], axis=1, count=len(voxels["cells"])).astype(np.float32)
    counts = seen.sum(axis=1)
    least = np.minimum(counts[:, None], counts[None, :])
    with np.errstate(invalid="ignore"):
        shared: np.ndarray = (seen @ seen.T) / np.where(least > 0, least, np.nan)
    return shared


def pair_colour(overlap: float | None, least: float) -> str:
    """Red at no overlap, yellow at `least`, green at all; grey where it is unknown."""
    if overlap is None:
        return UNKNOWN
    if overlap < least:
        return mixed(LOW, LEAST, overlap / least)
    return mixed(LEAST, HIGH, (overlap - least) / (1 - least)) if least < 1 else HIGH


def _frame(sheet: Sheet, canvas: Canvas, position: int, x: float, y: float, w: float, h: float) -> None:
    frame_id, time = sheet.sample.ids[position], float(sheet.sample.timestamps[position])
    when = "time unknown" if math.isnan(time) else f"{time:.2f} s"
    note = ", only fills up" if sheet.sample.fill[position] else ""
    canvas.picture(x, y, w, h, sheet.pictures[position], f"{position + 1}: frame {frame_id}, {when}{note}")
    number = str(position + 1)
    canvas.text(x, y - 4, number, 11, INK, bold=True)
    fill = ", fill" if sheet.sample.fill[position] else ""
    canvas.text(x + 6 + 7 * len(number), y - 4, f"frame {frame_id}{fill}", 11, FAINT)


def _matrix(sheet: Sheet, canvas: Canvas, between: np.ndarray, x: float, top: float, side: float) -> None:
    """Overlap of every two frames; the pairs, which the encoder merges, are framed."""
    canvas.text(x, top + 16, "Overlap of every two frames", 14, bold=True)
    n, y = len(between), top + 30
    step = side / n
    for i in range(n):
        for j in range(n):
            overlap = None if between[i, j] != between[i, j] else float(between[i, j])
            about = f"{i + 1} and {j + 1}: {_percent(overlap)}"
            canvas.rect(x + j * step, y + i * step, step, step, pair_colour(overlap, sheet.least), about)
    for k in range(n // 2):
        left, upper = x + 2 * k * step, y + 2 * k * step
        right, lower = left + 2 * step, upper + 2 * step
        canvas.line([(left, upper), (right, upper), (right, lower), (left, lower), (left, upper)], INK, 1.5)
    for i in range(n):
        if n <= 16 or i % 2 == 0:
            canvas.text(x - 5, y + (i + 0.5) * step + 3.5, str(i + 1), 9, FAINT, "end")
    canvas.text(x, y + side + 22, "framed: the pairs, which the encoder merges", 11, FAINT)


def _joint(sheet: Sheet, canvas: Canvas, pair: int, x: float, y: float, w: float) -> None:
    overlap = sheet.overlaps[pair]
    colour = pair_colour(overlap, sheet.least)
    canvas.rect(x, y + 3, w, 6, colour, f"overlap {_percent(overlap)}")
    canvas.text(x + w / 2, y + 23, f"overlap {_percent(overlap)}", 11, INK, "middle")


def _legend(sheet: Sheet, canvas: Canvas) -> None:
    right, width, y = _size(sheet)[0] - MARGIN, 160.0, MARGIN + 6
    for step in range(40):
        canvas.rect(right - width + step * width / 40, y, width / 40 + 0.3, 9, pair_colour(step / 39, sheet.least))
    marks: list[tuple[float, Any]] = [(0, "start"), (sheet.least, "middle"), (1, "end")]
    for share, anchor in marks:
        canvas.text(right - width + share * width, y + 22, f"{100 * share:.0f} %", 10, FAINT, anchor)
    canvas.text(right - width - 8, y + 9, "overlap of a pair", 11, FAINT, "end")


def _thumb(sheet: Sheet) -> tuple[float, float]:
    height, width = sheet.pictures.shape[1:3]
    scale = THUMB / max(width, height)
    return width * scale, height * scale


def _rows(sheet: Sheet) -> int:
    return -(-len(sheet.sample.ids) // ACROSS)


def _size(sheet: Sheet) -> tuple[float, float]:
    width, height = _thumb(sheet)
    pairs = ACROSS // 2
    across = max(760.0, pairs * (2 * width + JOIN) + (pairs - 1) * GAP)
    below = _MAP if sheet.floor is not None else 60.0
    return 2 * MARGIN + across, 2 * MARGIN + _HEAD + _rows(sheet) * (height + BAND) + below


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.0f} %"
