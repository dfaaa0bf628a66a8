"""SQA3D and ScanQA: an answer read otherwise than in the published code spoils every comparison, as a lost question."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.commands import data, smx
from support.question_files import ASKED, write_scanqa, write_sqa3d

from smx.benches import Question
from smx.benches._short import clean
from smx.benches.scanqa import Bench as ScanQA
from smx.benches.sqa3d import Bench as SQA3D
from smx.errors import UserError
from smx.models import SceneInput
from smx.node.frame_order import shown
from smx.runfolder import RunFolder

FIXTURE = Path(os.environ.get("SMX_FIXTURES", Path(__file__).parents[2] / "shared" / "fixtures")) / "sqa3d"


def a_question(*truths: str) -> Question:
    return Question("0", "scannet", "scene0000_00", "what", "?", None, truths[0], truths[1:])


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  The   Chair. ", "chair"),
        ("a brown TABLE", "brown table"),
        ("letf", "left"),
        ("to the rigth", "to right"),
        ("backwards", "backward"),
        ("2", "two"),
        ("None", "zero"),
        ("twenty-three", "twenty-three"),
        ("20", "twenty"),
        ("21", "21"),
        ("180 degrees", "180 degrees"),
        ("table2", "table"),
        ("3 oclock", "three o'clock"),
        ("3 o' clock", "three o'clock"),
        ("no, bucket is open", "no, bucket is open"),
        ("clothes-dryer", "clothes-dryer"),
        ("left\nright", "left\nright"),
        ("chair .", "chair "),
        ("chair\n", "chair"),
        ("a  brown   chair", "brown chair"),
        ("tv 2", "TV two"),
        ("TVs", "tvs"),
        ("façade’s", "faades"),
        ("椅子", ""),
        ("", ""),
    ],
)
def test_both_sides_are_cleaned_as_published(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("said", "truths", "em", "refined", "any_word"),
    [
        ("TV", ("tv",), 1, 1, 1),
        ("The TV.", ("TV",), 1, 1, 1),
        ("2", ("two",), 1, 1, 1),
        ("brown chair", ("chair",), 0, 1, 1),
        ("chair", ("brown chair",), 0, 1, 1),
        ("arm chair", ("armchair",), 0, 1, 1),
        ("I do not know", ("no",), 0, 1, 0),
        ("network", ("two",), 0, 1, 0),
        ("chair .", ("chair",), 0, 1, 1),
        ("tv", ("tvs",), 0, 0, 0),
        ("no", ("no, the door is open",), 0, 1, 1),
        ("brown sofa", ("brown chair",), 0, 0, 1),
        ("sofa", ("chair",), 0, 0, 0),
        ("sofa", ("chair", "sofa"), 1, 1, 1),
        ("sofa", ("big sofa", "sofa"), 0, 1, 1),  # contained in the first: LEO looks no further,
        ("", ("chair",), 0, 0, 0),
        ("…", ("chair",), 0, 0, 0),
        ("-", ("chair",), 0, 0, 0),
        ("椅子", ("chair",), 0, 0, 0),
        ("I cannot tell from the frames", ("chair",), 0, 0, 0),
    ],
)
def test_exact_refined_and_shared_words_are_three_numbers(
    said: str, truths: tuple[str, ...], em: int, refined: int, any_word: int
) -> None:
    for scorer, score in (("em", em), ("em-r", refined), ("any-word", any_word)):
        assert SQA3D().judge(a_question(*truths), said, scorer).score == score


def test_an_answer_without_a_word_is_unparsed_and_not_contained_in_every_truth() -> None:
    for text in ("", " . ", "'-'", "？"):
        assert SQA3D().judge(a_question("chair"), text, "em-r").parsed is None


def test_training_asks_from_every_situation_and_the_test_from_one(tmp_path: Path) -> None:
    write_sqa3d(tmp_path, ["scene0001_00"])
    assert SQA3D().training(tmp_path) == []
    assert "test split" in SQA3D().baseline_answers(tmp_path)[1]
    write_sqa3d(tmp_path, ["scene0002_00"], "train")
    asked, trained = SQA3D().questions(tmp_path), SQA3D().training(tmp_path)
    assert (len(asked), len(trained)) == (len(ASKED), 3 * len(ASKED))
    assert len({q.id for q in trained}) == len(trained)
    assert len(SQA3D(situation="none").training(tmp_path)) == len(ASKED)
    assert [q.type for q in asked] == ["what", "is", "how", "can", "which", "other"]
    assert {q.id: q.truth for q in asked}["104"] == "backward"  # joined by id, not by place
    prompt = "I am standing by the sofa. What is on my left? Answer the question using a single word or phrase."
    assert SQA3D().render(asked[0]) == prompt
    bare = SQA3D(situation="none")
    assert bare.render(bare.questions(tmp_path)[0]).startswith("What is on my left? Answer")
    assert SQA3D(where="question_type=how").questions(tmp_path)[0].truth == "two"


def test_any_of_the_answers_of_scanqa_is_right(tmp_path: Path) -> None:
    write_scanqa(tmp_path, ["scene0001_00"])
    write_scanqa(tmp_path, ["scene0002_00"], "train")
    first = ScanQA().questions(tmp_path)[0]
    assert first.truths == ("TV", "TV one")
    assert ScanQA().judge(first, "the tv", "em").score == 1
    assert ScanQA().judge(first, "the tv 1", "em-r").score == 1
    assert {q.scene for q in ScanQA().training(tmp_path)} == {"scene0002_00"}


@pytest.mark.parametrize("cell", ["['table', 'a desk']", '["table", "a desk"]', "a desk"])
def test_a_cell_of_a_csv_file_may_hold_several_answers(cell: str) -> None:
    """Read as one long answer, the list would make every right answer a wrong one, without a word."""
    question = ScanQA().question_of({"question": "What is here?", "answers": cell}, "line 2")
    assert ScanQA().judge(question, "Desk", "em").score == 1
    with pytest.raises(UserError, match="line 2: no answer"):
        ScanQA().question_of({"question": "What is here?", "answer": float("nan")}, "line 2")


def test_broken_files_are_said_with_file_and_row(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no v1_balanced_sqa_annotations_test"):
        SQA3D().questions(tmp_path)
    write_sqa3d(tmp_path, ["scene0001_00"])
    answers = tmp_path / "v1_balanced_sqa_annotations_test_scannetv2.json"
    content = json.loads(answers.read_text())
    content["annotations"][0]["answers"] = []
    answers.write_text(json.dumps(content))
    with pytest.raises(UserError, match="row 6: no answer"):
        SQA3D().questions(tmp_path)
    del content["annotations"][0]
    answers.write_text(json.dumps(content))
    with pytest.raises(UserError, match="row 6: question 105 has no annotation"):
        SQA3D().questions(tmp_path)


@pytest.mark.skipif(not FIXTURE.is_dir(), reason="SMX_FIXTURES holds no sqa3d")
def test_all_real_test_questions_go_through_prompt_and_scorer() -> None:
    bench = SQA3D()
    asked = bench.questions(FIXTURE)
    assert len(asked) == len({q.id for q in asked}) == 3519
    assert len({q.scene for q in asked}) == 67
    assert Counter(q.type for q in asked) == dict(what=1147, **{"is": 652}, how=465, can=338, which=351, other=566)
    for question in asked:
        assert bench.render(question).endswith(" Answer the question using a single word or phrase.")
    for scorer in bench.scorers:
        summary = bench.summarize([(q, bench.judge(q, f" {q.truth.upper()}.", scorer)) for q in asked])
        assert summary["all"]["micro"] == 1
        assert (summary["n"], summary["unparsed"]) == (3519, 0)


def test_a_blind_run_needs_no_scans_and_stands_beside_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sqa3d(tmp_path / "sqa3d", ["scene0001_00"])
    given = ("eval", "--bench", "sqa3d", "--root", "sqa3d")
    assert smx(*given, "--model", "tiny", "--frames", "16") == 2  # there are no scans
    assert smx(*given, "--model", "tiny", "--blind") == 0
    assert smx(*given, "--model", "frequency") == 0
    capsys.readouterr()
    [table] = data(capsys, "report", "--metric", "all.micro")["tables"]
    assert {cell["model"]: cell["sampler"] for cell in table["cells"]} == {"frequency": "none", "tiny [blind]": "none"}
    [run] = (tmp_path / "runs" / "eval").glob("tiny-sqa3d-blind-*")
    records = RunFolder(run).outcome().done
    assert len(records) == len(ASKED)
    assert all("I am standing by the sofa." in record["data"]["question"] for record in records.values())


def a_scene(n: int) -> SceneInput:
    frames = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    w2c = np.stack([np.eye(4) * k for k in range(n)])
    return SceneInput("s", frames, np.linspace(3, 9, n), w2c, w2c[:, :3, :3])


@pytest.mark.parametrize("order", ["given", "reversed", "shuffled"])
@pytest.mark.parametrize("n", [2, 7, 8])
def test_another_order_keeps_pairs_cameras_and_every_frame(order: str, n: int) -> None:
    """A pair torn apart would be merged with a stranger, a camera left behind would belong to another picture."""
    scene = a_scene(n)
    after = shown(scene, "video", order, 0)  # type: ignore[arg-type]
    places = after.frames[:, 0, 0, 0].tolist()
    assert sorted(places) == list(range(n))
    assert all(b == a + 1 and a % 2 == 0 for a, b in zip(places[0 : n - 1 : 2], places[1::2], strict=False))
    assert after.w2c is not None
    assert after.w2c[:, 0, 0].tolist() == places
    assert after.timestamps.tolist() == scene.timestamps.tolist()
    assert (places == list(range(n))) == (order == "given" or n == 2)


def test_a_list_of_pictures_has_no_times_of_its_own() -> None:
    assert shown(a_scene(4), "frames", "given", 0).timestamps.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert shown(a_scene(8), "video", "shuffled", 1).frames.tolist() != a_scene(8).frames.tolist()
