"""The registry: nothing reserved twice, nothing half-written, nothing unreadable after a fault."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from smx.errors import UserError
from smx.registry import connection
from smx.registry.migrations import MIGRATIONS
from smx.registry.rows import AttemptRow, CellScore, RunRow, RunScore, ScoreRow, ShardRow, SubmissionRow
from smx.registry.scores import score_rows
from smx.registry.store import Registry
from smx.spec import canonical

A, B, C = (letter * 64 for letter in "abc")


def run_row(fingerprint: str = A, **columns: object) -> RunRow:
    name = str(columns.pop("name", "prope-16f"))
    known = {"kind": "eval", "spec": "{}", "variant": "prope", "frames": 16, "bench": "rooms", **columns}
    folder = f"{known['kind']}/{name}-{fingerprint[:8]}"
    return RunRow(fingerprint=fingerprint, name=name, folder=folder, **known)  # type: ignore[arg-type]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(tmp_path / "registry.db") as opened:
        yield opened


def reserve(registry: Registry, *fingerprints: str, submission: str = "s1") -> dict[str, int]:
    return registry.reserve([(f, 10) for f in fingerprints], submission=submission, executor="local", provenance={})


def schema(path: Path) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("select type, name, sql from sqlite_master order by type, name").fetchall()


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A real process running `code`, which finds `sys`, `Path` and `Registry` imported."""
    head = "import sys\nfrom pathlib import Path\nfrom smx.registry.store import Registry\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
    )


