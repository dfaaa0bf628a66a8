"""Frames that another tool chose, asked about as they lie: no cameras, no times, and every table says so."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.commands import data, left, smx

from smx import plugins, sampleset
from smx.datasets._rooms_files import write_vsibench
from smx.rooms import named_scene
from smx.runfolder import RunFolder
from smx.samples.lookup import find_sample

BENCH = ("--set", "bench_options.scenes=2", "--set", "bench_options.train_scenes=2", "--set", "max_new_tokens=4")
EVAL = ("eval", "--frames", "4", *BENCH)
IMPORTED = (*EVAL, "--sampler", "sa_sampling")
AUTO = "base: tiny\ndescription: reads times\nrope: {temporal: seconds, seconds_per_grid: auto}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with an eval on frames of smx's own, and the same pictures in the layout that others publish."""
    place = tmp_path_factory.mktemp("made")
    assert smx("-w", place, *EVAL, "--sampler", "uniform") == 0
    publish(place / "samples", place / "sa_sampling_4f" / "rooms")
    return place


@pytest.fixture
def lab(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and nothing imported yet."""
    place = tmp_path / "lab"
    shutil.copytree(made, place)
    (place / "experiments" / "models").mkdir(parents=True)
    (place / "experiments" / "models" / "tiny-auto.yaml").write_text(AUTO)
    monkeypatch.setenv("SMX_WORKSPACE", str(place))
    monkeypatch.setattr(plugins, "_extra_folders", [])
    monkeypatch.chdir(place)
    return place


def publish(samples: Path, folder: Path) -> None:
    """Pictures and nothing else, named by the number of the frame."""
    for sample in map(sampleset.read, sampleset.samples(samples)):
        (folder / sample.scene).mkdir(parents=True)
        for number, file in zip(sample.ids, sample.files, strict=True):
            shutil.copy(file, folder / sample.scene / f"frame_{number:04d}.png")


def run_of(lab: Path, name: str) -> RunFolder:
    (folder,) = lab.glob(f"runs/*/{name}-*")
    return RunFolder(folder)


def answers(run: RunFolder) -> dict[str, Any]:
    """What was said of each item; None of those that failed."""
    records = [record for attempt in run.attempts() for shard in attempt.shards() for record in shard.items()]
    return {record["item"]: record["data"]["text"] if record["ok"] else None for record in records}


def test_they_are_asked_about_like_any_others(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The very frames of `uniform` under another name get the very answers; no gen is planned."""
    assert smx("samples", "import", "sa_sampling_4f") == 0
    capsys.readouterr()
    assert smx(*IMPORTED, "--dry-run") == 0
    assert "gen" not in capsys.readouterr().out
    assert smx(*IMPORTED) == 0
    said = capsys.readouterr()
    assert "Frames sa_sampling/4: imported, chosen by another tool; 2 of 2 scenes of rooms; times unknown." in said.err
    own, other = answers(run_of(lab, "tiny-rooms-uniform-4f")), answers(run_of(lab, "tiny-rooms-sa_sampling-4f"))
    assert len(own) > 20
    assert other == own
    assert not list(lab.glob("runs/gen/*sa_sampling*"))
    assert smx(*IMPORTED) == 0
    assert "skip" in capsys.readouterr().err


def test_no_table_takes_them_for_a_samplers(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In tables, in files for other tools, in what a run says of itself; a rebuilt registry knows it too."""
    assert smx("samples", "import", "sa_sampling_4f") == 0
    assert smx(*IMPORTED) == 0
    assert smx("db", "rebuild") == 0
    capsys.readouterr()
    assert smx("report") == 0
    table = capsys.readouterr().out
    assert "sa_sampling (imported)" in table
    assert "frames that another tool chose" in table
    assert "uniform (imported)" not in table
    assert smx("report", "--format", "csv", "--where", "sampler=sa_sampling") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(row["sampler"], row["imported_frames"]) for row in rows} == {("sa_sampling", "True")}
    shown = data(capsys, "show", "tiny-rooms-sa_sampling-4f")
    assert shown["labels"]["imported"] == "frames sa_sampling/4, chosen by another tool"
    scene = find_sample(lab / "samples", "sa_sampling/4", "test-000")
    page = ("samples", "view", "sa_sampling/4", "test-000", "-o", "page.html", "--answers", "tiny-rooms-sa_sampling-4f")
    assert smx(*page) == 0
    assert scene.is_dir()


def test_scenes_that_were_not_imported_fail_and_are_never_wrong(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(lab / "sa_sampling_4f" / "rooms" / "test-001")
    assert smx("samples", "import", "sa_sampling_4f") == 0
    assert smx(*IMPORTED, "--max-failed", "100") == 0
    said = capsys.readouterr()
    assert "1 of 2 scenes of rooms; no frames of 1 others (e.g. test-001)" in said.err
    assert "scene 'test-001' is not among the frames imported as 'sa_sampling' (4 frames)" in said.out
    run = run_of(lab, "tiny-rooms-sa_sampling-4f")
    found = answers(run)
    failed = [item for item, text in found.items() if text is None]
    assert 0 < len(failed) < len(found)
    result = run.result()
    assert result is not None
    assert result["scores"]["official@1"]["n"] == len(found) - len(failed)


def test_other_pictures_under_the_same_name_are_another_run(lab: Path) -> None:
    """Lost otherwise: the score of frames that were replaced long ago."""
    for turn in range(2):
        assert smx("samples", "import", "sa_sampling_4f") == 0
        assert smx(*IMPORTED) == 0
        runs = [RunFolder(folder) for folder in lab.glob("runs/eval/tiny-rooms-sa_sampling-4f-*")]
        assert len(runs) == turn + 1
        shutil.rmtree(lab / "samples" / "sa_sampling")
        pictures = lab / "sa_sampling_4f" / "rooms" / "test-000"
        for name in ("frame_0000.png", "frame_0032.png", "frame_0063.png"):
            (pictures / name).write_bytes((pictures / "frame_0095.png").read_bytes())
    assert answers(runs[0]) != answers(runs[1])


def test_a_model_that_reads_times_is_not_told_invented_ones(
    lab: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Refused; answered as a list of pictures, or with the rate of the videos: by spacing then, which is said."""
    assert smx("samples", "import", "sa_sampling_4f") == 0
    typed = (*IMPORTED, "--model", "tiny-auto")
    assert smx(*typed) == 2
    said = capsys.readouterr().err
    assert "reads when its frames were taken" in said
    assert "--fps" in said
    assert "--input frames" in said
    assert not list(lab.glob("runs/eval/tiny-auto*"))
    assert smx(*typed, "--input", "frames") == 0
    assert "times two a second" in capsys.readouterr().err
    (sample,) = [s for s in map(sampleset.read, sampleset.samples(lab / "samples/uniform")) if s.scene == "test-000"]
    rate = sample.ids[1] / sample.timestamps[1]
    assert smx("samples", "import", "sa_sampling_4f", "--fps", rate) == 0
    assert smx(*IMPORTED) == 0  # tiny reads none: times change nothing
    assert smx(*EVAL, "--model", "tiny-auto", "--sampler", "sa_sampling") == 0
    assert "no duration is known, so seconds per grid come from the frames' mean spacing" in caplog.text
    assert len(list(lab.glob("runs/eval/tiny-rooms-sa_sampling-4f-*"))) == 1
    runs = [RunFolder(folder) for folder in lab.glob("runs/eval/tiny-auto-rooms-sa_sampling-4f-*")]
    timed, _ = sorted(runs, key=lambda run: str(run.spec["spec"]["input"]), reverse=True)
    assert None not in answers(timed).values()


def test_published_sets_of_a_bench_that_joins_datasets_fit_as_they_lie(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """sa_sampling_16f/scannet/… are scenes of VSI-Bench; its videos are not needed, nor that --dataset is told."""
    root = lab / "vsibench"
    write_vsibench(root, [named_scene("test-000", frames=24, width=96, height=72)])
    shutil.rmtree(root / "scannet")
    (lab / "published_4f").mkdir()
    (lab / "sa_sampling_4f" / "rooms").rename(lab / "published_4f" / "scannet")
    assert smx("samples", "import", "published_4f") == 0
    asked = ("eval", "--bench", "vsibench", "--root", root, "--sampler", "published", "--frames", "4")
    assert smx(*asked, "--set", "max_new_tokens=2") == 0
    assert "1 of 1 scenes of vsibench" in capsys.readouterr().err
    assert None not in answers(run_of(lab, "tiny-vsibench-published-4f")).values()


def test_a_model_learns_from_them(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Train, and evaluate what came out, with frames of another tool in both."""
    split = ("--set", "dataset_options.split=train", "--set", "dataset_options.count=2")
    assert smx("gen", "--dataset", "rooms", "--sampler", "random", "--frames", "4", *split) == 0
    publish(lab / "samples" / "random", lab / "sa_sampling_4f" / "rooms")
    assert smx("samples", "import", "sa_sampling_4f") == 0
    options = ("--set", "data_options.rooms.train_scenes=2", "--set", "data_options.rooms.scenes=2")
    recipe = ("--set", "recipe.batch=2")
    assert smx("train", "--sampler", "sa_sampling", "--frames", "4", "--steps", "1", *options, *recipe) == 0
    run = run_of(lab, "tiny-rooms-sa_sampling-4f")
    assert run.spec["spec"]["imported"] is True
    assert "2 of 2 scenes of rooms" in capsys.readouterr().err
    assert smx(*IMPORTED, "--checkpoint", run.path.name) == 0


def test_gc_leaves_what_nobody_can_make_again(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: somebody's published frames, because no run happens to look at them."""
    assert smx("samples", "import", "sa_sampling_4f") == 0
    before = left(lab / "samples" / "sa_sampling")
    assert smx("gc", "--yes", "--older-than", "0h") == 0
    assert left(lab / "samples" / "sa_sampling") == before
    capsys.readouterr()


@pytest.mark.parametrize(
    ("typed", "message", "hint"),
    [
        (("--sampler", "sa_samplin"), "unknown sampler 'sa_samplin'", "did you mean sa_sampling?"),
        (("--frames", "16"), "'sa_sampling' was imported with 4 frames a scene, not 16", "--frames 4"),
        (("--model", "tiny-prope"), "needs the cameras of its frames", "a variant without poses"),
        (("--set", "bench_options.frames=24"), "none of the 2 scenes of dataset 'rooms-", "--dataset rooms-"),
        (("--set", "sampler_options.window=3"), "sampler_options says how frames are chosen", "leave it out"),
        (("--set", "geometry.candidates=64"), "geometry says how frames are chosen", "leave it out"),
        (("--set", "imported=false"), "'imported' is not set", "smx samples import"),
    ],
)
def test_wrong_questions_are_told_before_anything_runs(
    lab: Path, capsys: pytest.CaptureFixture[str], typed: tuple[str, ...], message: str, hint: str
) -> None:
    assert smx("samples", "import", "sa_sampling_4f") == 0
    capsys.readouterr()
    assert smx(*IMPORTED, *typed) == 2
    said = capsys.readouterr().err
    assert message in said
    assert hint in said
    assert not list(lab.glob("runs/eval/*sa_sampling*"))


def test_frames_that_are_chosen_already_are_not_made(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smx("samples", "import", "sa_sampling_4f") == 0
    assert smx("gen", "--sampler", "sa_sampling", "--frames", "4") == 2
    assert "'sa_sampling' is no sampler" in capsys.readouterr().err


def test_a_sampler_that_takes_an_imported_name_is_a_question(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plugin that was added later: which of the two is meant, nobody should have to guess."""
    assert smx("samples", "import", "sa_sampling_4f") == 0
    folder = lab / "experiments" / "plugins" / "samplers"
    folder.mkdir(parents=True)
    (folder / "sa_sampling.py").write_text('"""Another rule."""\nfrom smx.samplers.uniform import Sampler\n')
    assert smx(*IMPORTED) == 2
    assert "were imported under that name too" in capsys.readouterr().err
