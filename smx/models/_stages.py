"""What a checkpoint computes from recorded inputs, stage by stage, for `smx verify`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from smx.errors import UserError
from smx.models import _checkpoint, _load, _spatial_config
from smx.models._options import Pose, QwenOptions, Rope
from smx.models._positions import text_positions, text_start, video_positions
from smx.models._spatial_load import language_model, read, spatial_features
from smx.models._spatial_options import SpatialOptions
from smx.models._spatial_runner import SpatialVLM
from smx.models._vggt_config import DENSE_CHANNELS, shapes
from smx.models._vggt_dense import DenseHead
from smx.models._vlm import PositionedVLM

NEW_TOKENS = 12
ROPE = Rope()  # time in seconds, two positions each; text goes on after the largest: as the published numbers were made
FRAMES, HEIGHT, WIDTH = 8, 84, 112
SECONDS = 1.0  # per tubelet
TEXT = (4, 8)  # tokens before the video and after it
DENSE_CHUNK = 8  # frames in a dense head at once


def stages(folder: Path, inputs: dict[str, Tensor], *, rope: Rope, new_tokens: int, **how: str) -> Iterator[Any]:
    """(name, tensor on the CPU) of every stage of a checkpoint, in the order they are computed.

    `inputs`: `input_ids` [1, L], `pixel_values_videos`, `video_grid_thw` [1, 3], `second_per_grid_ts` [1],
    `text_only_ids` [1, K], and for Spatial-MLLM `video_tchw` [S, 3, H, W] in 0..1. `how`: device, dtype, attention.
    """
    if not folder.is_dir():
        raise UserError(f"no checkpoint folder at {folder}", "give a folder with config.json and *.safetensors")
    if _is_spatial(folder) and "video_tchw" not in inputs:
        raise UserError("the record lacks video_tchw: the frames that VGGT sees", f"found: {', '.join(sorted(inputs))}")
    moved = {name: tensor.to(how["device"]) for name, tensor in inputs.items()}
    run = _spatial_stages if _is_spatial(folder) else _plain_stages
    with torch.inference_mode():
        for name, tensor in run(folder, moved, rope, new_tokens, **how):
            yield name, tensor.cpu()


def make_inputs(folder: Path, seed: int) -> dict[str, Tensor]:
    """Inputs for a record: smooth moving pictures and words drawn from `seed`, for any checkpoint's ids."""
    from smx.models._pixels import prepare

    if not folder.is_dir():
        raise UserError(f"no checkpoint folder at {folder}", "give a folder with config.json and *.safetensors")
    config = _config(folder)
    rng = np.random.default_rng(seed)
    frames = _pictures(rng)
    pixels, layout = prepare(frames, (HEIGHT * WIDTH, HEIGHT * WIDTH))
    text = config.get("text_config") or config
    special = [config[f"{name}_token_id"] for name in ("vision_start", "video", "vision_end", "image")]
    words = [number for number in range(min(text["vocab_size"], 1000)) if number > 2 and number not in special]
    start, video, end, _ = special
    before, after, alone = (rng.choice(words, size).tolist() for size in (*TEXT, TEXT[1]))
    inputs = {
        "input_ids": torch.tensor([[*before, start, *[video] * layout.tokens, end, *after]]),
        "pixel_values_videos": torch.from_numpy(pixels),
        "video_grid_thw": torch.tensor([layout.grid]),
        "second_per_grid_ts": torch.tensor([SECONDS]),
        "text_only_ids": torch.tensor([alone]),
    }
    if _is_spatial(folder):
        inputs["video_tchw"] = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    return inputs


def _spatial_stages(
    folder: Path, inputs: dict[str, Tensor], rope: Rope, new_tokens: int, *, device: str, dtype: str, attention: str
) -> Iterator[tuple[str, Tensor]]:
    config = _spatial_config.read_config(folder)
    everything = SpatialOptions.parse({"pose": Pose(kind="gta", source="vggt"), "attention": attention}, "verify")
    _spatial_config.check_tensors(config, everything)
    if config.connector != everything.connector:
        everything = SpatialOptions.parse(
            everything.model_dump() | {"connector": config.connector, "features": "3d", "tubelets": "repeat"}, "verify"
        )
    spatial, fresh = spatial_features(config, everything, 0, device, dtype)
    assert not fresh, f"the checkpoint lacks {fresh}"
    images = inputs["video_tchw"]
    last = config.vggt.depth - 1
    tokens = spatial.vggt["aggregator"](images[None], {config.layer, last, *config.vggt.dpt_layers})
    tokens = {layer: found[0] for layer, found in tokens.items()}
    yield "spatial_last", tokens[last]
    yield "pose_enc", spatial.vggt["camera_head"](tokens[last][None, :, 0])
    yield from _dense_stages(config, tokens, images, device)
    vlm, _ = language_model(config, everything, device, dtype)
    pixels, grid = inputs["pixel_values_videos"], inputs["video_grid_thw"]
    flat = vlm.model.visual(pixels.to(vlm.dtype), grid_thw=grid).pooler_output
    yield "video_embeds", flat
    yield "fused_embeds", spatial.fuse(flat, tokens, grid[0].tolist(), vlm.dtype)
    model = SpatialVLM(vlm, config.qwen["video_token_id"], None, spatial).eval()
    yield from _language_stages(model, inputs, rope, new_tokens)


