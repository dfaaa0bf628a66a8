"""What every benchmark does last: print its result as one line of JSON and, with `--save`, keep it with its date.

Kept results are dated entries in `benchmarks/results/<claim>.json`: the numbers, the machine, the versions
and the command, so that a number in the docs can be made again.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "transformers", "numpy", "numba", "typer", "pydantic", "rich", "av")


def finish(result: dict[str, Any]) -> None:
    """Print `result` (it has `benchmark`, `ratio`, `budget`) as the last line; append it to its file with `--save`."""
    if "--save" in sys.argv[1:]:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{result['benchmark']}.json"
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        entries.append({"date": datetime.now(UTC).date().isoformat(), **result, **machine()})
        path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


def machine() -> dict[str, Any]:
    """CPU, cores, Python, versions and the command, without a path or a name of this machine."""
    versions = {name: version for name in _PACKAGES if (version := _version(name))}
    script = Path(sys.argv[0])
    said = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "command": shlex.join(["python", f"{script.parent.name}/{script.name}", *said]),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
