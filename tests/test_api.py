"""The door for Python: what a notebook sees is what the command line would say, and it needs no command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import smx
from smx.errors import UserError
from smx.registry.store import Registry

REPOSITORY = Path(__file__).resolve().parent.parent
ROOMS = {"scenes": 2, "train_scenes": 1, "frames": 16, "width": 80, "height": 60}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> smx.Lab:
    """A workspace with two baselines, and one real model at two samplers."""
    root = tmp_path_factory.mktemp("lab")
    (root / "experiments" / "models").mkdir(parents=True)
    opened = smx.open(root)
    opened.launch("eval", model=["chance", "frequency"], bench="rooms", bench_options=ROOMS)
    return opened


def test_the_door_opens_without_the_command_line_and_without_pandas(tmp_path: Path) -> None:
    """Lost otherwise: `import smx` in a script takes the seconds of pandas and torch, or drags Typer along."""
    code = (
        "import sys, smx; assert not {'pandas', 'torch'} & set(sys.modules); lab = smx.open(sys.argv[1]);"
        "runs = lab.launch('eval', model='chance', bench='rooms', bench_options={'scenes': 1, 'train_scenes': 1});"
        "runs.wait(); assert runs[0].state == 'done'; assert 'pandas' not in sys.modules, 'pandas';"
        "assert not any(name.startswith(('smx.cli', 'typer')) for name in sys.modules);"
        "assert len(lab.scores()) and 'pandas' in sys.modules"
    )
    (tmp_path / "experiments" / "models").mkdir(parents=True)
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], check=True)


def test_runs_have_a_row_each_and_their_specs_as_columns(lab: smx.Lab) -> None:
    """Lost otherwise: a plot against a recipe's key needs the spec's JSON taken apart by hand."""
    frame = lab.runs(kind="eval", model="chance")
    assert frame["bench_options.scenes"].tolist() == [2]
    assert frame["state"].tolist() == ["done"]
    assert len(lab.runs(model=["chance", "frequency"])) == 2
    assert lab.runs(model="nobody")["run"].tolist() == []


def test_scores_are_the_registry_s(lab: smx.Lab) -> None:
    """Lost otherwise: a notebook's number differs from the table's."""
    frame = lab.scores(metric="all.micro", scorer="official@1").set_index("model")
    with Registry.open(lab.workspace.registry) as registry:
        rows = registry.scores(metric="all.micro", scorer="official@1")
    assert frame["value"].to_dict() == {row.variant: row.value for row in rows}
    assert {"run", "ci_low", "ci_high", "n", "unparsed"} <= set(frame.columns)
    assert frame["run"].notna().all()


def test_items_have_a_score_of_every_scorer(lab: smx.Lab) -> None:
    """Lost otherwise: which answers two scorers disagree about is found by running the scorers again."""
    frame = lab.items("chance-rooms")
    run = lab.run("chance-rooms")
    assert run.result is not None
    for name, summary in run.result["scores"].items():
        column = f"score_{name.split('@')[0]}"
        assert frame[column].mean() == pytest.approx(summary["all"]["micro"])
    assert {"question", "truth", "text", "parsed"} <= set(frame.columns)
    wrong = lab.items("chance-rooms", "wrong")
    assert 0 < len(wrong) < len(frame)
    assert (wrong["score"] < 1).all()


def test_a_launch_is_a_grid_and_its_runs_are_named_by_what_tells_them_apart(lab: smx.Lab) -> None:
    """Lost otherwise: which of twelve runs is prope at 16 frames is guessed from a folder's name."""
    runs = lab.launch("eval", model="tiny", sampler=["sa", "uniform"], frames=[4], bench_options=ROOMS)
    assert len(runs) == 2
    assert runs.keys == ("sampler", "frames")
    assert runs["tiny", "sa", 4].name == runs["sa", 4].name == runs[0].name
    assert runs["uniform", 4].row.sampler == "uniform"
    assert [run.state for run in runs.wait()] == ["done", "done"]
    assert [run.name for run in runs[0:2]] == [runs[0].name, runs[1].name]
    assert runs.why() == "all are done"
    assert "nothing failed" in runs["sa", 4].why()
    assert set(runs.scores()["sampler"]) == {"sa", "uniform"}
    again = lab.launch("eval", model="tiny", sampler=["sa", "uniform"], frames=[4], bench_options=ROOMS)
    assert [run.fingerprint for run in again] == [run.fingerprint for run in runs]
    assert len(lab.runs(model="tiny")) == 2
    frames = lab.samples("sa", 4)
    assert frames["frames"].map(len).tolist() == [4, 4]
    assert frames["overlap"].between(0, 1).all()
    page = runs._repr_html_() + runs[0]._repr_html_() + lab._repr_html_()
    assert "tiny-rooms-sa-4f" in page
    assert "<script" not in page
    sheet = lab.sample("sa/4", frames["scene"][0])._repr_html_()
    assert sheet.startswith("<img")


