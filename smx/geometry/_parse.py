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


def inverted(c2w: np.ndarray, where: Callable[[int], str]) -> np.ndarray:
    """w2c of c2w (or the reverse), checked as `checked` does."""
    result = checked(c2w, where)
    found = np.isfinite(result).all(axis=(1, 2))
    # inv, not the transpose: text with few digits is only nearly orthonormal
    result[found] = np.linalg.inv(result[found])
    return result


def checked(matrices: np.ndarray, where: Callable[[int], str]) -> np.ndarray:
    """A float64 copy with lost poses all NaN; `SceneError` at the first one that is no rigid motion."""
    matrices = matrices.astype(np.float64)
    lost = ~np.isfinite(matrices).all(axis=(1, 2))
    matrices[lost] = np.nan
    wrong = np.flatnonzero(~is_rigid(matrices) & ~lost)
    if len(wrong):
        raise SceneError(f"{where(int(wrong[0]))}: not a rigid motion (a rotation and a translation)")
    return matrices


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


def each_time_once(times: np.ndarray, where: Callable[[int], str]) -> None:
    """`SceneError` at the first time [n] that was there before: which of two poses was meant cannot be known."""
    order = np.argsort(times, kind="stable")
    again = order[1:][np.diff(times[order]) == 0]
    if len(again):
        row = int(again.min())
        first = int(np.flatnonzero(times == times[row])[0])
        raise SceneError(f"{where(row)}: timestamp {times[row]:.6f} again, as {where(first)}")
