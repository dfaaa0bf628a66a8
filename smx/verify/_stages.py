"""What a checkpoint computes from recorded inputs, stage by stage, for `smx verify`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from smx.errors import SceneError, UserError
from smx.geometry import pose_encoding
from smx.models import SceneInput
from smx.models._qwen3_vl import checkpoint as qwen3_checkpoint
from smx.models._qwen3_vl import model as qwen3
from smx.models._qwen3_vl.options import Qwen3Options
from smx.models._spatial_mllm import config as spatial_config
from smx.models._spatial_mllm.loading import language_model, spatial_features
from smx.models._spatial_mllm.options import SpatialOptions
from smx.models._spatial_mllm.runner import SpatialVLM
from smx.models._spatial_mllm.tensors import read
from smx.models._vggt.config import DENSE_CHANNELS, shapes
from smx.models._vggt.dense_head import DenseHead
from smx.models._vlm import checkpoint, loading
from smx.models._vlm.model import PositionedVLM
from smx.models._vlm.options import PosedOptions, QwenOptions, VisionOptions
from smx.models._vlm.pose_attention import hooks_for, scene_cameras
from smx.models._vlm.position_ids import prompt_positions, text_positions
from smx.models._vlm.position_options import Pose
from smx.verify._stage_inputs import refuse_inputs

NEW_TOKENS = 12
DENSE_CHUNK = 8  # frames in a dense head at once

Stages = Iterator[tuple[str, Tensor]]


def stages(
    folder: Path, inputs: dict[str, Tensor], options: VisionOptions, *, new_tokens: int, device: str, dtype: str
) -> Stages:
    """(name, tensor on the CPU) of every stage of a checkpoint run with `options`, in the order they are computed.

    `inputs`: `input_ids` [1, L], `pixel_values_videos`, `video_grid_thw` [1, 3], `text_only_ids` [1, K]; where the
    options read them `second_per_grid_ts` [1], `w2c` [S, 4, 4] and `K` [S, 3, 3] float64, `video_tchw` [S, 3, H, W]
    in 0..1. `UserError` where one is missing or the checkpoint is of another shape than its config says.
    """
    moved = {name: tensor.to(device) for name, tensor in inputs.items()}
    with torch.inference_mode():
        if isinstance(options, SpatialOptions):
            found = _spatial_stages(folder, moved, options, new_tokens, device, dtype)
        elif isinstance(options, Qwen3Options):
            found = _qwen3_stages(folder, moved, options, new_tokens, device, dtype)
        else:
            assert isinstance(options, QwenOptions)
            found = _plain_stages(folder, moved, options, new_tokens, device, dtype)
        for name, tensor in found:
            yield name, tensor.cpu()


def _plain_stages(
    folder: Path, inputs: dict[str, Tensor], options: QwenOptions, new_tokens: int, device: str, dtype: str
) -> Stages:
    config = checkpoint.read_config(folder)
    video = checkpoint.special_token(folder, config, "video")
    refuse_inputs(folder, inputs, options)
    checkpoint.refuse_pose(config, options)
    expected = dict(checkpoint.expected_shapes(config))
    checkpoint.refuse_other_shapes(folder, config, expected, checkpoint.ARCHITECTURE)
    vlm = loading.weights_of(folder, options, device, dtype)[0]
    model = PositionedVLM(vlm, video, hooks_for(vlm.model.language_model, options)).eval()
    yield "video_embeds", _seen(vlm, inputs).pooler_output
    yield from _placed_stages(model, inputs, options, new_tokens)


def _qwen3_stages(
    folder: Path, inputs: dict[str, Tensor], options: Qwen3Options, new_tokens: int, device: str, dtype: str
) -> Stages:
    config = checkpoint.read_config(folder, qwen3_checkpoint.MODEL_TYPE, qwen3_checkpoint.ARCHITECTURE)
    video = checkpoint.special_token(folder, config, "video")
    refuse_inputs(folder, inputs, options)
    qwen3_checkpoint.refuse_pose(config, options)
    expected = dict(qwen3_checkpoint.expected_shapes(config))
    checkpoint.refuse_other_shapes(folder, config, expected, qwen3_checkpoint.ARCHITECTURE)
    vlm = qwen3.weights_of(folder, options, device, dtype)[0]
    model = qwen3.Qwen3VLM(vlm, video, qwen3.hooks_for(vlm.model.language_model, options)).eval()
    seen = _seen(vlm, inputs)
    yield "video_embeds", seen.pooler_output
    yield "deepstack_embeds", torch.stack(tuple(seen.deepstack_features))
    ids, (_, h, w) = inputs["input_ids"][0].tolist(), _merged(model, inputs)
    positions, _ = qwen3.block_positions(ids, model.video_token, (h, w))
    yield from _language_stages(model, inputs, positions, new_tokens, _posed(model, inputs, options))


def _spatial_stages(
    folder: Path, inputs: dict[str, Tensor], options: SpatialOptions, new_tokens: int, device: str, dtype: str
) -> Stages:
    config = spatial_config.read_config(folder)
    video = checkpoint.special_token(folder, config.qwen, "video")
    refuse_inputs(folder, inputs, options)
    # samplers read cameras and maps whatever the variant reads: all of VGGT is compared
    everything = options.model_copy(update={"pose": Pose(kind="gta", source="vggt")})
    spatial_config.check_tensors(config, everything)
    checkpoint.refuse_pose(config.qwen, options)
    spatial, fresh = spatial_features(config, everything, 0, device, dtype)
    if fresh:
        raise UserError(
            f"{folder} lacks {len(fresh)} weights of the connector that 'features: {options.features}' reads, first "
            f"connector.{fresh[0]}",
            "weights that were never trained prove nothing: use a checkpoint that was trained with them",
        )
    images, last = inputs["video_tchw"], config.vggt.depth - 1
    tokens = spatial.vggt["aggregator"](images[None], {config.layer, last, *config.vggt.dpt_layers})
    tokens = {layer: found[0] for layer, found in tokens.items()}
    yield "spatial_last", tokens[last]
    poses = spatial.vggt["camera_head"](tokens[last][None, :, 0])
    yield "pose_enc", poses
    yield from _dense_stages(config, tokens, images, device)
    vlm, _ = language_model(config, options, device, dtype)
    flat = _seen(vlm, inputs).pooler_output
    yield "video_embeds", flat
    if options.features != "2d":
        yield "fused_embeds", spatial.fuse(flat, tokens, inputs["video_grid_thw"][0].tolist(), vlm.dtype)
    hooks = hooks_for(vlm.model.language_model, options)
    model = SpatialVLM(vlm, video, hooks, spatial).eval()
    if options.pose.encoding.reads_cameras and options.pose.source == "vggt":
        height, width = images.shape[2:]
        with _told():
            w2c, K = pose_encoding.decode(poses[0].double().cpu().numpy(), (width, height))
        inputs = inputs | {"w2c": torch.from_numpy(w2c), "K": torch.from_numpy(K)}
    yield from _placed_stages(model, inputs, options, new_tokens)


def _dense_stages(
    config: spatial_config.SpatialConfig, tokens: dict[int, Tensor], images: Tensor, device: str
) -> Stages:
    """The maps of each dense head that the checkpoint has."""
    for part, name in (("depth_head", "depth"), ("point_head", "world_points")):
        wanted = {spatial_config.ENCODER + tensor for tensor, _ in shapes(config.vggt, part)}
        weights = dict(read(config.folder, wanted.__contains__))
        if weights.keys() != wanted:
            continue
        assert part in DENSE_CHANNELS
        head = DenseHead(config.vggt, part).to(device)
        head.load_state_dict(
            {tensor.removeprefix(f"{spatial_config.ENCODER}{part}."): weight for tensor, weight in weights.items()}
        )
        found = [
            head([tokens[layer][k : k + DENSE_CHUNK] for layer in config.vggt.dpt_layers], tuple(images.shape[2:]))
            for k in range(0, len(images), DENSE_CHUNK)
        ]
        maps, confidences = (torch.cat(each)[None] for each in zip(*found, strict=True))
        yield name, maps
        yield f"{name}_conf", confidences


def _placed_stages(model: PositionedVLM, inputs: dict[str, Tensor], options: QwenOptions, new_tokens: int) -> Stages:
    """Positions by the variant's rules, its cameras, and what the language model makes of them."""
    ids, merged, rope = inputs["input_ids"][0].tolist(), _merged(model, inputs), options.rope
    timed = rope.temporal == "seconds" and rope.base == "thw"
    stride = float(inputs["second_per_grid_ts"][0]) * rope.rate if timed else rope.fixed_stride()
    assert stride is not None
    frames = _frames(inputs, options)
    beside = frames if getattr(options, "features", "") == "camera" else 0
    start = ids.index(model.video_token)
    positions, _ = prompt_positions(len(ids), start, merged, stride, rope.text_start, beside)
    yield from _language_stages(model, inputs, positions, new_tokens, _posed(model, inputs, options))


