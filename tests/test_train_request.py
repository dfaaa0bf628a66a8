"""What `smx train` starts from and learns from, and what is refused of it before anything waits in a queue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.commands import data, smx

from smx.control.submit import _require_shares
from smx.errors import UserError
from smx.resolve import Resolver
from smx.run import Run
from smx.workspace import Workspace

TYPED = ("train", "--model", "tiny", "--frames", "4", "--set", "data_options.rooms={train_scenes: 1, frames: 24}")
ROW = {"question_id": "1", "scene_id": "scene0000_00", "question": "What is it?", "answers": ["a chair"]}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lab").mkdir()
    monkeypatch.chdir(tmp_path / "lab")
    return tmp_path / "lab"


def test_a_training_goes_on_from_a_named_run(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a second stage of training needs the path of a checkpoint inside a run folder."""
    [first] = data(capsys, *TYPED, "--steps", "1")
    [second] = data(capsys, *TYPED, "--steps", "2", "--checkpoint", first["run"])
    record = json.loads((Path(second["folder"]) / "spec.json").read_text())
    assert (second["state"], record["inputs"]["checkpoint"]) == ("done", f"train:{first['fingerprint']}")
    assert second["fingerprint"] != first["fingerprint"]
    capsys.readouterr()
    assert smx(*TYPED, "--steps", "1", "--checkpoint", "tiny-rooms-uniform-4f-00000000") == 2
    said = capsys.readouterr().err
    assert "unknown run 'tiny-rooms-uniform-4f-00000000'" in said
    assert first["run"] in said
    assert second["run"] in said


def test_a_training_waits_for_the_one_it_starts_from(lab: Path) -> None:
    """Lost otherwise: the second stage starts in a queue before the weights of the first are there."""
    small = {"data": ["rooms"], "data_options": {"rooms": {"train_scenes": 1, "frames": 24}}, "frames": 4}
    resolver = Resolver(Workspace(lab, "--workspace"))
    first = resolver.train({"model": "tiny", "recipe": {"steps": 1}, **small})[-1]
    resolver.trained = {first.title: first}
    second = resolver.train({"model": "tiny-prope", "recipe": {"steps": 1}, "checkpoint": first.title, **small})[-1]
    assert first.fingerprint in second.needs
    variants = lab / "experiments/models"
    variants.mkdir(parents=True)
    (variants / "still.yaml").write_text("base: tiny\nrope: {temporal: constant}\n")
    with pytest.raises(UserError, match=r"with temporal stride 2.0, this variant would go on with temporal stride 0"):
        resolver.train({"model": "still", "checkpoint": first.title, **small})


def scanqa(root: Path, *splits: str) -> Path:
    root.mkdir(exist_ok=True)
    for split in splits:
        (root / f"ScanQA_v1.0_{split}.json").write_text(json.dumps([ROW]))
    return root


def refused(lab: Path, **request: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        Resolver(Workspace(lab, "--workspace")).train({"model": "tiny", "frames": 4, **request})
    return caught.value


def test_the_file_that_training_lacks_is_named(lab: Path, tmp_path: Path) -> None:
    """Lost otherwise: "no training questions" sends people to the code, where a file was not downloaded."""
    root = str(scanqa(tmp_path / "qa", "val"))
    missing = refused(lab, data=["scanqa"], root=root)
    assert f"there is no ScanQA_v1.0_train.json in {root}" in missing.message
    assert "--root DIR" in missing.hint
    for bench in ("sqa3d", "vsibench"):
        (tmp_path / bench).mkdir()
    missing = refused(lab, data=["sqa3d"], root=str(tmp_path / "sqa3d"))
    assert "there is no v1_balanced_questions_train_scannetv2.json in" in missing.message
    asked = refused(lab, data=["scanqa"], root=root, data_options={"scanqa": {"split": "train"}})
    assert "split is train" in asked.message
    assert "it has no training split" in refused(lab, data=["vsibench"], root=str(tmp_path / "vsibench")).message


def test_root_is_for_the_benches_that_need_one(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: rooms cannot be mixed with a bench on disk without a site file."""
    root = scanqa(tmp_path / "qa", "val")
    assert smx("train", "--data", "rooms,scanqa", "--root", root, "--dry-run") == 2
    assert "ScanQA_v1.0_train.json" in capsys.readouterr().err
    assert smx("train", "--data", "rooms", "--root", root, "--dry-run") == 2
    assert "'rooms' is made on the fly, so --root means nothing to it" in capsys.readouterr().err


def small(lab: Path, **recipe: Any) -> Run:
    options = {"rooms": {"train_scenes": 1, "frames": 24}}
    request = {"model": "tiny", "frames": 4, "data": ["rooms"], "data_options": options, "recipe": recipe}
    return Resolver(Workspace(lab, "--workspace")).train(request)[-1]


def test_a_batch_that_ranks_do_not_divide_is_refused_with_its_neighbours(lab: Path) -> None:
    """Lost otherwise: ranks that wait for each other at the end of a step, or a batch that is not the one asked for."""
    _require_shares(small(lab, batch=12), {"tasks": 2, "nodes": 2})
    with pytest.raises(UserError, match=r"4 ranks cannot share the 10 examples") as caught:
        _require_shares(small(lab, batch=10), {"tasks": 2, "nodes": 2})
    assert "--set recipe.batch=8 or 12" in caught.value.hint
    with pytest.raises(UserError) as caught:
        _require_shares(small(lab, batch=3), {"tasks": 4})
    assert "--set recipe.batch=4," in caught.value.hint


def test_float16_is_no_precision_of_training(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: gradients of 7e-6 steps underflow, and most weights stay where they were."""
    assert smx(*TYPED, "--set", "dtype=float16", "--dry-run") == 2
    assert "dtype: Input should be 'float32' or 'bfloat16' (got 'float16')" in capsys.readouterr().err


def test_a_checkpoint_of_other_parts_or_another_variant_is_not_gone_on_from(lab: Path) -> None:
    """Lost otherwise: what a colleague copied into a run's folder is found out on a node, hours later."""
    run, other = small(lab, steps=4), small(lab, steps=4, train={"vision": 0})
    assert run.fingerprint != other.fingerprint
    manifest = run.folder / "training/checkpoint-2/manifest.json"
    manifest.parent.mkdir(parents=True)
    content = {"fingerprint": other.fingerprint, "run": other.title, "variant": other.spec.model_dump()["variant"]}
    manifest.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"of other parts, rates or data than .*: {other.title} made it"):
        small(lab, steps=4)
    manifest.write_text(json.dumps({**content, "variant": {"base": "qwen3_vl"}}))
    with pytest.raises(UserError, match="is of another variant"):
        small(lab, steps=4)
    manifest.write_text(json.dumps({**content, "fingerprint": run.fingerprint}))
    assert small(lab, steps=4).fingerprint == run.fingerprint
