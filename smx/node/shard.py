"""What gen, train and eval are given: the part of a run they work on, and how to record what came of it."""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx.atomic_io import write_json
from smx.errors import SceneError, UserError, no_space
from smx.failures import group_key, kind_of_exception
from smx.processes import this_process
from smx.run import Item
from smx.runfolder import AttemptFolder, ShardFolder, now, probe
from smx.spec import AnySpec

if TYPE_CHECKING:
    from smx.models import BaseVLM

_OWN = Path(__file__).parent.parent  # not any folder called smx: a checkout of that name may hold the environment


@dataclass
class Shard:
    """What gen, train and eval work with: the spec, where inputs are, and how to record items."""

    spec: AnySpec
    fingerprint: str
    paths: dict[str, str | None]
    items: list[Item]
    attempt: AttemptFolder
    folder: ShardFolder
    done: int = 0
    failed: int = 0
    ranks: int = 1  # processes that work on it together, each on its part of every step
    leads: bool = True  # whether this is the one of them that records

    def path(self, role: str) -> Path | None:
        """Where an input is on this machine."""
        place = self.paths.get(role)
        return None if place is None else Path(place)

    def parts(self, model: BaseVLM) -> dict[str, Path]:
        """Folders of the parts of a model that its checkpoint lacks."""
        return {part: place for part in model.parts() if (place := self.path(part)) is not None}

    def begin(self, item: str) -> float:
        """Say that computing `item` starts now; returns the clock for `succeed`."""
        if self.leads:
            probe(f"{self.fingerprint[:8]} {item}")
        return time.perf_counter()

    def succeed(self, item: str, data: dict[str, Any], started: float, used: dict[str, Any] | None = None) -> None:
        """Record a finished item; `used`: what it took besides time, which is another each time it is done."""
        seconds = round(time.perf_counter() - started, 4)
        took = {"used": used} if used else {}
        self.folder.append({"item": item, "ok": True, "at": now(), "seconds": seconds, **took, "data": data})
        self.done += 1
        self.beat(item)

    def fail(self, item: str, error: BaseException) -> None:
        """Record a failed item with its traceback; the shard goes on.

        Not so where the disk is full: that is not the item's fault, and the next would meet the same.
        """
        if no_space(error):
            raise error
        self.folder.append({"item": item, "ok": False, "at": now(), "error": describe(error)})
        self.failed += 1
        self.beat(item)

    def note(self, info: dict[str, Any]) -> None:
        """Keep what the model says of itself: positions, attention backend, dtype, parameters.

        The backend is said aloud as well: scores differ between backends, so nobody should find out by reading.
        """
        if not self.leads:
            return
        write_json(self.folder.path / "info.json", info)
        if "attention" in info:
            about = f"{self.spec.kind}  {self.attempt.run.path.name}"
            sys.stderr.write(f"{about}: attention {info['attention']} ({info['attention_reason']})\n")

    def beat(self, last: str | None = None) -> None:
        """Rewrite the heartbeat."""
        self.folder.beat({**this_process(), "done": self.done, "failed": self.failed, "last": last})


def describe(error: BaseException) -> dict[str, Any]:
    """A failure as it is recorded: kind, one line, where in our own code, what it is grouped by, the traceback."""
    name = type(error).__name__
    bases = [base.__name__ for base in type(error).__mro__]
    kind = "no-space" if no_space(error) else kind_of_exception(name, str(error), bases)
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).is_relative_to(_OWN)]
    where = f"{Path(own[-1].filename).stem}.{own[-1].name}" if own else ""
    first = (str(error).strip() or "no message").splitlines()[0]
    line = first if isinstance(error, (SceneError, UserError)) else f"{name}: {first}"
    group = group_key(kind, line, name, where)
    trace = "".join(traceback.format_exception(error))
    return {
        **getattr(error, "details", {}),
        "kind": kind,
        "type": name,
        "line": line,
        "where": where,
        "group": group,
        "traceback": trace,
    }
