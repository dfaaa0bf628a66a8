"""LoRA adapters as peft saves them: a folder with `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

from pathlib import Path

from smx.errors import UserError
from smx.models._vlm.checkpoint_json import read_json

CONFIG = "adapter_config.json"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no weights of its own."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def base_of(folder: Path) -> str:
    """What an adapter says that it was trained on: a hub id (with its revision, where it names one) or a folder."""
    config = read_json(folder / CONFIG, "")
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(name, str) or not name:
        raise UserError(f"{folder / CONFIG}: base_model_name_or_path is {name!r}", "name the hub id or folder there")
    return f"{name}@{revision}" if isinstance(revision, str) and revision not in ("", "main") else name
