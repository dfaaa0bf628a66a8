"""Imports what jobs import and prints what came of it as one line of JSON: a crash of one stays in here.

python -m smx.doctor._probe
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from typing import Any


def main() -> None:
    """Print the findings."""
    found: dict[str, Any] = {name: _imported(name) for name in ("torch", "transformers", "av", "flash_attn")}
    found["gpus"] = []
    if "version" in found["torch"]:
        torch = sys.modules["torch"]
        found["torch"]["cuda"] = torch.version.cuda
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(count)]
    if "version" in found["av"]:
        found["av"]["ffmpeg"] = sys.modules["av"].ffmpeg_version_info
    sys.stdout.write(json.dumps(found) + "\n")


def _imported(name: str) -> dict[str, Any]:
    if importlib.util.find_spec(name) is None:
        return {"missing": True, "error": "it is not installed"}
    try:
        return {"version": str(importlib.import_module(name).__version__)}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what a job would meet
        return {"missing": False, "error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
