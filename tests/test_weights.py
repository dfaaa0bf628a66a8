"""Weights found where they are: by folder, hub id and revision, site file, train run; adapters on their base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.commands import QUESTIONS, data, smx

from smx.errors import UserError
from smx.models.qwen2_5_vl import Model as Qwen
from smx.models.tiny import Model as Tiny
from smx.resolve import Resolver, hub_cache
from smx.resolve.requests import from_workspace
from smx.workspace import Workspace

# peft asks transformers by a name that is on its way out
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
ID = "Lab/tiny-qwen"
SMALL = {"bench_options": {"scenes": 1, "train_scenes": 1, "frames": 24}}
SITE = "executor: inline\n"  # nothing stands in for anything


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the architecture, as anybody's."""
    folder = tmp_path_factory.mktemp("made") / "tiny-qwen"
    Tiny().load(None, seed=0, device="cpu", dtype="float32").save(folder)
    (folder / "smx.json").unlink()
    return folder


@pytest.fixture
def hub(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache with two revisions of `ID`, as downloads leave it: `main` and the tag `v1`."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    place = tmp_path / "hub" / "models--Lab--tiny-qwen"
    for revision, name in (("1" * 40, "v1"), ("2" * 40, "main")):
        folder = place / "snapshots" / revision
        folder.mkdir(parents=True)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / name).write_text(revision)
        (place / "blobs").mkdir(exist_ok=True)
        for file in made.iterdir():
            blob = place / "blobs" / f"{name}{file.name}".replace(".", "0")
            shutil.copy(file, blob)
            (folder / file.name).symlink_to(Path("../../blobs") / blob.name)
    return place


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A workspace with a variant that is small enough to run."""
    folder = tmp_path / "lab"
    (folder / "experiments" / "models").mkdir(parents=True)
    (folder / "experiments" / "site.yaml").write_text(SITE)
    (folder / "experiments" / "models" / "mine.yaml").write_text(
        f"base: qwen2_5_vl\ncheckpoint: {ID}\npixels: [3136, 9800]\n"
    )
    return folder


def resolved(lab: Path, **request: Any) -> Any:
    return Resolver(Workspace(lab, "--workspace")).eval({"model": "mine", "frames": 4, **SMALL, **request})[-1]


def refused(lab: Path, **request: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        resolved(lab, **request)
    return caught.value


def test_a_hub_id_is_a_checkpoint_and_so_is_each_of_its_revisions(lab: Path, hub: Path) -> None:
    """Lost otherwise: which revision a score is of, or a second copy of 7 GB to have a folder to name."""
    names = {None: "2", ID: "2", f"{ID}@main": "2", f"{ID}@v1": "1", f"{ID}@{'1' * 40}": "1", f"{ID}@11111": "1"}
    for given, digit in names.items():
        run = resolved(lab, checkpoint=given)
        assert run.labels["weights"] == f"{ID}@{digit * 40}"
        assert run.paths["checkpoint"] == str(hub / "snapshots" / (digit * 40))
        blob = "main" if digit == "2" else "v1"
        assert run.labels["blobs"] == {"model.safetensors": f"{blob}model0safetensors"}


def test_an_edit_of_any_file_of_a_checkpoint_is_another_run(lab: Path, made: Path, tmp_path: Path) -> None:
    """Lost otherwise: a config, template or weight is mended, and `skip … done` serves the answers from before."""
    folder = tmp_path / "edited"
    shutil.copytree(made, folder)
    whole = resolved(lab, checkpoint=str(folder)).fingerprint
    seen = {whole}
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        if file.suffix == ".json":  # as somebody edits it: one more key
            file.write_text(json.dumps({**json.loads(content), "edited": True}))
        seen.add(resolved(lab, checkpoint=str(folder)).fingerprint)
        file.write_bytes(content)
    assert len(seen) == 1 + len([*folder.iterdir()])
    assert resolved(lab, checkpoint=str(folder)).fingerprint == whole


def test_what_is_not_here_is_said_with_the_command_that_brings_it(lab: Path, hub: Path) -> None:
    error = refused(lab, checkpoint=f"{ID}@v9")
    assert "not at revision 'v9'" in error.message
    assert "main, v1, 2222" in error.hint.replace("111111111111, ", "") or "v1" in error.hint
    assert f"hf download {ID} --revision v9" in error.hint
    assert "hf download Qwen/Qwen9-VL" in refused(lab, checkpoint="Qwen/Qwen9-VL").hint
    shutil.rmtree(hub)
    assert f"hf download {ID}" in refused(lab).hint


def test_the_command_line_says_so_too(lab: Path, hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: `unknown run`, of somebody who named a model."""
    assert smx("--workspace", lab, "eval", "--model", "mine", "--checkpoint", "Qwen/Qwen2.5-VL-3B-Instruct") == 2
    said = capsys.readouterr().err
    assert "Qwen/Qwen2.5-VL-3B-Instruct is not on this machine" in said
    assert "hf download Qwen/Qwen2.5-VL-3B-Instruct" in said
    assert smx("--workspace", lab, "eval", "--model", "mine", "--checkpoint", "train/nothing-8f-12345678") == 2
    assert "hf download" not in capsys.readouterr().err


