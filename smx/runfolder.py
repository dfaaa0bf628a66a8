"""The run folder: the only thing that passes between the login node and a job.

    runs/<kind>/<name>-<fingerprint8>/
        spec.json                     frozen before the first attempt
        attempts/<n>/plan.json        items, shards, paths, provenance of this attempt
        attempts/<n>/handle.json      what the executor answered
        attempts/<n>/shards/<k>/items.jsonl  heartbeat.json  exit.json
        attempts/<n>/shards/<k>/machine.json  usage.json  starts.jsonl  scheduler.json
        attempts/<n>/shards/<k>/log.out  log.err
        result.json                   derived from the items; may be made again at any time

Every whole-file write goes to a temporary name, fsync, rename. A torn last line of a jsonl is ignored by
readers and cut off by the next writer. A reader never needs a lock.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from smx.atomic_io import json_text, load_json, read_json, read_whole, write_json
from smx.errors import UserError

METRICS = "metrics.jsonl"  # of a run of kind train: a line a step
_ROOM = 16384  # bytes; a traceback takes some thousand


def now() -> str:
    """This moment, ISO 8601 UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class ShardFolder:
    """One array task of one attempt. Written by the job alone."""

    path: Path

    def begin(self) -> None:
        """Make the folder; cut a line torn by an earlier kill, so that appending continues cleanly."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._room.write_bytes(os.urandom(_ROOM))
        items = self.path / "items.jsonl"
        if items.exists():
            data = items.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole != len(data):
                with items.open("r+b") as file:
                    file.truncate(whole)
                    os.fsync(file.fileno())

    def append(self, record: dict[str, Any]) -> None:
        """One finished or failed item, on disk when this returns."""
        line = f"{json_text(record)}\n".encode()
        with (self.path / "items.jsonl").open("ab", buffering=0) as file:
            written = 0
            while written < len(line):
                written += file.write(line[written:])
            os.fsync(file.fileno())

    def items(self) -> Iterator[dict[str, Any]]:
        """Recorded items, oldest first. A torn last line is no item, nor is a damaged one, which `damage` names."""
        return (record for record in self.lines() if isinstance(record, dict))

    def damage(self) -> list[str]:
        """What in its files cannot be read and is done without, in words: lines of items, and whole files."""
        files = (self.path / name for name in ("exit.json", "heartbeat.json", "usage.json"))
        return [*(line for line in self.lines() if isinstance(line, str)), *_damage(files)]

    def lines(self) -> Iterator[dict[str, Any] | str]:
        """The record of each whole line of items.jsonl, or which line is damaged and how."""
        path = f"{self.path}/items.jsonl"
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as in read_json
                data = file.read()
        except FileNotFoundError:
            return
        for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                yield f"{path}, line {number}, is damaged ({error})"
                continue
            whole = isinstance(record, dict) and "item" in record and "ok" in record
            yield record if whole else f"{path}, line {number}, is damaged (it is no record of an item)"

    def beat(self, state: dict[str, Any]) -> None:
        """Rewrite heartbeat.json."""
        write_json(self.path / "heartbeat.json", {**state, "at": now()})

    def heartbeat(self) -> dict[str, Any] | None:
        """The last heartbeat, if any. A damaged one is none: the executor knows whether the shard lives."""
        return read_whole(f"{self.path}/heartbeat.json")

    def end(self, how: str, **details: Any) -> None:
        """Write exit.json, last: `how` is done, failed, cancelled or preempted. It can be said on a full disk too."""
        self._room.unlink(missing_ok=True)
        write_json(self.path / "exit.json", {"how": how, "at": now(), **details})

    def exit(self) -> dict[str, Any] | None:
        """How the shard ended, once it has. A damaged file says nothing of it: the executor is asked then."""
        return read_whole(f"{self.path}/exit.json")

    @property
    def _room(self) -> Path:
        """Kept on the disk from `begin` to `end`, so that there is room for exit.json whatever happens."""
        return self.path / ".room"

    def starts(self) -> list[dict[str, Any]]:
        """When, where and how often a scheduler started it: `{at, node, restart, until}`, oldest first.

        `until`: the last sign of the start before, where it was started again. A line torn by a dying node is none.
        """
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.path / "starts.jsonl").read_bytes().splitlines():
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return found


@dataclass(frozen=True)
class AttemptFolder:
    """One try at a run."""

    path: Path

    @property
    def number(self) -> int:
        """1..n."""
        return int(self.path.name)

    @property
    def run(self) -> RunFolder:
        """The run it belongs to."""
        return RunFolder(self.path.parent.parent)

    @cached_property
    def plan(self) -> dict[str, Any]:
        """plan.json, frozen when the attempt was submitted."""
        return load_json(self.path / "plan.json")

    @property
    def planned(self) -> bool:
        """False while the launcher is still writing it (or died before it was written)."""
        return os.path.exists(f"{self.path}/plan.json")  # noqa: PTH110 - as in read_json

    @property
    def is_canary(self) -> bool:
        """Whether its first shard goes before everything else of its kind, which waits for it."""
        return self.plan.get("canary") == {"run": self.run.path.name, "attempt": self.number}

    def shard(self, index: int) -> ShardFolder:
        """The folder of shard `index`."""
        return ShardFolder(self.path / f"shards/{index}")

    def shards(self) -> list[ShardFolder]:
        """All shards of the plan, begun or not."""
        return [self.shard(k) for k in range(len(self.plan["shards"]))]

    def logs(self, ending: str = "out", shard: int | None = None) -> list[Path]:
        """Log files there are, `ending` out or err: the attempt's own, then its shards' in order.

        With `shard`, what that one wrote: its own files, or the attempt's where all shards share them.
        """
        folders = sorted((p for p in (self.path / "shards").glob("*") if p.name.isdigit()), key=lambda p: int(p.name))
        own = {int(p.name): sorted(filter(Path.exists, p.glob(f"log*.{ending}"))) for p in folders}
        # A task that has not begun has no folder yet; what was printed in its place is where its executor said.
        for k, stem in enumerate((self.handle() or {}).get("logs", [])):
            if not own.get(k) and (path := Path(os.path.normpath(self.path / f"{stem}.{ending}"))).exists():
                own[k] = [path]
        shared = sorted(self.path.glob(f"log*.{ending}"))
        if shard is not None:
            return own.get(shard) or shared
        return [*shared, *(path for k in sorted(own) for path in own[k])]

    def handle(self) -> dict[str, Any] | None:
        """What the executor answered; None until then, or damaged: the registry and the executor know it too."""
        return read_whole(f"{self.path}/handle.json")


@dataclass(frozen=True)
class RunFolder:
    """One run: one spec, its attempts, its result."""

    path: Path

    @cached_property
    def spec(self) -> dict[str, Any]:
        """spec.json: `{schema, fingerprint, kind, name, spec, plugins, inputs, created}`. `UserError` without it."""
        if (found := read_json(self.path / "spec.json")) is None:
            raise UserError(
                f"the run folder {self.path} is gone, or its spec.json is",
                "put it back, or let smx db rebuild forget the run",
            )
        return found

    def saved_step(self) -> int:
        """Of a training, the step of its newest checkpoint; 0 without any."""
        names = (path.name.rpartition("-")[2] for path in (self.path / "training").glob("checkpoint-*"))
        return max((int(step) for step in names if step.isdigit()), default=0)

    def attempt(self, number: int) -> AttemptFolder:
        """Attempt `number`, whether or not it exists."""
        return AttemptFolder(self.path / f"attempts/{number}")

    def attempts(self) -> list[AttemptFolder]:
        """Planned attempts, oldest first."""
        folder = self.path / "attempts"
        if not folder.is_dir():
            return []
        numbers = sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())
        return [a for a in map(self.attempt, numbers) if a.planned]

    def outcome(self, without: frozenset[int] = frozenset()) -> Outcome:
        """Per item the newest success, else the newest failure, over all attempts but `without`."""
        done: dict[str, dict[str, Any]] = {}
        failed: dict[str, dict[str, Any]] = {}
        damage = []
        for attempt in self.attempts():
            if attempt.number in without:
                continue
            for shard in attempt.shards():
                for record in shard.lines():
                    if isinstance(record, str):
                        damage.append(record)
                    else:
                        kept = {**record, "attempt": attempt.number}
                        (done if record["ok"] else failed)[record["item"]] = kept
        return Outcome(done, {k: v for k, v in failed.items() if k not in done}, tuple(damage))

    def damage(self) -> list[str]:
        """What in its attempts' files cannot be read and is done without, in words."""
        of_shards = (line for attempt in self.attempts() for shard in attempt.shards() for line in shard.damage())
        return [*_damage(attempt.path / "handle.json" for attempt in self.attempts()), *of_shards]

    def result(self) -> dict[str, Any] | None:
        """result.json, if it has been derived."""
        return read_json(self.path / "result.json")


@dataclass(frozen=True)
class Outcome:
    """What is known of a run's items: id -> newest record. `damage`: the records that cannot be read, in words."""

    done: dict[str, dict[str, Any]]
    failed: dict[str, dict[str, Any]]
    damage: tuple[str, ...] = ()


def run_folders(runs: Path) -> Iterator[RunFolder]:
    """Every run folder under `runs`, in a stable order."""
    for path in sorted(runs.glob("*/*/spec.json")):
        yield RunFolder(path.parent)


def probe(line: str) -> None:
    """Append `line` to the file SMX_PROBE names: an audit of what was computed, and how often."""
    target = os.environ.get("SMX_PROBE")
    if target:
        with Path(target).open("ab", buffering=0) as file:
            file.write((line + "\n").encode())


def _damage(files: Iterable[Path]) -> list[str]:
    """What is wrong with those that are damaged."""
    found = []
    for path in files:
        try:
            read_json(path)
        except UserError as error:
            found.append(error.message)
    return found