def _posed(model: PositionedVLM, inputs: dict[str, Tensor], options: PosedOptions) -> dict[str, Tensor]:
    """The cameras that the language model is given; nothing where it reads none."""
    if model.hooks is None or not model.hooks.reads_cameras:
        return {}
    patch = model.vlm.config.vision_config.patch_size
    return {"cameras": _cameras(inputs, options, _frames(inputs, options), patch).to(inputs["input_ids"].device)}


def _language_stages(
    model: PositionedVLM, inputs: dict[str, Tensor], positions: np.ndarray, new_tokens: int, extra: dict[str, Tensor]
) -> Stages:
    ids, alone = inputs["input_ids"], inputs["text_only_ids"]
    where = torch.from_numpy(positions)[:, None].to(ids.device)
    yield "position_ids", where
    if extra:
        assert model.hooks is not None
        if len(model.hooks.dims):
            yield "pose_dims", model.hooks.dims
        yield "cameras", extra["cameras"]
    video = {"pixel_values": inputs["pixel_values_videos"], "grid_thw": inputs["video_grid_thw"], **extra}
    with model.hooks or nullcontext():
        yield "logits", model.logits(ids, where, **video)
    there = torch.from_numpy(text_positions(0, alone.shape[1]))[:, None].to(alone.device)
    yield "text_only_logits", model.logits(alone, there)
    if new_tokens:
        yield "generated_ids", _greedy(model, ids, where, new_tokens, video)