def _dense_stages(
    config: _spatial_config.SpatialConfig, tokens: dict[int, Tensor], images: Tensor, device: str
) -> Iterator[tuple[str, Tensor]]:
    """The maps of each dense head that the checkpoint has."""
    for part, name in (("depth_head", "depth"), ("point_head", "world_points")):
        wanted = {_spatial_config.ENCODER + tensor for tensor, _ in shapes(config.vggt, part)}
        weights = dict(read(config.folder, wanted.__contains__))
        if weights.keys() != wanted:
            continue
        assert part in DENSE_CHANNELS
        head = DenseHead(config.vggt, part).to(device)
        head.load_state_dict(
            {tensor.removeprefix(f"{_spatial_config.ENCODER}{part}."): weight for tensor, weight in weights.items()}
        )
        found = [
            head([tokens[layer][k : k + DENSE_CHUNK] for layer in config.vggt.dpt_layers], tuple(images.shape[2:]))
            for k in range(0, len(images), DENSE_CHUNK)
        ]
        maps, confidences = (torch.cat(each)[None] for each in zip(*found, strict=True))
        yield name, maps
        yield f"{name}_conf", confidences


def _plain_stages(
    folder: Path, inputs: dict[str, Tensor], rope: Rope, new_tokens: int, *, device: str, dtype: str, attention: str
) -> Iterator[tuple[str, Tensor]]:
    options = QwenOptions.parse({"attention": attention}, "verify")
    config = _checkpoint.read_config(folder)
    vlm = _load.weights_of(folder, options, device, dtype)[0]
    model = PositionedVLM(vlm, config["video_token_id"], None).eval()
    pixels, grid = inputs["pixel_values_videos"], inputs["video_grid_thw"]
    yield "video_embeds", vlm.model.visual(pixels.to(vlm.dtype), grid_thw=grid).pooler_output
    yield from _language_stages(model, inputs, rope, new_tokens)


def _language_stages(
    model: PositionedVLM, inputs: dict[str, Tensor], rope: Rope, new_tokens: int
) -> Iterator[tuple[str, Tensor]]:
    positions = _positions(model, inputs, rope)
    yield "position_ids", positions
    ids = inputs["input_ids"]
    video = {"pixel_values": inputs["pixel_values_videos"], "grid_thw": inputs["video_grid_thw"]}
    yield "logits", model.logits(ids, positions, **video)
    alone = inputs["text_only_ids"]
    there = torch.from_numpy(text_positions(0, alone.shape[1]))[:, None].to(alone.device)
    yield "text_only_logits", model.logits(alone, there)
    if new_tokens:
        yield "generated_ids", _greedy(model, ids, positions, new_tokens, video)


def _positions(model: PositionedVLM, inputs: dict[str, Tensor], rope: Rope) -> Tensor:
    """[3, 1, L] by smx's own rules."""
    vision = model.vlm.config.vision_config
    [ids], [grid] = inputs["input_ids"].tolist(), inputs["video_grid_thw"].tolist()
    start, tokens = ids.index(model.video_token), ids.count(model.video_token)
    merged = (grid[0], grid[1] // vision.spatial_merge_size, grid[2] // vision.spatial_merge_size)
    if tokens != merged[0] * merged[1] * merged[2]:
        raise UserError(f"the record's prompt has {tokens} video tokens, its grid {grid} makes {np.prod(merged)}")
    fixed = rope.fixed_stride()
    stride = float(inputs["second_per_grid_ts"][0]) * rope.tokens_per_second if rope.temporal == "seconds" else fixed
    assert stride is not None
    after = text_start(start, merged, stride, rope.text_start)
    parts = (
        text_positions(0, start),
        video_positions(start, merged, stride),
        text_positions(after, len(ids) - start - tokens),
    )
    return torch.from_numpy(np.concatenate(parts, axis=1))[:, None].to(inputs["input_ids"].device)


def _greedy(model: PositionedVLM, ids: Tensor, where: Tensor, count: int, video: dict[str, Tensor]) -> Tensor:
    """[1, count] most likely ids, step by step with a cache; no id ends it, so that every record has as many."""
    cache, said = DynamicCache(config=model.vlm.config.text_config), []
    for _ in range(count):
        ids = model.next_logits(ids, where, cache, **video).argmax(-1, keepdim=True)
        said.append(ids)
        where, video = where[..., -1:] + 1, {}
    return torch.cat(said, dim=1)


def _pictures(rng: np.random.Generator) -> np.ndarray:
    """[S, H, W, 3] uint8: a smooth pattern that drifts, with some noise."""
    y, x, t = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), np.arange(FRAMES), indexing="ij")
    waves = rng.uniform(0.02, 0.2, (3, 3))
    tones = [np.sin(a * x + b * y + 3 * c * t) for a, b, c in waves]
    picture = np.stack(tones, axis=-1).transpose(2, 0, 1, 3) * 90 + 128 + rng.normal(0, 8, (FRAMES, HEIGHT, WIDTH, 3))
    return picture.clip(0, 255).astype(np.uint8)


def _is_spatial(folder: Path) -> bool:
    return bool(_config(folder).get("model_type") == _spatial_config.MODEL_TYPE)


def _config(folder: Path) -> dict[str, Any]:
    return _checkpoint.read_json(folder / "config.json", "it is not a checkpoint folder")
