"""Base hf: whatever transformers has for pictures and text answers as its own processor and `generate` would."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import hf_checkpoints
from support.commands import QUESTIONS as FEW
from support.commands import data, smx
from test_models import QUESTIONS, scene

from smx.errors import SceneError, UserError
from smx.models import Decoding, Runner, SceneInput
from smx.models._hf.checkpoint import architectures
from smx.models.hf import Model

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Name of an architecture -> a checkpoint of it, made when first asked for."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name in hf_checkpoints.VIDEO:
            pytest.importorskip("torchvision", exc_type=ImportError, reason="processors of videos need torchvision")
            if name == "smolvlm":
                pytest.importorskip("num2words")
        if name not in made:
            made[name] = tmp_path_factory.mktemp("hf") / name
            {**hf_checkpoints.VIDEO, **hf_checkpoints.PICTURES}[name](made[name])
        return made[name]

    return folder


def load(folder: Path, **options: Any) -> Any:
    runner: Runner = Model.parse(options, "model hf").load(folder, seed=0, device="cpu", dtype="float32")
    return runner


def stock(folder: Path, view: SceneInput, text: str, limit: int, *, video: bool) -> list[int]:
    """Ids that transformers alone answers with: template to text, processor, `generate`, as its pages have it."""
    from transformers.models.auto.modeling_auto import AutoModelForImageTextToText
    from transformers.models.auto.processing_auto import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    parts = [{"type": "video"}] if video else [{"type": "image"}] * len(view.frames)
    turn = [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]
    prompt = processor.apply_chat_template(turn, add_generation_prompt=True)
    if video:
        fps = 1 / float(view.timestamps[1] - view.timestamps[0])
        about = {"fps": fps, "frames_indices": list(range(len(view.frames))), "total_num_frames": len(view.frames)}
        shown = {"videos": [view.frames], "video_metadata": [about | {"duration": len(view.frames) / fps}]}
        inputs = processor(text=[prompt], return_tensors="pt", do_sample_frames=False, **shown)
    else:
        inputs = processor(text=[prompt], images=[list(view.frames)], return_tensors="pt")
    names = [name for name, value in inputs.items() if isinstance(value, torch.Tensor)]
    with torch.inference_mode():
        out = model.generate(**{name: inputs[name] for name in names}, max_new_tokens=limit, do_sample=False)
    return [int(token) for token in out[0, inputs["input_ids"].shape[1] :]]


@pytest.mark.parametrize("name", [*hf_checkpoints.PICTURES, *hf_checkpoints.VIDEO])
def test_answers_are_stock_generates_token_by_token(name: str, folders: Any) -> None:
    """Lost otherwise: a table has a number that is not this model's, and nobody can tell."""
    folder, view = folders(name), scene(4)
    runner, video = load(folder), name in hf_checkpoints.VIDEO
    assert runner.info["shown"] == ("a video" if video else "pictures")
    for query in QUESTIONS:
        theirs = stock(folder, view, query.text, 6, video=video)
        _, ours = runner.generated(view, query, 6)
        assert ours == [token for token in theirs if token not in runner._stops]
    replies = list(runner.answer(view, QUESTIONS, 6))
    assert [reply.new_tokens for reply in replies] == [len(runner.generated(view, q, 6)[1]) for q in QUESTIONS]
    other = replace(view, frames=view.frames[::-1].copy())
    assert runner.inputs(view, "?").keys() == runner.inputs(other, "?").keys()
    assert any(
        not torch.equal(a, b) for a, b in zip(*(runner.inputs(v, "?").values() for v in (view, other)), strict=True)
    )


@pytest.mark.parametrize("name", [*hf_checkpoints.VIDEO])
def test_a_model_of_videos_takes_pictures_where_they_are_asked_for(name: str, folders: Any) -> None:
    """Lost otherwise: `show: pictures` is read and dropped, and two columns of a table are one."""
    runner, view = load(folders(name), show="pictures"), scene(2)
    assert runner.info["shown"] == "pictures"
    theirs = stock(folders(name), view, QUESTIONS[0].text, 5, video=False)
    assert runner.generated(view, QUESTIONS[0], 5)[1] == [token for token in theirs if token not in runner._stops]


def test_a_model_that_is_told_times_is_not_told_invented_ones(folders: Any) -> None:
    """Lost otherwise: frames without a rate are shown with times that nobody knows."""
    unknown = replace(scene(4), timestamps=np.full(4, np.nan))
    reads, blind = load(folders("smolvlm")), load(folders("internvl"))
    assert (reads.reads_times, blind.reads_times) == (True, False)
    [outcome] = reads.outcomes(unknown, QUESTIONS[:1], 3)
    assert isinstance(outcome, SceneError)
    assert "--input frames" in str(outcome)
    assert next(blind.answer(unknown, QUESTIONS[:1], 3)) == next(blind.answer(scene(4), QUESTIONS[:1], 3))


