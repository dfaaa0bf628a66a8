"""Executors: where a run's shards are computed. One file each, `class Executor(BaseExecutor)`.

An executor knows nothing of what a job does: it is handed an entry point ("smx.node:main") and attempt
folders. It is asked three things: submit, poll, cancel. What it returns from `submit` is plain JSON and is
all it gets back later, by another process on another day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from smx.options import Options


@dataclass(frozen=True)
class Job:
    """One attempt of one run: `shards` tasks that each call `entry(attempt folder, shard index)`."""

    key: str  # unique, stable: names the attempt in this submission ("<fingerprint>#<attempt>")
    entry: str  # "package.module:function", called with (Path, int), returns an exit code
    folder: Path  # the attempt's folder; logs go to log.out and log.err in it
    shards: int = 1
    after: tuple[str, ...] = ()  # keys of jobs in this submission, or handles of earlier ones, that must end well
    resources: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


class Word(StrEnum):
    """What a source says about one shard. `unknown` is an answer too: the source could not be reached."""

    waiting = "waiting"  # accepted, behind a dependency or a queue
    running = "running"
    ended = "ended"  # the process is gone; exit.json says how, and where there is none it is lost
    cancelled = "cancelled"
    absent = "absent"  # the source answered and knows no such shard
    unknown = "unknown"  # the source could not be reached: conclude nothing


@dataclass(frozen=True)
class Fact:
    """One shard, as the executor sees it now."""

    word: Word
    where: str = ""  # host, pid, node
    reason: str = ""  # in words: why it waits, who cancelled it


class BaseExecutor(Options):
    """Contract of an executor plugin. Fields are its options (from the site file)."""

    blocking: ClassVar[bool] = False  # True where `submit` returns only after the work is done

    def submit(self, submission: str, jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
        """Start `jobs`; returns key -> handle (plain JSON), for each job that was accepted.

        `submission` is an id that was written down before this call: a second call with the same id must
        find the first one's jobs rather than start them again.
        """
        raise NotImplementedError

    def poll(self, handles: Sequence[Mapping[str, Any]]) -> list[list[Fact]]:
        """One fact per shard for each handle, in order. Never raises because a source is down."""
        raise NotImplementedError

    def cancel(self, handles: Sequence[Mapping[str, Any]]) -> None:
        """Ask these to stop, dependants too. Already ended ones are left alone."""
        raise NotImplementedError
