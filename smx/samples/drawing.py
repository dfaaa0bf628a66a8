"""Drawing once, for SVG and PNG alike: lines, shapes, text and pictures in pixels from the top left.

SVG is written by hand and PNG by Pillow, twice as fine as its size says, so that small text can be read. Colours
are `#rrggbb`.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]
INK, FAINT, PAPER = "#1f2933", "#7b8794", "#ffffff"
_FINE = 2  # pixels of a PNG to each pixel of the drawing
_FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"


class Canvas(Protocol):
    """What drawings are made on. `about` is shown where the mouse rests, in formats that can."""

    def line(self, points: Sequence[Point], colour: str, width: float = 1, dash: bool = False) -> None: ...
    def polygon(self, points: Sequence[Point], fill: str, about: str = "") -> None: ...
    def rect(self, x: float, y: float, w: float, h: float, fill: str, about: str = "") -> None: ...
    def circle(self, x: float, y: float, r: float, fill: str, about: str = "") -> None: ...
    def text(
        self, x: float, y: float, words: str, size: float = 12, colour: str = INK, anchor: Anchor = "start",
        bold: bool = False,
    ) -> None: ...  # fmt: skip
    def picture(self, x: float, y: float, w: float, h: float, pixels: np.ndarray, about: str = "") -> None: ...


class Svg:
    """A drawing as SVG text."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []
        self.rect(0, 0, width, height, PAPER)

    def line(self, points: Sequence[Point], colour: str, width: float = 1, dash: bool = False) -> None:
        """A polyline."""
        dashed = ' stroke-dasharray="4 3"' if dash else ""
        self._add(
            f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed}'
            ' stroke-linecap="round"/>'
        )

    def polygon(self, points: Sequence[Point], fill: str, about: str = "") -> None:
        """A filled polygon."""
        self._shape("polygon", f'points="{_points(points)}" fill="{fill}"', about)

    def rect(self, x: float, y: float, w: float, h: float, fill: str, about: str = "") -> None:
        """A filled rectangle. Crisp: browsers soften edges, and cells side by side would show a seam."""
        place = f'x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}"'
        self._shape("rect", f'{place} fill="{fill}" shape-rendering="crispEdges"', about)

    def circle(self, x: float, y: float, r: float, fill: str, about: str = "") -> None:
        """A filled disc."""
        self._shape("circle", f'cx="{x:.2f}" cy="{y:.2f}" r="{r:g}" fill="{fill}"', about)

    def text(
        self, x: float, y: float, words: str, size: float = 12, colour: str = INK, anchor: Anchor = "start",
        bold: bool = False,
    ) -> None:  # fmt: skip
        """Words on the base line y."""
        weight = ' font-weight="bold"' if bold else ""
        self._add(
            f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}"{weight}>'
            f"{html.escape(words)}</text>"
        )

    def picture(self, x: float, y: float, w: float, h: float, pixels: np.ndarray, about: str = "") -> None:
        """uint8 RGB [H, W, 3], at the size given; kept inside as JPEG."""
        data = io.BytesIO()
        _resized(pixels, round(w * _FINE), round(h * _FINE)).save(data, format="JPEG", quality=85)
        encoded = base64.b64encode(data.getvalue()).decode()
        size = f'x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}"'
        self._shape("image", f'{size} href="data:image/jpeg;base64,{encoded}"', about)

    def render(self) -> str:
        """The whole SVG."""
        size = f'width="{self.width:g}" height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{_FONT}">'
        return "\n".join([head, *self._parts, "</svg>", ""])

    def _shape(self, kind: str, attributes: str, about: str) -> None:
        inner = f"><title>{html.escape(about)}</title></{kind}>" if about else "/>"
        self._add(f"<{kind} {attributes}{inner}")

    def _add(self, part: str) -> None:
        self._parts.append(part)


