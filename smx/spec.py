"""What a run is: frozen, fully resolved specs of gen, train and eval, and their fingerprints.

A fingerprint is the identity of a run: the hash of the resolved spec (defaults written out), the schema
version, the version of every plugin it names and the digests of its inputs. Names, paths, resources and
executors are no part of it: the same work has the same fingerprint on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from smx import external_frames, plugins, sampleset
from smx.errors import UserError, unknown
from smx.geometry.view import GeometryOptions
from smx.options import Options
from smx.sampleset import places

SCHEMA = 1  # raise when a field changes its meaning: every fingerprint changes with it

Identities = Mapping[str, int | str]  # samplers/mine -> `plugins.identity`
TABLE = "table"  # the bench that reads questions of somebody's own
KINDS = ("gen", "train", "eval")
FrameOrder = Literal["given", "reversed", "shuffled"]
DecodingRule = Literal["greedy", "checkpoint"]


class SampleSpec(Options):
    """Which frames a model sees: the identity of a sample set, whatever dataset it is applied to."""

    sampler: str = Field("uniform", description="rule that orders and picks frames; smx list samplers")
    sampler_options: dict[str, Any] = Field(default_factory=dict, description="options of the sampler")
    frames: int = Field(16, ge=0, description="how many frames of a scene are chosen; even")
    geometry: GeometryOptions = Field(default_factory=GeometryOptions, description="where points and cameras come from")
    seed: int = Field(0, ge=0, description="seed of everything random in the run")
    image_format: Literal["png", "jpg"] = Field("png", description="how chosen frames are written")


class GenSpec(SampleSpec):
    """Choose frames of every scene of a dataset and save them with cameras, pairs and overlap."""

    kind: Literal["gen"] = "gen"
    dataset: str = Field("rooms", description="where scenes come from; smx list datasets")
    dataset_options: dict[str, Any] = Field(default_factory=dict, description="options of the dataset")
    scenes: tuple[str, ...] = Field(("*",), description="globs of scene ids to use")
    strict: bool = Field(False, description="a scene whose depth and cameras disagree fails; --strict")


class LookSpec(SampleSpec):
    """What train and eval share: they look at frames, which a sampler chooses first or another tool chose."""

    imported: bool = Field(False, description="another tool chose the frames: smx samples import; smx fills it in")


class Recipe(Options):
    """How a model is fine-tuned. Defaults: the published recipe of Spatial-MLLM; base models may bring their own.

    What is learned depends on all keys but those of `resources`, which say how the work is carried out: they are no
    part of a run's identity and may differ from attempt to attempt.
    """

    resources: ClassVar[tuple[str, ...]] = (
        *("micro", "micro_tokens", "save_every", "save_minutes", "stalled_after", "start_within"),
    )

    steps: int = Field(0, ge=0, description="optimizer steps; 0 means `epochs` over the data")
    epochs: float = Field(1.0, gt=0, description="passes over the data when steps is 0")
    batch: int = Field(48, ge=1, description="examples of a step, over all ranks and forward passes")
    loss: Literal["example", "token"] = Field(
        "example", description="what of a step counts alike: each example, or each token of an answer"
    )
    lr: float = Field(7e-6, gt=0, description="peak learning rate of the parts that have none of their own in `train`")
    train: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="part -> its peak learning rate, 0 freezes it; smx list models NAME has them"
    )
    weight_decay: float = Field(0.1, ge=0)
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps with a rising learning rate")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    on_spike: Literal["off", "stop", "skip"] = Field(
        "off", description="a loss more than 6 σ above the last 128 steps: ends the run, or its step changes nothing"
    )
    micro: int = Field(0, ge=0, description="examples per forward pass; 0: as many as fit micro_tokens; no identity")
    micro_tokens: int = Field(16384, ge=1, description="tokens per forward pass where micro is 0; no identity")
    save_every: int = Field(500, ge=1, description="steps between checkpoints, at most; no identity")
    save_minutes: float = Field(30, gt=0, description="minutes between checkpoints, at most; no identity")
    stalled_after: float = Field(
        300, gt=0, description="seconds without a step (or 10 x their median) that end a training; no identity"
    )
    start_within: float = Field(600, gt=0, description="seconds that the first step may take to come; no identity")

    def carried_out(self) -> dict[str, Any]:
        """The keys of `resources`."""
        return self.model_dump(mode="json", include=set(self.resources))


def planned_steps(recipe: Recipe, examples: int) -> int:
    """Optimizer steps of a training on so many examples."""
    return recipe.steps or max(1, round(recipe.epochs * examples / recipe.batch))


def part_name(number: int, count: int) -> str:
    """The item that is part `number`, 1 to `count`, of a training's steps: `part-03-of-10`."""
    return f"part-{number:02d}-of-{count:02d}"


