"""Two sample sets side by side: which frames differ, scene by scene, and what that does to overlap and coverage."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smx import sampleset
from smx.errors import SceneError, UserError
from smx.samples.lookup import samples_of


def compare(root: Path, a: str, b: str, scenes: str = "*") -> dict[str, Any]:
    """`rows` a scene that both sets have, `only_a` and `only_b` scenes of one alone, `damaged` what was left out.

    A row: `scene` ("<dataset>/<scene>"), `shared` frames, `only_a`, `only_b` (frame ids), `same_pairs` (pairs that
    both have), `same_order`, and `overlap` and `coverage` as [a, b] (None where unknown). `mean`: of those over the
    scenes where both are known. Raises `UserError` where a set is none, or the two share no scene.
    """
    first, second = samples_of(root, a), samples_of(root, b)
    keep = [s for s in sorted(first.keys() | second.keys()) if _fits(s, scenes)]
    rows, damaged = [], []
    for scene in keep:
        if scene in first and scene in second:
            try:
                rows.append(_row(scene, *(sampleset.read(place[scene]).record for place in (first, second))))
            except SceneError as error:
                damaged.append(str(error))
    if not rows and not damaged:
        raise UserError(
            f"{a!r} and {b!r} share no scene" + (f" that fits {scenes!r}" if scenes != "*" else ""),
            f"{a}: {_few(first)}\n{b}: {_few(second)}",
        )
    alone = [[s for s in keep if s in mine and s not in other] for mine, other in ((first, second), (second, first))]
    alone_in = {"only_a": alone[0], "only_b": alone[1]}
    return {"a": a, "b": b, "rows": rows, "mean": _means(rows), **alone_in, "damaged": damaged}


def _row(scene: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    here, there = set(a["ids"]), set(b["ids"])
    pairs = [{tuple(sorted(pair["ids"])) for pair in record["pairs"]} for record in (a, b)]
    return {
        "scene": scene,
        "frames": [len(a["ids"]), len(b["ids"])],
        "shared": len(here & there),
        "only_a": sorted(here - there),
        "only_b": sorted(there - here),
        "same_pairs": len(pairs[0] & pairs[1]),
        "same_order": a["ids"] == b["ids"],
        "overlap": [_overlap(a), _overlap(b)],
        "coverage": [a["coverage"], b["coverage"]],
    }


def _overlap(record: Mapping[str, Any]) -> float | None:
    """Mean over the pairs of two different frames."""
    known = [
        float(pair["overlap"])
        for pair in record["pairs"]
        if pair["overlap"] is not None and pair["ids"][0] != pair["ids"][1]
    ]
    return sum(known) / len(known) if known else None


def _means(rows: list[dict[str, Any]]) -> dict[str, list[float] | None]:
    found: dict[str, list[float] | None] = {}
    for key in ("overlap", "coverage"):
        both = [row[key] for row in rows if None not in row[key]]
        found[key] = [sum(values) / len(both) for values in zip(*both, strict=True)] if both else None
    return found


def _fits(scene: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(scene, pattern) or fnmatch.fnmatchcase(scene.partition("/")[2], pattern)


def _few(scenes: Mapping[str, Path]) -> str:
    names = sorted(scenes)
    return ", ".join(names[:4]) + (f" … ({len(names)})" if len(names) > 4 else "")
