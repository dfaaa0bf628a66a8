"""What a training learns from: fixed and written down before its first step, read as it is needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from smx import plugins
from smx.atomic_io import read_json, write_json
from smx.benches import BaseBench, Question
from smx.errors import SceneError, UserError
from smx.models import BaseVLM, TrainableRunner
from smx.node.eval import find_sample, load_scene, made_by, query
from smx.node.shard import Shard
from smx.runfolder import Outcome
from smx.spec import TrainSpec, dataset_label, digest

DATA = "data.json"  # in a run's training folder
_NAMED = 3  # missing scenes that a message names

Example = dict[str, Any]  # of tensors: `TrainableRunner.example`


@dataclass(frozen=True)
class Scene:
    """A scene with a sample, and the questions about it that are learned."""

    name: str
    label: str  # the dataset's folder in the sample set
    bench: BaseBench
    questions: tuple[Question, ...]
    made: Outcome | None  # what the gen run made


@dataclass(frozen=True)
class TrainingData:
    """The examples of a training, scene by scene."""

    scenes: tuple[Scene, ...]
    ids: tuple[str, ...]  # `bench:question` of each example
    digest: str  # of ids, texts, answers and frames
    missing: tuple[str, ...]  # scenes without a sample, each with the reason

    @property
    def coverage(self) -> str:
        """Scenes that are learned from, of those there should be: `250/565 scenes`."""
        return f"{len(self.scenes)}/{len(self.scenes) + len(self.missing)} scenes"


def find(shard: Shard, model: BaseVLM) -> TrainingData:
    """All training examples that have a sample; no picture is read yet.

    `SceneError` where more scenes than `allow_missing` have none.
    """
    spec = shard.spec
    assert isinstance(spec, TrainSpec)
    scenes: list[Scene] = []
    ids: list[str] = []
    content: list[Any] = []
    missing: list[str] = []
    for name in spec.data:
        bench: BaseBench = plugins.load("benches", name).parse(spec.data_options[name], f"bench {name}")
        label = dataset_label(bench.dataset, bench.training_dataset_options())
        made = made_by(shard.path(f"gen:{name}"))
        for scene, group in groupby(bench.training(shard.path(f"bench:{name}")), key=lambda q: q.scene):
            questions = tuple(group)
            try:
                sample, _ = find_sample(shard, label, scene, cameras=model.wants_cameras(), made=made)
            except SceneError as error:
                missing.append(str(error))
                continue
            scenes.append(Scene(scene, label, bench, questions, made))
            ids += [f"{name}:{question.id}" for question in questions]
            frames = digest(sample.record.get("written") or sample.record["ids"])
            content += [[name, q.id, bench.render(q), q.truth, label, scene, frames] for q in questions]
    data = TrainingData(tuple(scenes), tuple(ids), digest(content), tuple(missing))
    _refuse_missing(data, spec.allow_missing)
    return data


def fix(data: TrainingData, folder: Path, run: str, *, leads: bool) -> None:
    """Write down what is learned from, or compare with what was written. `UserError` where it is something else."""
    before = read_json(folder / DATA)
    if before is None:
        if leads:
            about = {"digest": data.digest, "scenes": data.coverage, "missing": data.missing, "examples": data.ids}
            write_json(folder / DATA, about)
        return
    if before["digest"] == data.digest:
        return
    lost, new = (len(set(a) - set(b)) for a, b in ((before["examples"], data.ids), (data.ids, before["examples"])))
    change = f"{lost} of its examples are gone and {new} are new" if lost or new else "its frames or texts are others"
    raise UserError(
        f"{run} began with {before['scenes']}, and now there are {data.coverage}: {change}. Two sets of data are no "
        "one training",
        f"put the data back as they were; or start anew: smx rm {run}  and the same command again",
    )


def _refuse_missing(data: TrainingData, allowed: int) -> None:
    if not data.scenes:
        raise SceneError(f"no training question has a sample: {data.missing[0] if data.missing else 'there is none'}")
    if len(data.missing) > allowed:
        named = "; ".join(data.missing[:_NAMED]) + (" …" if len(data.missing) > _NAMED else "")
        raise SceneError(
            f"{len(data.missing)} of {len(data.missing) + len(data.scenes)} training scenes have no sample; to train "
            f"without them: --set allow_missing={len(data.missing)} ({named})"
        )


class Reader:
    """Examples by number, made scene by scene; those of the last scenes are kept, as far as `room` bytes go."""

    def __init__(self, data: TrainingData, load: Callable[[Scene], Sequence[Example]], room: int) -> None:
        self._load, self._room, self._held = load, room, 0
        self._scenes = data.scenes
        self._where = [(s, k) for s, scene in enumerate(data.scenes) for k in range(len(scene.questions))]
        self._kept: OrderedDict[int, tuple[Sequence[Example], int]] = OrderedDict()

    def __call__(self, numbers: Iterable[int]) -> list[Example]:
        """The examples of these numbers, in order."""
        return [self._of(scene)[k] for scene, k in (self._where[number] for number in numbers)]

    def complete(self) -> bool:
        """Whether all are in memory."""
        return len(self._kept) == len(self._scenes)

    def _of(self, scene: int) -> Sequence[Example]:
        if scene in self._kept:
            self._kept.move_to_end(scene)
            return self._kept[scene][0]
        examples = self._load(self._scenes[scene])
        size = sum({id(t): t.nbytes for example in examples for t in example.values()}.values())
        self._kept[scene] = examples, size
        self._held += size
        while self._held > self._room and len(self._kept) > 1:
            self._held -= self._kept.popitem(last=False)[1][1]
        return examples


def loader(shard: Shard, model: BaseVLM, runner: TrainableRunner) -> Callable[[Scene], Sequence[Example]]:
    """Reads a scene's frames and makes its examples."""

    def load(scene: Scene) -> list[Example]:
        view = load_scene(shard, scene.label, scene.name, cameras=model.wants_cameras(), made=scene.made)
        return [runner.example(view, query(scene.bench, question), question.truth) for question in scene.questions]

    return load
