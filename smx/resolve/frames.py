"""The frames that runs look at: the gen run that makes them, or the digest of those that are imported."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx import plugins
from smx.datasets import BaseDataset
from smx.digests import inputs_digest
from smx.errors import UserError
from smx.models import BaseVLM
from smx.resolve.context import Context
from smx.resolve.data import AskedScenes, Data, dataset_of
from smx.resolve.external_frames import Imports
from smx.resolve.preflight import needs_of, require_cameras, require_times, require_usable
from smx.resolve.requests import Roots
from smx.resolve.runs import make_run
from smx.run import Item, Run
from smx.spec import EvalSpec, GenSpec, SampleSpec, TrainSpec, build

if TYPE_CHECKING:
    from smx.datasets._posed import OtherTool


class Frames:
    """Gen runs of one workspace, and what train and eval runs look at. What proved usable is not looked at again."""

    def __init__(self, context: Context, data: Data) -> None:
        self._context = context
        self._data = data
        self._usable: set[Any] = set()
        self.imports = Imports(context)

    def gen(self, spec: GenSpec, places: Roots) -> Run:
        """The gen run, its items the scenes that `spec.scenes` matches."""
        dataset = dataset_of(spec.dataset, spec.dataset_options)
        root = self._data.root(spec.dataset, dataset.needs_root, places.root, "videos")
        scenes = _matching(spec, self._data.scenes(spec.dataset, dataset, root))
        poses: OtherTool | None = None
        if spec.geometry.source == "file":
            assert places.poses is not None, "camera files are looked for where a request is split"
            from smx.datasets._posed import OtherTool

            depth = Path(places.depth).expanduser().resolve() if places.depth else None
            poses = OtherTool(Path(places.poses).expanduser().resolve(), depth)
        self._require_usable(spec, dataset, root, scenes, poses)
        paths = {
            "dataset": root,
            "samples": self._context.workspace.samples,
            "cache": self._context.workspace.cache,
            "poses": poses.poses if poses else None,
            "depth": poses.depth if poses else None,
            "vggt": places.vggt if spec.geometry.source == "vggt" else None,
        }
        digest = self._data.digest(spec.dataset, dataset, root, scenes)
        read = self._data.inputs(spec.dataset, dataset, root, scenes)
        items = tuple(Item(scene, scene, inputs_digest(read.get(scene, {}))) for scene in scenes)
        name = f"{spec.sampler}-{spec.frames}f-{spec.dataset}"
        return make_run(self._context.workspace.runs, spec, name, items, {"dataset": digest}, paths)

    def asked(self, spec: GenSpec, places: Roots) -> GenSpec:
        """`spec` for the scenes that its dataset's own bench asks about, where its questions are here, and no others.

        So are those that an evaluation makes. Unless scenes are named, or all are asked for.
        """
        if spec.scenes != ("*",) or places.all_scenes is not None or spec.dataset not in plugins.names("benches"):
            return spec
        bench = plugins.load("benches", spec.dataset)()
        dataset = dataset_of(spec.dataset, spec.dataset_options)
        if not dataset.needs_root or bench.dataset != spec.dataset:
            return spec
        videos = self._data.root(spec.dataset, True, places.root, "videos")
        try:
            questions = bench.questions(self._data.root(spec.dataset, True, places.root, "questions"))
        except UserError:
            return spec  # no questions are here, or none that can be read: whoever asks them says so
        known = set(self._data.scenes(spec.dataset, dataset, videos))
        asked = {question.scene for question in questions} & known
        if not asked or asked == known:
            return spec
        self._context.say(f"{len(asked)} of {len(known)} scenes are asked about: only these (--all-scenes: all).")
        return spec.model_copy(update={"scenes": tuple(sorted(asked))})

    def looked_at(
        self, spec: TrainSpec | EvalSpec, model: BaseVLM, seen: AskedScenes, places: Roots
    ) -> tuple[list[Run], str]:
        """(what makes the frames that a train or eval run looks at, their digest); nothing makes imported ones."""
        if spec.imported:
            return [], self.imports.digest(spec, model, seen)
        videos = self._data.videos(seen)
        dataset = dataset_of(seen.bench.dataset, seen.options)
        known = self._data.scenes(seen.bench.dataset, dataset, videos)
        wanted = self._wanted(seen.scenes, known, videos)
        gen = self.gen(_gen_spec(spec, seen, wanted, strict=places.strict is not None), places.at(videos))
        if model.wants_cameras() and spec.geometry.source == "dataset" and not dataset.has_cameras:
            require_cameras(spec.model, seen.bench.dataset, dataset, videos, known)
        if model.reads_times() and not (isinstance(spec, EvalSpec) and spec.input == "frames"):
            require_times(spec.model, seen.bench.dataset, dataset, videos, [item.id for item in gen.items])
        return [gen], gen.inputs["dataset"]

    def _require_usable(
        self, spec: GenSpec, dataset: BaseDataset, root: Path | None, scenes: list[str], poses: OtherTool | None
    ) -> None:
        key = (spec.dataset, dataset, root, needs_of(spec), spec.frames, tuple(scenes), poses, spec.geometry)
        if key not in self._usable:
            require_usable(spec, dataset, root, scenes, poses)
            self._usable.add(key)

    def _wanted(self, scenes: set[str], known: list[str], root: Path | None) -> tuple[str, ...]:
        """The `scenes` to make frames of, as globs: those that are known.

        Scenes that are missing on disk fail alone, as items; all missing means a wrong folder.
        """
        missing = sorted(scenes - set(known))
        if len(missing) == len(scenes):
            raise UserError(
                f"none of the {len(scenes)} scenes the questions are about is under {root} (e.g. {missing[0]})",
                "give the folder that holds the videos with --root",
            )
        if missing:
            self._context.say(
                f"Note: {len(missing)} of {len(scenes)} scenes that are asked about are not under {root} "
                f"(e.g. {missing[0]}): their questions fail, and are in no score."
            )
        return ("*",) if scenes >= set(known) else tuple(sorted(scenes & set(known)))


def _matching(spec: GenSpec, scenes: list[str]) -> list[str]:
    chosen = [s for s in scenes if any(s == g or fnmatch.fnmatchcase(s, g) for g in spec.scenes)]
    if not chosen:
        raise UserError(
            f"no scene of dataset {spec.dataset!r} matches {', '.join(filter(None, spec.scenes)) or repr('')}",
            f"scenes: {', '.join(scenes[:8])}{' …' if len(scenes) > 8 else ''}\nall of them: '*', as without --scenes",
        )
    return chosen


def _gen_spec(spec: TrainSpec | EvalSpec, seen: AskedScenes, scenes: tuple[str, ...], *, strict: bool) -> GenSpec:
    """What makes the frames that `spec` looks at: the same choice, of the bench's scenes."""
    shared = {name: getattr(spec, name) for name in SampleSpec.model_fields}
    values = {**shared, "dataset": seen.bench.dataset, "dataset_options": seen.options, "scenes": scenes}
    made = build("gen", {**values, "strict": strict})
    assert isinstance(made, GenSpec)
    return made
