"""Python and the libraries jobs need, as a job would find them: imported in a process of their own."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import smx
from smx.finding import Finding, ok, problem, warning

_PATIENCE = 180  # seconds for a first import of torch over a slow network file system
_SETUP = "make setup (in a checkout), or pip install --force-reinstall smx"


def software() -> Iterator[Finding]:
    """smx, Python, torch, transformers, flash-attn, PyAV with its FFmpeg, GPUs and their driver."""
    yield ok("smx", f"{smx.__version__}, Python {platform.python_version()} at {sys.executable}")
    found = _probed()
    if isinstance(found, str):
        yield problem("python", f"this Python cannot import what jobs need: {found}", _SETUP)
        return
    for name in ("torch", "transformers"):
        yield _library(name, found[name])
    yield _flash(found["flash_attn"], found["gpus"])
    yield _video(found["av"])
    yield from _gpus(found)


def _library(name: str, found: dict[str, Any]) -> Finding:
    if "error" in found:
        return problem(name, f"cannot be imported: {found['error']}", _SETUP)
    return ok(name, found["version"] + (f", built for CUDA {found['cuda']}" if found.get("cuda") else ""))


def _flash(found: dict[str, Any], gpus: list[str]) -> Finding:
    if "version" in found:
        return ok("flash-attn", found["version"])
    if found["missing"]:
        return ok(
            "flash-attn", "not installed: `attention: auto` is sdpa here, and every run says so (docs/attention.md)"
        )
    hint = "install the wheel for this torch (docs/attention.md), or remove it: attention: auto is then sdpa"
    text = f"installed, but cannot be imported: {found['error']}"
    return warning("flash-attn", text, hint) if gpus else ok("flash-attn", text)


def _video(found: dict[str, Any]) -> Finding:
    own = "" if shutil.which("ffmpeg") else "; no ffmpeg on PATH, and none is needed"
    if "error" in found:
        return problem("video", f"PyAV cannot be imported: {found['error']}", _SETUP)
    return ok("video", f"PyAV {found['version']} with FFmpeg {found['ffmpeg']}{own}")


def _gpus(found: dict[str, Any]) -> Iterator[Finding]:
    driver = _driver()
    if found["gpus"]:
        yield ok("gpu", f"{', '.join(found['gpus'])}; driver {driver or 'unknown'}")
    elif driver:
        hint = "torch is built for the CPU, or for a newer driver; on a login node that may be as it should"
        yield warning("gpu", f"driver {driver} is here, and torch sees no GPU", hint)
    else:
        yield ok("gpu", "none here: work on this machine runs on the CPU")


def _driver() -> str:
    """The NVIDIA driver's version, or nothing."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.split("\n")[0].strip() if said.returncode == 0 else ""


def _probed() -> dict[str, Any] | str:
    """What `_probe` found; in words, why it found nothing."""
    try:
        said = subprocess.run(
            [sys.executable, "-m", "smx.doctor._probe"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {_PATIENCE} s"
    try:
        found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = said.stderr.strip().splitlines()[-1:]
        return f"exit code {said.returncode}{': ' if last else ''}{''.join(last)}"
    return found
