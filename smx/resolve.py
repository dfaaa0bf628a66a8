"""From what was asked for (a flat request) to cells: names checked, inputs found, items listed.

Everything that can be known before the queue is checked here: variants, options, data roots, checkpoints,
scenes and questions. The built-in stand-ins are decided here too: where nothing is configured (no site
file, no data or checkpoint argument, not on SLURM), rooms serve for data and the tiny model for weights.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smx import imported, plugins
from smx.benches import BaseBench, Question
from smx.cell import Cell, Item
from smx.datasets import BaseDataset, Scene
from smx.digests import checkpoint_digest, remembering
from smx.errors import SceneError, UserError, unknown
from smx.geometry.view import GeometryOptions
from smx.models import BaseVLM
from smx.project import Workspace
from smx.runfolder import read_json, write_json
from smx.spec import (
    SPECS,
    EvalSpec,
    GenSpec,
    SampleSpec,
    TrainSpec,
    Variant,
    build,
    dataset_label,
    fingerprint,
    named_plugins,
    sample_set,
)
from smx.yamlfile import read_yaml

# Keys of a request that are no part of a spec: where something is on this machine, and what this call allows.
PLACES = ("root", "checkpoint", "poses", "vggt", "allow_position_mismatch")
VGGT = "facebook/VGGT-1B"  # under this id the site file may say where its weights are


@dataclass
class Resolver:
    """Resolves requests against one workspace. Questions and scene lists are read once."""

    workspace: Workspace
    stand_ins: bool = True  # False on SLURM
    trained: Mapping[str, Cell] = field(default_factory=dict)  # train cells and runs a checkpoint may name
    said: list[str] = field(default_factory=list)  # lines for the user: which stand-in serves for what
    _questions: dict[Any, list[Question]] = field(default_factory=dict)
    _usable: set[Any] = field(default_factory=set)
    remember: bool = False  # keep digests of files in the workspace's cache
    _listed: dict[Any, list[str]] = field(default_factory=dict)
    _digests: dict[Any, str] = field(default_factory=dict)
    _imports: dict[Any, Any] = field(default_factory=dict)

    def gen(self, request: Mapping[str, Any]) -> list[Cell]:
        """One gen cell."""
        values, places = self._split(request)
        if "dataset" not in values:
            values["dataset"] = self._default_dataset(places)
        name = str(values.get("sampler"))
        if name not in plugins.names("samplers") and imported.counts(self.workspace.samples, name):
            raise UserError(
                f"{name!r} is no sampler: its frames were chosen by another tool and imported",
                f"smx eval --sampler {name} looks at them",
            )
        return [self._gen_cell(build("gen", values), places)]

    def train(self, request: Mapping[str, Any]) -> list[Cell]:
        """A train cell, after the gen cells that make its sample sets."""
        values, places = self._split(request)
        _check_types("train", values)
        variant, values["model"], labels = self._variant(values.get("model", "tiny"), places, trains=True)
        variant = _allowing(variant, places)
        base = plugins.load("models", variant.base)
        values["variant"] = variant.resolved()
        values["recipe"] = {**base.recipe, **values.get("recipe", {})}
        values["imported"] = self._is_imported(values.get("sampler", "uniform"))
        spec = build("train", values)
        assert isinstance(spec, TrainSpec)
        if not base.trainable:
            raise UserError(
                f"model {spec.model!r} has no weights to train", "smx list models shows which can be trained"
            )
        checkpoint, digests, _ = self._checkpoint(variant, spec.model, places)
        model: BaseVLM = variant.options()
        model.check(checkpoint)
        self._say_positions(spec.model, model, checkpoint)
        inputs, paths, needs, count, gens = {**digests}, {"checkpoint": _text(checkpoint)}, [], 0, []
        for name in spec.data:
            bench: BaseBench = plugins.load("benches", name).parse(spec.data_options[name], f"bench {name}")
            root = self._root(name, bench.needs_root, places)
            questions = bench.training(root)
            if not questions:
                raise UserError(f"bench {name!r} has no training questions", "smx list benches")
            count += len(questions)
            inputs[f"data:{name}"] = bench.digest(root)
            paths[f"bench:{name}"] = _text(root)
            scenes = {q.scene for q in questions}
            seen = _Seen(name, bench, bench.training_dataset_options(), scenes, root)
            made, inputs[f"frames:{name}"] = self._frames(spec, model, seen, places)
            gens += made
            needs += [gen.fingerprint for gen in made]
            paths[f"gen:{name}"] = str(made[0].folder) if made else None
        inputs["sample_set"] = sample_set(spec)
        steps = spec.recipe.steps or max(
            1, round(spec.recipe.epochs * count / (spec.recipe.batch * spec.recipe.accumulate))
        )
        every = spec.recipe.save_every
        items = tuple(Item(f"steps-{a + 1:06d}-{min(a + every, steps):06d}", "train") for a in range(0, steps, every))
        if spec.imported:
            labels["imported"] = _imported_words(spec)
        name = f"{spec.model}-{'+'.join(spec.data)}-{spec.sampler}-{spec.frames}f"
        paths["samples"] = str(self.workspace.samples)
        return [*gens, self._cell(spec, name, items, inputs, paths, labels, tuple(needs))]

    def eval(self, request: Mapping[str, Any]) -> list[Cell]:
        """An eval cell, after the gen cell that makes its sample set (where the model looks at frames)."""
        values, places = self._split(request)
        _check_types("eval", values)
        asked = values.get("bench", "rooms")
        bench_class = plugins.load("benches", asked)
        labels: dict[str, Any] = {}
        asks_rooms = set(values.get("bench_options") or ()) <= plugins.load("benches", "rooms").model_fields.keys()
        if bench_class.needs_root and asks_rooms and self._may_stand_in(places) and not self._site_root(asked):
            values["bench"] = "rooms"
            labels["stand_in_for"] = {"bench": asked}
            self._say(f"No data for bench {asked!r} is configured: the built-in rooms serve instead (bench `rooms`).")
        variant, values["model"], more = self._variant(values.get("model", "tiny"), places)
        variant = _allowing(variant, places)
        labels["stand_in_for"] = {**labels.get("stand_in_for", {}), **more.pop("stand_in_for", {})}
        labels = {**labels, **more}
        if not labels["stand_in_for"]:
            del labels["stand_in_for"]
        model: BaseVLM = variant.options()
        sees = model.needs_frames and not values.get("blind")
        if not sees:  # one run, whatever the sampler: nothing is looked at
            values |= {"sampler": "none", "frames": 0, "sampler_options": {}, "geometry": {}}
            values = {k: v for k, v in values.items() if k not in ("input", "frame_order")}
        if not model.needs_frames:
            values = {k: v for k, v in values.items() if k not in ("blind", "loop")}
        values["variant"] = variant.resolved()
        values["imported"] = sees and self._is_imported(values.get("sampler", "uniform"))
        spec = build("eval", values)
        assert isinstance(spec, EvalSpec)
        checkpoint, digests, needs = self._checkpoint(variant, spec.model, places)
        if checkpoint is None or checkpoint.is_dir() or not needs:  # else it is still to be trained
            model.check(checkpoint)
        self._say_positions(spec.model, model, checkpoint)
        if type(model).trainable and checkpoint is None:
            labels["untrained"] = True
        # Weights made here differ with the seed, and so do their evaluations; weights given do not.
        by_seed = type(model).seeded or (type(model).trainable and (checkpoint is None or bool(needs)))
        by_seed = by_seed or spec.frame_order == "shuffled"
        unseeded = spec.sampler == "none" or spec.imported or not plugins.load("samplers", spec.sampler).seeded
        if not by_seed and unseeded:
            spec = spec.model_copy(update={"seed": 0})
        bench: BaseBench = plugins.load("benches", spec.bench).parse(spec.bench_options, f"bench {spec.bench}")
        root = self._root(spec.bench, bench.needs_root, places)
        questions = self._ask(spec.bench, bench, root)
        if lacking := [q.id for q in questions if not q.truth]:
            self._say(
                f"Note: {len(lacking)} of {len(questions)} questions have no ground truth (e.g. {lacking[0]}): "
                "they fail, and are in no score."
            )
        inputs = {"bench": bench.digest(root), **digests}
        paths = {"bench": _text(root), "samples": str(self.workspace.samples), "checkpoint": _text(checkpoint)}
        cells: list[Cell] = []
        if sees:
            seen = _Seen(spec.bench, bench, bench.dataset_options(), {q.scene for q in questions}, root)
            cells, frames = self._frames(spec, model, seen, places)
            paths["gen"] = str(cells[0].folder) if cells else None
            needs = (*needs, *(gen.fingerprint for gen in cells))
            inputs |= {"sample_set": sample_set(spec), "frames": frames}
            if spec.imported:
                labels["imported"] = _imported_words(spec)
        items = tuple(Item(q.id, q.scene) for q in questions)
        part = "-debiased" if spec.bench_options.get("subset") == "debiased" else ""
        name = f"{spec.model}-{spec.bench}{part}" + (f"-{spec.sampler}-{spec.frames}f" if sees else "")
        name += "-blind" if spec.blind else ""
        return [*cells, self._cell(spec, name, items, inputs, paths, labels, needs)]

    def base_of(self, name: str) -> str:
        """Base model of a variant, or of its stand-in where that would serve."""
        return self._variant(name, {})[0].base

    def _split(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """(what a spec is made of, `PLACES`). VGGT is known by its weights: their digest becomes part of the spec."""
        values, places = _split(request)
        geometry = values.get("geometry", {})
        if not isinstance(geometry, Mapping) or geometry.get("source") != "vggt":
            if "vggt" in places:
                raise UserError(
                    f"weights of VGGT ({places['vggt']}) are given", "--set geometry.source=vggt reads them"
                )
            return values, places
        from smx.models._vggt_checkpoint import check

        sites = self.workspace.site.checkpoints if self.workspace.site else {}
        found = places.get("vggt") or sites.get(VGGT)
        if not found:
            raise UserError(
                "geometry.source is 'vggt', but where are its weights?",
                f"--vggt DIR, or in experiments/site.yaml:  checkpoints: {{{VGGT}: DIR}}",
            )
        folder = Path(found).expanduser().resolve()
        wanted = GeometryOptions.parse(dict(geometry), "geometry")
        check(folder, ("aggregator", "camera_head", wanted.points))
        values["geometry"] = {**geometry, "content": checkpoint_digest(folder)}
        return values, {**places, "vggt": str(folder)}

    def _gen_cell(self, spec: Any, places: Mapping[str, Any]) -> Cell:
        assert isinstance(spec, GenSpec)
        dataset: BaseDataset = plugins.load("datasets", spec.dataset).parse(
            spec.dataset_options, f"dataset {spec.dataset}"
        )
        root = self._root(spec.dataset, dataset.needs_root, places)
        scenes = self._scenes(spec.dataset, dataset, root)
        chosen = [s for s in scenes if any(s == g or fnmatch.fnmatchcase(s, g) for g in spec.scenes)]
        if not chosen:
            raise UserError(
                f"no scene of dataset {spec.dataset!r} matches {', '.join(filter(None, spec.scenes)) or repr('')}",
                f"scenes: {', '.join(scenes[:8])}{' …' if len(scenes) > 8 else ''}\n"
                "all of them: '*', as without --scenes",
            )
        poses = Path(places["poses"]).expanduser().resolve() if spec.geometry.source == "file" else None
        self._require_usable(spec, dataset, root, chosen, poses)
        paths = {
            "dataset": _text(root),
            "samples": str(self.workspace.samples),
            "cache": str(self.workspace.cache),
            "poses": _text(poses),
            "vggt": places["vggt"] if spec.geometry.source == "vggt" else None,
        }
        digest = self._digest(spec.dataset, dataset, root, chosen)
        items = tuple(Item(s, s) for s in chosen)
        name = f"{spec.sampler}-{spec.frames}f-{spec.dataset}"
        return self._cell(spec, name, items, {"dataset": digest}, paths, {}, ())

    def _require_usable(
        self, spec: GenSpec, dataset: BaseDataset, root: Path | None, scenes: list[str], poses: Path | None
    ) -> None:
        """`UserError` where no scene can give what is asked for. One that can is enough: others fail alone, as items.

        A short scene repeats its last frame; where every scene is short, the frame count is a mistake.
        """
        needs: frozenset[str] = plugins.load("samplers", spec.sampler)(**spec.sampler_options).requires()
        key = (spec.dataset, dataset, root, needs, spec.frames, tuple(scenes), poses, spec.geometry)
        if key in self._usable:
            return
        if poses is not None:
            from smx.datasets._posed import LOOKED_FOR, PosedScene, of_one_scene
        if poses is not None and len(scenes) > 1 and of_one_scene(poses):
            raise UserError(
                f"{poses} holds the cameras of one scene, and {len(scenes)} scenes are asked for",
                f"--scenes NAME, or a folder that has for each scene {LOOKED_FOR}",
            )
        longest, problems = 0, []
        for name in scenes:
            try:
                scene = dataset.open(root, name)
                if poses is not None:
                    scene = PosedScene(scene, poses, spec.geometry.poses, spec.geometry.metric)
                given = dataset.has_cameras or spec.geometry.source == "vggt"
                problem = "" if given else lacks(scene, needs)
            except SceneError as error:
                problems.append(str(error))
                continue
            if problem:
                problems.append(f"{problem}, which sampler {spec.sampler!r} needs")
                if type(scene).cameras is Scene.cameras:
                    break  # no scene of this dataset has any
            elif len(scene.frame_ids) >= spec.frames:
                self._usable.add(key)
                return
            else:
                longest = max(longest, len(scene.frame_ids))
        if longest:
            raise UserError(
                f"{spec.frames} frames are asked for, and the longest scene of dataset {spec.dataset!r} has {longest}",
                f"--frames {longest - longest % 2}" if longest >= 2 else "use longer scenes",
            )
        every = f"none of the {len(scenes)} scenes of dataset {spec.dataset!r} can be used: " if len(scenes) > 1 else ""
        free = [name for name in plugins.names("samplers") if not plugins.load("samplers", name).needs]
        raise UserError(every + problems[0], f"samplers that need frames only: {', '.join(free)}" if needs else "")

    def _require_cameras(
        self, spec: SampleSpec, model: str, name: str, options: dict[str, Any], root: Path | None
    ) -> None:
        """`UserError` where a pose variant would find cameras in no scene. Scenes without fail alone, as items."""
        dataset: BaseDataset = plugins.load("datasets", name).parse(options, f"dataset {name}")
        if spec.geometry.source != "dataset" or dataset.has_cameras:
            return
        for scene_id in self._scenes(name, dataset, root):
            try:
                scene = dataset.open(root, scene_id)
                if not lacks(scene, frozenset(("cameras",))):
                    return
            except SceneError:
                continue
            if type(scene).cameras is Scene.cameras:
                break  # no scene of this dataset has any
        raise UserError(
            f"model {model!r} needs the cameras of its frames (w2c and K), and dataset {name!r} has none",
            "name a variant without poses: smx list models",
        )

    def _frames(
        self, spec: TrainSpec | EvalSpec, model: BaseVLM, seen: _Seen, places: Mapping[str, Any]
    ) -> tuple[list[Cell], str]:
        """(what makes the frames that a train or eval cell looks at, their digest); nothing makes imported ones."""
        if spec.imported:
            return [], self._imported(spec, model, seen)
        videos = self._videos(seen.name, seen.bench, seen.root)
        gen = self._gen_for(spec, seen.bench, seen.options, seen.scenes, {**places, "root": _text(videos)})
        if model.wants_cameras():
            self._require_cameras(spec, spec.model, seen.bench.dataset, seen.options, videos)
        return [gen], gen.inputs["dataset"]

    def _is_imported(self, name: str) -> bool:
        """Whether `name` is that of imported frames, not of a sampler. `UserError` where it is neither, or both."""
        samplers = plugins.names("samplers")
        if name not in self._imports:
            self._imports[name] = imported.counts(self.workspace.samples, name)
        if name not in samplers and not self._imports[name]:
            known = [*samplers, *imported.names(self.workspace.samples)]
            raise unknown("sampler", name, known, "smx list samplers; smx samples import reads frames of other tools")
        if name in samplers and self._imports[name]:
            raise UserError(
                f"{name!r} is a sampler, and frames of another tool were imported under that name too",
                f"smx samples import DIR --as ANOTHER, and move {self.workspace.samples / name} away",
            )
        return bool(self._imports[name])

    def _imported(self, spec: TrainSpec | EvalSpec, model: BaseVLM, seen: _Seen) -> str:
        """Digest of the imported frames that a cell looks at. `UserError` where its model needs more than pictures."""
        if model.wants_cameras():
            raise UserError(
                f"model {spec.model!r} needs the cameras of its frames (w2c and K), and imported frames have none",
                f"name a variant without poses (smx list models), or a sampler instead of {spec.sampler!r}",
            )
        key = (spec.sampler, spec.frames, seen.name, frozenset(seen.scenes))
        if key not in self._imports:
            label = dataset_label(seen.bench.dataset, seen.options)
            self._imports[key] = imported.records(self.workspace.samples, spec.sampler, spec.frames, label, seen.scenes)
        found, missing = self._imports[key]
        as_list = isinstance(spec, EvalSpec) and spec.input == "frames"
        reads = model.reads_times() and not as_list
        untimed = [scene for scene, known in found.items() if known["timestamps"] is None]
        if reads and untimed:
            instead = " --input frames shows them as pictures, two a second" if isinstance(spec, EvalSpec) else ""
            raise UserError(
                f"model {spec.model!r} reads when its frames were taken, which nothing tells of those imported as "
                f"{spec.sampler!r} (e.g. scene {untimed[0]})",
                f"smx samples import DIR --as {spec.sampler} --fps 30, where pictures are named by frame number."
                + instead,
            )
        times = "two a second" if as_list else "unknown" if untimed else "by frame number"
        lacking = f"; no frames of {len(missing)} others (e.g. {missing[0]})" if missing else ""
        self._say(
            f"Frames {spec.sampler}/{spec.frames}: imported, chosen by another tool; "
            f"{len(found)} of {len(seen.scenes)} scenes of {seen.name}{lacking}; times {times}."
        )
        return imported.digest(found, times=reads)

    def _gen_for(
        self,
        spec: SampleSpec,
        bench: BaseBench,
        options: dict[str, Any],
        scenes: set[str],
        places: Mapping[str, Any],
    ) -> Cell:
        """The gen cell that makes what an eval or train cell looks at: the same frames, the bench's scenes."""
        shared = {name: getattr(spec, name) for name in SampleSpec.model_fields}
        dataset = plugins.load("datasets", bench.dataset).parse(options, f"dataset {bench.dataset}")
        root = None if places["root"] is None else Path(places["root"])
        known = self._scenes(bench.dataset, dataset, root)
        missing = sorted(scenes - set(known))
        # Scenes that are missing on disk fail alone, as items; all missing means a wrong folder.
        if len(missing) == len(scenes):
            raise UserError(
                f"none of the {len(scenes)} scenes the questions are about is under {root} (e.g. {missing[0]})",
                "give the folder that holds the videos with --root",
            )
        if missing:
            self._say(
                f"Note: {len(missing)} of {len(scenes)} scenes that are asked about are not under {root} "
                f"(e.g. {missing[0]}): their questions fail, and are in no score."
            )
        wanted = ("*",) if scenes >= set(known) else tuple(sorted(scenes & set(known)))
        values = {**shared, "dataset": bench.dataset, "dataset_options": options, "scenes": wanted}
        return self._gen_cell(build("gen", values), places)

    def _cell(self, spec: Any, name: str, items: Any, inputs: Any, paths: Any, labels: Any, needs: Any) -> Cell:
        mark = fingerprint(spec, inputs)
        folder = run_path(self.workspace.runs, spec.kind, name, mark)
        if spec.kind == "train":
            paths = {**paths, "output": str(folder / "checkpoint")}
        return Cell(spec, mark, name, folder, items, named_plugins(spec), inputs, paths, labels, needs)

    def _variant(
        self, name: str, places: Mapping[str, Any], *, trains: bool = False
    ) -> tuple[Variant, str, dict[str, Any]]:
        """The variant, its name and labels; its stand-in where its weights are nowhere and nothing is configured."""
        variant = self._read_variant(name)
        known = variant.base in plugins.names("models")
        if known and (
            not plugins.load("models", variant.base).needs_checkpoint or self._find_weights(variant, name, places)
        ):
            return variant, name, {}
        if variant.stand_in and self._may_stand_in(places):
            verb = "trained" if trains else "asked, untrained,"
            self._say(f"No weights for {name!r} are configured: {variant.stand_in!r} is {verb} instead.")
            return self._read_variant(variant.stand_in), variant.stand_in, {"stand_in_for": {"model": name}}
        if not known:
            raise unknown("base model", variant.base, plugins.names("models"), f"variant {name!r} names it")
        raise UserError(
            f"model {name!r} needs weights ({variant.checkpoint or 'no checkpoint named'}) that are not here",
            "give their folder: --checkpoint DIR, or `checkpoints:` in experiments/site.yaml",
        )

    def _read_variant(self, name: str) -> Variant:
        files = self.workspace.variant_files()
        if name not in files:
            raise unknown("model", name, files, "smx list models")
        return Variant.parse(read_yaml(files[name]), str(files[name]))

    def _find_weights(self, variant: Variant, name: str, places: Mapping[str, Any]) -> Path | None:
        if places.get("checkpoint"):
            return Path(places["checkpoint"])
        configured = self.workspace.site.checkpoints if self.workspace.site else {}
        for key in (name, variant.checkpoint):
            if key and key in configured:
                return Path(configured[key]).expanduser()
        if variant.checkpoint and (Path(variant.checkpoint).is_absolute() or variant.checkpoint.startswith(".")):
            return Path(variant.checkpoint)
        return None

    def _checkpoint(
        self, variant: Variant, name: str, places: Mapping[str, Any]
    ) -> tuple[Path | None, dict[str, str], tuple[str, ...]]:
        """(folder, digests for the fingerprint, fingerprints it waits for) of the weights to load."""
        given = places.get("checkpoint")
        if given and not plugins.load("models", variant.base).trainable:
            raise UserError(f"model {name!r} has no weights, so --checkpoint means nothing to it")
        if given is not None and given in self.trained:
            cell = self.trained[given]
            assert isinstance(cell.spec, TrainSpec)
            if cell.spec.variant != variant.resolved():
                raise UserError(
                    f"{cell.title} trained {cell.spec.model!r}, whose options differ from those of {name!r}",
                    f"smx eval --model {cell.spec.model} --checkpoint {cell.title}",
                )
            return cell.folder / "checkpoint", {"checkpoint": f"train:{cell.fingerprint}"}, (cell.fingerprint,)
        path = self._find_weights(variant, name, places)
        if path is None:
            return None, {}, ()
        if not path.is_dir():
            if given is None:
                raise UserError(
                    f"there is no folder {str(path)!r}, which is to hold the weights of {name!r}",
                    "mend `checkpoints:` in experiments/site.yaml, or `checkpoint:` in the variant's file",
                )
            raise UserError(
                f"checkpoint {str(path)!r} is neither a folder nor a train run",
                f"train runs: {', '.join(c.title for c in self.trained.values()) or 'none yet (smx train)'}",
            )
        return path, {"checkpoint": checkpoint_digest(path)}, ()

    def _root(self, name: str, needed: bool, places: Mapping[str, Any]) -> Path | None:
        if not needed:
            if places.get("root"):
                raise UserError(f"{name!r} is made on the fly, so --root means nothing to it")
            return None
        place = places.get("root") or self._site_root(name)
        if not place:
            raise UserError(
                f"where is {name!r}? no folder is configured for it",
                f"--root DIR, or in experiments/site.yaml:  data: {{{name}: DIR}}",
            )
        root = Path(place).expanduser()
        if not root.exists():
            raise UserError(
                f"{name!r}: there is no folder {str(root)!r}", "check --root or `data:` in experiments/site.yaml"
            )
        return root.resolve()

    def _videos(self, name: str, bench: BaseBench, root: Path | None) -> Path | None:
        """Where a bench's scenes are: the dataset's own folder where the site file has one, else its questions'."""
        if root is None or bench.dataset == name or not self._site_root(bench.dataset):
            return root
        return self._root(bench.dataset, True, {})

    def _site_root(self, name: str) -> str | None:
        return self.workspace.site.data.get(name) if self.workspace.site else None

    def _default_dataset(self, places: Mapping[str, Any]) -> str:
        if places.get("root"):
            return "frames"
        if self.workspace.site is None and not self.stand_ins:
            hint = "--dataset NAME: smx list datasets; built-in rooms serve on SLURM only where named: --dataset rooms"
            raise UserError("which dataset? none is named, and there is no site file", hint)
        if self.workspace.site is None:
            self._say("No dataset is named or configured: the built-in rooms serve (dataset `rooms`).")
            return "rooms"
        known = [d for d in self.workspace.site.data if d in plugins.names("datasets")]
        if len(known) == 1:
            return known[0]
        raise UserError(
            "which dataset? none is named", f"--dataset NAME; configured: {', '.join(known) or 'none'}; built in: rooms"
        )

    def _may_stand_in(self, places: Mapping[str, Any]) -> bool:
        return self.stand_ins and self.workspace.site is None and not any(places.get(p) for p in PLACES)

    def _scenes(self, name: str, dataset: BaseDataset, root: Path | None) -> list[str]:
        key = (name, dataset, root)
        if key not in self._listed:
            self._listed[key] = dataset.scenes(root)
        return self._listed[key]

    def _digest(self, name: str, dataset: BaseDataset, root: Path | None, scenes: Sequence[str]) -> str:
        """Of these scenes alone: what is added beside them changes no run. Files are read once, not by each command."""
        key = (name, dataset, root, tuple(scenes))
        if key not in self._digests:
            place = self.workspace.cache / "digests.json"
            known: dict[str, Any] = {}
            with contextlib.suppress(UserError, OSError):  # damaged, or not ours to read: it is made again
                known = read_json(place) or {}
            before = dict(known)
            with remembering(known):
                self._digests[key] = dataset.digest(root, scenes)
            if self.remember and known != before:
                with contextlib.suppress(OSError):
                    write_json(place, known)
        return self._digests[key]

    def _ask(self, name: str, bench: BaseBench, root: Path | None) -> list[Question]:
        key = (name, bench.model_dump_json(), root)
        if key not in self._questions:
            self._questions[key] = bench.questions(root)
        if not self._questions[key]:
            raise UserError(f"bench {name!r}: no question is left by its filters", "check --where")
        return self._questions[key]

    def _say_positions(self, name: str, model: BaseVLM, checkpoint: Path | None) -> None:
        """Scores move with positions by more than most effects under study, so nobody should have to guess them."""
        said = ", ".join(f"{what} {value}" for what, value in model.positions().items())
        if said:
            self._say(f"Positions of {name}: {said}.")
        if checkpoint is not None and checkpoint.is_dir() and (mismatch := model.position_mismatch(checkpoint)):
            self._say(f"Note: {checkpoint} {mismatch}; the variant allows it.")

    def _say(self, line: str) -> None:
        if line not in self.said:
            self.said.append(line)


