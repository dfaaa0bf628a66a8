"""What tests on a cluster share: run smx on it, hold its items at a gate, follow them to the end."""

from __future__ import annotations

import os
import select
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from commands import smx

from slurm.cluster import Cluster, until
from smx.project import find
from smx.registry.rows import AttemptRow, RunRow
from smx.registry.store import Registry
from smx.runfolder import AttemptFolder, RunFolder
from smx.sync import sync

_SIZE = ("count=4", "frames=16", "width=80", "height=60")
GEN = ("gen", "--dataset", "rooms", *(f"--set=dataset_options.{pair}" for pair in _SIZE), "--frames", "4")
_BENCH = ("scenes=2", "train_scenes=1", "frames=16", "width=80", "height=60")
EVAL = ("eval", "--bench", "rooms", "--model", "framed", *(f"--set=bench_options.{pair}" for pair in _BENCH))


def on_slurm(lab: Path, *arguments: object) -> int:
    """`smx -w LAB … --executor slurm`."""
    return smx("-w", lab, *arguments, "--executor", "slurm")


def look(lab: Path) -> tuple[list[RunRow], list[AttemptRow], list[str]]:
    """One sync: runs (oldest first), attempts, and what stays unknown."""
    space = find(lab)
    with Registry.open(space.registry) as registry:
        unknown = sync(space, registry)
        return registry.runs()[::-1], registry.attempts(), unknown


def settle(lab: Path, patience: float = 240.0) -> list[RunRow]:
    """Sync until no attempt is live; the runs, oldest first."""
    until("all runs have ended", lambda: not any(a.live for a in look(lab)[1]), patience, 0.5)
    return look(lab)[0]


def attempt_of(lab: Path, run: RunRow, number: int = 1) -> AttemptFolder:
    """An attempt's folder."""
    return RunFolder(find(lab).runs / run.folder).attempt(number)


def job_of(lab: Path) -> str:
    """Job id of the only attempt's first shard: `12_0`."""
    (attempt,) = look(lab)[1]
    assert attempt.job
    return attempt.job


def node_of(cluster: Cluster, job: str) -> str:
    """Where a job runs."""
    return cluster.run("squeue", "-h", "-j", job, "-o", "%N").strip()


def fake_sbatch(folder: Path, script: str) -> str:
    """A PATH on which sbatch is this shell script; `$REAL` is the real one."""
    folder.mkdir()
    program = folder / "sbatch"
    real = next(p for p in os.environ["PATH"].split(":") if (Path(p) / "sbatch").exists())
    program.write_text(f"#!/bin/bash\nREAL={real}/sbatch\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return f"{folder}:{os.environ['PATH']}"


def site(folder: Path, options: dict[str, object]) -> None:
    """Write the site file: executor slurm with these options over quick ones."""
    quick = {"time": "5m", "memory": "200M", "grace": 20, "lost_after": 3}
    quick["environment"] = {"OMP_NUM_THREADS": "1"}
    text = yaml.safe_dump({"executors": {"slurm": {**quick, **options}}}, allow_unicode=True)
    (folder / "experiments" / "site.yaml").write_text(text, encoding="utf-8")


class Gate:
    """SMX_PROBE as a pipe: every item of every job says when it begins, and waits while the gate is shut."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.begun: list[str] = []
        self._pipe: int | None = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        self._drain: threading.Thread | None = None

    def shut_after(self, items: int, patience: float = 60.0) -> list[str]:
        """Let this many items begin, then shut: the next one waits before it is begun."""
        deadline = time.monotonic() + patience
        while len(self.begun) < items:
            assert time.monotonic() < deadline, f"only {self.begun} began"
            self._read(0.5)
        self.shut()
        return list(self.begun)

    def shut(self) -> None:
        """Nothing begins any more."""
        if self._pipe is not None:
            while self._read(0):
                pass
            os.close(self._pipe)
            self._pipe = None

    def open(self) -> None:
        """Everything goes on; what begins is still written down."""
        self._pipe = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._drain = threading.Thread(target=self._follow, daemon=True)
        self._drain.start()

    def twice(self) -> list[str]:
        """Items that began more than once."""
        return sorted({item for item in self.begun if self.begun.count(item) > 1})

    def close(self) -> None:
        """End of the test."""
        drain, self._drain = self._drain, None
        if drain is not None:
            drain.join()
        self.shut()

    def _follow(self) -> None:
        while self._drain is not None:
            self._read(0.1)

    def _read(self, seconds: float) -> bool:
        assert self._pipe is not None
        if not select.select([self._pipe], [], [], seconds)[0]:
            return False
        self._rest += os.read(self._pipe, 65536)
        *lines, self._rest = self._rest.split(b"\n")
        self.begun += [line.decode() for line in lines]
        return True


def states(rows: Sequence[RunRow]) -> list[tuple[str, str, int, int]]:
    """Kind, state and counts of runs."""
    return [(row.kind, row.state, row.done, row.failed) for row in rows]