def says(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@contextlib.contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Rights do not bind root, who runs the tests in a container."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


# schema


KEPT_BY_SMX = 5  # migrations that smx noted in a table of its own; sqlite-utils notes the later ones
OLD_SPEC = canonical({"kind": "eval", "seed": 3, "blind": True, "bench_options": {"where": {"dataset": ["scannet"]}}})


def old_registry(path: Path, applied: int) -> None:
    """One that an smx of `applied` migrations made, with a run, its score and a note."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        for name, script in MIGRATIONS[:applied]:
            db.executescript(script)
            db.execute("insert into migrations values (?, 'then')", (name,))
        db.execute("insert into notes values ('f', 'then', 'me', 'kept')")
        db.execute(
            "insert into runs (fingerprint, kind, name, folder, seed, labels, created, updated, spec) values"
            """ (?, 'eval', 'n', 'eval/n', 3, '{"untrained":true}', 'then', 'then', ?)""",
            [A, OLD_SPEC],
        )
        db.execute("insert into scores (fingerprint, bench, scorer, metric, n) values (?, 'rooms', 'o@1', 'm', 3)", [A])
        if applied >= 5:
            db.execute("update scores set floor = 0.3, gain_low = -0.1, usual = 'B'")
        db.commit()


@pytest.mark.parametrize("applied", range(1, KEPT_BY_SMX + 1))
def test_registry_of_every_earlier_smx_opens_with_its_rows(tmp_path: Path, applied: int) -> None:
    old, fresh = tmp_path / "old.db", tmp_path / "fresh.db"
    Registry.open(fresh).close()
    old_registry(old, applied)
    with Registry.open(old) as registry:
        assert [note.text for note in registry.notes()] == ["kept"]
        run = registry.run(A)
        assert run is not None
        assert (run.blind, run.input, run.imported, run.untrained) == (True, "video", False, True)
        assert run.where_filter == '{"dataset":["scannet"]}'
        (score,) = registry.scores()
        majority = (score.majority_score, score.majority_gain_low, score.majority_answer)
        assert majority == ((0.3, -0.1, "B") if applied >= 5 else (None, None, None))
        assert registry.query("select name from _sqlite_migrations order by id") == [(name,) for name, _ in MIGRATIONS]
        registry.add_run(run_row(B, spec=canonical({**json.loads(OLD_SPEC), "seed": 4})))
        assert len({run.seedless for run in registry.runs()}) == 1, "an old run and its twin of another seed"
    assert schema(old) == schema(fresh)


def test_a_migration_that_fails_half_way_leaves_the_registry_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "registry.db"
    old_registry(path, 3)
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        broken = [*MIGRATIONS, ("0099_broken", "create table new_table (a);\ncreate table runs (a);\n")]
        patched.setattr("smx.registry.schema.MIGRATIONS", broken)
        patched.setattr("smx.registry._migrate.MIGRATIONS", broken)
        with pytest.raises(sqlite3.OperationalError, match="runs already exists"):
            Registry.open(path)
    assert path.read_bytes() == before
    Registry.open(path).close()


def test_a_kill_in_the_middle_of_a_migration_leaves_a_registry_that_opens(tmp_path: Path) -> None:
    """Lost otherwise: a registry with half a schema, which no smx reads."""
    path = tmp_path / "registry.db"
    old_registry(path, 5)
    before = schema(path)
    code = """
import os, signal
from smx.registry import schema
from smx.registry.spec_columns import spec_columns
schema.MIGRATIONS.append(("0099_killed", "create table half (a);\\nselect spec_column('now', '');\\n"))
schema.spec_columns = lambda spec: os.kill(os.getpid(), signal.SIGKILL) if spec == "now" else spec_columns(spec)

Registry.open(Path(sys.argv[1]))
"""
    process = python(code, path)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert schema(path) == before
    with Registry.open(path) as registry:
        assert registry.run(A) is not None


def test_a_plugin_option_of_that_name_does_not_make_a_run_blind(registry: Registry) -> None:
    """Lost otherwise: runs of somebody's sampler or bench in the table under a name that is not theirs."""
    options = {"blind": True, "input": "frames", "frame_order": "reversed", "imported": True, "seed": 5}
    spec = {
        "kind": "eval",
        "seed": 1,
        "sampler_options": options,
        "bench_options": options,
        "variant": {"base": "mine"},
    }
    registry.add_run(run_row(A, spec=canonical(spec)))
    registry.add_run(run_row(B, spec=canonical({**spec, "seed": 2})))
    registry.add_run(run_row(C, spec=canonical({**spec, "blind": True, "bench_options": {**options, "seed": 1}})))
    plain, twin, other = (registry.find(fingerprint) for fingerprint in (A, B, C))
    assert (plain.blind, plain.input, plain.frame_order, plain.imported) == (False, "video", "given", False)
    assert (plain.base, plain.subset, plain.where_filter) == ("mine", None, None)
    assert other.blind
    assert plain.seedless == twin.seedless != other.seedless


@pytest.mark.parametrize("older", [False, True])
def test_two_processes_may_make_the_registry_at_once_or_migrate_it(tmp_path: Path, older: bool) -> None:
    """Lost otherwise: a lab's registry on the day it updates smx, if two people type a command at once."""
    if older:
        old_registry(tmp_path / "registry.db", KEPT_BY_SMX)
    code = """
import smx.registry._migrate
print('ready', flush=True); input(); Registry.open(Path(sys.argv[1])).close(); print('made')
"""
    makers = [python(code, tmp_path / "registry.db") for _ in range(3)]
    for maker in makers:
        says(maker, "ready")
    for maker in makers:
        tell(maker)
    assert [maker.communicate()[0] for maker in makers] == ["made\n"] * 3
    with Registry.open(tmp_path / "registry.db") as registry:
        assert registry.query("select count(*) from _sqlite_migrations") == [(len(MIGRATIONS),)]


# files that cannot be used: a message with the way out, and the file untouched


def test_registry_of_a_newer_smx_is_refused(registry: Registry) -> None:
    registry.execute("insert into _sqlite_migrations (migration_set, name) values ('smx', '9999_future')")
    registry.close()
    with pytest.raises(UserError, match="newer smx") as caught:
        Registry.open(registry.path)
    assert "update smx" in caught.value.hint


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 40)
    before = path.read_bytes()
    with pytest.raises(UserError, match="no SQLite file") as caught:
        Registry.open(path)
    assert "smx db rebuild" in caught.value.hint
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("create table photos (a)")
    with pytest.raises(UserError, match="photos"):
        Registry.open(path)
    assert [name for _, name, _ in schema(path)] == ["photos"]


def test_missing_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        Registry.open(tmp_path / "nowhere" / "registry.db")
    with pytest.raises(UserError, match="no registry at"):
        Registry.open(tmp_path / "registry.db", create=False)
    with pytest.raises(UserError, match="is a folder"):
        Registry.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_means_something_in_a_uri_works(tmp_path: Path) -> None:
    folder = tmp_path / "a?mode=ro&b#c %41"
    folder.mkdir()
    Registry.open(folder / "registry.db").close()
    assert (folder / "registry.db").is_file()


