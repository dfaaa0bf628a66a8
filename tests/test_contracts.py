"""What every plugin promises, asked of each one there is: a new file is tested the moment it exists."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.licensed import arkitscenes, scannet_sens, scannetpp_iphone
from support.media import moving
from support.question_files import write_scanqa, write_sqa3d
from support.video_questions import WRITERS as VIDEO_BENCHES
from support.walks import Walk

from smx import plugins
from smx.atomic_io import write_json
from smx.benches import BaseBench, Question
from smx.datasets import BaseDataset
from smx.datasets._rooms_files import write_frames, write_vsibench
from smx.errors import SceneError, UserError
from smx.executors import BaseExecutor, Job
from smx.geometry.view import GeometryOptions, SceneView
from smx.models import BaseVLM, Query, SceneInput
from smx.rooms import named_scene
from smx.runfolder import RunFolder
from smx.samplers import BaseSampler
from smx.samplers._common import choose
from smx.spec import canonical

BASE = {
    "samplers": BaseSampler,
    "models": BaseVLM,
    "benches": BaseBench,
    "datasets": BaseDataset,
    "executors": BaseExecutor,
}
EVERY = [(kind, name) for kind in plugins.CLASS for name in plugins.names(kind)]
HEAVY = ("torch", "transformers", "pandas", "submitit", "sqlite_utils", "matplotlib")


def ids(value: object) -> str:
    return str(value)


# --- all kinds


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=ids)
def test_options_are_plain_hashable_and_default(kind: str, name: str) -> None:
    """Else a spec that names it could not be built, hashed or read back on the node."""
    cls = plugins.load(kind, name)
    assert issubclass(cls, BASE[kind])
    assert isinstance(cls.version, int)
    assert cls.version >= 1
    made = cls.parse({}, name)
    dumped = made.model_dump(mode="json")
    assert cls.parse(dumped, name) == made
    assert canonical(cls.parse(dumped, name).model_dump(mode="json")) == canonical(dumped)
    assert cls.model_config.get("frozen")


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=ids)
def test_a_misspelt_option_is_refused(kind: str, name: str) -> None:
    cls = plugins.load(kind, name)
    with pytest.raises(UserError, match="unknown key 'no_such_option'"):
        cls.parse({"no_such_option": 1}, name)


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=ids)
def test_what_a_plugin_computes_with_it_does_not_hide_in_the_module(kind: str, name: str) -> None:
    """Two objects with equal options are equal: nothing else may change a result."""
    cls = plugins.load(kind, name)
    assert cls.parse({}, name) == cls.parse({}, name)
    assert cls.__module__ == f"smx.{kind}.{name}"
    assert cls.__doc__


def test_importing_every_plugin_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom smx import plugins\nfor k in plugins.CLASS:\n for n in plugins.names(k): plugins.load(k, n)\n"
    )
    code += f"print([m for m in {HEAVY!r} if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


# --- samplers


def view(frames: int = 120, **given: Any) -> SceneView:
    return SceneView(Walk(frames, **given), GeometryOptions(candidates=32))


@pytest.mark.parametrize("n", [2, 8, 16])
@pytest.mark.parametrize("name", plugins.names("samplers"))
def test_a_sampler_picks_n_different_frames_and_the_same_ones_again(name: str, n: int) -> None:
    sampler = plugins.load("samplers", name)()
    choice = choose(sampler, view(), n, seed=3)
    assert len(choice.ids) == len(choice.fill) == len(set(choice.ids)) == n
    assert set(choice.ids) <= set(range(120))
    assert choose(sampler, view(), n, seed=3) == choice
    canonical({"ids": choice.ids, "fill": choice.fill, "notes": choice.notes})  # plain Python, fit for JSON


@pytest.mark.parametrize("name", plugins.names("samplers"))
def test_a_sampler_that_says_seeds_mean_nothing_means_it(name: str) -> None:
    """`seeded` decides whether seeds share a sample set: a wrong word mixes different frames up."""
    sampler = plugins.load("samplers", name)()
    chosen = {tuple(choose(sampler, view(), 8, seed).ids) for seed in range(4)}
    assert sampler.seeded or len(chosen) == 1


@pytest.mark.parametrize("name", plugins.names("samplers"))
def test_a_sampler_works_with_no_more_than_it_says_it_needs(name: str) -> None:
    sampler = plugins.load("samplers", name)()
    bare = view(without="cameras")
    if sampler.needs:
        with pytest.raises(SceneError, match="cameras"):
            choose(sampler, bare, 8, 0)
    else:
        assert len(choose(sampler, bare, 8, 0).ids) == 8


@pytest.mark.parametrize("name", plugins.names("samplers"))
def test_a_sampler_refuses_what_cannot_be_paired_and_fills_what_is_short(name: str) -> None:
    sampler = plugins.load("samplers", name)()
    with pytest.raises(UserError, match="cannot be paired"):
        choose(sampler, view(), 7, 0)
    short = choose(sampler, view(5), 8, 0)
    assert short.ids == [0, 1, 2, 3, 4, 4, 4, 4]
    assert short.fill == [False] * 5 + [True] * 3


@pytest.mark.parametrize("name", plugins.names("samplers"))
def test_a_sampler_uses_frame_ids_and_not_positions(name: str) -> None:
    """Frames kept every tenth are numbered 0, 10, 20: mixing ids and positions shows frames nobody chose."""
    choice = choose(plugins.load("samplers", name)(), view(60, step=10), 8, 0)
    assert all(i % 10 == 0 for i in choice.ids)
    assert max(choice.ids) > 60


# --- datasets


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A root for every dataset and bench that needs one, made from the same two rooms."""
    rooms = [named_scene(f"test-{i:03d}", frames=16, width=64, height=48) for i in range(2)]
    folder = tmp_path_factory.mktemp("roots")
    for room in rooms:
        write_frames(room, folder / "frames" / room.name)
        scannet_sens(room, folder / "scannet" / room.name / f"{room.name}.sens")
        scannetpp_iphone(room, folder / "scannetpp" / "data" / room.name)
        arkitscenes(room, folder / "arkitscenes", room.name, sky="Left")
    write_vsibench(folder / "vsibench", rooms)
    for name in ("sqa3d", "scanqa"):  # their scenes are ScanNet's
        (folder / name / "scans").mkdir(parents=True)
        for room in rooms:
            (folder / name / "scans" / room.name).symlink_to(folder / "scannet" / room.name)
    write_sqa3d(folder / "sqa3d", [room.name for room in rooms])
    write_scanqa(folder / "scanqa", [room.name for room in rooms])
    (folder / "table").mkdir()
    for room in rooms:
        (folder / "table" / room.name).symlink_to(folder / "frames" / room.name)
    asked = ["id,video,question,answer", "1,{},How many chairs?,4", "2,{},What is it?,a lamp"]
    (folder / "table" / "questions.csv").write_text("\n".join(asked).format(rooms[0].name, rooms[1].name))
    for name, write in VIDEO_BENCHES.items():
        write(folder / name)
    (folder / "videos").symlink_to(folder / "revsi")
    return {path.name: path for path in folder.iterdir()}


