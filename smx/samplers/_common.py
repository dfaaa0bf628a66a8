"""What every sampler shares: scenes shorter than n, filling up, the seeded generator."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from smx import plugins
from smx.errors import SceneError
from smx.geometry.voxels import VoxelSets
from smx.samplers import BaseSampler, Choice, View


def choose(sampler: BaseSampler, view: View, n: int, seed: int) -> Choice:
    """Exactly n frames of the scene. The one entry point: samplers themselves never see a short scene.

    A scene with N < n frames gives each frame once, then the last one again, flagged as fill.
    Raises `UserError` for an odd n, `SceneError` for a scene without frames or without what the sampler needs.
    """
    sampler.check_frames(n)
    ids = [int(i) for i in view.frame_ids]
    if not ids:
        raise SceneError(f"scene {view.scene!r} has no frames")
    if len(ids) < n:
        short = n - len(ids)
        return Choice(ids + ids[-1:] * short, [False] * len(ids) + [True] * short, {"scene_frames": len(ids)})
    try:
        choice = sampler.choose(view, n, seed)
    except SceneError as error:
        raise SceneError(f"{error}; {_way_out(sampler)}") from error
    if wrong := _wrong(choice, ids, n):
        raise TypeError(f"{plugins.file_of(sampler)}: choose {wrong}")
    return choice


def _wrong(choice: object, ids: Sequence[int], n: int) -> str:
    """What a sampler has not kept of its contract; "" for nothing."""
    if not isinstance(choice, Choice):
        return f"returned {type(choice).__name__}, not a Choice"
    if not len(choice.ids) == len(choice.fill) == n:
        return f"returned {len(choice.ids)} frames and {len(choice.fill)} fill flags, not {n}"
    if len(set(choice.ids)) != n:
        return "chose a frame twice"
    return "" if set(choice.ids) <= set(ids) else "chose a frame that does not exist"


def _way_out(sampler: BaseSampler) -> str:
    """What the sampler needs, and which ones need nothing but frames."""
    free = [name for name in plugins.names("samplers") if not plugins.load("samplers", name).needs]
    needs = " and ".join(sorted(sampler.requires())) or "frames to pair"
    return f"this sampler needs {needs}; {', '.join(free)} need none"


def spread(total: int, n: int) -> np.ndarray:
    """[n] int64 positions linspace(0, total-1, n), rounded to nearest, halves to even."""
    return np.rint(np.linspace(0, total - 1, n)).astype(np.int64)


def generator(scene: str, n: int, seed: int) -> np.random.Generator:
    """PCG64 seeded by sha256 of scene, n and seed: the same on every machine."""
    digest = hashlib.sha256(f"{scene}\n{n}\n{seed}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def fill_up(chosen: Sequence[int], pools: Sequence[np.ndarray], n: int) -> list[int]:
    """Frame ids that bring `chosen` up to n: each the one farthest in time from all chosen, ties to the lowest.

    A later pool (all frames) is used only when the earlier (the candidates) is exhausted.
    """
    taken = list(chosen)
    for pool in pools:
        free = np.setdiff1d(pool, taken)
        while len(taken) < n and len(free):
            gap = np.abs(free[:, None] - np.asarray(taken)[None]).min(axis=1) if taken else -free
            best = int(np.argmax(gap))
            taken.append(int(free[best]))
            free = np.delete(free, best)
    return taken[len(chosen) :]


def cover(view: View, rows: np.ndarray, sets: VoxelSets, n: int) -> tuple[list[int], list[int]]:
    """(frames chosen, frames that fill up to n): greedy cover of what `rows` see, frame ids of the rows of `sets`."""
    chosen = [int(rows[row]) for row in sets.greedy(n)]
    # Read anew: looking at geometry may have left out candidates whose camera nobody confirms.
    return chosen, fill_up(chosen, [view.candidates, view.frame_ids], n)


def usual_length(lengths: np.ndarray, centre: np.ndarray) -> float:
    """The median of `lengths` between points of `centre` [n, 3]; 1 where it is zero, but for rounding, or unknown."""
    median = float(np.median(lengths)) if len(lengths) else 0.0
    return median if median > 1e-9 * float(np.abs(centre).max()) else 1.0


def in_time_order(chosen: Sequence[int], fill: Sequence[int]) -> tuple[list[int], list[bool]]:
    """All frames ascending, with the flag of each."""
    flagged = sorted([(int(i), False) for i in chosen] + [(int(i), True) for i in fill])
    return [i for i, _ in flagged], [f for _, f in flagged]
