"""verify: does this installation still compute what was recorded, stage by stage.

A record is a folder: `inputs.safetensors`, `expected.safetensors` (what every stage gave) and `record.json` (the
versions and settings it was made with, the variant's options among them). Records made elsewhere may lack the last one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from smx.errors import UserError
from smx.workspace import open_weights
from smx.workspace.provenance import git_state, software

if TYPE_CHECKING:
    from torch import Tensor

    from smx.models._vlm.options import VisionOptions

SCHEMA = 2  # 1: no options but `rope`
LIMIT = 2e-4  # of a stage's standard deviation; float32 on another machine stays well below
FILES = ("inputs.safetensors", "expected.safetensors")
ABOUT = "record.json"
DEFAULT_DTYPE, DEFAULT_ATTENTION = "float32", "sdpa"


class RecordSettings(TypedDict):
    """Where and in what precision a model is computed."""

    device: str  # one of `devices`
    dtype: str
    attention: str  # of the language model


@dataclass(frozen=True)
class Stage:
    """How far one stage moved. `relative` is `difference` over `scale`; ids and positions must not move at all."""

    name: str
    shape: list[int]
    difference: float | None  # largest absolute; None where the two cannot be subtracted
    scale: float | None  # standard deviation of what was recorded; None for whole numbers
    relative: float | None
    limit: float
    same: bool
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """What `check` found. `made` is None where the record does not say what it was made with."""

    checkpoint: str
    record: str
    model: str | None  # the variant that was recorded, where one was named
    made: dict[str, Any] | None
    here: dict[str, Any]
    stages: list[Stage]

    @property
    def first_off(self) -> str | None:
        """The first stage, in the order of computation, that is not what was recorded."""
        return next((stage.name for stage in self.stages if not stage.same), None)

    def changed(self) -> list[str]:
        """`torch 2.12.0 -> 2.13.0` for every version and setting that differs between record and now."""
        if self.made is None:
            return []
        before, now = _flat(self.made), _flat(self.here)
        return [
            f"{name} {before.get(name, 'none')} -> {now.get(name, 'none')}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]

    def as_json(self) -> dict[str, Any]:
        """Plain data for programs."""
        return {
            "checkpoint": self.checkpoint,
            "record": self.record,
            "model": self.model,
            "same": self.first_off is None,
            "first_off": self.first_off,
            "stages": [asdict(stage) for stage in self.stages],
            "changed": self.changed(),
            "made": self.made,
            "here": self.here,
        }


@dataclass(frozen=True)
class As:
    """The variant that a checkpoint is recorded as: its name, base model and options."""

    model: str
    base: str
    options: dict[str, Any]


def record(
    checkpoint: Path, out: Path, *, variant: As | None = None, seed: int = 0, **how: Unpack[RecordSettings]
) -> list[Stage]:
    """Make a record of `checkpoint` in the new folder `out`, whole or not at all; returns its stages.

    Run as `variant`; None: with the options it was trained with, as far as it carries them. Inputs are drawn from
    `seed`. `UserError` where `out` exists, or the checkpoint cannot be read or is no model of the variant's base.
    """
    if out.exists():
        raise UserError(f"{out} exists already", "a record is never written over: give a new folder")
    from safetensors.torch import save_file

    from smx.verify import _stage_inputs, _stages

    said = variant.options if variant is not None else None
    options = _stage_inputs.options_of(checkpoint, said, variant.base if variant is not None else None)
    inputs = _stage_inputs.make_inputs(checkpoint, options, seed)
    with _whole(out) as folder:
        expected = _computed(checkpoint, inputs, options, _stages.NEW_TOKENS, how)
        for name, tensors in zip(FILES, (inputs, expected), strict=True):
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
        open_weights(folder)
        about = {
            "schema": SCHEMA,
            "checkpoint": checkpoint.name,
            "model": variant.model if variant is not None else None,
            "options": options.model_dump(mode="json", exclude={"attention"}),
            "new_tokens": _stages.NEW_TOKENS,
            "made": _here(how),
        }
        (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return [_compare(name, tensor, tensor, LIMIT) for name, tensor in expected.items()]


def check(
    checkpoint: Path,
    folder: Path | None = None,
    *,
    device: str,
    dtype: str | None = None,
    attention: str | None = None,
    limit: float = LIMIT,
) -> Verdict:
    """Compare what `checkpoint` computes with the record in `folder` (default: the checkpoint's own folder).

    Precision and attention are the record's, where nothing else is asked for and it names them.
    `UserError` where there is no record, or it belongs to another architecture.
    """
    if not limit >= 0:
        raise UserError(
            f"a limit of {limit:g} is no difference", f"0 or above, in standard deviations; usual: {LIMIT:g}"
        )
    folder = checkpoint if folder is None else folder
    inputs, expected, about = read(folder)
    made = about.get("made") or {}
    how: RecordSettings = {
        "device": device,
        "dtype": dtype or made.get("dtype", DEFAULT_DTYPE),
        "attention": attention or made.get("attention", DEFAULT_ATTENTION),
    }
    tokens = expected["generated_ids"].shape[1] if "generated_ids" in expected else 0
    found = _computed(checkpoint, inputs, _options(checkpoint, about), tokens, how)
    order = [*found, *(name for name in expected if name not in found)]
    stages = [_compare(name, expected.get(name), found.get(name), limit) for name in order if name in expected]
    return Verdict(str(checkpoint), str(folder), about.get("model"), about.get("made"), _here(how), stages)


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """(inputs, expected, what record.json says) of a record. `UserError` where it is incomplete."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    absent = [name for name in FILES if not (folder / name).is_file()]
    if absent:
        raise UserError(
            f"{folder} is no record: {' and '.join(absent)} missing", "smx verify record CHECKPOINT OUT makes one"
        )
    try:
        inputs, expected = (load_file(folder / name) for name in FILES)
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8")) if (folder / ABOUT).is_file() else {}
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{folder} cannot be read as a record: {error}", "make it again: smx verify record") from None
    if not isinstance(about, dict) or not all(isinstance(about.get(name) or {}, dict) for name in ("options", "made")):
        raise UserError(f"{folder / ABOUT} is not what smx writes", "make the record again: smx verify record")
    if about.get("schema", SCHEMA) not in range(1, SCHEMA + 1):
        raise UserError(
            f"{folder / ABOUT} has schema {about['schema']!r}, this smx reads up to {SCHEMA}",
            "a newer smx made it: check with that one",
        )
    if not expected:
        raise UserError(f"{folder}/{FILES[1]} holds no stage", "make it again: smx verify record")
    return inputs, expected, about


def devices() -> list[str]:
    """Where a check can run here."""
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes it in the end, and is gone where something is raised."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as error:
        raise UserError(
            f"{out} cannot be made: {error.filename}: {error.strerror}", "give a new folder where you may write"
        ) from None
    try:
        yield temporary
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _options(checkpoint: Path, about: dict[str, Any]) -> VisionOptions:
    """What a record was made with; one that does not say was made with the architecture's defaults."""
    from smx.verify import _stage_inputs

    said = about.get("options")
    if said is None:
        said = {"rope": about["rope"]} if "rope" in about else {}
    return _stage_inputs.options_of(checkpoint, said)


def _computed(
    checkpoint: Path, inputs: dict[str, Tensor], options: VisionOptions, tokens: int, how: RecordSettings
) -> dict[str, Tensor]:
    from smx.verify import _stages

    run = type(options).parse(options.model_dump() | {"attention": how["attention"]}, "verify")
    found = _stages.stages(checkpoint, inputs, run, new_tokens=tokens, device=how["device"], dtype=how["dtype"])
    return dict(found)


def _compare(name: str, expected: Tensor | None, found: Tensor | None, limit: float) -> Stage:
    assert expected is not None
    shape = list(expected.shape)
    if found is None:
        return Stage(name, shape, None, None, None, limit, False, "this checkpoint does not compute it")
    if found.shape != expected.shape:
        return Stage(name, shape, None, None, None, limit, False, f"shape is {list(found.shape)} here")
    if not expected.is_floating_point():
        difference = float((found - expected).abs().max()) if expected.numel() else 0.0
        moved = int((found != expected).sum())
        note = f"{moved} of {expected.numel()} differ" if moved else ""
        return Stage(name, shape, difference, None, None, 0.0, not moved, note)
    a, b = found.double(), expected.double()
    if not bool(a.isfinite().all()):
        return Stage(name, shape, None, float(b.std()), None, limit, False, "not finite here")
    difference, scale = float((a - b).abs().max()), float(b.std())
    relative = difference / scale if scale else (0.0 if difference == 0 else float("inf"))
    return Stage(name, shape, difference, scale, relative, limit, relative <= limit)


def _here(how: RecordSettings) -> dict[str, Any]:
    return {**software(), "git": git_state(Path(__file__).parent.parent), **how, "machine": _machine(how["device"])}


def _machine(device: str) -> str:
    import platform

    import torch

    return torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine()


def _flat(values: dict[str, Any], above: str = "") -> dict[str, str]:
    """Nested settings as `name -> value`; a package by its name alone."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, "" if key == "packages" else f"{key} ")
        else:
            flat[above + key] = str(value)
    return flat
