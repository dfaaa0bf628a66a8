"""Looks at a checkpoint folder of any image-text-to-text architecture of transformers, without torch."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from smx.errors import UserError, nearest
from smx.models._vlm.checkpoint import content_of_config, tensors
from smx.models._vlm.checkpoint_json import MEMORY, read_json

PROCESSORS = ("processor_config.json", "preprocessor_config.json")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json")
TABLE = "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES"


def check(folder: Path) -> None:
    """`UserError` naming what was found and what was expected, for the first thing that does not fit."""
    config = content_of_config(folder)
    kind = str(config.get("model_type"))
    if kind not in architectures():
        own_code = "auto_map" in config
        raise UserError(
            f"{folder} holds a {kind!r}, "
            + ("which runs by code in its folder" if own_code else "no image-text-to-text model of this transformers"),
            "smx never runs code of a checkpoint: take its conversion for transformers (InternVL3-8B-hf …)"
            if own_code
            else nearest(kind, architectures(), "nearest"),
        )
    for what, names in (("processor", PROCESSORS), ("tokenizer", TOKENIZERS)):
        if not any((folder / name).is_file() for name in names):
            raise UserError(f"{folder} has no {what}: none of {', '.join(names)}", "copy it beside the weights")
    if not _has_template(folder):
        raise UserError(
            f"{folder} has no chat template (chat_template.jinja), so nothing says how a question is put to it",
            "take the chat or instruct version, or copy the template beside its weights",
        )
    if (folder / MEMORY).is_file():
        base = read_json(folder / MEMORY, "").get("base")
        raise UserError(f"{folder} was trained by smx from base {base!r}", f"a variant of base {base} asks it")
    tensors(folder)


@cache
def architectures() -> tuple[str, ...]:
    """Every `model_type` that `AutoModelForImageTextToText` builds, as the installed transformers lists them.

    Read from its source: importing the list takes torch along. Empty where no transformers is found.
    """
    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        return ()
    source = Path(package.origin).parent / "models/auto/modeling_auto.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == TABLE for t in node.targets):
            assert isinstance(node.value, ast.Call), f"{TABLE} is no OrderedDict of a list any more"
            return tuple(name for name, _ in ast.literal_eval(node.value.args[0]))
    raise AssertionError(f"{source} has no {TABLE} any more")


def _has_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in TEMPLATES) or (folder / "additional_chat_templates").is_dir():
        return True
    return any(bool(_content(folder / name).get("chat_template")) for name in ("tokenizer_config.json", *PROCESSORS))


def _content(file: Path) -> dict[str, Any]:
    return read_json(file, "") if file.is_file() else {}
