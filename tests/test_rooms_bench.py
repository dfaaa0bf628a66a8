"""The bench that runs everywhere must ask the same questions everywhere, and never test on what it trains on."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from smx import plugins
from smx.benches import Question
from smx.benches._vsi import CHOICE, TYPES
from smx.benches.rooms import Bench
from smx.errors import UserError


def bench_of(**options: Any) -> Bench:
    """A bench of a few scenes."""
    return Bench.parse({"scenes": 2, "train_scenes": 3, **options}, "bench rooms")


@pytest.fixture(scope="module")
def test_questions() -> list[Question]:
    return bench_of().questions(None)


@pytest.fixture(scope="module")
def train_questions() -> list[Question]:
    return bench_of().training(None)


def test_questions_are_in_vsibenchs_words(test_questions: list[Question]) -> None:
    """Prompt and scorers are VSI-Bench's: every question must fit them."""
    bench = bench_of()
    for question in test_questions:
        assert question.type in TYPES
        assert (question.options is not None) == (question.type in CHOICE)
        assert question.text.strip() == question.text
        assert question.text in bench.render(question)
        for number, option in enumerate(question.options or ()):
            assert option.startswith("ABCDEFGH"[number] + ". ")
        for scorer in bench.scorers:
            assert bench.judge(question, question.truth, scorer).score == 1.0


def test_every_type_is_asked_over_the_default_scenes() -> None:
    asked = Counter(q.type for q in bench_of(scenes=8).questions(None))
    assert set(asked) == set(TYPES)


def test_ids_name_one_question_each(test_questions: list[Question], train_questions: list[Question]) -> None:
    ids = [q.id for q in test_questions + train_questions]
    assert len(ids) == len(set(ids))
    assert [(q.scene, q.id) for q in test_questions] == sorted((q.scene, q.id) for q in test_questions)
    assert [(q.scene, q.id) for q in train_questions] == sorted((q.scene, q.id) for q in train_questions)


def test_scenes_are_those_of_the_dataset_and_splits_share_none(
    test_questions: list[Question], train_questions: list[Question]
) -> None:
    bench = bench_of()
    dataset = plugins.load("datasets", bench.dataset)
    test = dataset.parse(bench.dataset_options(), "dataset rooms").scenes(None)
    train = dataset.parse(bench.training_dataset_options(), "dataset rooms").scenes(None)
    assert {q.scene for q in test_questions} == set(test)
    assert {q.scene for q in train_questions} == set(train)
    assert not set(test) & set(train)
    assert (len(test), len(train)) == (2, 3)


def test_more_scenes_only_add_questions(test_questions: list[Question]) -> None:
    """Otherwise the same id would mean another question in a larger run."""
    more = bench_of(scenes=3, train_scenes=0)
    assert [q for q in more.questions(None) if q.scene != "test-002"] == test_questions
    assert more.training(None) == []


def test_where_and_prompt_are_vsibenchs(test_questions: list[Question]) -> None:
    bench = bench_of(where="question_type=object_counting,scene_name=test-001")
    assert bench.questions(None) == [q for q in test_questions if (q.type, q.scene) == ("object_counting", "test-001")]
    assert bench.questions(None)
    assert bench_of(prompt="spatial-mllm").render(test_questions[0]).startswith(test_questions[0].text)
    with pytest.raises(UserError, match=r"valid keys: .*scenes"):
        bench_of(scene=3)


def test_a_model_can_be_trained_on_some_types_only(train_questions: list[Question]) -> None:
    """Test scenes have no meaning for training, so only the types of `where` are read."""
    bench = bench_of(where="question_type=object_counting|room_size_estimation,scene_name=test-001")
    wanted = [q for q in train_questions if q.type in ("object_counting", "room_size_estimation")]
    assert bench.training(None) == wanted
    assert {q.type for q in wanted} == {"object_counting", "room_size_estimation"}


def test_the_baselines_look_at_training_answers(train_questions: list[Question]) -> None:
    assert bench_of().baseline_answers(None) == (train_questions, "answers of the training split")


def test_the_digest_follows_what_is_asked_about() -> None:
    digest = bench_of().digest(None)
    assert digest == bench_of().digest(None)
    assert digest != bench_of(frames=48).digest(None)


def test_rooms_written_out_in_vsibenchs_columns_read_back_as_the_same_questions(
    tmp_path: Path, test_questions: list[Question]
) -> None:
    """The miniature VSI-Bench: one schema for both, so that what runs on rooms runs on the real one."""
    import pyarrow
    import pyarrow.parquet

    from smx.rooms import named_scene, questions

    rows = [asdict(row) for name in ("test-000", "test-001") for row in questions(named_scene(name))]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "test.parquet")
    read = plugins.load("benches", "vsibench")().questions(tmp_path)
    assert [replace(q, scene=q.scene.removeprefix("rooms/")) for q in read] == test_questions
