"""The first error of a log: later ones are usually its consequences. Progress bars and interleaved ranks are normal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from smx.failures.kinds import ECHOES, KINDS, SET_UP, Failure, clipped, kept, kind_of_exception, kind_of_line


def read_log(text: str) -> Failure | None:
    """The first error of a log that is not the echo of another one; None where there is none."""
    events = _events(text)
    if not events:
        return None
    causes = [event for event in events if not event.echo]
    first = causes[0] if causes else events[0]
    if stopped := next((event for event in causes if event.failure.line.startswith(SET_UP)), None):
        # It names the line of the site file; what the line itself printed is why.
        why = (event.failure.line for event in causes if event is not stopped)
        return replace(stopped.failure, evidence=kept((stopped.failure.line, *why)))
    then = [
        f"then: {event.failure.line}"
        for event in events
        if event is not first and event.failure.line != first.failure.line
    ]
    node = first.failure.node
    if first.failure.kind == "node-fail" and not node:
        node = next((e.failure.node for e in events if e.failure.node), "")
    return replace(first.failure, node=node, evidence=kept((*first.failure.evidence, *dict.fromkeys(then))))


@dataclass
class _Event:
    failure: Failure
    echo: bool


@dataclass
class _Trace:
    """A traceback while it is read, of one rank."""

    frames: list[tuple[str, str, str]] = field(default_factory=list)  # (file, function, the line itself)
    replaces: bool = False  # continues the exception before it


def _events(text: str) -> list[_Event]:
    """Everything in a log that says how something failed, in order."""
    events: list[_Event] = []
    open_: dict[str, _Trace] = {}  # rank -> traceback being read
    last: dict[str, int] = {}  # rank -> its latest exception among `events`
    chained: set[str] = set()
    for rank, line in _lines(text):
        if line.endswith("Traceback (most recent call last):"):
            open_[rank] = _Trace(replaces=rank in chained or line.lstrip().startswith("Original"))
            chained.discard(rank)
            continue
        if line.startswith(_CHAINED):
            chained.add(rank)
            continue
        trace = open_.get(rank)
        if trace is not None:
            if frame := _FRAME.match(line):
                trace.frames.append((frame[1], frame[2], line.strip()))
                continue
            raised = None if line[:1].isspace() else _RAISED.match(line)
            if raised is None and (not line.strip() or line[:1].isspace()):
                continue
            if raised:
                del open_[rank]
                event = _raised(raised[1].rsplit(".", 1)[-1], raised[2] or "", line, trace)
                before = last.get(rank)
                if (
                    trace.replaces
                    and before is not None
                    and events[before].failure.kind
                    in (
                        "python",
                        event.failure.kind,
                    )
                ):
                    events[before] = event
                elif not trace.replaces or before is None:
                    last[rank] = len(events)
                    events.append(event)
                continue
        if not _WARNING.search(line) and (kind := kind_of_line(line)):
            failed = _FAILED_NODE.search(line) if kind == "node-fail" else None
            node = next((name for name in failed.groups() if name), "") if failed else ""
            events.append(_Event(Failure(kind, line.strip(), node=node, evidence=kept([line])), KINDS[kind].weak))
    return events


def _raised(type_: str, message: str, line: str, trace: _Trace) -> _Event:
    kind = kind_of_exception(type_, message)
    own = [f for f in trace.frames if "/smx/" in f[0].replace("\\", "/") and "site-packages" not in f[0]]
    own = own or [f for f in trace.frames if "/smx/" in f[0].replace("\\", "/")]
    others = [f for f in trace.frames if "site-packages" not in f[0] and "/lib/python" not in f[0] and f[0][:1] != "<"]
    inner = (own or others or trace.frames or [("", "", "")])[-1]
    where = f"{PurePath(inner[0]).stem}.{inner[1]}" if inner[0] else ""
    shown = f"{type_}: {message}" if message else type_
    failure = Failure(kind, clipped(shown), where, type_, evidence=kept([inner[2], line]))
    return _Event(failure, KINDS[kind].weak or type_ in ECHOES)


def _lines(text: str) -> Iterable[tuple[str, str]]:
    """(rank, line): the last state of every progress line, terminal colours and rank prefixes taken off."""
    for raw in text.replace("\r\n", "\n").split("\n"):
        for piece in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw).split("\r"):
            found = _RANK.match(piece)
            rank = (found[1] or found[2]) if found else ""
            yield rank, (piece[found.end() :] if found else piece).rstrip()


_RANK = re.compile(r"^(?:\[(?:default)?(?:rank)?(\d+)\][: ]\s?|(\d+): )")
_FRAME = re.compile(r'^\s+File "([^"]+)", line \d+, in (\S+)')
_RAISED = re.compile(r"^((?:\w+\.)*[A-Z]\w*)(?:: ?(.*))?$")
_WARNING = re.compile(r"\b[A-Z]\w*Warning: ")  # a library's: work goes on
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_FAILED_NODE = re.compile(
    r"[Nn]ode failure on ([\w.-]+)|([\w.-]+): tasks? [\d,\s-]+: Killed because of node failure"
    r"|failed on node ([\w.-]+)|Nodes? ([\w.-]+) not responding"
)