def part_end(item: str, steps: int) -> int:
    """The last of `steps` that is in the part of this name."""
    _, number, _, count = item.split("-")
    return steps * int(number) // int(count)


class TrainSpec(LookSpec):
    """Fine-tune a variant on the training questions of one or more benches."""

    kind: Literal["train"] = "train"
    model: str = Field("tiny", description="variant; smx list models")
    variant: dict[str, Any] = Field(default_factory=dict, description="the variant's content, resolved")
    data: tuple[str, ...] = Field(("rooms",), description="benches whose training questions are used")
    data_options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="options of each bench")
    recipe: Recipe = Field(default_factory=Recipe)
    allow_missing: int = Field(0, ge=0, description="training scenes that may lack a sample; more end the run")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="precision to compute in; trained weights and their moments are float32"
    )


class EvalSpec(LookSpec):
    """Ask a variant every question of a bench."""

    kind: Literal["eval"] = "eval"
    model: str = Field("tiny", description="variant; smx list models")
    variant: dict[str, Any] = Field(default_factory=dict, description="the variant's content, resolved")
    bench: str = Field("rooms", description="benchmark; smx list benches")
    bench_options: dict[str, Any] = Field(default_factory=dict, description="options of the bench (prompt, where …)")
    blind: bool = Field(False, description="asked without frames: what the questions alone give away")
    input: Literal["video", "frames"] = Field("video", description="frames: a list of pictures, their times unknown")
    frame_order: FrameOrder = Field("given", description="order in which pairs of frames are shown")
    loop: Literal["shared", "plain"] = Field(
        "shared", description="plain: question by question, its video anew each time"
    )
    max_new_tokens: int = Field(16, ge=1, description="longest answer, in tokens")
    decoding: DecodingRule = Field(
        "greedy", description="checkpoint: with the repetition penalty of its generation_config.json; the variant's"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="precision to compute in; checkpoints on a GPU: bfloat16"
    )

    @property
    def bench_name(self) -> str:
        """What people call the bench: one that is a table of somebody's own, by the table's name."""
        return Path(self.bench_options["file"]).stem if self.bench == TABLE else self.bench


AnySpec = GenSpec | TrainSpec | EvalSpec
SPECS: dict[str, type[GenSpec] | type[TrainSpec] | type[EvalSpec]] = {
    "gen": GenSpec,
    "train": TrainSpec,
    "eval": EvalSpec,
}

# What is not identity: names for people.
_NAMES = {"model"}
# Keys that runs did not have at first, and what those did: saying so must not make them other runs.
_LATER = {
    "strict": False,
    "imported": False,
    "blind": False,
    "input": "video",
    "frame_order": "given",
    "loop": "shared",
    "decoding": "greedy",
}


class Variant(Options):
    """A model variant, `experiments/models/<name>.yaml`: a base model and its options."""

    model_config = Options.model_config | {"extra": "allow"}

    base: str = Field(description="base model; smx list models")
    description: str = Field("", description="one line for smx list models")
    checkpoint: str | None = Field(None, description="hub id or folder of the published weights")
    parts: dict[str, str] = Field(
        default_factory=dict, description="parts that the checkpoint lacks -> hub id or folder of their weights"
    )
    decoding: DecodingRule = Field("greedy", description="how eval decodes; checkpoint: as published")
    stand_in: str | None = Field(None, description="variant that serves where nothing is configured at all")

    @model_validator(mode="after")
    def _options_fit(self) -> Variant:
        if self.base in plugins.names("models"):
            self.options()
        return self

    def options(self) -> Any:
        """The base model's own options, as its plugin class. `UserError` when they do not fit it."""
        cls = plugins.load("models", self.base)
        return cls.parse(self.model_extra or {}, f"variant of base {self.base!r}")

    def resolved(self) -> dict[str, Any]:
        """What is hashed: base and every option with its default written out."""
        return {"base": self.base, **self.options().resolved()}


