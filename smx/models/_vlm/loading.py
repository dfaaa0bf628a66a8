"""Builds or loads a Qwen2.5-VL and chooses its attention backend. Imported by `load` only: it needs torch."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from smx.errors import UserError, unknown
from smx.models._vlm import checkpoint_json
from smx.models._vlm.options import QwenOptions, VisionOptions
from smx.models._vlm.prompt import Prompts
from smx.models._vlm.runner import QwenRunner, without_progress_bars

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def from_folder(folder: Path, options: QwenOptions, *, base: str, device: str, dtype: str) -> QwenRunner:
    """A runner with the weights of `folder`, which `check` has looked at."""
    vlm, why = weights_of(folder, options, device, dtype)
    untrained, past = remembered(folder, options)
    runner = _runner(vlm, Prompts.read(folder / "tokenizer.json"), options, base, untrained, why)
    runner.info |= past
    return runner


def remembered(folder: Path, options: VisionOptions) -> tuple[bool, dict[str, Any]]:
    """(whether a checkpoint's weights are as a seed left them, what a run records of how they came about)."""
    memory = checkpoint_json.memory(folder)
    info: dict[str, Any] = {}
    if memory.get("options") not in (None, options.model_dump(mode="json")):
        info["trained_options"] = memory["options"]
    if mismatch := options.position_mismatch(folder):
        info["position_mismatch"] = mismatch
    return bool(memory.get("untrained")), info


def weights_of(folder: Path, options: VisionOptions, device: str, dtype: str) -> tuple[Any, str]:
    """(transformers' Qwen2.5-VL with the weights of `folder`, the reason for its attention backend)."""
    attention, why = choose_attention(options, device, dtype)
    with without_progress_bars():
        vlm, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=named_dtype(dtype),
            attn_implementation=building(attention),
            output_loading_info=True,
        )
    refuse_unread(folder, report)
    return settled(vlm.to(device), attention), why


def from_config(
    config: dict[str, Any], tokenizer: Path, options: QwenOptions, *, base: str, seed: int, device: str, dtype: str
) -> QwenRunner:
    """A runner with random weights: the same for the same seed, whatever random numbers were drawn before."""
    attention, why = choose_attention(options, device, dtype)
    prompts = Prompts.read(tokenizer)
    tokens = {
        "image_token_id": prompts.ids["<|image_pad|>"],
        "video_token_id": prompts.video,
        "vision_start_token_id": prompts.ids["<|vision_start|>"],
        "vision_end_token_id": prompts.ids["<|vision_end|>"],
    }
    ends = {"bos_token_id": None, "eos_token_id": prompts.ids["<|im_end|>"], "pad_token_id": prompts.pad}
    text = config["text_config"] | ends | {"vocab_size": prompts.tokenizer.get_vocab_size()}
    built = Qwen2_5_VLConfig(**(config | tokens | {"text_config": text}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vlm = Qwen2_5_VLForConditionalGeneration._from_config(built, attn_implementation=building(attention))
    vlm.generation_config.eos_token_id = sorted(prompts.stops)
    vlm.generation_config.pad_token_id = prompts.pad
    vlm.to(device)
    for weight in vlm.parameters():  # not the buffers: angles of positions would be rounded, too
        weight.data = weight.data.to(named_dtype(dtype))
    runner = _runner(settled(vlm, attention), prompts, options, base, True, why)
    runner.info["seed"] = seed
    return runner


def refuse_unread(folder: Path, report: dict[str, Any]) -> None:
    """`UserError` where transformers could not place every tensor."""
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[kind]:
            raise UserError(f"{folder}: {kind.replace('_', ' ')} on loading, first {sorted(map(str, report[kind]))[0]}")


def choose_attention(options: VisionOptions, device: str, dtype: str) -> tuple[str, str]:
    """(backend as transformers calls it, why). `auto` takes flash attention where it can run, else sdpa.

    A named backend is used or refused (`UserError`), never swapped: published runs differ by 3 points between them.
    """
    wanted = options.attention
    if wanted == "auto":
        obstacle = _no_flash(options, device, dtype)
        return ("sdpa", f"auto: {obstacle}") if obstacle else ("flash_attention_2", "auto: installed")
    if wanted == "flash_attention_2" and (obstacle := _no_flash(options, device, dtype)):
        raise UserError(f"attention flash_attention_2 cannot run here: {obstacle}", "use attention: auto or sdpa")
    if wanted == "flex" and device == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
        raise UserError(
            "attention flex cannot run here: on a CPU it is compiled, and there is no C++ compiler",
            "use attention: auto or sdpa",
        )
    return "flex_attention" if wanted == "flex" else wanted, "as the variant says"


def building(attention: str) -> str:
    """What transformers is asked to build with: it refuses flex for Qwen-VL, whose language model can run it."""
    return "sdpa" if attention == "flex_attention" else attention


def settled(vlm: Any, attention: str) -> Any:
    """`vlm`, its language model on `attention`; the vision encoder keeps what it was built with."""
    vlm.model.language_model.config._attn_implementation = attention
    return vlm


def _no_flash(options: VisionOptions, device: str, dtype: str) -> str:
    if options.adds_bias():
        return "its poses add a bias to the logits, flash attention takes none"
    if importlib.util.find_spec("flash_attn") is None:
        return "flash_attn is not installed"
    if not device.startswith("cuda"):
        return f"flash_attn needs a GPU, the device is {device}"
    return "" if dtype in ("bfloat16", "float16") else f"flash_attn needs bfloat16 or float16, not {dtype}"


def _runner(vlm: Any, prompts: Prompts, options: QwenOptions, base: str, untrained: bool, why: str) -> QwenRunner:
    info = about(vlm, options, why)
    return QwenRunner(vlm.eval(), prompts, options, base=base, untrained=untrained, info=info)


def about(vlm: Any, options: VisionOptions, why: str) -> dict[str, Any]:
    """What a run records of its model; `why`: the reason for the attention backend."""
    weights = list(vlm.parameters())
    return options.record() | {
        "attention": vlm.config.text_config._attn_implementation,
        "attention_reason": why,
        "dtype": str(weights[0].dtype).removeprefix("torch."),
        "device": str(weights[0].device),
        "parameters": sum(weight.numel() for weight in weights),
    }


def named_dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise unknown("dtype", name, DTYPES)
    return DTYPES[name]
