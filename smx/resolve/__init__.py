"""From what was asked for (a flat request) to runs: names checked, inputs found, items listed.

Everything that can be known before the queue is checked here: variants, options, data roots, checkpoints,
scenes and questions. The built-in stand-ins are decided here too: where nothing is configured (no site
file, no data or checkpoint argument, not on SLURM), rooms serve for data and the tiny model for weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smx import plugins
from smx.benches import Question
from smx.errors import UserError
from smx.models import BaseVLM
from smx.resolve import own_benches
from smx.resolve.context import Context
from smx.resolve.data import AskedScenes, Data, bench_of
from smx.resolve.external_frames import imported_words, refuse_as_sampler
from smx.resolve.frames import Frames
from smx.resolve.inference import settle
from smx.resolve.own_benches import OwnBench
from smx.resolve.requests import MODEL_OPTIONS, PLACES, Roots, check_types, split
from smx.resolve.runs import make_run, run_path, unique
from smx.resolve.training import recipe_of, refuse_foreign_checkpoints, trained_words
from smx.resolve.weights import (
    ChosenWeights,
    Weights,
    check_adapter,
    choose,
    is_here,
    never_saw_poses,
    refuse_other_positions,
    refuse_other_training,
    say_positions,
    weights_of,
    with_weights,
)
from smx.run import Item, Run
from smx.spec import TABLE, EvalSpec, GenSpec, Recipe, TrainSpec, build, part_name, planned_steps, sample_set
from smx.workspace import Workspace

PARTS = 10  # items of a training
__all__ = ["MODEL_OPTIONS", "PLACES", "Resolver", "run_path", "unique"]


class Resolver:
    """Resolves requests against one workspace. Questions and scene lists are read once."""

    def __init__(
        self, workspace: Workspace, *, stand_ins: bool = True, remember: bool = False, gpu: bool = False
    ) -> None:
        """`stand_ins`: False on SLURM. `remember`: keep digests of files in the workspace's cache.

        `gpu`: whether evaluations get one.
        """
        self.trained: Mapping[str, Run] = {}  # runs of kind train, done or still to be made, that a checkpoint may name
        self.said: list[str] = []  # lines for the user: which stand-in serves for what
        self._workspace = workspace
        self._remember = remember
        self._context = Context(workspace, stand_ins, gpu, self.said)
        self._data = Data(self._context, remember=remember)
        self._frames = Frames(self._context, self._data)

    def gen(self, request: Mapping[str, Any]) -> list[Run]:
        """One gen run."""
        values, places = split(request, self._context.checkpoints)
        if "dataset" not in values:
            values["dataset"] = self._data.default_dataset(places)
        refuse_as_sampler(self._workspace.samples, str(values.get("sampler")))
        spec = build("gen", {**values, "strict": places.strict is not None})
        assert isinstance(spec, GenSpec)
        return [self._frames.gen(self._frames.asked(spec, places), places)]

    def train(self, request: Mapping[str, Any]) -> list[Run]:
        """A train run, after the gen runs that make its sample sets."""
        values, places = split(request, self._context.checkpoints)
        check_types("train", values)
        chosen = choose(self._context, values.get("model", "tiny"), places, trains=True)
        weights = weights_of(self._context, self.trained, chosen, places)
        model = with_weights(chosen, weights)
        spec = self._train_spec(values, chosen, model)
        if _is_there(weights):
            model.check(weights.folder)
            check_adapter(model, weights)
        refuse_other_positions(model, weights)
        say_positions(self._context, spec.model, model, weights)
        told = trained_words(model, spec.recipe.train, model.sizes(weights.folder))
        self._context.say(f"Training of {spec.model}: {told}.")
        if never_saw_poses(model, weights):
            self._context.say(f"The weights {spec.model} starts from never saw poses, as far as is known.")
        roots = self._roots(spec, places)
        lessons = [self._lesson(spec, model, name, roots[name]) for name in spec.data]
        gens = [gen for lesson in lessons for gen in lesson.gens]
        inputs, paths = dict(weights.digests), _paths(weights)
        for lesson in lessons:
            inputs |= lesson.inputs
            paths |= lesson.paths
        run = make_run(
            self._workspace.runs,
            spec,
            f"{spec.model}-{'+'.join(spec.data)}-{spec.sampler}-{spec.frames}f",
            _parts(spec.recipe, sum(len(lesson.questions) for lesson in lessons)),
            {**inputs, "sample_set": sample_set(spec)},
            {**paths, "samples": self._workspace.samples},
            _labels(spec, chosen.stands_in_for, weights),
            (*weights.needs, *(gen.fingerprint for gen in gens)),
        )
        refuse_foreign_checkpoints(run)
        return [*gens, run]

    def eval(self, request: Mapping[str, Any]) -> list[Run]:
        """An eval run, after the gen run that makes its sample set (where the model looks at frames)."""
        values, places = split(request, self._context.checkpoints)
        options = values.pop(MODEL_OPTIONS, {})
        check_types("eval", values)
        asked = values.get("bench", "rooms")
        own = self._own_bench(str(asked), values.get("bench_options") or {}, places)
        if own is not None:
            asked = values["bench"] = TABLE
            values["bench_options"] = {**(values.get("bench_options") or {}), **own.options}
        else:
            own_benches.require_known(self._workspace, str(asked))
            values["bench"] = self._data.bench_for(asked, values.get("bench_options") or {}, places)
        chosen = choose(self._context, values.get("model", "tiny"), places, options=options)
        stands_in_for = {"bench": asked} if values["bench"] != asked else {}
        weights = weights_of(self._context, self.trained, chosen, places)
        model = with_weights(chosen, weights)
        sees = model.needs_frames and not values.get("blind")
        values |= settle(self._context, values, chosen, model, weights)
        spec = self._eval_spec(values, chosen, model, sees)
        if _is_there(weights):
            model.check(weights.folder)
            check_adapter(model, weights)
        refuse_other_training(self._context, model, weights)
        say_positions(self._context, spec.model, model, weights)
        spec = _with_seed_that_counts(spec, model, weights)
        exam = self._exam(spec, model, sees, places, own)
        untrained = type(model).trainable and weights.folder is None
        labels = _labels(spec, {**stands_in_for, **chosen.stands_in_for}, weights, untrained=untrained)
        if sees and never_saw_poses(model, weights):
            labels["pose_untrained"] = True
        return [
            *exam.gens,
            make_run(
                self._workspace.runs,
                spec,
                _eval_name(spec, sees),
                tuple(Item(q.id, q.scene) for q in exam.questions),
                {**exam.inputs, **weights.digests},
                {**exam.paths, "samples": self._workspace.samples, **_paths(weights)},
                labels,
                (*weights.needs, *(gen.fingerprint for gen in exam.gens)),
            ),
        ]

    def has_weights(self, name: str) -> bool:
        """Whether a checkpoint is called so that is no train run: a folder, or a name that leads to one."""
        return is_here(self._context, name)

    def base_of(self, name: str) -> str:
        """Base model of a variant, or of its stand-in where that would serve."""
        return choose(self._context, name, Roots()).variant.base

    def _train_spec(self, values: Mapping[str, Any], chosen: ChosenWeights, model: BaseVLM) -> TrainSpec:
        if not model.trainable:
            raise UserError(
                f"model {chosen.name!r} has no weights to train", "smx list models shows which can be trained"
            )
        spec = build(
            "train",
            {
                **values,
                "model": chosen.name,
                "variant": {"base": chosen.variant.base, **model.resolved()},
                "recipe": recipe_of(chosen.name, model, values.get("recipe", {})),
                "imported": self._frames.imports.named(values.get("sampler", "uniform")),
            },
        )
        assert isinstance(spec, TrainSpec)
        return spec

    def _roots(self, spec: TrainSpec, places: Roots) -> dict[str, Roots]:
        """Where the data of each bench is: --root is meant for those that need a folder."""
        needing = [name for name in spec.data if plugins.load("benches", name).needs_root]
        elsewhere = places.at(None) if needing else places
        return {name: places if name in needing else elsewhere for name in spec.data}

    def _lesson(self, spec: TrainSpec, model: BaseVLM, name: str, places: Roots) -> _Part:
        """What a model learns from one bench."""
        bench = bench_of(name, spec.data_options[name])
        root = self._data.root(name, bench.needs_root, places.root)
        questions = bench.training(root)
        if not questions:
            raise UserError(
                f"bench {name!r} has no training questions: {bench.lacks_training(root)}",
                f"--root DIR, or `data: {{{name}: DIR}}` in experiments/site.yaml, is where its files are"
                if bench.needs_root
                else "smx list benches",
            )
        inputs, scenes = {f"data:{name}": bench.training_digest(root)}, {q.scene for q in questions}
        seen = AskedScenes(name, bench, bench.training_dataset_options(), scenes, root, bool(places.root))
        gens, inputs[f"frames:{name}"] = self._frames.looked_at(spec, model, seen, places)
        paths = {f"bench:{name}": root, f"gen:{name}": gens[0].folder if gens else None}
        return _Part(questions, gens, inputs, paths)

    def _eval_spec(self, values: Mapping[str, Any], chosen: ChosenWeights, model: BaseVLM, sees: bool) -> EvalSpec:
        resolved = {"base": chosen.variant.base, **model.resolved()}
        values = {**values, "model": chosen.name, "variant": resolved}
        if not sees:  # one run, whatever the sampler: nothing is looked at
            values |= {"sampler": "none", "frames": 0, "sampler_options": {}, "geometry": {}}
            values = {k: v for k, v in values.items() if k not in ("input", "frame_order")}
        if not model.needs_frames:
            values = {k: v for k, v in values.items() if k != "blind"}
        if not (model.needs_frames and model.computes_here):
            values = {k: v for k, v in values.items() if k not in ("loop", "decoding", "dtype")}
        values["imported"] = sees and self._frames.imports.named(values.get("sampler", "uniform"))
        spec = build("eval", values)
        assert isinstance(spec, EvalSpec)
        return spec

    def _own_bench(self, asked: str, given: Mapping[str, Any], places: Roots) -> OwnBench | None:
        """The table that `asked` means, with what its columns are; None where it means a bench that is a plugin."""
        if not own_benches.is_own(self._workspace, asked):
            return None
        bench, lines = own_benches.look(self._workspace, asked, given, places.root)
        if self._remember and (line := own_benches.keep(self._workspace, bench)):
            lines.append(line)
        for line in lines:
            self._context.say(line)
        return bench

    def _exam(self, spec: EvalSpec, model: BaseVLM, sees: bool, places: Roots, own: OwnBench | None) -> _Part:
        """What a model is asked."""
        bench = bench_of(spec.bench, spec.bench_options)
        root = own.questions if own else self._data.root(spec.bench, bench.needs_root, places.root)
        questions = self._data.questions(spec.bench, bench, root)
        inputs, paths = {"bench": bench.digest(root)}, {"bench": root}
        if not sees:
            return _Part(questions, [], inputs, paths)
        scenes, videos = {q.scene for q in questions}, own.videos if own else None
        seen = AskedScenes(spec.bench, bench, bench.dataset_options(), scenes, root, bool(places.root), videos)
        gens, inputs["frames"] = self._frames.looked_at(spec, model, seen, places)
        inputs["sample_set"] = sample_set(spec)
        paths["gen"] = gens[0].folder if gens else None
        return _Part(questions, gens, inputs, paths)


@dataclass(frozen=True)
class _Part:
    """Questions of one bench that a run is about."""

    questions: list[Question]
    gens: list[Run]  # what makes the frames they are asked with
    inputs: dict[str, str]  # as in `Run`
    paths: dict[str, Path | None]


def _is_there(weights: Weights) -> bool:
    """Whether there is something to look at: not where it is still to be trained."""
    return weights.folder is None or weights.folder.is_dir() or not weights.needs


def _paths(weights: Weights) -> dict[str, Path | None]:
    """As in `Run`."""
    paths: dict[str, Path | None] = {"checkpoint": weights.folder}
    paths |= weights.parts
    return paths if weights.adapter is None else {**paths, "adapter": weights.adapter}


def _parts(recipe: Recipe, questions: int) -> tuple[Item, ...]:
    """A training as items: tenths of its steps, or each step where there are fewer than ten."""
    count = min(PARTS, planned_steps(recipe, questions))
    return tuple(Item(part_name(number, count), "train") for number in range(1, count + 1))


def _with_seed_that_counts(spec: EvalSpec, model: BaseVLM, weights: Weights) -> EvalSpec:
    """Seed 0 where nothing in the run is random: every seed is the same run.

    Weights made here differ with the seed, and so do their evaluations; weights given do not.
    """
    makes_weights = type(model).trainable and (weights.folder is None or bool(weights.needs))
    chooses = spec.sampler != "none" and not spec.imported and plugins.load("samplers", spec.sampler).seeded
    if type(model).seeded or makes_weights or chooses or spec.frame_order == "shuffled":
        return spec
    return spec.model_copy(update={"seed": 0})


def _eval_name(spec: EvalSpec, sees: bool) -> str:
    part = "-debiased" if spec.bench_options.get("subset") == "debiased" else ""
    frames = f"-{spec.sampler}-{spec.frames}f" if sees else ""
    return f"{spec.model}-{spec.bench_name}{part}{frames}" + ("-blind" if spec.blind else "")


def _labels(
    spec: TrainSpec | EvalSpec, stands_in_for: Mapping[str, str], weights: Weights, *, untrained: bool = False
) -> dict[str, Any]:
    """What a run's reader should know that its spec does not say: where its weights are from among it."""
    labels: dict[str, Any] = {}
    if weights.source:
        labels["weights"] = weights.source.name
        if weights.source.blobs:
            labels["blobs"] = weights.source.blobs
    if weights.adapter:
        labels["adapter"] = weights.adapter.name
    if stands_in_for:
        labels["stand_in_for"] = dict(stands_in_for)
    if untrained:
        labels["untrained"] = True
    if spec.imported:
        labels["imported"] = imported_words(spec)
    return labels