def test_a_table_is_the_report_s_in_every_form(lab: smx.Lab) -> None:
    """Lost otherwise: the figure in a notebook is cut another way than the table in the paper."""
    table = lab.table(rows="model", cols=["sampler", "frames"], metric="all.micro", where={"model": "chance,frequency"})
    value = lab.scores(model="chance", metric="all.micro", scorer="official@1")["value"][0]
    shown = f"{100 * value:.1f}"
    for text in (table.to_latex(), table.to_markdown(), table.to_html(), str(table), table._repr_html_()):
        assert shown in text
    assert table.to_frame()["value"].tolist().count(value) == 1


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: the first thing a newcomer opens stops with an error."""
    cells = json.loads((REPOSITORY / "docs" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    (tmp_path / "experiments" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in cells:
        assert not cell.get("outputs"), "it is kept without outputs"
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "tour.ipynb", "exec"), names)
    assert names["runs"][0].state == "done"


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda lab: lab.runs(kind="evil"), "did you mean eval?"),
        (lambda lab: lab.runs(modle="tiny"), "did you mean model?"),
        (lambda lab: lab.scores(state="dne"), "did you mean done?"),
        (lambda lab: lab.launch("evil"), "did you mean eval?"),
        (lambda lab: lab.launch("eval", model=[]), "empty list"),
        (lambda lab: lab.launch("eval", model="chanse"), "chance"),
        (lambda lab: lab.run("chanc-rooms"), "chance-rooms"),
        (lambda lab: lab.run("rooms"), "closest"),
        (lambda lab: lab.query("delete from runs"), "read"),
        (lambda lab: lab.samples("fps", 64), "fps/64"),
        (lambda lab: lab.launch("eval", model=["chance"], bench_options=ROOMS)["tiny"], "runs['chance']"),
        (lambda lab: lab.launch("eval", model="chance", bench_options=ROOMS)["tiny"], "runs[0]"),
    ],
)
def test_wrong_input_is_said_with_the_closest_right_one(lab: smx.Lab, ask: Any, words: str) -> None:
    """Lost otherwise: a traceback from deep inside, or an empty DataFrame that looks like an answer."""
    with pytest.raises(UserError) as error:
        ask(lab)
    assert words in f"{error.value.message}\n{error.value.hint}"


def test_a_name_that_several_runs_have_is_answered_with_all_of_them(lab: smx.Lab) -> None:
    """Lost otherwise: the wrong one of two runs is looked at."""
    lab.launch("eval", model="chance", seed=[0, 1], bench_options=ROOMS)
    rows = lab.runs(model="chance")
    with pytest.raises(UserError, match="fits 2 runs") as error:
        lab.run("chance-rooms")
    assert all(name in error.value.hint for name in rows["run"])


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path) -> None:
    """Lost otherwise: an empty lab is opened beside the real one, and it has no runs."""
    with pytest.raises(UserError, match="no workspace"):
        smx.open(tmp_path)
    with pytest.raises(UserError, match="there is no such folder") as error:
        smx.open(tmp_path / "nowhere")
    assert "--workspace" not in str(error.value)


def test_what_a_notebook_has_at_hand_serves_as_keys(lab: smx.Lab) -> None:
    """Lost otherwise: `frames=numpy.arange(…)` or a column of a DataFrame is refused, or is no JSON."""
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    runs = lab.launch(
        "eval", model=pandas.Series(["chance"]), seed=numpy.arange(2), bench_options=ROOMS | {"scenes": numpy.int64(2)}
    )
    assert [run.state for run in runs] == ["done", "done"]
    assert len(lab.runs(model=numpy.array(["chance"]))) >= 2


def test_what_stands_in_and_what_is_untrained_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: numbers of random weights, or of other questions, are taken for those that were asked for."""
    (tmp_path / "experiments" / "models").mkdir(parents=True)
    options = {"scenes": 1, "train_scenes": 1, "frames": 16, "width": 80, "height": 60}
    smx.open(tmp_path).launch("eval", model="prope", bench="vsibench", frames=2, bench_options=options, shards=1)
    said = capsys.readouterr().err
    assert "the built-in rooms serve instead" in said
    assert "'tiny-prope' is asked, untrained, instead" in said
    assert "its weights are random (untrained)" in said
