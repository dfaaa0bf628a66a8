"""How answers are decoded: as a checkpoint's generation_config.json says, exactly as transformers' `generate` does."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.commands import data, smx
from test_models import QUESTIONS, scene, tiny

from smx.errors import UserError
from smx.models import Decoding, Query, Reply, SceneInput
from smx.models._vlm.generation_config import decoding_of, left_out
from smx.models._vlm.runner import QwenRunner
from smx.resolve import Resolver
from smx.workspace import Workspace

torch.set_num_threads(1)

LENGTH = 12
MANY = [Query(str(k), f"{query.text} {'and then ' * k}?", query.type) for k, query in enumerate(QUESTIONS * 2)]
SMALL: dict[str, Any] = {"frames": 2, "bench_options": {"scenes": 1, "train_scenes": 1, "frames": 4}}


@pytest.fixture(params=["packed", "padded", "plain", "together"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """`padded` as for a backend that takes no mask of four dimensions."""
    name: str = request.param
    if name == "padded":
        monkeypatch.setattr("smx.models._vlm.model.PositionedVLM.takes_block_mask", False)
    return name


def answers(runner: QwenRunner, view: SceneInput | None, way: str) -> list[str]:
    if way == "together":
        return [reply.text for reply in runner.answer_together([(view, query) for query in MANY], LENGTH)]
    runner.share_prefix = way != "plain"
    found = list(runner.outcomes(view, MANY, LENGTH))
    assert all(isinstance(reply, Reply) for reply in found)
    return [reply.text for reply in found if isinstance(reply, Reply)]


def generated(runner: QwenRunner, view: SceneInput | None, query: Query, penalty: float) -> str:
    """What transformers' own `generate` answers. Only the positions are ours: it has rules of its own for videos."""
    clip, question = runner.clip(view), runner.prompts.question(query.text)
    after = np.arange(clip.next_position, clip.next_position + len(question) + LENGTH)
    positions = np.concatenate((clip.positions, np.tile(after, (3, 1))), axis=1)
    places = torch.from_numpy(positions)[:, None]
    vlm, usual = runner.model.vlm, runner.model.vlm.forward

    @functools.wraps(usual)
    def forward(*given: Any, **inputs: Any) -> Any:
        held = inputs["past_key_values"].get_seq_length()
        inputs["position_ids"] = places[..., held : held + inputs["input_ids"].shape[1]]
        return usual(*given, **inputs)

    ids = torch.tensor([[*clip.ids, *question]])
    names = {"pixel_values": "pixel_values_videos", "grid_thw": "video_grid_thw"}
    video = {names[key]: value for key, value in clip.video.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vlm, "forward", forward)
        out = vlm.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=LENGTH,
            repetition_penalty=penalty,
            eos_token_id=sorted(runner.prompts.stops),
            pad_token_id=runner.prompts.pad,
            **video,
        )
    return runner.prompts.decode(out[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("penalty", [1.05, 1.3])
@pytest.mark.parametrize("seen", [True, False], ids=["video", "blind"])
def test_the_repetition_penalty_is_that_of_generate(way: str, penalty: float, seen: bool) -> None:
    """Lost otherwise: a question packed with others is penalised for their words, or not for its own prompt's."""
    runner, view = tiny(), scene() if seen else None
    runner.decoding = Decoding(penalty)
    found = answers(runner, view, way)
    assert found == [generated(runner, view, query, penalty) for query in MANY]
    if penalty == 1.3:
        runner.decoding = Decoding()
        assert found != answers(runner, view, way), "the penalty must matter here, or nothing is tested"


# generation_config.json


def said_by(folder: Path, **content: Any) -> Path:
    (folder / "generation_config.json").write_text(json.dumps(content))
    return folder


QWEN = {"do_sample": True, "temperature": 1e-6, "repetition_penalty": 1.05, "eos_token_id": [5, 6]}


def test_what_a_checkpoint_asks_for(tmp_path: Path) -> None:
    """Lost otherwise: Qwen2.5-VL as released is refused for its do_sample, which draws nothing at that temperature."""
    assert decoding_of(tmp_path) == Decoding()
    assert decoding_of(said_by(tmp_path, eos_token_id=2)) == Decoding(stops=frozenset((2,)))
    released = decoding_of(said_by(tmp_path, **QWEN))
    assert (released.repetition_penalty, released.stops) == (1.05, frozenset((5, 6)))
    assert released.note == "do_sample, temperature 1e-06"
    assert left_out(tmp_path) == "repetition_penalty 1.05"
    assert decoding_of(said_by(tmp_path, do_sample=True, top_k=1, top_p=0.001, temperature=0.01)).note
    assert not left_out(tmp_path)
    assert not left_out(said_by(tmp_path, num_beams=1, top_k=50, temperature=0.7, do_sample=False))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20}, "temperature 0.7, top_p 0.8, top_k 20"),
        ({"do_sample": True}, "temperature 1.0"),
        ({"do_sample": True, "temperature": None}, "temperature 1.0"),
        ({"num_beams": 4}, "num_beams 4"),
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size 3"),
    ],
)
def test_what_cannot_be_applied_is_refused(tmp_path: Path, content: dict[str, Any], named: str) -> None:
    """Lost otherwise: numbers that nobody can make again, or that are not as published, without a word."""
    with pytest.raises(UserError) as caught:
        decoding_of(said_by(tmp_path, **content))
    assert named in caught.value.message
    assert "decoding=greedy" in (caught.value.hint or "")
    assert named in left_out(tmp_path)