SMALL = {"rooms": {"count": 2, "frames": 16, "width": 64, "height": 48}}


@pytest.fixture(params=plugins.names("datasets"))
def dataset(request: pytest.FixtureRequest, roots: dict[str, Path]) -> tuple[BaseDataset, Path | None]:
    made = plugins.load("datasets", request.param).parse(SMALL.get(request.param, {}), request.param)
    if made.needs_root:
        assert request.param in roots, f"the contract tests need data for {request.param}: add a root above"
    return made, roots[request.param] if made.needs_root else None


def test_scenes_of_a_dataset_are_listed_the_same_way_every_time(dataset: tuple[BaseDataset, Path | None]) -> None:
    made, root = dataset
    scenes = made.scenes(root)
    assert scenes == sorted(set(scenes))
    assert len(scenes) == 2
    assert made.digest(root) == made.digest(root)
    assert all(not part.startswith(".") and part for scene in scenes for part in scene.split("/"))


def test_a_scene_hands_out_what_it_announces(dataset: tuple[BaseDataset, Path | None]) -> None:
    made, root = dataset
    scene = made.open(root, made.scenes(root)[0])
    assert scene.id == made.scenes(root)[0]
    assert scene.frame_ids.dtype == np.int64
    assert (np.diff(scene.frame_ids) > 0).all()
    times = scene.timestamps()
    assert times.dtype == np.float64
    assert times.shape == scene.frame_ids.shape
    wanted = scene.frame_ids[[9, 2, 9]].tolist()
    frames = list(scene.decode(wanted))
    assert [frame_id for frame_id, _ in frames] == sorted(set(wanted))
    for _, pixels in frames:
        assert pixels.shape == (scene.height, scene.width, 3)
        assert pixels.dtype == np.uint8
    canonical(scene.source())


