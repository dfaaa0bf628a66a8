"""ScanQA's own numbers: another tokenizer or another CIDEr gives a number that is in no paper's table."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import pytest
from support.commands import data, smx

from smx.benches import Question
from smx.benches.scanqa import Bench
from smx.errors import UserError
from smx.report.score_file import score_file

ROWS = [
    (["brown chair", "a brown chair"], "the brown chair"),
    (["two"], "two"),
    (["on the left of the desk"], "Left of desk."),
]


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    file = tmp_path / "answers.jsonl"
    rows = [{"question_id": k, "question": "What?", "answers": a, "prediction": p} for k, (a, p) in enumerate(ROWS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_the_published_em_is_of_the_raw_text() -> None:
    question = Question("0", "scannet", "s", "what", "?", None, "brown chair", ("chair",))
    for scorer in ("scanqa", "spatial-mllm"):
        assert [Bench().judge(question, text, scorer).score for text in ("chair", "Chair", "chair.")] == [1, 0, 0]


def test_without_the_package_the_way_to_it_is_said(answers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("bleu.bleu", "tokenizer.ptbtokenizer"):
        monkeypatch.setitem(sys.modules, f"pycocoevalcap.{part}", None)
    for scorer in ("scanqa", "spatial-mllm"):
        with pytest.raises(UserError, match="pycocoevalcap, which is not installed") as caught:
            score_file(answers, "scanqa", scorer)
        assert "smx[scanqa]" in caught.value.hint
    assert score_file(answers, "scanqa", "all")[0]["scorers"]["scanqa"]["all"]["micro"] == pytest.approx(1 / 3)


def test_what_needs_java_says_so(
    answers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocoevalcap.bleu.bleu")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no java here"):
        score_file(answers, "scanqa", "scanqa")
    found = data(capsys, "score", answers, "--bench", "scanqa", "--scorer", "spatial-mllm")["of_all"]
    assert found["meteor"] is None
    # Of the seven words said, "the" and "Left" are in no answer; the closest answers have 3, 1 and 6 words.
    assert found["bleu-1"] == pytest.approx(5 / 7 * math.exp(1 - 10 / 7), abs=1e-6)
    assert smx("score", answers, "--bench", "scanqa", "--scorer", "spatial-mllm") == 0
    assert "METEOR is a Java program" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_the_tokenizer_leaves_case_and_signs_out() -> None:
    tokenizer = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    if shutil.which("java") is None:
        pytest.skip("no java")
    assert tokenizer.PTBTokenizer().tokenize({"0": [{"caption": "The brown, Chair."}]}) == {"0": ["the brown chair"]}