class Png:
    """A drawing as a PNG picture, `_FINE` times as many pixels along each side."""

    def __init__(self, width: float, height: float) -> None:
        from PIL import Image, ImageDraw

        self._image = Image.new("RGB", (round(width * _FINE), round(height * _FINE)), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._fonts: dict[float, Any] = {}

    def line(self, points: Sequence[Point], colour: str, width: float = 1, dash: bool = False) -> None:
        """A polyline."""
        for part in _dashes(points) if dash else [points]:
            self._draw.line(self._scaled(part), colour, max(1, round(width * _FINE)), joint="curve")

    def polygon(self, points: Sequence[Point], fill: str, about: str = "") -> None:
        """A filled polygon."""
        self._draw.polygon(self._scaled(points), fill)

    def rect(self, x: float, y: float, w: float, h: float, fill: str, about: str = "") -> None:
        """A filled rectangle."""
        left, top, right, bottom = (round(side * _FINE) for side in (x, y, x + w, y + h))
        if right > left and bottom > top:
            self._draw.rectangle((left, top, right - 1, bottom - 1), fill)

    def circle(self, x: float, y: float, r: float, fill: str, about: str = "") -> None:
        """A filled disc."""
        self._draw.ellipse([side * _FINE for side in (x - r, y - r, x + r, y + r)], fill)

    def text(
        self, x: float, y: float, words: str, size: float = 12, colour: str = INK, anchor: Anchor = "start",
        bold: bool = False,
    ) -> None:  # fmt: skip
        """Words on the base line y."""
        from PIL import ImageFont

        font = self._fonts.setdefault(size, ImageFont.load_default(size * _FINE))
        side = {"start": "ls", "middle": "ms", "end": "rs"}[anchor]
        place = (x * _FINE, y * _FINE)
        self._draw.text(place, _plain(words), colour, font, side, stroke_width=0.25 * _FINE if bold else 0)

    def picture(self, x: float, y: float, w: float, h: float, pixels: np.ndarray, about: str = "") -> None:
        """uint8 RGB [H, W, 3], at the size given."""
        left, top = round(x * _FINE), round(y * _FINE)
        self._image.paste(_resized(pixels, round(w * _FINE), round(h * _FINE)), (left, top))

    def render(self) -> bytes:
        """The whole PNG."""
        data = io.BytesIO()
        self._image.save(data, format="PNG", dpi=(72 * _FINE, 72 * _FINE))
        return data.getvalue()

    @staticmethod
    def _scaled(points: Sequence[Point]) -> list[Point]:
        return [(x * _FINE, y * _FINE) for x, y in points]


def page(title: str, svg: str, below: str = "") -> str:
    """A self-contained HTML page with one drawing, and what is `below` it (HTML)."""
    style = f"body{{margin:24px;font-family:{_FONT};color:{INK}}}svg{{max-width:100%;height:auto}}"
    style += "table{border-collapse:collapse;font-size:13px;margin:16px 28px}td,th{padding:3px 10px;text-align:right}"
    style += f"th{{border-bottom:1px solid {FAINT}}}td:first-child,th:first-child{{text-align:left}}"
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head = f"<head>{meta}<title>{html.escape(title)}</title><style>{style}</style></head>"
    return f'<!doctype html>\n<html lang="en">\n{head}\n<body>\n{svg}{below}</body>\n</html>\n'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{lines}</table>\n"


def mixed(low: str, high: str, share: float) -> str:
    """The colour `share` of the way from `low` to `high`."""
    share = min(1.0, max(0.0, share))
    pairs = ((int(low[at : at + 2], 16), int(high[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def legible(ground: str) -> str:
    """Dark or light, whichever can be read on `ground`."""
    red, green, blue = (int(ground[at : at + 2], 16) for at in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else PAPER


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _resized(pixels: np.ndarray, width: int, height: int) -> Any:
    from PIL import Image

    return Image.fromarray(pixels).resize((max(1, width), max(1, height)), Image.Resampling.LANCZOS)


def _dashes(points: Sequence[Point], on: float = 4, off: float = 3) -> list[list[Point]]:
    """The pieces of a dashed polyline."""
    parts: list[list[Point]] = []
    for (x0, y0), (x1, y1) in pairwise(points):
        length = max(1e-9, ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5)
        at = 0.0
        while at < length:
            ends = (at / length, min(1.0, (at + on) / length))
            parts.append([(x0 + (x1 - x0) * t, y0 + (y1 - y0) * t) for t in ends])
            at += on + off
    return parts


def _plain(words: str) -> str:
    """Words in the letters that Pillow's own font has: those of ASCII and a few more."""
    known = words.translate({ord("−"): "-", ord("→"): "->", ord("²"): "^2", ord("×"): "x"})
    return "".join(letter if letter < "\x7f" or letter in "·…" else "?" for letter in known)
