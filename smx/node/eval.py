"""eval: ask every question, scene by scene, and record each answer as soon as it is known."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from smx import plugins, sampleset
from smx.benches import BaseBench, Question
from smx.digests import inputs_digest
from smx.errors import SceneError
from smx.models import AnswerCost, BaseVLM, Query, Reply, Runner, SceneInput
from smx.node.frame_order import shown
from smx.node.parallel import ahead
from smx.node.shard import Shard
from smx.runfolder import Outcome, RunFolder
from smx.spec import EvalSpec, LookSpec, Variant, dataset_label, sample_folder


def work(shard: Shard) -> None:
    """Answer the shard's questions. One that raises is an error, never a wrong answer."""
    spec = shard.spec
    assert isinstance(spec, EvalSpec)
    if not shard.items:
        return
    bench: BaseBench = plugins.load("benches", spec.bench).parse(spec.bench_options, f"bench {spec.bench}")
    questions = {q.id: q for q in bench.questions(shard.path("bench"))}
    model: BaseVLM = Variant.model_validate(spec.variant).options()
    model = model.beside(shard.parts(model))
    examples: list[tuple[Query, str]] = []
    info: dict[str, Any] = {}
    if model.needs_training_answers:
        found, info["answers_from"] = bench.baseline_answers(shard.path("bench"))
        examples = [(query(bench, q), q.truth) for q in found if q.truth]
    runner = model.load(
        shard.path("checkpoint"),
        seed=spec.seed,
        device=device(model),
        dtype=spec.dtype,
        training=examples,
    )
    if (adapter := shard.path("adapter")) is not None:
        runner.adapt(adapter)
    if model.needs_frames and model.computes_here:
        info["decoding"] = spec.decoding
    if spec.decoding == "checkpoint" and (folder := shard.path("checkpoint")) is not None:
        runner.decoding = model.checkpoint_decoding(folder)
        info["repetition_penalty"] = runner.decoding.repetition_penalty
    runner.share_prefix = spec.loop == "shared"
    if not runner.share_prefix:
        info["questions"] = "one by one"
    shard.note({**runner.info, **info})
    scenes = [(scene, list(group)) for scene, group in groupby(_asked(shard, questions), key=lambda q: q.scene)]
    asking = _Asking(shard, bench, runner)
    if not model.needs_frames or spec.blind:
        for _, group in scenes:
            asking.about(None, group)
        return

    made = made_by(shard.path("gen"))

    def look(part: tuple[str, list[Question]]) -> SceneInput:
        label = dataset_label(bench.dataset, bench.dataset_options())
        view = load_scene(shard, label, part[0], cameras=model.wants_cameras(), made=made)
        view = shown(view, spec.input, spec.frame_order, spec.seed)
        runner.prepare(view)
        return view

    waited = time.perf_counter()
    for (_, group), view in ahead(scenes, look):
        if isinstance(view, Exception):  # the scene is missing for each of its questions
            for question in group:
                shard.begin(question.id)
                shard.fail(question.id, view)
        else:
            asking.about(view, group, time.perf_counter() - waited)
        waited = time.perf_counter()


def made_by(gen: Path | None) -> Outcome | None:
    """What the gen run in this folder made; None where nothing tells."""
    if gen is None:
        return None
    outcome = RunFolder(gen).outcome()
    return outcome if outcome.done or outcome.failed else None


def find_sample(
    shard: Shard, label: str, scene: str, *, cameras: bool, made: Outcome | None
) -> tuple[sampleset.Sample, str]:
    """(the sample of one scene, the command that makes it again); `label` is the dataset's folder in its set.

    `SceneError` where gen could not make it, or nobody imported it. `made`: by the gen run that this run waited for.
    The sample of a scene that it failed on may lie there all the same: another run made it, of other data.
    """
    if made is not None and scene not in made.done:
        if scene in made.failed:
            raise SceneError(f"gen made no sample of scene {scene!r}: {made.failed[scene]['error']['line']}")
        raise SceneError(f"gen made no sample of scene {scene!r}: the dataset has no such scene")
    spec = shard.spec
    assert isinstance(spec, LookSpec)
    root = shard.path("samples")
    assert root is not None
    data = None if made is None else str(made.done[scene]["data"].get("inputs", ""))
    place = sample_folder(root, spec, label, scene, data)
    if spec.imported and not place.is_dir():
        raise SceneError(f"scene {scene!r} is not among the frames imported as {spec.sampler!r} ({spec.frames} frames)")
    makers = [Path(path).name for role, path in shard.paths.items() if path and role.partition(":")[0] == "gen"]
    retry = " ".join(["smx retry", *dict.fromkeys(makers), shard.attempt.run.path.name])
    again = "" if spec.imported else f": {retry}"
    try:
        sample = sampleset.read(place)
        w2c = sample.w2c
    except SceneError as error:
        raise SceneError(f"{error}{again}") from error
    if data not in (None, inputs_digest(sample.record["source"].get("inputs", {}))):
        raise SceneError(f"the sample of scene {scene!r} is of other data than this run's: {retry}")
    if cameras and w2c is None:
        why = "".join(f"; {line}" for line in sample.record.get("warnings", ()) if line.startswith("cameras"))
        raise SceneError(f"scene {scene!r} has no cameras, which this model needs{why}")
    return sample, again


