"""How questions are asked: a scene's together, exactly as one by one, and whatever goes wrong costs its item alone."""

from __future__ import annotations

import threading
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from support.commands import smx
from test_models import QUESTIONS, scene, tiny
from test_pipeline import folder_of, records
from test_qwen3 import PIXELS, folder  # noqa: F401 - a fixture
from test_vggt import load as spatial
from test_vggt import scene as small_scene

from smx.benches.rooms import Bench as Rooms
from smx.control.submit import split
from smx.datasets._rooms_files import write_vsibench
from smx.models import Query, Reply
from smx.models._vlm.runner import QwenRunner, VideoRunner
from smx.models.qwen2_5_vl import Model as Qwen
from smx.models.qwen3_vl import Model as Qwen3
from smx.node.parallel import ahead
from smx.rooms import named_scene
from smx.run import Item
from smx.runfolder import RunFolder

torch.set_num_threads(1)

MANY = [Query(str(k), f"{query.text} {'and then ' * k}?", query.type) for k, query in enumerate(QUESTIONS * 6)]
ROOMS = [f"--set=bench_options.{pair}" for pair in ("scenes=3", "train_scenes=1", "frames=16", "width=80", "height=60")]
TINY = ("--model", "tiny", "--frames", "4", "--set", "max_new_tokens=3", *ROOMS)


# The same answers


