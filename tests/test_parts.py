"""Parts of a model: what each is called, how large it is, at which rate it is trained, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.commands import smx
from test_qwen3 import PIXELS, folder  # noqa: F401  # a fixture: a checkpoint of Qwen3-VL
from test_vggt import QUESTIONS, SMALL, VARIANTS
from test_vggt import scene as spatial_scene

from smx import plugins
from smx.dotted import flat
from smx.errors import UserError
from smx.models import WHOLE, BaseVLM, TrainableRunner
from smx.models._spatial_mllm.config import ENCODER
from smx.models._vlm.checkpoint import current_name
from smx.models._vlm.checkpoint_json import MEMORY
from smx.models._vlm.parts import part_of
from smx.node.training.optimizer import adamw, set_rates
from smx.report.labels import _differing
from smx.resolve.training import recipe_of, trained_words
from smx.spec import Recipe

GOLDEN = Path("golden/spatial_mllm_tiny")
CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
REAL = ["qwen2_5_vl", "qwen3_vl", "spatial_mllm"]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lab").mkdir()
    monkeypatch.chdir(tmp_path / "lab")
    return tmp_path / "lab"


def base(name: str, **options: Any) -> BaseVLM:
    made: BaseVLM = plugins.load("models", name).parse(options, name)
    return made


def require_same_sizes(model: BaseVLM, checkpoint: Path | None) -> None:
    """The login node counts what the node loads, and each tensor is of one part, which has a name."""
    runner = model.load(checkpoint, seed=0, device="cpu", dtype="float32")
    assert isinstance(runner, TrainableRunner)
    parts = runner.parts()
    held = [weight for weights in parts.values() for weight in weights]
    assert {id(weight) for weight in held} == {id(weight) for weight in runner.module().parameters()}
    assert len({id(weight) for weight in held}) == len(held)
    assert {part: sum(weight.numel() for weight in each) for part, each in parts.items()} == model.sizes(checkpoint)
    assert parts.keys() <= model.parts().keys()
    rates = recipe_of("it", model, {})["train"]
    record = runner.train_only(rates)
    free = {id(weight) for weight in held if weight.requires_grad}
    assert free == {id(weight) for part in rates for weight in parts[part]}
    assert record["trained_parameters"] == sum(model.sizes(checkpoint)[part] for part in rates)
    assert record["parameters"] == sum(model.sizes(checkpoint).values())


def test_a_part_is_as_large_as_was_said_before_the_queue(tmp_path: Path) -> None:
    """Lost otherwise: "3 of 4 billion parameters are trained" is another number on the node."""
    tiny = base("tiny")
    require_same_sizes(tiny, None)
    made = tiny.load(None, seed=0, device="cpu", dtype="float32")
    assert isinstance(made, TrainableRunner)
    made.save(tmp_path / "c")
    (tmp_path / "c" / MEMORY).unlink()  # which says that it is a tiny
    require_same_sizes(base("qwen2_5_vl", pixels=SMALL["pixels"]), tmp_path / "c")


def test_a_part_of_qwen3_is_as_large_as_was_said(folder: Path) -> None:  # noqa: F811
    """Lost otherwise: the mergers of its middle layers count as the encoder's."""
    require_same_sizes(base("qwen3_vl", pixels=PIXELS), folder)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_a_part_of_a_spatial_mllm_is_as_large_as_was_said(options: dict[str, Any], fixtures: Path) -> None:
    """Lost otherwise: a connector that no checkpoint brings, or the layers of VGGT that are read, are not counted."""
    require_same_sizes(base("spatial_mllm", **SMALL, **options), fixtures / GOLDEN)


@pytest.mark.parametrize("name", REAL)
def test_vision_encoders_are_frozen_in_every_real_base(name: str) -> None:
    """Lost otherwise: "mllm against custom mllm" compares a trained encoder with a frozen one."""
    rates = recipe_of(name, base(name), {})["train"]
    connector = {"connector": 2e-5} if name == "spatial_mllm" else {}
    assert rates == {"llm": 7e-6, "merger": 2e-5, **connector}


