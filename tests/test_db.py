"""smx db: the registry can always be checked, read as text, and made again without losing a word."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from smx.cli import run as smx
from smx.errors import UserError
from smx.registry import export
from smx.registry.rows import AttemptRow, RunRow, SubmissionRow
from smx.registry.store import Registry

A, B = "a" * 64, "b" * 64
HISTORY = "schema: 1\njobs:\n  - {date: 2026-02-13, kind: gen, sampler: sa, ids: [7], mark: done}\n"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "lab"
    (folder / "experiments" / "history").mkdir(parents=True)
    (folder / "runs").mkdir()
    monkeypatch.setenv("SMX_WORKSPACE", str(folder))
    return folder


@pytest.fixture
def registry(workspace: Path) -> Iterator[Registry]:
    with Registry.open(workspace / "registry.db") as opened:
        add_run(opened, A)
        yield opened


def add_run(registry: Registry, fingerprint: str) -> None:
    registry.add_run(RunRow(fingerprint, "eval", "x", f"eval/x-{fingerprint[:8]}", "{}"))


def add_attempt(registry: Registry) -> None:
    registry.put_submission(SubmissionRow("s", "local", "smx-s"))
    registry.put_attempt(AttemptRow(A, 1, "local", "done", 5, "s"))


# check


def test_check_lists_what_does_not_agree_and_exits_1(
    workspace: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smx(["db", "check"]) == 0
    assert "is fine" in capsys.readouterr().err
    add_attempt(registry)
    stray = workspace / "runs" / "gen" / "y-00000000"
    stray.mkdir(parents=True)
    (stray / "spec.json").write_text("{}")
    with sqlite3.connect(registry.path) as db:  # without foreign keys, as another tool would
        db.execute("insert into run_inputs values ('gone', 'data', 'x')")
    db.close()
    assert smx(["db", "check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "a row of run_inputs refers to a row of runs that is not there",
        "run folder not in the registry: gen/y-00000000",
        "run without its folder: eval/x-aaaaaaaa",
    ]
    assert smx(["db", "check", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["runs"] == 1


def test_check_finds_a_damaged_page(workspace: Path, registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    for k in range(200):
        registry.add_note(A, f"{k} " + "x" * 300)
    registry.close()
    data = bytearray(registry.path.read_bytes())
    data[-8192:-4096] = b"\xff" * 4096
    registry.path.write_bytes(data)
    assert smx(["db", "check"]) in (1, 2)
    said = capsys.readouterr()
    assert "damaged" in said.out + said.err
    assert "smx db rebuild" in said.err


def test_check_where_there_is_no_registry_is_exit_2(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smx(["db", "check"]) == 2
    assert "no registry" in capsys.readouterr().err
    assert not (workspace / "registry.db").exists()


# export


def test_export_as_sql_makes_the_same_registry_again(
    workspace: Path, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_attempt(registry)
    registry.add_note(A, "it's; a\nnote ∂")
    capsys.readouterr()
    assert smx(["db", "export", "-"]) == 0
    copy = sqlite3.connect(tmp_path / "copy.db")
    copy.executescript(capsys.readouterr().out)
    copy.close()
    assert export.content(tmp_path / "copy.db") == export.content(registry.path)
    with Registry.open(tmp_path / "copy.db") as reader:
        assert reader.attempts() == registry.attempts()


def test_export_as_a_folder_has_a_line_per_row(
    workspace: Path, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.add_note(A, "two\nlines", author="me")
    assert smx(["db", "export", str(tmp_path / "text")]) == 0
    (note,) = (tmp_path / "text" / "notes.jsonl").read_text().splitlines()
    assert json.loads(note)["text"] == "two\nlines"
    assert {p.stem for p in (tmp_path / "text").glob("*.jsonl")} >= {"runs", "attempts", "scores", "imports"}
    assert "create table runs" in (tmp_path / "text" / "schema.sql").read_text().lower()
    (tmp_path / "file").write_text("")
    assert smx(["db", "export", str(tmp_path / "file" / "x")]) == 2


def test_git_diff_can_show_the_registry_as_text(registry: Registry) -> None:
    registry.add_note(A, "seen in the diff")
    before = registry.path.read_bytes()
    command = [sys.executable, "-W", "error", "-m", "smx.registry.export", str(registry.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    assert "seen in the diff" in done.stdout
    assert registry.path.read_bytes() == before


# what people said


def test_notes_tags_and_marks_come_back_from_the_text_beside_the_registry(
    registry: Registry, workspace: Path, tmp_path: Path
) -> None:
    experiments = workspace / "experiments"
    add_attempt(registry)
    export.append_note(experiments, registry.add_note(A, "why: ∂\nsecond line", author="me"))
    export.append_tags(experiments, A, ["paper", "old"])
    export.append_tags(experiments, A, ["old"], remove=True)
    export.append_mark(experiments, A, 1, "excluded")
    export.append_mark(experiments, B, 1, "doubtful")  # its folder was deleted since
    with Registry.open(tmp_path / "again.db") as again:
        add_run(again, A)
        add_attempt(again)
        marked = export.restore(again, experiments)
        assert [(a.attempt, a.mark) for a in marked] == [(1, "excluded")]
        assert (again.notes(), again.tags(A)) == (registry.notes(), ["paper"])


def test_a_note_torn_by_a_kill_does_not_hide_the_others(registry: Registry, workspace: Path) -> None:
    experiments = workspace / "experiments"
    export.append_tags(experiments, A, ["first"])
    with (experiments / "notes.jsonl").open("a") as file:
        file.write('{"created": "2026-')
    export.append_tags(experiments, A, ["second"])
    with (experiments / "notes.jsonl").open("a") as file:
        file.write('{"created": "2026-')
    export.restore(registry, experiments)
    assert registry.tags(A) == ["first", "second"]


def test_a_line_of_notes_broken_by_hand_is_named(registry: Registry, workspace: Path) -> None:
    export.append_tags(workspace / "experiments", A, ["first"])
    with (workspace / "experiments" / "notes.jsonl").open("a") as file:
        file.write("{'created': 'by hand'}\n")
    with pytest.raises(UserError, match="line 2"):
        export.restore(registry, workspace / "experiments")
    assert registry.tags(A) == []


# rebuild


def test_rebuild_brings_back_history_and_notes_and_keeps_the_old_file(
    workspace: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "experiments" / "history" / "past.yaml").write_text(HISTORY)
    export.append_tags(workspace / "experiments", A, ["paper"])
    registry.close()
    old = registry.path.read_bytes()
    assert smx(["db", "rebuild"]) == 0
    assert (workspace / "registry.db.bak").read_bytes() == old
    assert "1 imported entry" in capsys.readouterr().err
    with Registry.open(registry.path) as rebuilt:
        assert rebuilt.runs() == [], "its run folder is gone"
        assert rebuilt.tags() == ["paper"]
        assert list(rebuilt.query("select jobs, mark from ledger")) == [("7", "done")]
    assert sorted(p.name for p in workspace.iterdir() if p.is_file()) == ["registry.db", "registry.db.bak"]


def test_a_rebuild_takes_over_what_only_the_old_registry_knows(
    workspace: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: the lab's past, where its file was deleted; after a second rebuild it is in no .bak either."""
    file = workspace / "experiments" / "history" / "past.yaml"
    file.write_text(HISTORY)
    registry.close()
    assert smx(["db", "rebuild"]) == 0
    file.unlink()
    for _ in range(2):
        capsys.readouterr()
        assert smx(["db", "rebuild"]) == 0
        assert "taken over from the old one: 1 imported entry of past.yaml, gone from" in capsys.readouterr().err
    with Registry.open(workspace / "registry.db") as rebuilt:
        assert list(rebuilt.query("select jobs, mark from ledger")) == [("7", "done")]


