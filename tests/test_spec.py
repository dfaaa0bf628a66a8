"""Identity of runs: the same work must be found again on every machine, and other work never taken for it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from support.commands import SCENES, data, smx

from smx import plugins, spec
from smx.errors import UserError
from smx.samplers.mergeaware_sa import Sampler as MergeawareSa
from smx.spec import AnySpec, build, fingerprint, sample_set

GEN = {"sampler": "mergeaware_sa", "frames": 16, "dataset": "rooms"}
TRAIN = {"model": "chance", "variant": {"base": "chance"}, "data": ["rooms"], "recipe": {"steps": 8}}
EVAL = {"model": "chance", "variant": {"base": "chance"}, "bench": "vsibench", "sampler": "sa", "frames": 8}
ASKED: dict[str, dict[str, Any]] = {"gen": GEN, "train": TRAIN, "eval": EVAL}
INPUTS = {"dataset": "d" * 64, "bench": "b" * 64}

# Written down when schema 1 was fixed. A change here makes every lab's finished runs look undone: raise the
# `version` of the plugin whose behaviour changed, or SCHEMA, and say so in the changelog.
STORED = {
    "gen": "3643d6a45487eeb7bd3d228baf9b23fc124619cc2b2424e85f3b47c86eaffd33",
    "train": "3ac5b1c59b39d99d37a76781955d2646caa432f5ed194d9cab44b671603b6138",
    # another since dataset vsibench 2, whose frames count their times from the first one
    "eval": "667dbbdf1eca0e536e8415b5ed4dd1c08834d9ae04cfdbfd03a479e76fcdc595",
}
STORED_SAMPLE_SET = "b6644925b6dc9c1a02853d366854eb7a514e6074ecd1ae3551e364edc7ab54c9"


def key(kind: str, values: dict[str, Any] | None = None, inputs: dict[str, str] | None = None) -> str:
    return fingerprint(build(kind, values or ASKED[kind]), INPUTS if inputs is None else inputs)


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same mapping with its keys in another order, all the way down."""
    if not isinstance(value, dict):
        return value
    keys = list(value)
    rng.shuffle(keys)
    return {k: shuffled(value[k], rng) for k in keys}


@pytest.mark.parametrize("kind", sorted(STORED))
def test_a_finished_run_is_found_again_by_every_later_smx(kind: str) -> None:
    assert key(kind) == STORED[kind]


def test_a_sample_set_made_by_an_earlier_smx_is_found_again() -> None:
    assert sample_set(build("gen", GEN)) == STORED_SAMPLE_SET


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_fingerprints_do_not_depend_on_the_process(hash_seed: str, tmp_path: Path) -> None:
    """Python's own hashes differ from process to process, and so does the current folder."""
    code = (
        "import sys, json; from smx.spec import build, fingerprint\n"
        "for kind, values, inputs in json.load(sys.stdin): print(fingerprint(build(kind, values), inputs))"
    )
    asked = json.dumps([[kind, values, INPUTS] for kind, values in ASKED.items()])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(spec.__file__).parents[1])}
    printed = subprocess.run(
        [sys.executable, "-c", code], input=asked, env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert printed.stdout.split() == [STORED[kind] for kind in ASKED], printed.stderr


@pytest.mark.parametrize("kind", sorted(ASKED))
@given(seed=st.integers(0, 10**6))
def test_the_order_of_keys_means_nothing(kind: str, seed: int) -> None:
    whole = build(kind, ASKED[kind]).model_dump(mode="json")
    rng = random.Random(seed)
    assert key(kind, shuffled(whole, rng), shuffled(INPUTS, rng)) == STORED[kind]


@pytest.mark.parametrize("kind", sorted(ASKED))
def test_writing_a_default_out_is_the_same_run(kind: str) -> None:
    """One person types only what differs, another writes every key: they share the run."""
    whole = build(kind, ASKED[kind])
    assert key(kind, whole.model_dump(mode="json")) == key(kind, whole.model_dump(exclude_defaults=True)) == key(kind)


@pytest.mark.parametrize(
    "same",
    [
        {"sampler_options": {"window": 30}},
        {"sampler_options": {"min_overlap": 0.5, "window": "30"}},
        {"seed": 0},
        {"frames": "16"},
        {"scenes": ["*"]},
        {"geometry": {"candidates": 128, "voxel_size": None}},
        {"dataset_options": {"count": 8}},
    ],
    ids=str,
)
def test_the_same_value_in_other_words_is_the_same_run(same: dict[str, Any]) -> None:
    assert key("gen", {**GEN, **same}) == STORED["gen"]


def test_a_whole_number_where_a_fraction_is_meant_is_the_same_run() -> None:
    one, other = ({**GEN, "sampler_options": {"min_overlap": value}} for value in (1, 1.0))
    assert key("gen", one) == key("gen", other) != STORED["gen"]


def test_the_name_of_a_variant_is_no_identity() -> None:
    """Renaming experiments/models/x.yaml must not make its runs undone: what it says is hashed."""
    assert key("eval", {**EVAL, "model": "another-name"}) == STORED["eval"]
    assert key("train", {**TRAIN, "model": "another-name"}) == STORED["train"]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("gen", {"seed": 1}),
        ("gen", {"frames": 18}),
        ("gen", {"sampler": "mergeaware_uniform"}),
        ("gen", {"sampler_options": {"window": 31}}),
        ("gen", {"geometry": {"candidates": 64}}),
        ("gen", {"geometry": {"voxel_size": 0.1}}),
        ("gen", {"image_format": "jpg"}),
        ("gen", {"dataset": "frames"}),
        ("gen", {"dataset_options": {"frames": 95}}),
        ("gen", {"scenes": ["test-000"]}),
        ("train", {"seed": 1}),
        ("train", {"recipe": {"steps": 9}}),
        ("train", {"recipe": {"steps": 8, "lr": 1e-3}}),
        ("train", {"data": ["rooms", "vsibench"]}),
        ("train", {"data_options": {"rooms": {"train_scenes": 2}}}),
        ("train", {"dtype": "bfloat16"}),
        ("train", {"variant": {"base": "frequency"}}),
        ("eval", {"seed": 1}),
        ("eval", {"bench": "rooms"}),
        ("eval", {"bench_options": {"prompt": "spatial-mllm"}}),
        ("eval", {"bench_options": {"subset": "debiased"}}),
        ("eval", {"max_new_tokens": 17}),
        ("eval", {"sampler": "none", "frames": 0}),
    ],
    ids=str,
)
def test_a_change_that_could_change_a_result_is_another_run(kind: str, change: dict[str, Any]) -> None:
    assert key(kind, {**ASKED[kind], **change}) != STORED[kind]


