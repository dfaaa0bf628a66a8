"""Builds a Spatial-MLLM from a checkpoint folder. Imported by `load` only: it needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from smx.models._spatial_mllm.config import CONNECTOR, ENCODER, SpatialConfig, read_config
from smx.models._spatial_mllm.model import SpatialFeatures, fresh_weights
from smx.models._spatial_mllm.options import SpatialOptions
from smx.models._spatial_mllm.runner import SpatialRunner
from smx.models._spatial_mllm.tensors import read_all
from smx.models._vlm import loading
from smx.models._vlm.prompt import Prompts
from smx.models._vlm.runner import without_progress_bars


def from_folder(
    folder: Path, options: SpatialOptions, *, base: str, seed: int, device: str, dtype: str
) -> SpatialRunner:
    """A runner with the weights of `folder`, which `check` has looked at.

    Weights of a connector that the checkpoint does not have are drawn from `seed`, and the runner is `untrained`.
    """
    config = read_config(folder, options.vggt_folder)
    vlm, why = language_model(config, options, device, dtype)
    spatial, fresh = spatial_features(config, options, seed, device, dtype)
    prompts = Prompts.of_bytes(config.qwen) if config.speaks_bytes else Prompts.read(folder / "tokenizer.json")
    untrained, past = loading.remembered(folder, options)
    info = loading.about(vlm, options, why) | past
    info["vggt_parameters"] = sum(weight.numel() for weight in spatial.vggt.parameters())
    if fresh:
        info["untrained_weights"] = fresh
    if config.speaks_bytes:
        info["tokenizer"] = "bytes: the checkpoint has none"
    untrained = untrained or bool(fresh)
    return SpatialRunner(vlm.eval(), spatial.eval(), prompts, options, base=base, untrained=untrained, info=info)


def language_model(config: SpatialConfig, options: SpatialOptions, device: str, dtype: str) -> tuple[Any, str]:
    """(transformers' Qwen2.5-VL with the checkpoint's weights, the reason for its attention backend)."""
    architecture = Qwen2_5_VLForConditionalGeneration
    attention, why = loading.choose_attention(options, device, dtype)
    weights = dict(read_all(config, lambda name: name.startswith(("model.", "lm_head."))))
    built = Qwen2_5_VLConfig(**config.qwen)
    built.tie_word_embeddings = config.tied
    with without_progress_bars():
        vlm, report = architecture.from_pretrained(
            None,
            config=built,
            state_dict=weights,
            dtype=loading.named_dtype(dtype),
            attn_implementation=loading.building(attention),
            output_loading_info=True,
        )
    loading.refuse_unread(config.folder, report)
    return loading.settled(vlm.to(device), attention), why


def spatial_features(
    config: SpatialConfig, options: SpatialOptions, seed: int, device: str, dtype: str
) -> tuple[SpatialFeatures, list[str]]:
    """(VGGT's parts that are read and the connector, names of its weights that `seed` made). Heads stay float32."""
    connector = dict(read_all(config, lambda name: name.startswith(CONNECTOR)))
    reads = options.connector == config.connector
    inner = connector[CONNECTOR + "mlp.0.weight"].shape[0] if reads and connector else config.tubelet_width
    with torch.device("meta"):
        spatial = SpatialFeatures(config, options, inner)
    wanted = {name for name, _ in spatial.vggt.named_parameters()}
    found = read_all(config, lambda name: name.removeprefix(ENCODER) in wanted)
    parts = {name.removeprefix(ENCODER): weight for name, weight in found}
    spatial.vggt.load_state_dict(parts, assign=True)
    own = dict(spatial.connector.named_parameters())
    known = {
        name: connector[CONNECTOR + name]
        for name in own
        if CONNECTOR + name in connector and (reads or not name.startswith(("ln_q.", "mlp.")))
    }
    fresh = sorted(own.keys() - known.keys())
    spatial.connector.load_state_dict(known | fresh_weights(spatial.connector, fresh, seed), assign=True)
    spatial.requires_grad_(False)
    spatial.connector.requires_grad_(True)
    spatial.to(device=device, dtype=loading.named_dtype(dtype))
    if "camera_head" in spatial.vggt:
        spatial.vggt["camera_head"].float()
    return spatial, fresh
