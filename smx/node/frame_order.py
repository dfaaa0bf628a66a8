"""How a scene is shown to a model: `input` and `frame_order` of an eval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smx.models import SceneInput
from smx.spec import FrameOrder

LIST_FPS = 2.0  # what Qwen's processors take for a list of pictures that come without times


def shown(scene: SceneInput, input: str, order: FrameOrder, seed: int) -> SceneInput:
    """The frames in the order asked for, with the times that the model is told.

    `frames`: a list of pictures, at two a second from 0. `reversed` and `shuffled` move pairs (positions 2k and
    2k+1, which the encoder merges), never frames within one; cameras go with their frames, times stay at their
    places, as in a video that was cut in that order. A model that is told where each frame was taken should say
    the same. Shuffling depends on the scene's name and `seed` alone.
    """
    n = len(scene.frames)
    times, duration = scene.timestamps, scene.duration
    if input == "frames":
        times, duration = np.arange(n) / LIST_FPS, n / LIST_FPS
    if order == "given":
        return replace(scene, timestamps=times, duration=duration)
    rows = _order(scene.scene, n, order, seed)
    w2c, K = (None if value is None else value[rows] for value in (scene.w2c, scene.K))
    return SceneInput(scene.scene, scene.frames[rows], times, w2c, K, duration)


def _order(scene: str, n: int, order: FrameOrder, seed: int) -> np.ndarray:
    """Positions of the frames, [n]. A last frame without partner stays the last."""
    pairs = np.arange(n // 2)
    if order == "reversed":
        pairs = pairs[::-1]
    else:
        words = np.frombuffer(scene.encode(), np.uint8).astype(np.uint32)
        pairs = np.random.default_rng([seed, *words.tolist()]).permutation(pairs)
    rows = np.stack([2 * pairs, 2 * pairs + 1], axis=1).reshape(-1)
    return np.concatenate([rows, np.arange(n - n % 2, n)])
