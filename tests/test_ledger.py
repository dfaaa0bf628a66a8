"""The ledger: the lab's past is shown as the notes have it, once, beside what smx ran itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from smx.cli import run as smx
from smx.errors import UserError
from smx.registry.ledger import Imported, LedgerRow, import_history, keep_history, rows, since_date
from smx.registry.migrations import MIGRATIONS
from smx.registry.rows import RunRow
from smx.registry.store import Registry

REPOSITORY = Path(__file__).resolve().parent.parent
HISTORY = REPOSITORY / "experiments" / "history" / "2026-02.yaml"
A = "a" * 64

SMALL = """schema: 1
source: my notes
jobs:
  - {date: 2026-02-13, kind: gen, sampler: sa, frames: 8, ids: [2834355, 2828004], mark: done}
  - {date: 2026-02-14, kind: eval, model: prope, checkpoint: v1, bench: vsibench, ids: ["77_1"]}
scores:
  - {model: prope, bench: vsibench, where: {question_type: route}, n: 4, metric: all.micro, value: 0.5}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(tmp_path / "registry.db") as opened:
        yield opened


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def one(registry: Registry, **wanted: object) -> LedgerRow:
    found = [r for r in rows(registry)[0] if all(getattr(r, k) == v for k, v in wanted.items())]
    assert len(found) == 1, found
    return found[0]


# the shipped history


def test_shipped_history_reads_as_the_notes_do(registry: Registry) -> None:
    import_history(registry, HISTORY)
    cell = one(registry, kind="gen", sampler="mergeaware_sa", frames=8)
    assert (cell.date, cell.mark, cell.ids) == ("2026-02-13", "done", ["2834355", "2828004"])
    failed = one(registry, sampler="mergeaware_uniform", frames=16, date="2026-02-13")
    assert failed.mark == "failed"
    assert "frame_1287.png" in str(failed.failure)
    assert one(registry, mark="lucky").ids == ["2892391", "2868429", "2867906"]
    dates = [row.date for row in rows(registry)[0]]
    assert dates == sorted(dates, reverse=True)
    scores = registry.scores(origin=None, metric="all.micro", task="room_size_estimation", dataset="arkitscenes")
    assert {s.variant: s.value for s in scores} == {
        "spatialmllm": 0.5320000018676122,
        "qwen2_5vl": 0.29066666692495347,
    }
    assert registry.scores() == [], "imported numbers are shown only when asked for"


def test_shipped_registry_holds_the_shipped_history_at_the_newest_schema(registry: Registry) -> None:
    import_history(registry, HISTORY)
    shipped = REPOSITORY / "registry.db"
    before = shipped.read_bytes()
    with Registry.open(shipped, create=False) as opened:
        assert opened.query("select name from _sqlite_migrations order by id") == [(name,) for name, _ in MIGRATIONS]
        everything = "select digest, position, variant, jobs, value, note from imports where file = '2026-02.yaml'"
        assert sorted(opened.query(everything)) == sorted(registry.query(everything))
    assert shipped.read_bytes() == before, "looking at it must not dirty git"


# bringing the past in


def test_importing_twice_changes_nothing(registry: Registry, history: Path) -> None:
    assert import_history(registry, history) == Imported("small.yaml", 3, 0, 0)
    before = registry.path.read_bytes()
    assert import_history(registry, history) == Imported("small.yaml", 0, 3, 0)
    assert registry.path.read_bytes() == before, "git would show a change where there is none"


def test_an_entry_mended_in_the_file_takes_the_place_of_the_old_one(registry: Registry, history: Path) -> None:
    import_history(registry, history)
    history.write_text(SMALL.replace("mark: done", "mark: doubtful"))
    assert import_history(registry, history) == Imported("small.yaml", 1, 2, 1)
    assert [row.mark for row in rows(registry, kind="gen")[0]] == ["doubtful"]


def test_the_same_entry_twice_in_a_file_is_two_jobs(registry: Registry, history: Path) -> None:
    line = next(line for line in SMALL.splitlines() if "v1" in line)
    history.write_text(SMALL.replace(line, f"{line}\n{line}"))
    assert import_history(registry, history).added == 4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("frames: 8", "frame: 8", ["line 4", "job 1", "'frame'", "did you mean frames?"]),
        ("kind: gen", "kind: generate", ["line 4", "'gen', 'train' or 'eval'"]),
        ("2026-02-14", "yesterday", ["line 5", "job 2", "date"]),
        ("n: 4, ", "", ["line 7", "score 1", "'n' is missing"]),
        ("schema: 1", "schema: 2", ["schema", "1"]),
        ("jobs:", "job:", ["'job'", "did you mean jobs?"]),
        ("schema: 1\n", "", ["'schema' is missing", "smx ledger import --help"]),
        ("kind: gen, ", "kind: gen, kind: gen, ", ["line 4", "twice"]),
        ("ids: [2834355, 2828004]", "ids: [2834355, 2828004", ["line", "column"]),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place_and_nothing_is_imported(
    registry: Registry, history: Path, old: str, new: str, said: list[str]
) -> None:
    history.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        import_history(registry, history)
    assert [part for part in said if part not in str(caught.value)] == []
    assert registry.query("select * from imports") == []


