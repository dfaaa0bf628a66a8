"""What tests on a cluster share: run smx on it, hold its items at a gate, follow them to the end."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import yaml
from support.commands import smx
from support.processes import outcomes

from slurm.cluster import Cluster, until
from smx.control.sync import sync
from smx.registry.export import content
from smx.registry.rows import AttemptRow, RunRow
from smx.registry.store import Registry
from smx.runfolder import AttemptFolder, RunFolder
from smx.workspace import find

_SIZE = ("count=4", "frames=16", "width=80", "height=60")
GEN = ("gen", "--dataset", "rooms", *(f"--set=dataset_options.{pair}" for pair in _SIZE), "--frames", "4")
_BENCH = ("scenes=2", "train_scenes=1", "frames=16", "width=80", "height=60")
EVAL = ("eval", "--bench", "rooms", "--model", "framed", *(f"--set=bench_options.{pair}" for pair in _BENCH))
ASKED = 35  # questions of EVAL's two scenes
ASKED_ONE = 18  # of the one scene of `matrix`
BEGUN = "begun"  # beside the lab: one line for every item that any job began, in order


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


def check(lab: Path, *wanted: str, like: Path | None = None, in_hand: Collection[str] = ()) -> None:
    """What holds after everything that may happen to runs; `wanted` is a line for each, of those `ended` gives.

    The states and reasons are these; items and outputs are those of the undisturbed runs in `like`; no item was
    begun twice but `in_hand`, those that a disturbance interrupted; and a rebuilt registry says all the same.
    """
    assert ended(lab) == sorted(wanted)
    begun = Counter((lab.parent / BEGUN).read_text().splitlines()) if (lab.parent / BEGUN).exists() else Counter()
    assert {item for item, times in begun.items() if times > 1} <= set(in_hand)
    if like is not None:
        assert outcomes(lab) == outcomes(like)
        assert {f"{name[-8:]} {item}" for name, items in outcomes(lab).items() for item in items} <= set(begun)
    before = content(find(lab).registry)
    assert smx("-w", lab, "db", "rebuild") == 0
    after = content(find(lab).registry)
    for table, rows in before.items():
        assert after[table] == rows, table
    assert smx("-w", lab, "db", "check") == 0


def ended(lab: Path) -> list[str]:
    """How each run stands: `eval failed 0/20 submit`, `gen done 4/4`; sorted."""
    runs, attempts, unknown = look(lab)
    assert not unknown
    newest = {attempt.fingerprint: attempt for attempt in attempts}
    reasons = [(newest[run.fingerprint].failure or {}).get("kind", "") for run in runs]
    lines = [f"{run.kind} {run.state} {run.done}/{run.items}" for run in runs]
    return sorted(f"{line} {reason}".rstrip() for line, reason in zip(lines, reasons, strict=True))


def attempt_of(lab: Path, run: RunRow, number: int = 1) -> AttemptFolder:
    """An attempt's folder."""
    return RunFolder(find(lab).runs / run.folder).attempt(number)


def recorded(lab: Path, items: int) -> None:
    """Wait until so many items are recorded in first attempts."""
    shards = [shard for run in look(lab)[0] for shard in attempt_of(lab, run).shards()]
    until(f"{items} items are recorded", lambda: sum(len(list(shard.items())) for shard in shards) >= items)


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
    paths = [str(folder / "experiments" / "torch"), os.environ.get("PYTHONPATH", "")]
    quick["environment"] = {"OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(filter(None, paths))}
    text = yaml.safe_dump({"executors": {"slurm": {**quick, **options}}}, allow_unicode=True)
    (folder / "experiments" / "site.yaml").write_text(text, encoding="utf-8")


def matrix(folder: Path, seeds: int) -> None:
    """Write the matrix `grid`: gen by two samplers, and eval of each with so many seeds."""
    options = {"scenes": 1, "train_scenes": 1, "frames": 16, "width": 64, "height": 48}
    grid = {"model": ["framed"], "sampler": ["uniform", "sa"], "frames": [4], "seed": [*range(seeds)]}
    text = yaml.safe_dump({"common": {"bench": "rooms", "bench_options": options}, "groups": {"all": {"grid": grid}}})
    (folder / "experiments" / "grid.yaml").write_text(text)


def picture(path: Path, value: int) -> None:
    """Write a tiny picture of one grey."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (value % 256,) * 3).save(path)


class Gate:
    """SMX_PROBE as a pipe: every item of every job says when it begins, and waits while the gate is shut.

    Shut means that the pipe is full: what would begin waits in its write, and nothing that was written is lost.
    All that began is in the file `record` too, as if jobs had appended to it themselves.
    """

    def __init__(self, path: Path, record: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.begun: list[str] = []
        self._record = record
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._size = fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, 4096)
        self._drain: threading.Thread | None = None

    def shut_after(self, items: int, patience: float = 120.0) -> list[str]:
        """Let this many items begin, then shut; what has begun by then."""
        deadline = time.monotonic() + patience
        while len(self.begun) < items:
            assert time.monotonic() < deadline, f"only {self.begun} began"
            self._read(0.5)
        self.shut()
        return list(self.begun)

    def shut(self) -> None:
        """Nothing begins any more."""
        full = False
        while not full:
            while self._read(0):
                pass
            full = self._fill() == self._size  # less: something began in between

    def open(self) -> None:
        """Everything goes on; what begins is still written down."""
        self._drain = threading.Thread(target=self._follow, daemon=True)
        self._drain.start()

    def close(self) -> None:
        """End of the test."""
        drain, self._drain = self._drain, None
        if drain is not None:
            drain.join()
        os.close(self._pipe)

    def _follow(self) -> None:
        while self._drain is not None:
            self._read(0.1)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._pipe], [], [], seconds)[0]:
            return False
        said = os.read(self._pipe, 65536).decode()  # whole lines: shorter ones than a page are written at once
        lines = [line for line in said.split("\n") if line]
        self.begun += lines
        with self._record.open("a") as record:
            record.writelines(f"{line}\n" for line in lines)
        return True

    def _fill(self) -> int:
        for count in range(self._size + 1):
            try:
                os.write(self._pipe, b"\n")
            except BlockingIOError:
                return count
        raise AssertionError("a pipe takes more than its size")