def test_names_of_the_site_file_serve_and_its_paths_hang_on_the_workspace(
    lab: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost otherwise: the site file works in one folder of the shell, and in no other."""
    shutil.copytree(made, lab / "weights")
    site = "checkpoints: {Lab/tiny-qwen: weights, other: ./weights}\nstorage: {runs: big/runs}\n"
    (lab / "experiments" / "site.yaml").write_text(site)
    monkeypatch.chdir(tmp_path)
    for given in (None, ID, "other"):
        run = resolved(lab, checkpoint=given)
        assert run.paths["checkpoint"] == str(lab / "weights")
        assert run.folder.is_relative_to(lab / "big" / "runs")


def test_places_of_a_matrix_hang_on_the_workspace(lab: Path) -> None:
    (lab / "weights").mkdir()
    request = {"root": "data/vsi", "checkpoint": "weights", "train": {"root": "~/data", "checkpoint": "./gone"}}
    changed = from_workspace(request, lab)
    assert (changed["root"], changed["checkpoint"]) == (str(lab / "data/vsi"), str(lab / "weights"))
    assert changed["train"] == {"root": str(Path.home() / "data"), "checkpoint": str(lab / "gone")}
    for name in ("tiny-rooms-uniform-8f-ec515e5a", "Lab/tiny-qwen@v1"):
        assert from_workspace({"checkpoint": name}, lab) == {"checkpoint": name}


def test_a_matrix_names_a_train_run(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: `train runs: none yet`, of a lab that has trained one."""
    few = ("--set", "recipe.steps=1", "--set", "recipe.batch=1")
    small = ("--set", "data_options.rooms.train_scenes=1", "--set", "data_options.rooms.frames=24")
    (run,) = data(
        capsys, "--workspace", lab, "train", "--model", "tiny", "--data", "rooms", "--frames", 2, *few, *small
    )
    (lab / "experiments" / "mine.yaml").write_text(
        f"groups: {{main: {{list: [{{model: tiny, frames: 2, checkpoint: {run['run']}}}]}}}}\n"
    )
    assert smx("--workspace", lab, "run", "mine", "--dry-run", *QUESTIONS) == 0
    assert "would run eval" in capsys.readouterr().out


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    """What peft writes of a LoRA adapter on attention and merger of `made`, its factors not zero."""
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2_5_VLForConditionalGeneration

    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(made)
    torch.manual_seed(1)
    wrapped = get_peft_model(base, LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "down_proj", "qkv"]))
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    wrapped.save_pretrained(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": ID, "revision": "v1"})
    )
    return tmp_path / "adapter"