@pytest.fixture(params=["sdpa", "eager", "padded"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """`padded` as for a backend that takes no mask of four dimensions."""
    name: str = request.param
    if name == "padded":
        monkeypatch.setattr("smx.models._vlm.model.PositionedVLM.takes_block_mask", False)
        monkeypatch.setattr("smx.models._qwen3_vl.model.Qwen3VLM.takes_block_mask", False)
        return "sdpa"
    return name


def compare(runner: VideoRunner, view: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers as long as asked for, so that packed decoding is seen; then with stops, which end them apart."""
    for stops in (frozenset[int](), None):
        if stops is None:
            monkeypatch.undo()
            usual = next(runner.answer(view, MANY[:1], 8))
            stops = frozenset((*runner.prompts.stops, *runner.prompts.text(usual.text)[2:4]))
        monkeypatch.setattr(type(runner.prompts), "stops", stops)
        runner.share_prefix = True
        together = list(runner.outcomes(view, MANY, 8))
        assert {reply.cost.together for reply in together if isinstance(reply, Reply) and reply.cost} == {len(MANY)}
        runner.share_prefix = False
        assert together == list(runner.outcomes(view, MANY, 8))


@pytest.mark.parametrize("pose", ["none", "prope", "geo_alibi"])
def test_packed_answers_are_those_of_the_plain_loop(pose: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compare(tiny(pose={"kind": pose}, attention=backend), scene(), monkeypatch)


def test_the_same_for_a_checkpoint_of_qwen2_5_vl(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny().save(tmp_path / "c")
    (tmp_path / "c" / "smx.json").unlink()  # any folder of the architecture
    runner = Qwen(pixels=(56 * 56, 9800), attention=backend).load(tmp_path / "c", seed=0, device="cpu", dtype="float32")
    assert isinstance(runner, QwenRunner)
    compare(runner, scene(), monkeypatch)


def test_the_same_for_qwen3_vl(folder: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    runner = Qwen3(pixels=PIXELS, attention=backend).load(folder, seed=0, device="cpu", dtype="float32")
    assert isinstance(runner, VideoRunner)
    compare(runner, scene(), monkeypatch)


@pytest.mark.parametrize(
    "options", [{}, {"pose": {"kind": "prope", "source": "vggt"}}, {"features": "camera"}], ids=str
)
def test_the_same_for_spatial_mllm(
    options: dict[str, Any], backend: str, fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = spatial(fixtures / "golden/spatial_mllm_tiny", attention=backend, **options)
    compare(runner, small_scene(), monkeypatch)


def test_a_long_row_of_questions_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of questions about a scene must not make one mask of them all."""
    monkeypatch.setattr("smx.models._vlm.runner.PACK", 300)
    runner, view = tiny(), scene()
    found = list(runner.outcomes(view, MANY, 4))
    sizes = {reply.cost.together for reply in found if isinstance(reply, Reply) and reply.cost}
    assert 1 < max(sizes) < len(MANY)
    runner.share_prefix = False
    assert found == list(runner.outcomes(view, MANY, 4))


def test_work_done_ahead_is_what_would_have_been_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scene prepared on another thread gives the same answers, and its pixels are not made twice."""
    runner, view = tiny(), scene()
    expected = list(tiny().outcomes(view, MANY, 3))
    thread = threading.Thread(target=runner.prepare, args=(view,))
    thread.start()
    thread.join()
    monkeypatch.setattr(QwenRunner, "_clip_of", None)
    assert list(runner.outcomes(view, MANY, 3)) == expected


# What goes wrong


def failing_above(most: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Raise `error` where more than `most` questions are packed; returns the sizes that were tried."""
    from smx.models._vlm import batching, runner

    real, tried = batching.packed, list[int]()

    def packed(*arguments: Any) -> Any:
        tried.append(len(arguments[3]))
        if len(arguments[3]) > most:
            raise error
        return real(*arguments)

    monkeypatch.setattr(runner, "packed", packed)
    return tried


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=["gpu", "cpu"],
)
def test_too_little_memory_halves_the_batch_for_good(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = tiny()
    expected = list(runner.outcomes(scene(), MANY, 3))
    tried = failing_above(5, error, monkeypatch)
    found = list(runner.outcomes(scene(), MANY, 3))
    assert found == expected
    assert tried == [18, 9, 4, 4, 4, 4, 2]
    assert {(r.cost.together, r.cost.halved) for r in found if isinstance(r, Reply) and r.cost} == {(4, 2), (2, 2)}
    tried.clear()
    list(runner.outcomes(scene(seed=1), MANY, 3))
    assert max(tried) == 4


def test_memory_that_is_not_enough_for_one_question_is_that_questions_error(monkeypatch: pytest.MonkeyPatch) -> None:
    failing_above(0, torch.OutOfMemoryError("CUDA out of memory"), monkeypatch)
    found = list(tiny().outcomes(scene(), MANY[:3], 3))
    assert [type(outcome) for outcome in found] == [torch.OutOfMemoryError] * 3


def test_an_error_about_one_question_is_not_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that cannot be turned into tokens costs itself, and the batch goes on as it was."""
    broken = Query("x", "\ud800", "n")
    found = list(tiny().outcomes(scene(), [*MANY[:2], broken, *MANY[2:4]], 3))
    assert isinstance(found[2], Exception)
    assert [found[k] for k in (0, 1, 3, 4)] == list(tiny().outcomes(scene(), MANY[:4], 3))


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("share", [True, False])
def test_logits_that_are_no_numbers_are_an_error_of_their_question(
    packs: bool, share: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their argmax would be an answer like any other, and a wrong one."""
    monkeypatch.setattr("smx.models._vlm.model.PositionedVLM.takes_block_mask", packs)
    runner = tiny()
    expected = list(runner.outcomes(scene(), QUESTIONS, 4))
    unknown = runner.prompts.text("zebra")[-1]
    assert all(unknown not in runner.prompts.question(query.text) for query in QUESTIONS)
    runner = tiny()
    runner.share_prefix = share
    embedding = runner.model.vlm.model.language_model.embed_tokens
    embedding.register_forward_hook(lambda _, ids, out: out.masked_fill((ids[0] == unknown)[..., None], torch.nan))
    asked = [QUESTIONS[0], Query("nan", "a zebra", "n"), *QUESTIONS[1:]]
    found = list(runner.outcomes(scene(), asked, 4))
    assert isinstance(found[1], FloatingPointError)
    assert "not finite" in str(found[1])
    assert [found[k] for k in (0, 2, 3)] == expected


def test_the_next_scene_is_got_ready_meanwhile_and_only_that_one() -> None:
    begun, go_on = [threading.Event() for _ in range(5)], list[int]()

    def work(number: int) -> int:
        begun[number].set()
        if number == 2:
            raise ValueError("broken")
        return number * 10

    for number, made in ahead(range(5), work):
        if number < 4:
            assert begun[number + 1].wait(30)
        assert not any(event.is_set() for event in begun[number + 2 :])
        assert isinstance(made, ValueError) if number == 2 else made == number * 10
        go_on.append(number)
    assert go_on == [0, 1, 2, 3, 4]


def test_a_stop_ahead_stops_the_task() -> None:
    def work(number: int) -> int:
        if number == 1:
            raise KeyboardInterrupt
        return number

    with pytest.raises(KeyboardInterrupt):
        list(ahead(range(3), work))


# The whole command


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "lab"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


def run_of(lab: Path) -> Any:
    return folder_of(lab, "eval", "tiny-rooms")


def test_an_answer_is_recorded_with_all_that_it_took(lab: Path) -> None:
    assert smx("eval", *TINY) == 0
    found = records(run_of(lab))
    for record in found:
        assert record["used"]["together"] > 1
        assert record["used"]["peak_memory"] > 1 << 20
        assert record["seconds"] > 0
        data = record["data"]
        assert data["prompt_tokens"] > 0
        assert len(data["prompt"]) == 12
        assert set(data["scores"]) >= {"official", "spatial-mllm"}
    result = run_of(lab).result()
    assert result is not None
    assert result["info"]["questions"] == "packed"


def test_the_plain_loop_is_an_option_and_answers_the_same(lab: Path) -> None:
    assert smx("eval", *TINY) == 0
    assert smx("eval", *TINY, "--set", "loop=plain") == 0
    first, second = sorted(lab.glob("runs/eval/tiny-rooms-*"))

    runs = [RunFolder(first), RunFolder(second)]
    said = [{r["item"]: r["data"] for r in records(run)} for run in runs]
    assert said[0] == said[1]
    assert {run.result()["info"]["questions"] for run in runs} == {"packed", "one by one"}  # type: ignore[index]


def test_shards_end_together_though_scenes_have_few_or_many_questions() -> None:
    """Lost otherwise: a GPU that encodes 39 scenes while the other one, with as many questions, is done with one."""
    asked = {f"scene{s:02d}": 40 if s == 7 else 1 for s in range(40)}
    items = [Item(f"{scene}-{k}", scene) for scene, count in asked.items() for k in range(count)]
    by_items, by_cost = split(items, 2), split(items, 2, each=20)
    assert [len({item.group for item in part}) for part in by_items] == [1, 39]
    for parts in (by_items, by_cost):
        assert sorted(item.id for part in parts for item in part) == sorted(item.id for item in items)
        groups = [{item.group for item in part} for part in parts]
        assert not groups[0] & groups[1]  # or its frames would be encoded twice
    costs = [20 * len({item.group for item in part}) + len(part) for part in by_cost]
    assert max(costs) - min(costs) <= 21
    assert by_cost == split(items, 2, each=20)
    assert [item.id for item in by_cost[0]] == [item.id for item in items if item in set(by_cost[0])]


@pytest.mark.parametrize(("how", "scenes"), [([], [2, 2]), (["--blind"], [1, 3]), (["--set", "loop=plain"], [1, 3])])
def test_a_scene_s_frames_count_where_they_are_encoded_once(lab: Path, how: list[str], scenes: list[int]) -> None:
    """Six questions about one room and two about each of three others."""
    bench = Rooms(scenes=4, train_scenes=1, frames=16, width=80, height=60)
    by_scene = groupby(bench.questions(None), key=lambda q: q.scene)
    ids = [q.id for k, (_, group) in enumerate(by_scene) for q in list(group)[: 6 if k == 1 else 2]]
    asked = [pair.replace("scenes=3", "scenes=4") for pair in TINY]
    assert smx("eval", *asked, "--where", f"id={'|'.join(ids)}", "--shards", "2", *how) == 0
    plan = run_of(lab).attempts()[0].plan["shards"]
    assert sorted(len({item["group"] for item in part}) for part in plan) == scenes
    assert len(run_of(lab).outcome().done) == 12


def test_a_retry_on_other_shards_does_what_is_missing_and_no_answer_depends_on_it(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First attempt with memory for nothing in one scene, second on three shards; scores as if nothing had been."""
    from smx.models._vlm import runner

    for name in ("calm", "wide"):
        (tmp_path / name).mkdir()
    assert smx("-w", tmp_path / "calm", "eval", *TINY) == 0
    expected = {r["item"]: r["data"] for r in records(folder_of(tmp_path / "calm", "eval", "tiny-rooms"))}
    real = runner.QwenRunner._clip_of

    def full(self: Any, view: Any) -> Any:
        if view.scene == "test-001":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return real(self, view)

    with monkeypatch.context() as patched:
        patched.setattr(runner.QwenRunner, "_clip_of", full)
        assert smx("eval", *TINY, "--max-failed", "100") == 0
    run = run_of(lab)
    outcome = run.outcome()
    assert {record["error"]["kind"] for record in outcome.failed.values()} == {"oom-gpu"}
    assert outcome.failed.keys() | outcome.done.keys() == expected.keys()
    result = run.result()
    assert result is not None
    assert result["scores"]["official@1"]["n"] == len(outcome.done) < len(expected)
    assert smx("eval", *TINY, "--retry", "--shards", "3") == 0
    assert [len(attempt.shards()) for attempt in run.attempts()] == [1, 1]  # one scene was left
    again = {r["item"] for r in run.attempts()[1].shard(0).items()}
    assert again == outcome.failed.keys()
    assert {item: record["data"] for item, record in run.outcome().done.items()} == expected
    assert smx("-w", tmp_path / "wide", "eval", *TINY, "--shards", "3") == 0
    wide = folder_of(tmp_path / "wide", "eval", "tiny-rooms")
    assert len(wide.attempts()[0].shards()) == 3
    assert {r["item"]: r["data"] for r in records(wide)} == expected


def test_what_cannot_be_asked_or_scored_is_an_error_of_its_item(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question taken from the file, one without ground truth, a scene without a sample: never a wrong answer."""
    from dataclasses import replace

    from smx.node import eval as node

    real = node._asked

    def damaged(shard: Any, questions: dict[str, Any]) -> Any:
        first, second, *_ = sorted(questions)
        gone = {key: question for key, question in questions.items() if key != first}
        gone[second] = replace(gone[second], truth="")
        return [replace(q, scene="test-none") if q.scene == "test-002" else q for q in real(shard, gone)]

    monkeypatch.setattr(node, "_asked", damaged)
    assert smx("eval", *TINY, "--max-failed", "100") == 0
    run = run_of(lab)
    result = run.result()
    assert result is not None
    lines = {error["line"] for error in result["errors"]}
    assert any("not in the bench's question file" in line for line in lines)
    assert any("has no ground truth" in line for line in lines)
    assert any("gen made no sample of scene" in line for line in lines)
    assert {error["kind"] for error in result["errors"]} == {"missing-input"}
    assert result["scores"]["official@1"]["n"] == result["done"] == result["items"] - result["failed"]
    monkeypatch.undo()
    monkeypatch.chdir(lab)
    assert smx("eval", *TINY, "--retry") == 0
    assert run.outcome().failed == {}


def test_a_scene_that_gen_fails_on_is_not_answered_from_frames_of_other_data(lab: Path) -> None:
    """Lost otherwise: a video that was replaced by a broken one, scored by the frames of the old one."""
    rooms = [named_scene(f"test-{k:03d}", frames=8, width=80, height=60) for k in range(2)]
    write_vsibench(lab / "bench", rooms)
    words = ("--bench", "vsibench", "--root", "bench", "--model", "tiny", "--frames", "4", "--set", "max_new_tokens=2")
    assert smx("eval", *words) == 0
    video = lab / "bench/scannet/test-000.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[:300])
    assert smx("eval", *words, "--max-failed", "100") == 0
    before, broken = sorted((RunFolder(p) for p in lab.glob("runs/eval/*")), key=lambda run: len(run.outcome().failed))
    errors = [record["error"]["line"] for record in broken.outcome().failed.values()]
    assert errors
    assert all(line.startswith("gen made no sample of scene 'scannet/test-000': ") for line in errors)
    assert before.outcome().done.keys() == broken.outcome().done.keys() | broken.outcome().failed.keys()


def test_scores_of_several_runs_say_which_run_they_are_of(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: eight lines "tiny official@1", and no way to tell which sampler they are about."""
    words = ("--sampler", "uniform,random", "--model", "tiny,chance", "--set", "max_new_tokens=1", *ROOMS)
    assert smx("eval", "--frames", "4", *words) == 0
    said = capsys.readouterr().out
    assert "tiny (untrained), uniform 4 frames, official@1: all micro" in said
    assert "tiny (untrained), random 4 frames, official@1: all micro" in said
    assert "chance official@1: all micro" in said


def test_scenes_without_a_video_are_said_at_once_and_fail_by_name(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_vsibench(lab / "bench", [named_scene(f"test-{k:03d}", frames=8, width=80, height=60) for k in range(2)])
    (lab / "bench/scannetpp/test-001.mp4").unlink()
    words = ("--bench", "vsibench", "--root", "bench", "--model", "tiny", "--frames", "4", "--set", "max_new_tokens=2")
    assert smx("eval", *words, "--max-failed", "100") == 0
    assert "1 of 2 scenes that are asked about are not under" in capsys.readouterr().err
    failed = folder_of(lab, "eval", "tiny-vsibench").outcome().failed.values()
    assert {r["error"]["line"] for r in failed} == {
        "gen made no sample of scene 'scannetpp/test-001': the dataset has no such scene"
    }


def test_a_video_shorter_than_asked_is_filled_up_and_answered(lab: Path) -> None:
    rooms = [named_scene(f"test-{k:03d}", frames=frames, width=80, height=60) for k, frames in enumerate((16, 3))]
    write_vsibench(lab / "bench", rooms)
    words = ("--bench", "vsibench", "--root", "bench", "--model", "tiny", "--frames", "4", "--set", "max_new_tokens=2")
    assert smx("eval", *words) == 0
    found = records(folder_of(lab, "eval", "tiny-vsibench"))
    assert all(record["ok"] for record in found)
    assert len({record["data"]["scene"] for record in found}) == 2
