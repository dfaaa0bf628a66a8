"""From a request to runs: what stands in for what, where data and weights come from, and what is refused up front."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.media import make_video, moving

from smx import plugins
from smx.errors import UserError
from smx.resolve import Resolver, run_path, unique
from smx.resolve.context import Context
from smx.resolve.requests import Roots
from smx.resolve.weights import choose, weights_of
from smx.run import Run
from smx.spec import EvalSpec, GenSpec, TrainSpec
from smx.workspace import Workspace

SMALL = {"bench_options": {"scenes": 1, "train_scenes": 1, "frames": 24}}
TRAIN_SMALL = {"data": ["rooms"], "recipe": {"steps": 2}, "data_options": {"rooms": {"train_scenes": 1, "frames": 24}}}


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    folder.mkdir()
    return folder


def resolver(lab: Path, site: str | None = None, **given: Any) -> Resolver:
    if site is not None:
        (lab / "experiments").mkdir(exist_ok=True)
        (lab / "experiments" / "site.yaml").write_text(site)
    return Resolver(Workspace(lab, "--workspace"), **given)


def evaluated(made: Resolver, **request: Any) -> Run:
    """The eval cell of a request."""
    return made.eval({**SMALL, **request})[-1]


def refused(made: Resolver, kind: str, **request: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        getattr(made, kind)(request)
    return caught.value


def images(folder: Path, n: int = 12, seed: int = 0) -> Path:
    """A scene of images and nothing else."""
    from PIL import Image

    folder.mkdir(parents=True)
    for i, frame in enumerate(moving(n, seed=seed)):
        Image.fromarray(frame).save(folder / f"{i:04d}.png")
    return folder


# --- stand-ins: only where nothing at all is configured, and always recorded as what really runs


def test_without_any_configuration_rooms_and_the_tiny_model_serve_and_say_so(lab: Path) -> None:
    made = resolver(lab)
    cell = evaluated(made, model="prope", bench="vsibench")
    assert isinstance(cell.spec, EvalSpec)
    assert (cell.spec.model, cell.spec.bench) == ("tiny-prope", "rooms")
    assert cell.title.startswith("tiny-prope-rooms-uniform-16f-")
    assert cell.labels == {"stand_in_for": {"bench": "vsibench", "model": "prope"}, "untrained": True}
    assert len(made.said) == 3
    assert "built-in rooms serve instead" in made.said[0]
    assert "'tiny-prope' is asked, untrained, instead" in made.said[1]


def test_a_stand_in_is_the_same_run_as_asking_for_it(lab: Path) -> None:
    """Else a demo's numbers could pass for the real model's under another fingerprint."""
    made = resolver(lab)
    stood_in = evaluated(made, model="prope", bench="vsibench")
    asked = evaluated(made, model="tiny-prope", bench="rooms")
    assert stood_in.fingerprint == asked.fingerprint
    assert stood_in.folder == asked.folder
    assert asked.labels == {"untrained": True}


def test_options_of_the_bench_hold_for_its_stand_in(lab: Path) -> None:
    made = resolver(lab)
    cell = made.eval(
        {
            "model": "chance",
            "bench": "vsibench",
            "bench_options": {**SMALL["bench_options"], "where": "question_type=object_counting"},
        }
    )[-1]
    assert cell.labels == {"stand_in_for": {"bench": "vsibench"}}
    whole = evaluated(made, model="chance", bench="vsibench")
    assert 0 < len(cell.items) < len(whole.items)


def test_gen_without_a_dataset_uses_the_rooms_and_says_so(lab: Path) -> None:
    made = resolver(lab)
    (cell,) = made.gen({"sampler": "sa", "frames": 8})
    assert isinstance(cell.spec, GenSpec)
    assert cell.spec.dataset == "rooms"
    assert "the built-in rooms serve" in made.said[0]
    named = resolver(lab)
    assert named.gen({"sampler": "sa", "frames": 8, "dataset": "rooms"}) == [cell]
    assert named.said == []


def test_rooms_are_not_said_to_serve_on_slurm_unless_they_are_named(lab: Path) -> None:
    """A night of GPUs spent on rooms, because a site file was forgotten."""
    made = resolver(lab, stand_ins=False)
    error = refused(made, "gen", sampler="sa", frames=8)
    assert "which dataset?" in error.message
    assert "--dataset rooms" in error.hint
    assert made.said == []
    assert made.gen({"sampler": "sa", "frames": 8, "dataset": "rooms"})


def test_training_a_stand_in_is_recorded_as_such(lab: Path) -> None:
    made = resolver(lab)
    cell = made.train({"model": "prope", **TRAIN_SMALL})[-1]
    assert isinstance(cell.spec, TrainSpec)
    assert cell.spec.model == "tiny-prope"
    assert cell.labels == {"stand_in_for": {"model": "prope"}}
    assert "'tiny-prope' is trained instead" in made.said[0]


def test_the_same_stand_in_is_said_once(lab: Path) -> None:
    made = resolver(lab)
    for frames in (4, 8):
        evaluated(made, model="prope", bench="vsibench", frames=frames)
    assert [line.split()[0] for line in made.said] == ["No", "No", "Positions"]


def test_what_needs_no_stand_in_gets_none(lab: Path) -> None:
    made = resolver(lab)
    assert evaluated(made, model="chance").labels == {}
    assert evaluated(made, model="tiny").labels == {"untrained": True}
    assert [line.split()[:3] for line in made.said] == [["Positions", "of", "tiny:"]]


def test_with_a_site_file_nothing_stands_in_however_empty_it_is(lab: Path) -> None:
    made = resolver(lab, site="")
    assert "which dataset? none is named" in refused(made, "gen").message
    assert "where is 'vsibench'?" in refused(made, "eval", model="chance", bench="vsibench").message
    error = refused(made, "eval", model="qwen2_5vl", **SMALL)
    assert "model 'qwen2_5vl' needs weights (Qwen/Qwen2.5-VL-3B-Instruct)" in error.message
    assert "--checkpoint DIR" in error.hint
    refused(made, "eval", model="prope", **SMALL)
    refused(made, "train", model="prope", **TRAIN_SMALL)
    assert made.said == []


def test_on_slurm_nothing_stands_in(lab: Path) -> None:
    made = resolver(lab, stand_ins=False)
    refused(made, "eval", model="qwen2_5vl", **SMALL)
    assert "where is 'vsibench'?" in refused(made, "eval", model="chance", bench="vsibench").message


def test_a_data_argument_ends_stand_ins_for_weights_too(lab: Path, tmp_path: Path) -> None:
    """Whoever brings data means the real model: a tiny one must not answer for it."""
    error = refused(resolver(lab), "eval", model="qwen2_5vl", bench="vsibench", root=str(images(tmp_path / "data")))
    assert "needs weights" in error.message


def test_a_checkpoint_argument_ends_stand_ins_for_data_too(lab: Path) -> None:
    made = resolver(lab)
    trained = made.train({"model": "tiny", "frames": 4, **TRAIN_SMALL})[-1]
    made.trained = {trained.title: trained}
    error = refused(made, "eval", model="tiny", bench="vsibench", checkpoint=trained.title)
    assert "where is 'vsibench'?" in error.message


def test_a_variant_without_a_stand_in_is_refused(lab: Path) -> None:
    models = lab / "experiments" / "models"
    models.mkdir(parents=True)
    (models / "ours.yaml").write_text("base: qwen2_5_vl\n")
    assert "needs weights (no checkpoint named)" in refused(resolver(lab), "eval", model="ours", **SMALL).message
    (models / "other.yaml").write_text("base: llava\n")
    error = refused(resolver(lab), "eval", model="other", **SMALL)
    assert error.message == "unknown base model 'llava'"
    assert "variant 'other' names it" in error.hint


# --- places: where data and weights are; never part of a run's identity


def test_the_same_data_in_another_place_is_the_same_run(lab: Path, tmp_path: Path) -> None:
    here = images(tmp_path / "here" / "scene")
    there = tmp_path / "there" / "scene"
    shutil.copytree(here, there)
    one, other = (resolver(lab).gen({"frames": 4, "root": str(p.parent)})[0] for p in (here, there))
    assert one.fingerprint == other.fingerprint
    assert one.paths["dataset"] != other.paths["dataset"]
    with (there / "0003.png").open("ab") as file:
        file.write(b"another byte")
    assert resolver(lab).gen({"frames": 4, "root": str(there.parent)})[0].fingerprint != one.fingerprint


def test_the_site_file_says_where_data_is_and_the_argument_wins(lab: Path, tmp_path: Path) -> None:
    a, b = images(tmp_path / "a" / "one"), images(tmp_path / "b" / "two")
    made = resolver(lab, site=f"data: {{frames: {a.parent}}}")
    (cell,) = made.gen({"frames": 4})  # the only configured dataset needs no name
    assert cell.paths["dataset"] == str(a.parent)
    assert [item.id for item in cell.items] == ["one"]
    (cell,) = made.gen({"frames": 4, "root": str(b.parent)})
    assert [item.id for item in cell.items] == ["two"]


def test_several_configured_datasets_must_be_chosen_between(lab: Path) -> None:
    error = refused(resolver(lab, site="data: {frames: /a, vsibench: /b}"), "gen", frames=4)
    assert "which dataset?" in error.message
    assert "frames, vsibench" in error.hint


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"dataset": "frames"}, "where is 'frames'?"),
        ({"dataset": "frames", "root": "/there/is/nothing"}, "no folder '/there/is/nothing'"),
        ({"dataset": "rooms", "root": "/"}, "'rooms' is made on the fly, so --root means nothing"),
        ({"dataset": "rooms", "scenes": ["train-*"]}, "no scene of dataset 'rooms' matches train-*"),
    ],
    ids=str,
)
def test_a_place_that_cannot_be_meant_is_refused(lab: Path, request_: dict[str, Any], said: str) -> None:
    assert said in refused(resolver(lab), "gen", **request_).message


def checkpoint(folder: Path, **config: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "'llama' (LlamaForCausalLM)"),
        ({"model_type": "qwen2_vl"}, "'qwen2_vl'"),
        ({"model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLModel"]}, "Qwen2_5_VLModel"),
    ],
    ids=["llama", "qwen2", "headless"],
)
def test_weights_of_another_architecture_are_refused_before_the_queue(
    lab: Path, tmp_path: Path, config: Mapping[str, Any], said: str
) -> None:
    folder = checkpoint(tmp_path / "weights", **config)
    error = refused(resolver(lab), "eval", model="qwen2_5vl", checkpoint=str(folder), **SMALL)
    assert said in error.message
    assert "expected model_type 'qwen2_5_vl'" in error.hint


def test_weights_of_the_site_file_serve_by_hub_id_and_by_variant(lab: Path, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "weights", model_type="llama")
    for name in ("Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5vl"):
        made = resolver(lab, site=f"checkpoints: {{{name}: {folder}}}")
        assert str(folder) in refused(made, "eval", model="qwen2_5vl", **SMALL).message


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hugging Face cache, with a repository as a download leaves it: files are links to blobs."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--Diankun--Spatial-MLLM-v1.1-Instruct-135K"
    for part in ("blobs", "refs", "snapshots/abc123"):
        (repository / part).mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    made = checkpoint(tmp_path / "made", model_type="x")
    save_file({"weight": np.zeros(2, np.float32)}, made / "model.safetensors")
    for file in made.iterdir():
        blob = file.rename(repository / "blobs" / file.name)
        (repository / "snapshots" / "abc123" / file.name).symlink_to(f"../../blobs/{blob.name}")
    return repository


def test_weights_in_the_hugging_face_cache_are_used(lab: Path, hub: Path) -> None:
    """Lost otherwise: somebody downloads the model, and a table of the tiny one is what they get."""
    setting = Context(Workspace(lab, "--workspace"))
    chosen = choose(setting, "prope", Roots())
    found = weights_of(setting, {}, chosen, Roots())
    assert (chosen.name, chosen.stands_in_for) == ("prope", {})
    assert found.folder == hub / "snapshots" / "abc123"
    assert found.source is not None
    assert found.source.name == "Diankun/Spatial-MLLM-v1.1-Instruct-135K@abc123"
    assert setting.said == [f"Weights of prope: {found.source.name}, from the Hugging Face cache."]
    given = Roots(checkpoint=str(checkpoint(lab / "given", model_type="x")))
    assert weights_of(setting, {}, choose(setting, "prope", given), given).source is None
    (hub / "refs" / "main").unlink()  # downloaded by its revision
    assert weights_of(setting, {}, choose(setting, "prope", Roots()), Roots()) == found


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json", "everything"])
def test_weights_that_are_half_downloaded_are_named(lost: str, lab: Path, hub: Path) -> None:
    """Lost otherwise: the download was cut off, and the tiny model stands in for it."""
    if lost == "everything":
        shutil.rmtree(hub / "snapshots")
        shutil.rmtree(hub / "refs")
    else:
        (hub / "blobs" / lost).unlink()
    error = refused(resolver(lab), "eval", model="prope", bench="vsibench")
    assert "is in the Hugging Face cache only in part: " in error.message
    assert (f"{lost} is missing" if lost != "everything" else "no snapshot") in error.message
    assert "hf download Diankun/Spatial-MLLM-v1.1-Instruct-135K" in error.hint


def test_where_the_weights_came_from_is_recorded(lab: Path, hub: Path) -> None:
    """Lost otherwise: which revision of a repository a score is of."""
    models = lab / "experiments" / "models"
    models.mkdir(parents=True)
    (models / "ours.yaml").write_text("base: tiny\ncheckpoint: Diankun/Spatial-MLLM-v1.1-Instruct-135K\n")
    model = plugins.load("models", "tiny").parse({}, "tiny")
    model.load(None, seed=0, device="cpu", dtype="float32").save(hub / "snapshots" / "def456")
    (hub / "refs" / "main").write_text("def456")
    cell = evaluated(resolver(lab), model="ours", frames=4)
    assert cell.labels == {"weights": "Diankun/Spatial-MLLM-v1.1-Instruct-135K@def456"}


def test_missing_weights_and_weights_for_a_model_without_any_are_refused(lab: Path, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert "neither a folder nor a train run" in refused(resolver(lab), "eval", model="tiny", checkpoint=gone).message
    error = refused(resolver(lab), "eval", model="chance", checkpoint=str(tmp_path))
    assert "has no weights" in error.message
    assert "no weights to train" in refused(resolver(lab), "train", model="frequency").message


def test_trained_weights_are_part_of_the_identity_and_their_place_is_not(lab: Path, tmp_path: Path) -> None:
    """Two checkpoints of one variant must never share a cell of the table."""
    setting = Context(Workspace(lab, "--workspace"))
    digests = []
    for name in ("a", "b", "c"):
        folder = checkpoint(tmp_path / name, model_type="x", value=name == "c")
        places = Roots(checkpoint=str(folder))
        digests.append(weights_of(setting, {}, choose(setting, "tiny", places), places).digests)
    assert digests[0] == digests[1] != digests[2]


def test_a_train_run_is_a_checkpoint_whose_eval_waits_for_it(lab: Path) -> None:
    made = resolver(lab)
    trained = made.train({"model": "tiny", "frames": 4, **TRAIN_SMALL})[-1]
    made.trained = {trained.title: trained}
    cell = evaluated(made, model="tiny", frames=4, checkpoint=trained.title)
    assert trained.fingerprint in cell.needs
    assert cell.inputs["checkpoint"] == f"train:{trained.fingerprint}"
    assert cell.paths["checkpoint"] == str(trained.folder / "checkpoint")
    assert "untrained" not in cell.labels
    assert cell.fingerprint != evaluated(resolver(lab), model="tiny", frames=4).fingerprint


def test_a_train_run_of_another_variant_is_no_checkpoint_of_this_one(lab: Path) -> None:
    """The weights would load, and answer with positions they were never trained with."""
    made = resolver(lab)
    trained = made.train({"model": "tiny", "frames": 4, **TRAIN_SMALL})[-1]
    made.trained = {trained.title: trained}
    error = refused(made, "eval", model="tiny-prope", checkpoint=trained.title, **SMALL)
    assert "was trained with pose none, this variant would run it with pose prope" in error.message
    assert f"--model tiny --checkpoint {trained.title}" in error.hint


# --- what a run is made of


def test_a_model_that_looks_at_nothing_is_one_run_whatever_the_sampler(lab: Path) -> None:
    made = resolver(lab)
    cells = [
        c
        for s in ("uniform", "sa")
        for f in (8, 16)
        for c in made.eval({"model": "chance", "sampler": s, "frames": f, **SMALL})
    ]
    assert len(unique(cells)) == 1
    assert cells[0].needs == ()
    assert cells[0].spec.sampler == "none"


def test_eval_brings_the_gen_run_it_needs(lab: Path) -> None:
    gen, cell = resolver(lab).eval({"model": "tiny", "sampler": "sa", "frames": 8, **SMALL})
    assert (gen.kind, cell.kind) == ("gen", "eval")
    assert cell.needs == (gen.fingerprint,)
    assert [item.id for item in gen.items] == sorted({item.group for item in cell.items}) == ["test-000"]


def test_the_parts_of_a_training_are_its_items_however_it_is_carried_out(lab: Path) -> None:
    """Lost otherwise: other memory or another pace of saving is another run, or leaves the same one half done."""
    request = {**TRAIN_SMALL, "recipe": {"steps": 130}}
    paced = {**TRAIN_SMALL, "recipe": {"steps": 130, "save_every": 60, "micro": 1}}
    cell, again = (resolver(lab).train({"model": "tiny", **each})[-1] for each in (request, paced))
    assert [item.id for item in cell.items] == [f"part-{number:02d}-of-10" for number in range(1, 11)]
    assert len({item.group for item in cell.items}) == 1  # in order, in one process
    assert (again.fingerprint, again.items) == (cell.fingerprint, cell.items)


def test_a_folder_of_another_run_is_never_shared(lab: Path) -> None:
    """Two fingerprints that begin alike get longer names."""
    taken = run_path(lab, "gen", "x", "ab" * 32)
    taken.mkdir(parents=True)
    (taken / "spec.json").write_text(json.dumps({"fingerprint": "ab" * 32}))
    assert run_path(lab, "gen", "x", "ab" * 32) == taken
    assert run_path(lab, "gen", "x", "ab" * 4 + "cd" * 28).name == "x-ababababcdcd"


# --- scenes that cannot be used are known before the queue


def test_a_folder_without_cameras_is_refused_where_the_sampler_needs_them(lab: Path, tmp_path: Path) -> None:
    root = str(images(tmp_path / "walk"))
    for sampler in ("sa", "mergeaware_sa"):
        error = refused(resolver(lab), "gen", sampler=sampler, frames=4, root=root)
        assert f"scene 'walk' has no cameras, which sampler '{sampler}' needs" in error.message
        assert "mergeaware_uniform, random, uniform" in error.hint
    assert len(resolver(lab).gen({"sampler": "uniform", "frames": 4, "root": root})[0].items) == 1


def test_one_usable_scene_is_enough(lab: Path, tmp_path: Path) -> None:
    """One broken video out of 288 must not stop the others; 288 of them are a wrong folder."""
    make_video(tmp_path / "data.mp4", 12)
    whole = (tmp_path / "data.mp4").read_bytes()
    (tmp_path / "root").mkdir()
    for name in ("a", "b"):
        (tmp_path / "root" / f"{name}.mp4").write_bytes(whole[: len(whole) // 3])
    error = refused(resolver(lab), "gen", frames=4, root=str(tmp_path / "root"))
    assert "none of the 2 scenes" in error.message
    assert "a.mp4: no frame of this video can be decoded" in error.message
    (tmp_path / "root" / "c.mp4").write_bytes(whole)
    (cell,) = resolver(lab).gen({"frames": 4, "root": str(tmp_path / "root")})
    assert [item.id for item in cell.items] == ["a", "b", "c"]


def test_a_short_scene_is_allowed_and_only_short_ones_are_not(lab: Path, tmp_path: Path) -> None:
    images(tmp_path / "root" / "short", 5)
    error = refused(resolver(lab), "gen", frames=8, root=str(tmp_path / "root"))
    assert "8 frames are asked for, and the longest scene of dataset 'frames' has 5" in error.message
    assert error.hint == "--frames 4"
    images(tmp_path / "root" / "long", 9)
    assert len(resolver(lab).gen({"frames": 8, "root": str(tmp_path / "root")})[0].items) == 2
