"""`smx` as processes of its own: started, watched item by item, killed.

They are forked from a server that has the slow imports behind it, so that a test can afford many of them.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import select
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from threading import Event
from typing import Any

from smx.runfolder import RunFolder, run_folders

GEN = [f"--set=dataset_options.{pair}" for pair in ("count=4", "frames=16", "width=80", "height=60")]
EVAL = [f"--set=bench_options.{pair}" for pair in ("scenes=2", "train_scenes=1", "frames=16", "width=80", "height=60")]
_PATIENCE = 60.0  # seconds until a test gives up on a condition that never comes
_SLOW = [
    *("scipy.ndimage", "scipy.sparse.csgraph", "PIL.Image", "yaml", "smx.rooms._raycaster", "smx.geometry._kernels"),
    *(
        "smx.geometry.voxels",
        "smx.cli.gen",
        "smx.cli.eval",
        "smx.control.submit",
        "smx.control.sync",
        "smx.node.gen",
        "smx.node.eval",
    ),
    *("smx.datasets.rooms", "smx.benches.rooms", "smx.models.chance", "smx.samplers.mergeaware_sa"),
    *("smx.executors.inline", "smx.executors.local"),
]
_numbers = itertools.count()


class Smx:
    """A running `smx -w WORKSPACE WORDS…`."""

    def __init__(
        self, workspace: Path, *words: str, probe: Path | None = None, before: Callable[[], None] | None = None
    ):
        workspace.mkdir(exist_ok=True)
        self._log = workspace.parent / f"stderr-{next(_numbers)}"
        arguments = (["-w", str(workspace), *words], self._log, probe, before)
        self._process = _server().Process(target=_main, args=arguments)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.sentinel = self._process.sentinel  # readable once it has ended

    def send(self, number: int) -> None:
        """A signal, if it still runs."""
        if self._process.is_alive():
            os.kill(self.pid, number)

    def end(self) -> int:
        """Wait for its end: exit code, or minus the signal that ended it."""
        self._process.join(_PATIENCE)
        code = self._process.exitcode
        assert code is not None, f"still running: {self.said}"
        return code

    @property
    def said(self) -> str:
        """What it wrote to stderr so far."""
        return self._log.read_text() if self._log.exists() else ""


def smx(workspace: Path, *words: str, probe: Path | None = None, code: int = 0) -> str:
    """Run `smx` to its end, expect this exit code; returns stderr."""
    process = Smx(workspace, *words, probe=probe)
    assert process.end() == code, process.said
    return process.said


class Audit:
    """SMX_PROBE as a pipe: the test sees each item begin the moment it does."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._buffer = b""

    def close(self) -> None:
        """Give the pipe back. A process that begins another item now waits until it is killed or interrupted."""
        os.close(self._pipe)

    def follow(self, process: Smx, *, items: int = 10**9, seconds: float = _PATIENCE) -> list[str]:
        """Items that begin until there are `items` of them, the process ends, or nothing begins for `seconds`."""
        begun: list[str] = []
        while len(begun) < items:
            ready, _, _ = select.select([self._pipe, process.sentinel], [], [], seconds)
            if self._pipe not in ready:
                break
            self._buffer += os.read(self._pipe, 65536)
            *lines, self._buffer = self._buffer.split(b"\n")
            begun += [line.decode().split(" ", 1)[1] for line in lines]
        return begun


def items_begun(probe: Path) -> list[str]:
    """Items in a probe that is a plain file, in the order they began."""
    lines = probe.read_text().splitlines() if probe.exists() else []
    return [line.split(" ", 1)[1] for line in lines]


def outcomes(workspace: Path) -> dict[str, dict[str, Any]]:
    """What every run recorded: folder name -> item id -> data (answers, scores, overlap); errors as they are."""
    return {run.path.name: _outcome(run) for run in run_folders(workspace / "runs")}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too: relative path -> content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def the_run(workspace: Path, kind: str) -> RunFolder:
    """The only run of a kind."""
    (run,) = [run for run in run_folders(workspace / "runs") if run.path.parent.name == kind]
    return run


def until(condition: Callable[[], object], what: str) -> None:
    """Look again and again until `condition` holds."""
    pause = Event()
    for _ in range(int(_PATIENCE / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(f"this never happened: {what}")


def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context.set_forkserver_preload(_SLOW)
    return context


def _main(words: list[str], log: Path, probe: Path | None, before: Callable[[], None] | None) -> None:
    with log.open("wb") as file, Path(os.devnull).open("wb") as nowhere:
        os.dup2(file.fileno(), 2)
        os.dup2(nowhere.fileno(), 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("SMX_PROBE", None)
    if probe is not None:
        os.environ["SMX_PROBE"] = str(probe)
    if before is not None:
        before()
    from smx.cli import main

    main(words)


def _outcome(run: RunFolder) -> dict[str, Any]:
    found = run.outcome()
    errors = {item: record["error"]["line"] for item, record in found.failed.items()}
    return {item: record["data"] for item, record in found.done.items()} | errors
