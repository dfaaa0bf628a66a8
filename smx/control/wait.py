"""Wait for runs: each executor is asked now and then, the runs' own files are looked at all the time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Sequence

from smx.control.progress import Listener
from smx.control.reservations import executor_for
from smx.control.sync import refresh, sync
from smx.registry.reading import registry_as_it_is
from smx.registry.rows import AttemptRow, RunRow
from smx.registry.store import Registry
from smx.runfolder import RunFolder
from smx.workspace import Workspace

LONGEST = 60.0  # seconds between two questions to an executor, at most
_LOOK = 0.2  # seconds between looks at files


def wait(workspace: Workspace, runs: Sequence[str] = (), *, listener: Listener | None = None) -> list[RunRow]:
    """Return once these runs (names as people write them; none: all that are live) have ended, as they then are.

    `UserError` for a name that fits no run, or several.
    """
    listener = listener or Listener()
    with registry_as_it_is(workspace, listener.say) as registry:
        refresh(workspace, registry, listener.say)
        live = {row.fingerprint for row in registry.attempts(live=True)}
        fingerprints = {registry.find(name).fingerprint for name in runs} or live
        left = 0

        def count(live: Sequence[AttemptRow]) -> bool:
            nonlocal left
            if len(live) != left:
                left = len(live)
                listener.say(f"waiting for {left} run{'s' if left > 1 else ''}")
            return True

        wait_for(workspace, registry, fingerprints, look=count)
        ended = [row for fingerprint in fingerprints if (row := registry.run(fingerprint))]
    return sorted(ended, key=lambda row: (row.kind, row.folder))


def wait_for(
    workspace: Workspace,
    registry: Registry,
    runs: Collection[str],
    *,
    first: float | None = None,
    seconds: float = math.inf,
    look: Callable[[Sequence[AttemptRow]], bool] = lambda live: True,
) -> None:
    """Sync now and then until no attempt at these runs (fingerprints) is live, for so many `seconds` at most.

    An executor is asked after its `poll_interval`, or after `first` seconds, then twice as long after each answer;
    and at once when all that it has of these runs have ended by their own files. `look` is given what is live several
    times a second; False ends the waiting.
    """
    end = time.monotonic() + seconds
    pause = threading.Event()
    questions: dict[str, _Questions] = {}
    while live := [row for row in registry.attempts(live=True) if row.fingerprint in runs]:
        due = set()
        for name in sorted({row.executor for row in live}):
            if name not in questions:
                questions[name] = _Questions(executor_for(workspace, name)[1].poll_interval, first)
            if questions[name].due(lambda name=name: _over(workspace, registry, live, name)):  # type: ignore[misc]
                due.add(name)
        if due:
            sync(workspace, registry, executors=due)
        elif time.monotonic() >= end or not look(live):
            return
        else:
            pause.wait(_LOOK)


class _Questions:
    """When one executor is to be asked."""

    def __init__(self, poll_interval: float, first: float | None) -> None:
        self._base = poll_interval
        self._interval = poll_interval if first is None else first
        # Where a question costs a look at a process, nobody should be kept waiting for a minute.
        self._longest = min(LONGEST, 4 * poll_interval)
        self._last = time.monotonic()
        self._over = False

    def due(self, over: Callable[[], bool]) -> bool:
        """Whether to ask now; it is taken to be answered. `over`: whether everything has ended by its own files."""
        before, self._over = self._over, over()
        if time.monotonic() - self._last < self._interval and (before or not self._over):
            return False
        self._last = time.monotonic()
        self._interval = min(2 * self._interval or self._base, self._longest)
        return True


def _over(workspace: Workspace, registry: Registry, live: Sequence[AttemptRow], executor: str) -> bool:
    for row in live:
        if row.executor != executor:
            continue
        run = registry.run(row.fingerprint)
        assert run is not None
        attempt = RunFolder(workspace.runs / run.folder).attempt(row.attempt)
        if not attempt.planned or any(shard.exit() is None for shard in attempt.shards()):
            return False
    return True