def build(kind: str, values: Mapping[str, Any]) -> AnySpec:
    """A checked spec with every option resolved to its default.

    Raises `UserError` for unknown names (closest first), keys and values.
    """
    cls = SPECS[kind]
    spec = cls.parse(dict(values), f"{kind} spec")
    changes: dict[str, Any] = {}
    if _is_imported(spec):
        _refuse_rules(spec)
    elif spec.sampler != "none":
        sampler = plugins.load("samplers", spec.sampler)
        sampler.model_construct().check_frames(spec.frames)
        options = sampler.parse(spec.sampler_options, f"sampler {spec.sampler}")
        changes["sampler_options"] = options.resolved()
        if isinstance(spec, GenSpec) and not sampler.seeded:
            changes["seed"] = 0  # nothing random in it: every seed is the same run
    if isinstance(spec, GenSpec):
        changes["dataset_options"] = _resolved("datasets", spec.dataset, spec.dataset_options)
    if isinstance(spec, EvalSpec):
        changes["bench_options"] = _resolved("benches", spec.bench, spec.bench_options)
    if isinstance(spec, TrainSpec):
        strangers = set(spec.data_options) - set(spec.data)
        if strangers:
            raise unknown("train data", sorted(strangers)[0], spec.data, "data_options may only name what is in data")
        changes["data_options"] = {d: _resolved("benches", d, spec.data_options.get(d, {})) for d in spec.data}
    return spec.model_copy(update=changes)


def sample_set(spec: SampleSpec, recorded: Identities = MappingProxyType({})) -> str:
    """Fingerprint of the sample set `spec` reads or makes: no dataset, no scenes, 64 hex digits.

    `recorded`: the identities of its plugins when it ran, where it has.
    """
    if _is_imported(spec):
        return external_frames.identity(spec.sampler, spec.frames)
    sampler = plugins.load("samplers", spec.sampler)
    content = {name: value for name, value in spec.model_dump(mode="json").items() if name in SampleSpec.model_fields}
    if not sampler.seeded:
        content["seed"] = 0
    rule = {(name := f"samplers/{spec.sampler}"): _identity(name, recorded)}
    return digest({"schema": SCHEMA, "samples": content, "plugins": rule})


def sample_folder(
    root: Path,
    spec: SampleSpec,
    label: str,
    scene: str,
    data: str | None,
    recorded: Identities = MappingProxyType({}),
) -> Path:
    """Where the sample of a scene is that `spec` reads or makes; `label`: `dataset_label`.

    `data`: digest of the files it is made from (`Item.data`), None where nothing tells. Nothing there, or something
    else, is no error here: whoever reads the sample looks at it.
    """
    if _is_imported(spec):
        return external_frames.folder(root, spec.sampler, spec.frames, label, scene)
    identity = sample_set(spec, recorded)[:8]
    usual = sampleset.folder(root, spec.sampler, spec.frames, identity, label, scene)
    place = sampleset.set_folder(root, spec.sampler, spec.frames, identity)
    return usual if data is None else places.of_data(place, label, scene, data) or usual


def dataset_label(name: str, options: Mapping[str, Any], recorded: Identities = MappingProxyType({})) -> str:
    """What a sample says its dataset is: the name, and a digest of options or code that make its scenes other ones.

    It names its folder in the sample set, to which `places.claimed` adds where scenes of several roots are there.
    """
    cls = plugins.load("datasets", name)
    usual = cls().model_dump(mode="json")
    given = cls.parse(dict(options), f"dataset {name}").model_dump(mode="json")
    other = {key: value for key, value in given.items() if key not in cls.selectors and value != usual[key]}
    if isinstance(code := _identity(f"datasets/{name}", recorded), str):
        other["plugin"] = code
    return f"{name}-{digest(other)[:8]}" if other else name