def test_a_damaged_registry_is_made_again_and_its_stale_journal_does_not_touch_the_new_one(workspace: Path) -> None:
    path = workspace / "registry.db"
    path.write_bytes(b"not a database at all" * 500)
    (workspace / "registry.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\0" * 1000)
    assert smx(["db", "rebuild"]) == 0
    assert smx(["db", "check"]) == 0
    assert (workspace / "registry.db.bak").read_bytes().startswith(b"not a database")
    assert not (workspace / "registry.db-journal").exists()


def test_a_rebuild_that_fails_changes_nothing(workspace: Path, registry: Registry) -> None:
    (workspace / "experiments" / "history" / "past.yaml").write_text("jobs: [")
    registry.close()
    before = registry.path.read_bytes()
    assert smx(["db", "rebuild"]) == 2
    assert registry.path.read_bytes() == before
    assert [p.name for p in workspace.iterdir() if p.is_file()] == ["registry.db"]


def test_a_registry_of_a_newer_smx_is_not_rebuilt_into_an_older_one(workspace: Path, registry: Registry) -> None:
    registry.execute("insert into _sqlite_migrations (migration_set, name) values ('smx', '9999_future')")
    registry.close()
    before = registry.path.read_bytes()
    assert smx(["db", "rebuild"]) == 2
    assert registry.path.read_bytes() == before


