"""`smx report`: what a table must never do is mix, hide or lose a number."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smx import cli
from smx.errors import UserError
from smx.registry.rows import AttemptRow, RunRow, ScoreRow
from smx.registry.store import Registry
from smx.report.query import parse

Report = Callable[..., str]


class Lab:
    """A registry to be filled run by run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = 0

    def run(
        self,
        model: str = "prope",
        sampler: str = "sa",
        frames: int = 16,
        bench: str = "vsibench",
        *,
        score: float | dict[str, float | None] | None = 0.5,
        scorer: str = "official@1",
        unparsed: int = 0,
        types: dict[str, float] | None = None,
        gains: dict[str, float] | None = None,
        seed: int = 0,
        state: str = "done",
        items: int = 100,
        done: int | None = None,
        failed: int = 0,
        options: dict[str, Any] | None = None,
        mark: str | None = None,
        base: str = "qwen2_5_vl",
        spec: dict[str, Any] | None = None,
        weights: str | None = None,
        **labels: Any,
    ) -> str:
        """One eval; its fingerprint. `score`: all.micro and all.macro alike, or each metric's.

        `gains`: by metric or type, how much better than one constant answer ("2", scoring 0.3) it is at least.
        """
        self.runs += 1
        fingerprint = f"{self.runs:08x}" + "0" * 56
        content = {
            "kind": "eval",
            "model": model,
            "sampler": sampler,
            "frames": frames,
            "bench": bench,
            "seed": seed,
            "variant": {"base": base},
            "bench_options": {"where": {}, **(options or {})},
            **(spec or {}),
        }
        done = items - failed if done is None else done
        row = RunRow(
            fingerprint,
            "eval",
            f"{model}-{bench}",
            f"eval/{model}-{bench}-{fingerprint[:8]}",
            json.dumps(content, sort_keys=True, separators=(",", ":")),
            *(model, sampler, frames, bench, None, seed, labels, state, items, done, failed),
        )
        metrics = score if isinstance(score, dict) else {"all.micro": score, "all.macro": score}
        with Registry.open(self.root / "registry.db") as registry:
            registry.add_run(row)
            if weights:
                registry.add_input(fingerprint, "checkpoint", weights)
            if score is not None:
                values = [ScoreRow(fingerprint, bench, scorer, m, v, done, "", unparsed) for m, v in metrics.items()]
                values += [ScoreRow(fingerprint, bench, scorer, "type", v, 10, t) for t, v in (types or {}).items()]
                for k, value in enumerate(values):
                    if (gain := (gains or {}).get(value.task or value.metric)) is not None:
                        answer = "2" if value.task else None
                        values[k] = replace(value, majority_score=0.3, majority_gain_low=gain, majority_answer=answer)
                registry.replace_scores(fingerprint, values)
            if mark:
                registry.put_attempt(AttemptRow(fingerprint, 1, "inline", "done", items, mark=mark))
        return fingerprint

    def train(self, lr: float, seed: int) -> str:
        """A training; its fingerprint."""
        self.runs += 1
        fingerprint = f"{self.runs:08x}" + "0" * 56
        spec = {"kind": "train", "model": "prope", "seed": seed, "recipe": {"lr": lr, "clip": 1.0}, "frames": 16}
        text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
        with Registry.open(self.root / "registry.db") as registry:
            registry.add_run(RunRow(fingerprint, "train", "prope", f"train/prope-{fingerprint[:8]}", text, seed=seed))
        return fingerprint


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """An empty lab."""
    return Lab(tmp_path)