def test_cameras_and_depth_are_in_the_one_convention(dataset: tuple[BaseDataset, Path | None]) -> None:
    made, root = dataset
    scene = made.open(root, made.scenes(root)[0])
    ids = scene.frame_ids[:3].tolist()
    cameras = scene.cameras(ids)
    if cameras is None:
        assert not made.has_cameras
        return
    assert cameras.w2c.shape == (3, 4, 4)
    assert cameras.w2c.dtype == cameras.K.dtype == np.float64
    np.testing.assert_allclose(cameras.w2c[:, 3], [[0, 0, 0, 1]] * 3)
    np.testing.assert_allclose(np.linalg.det(cameras.w2c[:, :3, :3]), 1, atol=1e-6)
    assert (cameras.K[:, 0, 2] > 0).all()
    assert (cameras.K[:, 0, 2] < scene.width).all()
    found = scene.depth(ids[0])
    if found is not None:
        depth, intrinsics = found
        assert depth.dtype == np.float32
        assert (depth[np.isfinite(depth)] > 0).all()
        assert 0 < intrinsics[0, 2] < depth.shape[1]


def test_a_frame_or_scene_that_is_not_there_is_said(dataset: tuple[BaseDataset, Path | None]) -> None:
    made, root = dataset
    with pytest.raises((UserError, SceneError)):
        made.open(root, "no-such-scene")
    with pytest.raises((UserError, SceneError)):
        made.open(root, "../escape")
    scene = made.open(root, made.scenes(root)[0])
    with pytest.raises((SceneError, IndexError, ValueError)):
        list(scene.decode([10**6]))


def test_a_root_that_holds_nothing_is_refused(dataset: tuple[BaseDataset, Path | None], tmp_path: Path) -> None:
    made, root = dataset
    if root is not None:
        for wrong in (tmp_path, tmp_path / "gone", None):
            with pytest.raises(UserError):
                made.scenes(wrong)


# --- benches


@pytest.fixture(params=plugins.names("benches"))
def bench(request: pytest.FixtureRequest, roots: dict[str, Path]) -> tuple[BaseBench, Path | None]:
    small = {"rooms": {"scenes": 2, "train_scenes": 2, "frames": 16}}.get(request.param, {})
    made = plugins.load("benches", request.param).parse(small, request.param)
    if made.needs_root:
        assert request.param in roots, f"the contract tests need data for {request.param}: add a root above"
    return made, roots[request.param] if made.needs_root else None


def test_questions_are_distinct_sorted_and_about_scenes_of_the_dataset(bench: tuple[BaseBench, Path | None]) -> None:
    made, root = bench
    asked = made.questions(root)
    assert asked
    assert len({q.id for q in asked}) == len(asked)
    assert asked == sorted(asked, key=lambda q: (q.scene, q.id)) == made.questions(root)
    dataset = plugins.load("datasets", made.dataset).parse(made.dataset_options(), made.dataset)
    assert {q.scene for q in asked} <= set(dataset.scenes(root))
    assert made.digest(root) == made.digest(root)


def test_training_questions_share_no_scene_with_the_test(bench: tuple[BaseBench, Path | None]) -> None:
    made, root = bench
    assert {q.scene for q in made.training(root)}.isdisjoint({q.scene for q in made.questions(root)})
    answers, name = made.baseline_answers(root)
    assert answers
    assert "split" in name


def test_the_truth_scores_full_marks_and_nonsense_none(bench: tuple[BaseBench, Path | None]) -> None:
    made, root = bench
    asked = made.questions(root)
    for scorer in made.scorers:
        for question in asked:
            assert made.judge(question, question.truth, scorer).score == 1
            nonsense = made.judge(question, "", scorer)
            assert (nonsense.score, nonsense.parsed) == (0, None)
        scored = [(question, made.judge(question, question.truth, scorer)) for question in asked]
        whole = made.summarize(scored)
        assert whole["n"] == len(asked)
        assert whole["unparsed"] == 0
        assert {whole["all"]["micro"], whole["all"]["macro"]} == {1}
        assert made.summarize(scored[::-1]) == whole
        assert made.summarize([])["n"] == 0