def test_options_added_to_a_bench_leave_its_runs_of_before_alone() -> None:
    """Lost otherwise: weeks of evals that are made again because a bench learned another subset."""
    assert key("eval", {**ASKED["eval"], "bench_options": {"subset": "full"}}) == key("eval")


def test_changed_data_or_weights_are_another_run() -> None:
    assert key("eval", inputs={**INPUTS, "bench": "c" * 64}) != STORED["eval"]
    assert key("eval", inputs={**INPUTS, "checkpoint": "c" * 64}) != STORED["eval"]
    assert key("eval", inputs={}) != STORED["eval"]


def test_a_sampler_that_behaves_differently_makes_new_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MergeawareSa, "version", MergeawareSa.version + 1)
    assert key("gen") != STORED["gen"]
    assert sample_set(build("gen", GEN)) != STORED_SAMPLE_SET


def test_a_new_schema_makes_new_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "SCHEMA", spec.SCHEMA + 1)
    assert all(key(kind) != STORED[kind] for kind in ASKED)
    assert sample_set(build("gen", GEN)) != STORED_SAMPLE_SET


class WiderByDefault(MergeawareSa):
    """mergeaware_sa as a later smx might ship it."""

    version: ClassVar[int] = MergeawareSa.version
    window: int = Field(default=40, ge=1)


@pytest.fixture
def wider_default(monkeypatch: pytest.MonkeyPatch) -> None:
    real = plugins.load
    monkeypatch.setattr(
        plugins, "load", lambda kind, name: WiderByDefault if name == "mergeaware_sa" else real(kind, name)
    )


@pytest.mark.usefixtures("wider_default")
def test_a_changed_default_makes_new_runs_and_the_old_value_written_out_finds_the_old_ones() -> None:
    assert key("gen") != STORED["gen"]
    assert key("gen", {**GEN, "sampler_options": {"window": 30}}) == STORED["gen"]


def test_a_sample_set_is_shared_by_datasets_and_scenes() -> None:
    for change in ({"dataset": "frames"}, {"scenes": ["a*"]}, {"dataset_options": {"count": 3}}):
        assert sample_set(build("gen", {**GEN, **change})) == STORED_SAMPLE_SET
    assert sample_set(build("gen", {**GEN, "seed": 1})) != STORED_SAMPLE_SET
    assert sample_set(build("eval", {**EVAL, "sampler": "mergeaware_sa", "frames": 16})) == STORED_SAMPLE_SET


def test_seeds_of_a_sampler_without_chance_are_one_run_and_one_sample_set() -> None:
    """A matrix over seeds must not store three equal copies of every video's frames."""
    one, other = ({"sampler": "sa", "seed": seed} for seed in (0, 7))
    assert key("gen", one) == key("gen", other)
    assert sample_set(build("eval", {**EVAL, "seed": 7})) == sample_set(build("eval", EVAL))
    assert key("eval", {**EVAL, "seed": 7}) != STORED["eval"]


