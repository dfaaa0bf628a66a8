"""eval: ask every question, scene by scene, and record each answer as soon as it is known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from smx import plugins, sampleset
from smx.benches import BaseBench, Question
from smx.errors import SceneError
from smx.models import BaseVLM, Query, Reply, Runner, SceneInput
from smx.node import Shard
from smx.spec import EvalSpec, SampleSpec, Variant, dataset_label, sample_set


def work(shard: Shard) -> None:
    """Answer the shard's questions. One that raises is an error, never a wrong answer."""
    spec = shard.spec
    assert isinstance(spec, EvalSpec)
    if not shard.items:
        return
    bench: BaseBench = plugins.load("benches", spec.bench).parse(spec.bench_options, f"bench {spec.bench}")
    questions = {q.id: q for q in bench.questions(shard.path("bench"))}
    model: BaseVLM = Variant.model_validate(spec.variant).options()
    examples: list[tuple[Query, str]] = []
    info = {}
    if model.needs_training_answers:
        found, info["answers_from"] = bench.baseline_answers(shard.path("bench"))
        examples = [(query(bench, q), q.truth) for q in found]
    runner = model.load(
        shard.path("checkpoint"),
        seed=spec.seed,
        device=device(model),
        dtype=spec.dtype,
        training=examples,
    )
    shard.note({**runner.info, **info})
    asked = [questions[item.id] for item in shard.items]
    for scene, group in groupby(asked, key=lambda q: q.scene):
        _ask_scene(shard, bench, runner, model, scene, list(group))


def load_scene(shard: Shard, label: str, scene: str, *, cameras: bool) -> SceneInput:
    """The chosen frames of one scene, from the sample set; `label` is the dataset's folder in it.

    `SceneError` where gen could not make it.
    """
    spec = shard.spec
    assert isinstance(spec, SampleSpec)
    root = shard.path("samples")
    assert root is not None
    sample = sampleset.read(sampleset.folder(root, spec.sampler, spec.frames, sample_set(spec)[:8], label, scene))
    if cameras and sample.w2c is None:
        raise SceneError(f"scene {scene!r} has no cameras, which this model needs")
    return SceneInput(scene, sample.frames(), sample.timestamps, sample.w2c, sample.K)


def query(bench: BaseBench, question: Question) -> Query:
    """A question as a model is asked it."""
    return Query(question.id, bench.render(question), question.type, question.options)


def device(model: BaseVLM) -> str:
    """cuda where there is one, else cpu, with as many threads as the model can use."""
    if not model.needs_frames:
        return "cpu"  # and no torch: it only counts
    import torch

    if model.threads is not None:
        torch.set_num_threads(model.threads)
    return "cuda" if torch.cuda.is_available() else "cpu"


def _ask_scene(
    shard: Shard, bench: BaseBench, runner: Runner, model: BaseVLM, scene: str, questions: list[Question]
) -> None:
    view = None
    if model.needs_frames:
        try:
            label = dataset_label(bench.dataset, bench.dataset_options())
            view = load_scene(shard, label, scene, cameras=model.wants_cameras())
        except Exception as error:  # noqa: BLE001 - the scene is missing for each of its questions
            for question in questions:
                shard.begin(question.id)
                shard.fail(question.id, error)
            return
    left = list(questions)
    while left:
        for question, started, reply in _replies(shard, runner, bench, view, left):
            left.remove(question)
            if isinstance(reply, Reply):
                shard.succeed(question.id, _record(bench, question, reply), started)
            else:
                shard.fail(question.id, reply)
                break  # the generator is spent; go on with the next question in a new one


def _replies(
    shard: Shard, runner: Runner, bench: BaseBench, view: SceneInput | None, questions: Sequence[Question]
) -> Iterator[tuple[Question, float, Reply | Exception]]:
    spec = shard.spec
    assert isinstance(spec, EvalSpec)
    answers = runner.answer(view, [query(bench, q) for q in questions], spec.max_new_tokens)
    for question in list(questions):
        started = shard.begin(question.id)
        try:
            reply: Reply | Exception = next(answers)
        except Exception as error:  # noqa: BLE001 - handed to the caller, who records it
            reply = error
        yield question, started, reply


def _record(bench: BaseBench, question: Question, reply: Reply) -> dict[str, Any]:
    """Everything a scorer needs, so that a new one never needs the model again."""
    verdicts = {name: bench.judge(question, reply.text, name) for name in bench.scorers}
    return {
        "dataset": question.dataset,
        "scene": question.scene,
        "type": question.type,
        "question": question.text,
        "options": None if question.options is None else list(question.options),
        "truth": question.truth,
        "prompt": hashlib.sha256(bench.render(question).encode()).hexdigest()[:12],
        "text": reply.text,
        "scores": {name: {"parsed": v.parsed, "score": v.score} for name, v in verdicts.items()},
        "prompt_tokens": reply.prompt_tokens,
        "new_tokens": reply.new_tokens,
    }
