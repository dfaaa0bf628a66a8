"""What `smx verify` feeds a checkpoint, and as which model: options by its architecture, inputs drawn from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smx import plugins
from smx.errors import UserError
from smx.models._qwen3_vl import checkpoint as qwen3_checkpoint
from smx.models._qwen3_vl import model
from smx.models._qwen3_vl import options as qwen3_options
from smx.models._qwen3_vl.options import Qwen3Options
from smx.models._spatial_mllm import config as spatial_config
from smx.models._spatial_mllm.options import SpatialOptions
from smx.models._vlm import checkpoint, checkpoint_json, config_checks
from smx.models._vlm.options import QwenOptions, VisionOptions
from smx.models._vlm.preprocess import prepare
from smx.tokens import MERGE, PATCH, TEMPORAL_PATCH, Layout

FRAMES, ROWS, COLUMNS = 8, 3, 4  # frames, and merged cells of each
SECONDS = 1.0  # per tubelet
TEXT = (4, 8)  # tokens before the video and after it
STAMP = 3  # tokens before a block of Qwen3-VL's, where its timestamps stand
ALWAYS = ("input_ids", "pixel_values_videos", "video_grid_thw", "text_only_ids")
# model_type of a checkpoint -> the bases whose variants it can be run as; the first is its architecture
KINDS: dict[str, tuple[str, ...]] = {
    checkpoint.MODEL_TYPE: ("qwen2_5_vl", "tiny"),
    qwen3_checkpoint.MODEL_TYPE: ("qwen3_vl",),
    spatial_config.MODEL_TYPE: ("spatial_mllm",),
}


def options_of(folder: Path, said: dict[str, Any] | None, base: str | None = None) -> VisionOptions:
    """A checkpoint's architecture with the options `said` (of a variant of `base`, or of a record).

    None: those the checkpoint was trained with, as far as it carries them, else the architecture's defaults.
    """
    config = checkpoint.content_of_config(folder)
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{folder} holds a {kind!r}", f"known model_type: {', '.join(KINDS)}")
    bases = KINDS[kind]
    if base is not None and base not in bases:
        raise UserError(
            f"{folder} holds a {kind!r}, which a variant of base {base!r} cannot run",
            f"expected a variant of base {' or '.join(bases)}: smx list models",
        )
    if said is None:
        said = checkpoint_json.memory(folder).get("options")
    merges = kind == spatial_config.MODEL_TYPE and spatial_config.read_config(folder).connector == "spatial_merge"
    defaults = {"connector": "spatial_merge", "features": "3d", "tubelets": "repeat"} if merges else {}
    options: VisionOptions = plugins.load("models", bases[0]).parse(
        defaults | (said or {}), f"options of {folder.name}"
    )
    return options.at(folder)


def needed(options: VisionOptions) -> list[str]:
    """Names of the inputs that a model of these options reads."""
    names = [*ALWAYS]
    if isinstance(options, QwenOptions):
        names.append("second_per_grid_ts")
    names += ("w2c", "K") if options.wants_cameras() else ()
    if isinstance(options, SpatialOptions):
        names.append("video_tchw")
    return names


def refuse_inputs(folder: Path, inputs: dict[str, Tensor], options: VisionOptions) -> None:
    """`UserError` where a record's inputs are not there, or not of the shapes and ids that the checkpoint reads."""
    lacking = [name for name in needed(options) if name not in inputs]
    if lacking:
        raise UserError(f"the record lacks {', '.join(lacking)}", f"found: {', '.join(sorted(inputs))}")
    config = checkpoint.content_of_config(folder)
    vision, words = config["vision_config"], config_checks.language(config)["vocab_size"]
    default = qwen3_options.PATCH if isinstance(options, Qwen3Options) else PATCH
    patch, pair = vision.get("patch_size", default), vision.get("temporal_patch_size", TEMPORAL_PATCH)
    grid = inputs["video_grid_thw"]
    if grid.shape != (1, 3) or int(grid.min()) < 1:
        raise UserError(f"the record's video_grid_thw is {grid.tolist()}", "expected one row of three numbers above 0")
    t, h, w = grid[0].tolist()
    frames = t * (1 if options.tubelets == "repeat" else pair)
    expected = {
        "input_ids": (1, inputs["input_ids"].shape[-1]),
        "text_only_ids": (1, inputs["text_only_ids"].shape[-1]),
        "pixel_values_videos": (t * h * w, 3 * pair * patch**2),
        "second_per_grid_ts": (1,),
        "w2c": (frames, 4, 4),
        "K": (frames, 3, 3),
        "video_tchw": (frames, 3, h * patch, w * patch),
    }
    for name in needed(options):
        shape = tuple(inputs[name].shape)
        if shape != expected.get(name, shape):
            raise UserError(
                f"the record's {name} is {list(shape)}, its grid {[t, h, w]} and the checkpoint expect "
                f"{list(expected[name])}",
                "the record belongs to another checkpoint, or was changed",
            )
    for name in ("input_ids", "text_only_ids"):
        if not inputs[name].numel() or int(inputs[name].min()) < 0 or int(inputs[name].max()) >= words:
            raise UserError(
                f"the record's {name} holds no ids, or some outside 0 to {words - 1}, the checkpoint's vocabulary",
                "the record belongs to another checkpoint, or was changed",
            )