@pytest.mark.parametrize("content", [{"repetition_penalty": 0}, {"repetition_penalty": "1"}, {"eos_token_id": "x"}])
def test_nonsense_is_named(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"generation_config\.json: "):
        decoding_of(said_by(tmp_path, **content))


# In a run


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    tiny().save(folder)
    (folder / "smx.json").unlink()
    return folder


def resolved(lab: Path, *, gpu: bool = False, **request: Any) -> tuple[Any, list[str]]:
    resolver = Resolver(Workspace(lab, "--workspace"), gpu=gpu)
    run = resolver.eval({**SMALL, "bench": "rooms", **request})[-1]
    return run, resolver.said


def test_a_published_variant_decodes_as_its_checkpoint_says(tmp_path: Path, checkpoint: Path) -> None:
    """Lost otherwise: `smx eval --model qwen2_5vl` cannot reproduce a published number, and nothing says why."""
    said_by(checkpoint, **QWEN)
    variant: dict[str, Any] = {"model": "qwen2_5vl", "checkpoint": str(checkpoint)}
    run, said = resolved(tmp_path, **variant)
    assert run.spec.decoding == "checkpoint"
    assert [line for line in said if line.startswith("Decoding")] == [
        "Decoding of qwen2_5vl, by its checkpoint: repetition_penalty 1.05; do_sample, temperature 1e-06 is greedy."
    ]
    other, said = resolved(tmp_path, **variant, decoding="greedy")
    assert "generation_config.json's repetition_penalty 1.05 is not applied." in " ".join(said)
    assert other.fingerprint != run.fingerprint
    said_by(checkpoint, **{**QWEN, "repetition_penalty": 1.1})
    assert resolved(tmp_path, **variant)[0].fingerprint != run.fingerprint
    said_by(checkpoint, do_sample=True, temperature=0.7)
    with pytest.raises(UserError, match="drawn at random"):
        resolved(tmp_path, **variant)


def test_without_a_checkpoint_there_is_nothing_to_apply(tmp_path: Path) -> None:
    run, said = resolved(tmp_path, model="tiny", decoding="checkpoint")
    assert run.spec.decoding == "greedy"
    assert any("no checkpoint" in line for line in said)
    assert run.fingerprint == resolved(tmp_path, model="tiny")[0].fingerprint


def test_precision_is_as_published_where_there_is_a_gpu(tmp_path: Path, checkpoint: Path) -> None:
    """Lost otherwise: a published bfloat16 number is compared with float32 ones that take twice the memory."""
    variant: dict[str, Any] = {"model": "qwen2_5vl", "checkpoint": str(checkpoint)}
    assert resolved(tmp_path, **variant)[0].spec.dtype == "float32"
    assert resolved(tmp_path, gpu=True, **variant)[0].spec.dtype == "bfloat16"
    assert resolved(tmp_path, gpu=True, **variant, dtype="float16")[0].spec.dtype == "float16"
    assert resolved(tmp_path, gpu=True, model="tiny")[0].spec.dtype == "float32"
    assert resolved(tmp_path, gpu=True, model="chance")[0].spec.dtype == "float32"


def test_answers_that_reach_the_limit_are_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: answers that were cut before their number came count as wrong, and nobody learns why."""
    monkeypatch.chdir(tmp_path)
    assert smx("init", ".") == 0
    small = [f"--set=bench_options.{pair}" for pair in ("scenes=1", "train_scenes=1", "frames=4")]
    assert smx("eval", "--model", "tiny", "--frames", "2", "--set", "max_new_tokens=1", *small) == 0
    [result] = [json.loads(file.read_text()) for file in tmp_path.glob("runs/eval/*/result.json")]
    cut = {summary["cut"] for summary in result["scores"].values()}
    assert cut == {result["done"]}
    printed = capsys.readouterr().out
    assert f"{result['done']} cut at max_new_tokens" in printed
    assert printed.count("all micro") == 1  # by the other scorer it is the same
    assert smx("report") == 0
    assert f"cut off at max_new_tokens: up to {result['done']} of {result['done']} in a run" in capsys.readouterr().out
    counts = data(capsys, "db", "query", "select n, cut from scores")
    assert counts
    assert all(row["n"] == row["cut"] for row in counts)
    assert smx("show", "last") == 0
    assert f"{result['done']} cut at max_new_tokens" in capsys.readouterr().out


def test_smx_tokens_shows_the_stride_of_the_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: the notes' checkpoints (1 token a second) are shown with the released model's 2."""
    for rate in (1, 4):
        (tmp_path / "config.json").write_text(json.dumps({"vision_config": {"tokens_per_second": rate}}))
        assert smx("tokens", "--model", "spatialmllm", "--checkpoint", str(tmp_path), "--json") == 0
        assert json.loads(capsys.readouterr().out)["positions"]["temporal stride"] == rate