def test_a_base_that_names_no_parts_is_trained_whole() -> None:
    """Lost otherwise: somebody's own base model cannot be trained before it says what it is made of."""

    class Own(type(base("tiny"))):  # type: ignore[misc]
        recipe: ClassVar[dict[str, Any]] = {"lr": 1e-4}

        def parts(self) -> dict[str, str]:
            return dict(BaseVLM.parts(self))

    assert recipe_of("own", Own(), {})["train"] == {WHOLE: 1e-4}


def test_the_same_rates_are_the_same_recipe_however_they_are_said() -> None:
    """Lost otherwise: one training under two fingerprints."""
    tiny = base("tiny")
    said = recipe_of("tiny", tiny, {"lr": 1e-3})
    assert said == recipe_of("tiny", tiny, {"train": dict.fromkeys(("vision", "merger", "llm"), 1e-3)})
    assert said["lr"] == 1e-3
    frozen = recipe_of("tiny", tiny, {"train": {"vision": 0}})
    assert frozen["train"] == {"llm": 1.5e-3, "merger": 1.5e-3}
    real = recipe_of("x", base("spatial_mllm"), {"lr": 1e-5})
    assert (real["lr"], real["train"]) == (1e-5, {"llm": 1e-5, "connector": 2e-5, "merger": 2e-5})
    assert recipe_of("x", base("spatial_mllm"), {"train": {"llm": 1e-5}}) == real


@pytest.mark.parametrize(
    ("options", "asked", "words"),
    [
        ({}, {"train": {"conector": 1e-5}}, ["unknown part 'conector'", "did you mean connector?"]),
        ({}, {"train": {"vggt": 1e-5}}, ["vggt of 'it' cannot be trained, it runs without gradients", "vision"]),
        ({"features": "2d"}, {"train": {"connector": 1e-5}}, ["without spatial tokens", "llm, merger, vision"]),
        ({"features": "3d"}, {"train": {"merger": 1e-5}}, ["without 2-D tokens", "llm, connector"]),
        (
            {},
            {"train": {"llm": 0, "merger": 0, "connector": 0}},
            ["nothing of 'it' to train", "recipe.train.llm=7e-06"],
        ),
        ({}, {"train": {"llm": 1e-5}, "lr": 2e-5}, ["recipe.lr (2e-05) means nothing", "llm 1e-05"]),
        ({}, {"steps": 10, "epochs": 2.0}, ["recipe.steps (10) and recipe.epochs (2) are both given"]),
    ],
    ids=str,
)
def test_what_would_mean_nothing_is_refused(options: dict[str, Any], asked: dict[str, Any], words: list[str]) -> None:
    """Lost otherwise: a night of training in which the part under study did not move."""
    with pytest.raises(UserError) as caught:
        recipe_of("it", base("spatial_mllm", **options), asked)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_epochs_are_not_hidden_by_the_steps_of_a_base() -> None:
    """Lost otherwise: `recipe.epochs=3` trains as long as before, and says nothing."""
    with pytest.raises(UserError, match=r"trains for 160 steps by its own recipe\n.*steps=0 --set recipe.epochs=3"):
        recipe_of("tiny", base("tiny"), {"epochs": 3.0})
    assert recipe_of("tiny", base("tiny"), {"epochs": 3.0, "steps": 0})["epochs"] == 3.0


def test_what_is_trained_is_said_with_its_rates_and_sizes() -> None:
    """Lost otherwise: nobody sees before the queue that the encoder is frozen."""
    model = base("spatial_mllm")
    rates = {"llm": 7e-6, "merger": 2e-5}
    sizes = {"llm": 1000, "merger": 200, "connector": 30, "vision": 4, "vggt": 5}
    words = "llm at 7e-06, merger at 2e-05: 1,200 of 1,239 parameters; frozen: connector, vision, vggt"
    assert trained_words(model, rates, sizes) == words
    assert trained_words(model, rates, {}) == "llm at 7e-06, merger at 2e-05; frozen: connector, vision, vggt"