def test_a_question_that_holds_special_tokens_is_text(folders: Any) -> None:
    """Lost otherwise: `<start_of_image>` in a question ends the run, or is taken for a picture."""
    runner = load(folders("gemma3"))
    plain, odd = (runner.inputs(scene(2), text)["input_ids"] for text in ("a", "a <start_of_image> <|im_end|>"))
    for token in ("<|im_end|>", "<image_soft_token>"):
        number = runner.processor.tokenizer.convert_tokens_to_ids(token)
        assert int((odd == number).sum()) == int((plain == number).sum())


def test_decoding_is_what_smx_says_it_is(folders: Any, tmp_path: Path) -> None:
    """Lost otherwise: transformers applies a penalty that the run records as left out."""
    folder = tmp_path / "c"
    shutil.copytree(folders("llava"), folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1}))
    assert "repetition_penalty 5" in Model().left_out_by_greedy(folder)
    query, view = QUESTIONS[0], scene(2)
    greedy, same = load(folders("llava")), load(folder)
    expected = greedy.generated(view, query, 8)
    assert same.generated(view, query, 8) == expected
    same.decoding = Decoding(5.0, frozenset({expected[1][0]}))
    assert same.generated(view, query, 8)[1] != expected[1]


def test_the_list_of_architectures_is_transformers_own() -> None:
    """Lost otherwise: a model that would run is refused, or one that does not waits in the queue first."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as TABLE

    assert architectures() == tuple(TABLE)


def test_what_cannot_be_asked_is_refused_with_the_reason(folders: Any, tmp_path: Path) -> None:
    """Before the queue: poses, other architectures, code in the folder, and folders that lack a part."""
    for options, words in (
        ({"pose": {"kind": "prope"}}, r"without poses \(prope\)"),
        ({"rope": {"temporal": "index"}}, "leave out 'rope'"),
    ):
        with pytest.raises(UserError, match=words):
            Model.parse(options, "model hf")
    assert not Model.parse({"pose": {"kind": "none"}}, "m").wants_cameras()
    with pytest.raises(UserError, match="needs a checkpoint"):
        Model().check(None)
    with pytest.raises(UserError, match="takes no video"):
        load(folders("gemma3"), show="video")
    whole = folders("gemma3")
    Model().check(whole)
    for number, (config, without, words) in enumerate(
        (
            ({"model_type": "gemma33"}, "", "no image-text-to-text model of this transformers"),
            ({"model_type": "internvl_chat", "auto_map": {}}, "", "by code in its folder"),
            ({}, "chat_template.jinja", "no chat template"),
            ({}, "processor_config.json", "has no processor"),
            ({}, "tokenizer.json", "has no tokenizer"),
            ({}, "model.safetensors", "is missing"),
        )
    ):
        broken = tmp_path / str(number)
        shutil.copytree(whole, broken)
        (broken / "config.json").write_text(json.dumps(json.loads((whole / "config.json").read_text()) | config))
        if without:
            (broken / without).unlink()
        with pytest.raises(UserError, match=words):
            Model().check(broken)


def test_a_processor_that_cannot_be_built_says_what_it_lacks(folders: Any, tmp_path: Path) -> None:
    """Lost otherwise: a traceback of transformers, and nobody knows which package to install."""
    folder = tmp_path / "c"
    shutil.copytree(folders("gemma3"), folder)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "NoSuchProcessor"}))
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match=r"cannot be built|no processor of pictures"):
        load(folder)


def test_eval_with_any_model(folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """`smx eval --model hf --checkpoint FOLDER`, as a new user types it; what was shown is on record."""
    monkeypatch.chdir(tmp_path)
    assert smx("init", ".") == 0
    some = (
        *FEW,
        "--set",
        "bench_options.scenes=1",
        "--set",
        "max_new_tokens=2",
        "--frames",
        "2",
        "--where",
        "question_type=object_counting",
    )
    [run] = data(capsys, "eval", "--model", "hf", "--checkpoint", folders("gemma3"), "--bench", "rooms", *some)
    assert run["state"] == "done"
    assert run["done"] == run["items"] > 0
    assert run["result"]["info"]["architecture"] == "Gemma3ForConditionalGeneration"
    assert run["result"]["info"]["shown"] == "pictures"
