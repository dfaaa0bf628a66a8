"""The disks a workspace lies on: what is left of space, files and quota, and until when the folders are kept."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from smx.finding import Finding, ok, problem, warning
from smx.workspace import Workspace
from smx.workspace.shell import run

_GIB, _MIB = 1 << 30, 1 << 20
_PATIENCE = 10.0  # seconds a command of the site file may take
_NEAR = 0.9  # of a quota
_SOON = timedelta(days=14)
_DATE = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b")
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kKMGTP]?)\*?")
_COLUMNS = 6  # of `quota -w` and `lfs quota`: used, soft and hard limit, for space and for files


def examine(workspace: Workspace) -> list[Finding]:
    """One finding per disk, quota and date. Asks the commands the site file names."""
    disks = [found for place in places(workspace) for found in (_space(place), _files(place)) if found]
    return [*disks, *_quotas(workspace), *_expiry(workspace)]


def warnings(workspace: Workspace) -> str:
    """The same before work starts: what is not well, in one short line; empty where all is."""
    return "; ".join(found.text for found in examine(workspace) if found.level != "ok")


def places(workspace: Workspace) -> list[Path]:
    """The folders things are written to, one per disk (those still to be made, where they will be)."""
    found: dict[int, Path] = {}
    for folder in (workspace.root, workspace.runs, workspace.samples):
        place = next(p for p in (folder, *folder.parents) if p.exists())
        found.setdefault(place.stat().st_dev, place)
    return list(found.values())


def size(count: float) -> str:
    """Bytes for people: `1.5 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _space(place: Path) -> Finding:
    disk = os.statvfs(place)
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    text = f"{size(free)} of {size(total)} left at {place}"
    if free < 200 * _MIB:
        return problem("disk", f"only {text}", "smx gc shows what smx itself can remove")
    if free < 5 * _GIB and free < total / 10:
        return warning("disk", f"only {text}", "smx gc shows what smx itself can remove")
    return ok("disk", text)


def _files(place: Path) -> Finding | None:
    """How many more files fit; None where the file system does not count them."""
    disk = os.statvfs(place)
    if not disk.f_files:
        return None
    text = f"{disk.f_favail:,} more files fit at {place}"
    if disk.f_favail < 1000:
        return problem("inodes", f"only {text}", "remove what is not needed: a scene of a sample set is many files")
    if disk.f_favail < 100_000 and disk.f_favail < disk.f_files / 10:
        return warning("inodes", f"only {text}", "remove what is not needed: a scene of a sample set is many files")
    return ok("inodes", text)


def _quotas(workspace: Workspace) -> Iterator[Finding]:
    command = workspace.site.storage.quota if workspace.site else None
    if command is None:
        return
    said = _said(workspace, command)
    if isinstance(said, Finding):
        yield said
        return
    rows = list(_quota_rows(said))
    if not rows:
        hint = f"`storage.quota` in the site file is to print what `quota -w` or `lfs quota` do: {command}"
        yield warning("quota", "the quota command prints no quota", hint)
    for name, used, soft, hard, unit in rows:
        limit = hard or soft
        shown = [size(n * 1024) if unit == "space" else f"{n:,.0f} files" for n in (used, limit)]
        text = f"{shown[0]} of {shown[1]} used on {name}"
        if used >= limit:
            yield problem("quota", f"quota used up: {text}", "smx gc shows what smx itself can remove")
        elif used >= _NEAR * (soft or hard):
            yield warning("quota", f"quota nearly used up: {text}", "smx gc shows what smx itself can remove")
        else:
            yield ok("quota", text)


def _quota_rows(text: str) -> Iterator[tuple[str, float, float, float, str]]:
    """(file system, used, soft limit, hard limit, "space" in KiB or "files") of every limit there is.

    A grace period may stand between the columns (`-`, `6days`), and a long name on a line of its own.
    """
    name = ""
    for line in text.splitlines():
        words = line.split()
        if words and ("/" in words[0] or ":" in words[0]) and not words[0].endswith(":"):
            name, words = words[0], words[1:]
        counts = [match for word in words if (match := _COUNT.fullmatch(word))]
        if not name or len(counts) != _COLUMNS:
            continue
        for unit, columns in (("space", counts[:3]), ("files", counts[3:])):
            used, soft, hard = (_count(match, unit) for match in columns)
            if soft or hard:
                yield name, used, soft, hard, unit
        name = ""


def _count(match: re.Match[str], unit: str) -> float:
    """Space in KiB, `1.2T` or `1258291200`; files as they are, or `12k`."""
    power = "kMGTP".find(match[2].replace("K", "k")) if match[2] else -1
    step = 1024.0 ** max(0, power) if unit == "space" else 1000.0 ** (power + 1)
    return float(match[1]) * step


def _expiry(workspace: Workspace) -> Iterator[Finding]:
    command = workspace.site.storage.expires if workspace.site else None
    asked = command is not None
    if command is None and shutil.which("ws_list"):
        command = "ws_list"
    if command is None:
        return
    said = _said(workspace, command)
    if isinstance(said, Finding):
        if asked:
            yield said
        return
    known = False
    for place in dict.fromkeys((workspace.root, workspace.runs, workspace.samples)):
        left = remaining(said, place)
        if left is None:
            continue
        known = True
        text = f"{place} is kept for {_days(left)}"
        hint = "have it extended (ws_extend), or move the workspace: storage in experiments/site.yaml"
        if left <= timedelta(0):
            yield problem("expiry", f"{place} has expired: it may be removed at any time", hint)
        elif left < _SOON:
            yield warning("expiry", f"only {_days(left)} until {place} expires", hint)
        else:
            yield ok("expiry", text)
    if asked and not known:
        yield warning("expiry", f"the output of {command!r} names no folder of this workspace, and no single date")


def remaining(text: str, place: Path, now: datetime | None = None) -> timedelta | None:
    """How long `place` is kept, after the output of ws_list, or after lines with a date (YYYY-MM-DD).

    A date counts for the folder its line names; where there is one date in all, for any. None: nothing is said.
    """
    now = now or datetime.now()
    holders = {str(folder) for folder in (place, *place.parents) if folder != folder.parent}
    inside = False
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "workspace directory":
            inside = value.strip().rstrip("/") in holders
        elif key.strip() == "remaining time" and inside:
            parts = {unit: int(number) for number, unit in re.findall(r"(-?\d+)\s+(day|hour)s?", value)}
            return timedelta(days=parts.get("day", 0), hours=parts.get("hour", 0))
    dated = [(line, match) for line in text.splitlines() for match in _DATE.finditer(line)]
    named = [match for line, match in dated if any(word.rstrip("/,;:") in holders for word in line.split())]
    found = named or ([dated[0][1]] if len(dated) == 1 and not _names_a_folder(dated[0][0]) else [])
    if not found:
        return None
    return datetime(*map(int, found[0].groups())) - now  # type: ignore[arg-type]  # three numbers


def _names_a_folder(line: str) -> bool:
    return any(word.startswith("/") for word in line.split())


def _days(left: timedelta) -> str:
    days, hours = left.days, left.seconds // 3600
    unit, count = ("day", days) if days else ("hour", hours)
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _said(workspace: Workspace, command: str) -> str | Finding:
    """What a command of the site file prints; a warning where it fails."""
    with tempfile.TemporaryFile() as output:
        variables = {"SMX_WORKSPACE": str(workspace.root)}
        code = run(command, variables=variables, cwd=workspace.root, output=output, seconds=_PATIENCE)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if code == 0:
        return text
    how = f"did not end within {_PATIENCE:.0f} s" if code is None else f"ended with exit code {code}"
    last: Sequence[str] = text.strip().splitlines()[-1:]
    return warning("site file", f"{command!r} {how}{': ' if last else ''}{''.join(last)}", "mend `storage` there")