def test_reading_works_where_nothing_may_be_written() -> None:
    with as_ordinary_user(), tempfile.TemporaryDirectory() as made:  # pytest's own folders are private
        folder = Path(made)
        path = folder / "registry.db"
        with Registry.open(path) as registry:
            registry.add_run(run_row())
        path.chmod(0o444)
        folder.chmod(0o555)
        with Registry.open(path) as reader:
            assert reader.run(A) is not None
            with pytest.raises(UserError, match="cannot write"):
                reader.add_run(run_row(B))
            assert reader.run(B) is None
        with pytest.raises(UserError, match=r"cannot (write|open)"):
            Registry.open(folder / "other.db")
        folder.chmod(0o755)


def test_looking_changes_no_byte_so_git_stays_clean(registry: Registry) -> None:
    registry.add_run(run_row())
    registry.close()
    before, stamp = registry.path.read_bytes(), registry.path.stat().st_mtime_ns
    with Registry.open(registry.path) as reader:
        reader.runs()
        reader.scores(origin=None)
        reader.query("select * from ledger")
    assert (registry.path.read_bytes(), registry.path.stat().st_mtime_ns) == (before, stamp)
    assert [p.name for p in registry.path.parent.iterdir()] == ["registry.db"]


def test_a_registry_turned_to_wal_by_another_tool_is_turned_back(registry: Registry) -> None:
    registry.close()
    with contextlib.closing(sqlite3.connect(registry.path)) as db:
        db.execute("pragma journal_mode = wal")
    with Registry.open(registry.path) as reader:
        assert reader.query("pragma journal_mode") == [("delete",)]


def test_opening_and_reading_imports_nothing_heavy(registry: Registry) -> None:
    code = """
with Registry.open(Path(sys.argv[1])) as registry:
    from smx.registry.ledger import rows
    rows(registry)
    registry.scores()
heavy = {"sqlite_utils", "pandas", "torch", "transformers", "submitit", "yaml", "numpy", "pydantic"}
print(sorted(heavy & sys.modules.keys()))
"""
    assert python(code, registry.path).communicate()[0] == "[]\n"


# transactions


def test_a_transaction_is_whole_or_nothing_also_when_nested(registry: Registry) -> None:
    registry.add_run(run_row())
    with pytest.raises(KeyError), registry.transaction():  # noqa: PT012 — the point is what the block undoes
        registry.add_run(run_row(B))
        registry.add_tag(A, "one", "two")
        registry.update_run(C, state="done")  # there is no such run
    assert registry.run(B) is None
    assert registry.tags() == []
    registry.add_tag(A, "after")
    assert registry.tags(A) == ["after"]


def test_sigkill_in_the_middle_of_a_transaction_leaves_what_was_there(registry: Registry) -> None:
    registry.add_run(run_row())
    registry.close()
    before = registry.path.read_bytes()
    code = """
registry = Registry.open(Path(sys.argv[1]))
with registry.transaction():
    registry.execute("pragma cache_size = 2")  # pages reach the file before the commit
    registry.update_run("a" * 64, state="half")
    for k in range(500):
        registry.add_note("a" * 64, f"{k} " + "x" * 4000)
    print("ready", flush=True)
    input()
"""
    writer = python(code, registry.path)
    says(writer, "ready")
    assert registry.path.read_bytes() != before, "the kill would prove nothing: no page had been written"
    writer.kill()
    writer.communicate()
    with Registry.open(registry.path) as reader:
        assert reader.query("pragma integrity_check") == [("ok",)]
        kept = reader.run(A)
        assert kept is not None
        assert kept.state == "new"
        assert reader.notes() == []
    assert registry.path.read_bytes() == before


def test_readers_see_the_last_commit_while_another_process_writes(registry: Registry) -> None:
    registry.add_run(run_row())
    code = """
with Registry.open(Path(sys.argv[1])) as registry, registry.transaction():
    registry.update_run("a" * 64, state="running")
    print("ready", flush=True)
    input()
"""
    writer = python(code, registry.path)
    says(writer, "ready")
    during = registry.run(A)
    tell(writer)
    writer.communicate()
    after = registry.run(A)
    assert during is not None
    assert after is not None
    assert (during.state, after.state) == ("new", "running")


def test_a_registry_that_stays_busy_is_said_in_words(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.0)
    with (
        registry.transaction(),
        Registry.open(registry.path) as other,
        pytest.raises(UserError, match="another program is writing"),
    ):
        other.add_run(run_row())


def test_a_full_disk_is_said_in_words_and_changes_nothing(registry: Registry) -> None:
    registry.add_run(run_row())
    ((pages,),) = registry.query("pragma page_count")
    registry.query(f"pragma max_page_count = {pages}")
    with pytest.raises(UserError, match="full"):
        registry.add_note(A, "x" * 100_000)
    assert registry.notes() == []