def load_scene(shard: Shard, label: str, scene: str, *, cameras: bool, made: Outcome | None) -> SceneInput:
    """The chosen frames of one scene, read and found to be what was written. `SceneError` as of `find_sample`."""
    sample, again = find_sample(shard, label, scene, cameras=cameras, made=made)
    try:
        frames, w2c = sample.frames(), sample.w2c
    except SceneError as error:
        raise SceneError(f"{error}{again}") from error
    return SceneInput(scene, frames, sample.timestamps, w2c, sample.K, sample.duration)


def query(bench: BaseBench, question: Question) -> Query:
    """A question as a model is asked it."""
    return Query(question.id, bench.render(question), question.type, question.options)


def device(model: BaseVLM) -> str:
    """cuda where there is one, else cpu, with as many threads as the model can use."""
    if not (model.needs_frames and model.computes_here):
        return "cpu"  # and no torch: nothing is computed here
    import torch

    if model.threads is not None:
        torch.set_num_threads(model.threads)
    return "cuda" if torch.cuda.is_available() else "cpu"


def _asked(shard: Shard, questions: dict[str, Question]) -> list[Question]:
    """The shard's questions that can be asked and scored; the others are recorded as what they are."""
    asked = []
    for item in shard.items:
        question = questions.get(item.id)
        if question is not None and question.truth:
            asked.append(question)
            continue
        shard.begin(item.id)
        lacks = "is not in the bench's question file any more" if question is None else "has no ground truth"
        shard.fail(item.id, SceneError(f"question {item.id!r} {lacks}"))
    return asked


@dataclass
class _Asking:
    """Asks about one scene after the other and records an outcome for each question."""

    shard: Shard
    bench: BaseBench
    runner: Runner
    halved: int = 0  # as often as the runner said so far

    def about(self, view: SceneInput | None, questions: list[Question], waited: float = 0.0) -> None:
        """`waited`: seconds until the scene was there."""
        spec = self.shard.spec
        assert isinstance(spec, EvalSpec)
        queries = [query(self.bench, question) for question in questions]
        outcomes = self.runner.outcomes(view, queries, spec.max_new_tokens)
        for question in questions:
            started = self.shard.begin(question.id)
            outcome = next(outcomes)
            if isinstance(outcome, Exception):
                self.shard.fail(question.id, outcome)
                continue
            if outcome.cost is not None:
                # Its share of the task's time: the seconds of all items add up to what the task took.
                started = time.perf_counter() - outcome.cost.seconds - waited / len(questions)
                self._say_halved(outcome.cost)
            try:
                data = _record(self.bench, question, outcome, spec.max_new_tokens)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - what cannot be scored is an error, not a wrong answer
                self.shard.fail(question.id, error)
            else:
                self.shard.succeed(question.id, data, started, _used(outcome.cost) if outcome.cost else None)

    def _say_halved(self, cost: AnswerCost) -> None:
        if cost.halved > self.halved:
            about = f"eval  {self.shard.attempt.run.path.name}"
            sys.stderr.write(f"{about}: memory was not enough; {cost.together} questions at once from now on\n")
        self.halved = cost.halved


def _used(cost: AnswerCost) -> dict[str, Any]:
    rare = {"halved": cost.halved, "peak_memory": cost.peak_memory, "dollars": cost.dollars, "by": cost.by}
    return {"together": cost.together, **{key: value for key, value in rare.items() if value not in (None, 0, "")}}


def _record(bench: BaseBench, question: Question, reply: Reply, longest: int) -> dict[str, Any]:
    """Everything a scorer needs, so that a new one never needs the model again; `longest`: most tokens of an answer."""
    verdicts = {name: bench.judge(question, reply.text, name) for name in bench.scorers}
    return {
        "dataset": question.dataset,
        "scene": question.scene,
        "type": question.type,
        "question": question.text,
        "options": None if question.options is None else list(question.options),
        "truth": question.truth,
        **({"also": list(question.also)} if question.also else {}),
        "prompt": hashlib.sha256(bench.render(question).encode()).hexdigest()[:12],
        "text": reply.text,
        "scores": {name: {"parsed": v.parsed, "score": v.score} for name, v in verdicts.items()},
        "prompt_tokens": reply.prompt_tokens,
        "new_tokens": reply.new_tokens,
        "cut": reply.new_tokens >= longest,
    }
