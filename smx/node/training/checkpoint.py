"""Checkpoints of a training under way: whole or not there, verified before they are read.

`training/checkpoint-<step>/` of a run holds what an optimizer step changes, in float32: `weights.safetensors` (trained
weights by name), `moments.safetensors` (`<name>/exp_avg`, `<name>/exp_avg_sq`, `<name>/step`), `state.json` (losses so
far), and, written last, `manifest.json`: size and sha256 of each file, and what the weights belong to.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx.atomic_io import load_json, read_json, sync_folder, write_json
from smx.errors import UserError
from smx.spec import digest
from smx.workspace import open_weights

if TYPE_CHECKING:
    from torch import Tensor, nn, optim

MANIFEST = "manifest.json"
KEEP = 2  # checkpoints kept while training: the newest, and one before it
_FILES = ("weights.safetensors", "moments.safetensors", "state.json")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class State:
    """What a training knows of its past, beside weights and moments."""

    step: int = 0
    losses: list[float] = field(default_factory=list)  # of each step
    skipped: list[int] = field(default_factory=list)  # steps that changed nothing, as their loss was a spike

    def unspiked(self) -> list[float]:
        """The losses of the steps that were not skipped."""
        return [loss for step, loss in enumerate(self.losses, 1) if step not in set(self.skipped)]


def save(
    folder: Path,
    state: State,
    trained: Mapping[str, nn.Parameter],
    optimizer: optim.Optimizer,
    about: Mapping[str, Any],
) -> Path:
    """`checkpoint-<step>` in `folder`, whole or not at all; `OSError` with ENOSPC where there is no room."""
    target = folder / f"checkpoint-{state.step}"
    with _in_place(target) as temporary:
        _save_tensors({name: p.detach() for name, p in trained.items()}, temporary / _FILES[0])
        _save_tensors(dict(_moments(trained, optimizer)), temporary / _FILES[1])
        write_json(temporary / _FILES[2], asdict(state))
        seal(temporary, {"step": state.step, **about})
    open_weights(target)  # a colleague's retry goes on from here
    return target


def load(
    path: Path, trained: Mapping[str, nn.Parameter], optimizer: optim.Optimizer, about: Mapping[str, Any]
) -> State:
    """Put weights and moments of a verified checkpoint in place; what was known then.

    `UserError` where it is of another run, other data or other trained weights than `about` and `trained` say.
    """
    import torch
    from safetensors.torch import load_file

    manifest = load_json(path / MANIFEST)
    for key in ("fingerprint", "variant", "data"):
        if manifest[key] != about[key]:
            raise UserError(f"{path} is of another {key} than this training", f"move it away: {path.parent}")
    weights = load_file(path / _FILES[0])
    if weights.keys() != trained.keys():
        other = sorted(weights.keys() ^ trained.keys())
        raise UserError(
            f"{path} is of other trained weights than this training: {len(other)} differ, first {other[0]}",
            f"the code has changed since; move {path.parent} away and the same command starts at step 1",
        )
    moments = load_file(path / _FILES[1])
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(weights[name])
            if f"{name}/step" in moments:
                state = {key: moments[f"{name}/{key}"] for key in _MOMENTS}
                optimizer.state[parameter] = {
                    key: value.to(parameter.device) if value.shape == parameter.shape else value.reshape(())
                    for key, value in state.items()
                }
    return State(**load_json(path / _FILES[2]))


def newest(folder: Path, tell: Callable[[str], None]) -> Path | None:
    """The newest whole checkpoint in `folder`; None where none was ever saved. `tell` hears of damaged ones.

    `UserError` where there are some and none of them is whole.
    """
    damage = ""
    for path in reversed(saved(folder)):
        if not (problem := damage_of(path)):
            if damage:
                tell(f"{damage}; training goes on from {path.name}, which is whole")
            return path
        damage = damage or problem
    if damage:
        raise UserError(
            f"{damage}, and no other checkpoint in {folder} is whole",
            f"put the file back, or start at step 1: rm -r {folder}  and the same command again",
        )
    return None


def damage_of(path: Path) -> str:
    """What is wrong with a checkpoint, in words that name the file; empty where it is as it was written."""
    try:
        manifest = read_json(path / MANIFEST)
    except UserError as error:
        return error.message
    if manifest is None:
        return f"{path / MANIFEST} is gone"
    content = {key: value for key, value in manifest.items() if key != "digest"}
    if manifest.get("digest") != digest(content):
        return f"{path / MANIFEST} is damaged (it is not what was written)"
    for name, (size, checksum) in manifest["files"].items():
        file = path / name
        if not file.is_file():
            return f"{file} is gone"
        if file.stat().st_size != size:
            return f"{file} is damaged ({file.stat().st_size} bytes of {size})"
        if _sha256(file) != checksum:
            return f"{file} is damaged (its sha256 is another)"
    return "" if path.name == f"checkpoint-{manifest['step']}" else f"{path} is of step {manifest['step']}"


def saved(folder: Path) -> list[Path]:
    """Checkpoints in `folder`, damaged ones among them, oldest first."""
    steps = [(int(p.name[11:]), p) for p in folder.glob("checkpoint-*") if p.name[11:].isdigit()]
    return [path for _, path in sorted(steps)]


def prune(folder: Path, step: int) -> None:
    """Leave the newest checkpoints up to `step`; later ones are damaged, and will be written again."""
    for path in [p for p in saved(folder) if int(p.name[11:]) <= step][:-KEEP]:
        shutil.rmtree(path)


def tidy(folder: Path) -> None:
    """Remove what a kill left half written."""
    for path in folder.glob(".checkpoint*.tmp"):
        shutil.rmtree(path)


def publish(output: Path, write: Callable[[Path], None], about: Mapping[str, Any]) -> None:
    """The finished weights, which `write` writes into a folder, in the place of `output`: whole or not at all."""
    tidy(output.parent)
    with _in_place(output) as temporary:
        write(temporary)
        seal(temporary, about)


def require_space(folder: Path, checkpoint: int, final: int) -> None:
    """`OSError` with ENOSPC where three checkpoints of so many bytes and the `final` weights would find no room."""
    held = sum(file.stat().st_size for path in saved(folder) for file in path.iterdir())
    needed = 3 * checkpoint + final - held
    free = shutil.disk_usage(folder).free
    if needed > free:
        words = f"training needs {_gigabytes(needed)} for checkpoints and weights, {_gigabytes(free)} are free"
        raise OSError(errno.ENOSPC, words, str(folder))


def seal(folder: Path, about: Mapping[str, Any]) -> None:
    """Make every file durable, then write the manifest."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.relative_to(folder).as_posix()] = [path.stat().st_size, _sha256(path)]
    content = {**about, "files": files}
    write_json(folder / MANIFEST, {**content, "digest": digest(content)})


@contextmanager
def _in_place(target: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `target` when all went well and is gone otherwise."""
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        sync_folder(temporary)
        if target.exists():  # damaged, or of an attempt that was killed before it could record it
            shutil.rmtree(target)
        temporary.rename(target)
        sync_folder(target.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        number = _OS_ERROR.search(str(error))
        if number and not isinstance(error, OSError):  # as safetensors says it
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(target)) from error
        raise


def _moments(trained: Mapping[str, nn.Parameter], optimizer: optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in trained.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            yield f"{name}/{key}", value.reshape(1) if key == "step" else value


def _save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


def newest_step(paths: Sequence[Path]) -> int:
    """The step of the newest of these; 0 without any."""
    return int(paths[-1].name[11:]) if paths else 0