@pytest.fixture
def report(lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Report:
    """What `smx report …` prints there, its exit code checked; runs of spaces in a line are one."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("SMX_WORKSPACE", str(lab.root))

    def call(*arguments: str, code: int = 0, raw: bool = False, err: bool = False) -> str:
        assert cli.run(["report", *arguments]) == code
        said = capsys.readouterr()
        text = said.err if err else said.out
        return text if raw else "\n".join(" ".join(line.split()) for line in text.splitlines())

    return call


def cells(text: str) -> list[dict[str, Any]]:
    """Every cell of every table of a JSON report, with what holds for its table."""
    tables = json.loads(text)["tables"]
    return [{**{k: v for k, v in t.items() if k != "cells"}, **cell} for t in tables for cell in t["cells"]]


# Nothing is mixed


def test_benches_scorers_and_averages_have_tables_of_their_own(lab: Lab, report: Report) -> None:
    """Lost otherwise: a micro average beside a macro one, or the rooms beside VSI-Bench, in one column."""
    lab.run(score={"all.micro": 0.481, "all.macro": 0.4695})
    lab.run(score={"all.micro": 0.3, "all.macro": 0.31}, bench="rooms")
    lab.run(score={"all.micro": 0.47, "all.macro": 0.46}, scorer="spatial-mllm@1", frames=8)
    text = report("--scorer", "all")
    headings = [line for line in text.splitlines() if " · scorer " in line]
    assert headings == [
        "rooms · scorer official@1 · all.micro",
        "rooms · scorer official@1 · all.macro",
        "vsibench · scorer official@1 · all.micro",
        "vsibench · scorer official@1 · all.macro",
        "vsibench · scorer spatial-mllm@1 · all.micro",
        "vsibench · scorer spatial-mllm@1 · all.macro",
    ]
    assert "built-in rooms, no published bench" in text
    assert text.count("48.1") == 1
    assert "mean over questions" in text
    assert "mean over tasks" in text


def test_without_a_name_the_bench_s_own_scorer_counts(lab: Lab, report: Report) -> None:
    """Lost otherwise: two numbers for one cell, and nobody can say which of them counts."""
    lab.run(score={"all.micro": 0.481})
    lab.run(score={"all.micro": 0.086}, scorer="spatial-mllm@1", frames=8)
    assert "spatial-mllm" not in report()
    assert "8.6" not in report()
    assert "spatial-mllm" in report("--rows", "model,scorer", "--cols", "frames")


def test_a_subset_of_a_bench_is_another_table(lab: Lab, report: Report) -> None:
    """Lost otherwise: 150 room sizes compared with all 5,130 questions."""
    lab.run(score=0.5, items=5130)
    lab.run(score=0.532, items=150, options={"where": {"dataset": ["arkitscenes"]}})
    text = report("--metric", "all.micro")
    assert "vsibench [dataset=arkitscenes] · scorer official@1 · all.micro" in text
    assert {(c["bench"], c["value"]) for c in cells(report("--json", "--metric", "all.micro"))} == {
        ("vsibench", 0.5),
        ("vsibench [dataset=arkitscenes]", 0.532),
    }


def test_a_hidden_axis_that_varies_joins_the_rows(lab: Lab, report: Report) -> None:
    """Lost otherwise: one cell holding two samplers, and their mean passing for a result."""
    lab.run(sampler="sa", score=0.4)
    lab.run(sampler="uniform", score=0.6)
    text = report("--cols", "frames", "--metric", "all.micro")
    assert "prope sa 40.0" in text
    assert "uniform 60.0" in text
    assert "sampler joined the rows" in text


def test_an_axis_with_one_value_is_said_once(lab: Lab, report: Report) -> None:
    """Lost otherwise: a table that does not say how many frames its models saw."""
    lab.run()
    assert "sampler sa; 16 frames" in " ".join(report("--rows", "model", "--cols", "metric").split())


def test_runs_that_differ_in_more_than_their_seed_are_not_averaged(lab: Lab, report: Report) -> None:
    """Lost otherwise: two prompts' scores as one number, with a standard deviation that means nothing."""
    lab.run(score=0.4)
    other = lab.run(score=0.6, options={"prompt": "spatial-mllm"})
    text = report("--metric", "all.micro", "--runs")
    assert "prope 40.0 [00000001]" in text
    assert f"prope (prompt=spatial-mllm) 60.0 [{other[:8]}]" in text
    both = cells(report("--json", "--metric", "all.micro"))
    assert [(c["value"], c["model"]) for c in both] == [(0.4, "prope"), (0.6, "prope (prompt=spatial-mllm)")]


def test_what_differs_in_more_than_the_seed_has_a_column_of_its_own(lab: Lab, report: Report) -> None:
    """Lost otherwise: three windows of two seeds each as one `29.8 ± 0.0`."""
    for window, score in ((5, 0.2), (10, 0.3), (20, 0.4)):
        for seed in range(2):
            spec = {"sampler_options": {"window": window}}
            lab.run("tiny", "mergeaware_sa", score=score + seed / 50, seed=seed, spec=spec)
    values = {c["sampler"]: (c["value"], c["seeds"]) for c in cells(report("--json", "--metric", "all.micro"))}
    assert values == {
        "mergeaware_sa (window=5)": (pytest.approx(0.21), 2),
        "mergeaware_sa (window=10)": (pytest.approx(0.31), 2),
        "mergeaware_sa (window=20)": (pytest.approx(0.41), 2),
    }
    assert "tiny 21.0 ± 1.4 31.0 ± 1.4 41.0 ± 1.4" in report("--metric", "all.micro")


def test_any_key_of_a_spec_is_an_axis_and_a_filter(lab: Lab, report: Report) -> None:
    """Lost otherwise: a sweep over a sampler's window that no table can show by window."""
    for window in (5, 10):
        for kind in ("prope", "gta"):
            spec = {"sampler_options": {"window": window}, "variant": {"pose": {"kind": kind}}, "dtype": "bfloat16"}
            lab.run("tiny", "mergeaware_sa", score=window / 100, spec=spec)
    text = report("--metric", "all.micro", "--rows", "variant.pose.kind", "--cols", "sampler_options.window")
    assert "gta 5.0 10.0" in text
    assert "prope 5.0 10.0" in text
    shown = report("--metric", "all.micro", "--cols", "sampler_options.window", "--format", "md")
    assert "| model | sampler | frames" not in shown
    assert "| tiny (kind=gta) | 5.0 | 10.0 |" in shown.replace("window=", "")
    few = cells(report("--json", "--metric", "all.micro", "--where", "sampler_options.window=10"))
    assert [(c["model"], c["value"]) for c in few] == [("tiny (kind=gta)", 0.1), ("tiny (kind=prope)", 0.1)]
    rows = csv.DictReader(
        io.StringIO(report("--format", "csv", "--rows", "model", "--cols", "variant.pose.kind", raw=True))
    )
    assert {row["variant.pose.kind"] for row in rows} == {"gta", "prope"}
    assert "No run fits dtype=float32" in report("--where", "dtype=float32", err=True)


def test_checkpoints_and_their_recipes_tell_rows_apart(lab: Lab, report: Report) -> None:
    """Lost otherwise: two checkpoints' scores averaged, or two learning rates that nobody can tell apart."""
    for digest, score in (("28933f5d", 0.2), ("9a0c11de", 0.4)):
        lab.run("tiny", score=score, weights=digest + "0" * 56)
    assert "tiny (@28933f5d) 20.0" in report("--metric", "all.micro")
    assert "tiny (@9a0c11de) 40.0" in report("--metric", "all.micro")
    for lr, score in ((1e-5, 0.5), (2e-5, 0.6)):
        for seed in range(2):
            trained = lab.train(lr=lr, seed=seed)
            lab.run("prope", score=score + seed / 50, weights=f"train:{trained}")
    text = report("--metric", "all.micro", "--where", "model=prope")
    assert "prope (lr=1e-05) 51.0 ± 1.4" in text
    assert "prope (lr=2e-05) 61.0 ± 1.4" in text
    assert "prope 51.0 ± 1.4 61.0 ± 1.4" in report(
        "--metric", "all.micro", "--where", "model=prope", "--cols", "recipe.lr"
    )


def test_an_option_of_a_plugin_says_nothing_of_the_run(lab: Lab, report: Report) -> None:
    """Lost otherwise: a bench's own option `blind` makes a row of runs that saw every frame `[blind]`."""
    plugin = {"blind": True, "input": "frames", "frame_order": "reversed", "imported": True, "base": "chance"}
    lab.run("a", options=plugin, spec={"sampler_options": plugin}, gains={"all.micro": -0.1})
    text = report("--metric", "all.micro")
    assert "a 50.0†" in text
    assert "[blind" not in text
    assert "(imported)" not in text
    lab.run("b", "none", 0, spec={"blind": True})
    assert "b [blind] 50.0" in report("--metric", "all.micro")


def test_the_same_spec_and_seed_twice_is_two_values(lab: Lab, report: Report) -> None:
    """Lost otherwise: evals of two checkpoints of one variant averaged as if they were seeds."""
    lab.run(score=0.4)
    lab.run(score=0.6)
    assert "40.0 or 60.0" in report("--metric", "all.micro")
    assert "differ in inputs" in report()


# Nothing is hidden


def test_seeds_are_a_mean_with_its_standard_deviation(lab: Lab, report: Report) -> None:
    """Lost otherwise: one lucky seed quoted as the result."""
    for seed, score in enumerate((0.47, 0.48, 0.52)):
        lab.run(score=score, seed=seed)
    lab.run("tiny", score=0.2)
    text = report("--metric", "all.micro")
    assert "prope 49.0 ± 2.6" in text
    assert "over 3 seeds" in text
    (cell,) = [c for c in cells(report("--json", "--metric", "all.micro")) if c["model"] == "prope"]
    assert cell["value"] == pytest.approx(0.49)
    assert cell["sd"] == pytest.approx(0.0264575, abs=1e-6)
    assert [run["seed"] for run in cell["runs"]] == [0, 1, 2]


def test_different_numbers_of_seeds_are_said_in_the_cell(lab: Lab, report: Report) -> None:
    """Lost otherwise: a mean of two taken for a mean of three while the third still runs."""
    for seed in range(3):
        lab.run("a", score=0.5, seed=seed)
        lab.run("b", seed=seed, **({"score": None, "state": "running", "done": 7} if seed == 2 else {"score": 0.4}))
    text = report("--metric", "all.micro")
    assert "a 50.0 ± 0.0 (3 seeds)" in text
    assert "b 40.0 ± 0.0 (2 seeds) +running 7/100" in text


def test_missing_running_and_failed_cells_say_so(lab: Lab, report: Report) -> None:
    """Lost otherwise: an empty place that could be anything."""
    lab.run("a", frames=8)
    lab.run("a", frames=16, score=None, state="running", done=12)
    lab.run("b", frames=16, score=None, state="failed", done=0)
    text = report("--metric", "all.micro")
    assert "a 50.0 running 12/100" in text
    assert "b — failed" in text
    assert "—: no such run yet" in text
    states = {(c["model"], c["frames"]): c["state"] for c in cells(report("--json", "--metric", "all.micro"))}
    assert states == {("a", 8): "done", ("a", 16): "running", ("b", 8): "missing", ("b", 16): "failed"}


def test_before_the_first_score_there_is_a_table_of_states(lab: Lab, report: Report) -> None:
    """Lost otherwise: the first evening of a big matrix looks as if nothing were going on."""
    lab.run(score=None, state="waiting", done=0)
    assert "prope waiting" in report()


def test_incomplete_runs_show_how_many_items_count(lab: Lab, report: Report) -> None:
    """Lost otherwise: a score over the half that did not fail passes for the whole."""
    broken = lab.run(items=240, failed=3)
    lab.run("tiny", items=240)
    text = report("--metric", "all.micro")
    assert "prope 50.0 (237/240)" in text
    assert f"3 of 240 in {broken[:8]}" in text
    assert "tiny 50.0\n" in text


def test_unparsed_answers_are_mentioned(lab: Lab, report: Report) -> None:
    """Lost otherwise: a model that answers in sentences looks stupid rather than unparsed."""
    lab.run(unparsed=35)
    assert "answers that did not parse count as wrong: up to 35" in report()
    assert cells(report("--json"))[0]["unparsed"] == 35


def test_a_score_that_one_constant_answer_reaches_is_marked_and_its_types_are_named(lab: Lab, report: Report) -> None:
    """Lost otherwise: "34 % at counting" in a paper, where answering 2 to every question gives 36 %."""
    types = {"object_counting": 0.31, "route_planning": 0.6}
    lab.run(
        "prope", score=0.32, types=types, gains={"all.micro": -0.02, "object_counting": -0.04, "route_planning": 0.1}
    )
    lab.run("qwen", score=0.52, types=types, gains={"all.micro": 0.12, "object_counting": 0.0, "route_planning": 0.2})
    lab.run("old", score=0.22, types=types)
    averages = report("--metric", "all.micro")
    assert "prope 32.0†" in averages
    assert "qwen 52.0" in averages
    assert "†" not in averages.split("qwen", 1)[1].splitlines()[0]
    same = "no better than always giving the most frequent answer"
    assert f"†: {same} to each type of question" in averages
    assert f"{same} at these types (--metric type shows them): object_counting (2 of 3 runs)" in averages.replace(
        "\n", " "
    )
    by_type = report("--metric", "type", "--format", "md")
    assert by_type.count("31.0†") == 2
    assert "60.0†" not in by_type
    assert f"- †: {same}: object_counting '2'" in by_type
    assert {
        (c["model"], c["majority_score"], c["above_majority"]) for c in cells(report("--json", "--metric", "all.micro"))
    } == {
        ("prope", 0.3, False),
        ("qwen", 0.3, True),
        ("old", None, None),
    }
    rows = list(csv.DictReader(io.StringIO(report("--format", "csv", "--metric", "all.micro", raw=True))))
    assert [(row["model"], row["majority_score"], row["above_majority"]) for row in rows][-1] == ("qwen", "0.3", "True")


def test_seeds_are_marked_by_their_mean_and_baselines_never(lab: Lab, report: Report) -> None:
    """Lost otherwise: of five seeds the lucky one takes the mark away from all."""
    for seed, gain in enumerate((0.1, -0.2)):
        lab.run("tiny", seed=seed, gains={"all.micro": gain})
        lab.run("prope", seed=seed, gains={"all.micro": gain + 0.15})
    lab.run("guess", gains={"all.micro": 0.0}, base="frequency")
    text = report("--metric", "all.micro")
    assert "tiny 50.0† ± 0.0" in text
    assert "prope 50.0 ± 0.0" in text
    assert "guess 50.0\n" in text + "\n"


def test_untrained_weights_are_marked_wherever_the_model_stands(lab: Lab, report: Report) -> None:
    """Lost otherwise: random weights in a table of results."""
    lab.run("tiny-prope", score=0.21, bench="rooms", untrained=True, stand_in_for={"model": "prope"})
    assert "tiny-prope (untrained) 21.0" in report("--metric", "all.micro")
    assert "tiny-prope stood in for prope" in report()
    text = " ".join(report("--rows", "sampler", "--cols", "frames").split())
    assert "model tiny-prope (untrained)" in text
    assert "sa 21.0 (untrained)" in text
    assert "| tiny-prope (untrained) |" in report("--format", "md")
    assert all(c["untrained"] and c["model"] == "tiny-prope" for c in cells(report("--json")))


def test_weights_that_never_saw_poses_are_marked_wherever_the_model_stands(lab: Lab, report: Report) -> None:
    """Lost otherwise: cameras that mean nothing to the weights, in a table beside a model trained with them."""
    lab.run("prope", score=0.21, pose_untrained=True)
    lab.run("prope", score=0.4)
    text = report("--metric", "all.micro")
    assert "prope (poses untrained) 21.0" in text
    assert "prope 40.0" in text
    assert "poses untrained: cameras enter" in text
    assert {c["model"]: 0 for c in cells(report("--json"))} == {"prope": 0}
    assert {c["pose_untrained"] for c in cells(report("--json"))} == {True, False}


def test_trained_and_untrained_weights_of_one_variant_are_two_rows(lab: Lab, report: Report) -> None:
    """Lost otherwise: a fine-tuned model and its random start in one cell."""
    lab.run("tiny", score=0.2, untrained=True)
    lab.run("tiny", score=0.4)
    text = report("--metric", "all.micro")
    assert "tiny 40.0" in text
    assert "tiny (untrained) 20.0" in text


def test_runs_over_other_question_sets_say_their_n(lab: Lab, report: Report) -> None:
    """Lost otherwise: the same bench name over two question files compared without a word."""
    lab.run("a", items=5130)
    lab.run("b", items=300)
    text = report("--metric", "all.micro")
    assert "a 50.0 (n=5130)" in text
    assert "b 50.0 (n=300)" in text
    assert "do not share one set of questions" in text


def test_marks_reach_the_table(lab: Lab, report: Report) -> None:
    """Lost otherwise: the notes' `?` and `X`; an excluded attempt must count in no table."""
    lab.run("a", score=0.4, mark="doubtful")
    lab.run("b", score=0.6, mark="excluded")
    text = report("--metric", "all.micro")
    assert "a 40.0?" in text
    assert "b excluded" in text
    assert "60.0" not in text


def test_a_model_that_looks_at_nothing_leaves_no_holes(lab: Lab, report: Report) -> None:
    """Lost otherwise: `chance` seems to miss runs for every sampler, and every model to miss one without frames."""
    lab.run("chance", "none", 0, score=0.25)
    lab.run("tiny", "sa", 8, score=0.3)
    assert "no such run yet" not in report()
    assert "| chance | 25.0 | |" in report("--format", "md", "--metric", "all.micro")
    assert "no frames" in report()
    assert len(cells(report("--json", "--metric", "all.micro"))) == 2


def test_a_mean_over_nothing_is_no_zero(lab: Lab, report: Report) -> None:
    """Lost otherwise: a bench without numerical questions scores 0 on them."""
    lab.run(score={"mra.micro": None})
    assert "prope no items" in report("--metric", "mra.micro")


# Every number can be found again


def test_json_and_csv_are_exact_and_name_their_runs(lab: Lab, report: Report) -> None:
    """Lost otherwise: a number in a paper that nobody can trace to a job."""
    value = 0.5320000018676122
    fingerprint = lab.run(score=value, types={"object_counting": 1 / 3})
    (row,) = csv.DictReader(io.StringIO(report("--format", "csv", "--metric", "all.micro", raw=True)))
    assert float(row["value"]) == value
    assert row["runs"] == fingerprint
    assert (row["bench"], row["scorer"], row["metric"]) == ("vsibench", "official@1", "all.micro")
    assert (row["model"], row["sampler"], row["frames"], row["state"]) == ("prope", "sa", "16", "done")
    (cell,) = cells(report("--json", "--metric", "type"))
    assert cell["value"] == 1 / 3
    assert cell["runs"][0]["fingerprint"] == fingerprint
    assert cell["type"] == "object_counting"


def test_question_types_stand_beside_their_average(lab: Lab, report: Report) -> None:
    """Lost otherwise: the table of every VSI-Bench paper."""
    lab.run(score={"all.micro": 0.5}, types={"route_planning": 0.3, "object_counting": 0.7})
    (heading, values) = [
        row for row in report("--format", "md", "--metric", "all.micro,type").splitlines() if "|" in row
    ][::2]
    assert heading == "| model | sampler | frames | all.micro | object_counting | route_planning |"
    assert values == "| prope | sa | 16 | 50.0 | 70.0 | 30.0 |"


def test_a_short_metric_name_means_both_averages(lab: Lab, report: Report) -> None:
    """Lost otherwise: `--metric acc` silently picks one of two numbers."""
    lab.run(score={"acc.micro": 0.1, "acc.macro": 0.2, "all.micro": 0.3})
    text = report("--metric", "acc")
    assert "10.0" in text
    assert "20.0" in text
    assert "30.0" not in text
    assert "multiple choice, mean over tasks" in text


def test_imported_scores_are_shown_only_when_asked_and_marked(lab: Lab, report: Report) -> None:
    """Lost otherwise: a number kept by hand passes for one that smx measured."""
    lab.run(score=0.5)
    history = lab.root / "past.yaml"
    cell = "model: spatialmllm, bench: vsibench, n: 150, where: {dataset: arkitscenes}"
    history.write_text(
        "schema: 1\nsource: the lab's notes\nscores:\n"
        f"  - {{{cell}, metric: all.micro, value: 0.532}}\n  - {{{cell}, metric: all.macro, value: 0.531}}\n"
    )
    assert cli.run(["ledger", "import", str(history)]) == 0
    report_now = report()
    assert "53.2" not in report_now
    text = report("--imported", "--metric", "all.micro")
    assert "imported · vsibench [dataset=arkitscenes] · scorer not recorded · all.micro" in text
    assert "150 questions" in text
    assert "no run of smx is behind these numbers" in text
    assert "spatialmllm 53.2\n" in text
    past = [c for c in cells(report("--json", "--imported", "--metric", "all.micro")) if c["imported"]]
    assert [(c["value"], c["runs"]) for c in past] == [(0.532, [])]


def test_filters_choose_runs(lab: Lab, report: Report) -> None:
    """Lost otherwise: `--where` that quietly shows everything, or nothing."""
    for model in ("a", "b", "c"):
        for frames in (8, 16):
            lab.run(model, frames=frames, scorer="official@1")
    found = cells(report("--json", "--metric", "all.micro", "--where", "model=a,b", "--where", "frames=8"))
    assert [(c["model"], c["frames"]) for c in found] == [("a", 8), ("b", 8)]
    assert "No run fits model=x" in report("--where", "model=x", err=True)
    assert cells(report("--json", "--scorer", "official", "--metric", "all.micro"))


# What it looks like


@pytest.mark.parametrize("width", [80, 100])
def test_tables_fit_the_terminal(lab: Lab, report: Report, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Lost otherwise: rows that wrap around, where no number stands under its heading."""
    samplers = ("uniform", "sa", "mergeaware_uniform", "mergeaware_sa", "random")
    for sampler in samplers:
        for frames in (8, 16, 32):
            lab.run("spatialmllm-135k", sampler, frames, score=frames / 100, items=240, failed=3)
    monkeypatch.setenv("COLUMNS", str(width))
    text = report("--metric", "all.micro", raw=True)
    assert max(map(len, text.splitlines())) <= width
    assert all(text.count(sampler) >= 1 for sampler in samplers)
    assert text.count("8.0 (237/240)") == 5


def test_decimal_points_stand_under_each_other(lab: Lab, report: Report) -> None:
    """Lost otherwise: a column one has to read twice."""
    lab.run("a", score=0.081)
    lab.run("b", score=1.0)
    lab.run("c", score=0.48, items=100, failed=2)
    lines = [line for line in report("--metric", "all.micro", raw=True).splitlines() if line[:2] in ("a ", "b ", "c ")]
    assert len({line.index(".") for line in lines}) == 1


def test_markdown_is_a_pipe_table_with_a_caption(lab: Lab, report: Report, tmp_path: Path) -> None:
    """Lost otherwise: a table that has to be retyped for the paper."""
    lab.run("a|b", frames=8)
    lab.run("a|b", frames=16)
    target = tmp_path / "table.md"
    assert f"wrote {target}" in report("-o", str(target), "--metric", "all.micro", err=True)
    lines = target.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("**vsibench · scorer official@1 · all.micro** (mean over questions")
    assert lines[2:5] == [
        "| model | sa, 8 frames | sa, 16 frames |",
        "| ----- | -----------: | ------------: |",
        "| a\\|b  |         50.0 |          50.0 |",
    ]


# Wrong input


def test_nothing_yet_says_what_makes_some(report: Report, lab: Lab) -> None:
    """Lost otherwise: a newcomer looks at an empty screen."""
    assert "There are no scores yet. This makes some: smx eval" in report(err=True)
    assert json.loads(report("--json")) == {"tables": []}
    assert report("--format", "csv").startswith("bench,scorer,metric")
    assert not (lab.root / "registry.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "modle"], "did you mean model?"),
        (["--rows", "model", "--cols", "model"], "axis 'model' is named twice"),
        (["--rows", "model,model"], "axis 'model' is named twice"),
        (["--rows", "type", "--metric", "all.micro"], "--metric all.micro,type"),
        (["--metric", "type,task"], "either by type or by task"),
        (["--metric", "all.mikro"], "did you mean all.micro?"),
        (["--bench", "vsibnech"], "did you mean vsibench?"),
        (["--scorer", "oficial"], "did you mean official@1?"),
        (["--where", "model"], "is not KEY=VALUE"),
        (["--where", "modell=a"], "did you mean model?"),
        (["--format", "xls"], "'table', 'csv', 'html', 'json', 'latex', 'md'"),
        (["--format", "xls"], "error: Invalid value for '--format': 'xls' is not one of"),
        (["-o", "missing/table.md"], "cannot write"),
        (["-o", "table.docx"], "one of .txt, .csv, .html, .json, .tex, .md; or say --format"),
    ],
)
def test_wrong_words_are_named(
    lab: Lab, report: Report, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """Lost otherwise: a typing error becomes an empty table."""
    lab.run()
    monkeypatch.chdir(lab.root)
    assert message in report(*arguments, code=2, err=True)


def test_axes_have_sensible_defaults() -> None:
    """Lost otherwise: having to name every axis each time."""
    assert (parse().rows, parse().cols) == (("model",), ("sampler", "frames"))
    assert parse(rows="model,sampler").cols == ("frames",)
    assert parse(cols="model").rows == ("sampler", "frames")
    assert (parse(metric="type").rows, parse(metric="type").cols) == (("model", "sampler", "frames"), ("type",))
    assert (parse(rows="type").cols, parse(rows="type").metrics) == (("model", "sampler", "frames"), ("type",))
    assert parse(cols="task").metrics == ("task",)
    with pytest.raises(UserError, match="unknown axis 'x'"):
        parse(rows="x")