def test_a_spec_cannot_be_changed_after_it_was_checked() -> None:
    made: AnySpec = build("gen", GEN)
    with pytest.raises(ValueError, match="frozen"):
        made.frames = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("gen", {"smapler": "sa"}, ["unknown key 'smapler'", "did you mean sampler?"]),
        ("gen", {"sampler": "mergaware_sa"}, ["unknown sampler 'mergaware_sa'", "did you mean mergeaware_sa?"]),
        ("gen", {"sampler_options": {"windw": 1}}, ["sampler uniform: unknown key 'windw'", "valid keys: of"]),
        (
            "gen",
            {**GEN, "sampler_options": {"windw": 1}},
            ["mergeaware_sa: unknown key 'windw'", "did you mean window?"],
        ),
        ("gen", {**GEN, "sampler_options": {"window": 0}}, ["window", "greater than or equal to 1", "got 0"]),
        ("gen", {"geometry": {"voxel": 1}}, ["unknown key 'geometry.voxel'", "did you mean voxel_size?"]),
        ("gen", {"geometry": {"voxel_size": float("inf")}}, ["geometry.voxel_size", "finite number"]),
        ("gen", {"image_format": "tiff"}, ["image_format", "'png' or 'jpg'", "got 'tiff'"]),
        ("gen", {"scenes": "test-000"}, ["scenes", "valid list", "got 'test-000'"]),
        ("gen", {"seed": -1}, ["seed", "greater than or equal to 0"]),
        ("gen", {"frames": 15}, ["15 frames cannot be paired", "use 14 or 16 frames"]),
        ("gen", {"frames": 1}, ["1 frames cannot be paired", "use 2 or 4 frames"]),
        ("gen", {"dataset": "room"}, ["unknown dataset 'room'", "did you mean rooms?"]),
        ("gen", {"dataset_options": {"split": "val"}}, ["dataset rooms", "'test' or 'train'"]),
        ("gen", {"bench": "rooms"}, ["unknown key 'bench'"]),
        ("train", {**TRAIN, "recipe": {"learning": 1}}, ["unknown key 'recipe.learning'", "valid keys: batch"]),
        ("train", {**TRAIN, "recipe": {"schedule": "cosin"}}, ["recipe.schedule", "'cosine', 'linear' or 'constant'"]),
        ("train", {**TRAIN, "data_options": {"sqa3d": {}}}, ["'sqa3d'", "may only name what is in data"]),
        ("train", {**TRAIN, "data": ["roms"]}, ["unknown bench 'roms'", "did you mean rooms?"]),
        ("eval", {**EVAL, "bench": "vsibnech"}, ["unknown bench 'vsibnech'", "did you mean vsibench?"]),
        ("eval", {**EVAL, "bench_options": {"promt": "x"}}, ["bench vsibench: unknown key 'promt'", "prompt?"]),
        ("eval", {**EVAL, "dtype": "int8"}, ["dtype", "'float32', 'bfloat16' or 'float16'"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_wrong_key_names_the_closest_and_a_wrong_value_what_is_allowed(
    kind: str, values: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        build(kind, values)
    for part in said:
        assert part in str(caught.value)


def test_two_mistakes_are_said_at_once() -> None:
    with pytest.raises(UserError) as caught:
        build("gen", {"frmes": 8, "image_format": "gif"})
    assert "frmes" in caught.value.message
    assert "gif" in caught.value.message


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    return [row["fingerprint"] for row in data(capsys, *arguments, "--dry-run")]


@pytest.mark.usefixtures("place")
def test_set_reaches_every_key_and_reads_values_as_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    typed = planned(capsys, "gen", "--sampler", "mergeaware_sa", "--frames", "8", *SCENES)
    assert typed == planned(
        capsys,
        "gen",
        *SCENES,
        "--set",
        "sampler=mergeaware_sa",
        "--set",
        "frames=8",
        "--set",
        "sampler_options.window=30",
    )
    other = planned(
        capsys, "gen", "--sampler", "mergeaware_sa", "--frames", "8", *SCENES, "--set", "geometry.candidates=20"
    )
    assert other != typed
    by_list = planned(capsys, "gen", "--set", "scenes=[test-000]", *SCENES)
    assert by_list == planned(capsys, "gen", "--scenes", "test-000", *SCENES)
    nested = planned(capsys, "gen", "--set", "dataset_options={count: 2, frames: 24}")
    assert nested == planned(capsys, "gen", *SCENES)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("window", "--set takes KEY=VALUE, got 'window'"),
        ("=3", "--set takes KEY=VALUE"),
        ("dataset_options.coutn=2", "did you mean count?"),
        ("dataset_options.count=many", "valid integer"),
        ("variant.base=tiny", "unknown key 'variant'"),
    ],
)
def test_a_wrong_set_changes_nothing(pair: str, said: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smx("gen", "--set", pair) == 2
    assert said in capsys.readouterr().err
    assert not list(place.iterdir())


def test_editors_get_a_schema_of_every_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert smx("schema") == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"experiment", "variant", "site", "gen", "train", "eval"}
    assert set(found["gen"]["properties"]) == set(spec.GenSpec.model_fields)
    assert found["experiment"]["additionalProperties"] is False
    assert smx("schema", "experimnt") == 2
    assert "did you mean experiment?" in capsys.readouterr().err


def test_the_stride_a_variant_was_trained_with_reaches_its_base_model() -> None:
    """Lost otherwise: a checkpoint trained at stride 1 is run at 2 without a word, though its variant file says 1."""
    variant = spec.Variant.parse({"base": "qwen2_5_vl", "trained_stride": 1}, "variant")
    assert variant.options().trained_stride == 1
    assert variant.resolved()["trained_stride"] == 1