def make_inputs(folder: Path, options: VisionOptions, seed: int) -> dict[str, Tensor]:
    """Inputs for a record: smooth moving pictures, words and cameras drawn from `seed`, for any checkpoint's ids."""
    rng = np.random.default_rng(seed)
    how: dict[str, Any] = {"patch": PATCH}
    if isinstance(options, Qwen3Options):
        how = {"patch": qwen3_options.PATCH, "mean": model.HALF, "std": model.HALF}
    cell = MERGE * how["patch"]
    frames = _pictures(rng, ROWS * cell, COLUMNS * cell)
    area = ROWS * COLUMNS * cell**2
    pixels, layout = prepare(frames, (area, area), repeat=options.tubelets == "repeat", **how)
    inputs = {
        **_words(rng, folder, layout, options),
        "pixel_values_videos": torch.from_numpy(pixels),
        "video_grid_thw": torch.tensor([layout.grid]),
    }
    if isinstance(options, QwenOptions):
        inputs["second_per_grid_ts"] = torch.tensor([SECONDS])
    if options.wants_cameras():
        w2c, K = _cameras(rng, *frames.shape[1:3])
        inputs |= {"w2c": torch.from_numpy(w2c), "K": torch.from_numpy(K)}
    if isinstance(options, SpatialOptions):
        inputs["video_tchw"] = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    return inputs


def _words(rng: np.random.Generator, folder: Path, layout: Layout, options: VisionOptions) -> dict[str, Tensor]:
    """`input_ids`: words, the video's placeholders, words; `text_only_ids`: words."""
    config = checkpoint.content_of_config(folder)
    names = ("vision_start", "video", "vision_end", "image")
    special = tuple(checkpoint.special_token(folder, config, name) for name in names)
    start, video, end, image = special
    known = min(config_checks.language(config)["vocab_size"], 1000)
    words = [number for number in range(known) if number > 2 and number not in special]
    before, after, alone = (rng.choice(words, size).tolist() for size in (*TEXT, TEXT[1]))
    t, h, w = layout.merged
    if isinstance(options, Qwen3Options):
        stamps = rng.choice(words, (t, STAMP)).tolist()
        seen = [token for stamp in stamps for token in (*stamp, start, *[video] * (h * w), end)]
    else:
        cameras = FRAMES if getattr(options, "features", "") == "camera" else 0
        seen = [start, *[video] * (t * h * w), *[image] * cameras, end]
    return {"input_ids": torch.tensor([[*before, *seen, *after]]), "text_only_ids": torch.tensor([alone])}


def _pictures(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """[S, H, W, 3] uint8: a smooth pattern that drifts, with some noise."""
    y, x, t = np.meshgrid(np.arange(height), np.arange(width), np.arange(FRAMES), indexing="ij")
    waves = rng.uniform(0.02, 0.2, (3, 3))
    tones = [np.sin(a * x + b * y + 3 * c * t) for a, b, c in waves]
    picture = np.stack(tones, axis=-1).transpose(2, 0, 1, 3) * 90 + 128 + rng.normal(0, 8, (FRAMES, height, width, 3))
    return picture.clip(0, 255).astype(np.uint8)


def _cameras(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """w2c [S, 4, 4] and K [S, 3, 3] float64 of a walk: a turn about each axis, no step like the one before."""
    from scipy.spatial.transform import Rotation

    w2c = np.tile(np.eye(4), (FRAMES, 1, 1))
    w2c[:, :3, :3] = Rotation.from_rotvec(rng.uniform(0.05, 0.4, (FRAMES, 3)).cumsum(0)).as_matrix()
    w2c[:, :3, 3] = rng.normal(0, 0.5, (FRAMES, 3)).cumsum(0)
    K = np.tile(np.array([[0.9 * width, 0, 0.48 * width], [0, 1.1 * height, 0.53 * height], [0, 0, 1]]), (FRAMES, 1, 1))
    return w2c, K
