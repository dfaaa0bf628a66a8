"""Benches of a workspace that are a table and a folder: `experiments/benches/<name>.yaml`, made by naming the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from smx import plugins
from smx.atomic_io import expanded, write_atomic
from smx.benches._columns import guess, words
from smx.benches._rows import READ, read_rows
from smx.benches.table import Bench, types_of
from smx.datasets.frames import Dataset
from smx.errors import UserError, unknown
from smx.options import Options
from smx.workspace import Workspace
from smx.yamlfile import read_yaml


class BenchFile(Options):
    """`experiments/benches/<name>.yaml`. Relative paths hang on the workspace."""

    questions: str = Field(description="the table: csv, tsv, json, jsonl, parquet, xlsx")
    videos: str = Field(description="the folder of its videos, or of folders of pictures")
    options: dict[str, Any] = Field(default_factory=dict, description="what its columns are; smx list benches table")


@dataclass(frozen=True)
class OwnBench:
    """A table and a folder."""

    name: str
    options: dict[str, Any]  # of the bench `table`
    questions: Path  # folder of the table
    videos: Path


def names(workspace: Workspace) -> list[str]:
    """Names of the benches that are tables, sorted."""
    return sorted(path.stem for path in (workspace.experiments / "benches").glob("*.yaml"))


def require_known(workspace: Workspace, name: str) -> None:
    """`UserError`, the closest names first, for a bench that is neither a plugin nor a table of the workspace."""
    if name not in plugins.names("benches"):
        raise unknown(
            "bench", name, [*plugins.names("benches"), *names(workspace)], "smx list benches; or --bench FILE"
        )


def is_own(workspace: Workspace, asked: str) -> bool:
    """Whether this is a table, or the name of one that is kept."""
    return asked in names(workspace) or _is_table(asked)


def read(workspace: Workspace, name: str) -> OwnBench:
    """One that is kept."""
    path = _file(workspace, name)
    content = BenchFile.parse(read_yaml(path), str(path))
    table, videos = (workspace.root / expanded(place) for place in (content.questions, content.videos))
    return OwnBench(name, {**content.options, "file": table.name}, table.parent.resolve(), videos.resolve())


def look(workspace: Workspace, asked: str, given: Mapping[str, Any], root: str | None) -> tuple[OwnBench, list[str]]:
    """(the bench that `asked` means, what to tell the user). `given`: options that somebody sets; `root`: its videos.

    A table's columns are guessed, unless it is kept already: then what is kept holds.
    """
    if asked in names(workspace) and not _is_table(asked):
        bench, kept = read(workspace, asked), True
    else:
        table = Path(expanded(asked)).resolve()
        name = table.stem
        kept = name in names(workspace)
        bench = read(workspace, name) if kept else OwnBench(name, {"file": table.name}, table.parent, table.parent)
        if kept and (other := bench.questions / bench.options["file"]) != table:
            raise UserError(
                f"bench {name!r} of this workspace is the table {other}, not {table}",
                f"give the table another name, or remove {_file(workspace, name)}",
            )
    table = bench.questions / bench.options["file"]
    if not table.is_file():
        raise UserError(f"bench {bench.name!r}: there is no table {table}", f"mend {_file(workspace, bench.name)}")
    videos = Path(root).expanduser().resolve() if root else bench.videos
    if not videos.is_dir():
        raise UserError(f"bench {bench.name!r}: there is no folder {videos}", "--root FOLDER: the one with its videos")
    rows = read_rows(table)
    columns = list(dict.fromkeys(key for _, row in rows for key in row))
    roles = guess(columns, {**bench.options, **given}, str(table))
    options = {**bench.options, **{role: column for role, column in roles.items() if column}}
    options["types"] = list(types_of(Bench.parse(options, f"bench {bench.name}"), rows))
    found = OwnBench(bench.name, options, bench.questions, videos)
    return found, [f"Bench {bench.name}: {words(roles, columns)}; {_counts(found)}."]


def keep(workspace: Workspace, bench: OwnBench) -> str:
    """Write it down where `--bench NAME` finds it; returns what to tell the user, "" where it was there already."""
    import yaml

    path = _file(workspace, bench.name)
    options = {key: value for key, value in bench.options.items() if key != "file"}
    content = {
        "questions": _from(workspace.root, bench.questions / bench.options["file"]),
        "videos": _from(workspace.root, bench.videos),
        "options": options,
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()
    before = path.read_bytes() if path.is_file() else None
    if before is not None and read_yaml(path) == content:
        return ""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text)
    return f"Kept as {path.relative_to(workspace.root)}: --bench {bench.name}."


def _counts(bench: OwnBench) -> str:
    questions = Bench.parse(bench.options, f"bench {bench.name}").questions(bench.questions)
    scenes = sorted({question.scene for question in questions})
    here = set(Dataset().scenes(bench.videos))
    missing = [scene for scene in scenes if scene not in here]
    shown = f": {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}" if missing else ""
    return f"{len(questions):,} questions, {len(scenes)} videos, {len(missing)} missing{shown}"


def _is_table(asked: str) -> bool:
    return Path(asked).suffix.lower() in READ and Path(expanded(asked)).is_file()


def _file(workspace: Workspace, name: str) -> Path:
    return workspace.experiments / "benches" / f"{name}.yaml"


def _from(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
