"""Numbers of papers stand beside ours and never among them: their scorer, frames and average are part of them."""

from __future__ import annotations

from math import fsum
from pathlib import Path

import pytest
from support.commands import data, smx
from support.question_files import write_sqa3d

from smx import plugins
from smx.benches._vsi import TASKS
from smx.report.published import PUBLISHED

ITEMS = dict(zip(TASKS, (565, 834, 953, 288, 710, 217 + 378 + 373, 194, 618), strict=True))


def test_every_number_has_a_source_and_names_what_there_is() -> None:
    for number in PUBLISHED:
        assert number.source
        assert 0 < number.value < 1
        bench = plugins.load("benches", number.bench)()
        assert number.scorer in ("", *bench.scorers)
        assert number.metric in ("all.micro", "all.macro") or number.task in bench.tasks()
        assert number.sampler in (*plugins.names("samplers"), "none")
    assert len({number[:7] for number in PUBLISHED}) == len(PUBLISHED)


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
    others = {table["scorer"]: table for table in shown[1:]}
    assert others.keys() == {"em", "em-r"}  # of this bench alone
    values = {cell["model"]: cell["value"] for cell in others["em"]["cells"] if cell["value"] is not None}
    assert values == {"Qwen2.5-VL-3B": 0.434, "Qwen2.5-VL-7B": 0.465, "Spatial-MLLM-4B": 0.559, "blind": 0.4365}
    assert all(table["sources"] and table["imported"] for table in others.values())
    assert smx("report", "--metric", "all.micro", "--with-published") == 0
    assert "published by others, no run of smx: Spatial-MLLM, arXiv" in capsys.readouterr().out