def _seen(vlm: Any, inputs: dict[str, Tensor]) -> Any:
    return vlm.model.visual(inputs["pixel_values_videos"].to(vlm.dtype), grid_thw=inputs["video_grid_thw"])


def _merged(model: PositionedVLM, inputs: dict[str, Tensor]) -> tuple[int, int, int]:
    """The grid (t, h, w) of the video's tokens, as many as the prompt has."""
    side = model.vlm.config.vision_config.spatial_merge_size
    [ids], [[t, h, w]] = inputs["input_ids"].tolist(), inputs["video_grid_thw"].tolist()
    merged = (t, h // side, w // side)
    tokens = ids.count(model.video_token)
    if tokens != np.prod(merged):
        raise UserError(f"the record's prompt has {tokens} video tokens, its grid {[t, h, w]} makes {np.prod(merged)}")
    return merged


def _frames(inputs: dict[str, Tensor], options: PosedOptions) -> int:
    return int(inputs["video_grid_thw"][0, 0]) * (1 if options.tubelets == "repeat" else 2)


def _cameras(inputs: dict[str, Tensor], options: PosedOptions, frames: int, patch: int) -> Tensor:
    """[1, T, slots, 2, 4, 4] of the record's cameras, K in pixels of the frames that the encoder sees."""
    height, width = (side * patch for side in inputs["video_grid_thw"][0, 1:].tolist())
    w2c, K = (inputs[name].double().cpu().numpy() for name in ("w2c", "K"))
    unseen = np.broadcast_to(np.uint8(0), (frames, height, width, 3))
    scene = SceneInput("the record", unseen, np.arange(frames, dtype=np.float64), w2c, K)
    with _told():
        return scene_cameras(scene, options.pose, options.tubelets == "repeat")[None]


@contextmanager
def _told() -> Iterator[None]:
    """What is one scene's misfortune elsewhere is the record's own here: there is no next scene."""
    try:
        yield
    except SceneError as error:
        raise UserError(str(error), "record the checkpoint again, or as a variant whose cameras it has") from None


def _greedy(model: PositionedVLM, ids: Tensor, where: Tensor, count: int, video: dict[str, Tensor]) -> Tensor:
    """[1, count] most likely ids, step by step with a cache; no id ends it, so that every record has as many."""
    cache, said = DynamicCache(config=model.vlm.config.text_config), []
    for _ in range(count):
        with (model.hooks if video else None) or nullcontext():
            ids = model.next_logits(ids, where, cache, **video).argmax(-1, keepdim=True)
        said.append(ids)
        where, video = where[..., -1:] + 1, {}
    return torch.cat(said, dim=1)