def test_import_keeps_the_file_where_a_rebuild_finds_it(registry: Registry, history: Path, tmp_path: Path) -> None:
    folder = tmp_path / "experiments" / "history"
    keep_history(registry, history, folder)
    assert (folder / "small.yaml").read_text() == SMALL
    copy = tmp_path / "copy.yaml"
    copy.write_text(SMALL)
    assert keep_history(registry, copy, folder) == Imported("copy.yaml", 0, 3, 0)
    assert [p.name for p in folder.iterdir()] == ["small.yaml"], (
        "the same entries under another name are no second file"
    )
    assert {file for (file,) in registry.query("select file from imports")} == {"small.yaml"}


def test_import_does_not_silently_replace_another_file_of_that_name(
    registry: Registry, history: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "experiments" / "history"
    keep_history(registry, history, folder)
    history.write_text(SMALL.replace("2828004", "1"))
    with pytest.raises(UserError, match="differs") as caught:
        keep_history(registry, history, folder)
    assert "--replace" in caught.value.hint
    assert (folder / "small.yaml").read_text() == SMALL
    assert keep_history(registry, history, folder, replace=True) == Imported("small.yaml", 1, 2, 1)


def test_a_past_job_is_recognised_where_a_run_is_asked_for(registry: Registry, history: Path) -> None:
    import_history(registry, history)
    with pytest.raises(UserError, match=r"imported history \(small.yaml\)"):
        registry.find("2828004")


# own runs


def test_own_runs_stand_beside_the_past_with_all_their_jobs_newest_first(registry: Registry, history: Path) -> None:
    import_history(registry, history)
    labels = {"untrained": True, "stand_in_for": {"bench": "vsibench"}}
    own = RunRow(
        A, "eval", "tiny-16f", "eval/tiny-16f-aaaaaaaa", "{}", "tiny", "sa", 16, "rooms", labels=labels, seed=3
    )
    registry.add_run(own)
    for number, state in enumerate(("failed", "done", "running"), 1):
        registry.reserve([(A, 9)], submission=f"s{number}", executor="local", provenance={})
        registry.update_attempt(A, number, state=state, job=str(1000 + number))
    registry.set_mark(A, 2, "doubtful")
    registry.update_run(A, state="running", items=9, done=7, failed=2)
    registry.add_note(A, "look again")
    first = rows(registry)[0][0]
    assert (first.origin, first.run, first.mark) == ("run", "tiny-16f-aaaaaaaa", "doubtful")
    assert first.jobs == "1003 ?1002 x1001"
    assert first.ids == ["1003", "1002", "1001"]
    assert (first.detail, first.note) == ("untrained stand-in seed 3", "look again")
    registry.set_mark(A, 2, "excluded")
    registry.update_attempt(A, 3, state="failed", failure={"kind": "oom-gpu", "line": "CUDA out of memory"})
    registry.update_run(A, state="partial")
    first = rows(registry)[0][0]
    assert (first.mark, first.jobs, first.failure) == ("excluded", "x1003 x1002 x1001", "CUDA out of memory")


# the command


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "lab"
    folder.mkdir()
    monkeypatch.setenv("SMX_WORKSPACE", str(folder))
    monkeypatch.setenv("COLUMNS", "100")
    return folder


def test_ledger_prints_days_newest_first_and_fits_the_screen(
    workspace: Path, history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smx(["ledger", "import", str(HISTORY)]) == 0
    assert smx(["ledger"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 100
    days = [line.split()[0] for line in lines if line.startswith("2026")]
    assert days == sorted(days, reverse=True)
    (line,) = [line for line in lines if "2834358" in line]
    assert line.split() == ["D", "gen", "mergeaware_sa", "16", "2834358", "2828006"]
    assert "70 cells, all imported" in said.err
    assert "\x1b" not in said.out, "no colours in a pipe"


def test_ledger_filters_and_speaks_json(workspace: Path, history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    smx(["ledger", "import", str(history)])
    capsys.readouterr()
    assert smx(["ledger", "--json", "--kind", "eval", "--since", "2026-02-14"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["variant"], row["detail"], row["jobs"], row["origin"]) == ("prope", "v1", ["77_1"], "imported")
    assert smx(["ledger", "--limit", "1"]) == 0
    assert "1 older: --limit 0" in capsys.readouterr().err
    assert smx(["ledger", "--kind", "train"]) == 0
    assert "without --kind and --since there are 2 cells" in capsys.readouterr().err


def test_looking_at_an_empty_ledger_makes_no_registry(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smx(["ledger"]) == 0
    assert "smx ledger import FILE" in capsys.readouterr().err
    assert smx(["ledger", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert list(workspace.iterdir()) == []


def test_wrong_input_is_exit_2_with_the_way_out(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smx(["ledger", "--since", "tomorrow"]) == 2
    assert "2026-02-14" in capsys.readouterr().err
    assert smx(["ledger", "import", "nowhere.yaml"]) == 2
    assert "there is no file nowhere.yaml" in capsys.readouterr().err
    assert smx(["ledger", "import", str(workspace)]) == 2
    assert f"{workspace} is a folder" in capsys.readouterr().err
    nothing = workspace.parent / "nothing.yaml"
    nothing.write_text("schema: 1\njobs: []\n")
    assert smx(["ledger", "import", str(nothing)]) == 2
    assert "holds neither jobs nor scores" in capsys.readouterr().err
    assert list(workspace.glob("experiments/**/*.yaml")) == []


def test_since_takes_a_day_or_how_long_ago() -> None:
    assert since_date("2026-02-14") == "2026-02-14"
    assert since_date("2026-02-14T10:00") == "2026-02-14"
    assert since_date("1w") == since_date("7d")
