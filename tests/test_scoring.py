"""A scorer that is almost the published one makes every comparison with a published number worthless."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smx.benches import Question, Verdict
from smx.benches._averages import counts
from smx.benches._scorers import official, spatial_mllm
from smx.benches._vsi import CHOICE, NUMERICAL, TASKS, TYPES
from smx.benches.vsibench import Bench
from smx.errors import UserError
from smx.registry.scores import score_rows

BENCH = Bench()
# rows of each type in the full test split
COUNTS = dict(zip(TYPES, (565, 834, 953, 288, 710, 217, 378, 373, 194, 618), strict=True))


def a_question(kind: str = "object_counting", truth: str = "2", identity: str = "0") -> Question:
    return Question(identity, "scannet", "scannet/scene0000_00", kind, "?", None, truth)


def scored(scores: dict[str, list[float]]) -> list[tuple[Question, Verdict]]:
    return [(a_question(kind), Verdict("x", s)) for kind, values in scores.items() for s in values]


@pytest.mark.parametrize(
    ("text", "truth", "score", "parsed"),
    [
        ("3", "2", 0.1, "3"),  # error 0.5 = 1 - 0.5 counts
        ("5", "4", 0.6, "5"),
        ("9", "10", 0.9, "9"),  # 0.8 with thresholds typed as literals
        ("4", "4", 1.0, "4"),
        ("4.", "4", 1.0, "4"),
        ("4...", "4", 1.0, "4"),
        ("4 chairs", "4", 1.0, "4"),
        ("4\n", "4", 1.0, "4"),
        ("2.5 meters", "2.5", 1.0, "2.5"),
        ("4.0", "4", 1.0, "4.0"),
        ("1e1", "10", 1.0, "1e1"),
        ("four", "4", 0.0, None),
        (" 4", "4", 0.0, None),  # the first word is empty
        ("4,", "4", 0.0, None),
        ("4m", "4", 0.0, None),
        ("1,000", "1000", 0.0, None),
        ("There are 4", "4", 0.0, None),
        ("<answer>4</answer>", "4", 0.0, None),
        ("", "4", 0.0, None),
        ("0", "4", 0.0, "0"),
        ("-4", "4", 0.0, "-4"),
        ("nan", "4", 0.0, None),
        ("inf", "4", 0.0, None),
        ("1e400", "4", 0.0, None),
    ],
)
def test_official_reads_numbers_as_thinking_in_space_does(
    text: str, truth: str, score: float, parsed: str | None
) -> None:
    assert official(text, truth, numerical=True) == Verdict(parsed, score)


@pytest.mark.parametrize(
    ("text", "truth", "score", "parsed"),
    [
        ("A", "A", 1.0, "A"),
        ("a", "A", 1.0, "A"),
        ("A.", "A", 1.0, "A"),
        ("A. chair", "A", 1.0, "A"),
        ("A chair", "A", 1.0, "A"),
        ("B. table", "A", 0.0, "B"),
        ("(A)", "A", 0.0, None),
        ("A:", "A", 0.0, None),
        ("A.\nchair", "A", 0.0, None),
        ("The answer is A", "A", 0.0, None),
        ("chair", "A", 0.0, None),
        ("", "A", 0.0, None),
    ],
)
def test_official_reads_letters_as_thinking_in_space_does(
    text: str, truth: str, score: float, parsed: str | None
) -> None:
    assert official(text, truth, numerical=False) == Verdict(parsed, score)


@pytest.mark.parametrize(
    ("text", "truth", "score", "parsed"),
    [
        ("3", "2", 0.0, "3"),  # error 0.5 < 1 - 0.5 does not hold
        ("5", "4", 0.5, "5"),
        ("4", "4", 1.0, "4"),
        ("4.", "4", 1.0, "4"),
        (" 4 \n", "4", 1.0, "4"),
        ("4 .", "4", 1.0, "4"),
        ("1,000", "1000", 1.0, "1000"),
        ("<answer>7</answer> so <answer> 4\n</answer>.", "4", 1.0, "4"),
        ("4 <answer>", "4", 0.0, None),
        ("4 chairs", "4", 0.0, None),
        ("4m", "4", 0.0, None),
        ("four", "4", 0.0, None),
        ("", "4", 0.0, None),
        ("nan", "4", 0.0, None),
        ("-inf", "4", 0.0, None),
        ("1e39", "4", 0.0, "1e39"),  # a number, though not in float32
    ],
)
def test_spatial_mllm_reads_numbers_as_its_code_does(text: str, truth: str, score: float, parsed: str | None) -> None:
    assert spatial_mllm(text, truth, numerical=True) == Verdict(parsed, score)


@pytest.mark.parametrize(
    ("text", "truth", "score", "parsed"),
    [
        ("A", "A", 1.0, "A"),
        (" a.\n", "A", 1.0, "A"),
        ("<answer>B</answer><answer>\nA\n</answer>", "A", 1.0, "A"),
        ("B", "A", 0.0, "B"),
        ("a. chair", "A", 0.0, None),
        ("A chair", "A", 0.0, None),
        ("(A)", "A", 0.0, None),
        ("", "A", 0.0, None),
    ],
)
def test_spatial_mllm_wants_the_letter_and_nothing_else(
    text: str, truth: str, score: float, parsed: str | None
) -> None:
    assert spatial_mllm(text, truth, numerical=False) == Verdict(parsed, score)


def test_thresholds_come_from_linspace_not_from_literals() -> None:
    """20 of the 15,100 pairs (0..150 for 1..100) would be scored otherwise."""
    literals = np.array([0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
    pairs = list(itertools.product(range(151), range(1, 101)))
    ours = [official(str(p), str(t), numerical=True).score for p, t in pairs]
    computed = [float((abs(p - t) / t <= 1 - np.linspace(0.5, 0.95, 10)).mean()) for p, t in pairs]
    typed = [float((abs(p - t) / t <= 1 - literals).mean()) for p, t in pairs]
    assert len(pairs) == 15_100
    assert ours == computed
    assert sum(a != b for a, b in zip(ours, typed, strict=True)) == 20


def test_the_two_scorers_differ_on_44_of_620_small_pairs() -> None:
    pairs = [(str(p), str(t)) for p, t in itertools.product(range(31), range(1, 21))]
    differ = [(p, t) for p, t in pairs if official(p, t, numerical=True) != spatial_mllm(p, t, numerical=True)]
    assert len(pairs) == 620
    assert len(differ) == 44
    assert ("3", "2") in differ
    assert ("5", "4") in differ


def test_spatial_mllm_is_float32_as_torch_computes_it() -> None:
    """The published code is torch; every decimal up to 40 with one digit must fall on the same side."""
    import torch

    answers, truths = [p / 10 for p in range(0, 400, 3)], [t / 10 for t in range(1, 300, 4)]
    p, t = torch.tensor(answers)[:, None], torch.tensor(truths)[None]
    limits = 1 - torch.arange(0.5, 0.975, 0.05, dtype=torch.float32)
    hits = (((p - t).abs() / (t.abs() + 1e-8))[..., None] < limits).sum(-1)
    ours = [[spatial_mllm(str(a), str(b), numerical=True).score for b in truths] for a in answers]
    assert np.array_equal(np.array(ours), hits.numpy() / 10)


@pytest.mark.parametrize("truth", ["0", "0.0", "-2", "nan", "inf", "-inf", "1e400", "", "two", "1,000"])
@pytest.mark.parametrize("scorer", Bench.scorers)
def test_a_broken_numerical_truth_is_an_error_not_a_score(truth: str, scorer: str) -> None:
    """Dividing by a negative truth would give every answer full marks, by zero a crash."""
    with pytest.raises(ValueError, match="no positive number"):
        BENCH.judge(a_question(truth=truth), "3", scorer)


def test_judge_uses_accuracy_for_choices_and_mra_for_numbers() -> None:
    for kind in TYPES:
        assert (kind in CHOICE) != (kind in NUMERICAL)
        truth = "B" if kind in CHOICE else "4"
        for scorer in BENCH.scorers:
            assert BENCH.judge(a_question(kind, truth), truth, scorer) == Verdict(truth, 1.0)
    assert BENCH.judge(a_question("route_planning", "B"), "b. left", "official").score == 1.0
    assert BENCH.judge(a_question("route_planning", "B"), "b. left", "spatial-mllm").score == 0.0


def test_a_misspelt_scorer_names_the_right_one() -> None:
    with pytest.raises(UserError, match="did you mean official") as caught:
        BENCH.judge(a_question(), "3", "oficial")
    assert "spatial-mllm" in caught.value.hint
    assert BENCH.scorers[0] == "official"


def test_relative_direction_counts_as_one_task_and_micro_counts_items() -> None:
    summary = BENCH.summarize(
        scored(
            {
                "object_rel_direction_easy": [1.0, 1.0, 1.0],
                "object_rel_direction_hard": [0.0],
                "object_rel_distance": [0.0, 0.0],
                "object_counting": [0.6, 0.8],
                "room_size_estimation": [0.1],
            }
        )
    )
    assert summary["types"]["object_rel_direction_easy"] == {"score": 1.0, "n": 3}
    assert "object_rel_direction_medium" not in summary["types"]
    assert summary["tasks"]["object_rel_direction"] == {"score": 0.5, "n": 4}
    assert list(summary["tasks"]) == [t for t in TASKS if t in summary["tasks"]]
    assert summary["acc"] == {"micro": pytest.approx(3 / 6), "macro": pytest.approx((0.5 + 0) / 2)}
    assert summary["mra"] == {"micro": pytest.approx(1.5 / 3), "macro": pytest.approx((0.7 + 0.1) / 2)}
    assert summary["all"] == {"micro": pytest.approx(4.5 / 9), "macro": pytest.approx((0.5 + 0 + 0.7 + 0.1) / 4)}
    assert (summary["n"], summary["unparsed"]) == (9, 0)


@pytest.mark.parametrize(
    ("by_task", "micro", "macro"),
    [
        ((65.3, 34.8, 63.1, 45.1, 41.3, 46.2, 33.5, 46.3), 48.4, 46.95),  # Spatial-MLLM-4B prints the micro mean
        ((70.2, 49.4, 69.2, 67.1, 65.4, 80.5, 45.4, 40.1), 63.17, 60.91),  # VLM-3R-7B prints the macro mean
    ],
)
def test_published_tables_come_out_as_the_average_they_quote(
    by_task: tuple[float, ...], micro: float, macro: float
) -> None:
    task_of = {kind: task for task, kinds in TASKS.items() for kind in kinds}
    score_of = dict(zip(TASKS, by_task, strict=True))
    summary = BENCH.summarize(scored({kind: [score_of[task_of[kind]] / 100] * n for kind, n in COUNTS.items()}))
    assert summary["n"] == 5130
    assert 100 * summary["all"]["micro"] == pytest.approx(micro, abs=0.05)
    assert 100 * summary["all"]["macro"] == pytest.approx(macro, abs=0.005)


def test_every_score_in_the_registry_has_its_own_n_unparsed_and_cut() -> None:
    """Of all 9 questions, or of 0 that did not parse, a reader would take a task's number for surer than it is."""
    answered = scored({"object_counting": [0.6, 0.8], "object_rel_distance": [1.0] * 3, "route_planning": [1.0] * 2})
    silent = [(question, Verdict(None, 0.0)) for question, _ in scored({"object_counting": [0.0, 0.0]})]
    asked = [*answered, *silent]
    cut = [False] * len(answered) + [True] * len(silent)
    summary = {**BENCH.summarize(asked), "counts": counts(asked, BENCH.tasks(), BENCH.averages(), cut)}
    rows = {
        (row.metric, row.task): (row.n, row.unparsed) for row in score_rows("f", "vsibench", {"official@1": summary})
    }
    assert all(row.cut == row.unparsed for row in score_rows("f", "vsibench", {"official@1": summary}))
    assert rows["all.micro", ""] == rows["all.macro", ""] == (9, 2)
    assert rows["acc.micro", ""] == rows["acc.macro", ""] == (5, 0)
    assert rows["mra.micro", ""] == rows["task", "object_counting"] == rows["type", "object_counting"] == (4, 2)
    assert rows["task", "route_planning"] == (2, 0)


