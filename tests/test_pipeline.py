"""The main job end to end, in this process: frames chosen, questions asked, a table whose every cell can be traced."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import QUESTIONS, SCENES, data, left, smx
from support.media import moving

from smx import plugins, sampleset
from smx.benches._vsi import CHOICE, TYPES
from smx.benches.vsibench import Bench as VSIBench
from smx.datasets._rooms_files import write_vsibench
from smx.registry import export
from smx.rooms import named_scene
from smx.runfolder import RunFolder

TINY = ("--frames", "4", "--set", "max_new_tokens=4")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "lab"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Items computed since the last call: the audit every item is written to as it begins."""
    file = tmp_path / "probe"
    monkeypatch.setenv("SMX_PROBE", str(file))

    def since() -> list[str]:
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return sorted(line.split(" ", 1)[1] for line in lines)

    return since


def folder_of(place: Path, kind: str, start: str) -> RunFolder:
    (found,) = place.glob(f"runs/{kind}/{start}-*")
    return RunFolder(found)


def records(run: RunFolder) -> list[dict[str, Any]]:
    return [record for attempt in run.attempts() for shard in attempt.shards() for record in shard.items()]


# --- gen


def test_gen_writes_what_it_says_and_does_nothing_twice(
    place: Path, computed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ("gen", "--sampler", "mergeaware_sa", "--frames", "8", *SCENES)
    assert smx(*typed) == 0
    said = capsys.readouterr()
    assert "2/2" in said.out
    assert "pair overlap" in said.out
    assert "the built-in rooms serve" in said.err
    assert computed() == ["test-000", "test-001"]
    samples = list(sampleset.samples(place / "samples"))
    assert [path.name for path in samples] == ["test-000", "test-001"]
    before = {name: (place / name).stat().st_mtime_ns for name in left(place) if name.startswith(("samples", "runs"))}
    assert smx(*typed) == 0
    assert "skip" in capsys.readouterr().err
    assert computed() == []
    assert {n: (place / n).stat().st_mtime_ns for n in left(place) if n.startswith(("samples", "runs"))} == before


def test_a_deleted_sample_is_made_again_and_nothing_else(place: Path, computed: Any) -> None:
    typed = ("gen", "--frames", "4", *SCENES)
    assert smx(*typed) == 0
    computed()
    first, second = sampleset.samples(place / "samples")
    kept = (first / "sample.json").stat().st_mtime_ns
    shutil.rmtree(second)
    assert smx(*typed) == 0
    assert computed() == ["test-001"]
    assert (second / "sample.json").exists()
    assert (first / "sample.json").stat().st_mtime_ns == kept


def test_a_dry_run_says_what_would_run_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ("gen", "--sampler", "uniform,sa", "--frames", "4,8", *SCENES)
    planned = data(capsys, *typed, "--dry-run")
    assert left(place) == []
    assert [(row["action"], row["reason"], row["items"]) for row in planned] == [("run", "new", 2)] * 4
    assert smx("gen", "--sampler", "uniform", "--frames", "4", *SCENES) == 0
    before = left(place)
    again = data(capsys, *typed, "--dry-run")
    assert [row["action"] for row in again] == ["skip", "run", "run", "run"]
    assert [row["fingerprint"] for row in again] == [row["fingerprint"] for row in planned]
    assert left(place) == before
    assert smx(*typed, "--dry-run") == 0
    assert "would run gen   sa-8f-rooms-" in capsys.readouterr().out


def test_seeds_are_runs_of_their_own_where_chance_plays_a_part(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = data(capsys, "gen", "--sampler", "random", "--frames", "4", "--seed", "0,1", "--scenes", "test-000", *SCENES)
    assert len({run["fingerprint"] for run in runs}) == 2
    chosen = [tuple(sampleset.read(path).ids) for path in sampleset.samples(place / "samples")]
    assert len(set(chosen)) == 2


def test_the_image_format_asked_for_is_the_one_written(place: Path) -> None:
    assert smx("gen", "--frames", "4", "--scenes", "test-000", *SCENES, "--set", "image_format=jpg") == 0
    (sample,) = sampleset.samples(place / "samples")
    assert len(list(sample.glob("*.jpg"))) == 4
    assert not list(sample.glob("*.png"))


def walks(root: Path, names: str) -> Path:
    """Scenes of eight images each."""
    from PIL import Image

    for seed, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i, frame in enumerate(moving(8, seed=seed)):
            Image.fromarray(frame).save(root / name / f"{i}.png")
    return root


def test_one_bad_scene_is_recorded_and_mended_data_are_another_run(
    place: Path, computed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bad frame used to fail a whole night's job."""
    root = walks(place.parent / "data", "abc")
    bad = root / "b" / "0.png"
    whole = bad.read_bytes()
    bad.write_bytes(bytes(len(whole)))
    typed = ("gen", "--frames", "4", "--root", root)
    assert smx(*typed) == 0  # one failed item is within what a run may lose
    said = capsys.readouterr().out
    assert "2/3" in said
    assert "1 × missing-input" in said
    assert "0.png" in said
    assert "[b]" in said
    assert computed() == ["a", "b", "c"]
    assert [path.name for path in sampleset.samples(place / "samples")] == ["a", "c"]
    (row,) = data(capsys, "ls")
    assert (row["state"], row["items"], row["done"], row["failed"]) == ("done", 3, 2, 1)

    assert smx(*typed) == 0
    assert "--retry tries the 1 failed again" in capsys.readouterr().err
    assert computed() == []

    bad.write_bytes(whole)  # other data make another run, and the old one stays as it was
    assert smx(*typed) == 0
    assert "3/3" in capsys.readouterr().out
    computed()
    runs = {run["run"]: run["done"] for run in data(capsys, "ls")}
    assert sorted(runs.values()) == [2, 3]
    assert runs[row["run"]] == 2


def test_too_many_bad_scenes_fail_the_run_and_max_failed_says_how_many_are(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = walks(place.parent / "data", "abc")
    for name in "bc":
        (root / name / "0.png").write_bytes(bytes((root / name / "0.png").stat().st_size))
    assert smx("gen", "--frames", "4", "--root", root) == 1
    said = capsys.readouterr().out
    assert said.startswith("failed")
    assert "why: smx show uniform-4f-frames-" in said
    assert smx("gen", "--frames", "4", "--root", root, "--max-failed", "2") == 0
    assert "1/3" in capsys.readouterr().out


def test_a_short_scene_is_filled_up_and_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = walks(place.parent / "data", "ab")
    for i in range(5, 8):
        (root / "b" / f"{i}.png").unlink()
    assert smx("gen", "--frames", "8", "--root", root) == 0
    whole, short = (sampleset.read(path) for path in sampleset.samples(place / "samples"))
    assert not any(whole.fill)
    assert short.ids == [0, 1, 2, 3, 4, 4, 4, 4]
    assert short.fill == [False] * 5 + [True] * 3
    (row,) = data(capsys, "samples", "stats")["rows"]
    assert row["fill"] == pytest.approx(3 / 16)


@pytest.mark.parametrize("name", ["redwood_livingroom1_micro", "miniworld_threerooms"])
def test_every_sampler_chooses_from_real_cameras_and_depth(
    name: str, fixtures: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samplers = plugins.names("samplers")
    root = fixtures / name
    given = ("--frames", "8", "--root", root, "--set", "geometry.candidates=48")
    runs = data(capsys, "gen", "--sampler", ",".join(samplers), *given)
    assert [run["state"] for run in runs] == ["done"] * len(samplers)
    made = {}
    for path in sampleset.samples(place / "samples"):
        sample = sampleset.read(path)
        made[sample.record["sampler"]] = sample
        assert sample.scene == name
        assert len(set(sample.ids)) == 8
        assert sample.frames().shape[0] == 8
        assert sample.w2c is not None
        assert np.isfinite(sample.w2c).all()
        np.testing.assert_allclose(np.linalg.det(sample.w2c[:, :3, :3]), 1, atol=1e-3)
        assert [pair["ids"] for pair in sample.pairs] == np.reshape(sample.ids, (-1, 2)).tolist()
        assert all(0 <= pair["overlap"] <= 1 for pair in sample.pairs)
        assert sample.coverage is not None
    assert sorted(made) == samplers
    coverage = {sampler: made[sampler].coverage or 0 for sampler in samplers}
    assert coverage["sa"] > max(coverage["uniform"], coverage["random"])  # it is what it maximises
    chosen = made["mergeaware_sa"]
    filled = [any(chosen.fill[k : k + 2]) for k in range(0, 8, 2)]
    assert all(pair["overlap"] >= 0.5 for pair, fill in zip(chosen.pairs, filled, strict=True) if not fill)
    stats = data(capsys, "samples", "stats")
    assert {row["sampler"] for row in stats["rows"]} == set(samplers)


# --- eval


def test_what_nothing_looks_at_is_asked_once_and_scored(
    place: Path, computed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ("eval", "--model", "chance,frequency", "--sampler", "uniform,sa", "--frames", "4,8", *QUESTIONS)
    runs = data(capsys, *typed)
    assert [run["run"].rsplit("-", 1)[0] for run in runs] == ["chance-rooms", "frequency-rooms"]
    assert len(computed()) == sum(run["items"] for run in runs)
    assert {run["state"] for run in runs} == {"done"}
    assert not (place / "samples").exists()
    assert smx(*typed) == 0
    assert computed() == []
    for run in runs:
        asked = records(RunFolder(Path(run["folder"])))
        right = [r["data"]["text"][:1] == r["data"]["truth"] for r in asked if r["data"]["type"] in CHOICE]
        assert run["result"]["scores"]["official@1"]["acc"]["micro"] == pytest.approx(np.mean(right))


def test_a_newcomers_three_lines_work_and_say_what_really_ran(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smx("eval", "--model", "prope", "--bench", "vsibench", *TINY, *QUESTIONS) == 0
    said = capsys.readouterr()
    assert "the built-in rooms serve instead" in said.err
    assert "tiny-prope" in said.err
    assert "(untrained)" in said.out
    shown = data(capsys, "show", folder_of(place, "eval", "tiny-prope-rooms-uniform-4f").path.name)
    assert shown["labels"] == {"stand_in_for": {"bench": "vsibench", "model": "prope"}, "untrained": True}
    assert (shown["variant"], shown["bench"]) == ("tiny-prope", "rooms")
    assert smx("report") == 0
    table = capsys.readouterr().out
    assert "rooms" in table
    assert "tiny-prope" in table
    assert "untrained" in table
    assert "stood in for vsibench" in table
    assert "stood in for prope" in table


def test_a_short_training_is_evaluated_by_its_runs_name(
    place: Path, computed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--set", "data_options.rooms.train_scenes=1", "--set", "data_options.rooms.frames=24")
    typed = ("train", "--model", "tiny", "--frames", "4", "--steps", "3", "--set", "recipe.save_every=2", *small)
    assert smx(*typed) == 0
    assert "loss" in capsys.readouterr().out
    assert "part-03-of-03" in computed()
    trained = folder_of(place, "train", "tiny-rooms-uniform-4f")
    assert len(trained.result()["losses"]) == 3  # type: ignore[index]
    assert smx("eval", "--model", "tiny", "--checkpoint", trained.path.name, *TINY, *QUESTIONS) == 0
    said = capsys.readouterr().out
    assert "untrained" not in said
    untrained = data(capsys, "eval", "--model", "tiny", *TINY, *QUESTIONS, "--dry-run")
    assert untrained[-1]["action"] == "run"  # another run: those weights are not these
    computed()
    assert smx(*typed) == 0
    assert computed() == []
    assert smx("eval", "--model", "tiny", "--checkpoint", "tiny-rooms-uniform-4f-00000000") == 2


# --- a miniature VSI-Bench: rooms written as parquet and videos, through prompt, record, score and table


def quietly(*arguments: object) -> str:
    """stdout of a command that must succeed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert smx(*arguments) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rooms as VSI-Bench would hold them; between them all ten question types."""
    root = tmp_path_factory.mktemp("vsibench")
    write_vsibench(root, [named_scene(f"test-{i:03d}", frames=24, width=96, height=72) for i in range(2)])
    return root


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, bench: Path) -> Path:
    """A workspace in which three models were asked all of it."""
    lab = tmp_path_factory.mktemp("asked")
    quietly("-w", lab, "gen", "--dataset", "vsibench", "--root", bench, "--sampler", "uniform,random", "--frames", "4")
    quietly("-w", lab, "eval", "--bench", "vsibench", "--root", bench, "--model", "tiny,chance,frequency", *TINY)
    return lab


def test_all_ten_question_types_are_asked_answered_and_recorded(asked: Path) -> None:
    for start in ("tiny-vsibench-uniform-4f", "chance-vsibench", "frequency-vsibench"):
        run = folder_of(asked, "eval", start)
        found = records(run)
        assert {r["data"]["type"] for r in found} == set(TYPES)
        assert all(r["ok"] and r["data"]["scene"].partition("/")[0] in ("scannet", "scannetpp") for r in found)
        assert Counter(r["item"] for r in found).most_common(1)[0][1] == 1
        result = run.result()
        assert result is not None
        assert set(result["scores"]) == {VSIBench.scorer_id(name) for name in VSIBench.scorers}
        assert set(result["scores"]["official@1"]["types"]) == set(TYPES)
        assert result["done"] == result["items"] == len(found)


def test_gen_made_the_frames_that_eval_looked_at(asked: Path) -> None:
    run = folder_of(asked, "eval", "tiny-vsibench-uniform-4f")
    gen = folder_of(asked, "gen", "uniform-4f-vsibench")
    assert run.spec["inputs"]["sample_set"][:8] in str(next(sampleset.samples(asked / "samples" / "uniform")))
    assert len(gen.attempts()) == 1  # the one asked for by name; eval made none of its own
    assert all(r["data"]["prompt_tokens"] > 0 for r in records(run))


def test_the_records_alone_give_the_same_scores_again(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new scorer, or a doubted number, must never need the model again."""
    run = folder_of(asked, "eval", "frequency-vsibench")
    (items,) = run.path.glob("attempts/1/shards/0/items.jsonl")
    result = run.result()
    assert result is not None
    for scorer in ("official", "spatial-mllm"):
        rescored = data(capsys, "score", items, "--bench", "vsibench", "--scorer", scorer)
        kept = result["scores"][f"{scorer}@1"]
        numbers = ("n", "unparsed", "types", "tasks", "acc", "mra", "all")
        assert {key: rescored[key] for key in numbers} == {key: kept[key] for key in numbers}


def test_the_table_shows_each_bench_run_with_its_score_and_count(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = folder_of(asked, "eval", "frequency-vsibench").result()
    assert result is not None
    assert smx("-w", asked, "report", "--format", "md", "--metric", "all.micro", "--scorer", "official") == 0
    table = capsys.readouterr().out
    assert f"{100 * result['scores']['official@1']['all']['micro']:.1f}" in table
    assert all(name in table for name in ("tiny", "chance", "frequency"))
    assert "untrained" in table
    assert smx("-w", asked, "report", "--format", "csv", "--metric", "type") == 0
    csv = capsys.readouterr().out
    assert all(name in csv for name in TYPES)


def test_the_registry_made_again_from_the_run_folders_is_the_same(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = tmp_path / "copy"
    shutil.copytree(asked, lab)
    before = export.content(lab / "registry.db")
    tables = quietly("-w", lab, "report", "--format", "json"), quietly("-w", lab, "ledger", "--json")
    quietly("-w", lab, "db", "rebuild")
    assert export.content(lab / "registry.db") == before
    (lab / "registry.db").unlink()
    quietly("-w", lab, "db", "rebuild")
    assert export.content(lab / "registry.db") == before
    assert (quietly("-w", lab, "report", "--format", "json"), quietly("-w", lab, "ledger", "--json")) == tables
    assert smx("-w", lab, "db", "check") == 0


def test_a_lost_registry_costs_nothing_but_a_look(
    asked: Path, bench: Path, tmp_path: Path, computed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run folders are the truth: without registry.db the same command finds its runs done."""
    lab = tmp_path / "copy"
    shutil.copytree(asked, lab)
    (lab / "registry.db").unlink()
    typed = ("eval", "--bench", "vsibench", "--root", bench, "--model", "tiny,chance,frequency", *TINY)
    assert smx("-w", lab, *typed) == 0
    assert computed() == []
    assert "skip" in capsys.readouterr().err


def test_every_number_is_traceable(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = folder_of(asked, "eval", "chance-vsibench").path.name
    assert smx("-w", asked, "show", name) == 0
    said = capsys.readouterr().out
    for part in (
        name,
        "done, ",
        "scores, official@1",
        "inputs",
        "bench: ",
        "attempts",
        "$ ",
        "smx 0.",
        "prompt",
        str(asked),
    ):
        assert part in said
    rows = data(capsys, "-w", asked, "ls", "--kind", "eval", "--bench", "vsibench")
    assert {row["variant"] for row in rows} == {"tiny", "chance", "frequency"}
    assert data(capsys, "-w", asked, "ls", "--kind", "train") == []
    ledger = data(capsys, "-w", asked, "ledger")
    assert {row["kind"] for row in ledger} == {"gen", "eval"}


def test_a_frame_damaged_between_gen_and_eval_is_made_again_first(
    asked: Path, bench: Path, tmp_path: Path, computed: Any
) -> None:
    """Lost otherwise: answers about half a picture count, or a scene's questions fail for want of one."""
    lab = tmp_path / "copy"
    shutil.copytree(asked, lab)
    shutil.rmtree(next((lab / "runs" / "eval").glob("tiny-*")))
    (lab / "registry.db").unlink()
    frame = min((lab / "samples" / "uniform").rglob("frame_000_*"))
    whole = frame.read_bytes()
    frame.write_bytes(whole[:20])
    typed = ("eval", "--bench", "vsibench", "--root", bench, "--model", "tiny", *TINY)
    assert smx("-w", lab, *typed) == 0
    result = folder_of(lab, "eval", "tiny-vsibench").result()
    assert result is not None
    assert result["failed"] == 0
    assert len(computed()) == 1 + result["done"]  # the scene's frames, and every question
    assert frame.read_bytes() == whole


def test_help_of_every_command_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    from smx.cli._commands import COMMANDS

    for command in COMMANDS:
        assert smx(command, "--help") == 0
        said = capsys.readouterr().out
        assert f"smx {command}" in said
        if command not in ("samples", "verify", "db"):  # groups: their subcommands have them
            assert "Example:" in said, command


def test_json_goes_to_stdout_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe into jq must not meet progress lines."""
    assert smx("gen", "--frames", "4", "--scenes", "test-000", *SCENES, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[0]["state"] == "done"
    assert "running" in said.err or "done" in said.err


def test_a_video_cut_short_is_sampled_over_what_is_there_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: half a video would stand for the whole one, and nobody would know."""
    from smx import video

    root = tmp_path / "videos"
    root.mkdir()
    frames = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    for name in ("cut", "whole"):
        video.write(root / f"{name}.mp4", list(frames), fps=10)
    whole = (root / "cut.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "space").mkdir()
    monkeypatch.chdir(tmp_path / "space")
    assert smx("gen", "--sampler", "uniform", "--frames", "8", "--root", str(root)) == 0
    said = capsys.readouterr().out
    assert re.search(r"cut: its video has \d+ frames, its header claims 40", said)
    assert "whole:" not in said