def named_plugins(spec: AnySpec) -> dict[str, int | str]:
    """Identity of every plugin the spec names, as `plugins.identity` has it: `{"samplers/sa": 1, …}`."""
    found = [] if spec.sampler == "none" or _is_imported(spec) else [("samplers", spec.sampler)]
    if isinstance(spec, GenSpec):
        found.append(("datasets", spec.dataset))
    if isinstance(spec, EvalSpec):
        found += [("benches", spec.bench), ("models", spec.variant["base"])]
    if isinstance(spec, TrainSpec):
        found += [("benches", d) for d in spec.data] + [("models", spec.variant["base"])]
    found += [("datasets", plugins.load("benches", name).dataset) for kind, name in found if kind == "benches"]
    return {f"{kind}/{name}": plugins.identity(kind, name) for kind, name in dict.fromkeys(found)}


def fingerprint(spec: AnySpec, inputs: Mapping[str, str]) -> str:
    """Identity of the run: 64 hex digits. `inputs`: role -> digest of sample set, checkpoint, data."""
    content = {key: value for key, value in kept(spec).items() if key not in _NAMES}
    content = {key: value for key, value in content.items() if key not in _LATER or value != _LATER[key]}
    return digest({"schema": SCHEMA, "spec": content, "plugins": named_plugins(spec), "inputs": dict(inputs)})


def kept(spec: AnySpec) -> dict[str, Any]:
    """A spec as run folder and registry keep it: plain JSON, without how an attempt carries it out."""
    content: dict[str, Any] = spec.model_dump(mode="json")
    if isinstance(spec, TrainSpec):
        content["recipe"] = {key: value for key, value in content["recipe"].items() if key not in Recipe.resources}
    return content


def recorded(record: Mapping[str, Any]) -> AnySpec:
    """The spec in a run's record, `{kind, spec, …}`.

    A training's keys that this smx knows no more are left out: how it was done stays on record, and is not done again.
    """
    content = dict(record["spec"])
    if record["kind"] == "train":
        content["recipe"] = {key: value for key, value in content["recipe"].items() if key in Recipe.model_fields}
        if content["dtype"] == "float16":
            content["dtype"] = "float32"
    return SPECS[record["kind"]].model_validate(content)


def carried_out(spec: AnySpec, training: Mapping[str, Any]) -> AnySpec:
    """A kept spec as the attempt carries it out whose plan holds `training`, the recipe's resources."""
    if not isinstance(spec, TrainSpec) or not training:
        return spec
    return spec.model_copy(update={"recipe": spec.recipe.model_copy(update=dict(training))})


def digest(content: Any) -> str:
    """sha256 of the canonical JSON of `content`, hex."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def canonical(content: Any) -> str:
    """JSON with sorted keys, no spaces, ASCII, shortest floats: the same text on every machine."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _identity(plugin: str, recorded: Identities) -> int | str:
    kind, _, name = plugin.partition("/")
    return recorded[plugin] if isinstance(recorded.get(plugin), str) else plugins.identity(kind, name)


def _is_imported(spec: SampleSpec) -> bool:
    return isinstance(spec, LookSpec) and spec.imported


def _refuse_rules(spec: SampleSpec) -> None:
    """`UserError` for keys that say how frames are chosen, where another tool chose them."""
    for name in ("sampler_options", "geometry", "image_format"):
        if getattr(spec, name) != SampleSpec.model_fields[name].get_default(call_default_factory=True):
            raise UserError(
                f"{name} says how frames are chosen, and those of {spec.sampler!r} are imported already",
                "leave it out, or name a sampler: smx list samplers",
            )


def _resolved(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    cls = plugins.load(kind, name)
    resolved: dict[str, Any] = cls.parse(dict(options), f"{plugins.WORD[kind]} {name}").resolved()
    return resolved
