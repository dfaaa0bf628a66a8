"""What `smx ls` shows of runs, and how a run is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.commands import QUESTIONS, data, smx

from smx.errors import UserError
from smx.registry.store import Registry

ASK = ("eval", "--model", "chance", "--seed", "0,1,2", *QUESTIONS)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs that their seeds tell apart, and one of another name."""
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))
    assert smx(*ASK) == 0
    assert smx("eval", "--model", "frequency", *QUESTIONS) == 0
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[list[str]]:
    """Cells of the table, which are two blanks apart."""
    capsys.readouterr()
    assert smx("ls", *arguments) == 0
    return [re.split(r" {2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]


def test_scores_are_those_of_the_report_and_sort_from_the_best(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: the best of forty runs is looked for by eye, or is another one than the table says."""
    runs = data(capsys, "ls", "--sort", "score")
    values = [run["score"]["value"] for run in runs]
    assert values == sorted(values, reverse=True)
    assert len(values) == 4
    for run in runs:
        result = data(capsys, "show", run["run"])["result"]
        assert run["score"]["value"] == result["scores"]["official@1"]["all"]["micro"]
    dates = [run["created"] for run in data(capsys, "ls")]
    assert dates == sorted(dates, reverse=True)


def test_a_column_stands_for_what_tells_runs_of_one_name_apart(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: eight digits are all that tells three seeds apart; or thirty equal columns hide the one."""
    head, *_ = printed(capsys, "--model", "chance")
    assert head == ["run", "state", "items", "score", "took", "seed", "made"]
    head, *rows = printed(capsys, "--cols", "score,seed", "--model", "chance")
    assert head == ["run", "score", "seed"]
    assert sorted(row[-1] for row in rows) == ["0", "1", "2"]
    assert smx("ls", "--cols", "sede") == 2
    assert "did you mean" in (error := capsys.readouterr().err) or "seed" in error
    assert data(capsys, "ls", "--sort", "seed", "--limit", "1")[0]["seed"] == 0


def test_runs_are_named_by_how_new_they_are_and_by_the_start_of_their_name(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: every look at the run just made begins with copying its name."""
    newest = [run["run"] for run in data(capsys, "ls")]
    with Registry.open(lab / "registry.db") as registry:
        assert [registry.find(text).title for text in ("last", "last~1", "last~3")] == [newest[k] for k in (0, 1, 3)]
        assert registry.find("freq").title == newest[0]
        for text, words in (
            ("last~4", "4 in all"),
            ("failed", "4 in all"),
            ("chance", "fits 3 runs"),
            ("%", "unknown"),
        ):
            with pytest.raises(UserError, match=words):
                registry.find(text)


def test_a_removed_run_is_in_no_table_and_comes_back_as_it_was(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a run made by mistake stays in the paper's table, or takes its answers with it for good."""
    run = data(capsys, "ls", "--model", "frequency")[0]
    assert smx("note", run["run"], "by mistake") == 0
    assert smx("mark", run["run"], "doubtful") == 0
    before = data(capsys, "ls"), data(capsys, "report")
    assert smx("rm", run["run"]) == 0
    assert run["run"] not in [left["run"] for left in data(capsys, "ls")]
    capsys.readouterr()
    assert smx("report") == 0
    page = capsys.readouterr()
    assert "frequency" not in page.out
    assert "1 removed run" in page.err
    assert smx("db", "rebuild") == 0
    assert run["run"] not in [left["run"] for left in data(capsys, "ls")]
    assert smx("rm", "--undo", run["run"]) == 0
    assert (data(capsys, "ls"), data(capsys, "report")) == before
    assert smx("rm", "--undo", run["run"]) == 2


def test_what_is_made_again_is_not_overwritten(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: bringing a run back replaces the answers of the one that was made since."""
    (run,) = (row["run"] for row in data(capsys, "ls", "--model", "frequency"))
    for _ in range(2):
        assert smx("rm", run) == 0
        assert smx("eval", "--model", "frequency", *QUESTIONS) == 0
    assert smx("rm", "--undo", run) == 2
    assert "made again since" in capsys.readouterr().err
    assert sorted(p.name for p in (lab / "runs/.trash/eval").iterdir()) == [run, f"{run}~2"]
    assert smx("rm", run) == 0
    assert smx("rm", "--undo", f"{run}~2", "nothing") == 2
    assert not (lab / "runs/eval" / run).exists()  # all or none
    assert smx("rm", "--undo", f"{run}~2") == 0
    assert smx("show", run) == 0


def test_the_runs_of_one_matrix_are_listed_alone(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: what a matrix made is picked by hand out of everything the lab ever ran."""
    text = "common: {bench: rooms, bench_options: {scenes: 1, train_scenes: 2}}\n"
    (lab / "experiments").mkdir(exist_ok=True)
    (lab / "experiments" / "small.yaml").write_text(f"{text}groups: {{all: {{grid: {{model: [chance]}}}}}}\n")
    assert smx("run", "small") == 0
    (run,) = data(capsys, "ls", "--experiment", "small")
    assert run["variant"] == "chance"
    assert len(data(capsys, "ls")) == 5


def test_weights_that_answers_were_given_with_are_not_removed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: a table of numbers whose weights nobody can find."""
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))
    small = ("--set", "data_options.rooms.scenes=1", "--set", "data_options.rooms.train_scenes=1")
    frames = ("--sampler", "uniform", "--frames", "4")
    assert smx("train", "--model", "tiny", "--data", "rooms", *frames, "--steps", "1", *small) == 0
    (train,) = data(capsys, "ls", "--kind", "train")
    ask = ("eval", "--model", "tiny", "--bench", "rooms", "--checkpoint", train["run"], *frames)
    assert smx(*ask, *QUESTIONS, "--set", "max_new_tokens=1") == 0
    assert smx("rm", train["run"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "remove them too" in line]
    assert smx(*line.partition("smx ")[2].split()) == 0
    assert {run["kind"] for run in data(capsys, "ls")} == {"gen"}
