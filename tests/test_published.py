"""Numbers of papers stand beside ours and never among them: their scorer, frames and average are part of them."""

from __future__ import annotations

from math import fsum
from pathlib import Path

import pytest
from support.commands import data, smx
from support.question_files import write_sqa3d

from smx import plugins
from smx.benches._vsi import TASKS
from smx.report.published import PUBLISHED, README, VSI_BENCH, VSI_BENCH_TINY, WHOLE

ITEMS = dict(zip(TASKS, (565, 834, 953, 288, 710, 217 + 378 + 373, 194, 618), strict=True))


def test_every_number_has_a_source_and_a_protocol() -> None:
    for number in PUBLISHED:
        assert number.source
        assert 0 <= number.value <= 1
        bench = plugins.load("benches", number.bench)()
        assert number.scorer in ("", *bench.scorers)
        average, _, mean = number.metric.partition(".")
        assert (average in bench.averages() and mean in ("micro", "macro")) or number.task in bench.tasks()
        assert number.sampler in (*plugins.names("samplers"), "none", WHOLE)
        assert (number.frames is None) == (number.sampler == WHOLE)
        assert (number.frames == 0) == (number.sampler == "none")
    assert len({(*number[:7], number.source) for number in PUBLISHED}) == len(PUBLISHED)


@pytest.mark.parametrize("model", sorted({n.model for n in PUBLISHED if n.source in (VSI_BENCH, VSI_BENCH_TINY)}))
def test_the_benchs_own_table_prints_the_mean_over_tasks(model: str) -> None:
    """Lost otherwise: a digit typed wrong passes for a published one. Only the most frequent answer's mean differs."""
    own = [n for n in PUBLISHED if n.model == model and n.source in (VSI_BENCH, VSI_BENCH_TINY)]
    tasks = [n.value for n in own if n.metric == "task"]
    quoted = next((n.value for n in own if n.metric == "all.macro"), None)
    if quoted is None:
        assert len(tasks) == 4
    elif model == "chance, the most frequent answer":
        assert (quoted, round(fsum(tasks) / 8, 3)) == (0.34, 0.355)
    else:
        assert fsum(tasks) / 8 == pytest.approx(quoted, abs=0.00051)


def test_averages_of_one_source_fit_each_other() -> None:
    """2,490 of the 5,130 questions are choices; half of the eight tasks are."""
    rows = {(n.model, n.sampler, n.metric): n.value for n in PUBLISHED if n.source == README}
    for model, sampler, _ in rows:
        acc, mra, every = (rows[model, sampler, f"{part}.micro"] for part in ("acc", "mra", "all"))
        assert (2490 * acc + 2640 * mra) / 5130 == pytest.approx(every, abs=1.5e-4)
        acc, mra, every = (rows[model, sampler, f"{part}.macro"] for part in ("acc", "mra", "all"))
        assert (acc + mra) / 2 == pytest.approx(every, abs=1.5e-4)


@pytest.mark.parametrize(
    ("model", "metric", "quoted"), [("Spatial-MLLM-4B", "all.micro", 0.484), ("VLM-3R-7B", "all.macro", 0.609)]
)
def test_tasks_of_a_paper_average_to_what_it_quotes(model: str, metric: str, quoted: float) -> None:
    tasks = {number.task: number.value for number in PUBLISHED if number.model == model and number.metric == "task"}
    assert tasks.keys() == TASKS.keys()
    weights = ITEMS if metric == "all.micro" else dict.fromkeys(TASKS, 1)
    mean = fsum(tasks[task] * weights[task] for task in TASKS) / sum(weights.values())
    assert mean == pytest.approx(quoted, abs=6e-4)
    assert any(n.model == model and n.metric == metric and n.value == quoted for n in PUBLISHED)


def test_published_numbers_are_tables_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sqa3d(tmp_path / "sqa3d", ["scene0001_00"])
    assert smx("eval", "--model", "frequency", "--bench", "sqa3d", "--root", "sqa3d") == 0
    [ours] = data(capsys, "report", "--metric", "all.micro")["tables"]
    shown = data(capsys, "report", "--metric", "all.micro", "--with-published")["tables"]
    assert shown[0] == ours
    others = shown[1:]
    assert [table["scorer"] for table in others] == ["em", "em-r", "em"]  # of this bench alone, by source
    values = {cell["model"]: cell["value"] for table in others[::2] for cell in table["cells"] if cell["value"]}
    assert values == {"Qwen2.5-VL-3B": 0.434, "Qwen2.5-VL-7B": 0.465, "Spatial-MLLM-4B": 0.559, "blind": 0.4365}
    assert all(len(table["sources"]) == 1 and table["imported"] for table in others)
    assert smx("report", "--metric", "all.micro", "--with-published") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "from Spatial-MLLM, arXiv 2505.23747, table of ScanQA and SQA3D" in printed
    assert "published: by others, in the table that is named; no run of smx" in printed


def test_published_numbers_keep_their_digits_and_need_no_run_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost otherwise: 52.75 is printed as 52.8 beside 43.65 as 43.6, and a plan cannot start from what is known."""
    monkeypatch.chdir(tmp_path)
    assert smx("report", "--with-published") == 0
    everything = capsys.readouterr().out
    for digits in ("52.75", "43.65", "27.86", "48.4 ", "45.4", "79.2"):
        assert digits in everything
    assert "43.6 " not in everything
    assert smx("report", "--bench", "vsibench", "--metric", "acc.micro", "--with-published", "--format", "md") == 0
    assert "52.13" in capsys.readouterr().out
    assert smx("report", "--metric", "task", "--with-published", "--bench", "vsibench", "--rows", "model,task") == 0
    assert "62.1" in capsys.readouterr().out
    assert smx("eval", "--model", "frequency", "--max-failed", "99") == 0
    capsys.readouterr()
    assert smx("report", "--bench", "vsibench", "--with-published") == 0  # ours are of the rooms
    assert "52.75" in capsys.readouterr().out