def test_who_writes_during_a_rebuild_waits_and_then_writes_to_the_new_file(workspace: Path, registry: Registry) -> None:
    started, written = threading.Event(), threading.Event()

    def write() -> None:
        with Registry.open(registry.path) as other:
            started.set()
            add_run(other, B)
            written.set()

    writer = threading.Thread(target=write)
    with export.rebuilding(registry.path) as fresh:
        writer.start()
        assert started.wait(20)
        add_run(fresh, A)
        assert not written.is_set()
    writer.join(20)
    assert written.is_set()
    with Registry.open(registry.path) as reader:
        assert {r.fingerprint for r in reader.runs()} == {A, B}


# a person's own SQL


def test_a_query_comes_as_a_table_csv_or_json(
    workspace: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "select kind, frames, state from runs"
    assert smx(["db", "query", sql, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"kind": "eval", "frames": None, "state": "new"}]
    assert smx(["db", "query", sql, "--csv"]) == 0
    assert capsys.readouterr().out == "kind,frames,state\neval,,new\n"
    assert smx(["db", "query", sql]) == 0
    shown = capsys.readouterr()
    assert shown.out.split() == ["kind", "frames", "state", "─" * len(shown.out.splitlines()[2].strip()), "eval", "new"]
    assert shown.err == "1 row\n"
    assert smx(["db", "query", "select * from score_table limit 3"]) == 0


@pytest.mark.parametrize(
    "sql",
    [
        "insert into notes values ('f', 'now', 'me', 'text')",
        "update runs set state = 'done' returning fingerprint",
        "with gone as (select 1) delete from runs",
        "drop table runs",
        "begin",
        "pragma user_version = 3",
        "attach 'other.db' as other",
        "vacuum into 'copy.db'",
        "create temp table t (a)",
        "select 1; delete from runs",
    ],
)
def test_a_query_that_would_write_is_refused(
    workspace: Path, registry: Registry, capsys: pytest.CaptureFixture[str], sql: str
) -> None:
    """Lost otherwise: a lab's registry, by a slip of somebody who only wanted to look."""
    before, files = registry.path.read_bytes(), sorted(workspace.rglob("*"))
    assert smx(["db", "query", sql]) == 2
    said = capsys.readouterr().err
    assert "only reads" in said or "one statement" in said
    assert registry.path.read_bytes() == before
    assert sorted(workspace.rglob("*")) == files


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select * from score_tabel", ["no such table: score_tabel", "did you mean score_table?", "ledger", "runs"]),
        ("select varaint from runs", ["no such column: varaint", "did you mean variant?"]),
        ("selct 1", ["syntax error", "tables and views", "score_table"]),
        ("", ["select"]),
    ],
)
def test_wrong_sql_is_said_in_the_words_of_sqlite(
    workspace: Path, registry: Registry, capsys: pytest.CaptureFixture[str], sql: str, words: list[str]
) -> None:
    assert smx(["db", "query", sql]) == 2
    said = capsys.readouterr().err
    assert [word for word in words if word not in said] == []
    assert smx(["db", "query", "select 1", "--csv", "--json"]) == 2
