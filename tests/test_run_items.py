"""Numbers do not say what goes wrong: the answers themselves are a command away, and beside the frames."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from support.commands import QUESTIONS, data, smx

ASKED = (*QUESTIONS, "--set", "bench_options.scenes=1", "--max-failed", "99")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("items")
    given = ("--bench", "rooms", "--sampler", "uniform", "--frames", "4", "--set", "max_new_tokens=2")
    where = ("--where", "question_type=object_counting|object_rel_distance")
    with contextlib.chdir(place):
        assert smx("eval", "--model", "frequency,tiny", *given, *where, *ASKED) == 0
    return place


@pytest.fixture(autouse=True)
def _inside(space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(space)


def test_wrong_answers_are_read_from_the_records(capsys: pytest.CaptureFixture[str]) -> None:
    every = data(capsys, "show", "frequency-rooms", "--items", "--limit", "999")
    wrong = data(capsys, "show", "frequency-rooms", "--where", "wrong", "--limit", "999")
    right = data(capsys, "show", "frequency-rooms", "--where", "right", "--limit", "999")
    assert wrong
    assert sorted(e["item"] for e in wrong + right) == [e["item"] for e in every]
    assert all(e["score"] < 1 and {"question", "truth", "text", "parsed", "scene"} <= e.keys() for e in wrong)
    kinds = data(capsys, "show", "frequency-rooms", "--where", "wrong,type=object_counting")
    assert [e for e in wrong if e["type"] == "object_counting"][:20] == kinds
    assert smx("show", "frequency-rooms", "--items", "--where", "wrong", "--limit", "1") == 0
    printed = capsys.readouterr()
    assert f"truth {wrong[0]['truth']!r}" in printed.out
    assert f"{len(wrong)} items fit" in printed.err


def test_another_scorer_judges_the_same_records(capsys: pytest.CaptureFixture[str]) -> None:
    for scorer in ("official", "lenient"):
        found = data(capsys, "show", "tiny-rooms-uniform-4f", "--items", "--scorer", scorer)
        assert {entry["scorer"] for entry in found} == {scorer}
    assert smx("show", "frequency-rooms", "--items", "--scorer", "oficial") == 2
    assert smx("show", "frequency-rooms", "--items", "--where", "wrng") == 2
    assert "valid: right, wrong" in capsys.readouterr().err


def test_a_page_shows_frames_questions_answers_and_truth(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = space / "scene.html"
    look = ("samples", "view", "uniform/4", "test-000", "-o")
    assert smx(*look, page, "--answers", "tiny-rooms-uniform-4f", "--answers", "frequency-rooms") == 0
    text = page.read_text()
    for entry in data(capsys, "show", "frequency-rooms", "--items", "--limit", "999"):
        assert entry["question"].replace("'", "&#x27;") in text
        assert f">{entry['text']}</td>" in text
    assert text.count("data:image") >= 4
    assert smx(*look, space / "scene.png", "--answers", "frequency-rooms") == 2
    assert smx("gen", "--sampler", "random", "--frames", "4", "--scenes", "test-000",
               "--set", "dataset_options.count=1", "--set", "dataset_options.frames=24") == 0  # fmt: skip
    capsys.readouterr()
    other = ("samples", "view", "random/4", "test-000", "-o", space / "other.html")
    assert smx(*other, "--answers", "tiny-rooms-uniform-4f") == 2
    assert "did not look at these frames" in capsys.readouterr().err
    assert smx(*other, "--answers", "frequency-rooms") == 0  # it looked at none