def test_after_the_file_is_replaced_writes_go_to_the_new_one(registry: Registry, tmp_path: Path) -> None:
    """`smx db rebuild` renames a new file over the old; a command that was open must not write to the old."""
    with Registry.open(tmp_path / "fresh.db") as fresh:
        fresh.add_run(run_row(B))
    (tmp_path / "fresh.db").replace(registry.path)
    registry.add_run(run_row(A))
    with Registry.open(registry.path) as reader:
        assert {r.fingerprint for r in reader.runs()} == {A, B}


# reservations


def test_two_processes_that_want_the_same_runs_get_each_run_once(registry: Registry) -> None:
    wanted = [f"{k:08x}" * 8 for k in range(200)]
    with registry.transaction():
        for fingerprint in wanted:
            registry.add_run(run_row(fingerprint))
    code = """
registry = Registry.open(Path(sys.argv[1]))
wanted = [(f"{k:08x}" * 8, 1) for k in range(200)]
print("ready", flush=True)
input()
for start in range(0, 200, 20):
    some, name = wanted[start:start + 20], f"{sys.argv[2]}-{start}"
    got = registry.reserve(some, submission=name, executor="local", provenance={})
    for fingerprint, attempt in got.items():
        print(fingerprint, attempt)
"""
    rivals = [python(code, registry.path, name) for name in ("one", "two")]
    for rival in rivals:
        says(rival, "ready")
    for rival in rivals:
        tell(rival)
    got = [line.split() for rival in rivals for line in rival.communicate()[0].splitlines()]
    assert sorted(got) == [[fingerprint, "1"] for fingerprint in wanted]
    assert [(a.fingerprint, a.attempt) for a in registry.attempts()] == [(fingerprint, 1) for fingerprint in wanted]


def test_a_run_can_be_tried_again_only_after_its_attempt_ended(registry: Registry) -> None:
    registry.add_run(run_row())
    registry.add_run(run_row(B))
    assert reserve(registry, A) == {A: 1}
    assert reserve(registry, A, submission="s2") == {}
    assert [s.id for s in registry.submissions()] == ["s1"], "a submission of nothing is not written"
    assert reserve(registry, A, B, submission="s3") == {B: 1}
    registry.update_attempt(A, 1, state="failed")
    assert reserve(registry, A, submission="s4") == {A: 2}
    assert [(a.attempt, a.live) for a in registry.attempts(A)] == [(1, False), (2, True)]
    assert [a.attempt for a in registry.attempts(A, live=True)] == [2]


def test_a_released_reservation_leaves_nothing_behind(registry: Registry) -> None:
    registry.add_run(run_row())
    reserve(registry, A)
    assert registry.release(A, 1)
    assert not registry.release(A, 1)
    assert (registry.attempts(), registry.submissions()) == ([], [])
    row = registry.run(A)
    assert row is not None
    assert row.state == "new"


def test_an_attempt_that_was_started_cannot_be_released(registry: Registry) -> None:
    registry.add_run(run_row())
    reserve(registry, A)
    registry.update_attempt(A, 1, handle={"pid": 7})
    assert not registry.release(A, 1)
    assert len(registry.attempts(A)) == 1


def test_reserving_a_run_nobody_added_writes_nothing(registry: Registry) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        reserve(registry, A)
    assert registry.submissions() == []


# rows


def test_adding_a_run_again_keeps_it_and_merges_labels(registry: Registry) -> None:
    assert registry.add_run(run_row(labels={"experiment": "x", "stand_in_for": {"bench": "vsibench"}, "of": ["x"]}))
    registry.update_run(A, state="done", done=3)
    again = run_row(labels={"experiment": "y", "untrained": True, "stand_in_for": {"model": "prope"}, "of": ["x", "y"]})
    assert not registry.add_run(again)
    row = registry.run(A)
    assert row is not None
    assert (row.state, row.done) == ("done", 3)
    assert row.labels == {
        "experiment": "y",
        "untrained": True,
        "stand_in_for": {"bench": "vsibench", "model": "prope"},
        "of": ["x", "y"],
    }


