"""Frames that another tool chose, named in place of a sampler: which they are, and whether a model can read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smx import external_frames, plugins
from smx.errors import UserError, unknown
from smx.models import BaseVLM
from smx.resolve.context import Context
from smx.resolve.data import AskedScenes
from smx.spec import EvalSpec, TrainSpec, dataset_label


class Imports:
    """The imported frames of one workspace. Each set is looked at once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counts: dict[str, list[int]] = {}
        self._records: dict[Any, tuple[dict[str, dict[str, Any]], list[str]]] = {}

    def named(self, name: str) -> bool:
        """Whether `name` is that of imported frames, not of a sampler. `UserError` where it is neither, or both."""
        samplers = plugins.names("samplers")
        if name not in self._counts:
            self._counts[name] = external_frames.counts(self._samples, name)
        if name not in samplers and not self._counts[name]:
            known = [*samplers, *external_frames.names(self._samples)]
            raise unknown("sampler", name, known, "smx list samplers; smx samples import reads frames of other tools")
        if name in samplers and self._counts[name]:
            raise UserError(
                f"{name!r} is a sampler, and frames of another tool were imported under that name too",
                f"smx samples import DIR --as ANOTHER, and move {self._samples / name} away",
            )
        return bool(self._counts[name])

    def digest(self, spec: TrainSpec | EvalSpec, model: BaseVLM, seen: AskedScenes) -> str:
        """Of the frames that a run looks at. `UserError` where its model needs more than pictures."""
        if model.wants_cameras():
            raise UserError(
                f"model {spec.model!r} needs the cameras of its frames (w2c and K), and imported frames have none",
                f"name a variant without poses (smx list models), or a sampler instead of {spec.sampler!r}",
            )
        found, missing = self._look(spec, seen)
        as_list = isinstance(spec, EvalSpec) and spec.input == "frames"
        reads = model.reads_times() and not as_list
        untimed = [scene for scene, known in found.items() if known["timestamps"] is None]
        if reads and untimed:
            raise _without_times(spec, untimed[0])
        times = "two a second" if as_list else "unknown" if untimed else "by frame number"
        lacking = f"; no frames of {len(missing)} others (e.g. {missing[0]})" if missing else ""
        self._context.say(
            f"Frames {spec.sampler}/{spec.frames}: imported, chosen by another tool; "
            f"{len(found)} of {len(seen.scenes)} scenes of {seen.name}{lacking}; times {times}."
        )
        return external_frames.digest(found, times=reads)

    @property
    def _samples(self) -> Path:
        return self._context.workspace.samples

    def _look(self, spec: TrainSpec | EvalSpec, seen: AskedScenes) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """(what is known of each scene that has frames, the scenes that have none)."""
        key = (spec.sampler, spec.frames, seen.name, frozenset(seen.scenes))
        if key not in self._records:
            label = dataset_label(seen.bench.dataset, seen.options)
            self._records[key] = external_frames.records(self._samples, spec.sampler, spec.frames, label, seen.scenes)
        return self._records[key]


def refuse_as_sampler(samples: Path, name: str) -> None:
    """`UserError` where gen is asked to choose frames by a name that other tools' frames were imported by."""
    if name not in plugins.names("samplers") and external_frames.counts(samples, name):
        raise UserError(
            f"{name!r} is no sampler: its frames were chosen by another tool and imported",
            f"smx eval --sampler {name} looks at them",
        )


def imported_words(spec: TrainSpec | EvalSpec) -> str:
    """What a run's label says of frames that are imported."""
    return f"frames {spec.sampler}/{spec.frames}, chosen by another tool"


def _without_times(spec: TrainSpec | EvalSpec, scene: str) -> UserError:
    instead = " --input frames shows them as pictures, two a second" if isinstance(spec, EvalSpec) else ""
    return UserError(
        f"model {spec.model!r} reads when its frames were taken, which nothing tells of those imported as "
        f"{spec.sampler!r} (e.g. scene {scene})",
        f"smx samples import DIR --as {spec.sampler} --fps 30, where pictures are named by frame number." + instead,
    )