@dataclass(frozen=True)
class _Seen:
    """Scenes that the questions of a bench are about."""

    name: str  # of the bench
    bench: BaseBench
    options: dict[str, Any]  # of its dataset
    scenes: set[str]
    root: Path | None


def run_path(runs: Path, kind: str, name: str, mark: str) -> Path:
    """The run's folder: eight digits of the fingerprint, more where another run has those already."""
    for digits in range(8, len(mark) + 1, 4):
        folder = runs / kind / f"{name}-{mark[:digits]}"
        existing = read_json(folder / "spec.json")
        if existing is None or existing["fingerprint"] == mark:
            return folder
    raise AssertionError(f"{runs / kind} holds another run with fingerprint {mark}")


def lacks(scene: Scene, needs: frozenset[str]) -> str:
    """What the scene lacks of a sampler's needs ("cameras", "voxels"), in words; "" where nothing."""
    if needs and scene.cameras([int(scene.frame_ids[0])]) is None:
        return f"scene {scene.id!r} has no cameras"
    if "voxels" in needs and not any(scene.depth(int(i)) is not None for i in scene.frame_ids):
        return f"scene {scene.id!r} has no depth"
    return ""


def unique(cells: Sequence[Cell]) -> list[Cell]:
    """Each run once, producers before consumers, first mention first."""
    return list({cell.fingerprint: cell for cell in cells}.values())