def test_an_adapter_is_merged_into_its_base(lab: Path, hub: Path, made: Path, adapter: Path) -> None:
    """Lost otherwise: a fine-tuned model is asked as the model that it was made of."""
    from peft import PeftModel
    from transformers import Qwen2_5_VLForConditionalGeneration

    run = resolved(lab, checkpoint=str(adapter))
    assert run.labels["weights"] == f"{ID}@{'1' * 40}"
    assert run.labels["adapter"] == "adapter"
    assert run.paths["adapter"] == str(adapter)
    assert run.inputs["adapter"] != run.inputs["checkpoint"] == resolved(lab).inputs["checkpoint"]

    runner = Qwen(pixels=(3136, 9800)).load(Path(run.paths["checkpoint"]), seed=0, device="cpu", dtype="float32")
    ids = torch.tensor([[5, 6, 7, 8]])
    vlm: Any = runner.module().vlm
    plain = vlm(input_ids=ids).logits
    runner.adapt(adapter)
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(made)
    expected = PeftModel.from_pretrained(base, adapter).eval()(input_ids=ids).logits
    assert torch.allclose(vlm(input_ids=ids).logits, expected, atol=1e-4)
    assert not torch.allclose(plain, expected, atol=1e-2)
    assert runner.info["adapter_rank"] == 4
    assert all(weight.requires_grad for weight in runner.module().parameters())
    assert not any("lora" in name for name, _ in runner.module().named_modules())


def test_names_that_transformers_had_before_are_read(hub: Path, made: Path, adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    expected = Qwen(pixels=(3136, 9800)).load(made, seed=0, device="cpu", dtype="float32")
    expected.adapt(adapter)
    now, before = "base_model.model.model.", "base_model.model."
    renamed = {
        k.replace(f"{now}visual.", f"{before}visual.").replace(f"{now}language_model.", now): v
        for k, v in load_file(file).items()
    }
    save_file(renamed, file)
    Qwen(pixels=(3136, 9800)).check_adapter(adapter, made)
    runner = Qwen(pixels=(3136, 9800)).load(made, seed=0, device="cpu", dtype="float32")
    runner.adapt(adapter)
    for (name, weight), other in zip(runner.module().named_parameters(), expected.module().parameters(), strict=True):
        assert torch.equal(weight, other), name


def test_an_adapter_of_another_base_is_refused(lab: Path, hub: Path, adapter: Path) -> None:
    """Lost otherwise: a job that waited for hours ends in a traceback, or adds what belongs elsewhere."""
    file, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    weights, settings = load_file(file), json.loads(config.read_text())
    name = next(n for n in weights if "q_proj.lora_A" in n)
    save_file({**weights, name: torch.zeros(4, 2048)}, file)
    assert "is of another base than" in refused(lab, checkpoint=str(adapter)).message
    save_file({**weights, name.replace("layers.0", "layers.77"): weights[name].clone()}, file)
    assert "which is not there" in refused(lab, checkpoint=str(adapter)).message
    save_file(weights, file)
    for change, words in (
        ({"peft_type": "IA3"}, "adapter of kind 'IA3'"),
        ({"base_model_name_or_path": "Lab/other"}, "LoRA adapter of Lab/other@v1, which is not on this machine"),
        ({"revision": "v7"}, "not at revision 'v7'"),
    ):
        config.write_text(json.dumps({**settings, **change}))
        assert words in refused(lab, checkpoint=str(adapter)).message
    config.write_text(json.dumps({**settings, "base_model_name_or_path": "/gone/tiny-qwen", "revision": None}))
    assert resolved(lab, checkpoint=str(adapter)).labels["weights"] == f"{ID}@{'2' * 40}"
    file.rename(adapter / "adapter_model.bin")
    error = refused(lab, checkpoint=str(adapter))
    assert "no adapter_model.safetensors" in error.message
    assert "pickle" in error.hint


def test_hub_ids_are_told_from_paths_and_runs() -> None:
    for text in (ID, f"{ID}@v1.0", "a/b"):
        assert hub_cache.is_hub_id(text)
    for text in ("./a/b", "/a/b", "a", "a/b/c", "~/a", "tiny-rooms-uniform-8f-ec515e5a", ""):
        assert not hub_cache.is_hub_id(text)