def test_a_mean_over_nothing_is_none_not_zero() -> None:
    only_rooms = BENCH.summarize(scored({"room_size_estimation": [0.5, 0.7]}))
    assert only_rooms["acc"] == {"micro": None, "macro": None}
    assert only_rooms["mra"] == only_rooms["all"] == {"micro": pytest.approx(0.6), "macro": pytest.approx(0.6)}
    nothing = BENCH.summarize([])
    assert nothing == {"n": 0, "unparsed": 0, "types": {}, "tasks": {}} | {
        name: {"micro": None, "macro": None} for name in ("acc", "mra", "all")
    }


def test_unparsed_answers_are_counted_and_score_zero() -> None:
    question = a_question()
    verdicts = [BENCH.judge(question, text, "official") for text in ("two", "2", "I cannot tell")]
    summary = BENCH.summarize([(question, v) for v in verdicts])
    assert (summary["n"], summary["unparsed"]) == (3, 2)
    assert summary["all"]["micro"] == pytest.approx(1 / 3)


@given(st.dictionaries(st.sampled_from(TYPES), st.lists(st.floats(0, 1), min_size=1, max_size=4)))
def test_averages_hold_together_on_any_subset_of_types(scores: dict[str, list[float]]) -> None:
    """A run on part of the bench must give the averages of that part, whichever part it is."""
    summary = BENCH.summarize(scored(scores))
    assert summary["n"] == sum(len(v) for v in scores.values())
    assert sum(t["n"] for t in summary["types"].values()) == sum(t["n"] for t in summary["tasks"].values())
    for name, members in (("acc", CHOICE), ("mra", NUMERICAL), ("all", CHOICE | NUMERICAL)):
        items = [s for kind, values in scores.items() if kind in members for s in values]
        if not items:
            assert summary[name] == {"micro": None, "macro": None}
            continue
        assert summary[name]["micro"] == pytest.approx(sum(items) / len(items))
        assert min(items) - 1e-9 <= summary[name]["macro"] <= max(items) + 1e-9
