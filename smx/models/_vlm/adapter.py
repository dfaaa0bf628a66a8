"""LoRA adapters (Hu et al. 2021, arXiv 2106.09685), as peft saves them, merged into the weights that they were made on.

Merged, W + s·B·A: a token costs what it costs without, and poses and positions attach to the same modules. In bfloat16
the sum is rounded once more than an adapter that is kept apart would be.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from smx.errors import UserError, missing_package
from smx.models._vlm.checkpoint import current_name, header, tensors
from smx.models._vlm.checkpoint_json import read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(.+)\.lora_([AB])\.weight")


def check(adapter: Path, checkpoint: Path) -> None:
    """`UserError` unless this is a LoRA adapter whose factors fit the weights of `checkpoint`. From headers alone."""
    kind = read_json(adapter / CONFIG, "").get("peft_type")
    if kind != "LORA":
        raise UserError(f"{adapter} is an adapter of kind {kind!r}", "LoRA is read; merge others into their base first")
    if not (adapter / WEIGHTS).is_file():
        pickled = (adapter / "adapter_model.bin").is_file()
        hint = "adapter_model.bin is a pickle, which smx does not load: save it again with peft" if pickled else ""
        raise UserError(f"{adapter} has no {WEIGHTS}", hint or "save_pretrained of a peft model writes it")
    base = {current_name(name): shape for name, shape in tensors(checkpoint).items()}
    for name, shape in header(adapter / WEIGHTS).items():
        found = _FACTOR.fullmatch(current_name(name.removeprefix(_PREFIX)))
        if found is None:
            continue
        weight = base.get(f"{found[1]}.weight")
        if weight is None:
            raise _of_another(adapter, checkpoint, f"it has factors of {found[1]}, which is not there")
        inner, outer = (shape[-1], weight[-1]) if found[2] == "A" else (shape[0], weight[0])
        if len(weight) == 2 and inner != outer:
            raise _of_another(adapter, checkpoint, f"{found[1]} is {list(weight)} there, lora_{found[2]} {list(shape)}")


def merge(vlm: Any, adapter: Path) -> dict[str, Any]:
    """Add the adapter to the weights of `vlm`, in place; returns what a run records of it."""
    try:
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    except ModuleNotFoundError as error:
        raise missing_package(error) or error from None
    from safetensors.torch import load_file

    weights = {_PREFIX + current_name(k.removeprefix(_PREFIX)): v for k, v in load_file(adapter / WEIGHTS).items()}
    factors = {name.removeprefix(_PREFIX) for name in weights if ".lora_A." in name}
    config = LoraConfig.from_pretrained(str(adapter))
    # By whole names: patterns are written for the names that a version of transformers has.
    config.target_modules = {name.partition(".lora_A.")[0] for name in factors}
    config.base_model_name_or_path = None  # `check` has looked at the base; peft would compare paths
    trained = {name for name, weight in vlm.named_parameters() if weight.requires_grad}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that is on its way out
        wrapped = get_peft_model(vlm, config)
    placed = set_peft_model_state_dict(wrapped, weights)
    lost = [*placed.unexpected_keys, *(name for name in placed.missing_keys if "lora_" in name)]
    if lost:
        raise UserError(f"{adapter}: {len(lost)} tensors do not belong to its base, first {lost[0]}")
    wrapped.merge_and_unload()
    for name, weight in vlm.named_parameters():
        weight.requires_grad_(name in trained)  # peft froze them
    return {"adapter": adapter.name, "adapter_rank": config.r, "adapter_modules": len(factors)}


def _of_another(adapter: Path, checkpoint: Path, why: str) -> UserError:
    base = read_json(adapter / CONFIG, "").get("base_model_name_or_path")
    return UserError(
        f"adapter {adapter} is of another base than {checkpoint}: {why}", f"it names {base!r} as what it was made on"
    )