def test_an_attempt_put_again_keeps_its_shards(registry: Registry) -> None:
    registry.add_run(run_row())
    registry.put_submission(SubmissionRow("s", "local", "smx-s"))
    attempt = AttemptRow(A, 1, "local", "running", 5, "s", handle={"pid": 1}, failure={"kind": "oom-gpu", "line": "x"})
    registry.put_attempt(attempt)
    registry.put_shard(ShardRow(A, 1, 0, "running"))
    registry.put_submission(SubmissionRow("s", "local", "smx-s", job="9", answer="Submitted batch job 9"))
    registry.put_attempt(attempt)
    registry.put_shard(ShardRow(A, 1, 0, "done", done=5))
    assert registry.attempts(A) == [attempt]
    assert [s.state for s in registry.shards(A, 1)] == ["done"]
    assert [(s.job, s.answer) for s in registry.submissions("s")] == [("9", "Submitted batch job 9")]


def test_changes_to_what_is_not_there_are_not_lost_silently(registry: Registry) -> None:
    with pytest.raises(KeyError):
        registry.update_run(A, state="done")
    with pytest.raises(KeyError):
        registry.update_attempt(A, 1, state="done")
    with pytest.raises(AssertionError, match="sate"):
        registry.update_run(A, sate="done")


def test_inputs_are_found_from_both_ends(registry: Registry) -> None:
    registry.add_run(run_row(A))
    registry.add_run(run_row(B))
    registry.add_input(A, "sample_set", C)
    registry.add_input(A, "sample_set", C)
    registry.add_input(B, "sample_set", C)
    assert [(i.role, i.input) for i in registry.inputs(A)] == [("sample_set", C)]
    assert {i.fingerprint for i in registry.inputs(input=C)} == {A, B}


# finding and filtering


def test_a_run_is_found_by_whatever_a_person_has_at_hand(registry: Registry) -> None:
    registry.add_run(run_row(A, name="prope-16f"))
    registry.add_run(run_row(B, name="prope-8f"))
    reserve(registry, A)
    registry.update_attempt(A, 1, job="2834355_3")
    for text in (A, "AAAA", "aaaaaaaa", "prope-16f", "prope-16f-aaaaaaaa", "eval/prope-16f-aaaaaaaa", "2834355_3",
                 "2834355", "runs/eval/prope-16f-aaaaaaaa/"):  # fmt: skip
        assert registry.find(text).fingerprint == A, text


def test_an_ambiguous_name_lists_the_runs_it_fits(registry: Registry) -> None:
    registry.add_run(run_row("a" * 63 + "1", name="one"))
    registry.add_run(run_row("a" * 62 + "22", name="two"))
    with pytest.raises(UserError, match="fits 2 runs") as caught:
        registry.find("aaaa")
    assert "one-aaaaaaaa" in caught.value.hint
    assert "two-aaaaaaaa" in caught.value.hint


def test_an_unknown_run_names_the_closest(registry: Registry) -> None:
    with pytest.raises(UserError, match="no runs here yet"):
        registry.find("x")
    registry.add_run(run_row(A, name="prope-16f"))
    for text in ("propе-16", "", "%", "g" * 64, "'; drop table runs; --"):
        with pytest.raises(UserError, match="unknown run"):
            registry.find(text)
    with pytest.raises(UserError) as caught:
        registry.find("prop-16f-aaaaaaa")
    assert "prope-16f-aaaaaaaa" in caught.value.hint


def test_filters_take_one_value_or_several(registry: Registry) -> None:
    registry.add_run(run_row(A, sampler="sa", created="2026-01-01T00:00:00.000Z"))
    registry.add_run(run_row(B, sampler="uniform", frames=8, state="done", created="2026-01-02T00:00:00.000Z"))
    registry.add_run(run_row(C, kind="gen", sampler="sa", variant=None, created="2026-01-03T00:00:00.000Z"))
    registry.add_tag(B, "paper")

    def found(**wanted: object) -> str:
        return "".join(r.fingerprint[0] for r in registry.runs(**wanted))  # type: ignore[arg-type]

    assert found() == "cba"
    assert found(limit=2) == "cb"
    assert found(sampler="sa") == "ca"
    assert found(sampler=["sa", "uniform"], kind="eval") == "ba"
    assert found(frames=8) == "b"
    assert found(frames=[8, 16], state="done") == "b"
    assert found(tag="paper") == "b"
    assert found(variant=[]) == ""
    assert found(since="2026-01-02") == "cb"
    assert registry.counts() == {("eval", "new"): 1, ("eval", "done"): 1, ("gen", "new"): 1}
    reserve(registry, A)
    assert found(since="2026-02-01") == "a", "an old run that was tried again is recent"


# scores


def score(fingerprint: str, value: float, metric: str = "all.micro", task: str = "") -> ScoreRow:
    return ScoreRow(fingerprint, "rooms", "official@1", metric, value, 10, task=task)


