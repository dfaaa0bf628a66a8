"""JSON files of a checkpoint folder, `smx.json` among them: what smx remembers of a checkpoint it made."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from smx.errors import UserError

MEMORY = "smx.json"  # what smx remembers of a checkpoint it made: base, options, positions
DEFAULT_RATE = 4


def memory(folder: Path) -> dict[str, Any]:
    """What smx wrote of a checkpoint it made; empty for others."""
    if not (folder / MEMORY).is_file():
        return {}
    content = read_json(folder / MEMORY, "")
    for name in ("options", "positions"):
        if not isinstance(content.get(name) or {}, dict):
            raise UserError(f"{folder / MEMORY}: {name} is {content[name]!r}", "expected an object: save it again")
    return content


def tokens_per_second(folder: Path) -> float:
    """`vision_config.tokens_per_second`; 4 where the key is absent, as transformers' Qwen2_5_VLVisionConfig has it."""
    vision = read_json(folder / "config.json", "it is not a checkpoint folder").get("vision_config")
    rate = vision.get("tokens_per_second", DEFAULT_RATE) if isinstance(vision, dict) else DEFAULT_RATE
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise UserError(
            f"{folder}/config.json: vision_config.tokens_per_second is {rate!r}", "expected a number above 0"
        )
    return float(rate)


def read_json(file: Path, otherwise: str) -> dict[str, Any]:
    """The object in `file`. `UserError` where there is none, with the hint `otherwise` where there is no file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file.parent} has no {file.name}", otherwise) from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}", "it must be a file that you may read") from None
    except ValueError as error:
        raise UserError(f"{file} is not readable JSON: {error}", "fetch it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} is not a JSON object", "fetch it again")
    return content
