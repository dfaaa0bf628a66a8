"""chance and frequency: the floor under every table, the same on every machine and however work is split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smx.models import Query, Runner
from smx.models.chance import Model as Chance
from smx.models.frequency import Model as Frequency

LETTERS = ("A. left", "B. right", "C. back")
KNOWN = [
    (Query(f"t{n}", "?", kind, LETTERS if kind == "route_planning" else None), answer)
    for n, (kind, answer) in enumerate(
        [
            ("object_counting", "3"),
            ("object_counting", "2"),
            ("object_counting", "2"),
            ("room_size_estimation", "20.5"),
            ("room_size_estimation", "17.1"),
            ("route_planning", "C"),
            ("route_planning", "C"),
            ("route_planning", "A"),
        ]
    )
]


def chance(seed: int = 0) -> Runner:
    return Chance().load(None, seed=seed, device="cpu", dtype="float32", training=KNOWN)


def frequency() -> Runner:
    return Frequency().load(None, seed=0, device="cpu", dtype="float32", training=KNOWN)


def answers(runner: Runner, queries: list[Query]) -> list[str]:
    return [reply.text for reply in runner.answer(None, queries, 16)]


def counting(n: int) -> list[Query]:
    return [Query(f"q{i}", "How many?", "object_counting") for i in range(n)]


def choosing(n: int, options: tuple[str, ...] = LETTERS) -> list[Query]:
    return [Query(f"q{i}", "Which way?", "route_planning", options) for i in range(n)]


@given(st.permutations(range(12)), st.integers(0, 11))
def test_chance_gives_a_question_one_answer_whatever_the_order_and_the_shards(order: list[int], cut: int) -> None:
    queries = counting(6) + [Query(f"c{i}", "?", "route_planning", LETTERS) for i in range(6)]
    whole = dict(zip([q.id for q in queries], answers(chance(), queries), strict=True))
    shuffled = [queries[i] for i in order]
    parts = answers(chance(), shuffled[:cut]) + answers(chance(), shuffled[cut:])
    assert dict(zip([q.id for q in shuffled], parts, strict=True)) == whole


def test_chance_does_not_depend_on_the_order_of_the_known_answers() -> None:
    other = Chance().load(None, seed=0, device="cpu", dtype="float32", training=KNOWN[::-1])
    assert answers(other, counting(50)) == answers(chance(), counting(50))


def test_chance_is_the_same_on_every_machine() -> None:
    """Stored answers: a change here changes recorded runs, and needs a new `version` of the plugin."""
    assert "".join(answers(chance(), choosing(16))) == STORED_LETTERS
    assert " ".join(answers(chance(), counting(8))) == STORED_COUNTS


STORED_LETTERS = "CCAACABCAAACBBCA"
STORED_COUNTS = "2 2 3 3 2 3 2 2"


def test_chance_uses_only_the_options_there_are_and_all_of_them_alike() -> None:
    for k in (2, 3, 4):
        drawn = Counter(answers(chance(), choosing(1200, tuple("ABCD"[:k]))))
        assert sorted(drawn) == list("ABCD"[:k])
        assert max(drawn.values()) < 1.25 * min(drawn.values())


def test_chance_draws_known_answers_as_often_as_they_are_given() -> None:
    drawn = Counter(answers(chance(), counting(1200)))
    assert sorted(drawn) == ["2", "3"]
    assert 1.6 < drawn["2"] / drawn["3"] < 2.5


def test_another_seed_is_another_draw() -> None:
    assert answers(chance(1), choosing(40)) != answers(chance(2), choosing(40))


def test_frequency_repeats_the_most_frequent_known_answer_of_the_type() -> None:
    assert answers(frequency(), counting(3)) == ["2", "2", "2"]
    assert answers(frequency(), choosing(2)) == ["C", "C"]


def test_a_tie_goes_to_the_answer_seen_first() -> None:
    assert answers(frequency(), [Query("q", "?", "room_size_estimation")]) == ["20.5"]


@pytest.mark.parametrize("runner", [chance(), frequency()])
def test_a_type_without_known_answers_is_an_error_and_spoils_no_other_question(runner: Runner) -> None:
    good, bad = counting(2), Query("b", "?", "object_abs_distance")
    replies = runner.answer(None, [good[0], bad, good[1]], 16)
    first = next(replies).text
    with pytest.raises(LookupError, match=r"object_abs_distance.*object_counting, room_size_estimation"):
        next(replies)
    assert [first, *answers(runner, [good[1]])] == answers(runner, good)


@pytest.mark.parametrize("cls", [Chance, Frequency])
def test_baselines_ask_for_answers_and_for_no_frames_or_weights(cls: type[Chance] | type[Frequency]) -> None:
    assert cls.needs_training_answers
    assert [cls.needs_frames, cls.needs_checkpoint, cls.trainable, cls().wants_cameras()] == [False] * 4
    runner = cls().load(None, seed=3, device="cpu", dtype="float32", training=KNOWN)
    assert not runner.untrained
    assert runner.info["known_answers"] == len(KNOWN)


def test_the_variants_are_shipped() -> None:
    from smx.spec import Variant
    from smx.yamlfile import read_yaml

    folder = Path(__file__).parent.parent / "experiments" / "models"
    for name in ("chance", "frequency"):
        assert Variant.parse(read_yaml(folder / f"{name}.yaml"), name).resolved() == {"base": name}