def test_a_prompt_shows_the_question_and_every_option(bench: tuple[BaseBench, Path | None]) -> None:
    made, root = bench
    for question in made.questions(root):
        prompt = made.render(question)
        assert question.text in prompt
        assert all(option in prompt for option in question.options or ())
        assert prompt == made.render(question)


def test_an_unknown_scorer_is_no_scorer(bench: tuple[BaseBench, Path | None]) -> None:
    made, root = bench
    with pytest.raises((UserError, KeyError)):
        made.judge(made.questions(root)[0], "A", "no-such-scorer")


# --- base models

QUERIES = [
    Query("0", "How many chairs are there?", "object_counting"),
    Query("1", "Which is nearer?\nA. sofa\nB. door", "object_rel_distance", ("A. sofa", "B. door")),
    Query("2", "How many tables are there?", "object_counting"),
]
KNOWN = [(query, truth) for query, truth in zip(QUERIES, ("4", "B", "2"), strict=True)]


@pytest.fixture(params=plugins.names("models"))
def model(request: pytest.FixtureRequest) -> BaseVLM:
    made: BaseVLM = plugins.load("models", request.param)()
    if made.needs_checkpoint:
        pytest.skip("needs weights on disk; its own tests load some")
    if not made.computes_here:
        pytest.skip("needs an endpoint; its own tests serve one")
    return made


def scene_for(made: BaseVLM) -> SceneInput | None:
    if not made.needs_frames:
        return None
    frames = np.stack(list(moving(4)))
    return SceneInput("walk", frames, np.arange(4) / 2.0, np.stack([np.eye(4)] * 4), np.stack([np.eye(3)] * 4))


def loaded(made: BaseVLM, seed: int = 0) -> Any:
    return made.load(None, seed=seed, device="cpu", dtype="float32", training=KNOWN)


def test_a_model_answers_every_query_in_order_and_alike(model: BaseVLM) -> None:
    runner = loaded(model)
    scene = scene_for(model)
    replies = [reply.text for reply in runner.answer(scene, QUERIES, 4)]
    assert len(replies) == 3
    assert [reply.text for reply in loaded(model).answer(scene, QUERIES, 4)] == replies
    assert [reply.text for reply in runner.answer(scene, QUERIES[1:], 4)] == replies[1:]
    canonical(runner.info)


def test_a_model_yields_each_answer_as_soon_as_it_is_known(model: BaseVLM) -> None:
    """A kill may lose the answer in hand, not those before it."""
    answers = loaded(model).answer(scene_for(model), QUERIES, 4)
    assert isinstance(answers, Iterator)
    next(answers)


def test_random_weights_say_so(model: BaseVLM) -> None:
    assert loaded(model).untrained == model.trainable


@pytest.mark.parametrize("name", plugins.names("models"))
def test_a_checkpoint_that_is_none_is_refused_without_loading(name: str, tmp_path: Path) -> None:
    made = plugins.load("models", name)()
    if made.trainable or made.needs_checkpoint:
        with pytest.raises(UserError):
            made.check(tmp_path)


# --- executors


def an_attempt(place: Path) -> Job:
    run = RunFolder(place / "runs" / "gen" / "x-00000000")
    write_json(run.path / "spec.json", {"fingerprint": "0" * 64})
    attempt = run.attempt(1)
    write_json(attempt.path / "plan.json", {"shards": [[], []], "of": 0, "max_failed": 0})
    return Job(entry="builtins:print", folder=attempt.path, shards=2)


@pytest.mark.parametrize("name", plugins.names("executors"))
def test_an_executor_knows_nothing_of_what_it_did_not_start(name: str, tmp_path: Path) -> None:
    executor = plugins.load("executors", name)()
    assert executor.poll([]) == []
    executor.cancel([])
    executor.drive()
    job = an_attempt(tmp_path)
    assert executor.recover("none", tmp_path / "none", [job]) == [None]


def test_questions_are_plain_rows() -> None:
    """They travel through items.jsonl and back."""
    question = Question("1", "rooms", "test-000", "object_counting", "How many?", None, "2")
    assert Question(**vars(question)) == question