# --- a model that begins with a Qwen2.5-VL and a VGGT


@pytest.fixture
def apart(fixtures: Path, tmp_path: Path) -> Path:
    """The fixture's checkpoint as it would be before its training: `qwen` and `vggt`, without a connector."""
    golden = fixtures / GOLDEN
    config = json.loads((golden / "config.json").read_text())
    sizes = config.pop("spatial_config")
    config.pop("connector_config")
    config |= {"model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"]}
    tensors = load_file(golden / "model.safetensors")
    vggt = {name.removeprefix(ENCODER): weight for name, weight in tensors.items() if name.startswith(ENCODER)}
    qwen = {name: weight for name, weight in tensors.items() if not name.startswith((ENCODER, "connector."))}
    for name, weights, content in (("qwen", qwen, config), ("vggt", vggt, sizes)):
        (tmp_path / name).mkdir()
        save_file(weights, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(json.dumps(content))
    return tmp_path


def test_a_training_begins_with_a_qwen_and_a_vggt(apart: Path, fixtures: Path, lab: Path) -> None:
    """Lost otherwise: the paper's training cannot be started, only its result fine-tuned."""
    (lab / "experiments/models").mkdir(parents=True)
    text = (Path(__file__).parents[1] / "experiments/models/spatialmllm-base.yaml").read_text()
    small = "pixels: [3136, 9800]\n" + text.replace("decoding: checkpoint\n", "")
    (lab / "experiments/models/small.yaml").write_text(small)
    ids = ("Qwen/Qwen2.5-VL-3B-Instruct", apart / "qwen"), ("facebook/VGGT-1B", apart / "vggt")
    places = ", ".join(f"{identity}: {at}" for identity, at in ids)
    (lab / "experiments/site.yaml").write_text(f"checkpoints: {{{places}}}\n")
    typed = ("--frames", "4", "--steps", "2", "--set", "data_options.rooms={train_scenes: 1, frames: 24}")
    assert smx("train", "--model", "small", *typed, "--set", "recipe.batch=1", "--set", "recipe.lr=0.01") == 0
    [run] = (lab / "runs/train").iterdir()
    record = json.loads((run / "spec.json").read_text())
    assert {"checkpoint", "vggt"} <= record["inputs"].keys()
    made, golden = (load_file(at / "model.safetensors") for at in (run / "checkpoint", fixtures / GOLDEN))
    assert made.keys() == golden.keys()
    changed = {part_of(name) for name in made if not torch.equal(made[name], golden[name].to(made[name].dtype))}
    assert changed == {"llm", "merger", "connector"}
    again = base("spatial_mllm", **SMALL, rope={"temporal": "index"})
    again.check(run / "checkpoint")
    assert not again.load(run / "checkpoint", seed=0, device="cpu", dtype="float32").untrained


def test_base_parts_are_looked_at_before_the_queue(apart: Path, fixtures: Path) -> None:
    """Lost otherwise: a night in the queue for a folder that holds no VGGT."""
    model = base("spatial_mllm", **SMALL)
    model.beside({"vggt": apart / "vggt"}).check(apart / "qwen")
    require_same_sizes(model.beside({"vggt": apart / "vggt"}), apart / "qwen")
    with pytest.raises(UserError, match=r"parts: \{vggt: facebook/VGGT-1B\}"):
        model.check(apart / "qwen")
    with pytest.raises(UserError, match=r"holds a 'qwen2_5_vl', no VGGT"):
        model.beside({"vggt": apart / "qwen"}).check(apart / "qwen")
    whole = fixtures / GOLDEN
    assert (model.lacks(whole), model.lacks(apart / "qwen")) == ((), ("vggt",))
    weights = load_file(apart / "vggt/model.safetensors")
    save_file({k: v for k, v in weights.items() if "camera_token" not in k}, apart / "vggt/model.safetensors")
    with pytest.raises(
        UserError, match=r"1 of the .* missing, first spatial_encoder.vggt_model.aggregator.camera_token"
    ):
        model.beside({"vggt": apart / "vggt"}).check(apart / "qwen")


# --- what a step does to them


@pytest.mark.parametrize("options", [v for v in VARIANTS if "tubelets" not in v or "connector" in v], ids=str)
def test_a_step_changes_the_parts_that_are_trained_and_no_other(options: dict[str, Any], fixtures: Path) -> None:
    """Lost otherwise: a part that is said to be trained stays as it was, or a frozen one drifts."""
    model = base("spatial_mllm", **SMALL, **options)
    recipe = Recipe(**recipe_of("it", model, {"steps": 20, "lr": 1e-3}))
    runner = model.load(fixtures / GOLDEN, seed=0, device="cpu", dtype="float32")
    assert isinstance(runner, TrainableRunner)
    runner.train_only(recipe.train)
    module = runner.module()
    trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    optimizer = adamw(module, trained, {name: part_of(name) for name in trained}, recipe)
    before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    set_rates(optimizer, recipe, 2, 20)
    batch = runner.collate([runner.example(spatial_scene(4, s), QUESTIONS[0], a) for s, a in enumerate(("3", "8"))])
    module(**batch).loss.backward()
    optimizer.step()
    changed = {name for name, weight in module.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == trained.keys()
    assert {part_of(name) for name in changed} == recipe.train.keys()


def test_each_part_has_its_own_rate_at_every_step(lab: Path) -> None:
    """Lost otherwise: one rate for all, whatever the recipe says of the merger; seen in what the run itself wrote."""
    recipe = ("train={vision: 0, merger: 0.004}", "lr=0.001", "schedule=linear", "warmup=0.25", "batch=1")
    settings = [word for key in recipe for word in ("--set", f"recipe.{key}")]
    typed = ("--frames", "4", "--steps", "8", "--set", "data_options.rooms={train_scenes: 1, frames: 24}")
    assert smx("train", "--model", "tiny", *typed, *settings) == 0
    [run] = (lab / "runs/train").iterdir()
    rates = [json.loads(line)["lr"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    factors = [0, 1 / 2, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert [step["llm"] for step in rates] == pytest.approx([0.001 * factor for factor in factors])
    assert [step["merger"] for step in rates] == pytest.approx([0.004 * factor for factor in factors])
    assert all(step.keys() == {"llm", "merger"} for step in rates)
    made = {current_name(name): weight for name, weight in load_file(run / "checkpoint/model.safetensors").items()}
    seeded = base("tiny").load(None, seed=0, **CPU)
    assert isinstance(seeded, TrainableRunner)
    start = {name.removeprefix("vlm."): weight for name, weight in seeded.module().state_dict().items()}
    assert {part_of(name) for name in made if not torch.equal(made[name], start[name])} == {"llm", "merger"}
    result = json.loads((run / "result.json").read_text())
    sizes = base("tiny").sizes(None)
    noted = {key: value for key, value in flat(result).items() if key.endswith("parameters")}
    assert sizes["llm"] + sizes["merger"] in noted.values()
    assert sum(sizes.values()) in noted.values()


def test_parts_that_follow_the_rate_are_not_named_in_tables() -> None:
    """Lost otherwise: a sweep of one learning rate fills labels with the same number four times."""
    tiny = base("tiny")
    specs: list[Mapping[str, Any]] = [flat({"recipe": recipe_of("tiny", tiny, {"lr": rate})}) for rate in (1e-3, 2e-3)]
    assert _differing(specs, chooses=False, axes=()) == ["recipe.lr"]
    frozen = flat({"recipe": recipe_of("tiny", tiny, {"lr": 3e-3, "train": {"vision": 0}})})
    assert _differing([*specs, frozen], chooses=False, axes=()) == ["recipe.lr", "recipe.train.vision"]
