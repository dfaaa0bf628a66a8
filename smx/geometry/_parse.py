"""Parts that every reader of camera files needs: numbers out of text, matrices checked, errors with file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smx.errors import SceneError
from smx.geometry.cameras import is_rigid

_FEW = 0.1  # share of poses that may be bad: more is a file of another kind, and no accident


def inverted(c2w: np.ndarray, where: Callable[[int], str], dropped: list[str] | None = None) -> np.ndarray:
    """w2c of c2w (or the reverse), checked as `checked` does."""
    result = checked(c2w, where, dropped)
    found = np.isfinite(result).all(axis=(1, 2))
    # inv, not the transpose: text with few digits is only nearly orthonormal
    result[found] = np.linalg.inv(result[found])
    return result


def checked(matrices: np.ndarray, where: Callable[[int], str], dropped: list[str] | None = None) -> np.ndarray:
    """A float64 copy with lost poses all NaN; `SceneError` at the first one that is no rigid motion.

    With `dropped`, a few such ones (a tenth of all at most) are lost, and it is told of each.
    """
    matrices = matrices.astype(np.float64)
    lost = ~np.isfinite(matrices).all(axis=(1, 2))
    matrices[lost] = np.nan
    wrong = np.flatnonzero(~is_rigid(matrices) & ~lost)
    reasons = [f"{where(int(row))}: not a rigid motion (a rotation and a translation)" for row in wrong]
    matrices[wrong] = np.nan
    drop(reasons, len(matrices), dropped)
    return matrices


def drop(reasons: list[str], count: int, dropped: list[str] | None) -> None:
    """Tell `dropped` of those of `count` poses that are bad. `SceneError` with the first where they are no few."""
    if reasons and (dropped is None or len(reasons) > _FEW * count):
        raise SceneError(reasons[0])
    if dropped is not None:
        dropped += reasons


def read_text(path: Path) -> str:
    """A text file whole. `SceneError` naming it where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SceneError(f"{path}: cannot be read ({error.strerror})") from None


def text_lines(path: Path, blank: bool = False) -> Iterator[tuple[int, str]]:
    """(line number from 1, stripped line) without comments, and without blank lines unless asked for."""
    for number, raw in enumerate(read_text(path).splitlines(), 1):
        line = raw.strip()
        if not line.startswith("#") and (line or blank):
            yield number, line


def columns(path: Path) -> int:
    """How many words the first line of a text file has, comments and blank lines left out."""
    return next((len(line.replace(",", " ").split()) for _, line in text_lines(path)), 0)


def floats(text: str, count: int, where: str, expected: str) -> list[float]:
    """Exactly `count` numbers of a text, inf and NaN among them; `expected` says what they mean, for the message."""
    # Windows programs write "-1.#INF" and "1.#IND" for what is lost
    words = re.sub(r"\S*#(INF|IND|QNAN)\S*", "nan", text).split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count or not words:
        raise SceneError(f"{where}: expected {count} numbers ({expected}), got {' '.join(words)[:80]!r}")
    return values


def read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file."""
    try:
        data = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise SceneError(f"{path}:{error.lineno}: broken JSON ({error.msg})") from None
    if not isinstance(data, dict):
        raise SceneError(f"{path}: expected a JSON object")
    return data


def float_array(data: dict[str, Any], key: str, where: Path | str, shape: tuple[int, ...]) -> np.ndarray:
    """`data[key]` as float64 of `shape` (-1: any length)."""
    if key not in data:
        raise SceneError(f"{where}: {key!r} is missing")
    wanted = "x".join("n" if side < 0 else str(side) for side in shape)
    try:
        # null is how JSON says NaN
        array = np.array(data[key], dtype=np.float64)
    except (TypeError, ValueError):
        raise SceneError(f"{where}: {key!r} is not {wanted} numbers") from None
    if array.ndim != len(shape) or any(s not in (-1, a) for s, a in zip(shape, array.shape, strict=True)):
        raise SceneError(f"{where}: {key!r} is {'x'.join(map(str, array.shape))}, not {wanted}")
    return array


def positive(data: dict[str, Any], key: str, where: Path | str) -> float:
    """`data[key]`, which is more than 0 and finite."""
    try:
        value = float(data[key])
    except (TypeError, ValueError):
        value = np.nan
    if not 0 < value < np.inf:
        raise SceneError(f"{where}: {key!r} is {data[key]!r}, no number above 0")
    return value


def image_size(data: dict[str, Any], where: Path | str) -> tuple[int, int] | None:
    """(width, height) in pixels; None where one of them is not said."""
    if "width" not in data or "height" not in data:
        return None
    sides = [positive(data, key, where) for key in ("width", "height")]
    if any(side != int(side) for side in sides):
        raise SceneError(f"{where}: an image of {sides[0]:g}x{sides[1]:g} pixels")
    return int(sides[0]), int(sides[1])


def frame_numbers(data: dict[str, Any], where: Path | str, count: int) -> np.ndarray:
    """[count] int64 of `frame_ids`: whole numbers, each once."""
    numbers = float_array(data, "frame_ids", where, (count,))
    for wrong in np.flatnonzero(~((numbers == np.rint(numbers)) & (np.abs(numbers) < 2.0**53))):
        raise SceneError(f"{where}: frame_ids[{wrong}] is {numbers[wrong]:g}, no frame number")
    found, times = np.unique(numbers, return_counts=True)
    if len(found) < count:
        raise SceneError(f"{where}: frame {found[times > 1][0]:g} again in 'frame_ids'")
    return numbers.astype(np.int64)


def each_a_pinhole(K: np.ndarray, where: Callable[[int], str]) -> None:
    """`SceneError` at the first of K [n, 3, 3] that is no pinhole's: focal lengths above 0, last row 0 0 1."""
    focal = np.stack([K[:, 0, 0], K[:, 1, 1]], axis=1)
    good = np.isfinite(K).all(axis=(1, 2)) & (focal > 0).all(axis=1) & (K[:, 2] == [0, 0, 1]).all(axis=1)
    for wrong in np.flatnonzero(~good):
        rows = " / ".join(" ".join(f"{value:g}" for value in row) for row in K[wrong])
        raise SceneError(f"{where(int(wrong))}: {rows} are no camera's intrinsics (fx 0 cx / 0 fy cy / 0 0 1)")


def repeated(times: np.ndarray, where: Callable[[int], str]) -> dict[int, str]:
    """Rows of `times` [n] that were there before, each with what to say of it: of two poses, the first counts."""
    first: dict[float, int] = {}
    again: dict[int, str] = {}
    for row, time in enumerate(times.tolist()):
        if first.setdefault(time, row) != row:
            again[row] = f"{where(row)}: timestamp {time:.6f} again, as {where(first[time])}"
    return again