def test_scores_are_replaced_as_a_whole(registry: Registry) -> None:
    registry.add_run(run_row(sampler="sa"))
    registry.replace_scores(A, [score(A, 0.5), score(A, 0.4, "task", "counting")])
    registry.replace_scores(A, [score(A, 0.6)])
    (cell,) = registry.scores(variant="prope", frames=[16], metric="all.micro")
    assert (cell.value, cell.sampler, cell.origin, cell.doubtful) == (0.6, "sa", "run", 0)
    assert registry.scores(metric="task") == []


def test_a_result_of_an_earlier_smx_is_read_in_its_own_words() -> None:
    """Lost otherwise: which of the lab's old scores are no better than one constant answer."""
    about = {"score": 0.3, "gain": [-0.1, 0.2], "better": False}
    by_type, averages = {"counting": {"answer": "2", **about}}, {"all.micro": {"": about}}
    summary = {"n": 4, "unparsed": 0, "all": {"micro": 0.5}, "types": {"counting": {"score": 0.4, "n": 2}}, "ci": {}}
    rows = score_rows(A, "rooms", {"o@1": {**summary, "floor": by_type, "floor_of": averages}})
    assert rows == score_rows(A, "rooms", {"o@1": {**summary, "majority": {"type": by_type, **averages}}})
    majority = [(row.metric, row.majority_score, row.majority_gain_low, row.majority_answer) for row in rows]
    assert majority == [("all.micro", 0.3, -0.1, None), ("type", 0.3, -0.1, "2")]


def test_the_score_table_of_the_report_and_of_plain_sql_are_the_same(registry: Registry) -> None:
    registry.execute(
        """insert into imports (digest, file, source, position, what, bench, variant, metric, value, n, entry)
           values ('d', 'f', 's', 0, 'score', 'rooms', 'past', 'all.micro', 0.3, 4, '{}')"""
    )
    for k, fingerprint in enumerate((A, B, C)):
        registry.add_run(run_row(fingerprint, sampler="sa" if k else "uniform", seed=k))
        registry.replace_scores(fingerprint, [score(fingerprint, k / 10), score(fingerprint, 0.4, "task", "counting")])
    reserve(registry, A, B)
    for fingerprint, mark in ((A, "excluded"), (B, "doubtful")):
        registry.update_attempt(fingerprint, 1, state="done", mark=mark)
    registry.add_tag(C, "paper")
    columns = ", ".join(CellScore._fields)

    def plain(where: str) -> list[CellScore]:
        return sorted(map(CellScore._make, registry.query(f"select {columns} from score_table where {where}")), key=str)

    assert sorted(registry.scores(), key=str) == plain("origin = 'run'")
    assert sorted(registry.scores(origin=None), key=str) == plain("true")
    assert len(plain("true")) == 5
    assert sorted(registry.scores(sampler="sa", metric="task"), key=str) == plain("sampler = 'sa' and metric = 'task'")
    assert sorted(registry.scores(tag="paper", origin=None), key=str) == plain(f"fingerprint = '{C}'")
    assert sorted(registry.scores(variant="past", origin="imported"), key=str) == plain("origin = 'imported'")
    assert registry.scores(sampler="uniform") == []
    for row in registry.run_scores():
        (cell,) = registry.scores(fingerprint=row.fingerprint, metric=row.metric, task=row.task)
        assert row == RunScore(*(getattr(cell, name) for name in RunScore._fields))
    assert len(registry.run_scores()) == len(plain("origin = 'run'")) == 4


def test_an_excluded_attempt_counts_in_no_table_and_a_doubtful_one_says_so(registry: Registry) -> None:
    registry.add_run(run_row())
    registry.replace_scores(A, [score(A, 0.5)])
    reserve(registry, A)
    registry.update_attempt(A, 1, state="done")
    registry.set_mark(A, 1, "doubtful")
    assert [s.doubtful for s in registry.scores()] == [1]
    registry.set_mark(A, 1, "excluded")
    assert registry.scores() == []
    reserve(registry, A, submission="s2")
    assert registry.scores() == [], "an attempt under way does not bring the excluded numbers back"
    registry.update_attempt(A, 2, state="done")
    assert [s.doubtful for s in registry.scores()] == [0]
    registry.set_mark(A, 2, "excluded")
    registry.set_mark(A, 1, None)
    assert [s.value for s in registry.scores()] == [0.5], "the earlier attempt counts again"
    with pytest.raises(sqlite3.IntegrityError):
        registry.set_mark(A, 1, "wonderful")