def _allowing(variant: Variant, places: Mapping[str, Any]) -> Variant:
    """The variant, run at other positions than its weights were trained with where that was asked for."""
    if "allow_position_mismatch" not in places:
        return variant
    if not variant.options().positions():
        raise UserError(f"base {variant.base!r} has no positions, so --allow-position-mismatch means nothing to it")
    return Variant.model_validate({**variant.model_dump(), "allow_position_mismatch": True})


def _split(request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    values = {k: v for k, v in request.items() if k not in PLACES and v is not None}
    places = {k: str(request[k]) for k in PLACES if request.get(k) is not None}
    geometry = values.get("geometry", {})
    if isinstance(geometry, Mapping) and (geometry or "poses" in places):
        values["geometry"] = _with_poses(geometry, places.get("poses"))
    return values, places


def _with_poses(geometry: Mapping[str, Any], poses: str | None) -> dict[str, Any]:
    """Cameras from files are known by what is in them: their digest becomes part of what is asked for."""
    source = geometry.get("source", "file" if poses else "dataset")
    if poses and source != "file":
        raise UserError(f"camera files ({poses}) are given, and geometry.source is {source!r}", "leave one of them out")
    if source != "file":
        return dict(geometry)
    from smx.datasets._posed import LOOKED_FOR, digest

    if not poses:
        raise UserError("geometry.source is 'file', but where are the files?", f"--poses takes {LOOKED_FOR}")
    return {**geometry, "source": "file", "content": digest(Path(poses).expanduser())}


def _check_types(kind: str, values: Mapping[str, Any]) -> None:
    """Keys and types before any name is looked up. A variant's options come from its file alone."""
    if "variant" in values:
        raise UserError(
            "a variant's options are not set run by run", "copy its file in experiments/models under a name of its own"
        )
    if "imported" in values:
        raise UserError("'imported' is not set: the name of the sampler tells", "smx samples import DIR --as NAME")
    SPECS[kind].parse(dict(values), f"{kind} spec")


def _imported_words(spec: TrainSpec | EvalSpec) -> str:
    return f"frames {spec.sampler}/{spec.frames}, chosen by another tool"


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
