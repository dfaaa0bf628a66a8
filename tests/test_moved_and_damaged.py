"""A workspace that was moved, and files in it that were damaged or removed: nothing lands elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import QUESTIONS, SCENES, data, left, smx
from support.media import make_video

from smx.atomic_io import write_json
from smx.processes import this_process
from smx.runfolder import ShardFolder

GEN = ("gen", "--sampler", "uniform", "--frames", "4")
TWO = ("gen", "--sampler", "uniform", "--frames", "4,6")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace, and the current folder outside of it."""
    place = tmp_path / "lab"
    place.mkdir()
    monkeypatch.chdir(tmp_path)
    return place


def two_runs(lab: Path, file: str) -> tuple[Path, str]:
    """Make two; a file of the first, and the name of the second."""
    assert smx("-w", lab, *TWO, *SCENES) == 0
    first, second = sorted((lab / "runs/gen").iterdir())
    return first / file, second.name


def test_a_retry_in_a_moved_workspace_leaves_its_samples_there_and_makes_nothing_at_the_old_place(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plan of the last attempt names the place the workspace had then."""
    for root, frames in (("a", 12), ("b", 16)):  # another video of the same name
        (tmp_path / root).mkdir()
        make_video(tmp_path / root / "room.mp4", frames)
        make_video(tmp_path / root / "hall.mp4", 12)
        assert smx("-w", lab, *GEN, "--root", tmp_path / root) == 0
        newest = data(capsys, "-w", lab, "ls")[0]["run"]
    here = lab.rename(tmp_path / "moved")
    (gone,) = here.glob("samples/uniform/*/frames-*/room")  # of the second root
    shutil.rmtree(gone)

    assert smx("-w", here, "retry", newest) == 0
    assert json.loads((gone / "sample.json").read_text())["source"]["frames"] == 16
    assert not lab.exists()
    shown = data(capsys, "-w", here, "open", newest)
    assert Path(shown["samples"]).is_relative_to(here)


def test_weights_trained_before_a_workspace_was_moved_are_found_after_it(lab: Path, tmp_path: Path) -> None:
    """A long training is not lost to a renamed folder."""
    small = ("--set", "data_options.rooms.train_scenes=1", "--set", "data_options.rooms.frames=24")
    assert smx("-w", lab, "train", "--model", "tiny", "--steps", 1, "--frames", 2, *small) == 0
    (trained,) = (lab / "runs/train").iterdir()
    here = lab.rename(tmp_path / "moved")
    asked = ("eval", "--model", "tiny", "--frames", 2, "--checkpoint", trained.name, *QUESTIONS)
    assert smx("-w", here, *asked) == 0
    (evaluated,) = (here / "runs/eval").iterdir()
    plan = json.loads((evaluated / "attempts/1/plan.json").read_text())
    assert plan["paths"]["checkpoint"] == str(here / "runs/train" / trained.name / "checkpoint")
    assert not lab.exists()


def test_a_damaged_result_is_named_and_a_rebuild_derives_it_again(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores are in the items: nothing is lost with the file that sums them up."""
    assert smx("-w", lab, *GEN, *SCENES) == 0
    (run,) = (lab / "runs/gen").iterdir()
    whole = (run / "result.json").read_bytes()
    (run / "result.json").write_text("{\n")
    capsys.readouterr()
    assert smx("-w", lab, "show", run.name) == 2
    said = capsys.readouterr().err
    assert f"{run / 'result.json'} is damaged" in said
    assert "smx db rebuild" in said
    assert smx("-w", lab, "db", "rebuild") == 0
    assert (run / "result.json").read_bytes() == whole


def test_a_damaged_line_of_items_is_named_by_file_and_number_and_the_others_count(tmp_path: Path) -> None:
    """In thousands of run folders nobody finds it otherwise, and one line must not take the others along."""
    shard = ShardFolder(tmp_path)
    for item in ("a", "b", "c", "d"):
        shard.append({"item": item, "ok": True})
    path = tmp_path / "items.jsonl"
    path.write_bytes(path.read_bytes().replace(b'{"item": "b"', b"{garbage").replace(b'"ok": true}\n', b"4}\n", 1))
    assert [record["item"] for record in shard.items()] == ["c", "d"]
    path.write_bytes(path.read_bytes().replace(b'{"item": "c", "ok": true}', b"17"))
    (tmp_path / "exit.json").write_text("")
    assert [line.partition(" (")[0] for line in shard.damage()] == [
        *(f"{path}, line {number}, is damaged" for number in (1, 2, 3)),
        f"{tmp_path / 'exit.json'} is damaged",
    ]
    assert (shard.exit(), [record["item"] for record in shard.items()]) == (None, ["d"])


@pytest.mark.parametrize("name", ["spec.json", "attempts/1/plan.json"])
@pytest.mark.parametrize("damage", ["", "{}"], ids=["empty", "of another tool"])
def test_one_damaged_run_does_not_keep_a_rebuild_from_the_others(
    lab: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    """A registry lost together with one file of a thousand run folders would stay lost."""
    file, other = two_runs(lab, name)
    whole = file.read_bytes()
    file.write_text(damage)
    assert smx("-w", lab, "db", "rebuild") == 1
    said = capsys.readouterr().err
    assert "left out: gen/" in said
    assert f"{file} is damaged" in said
    assert [run["run"] for run in data(capsys, "-w", lab, "ls")] == [other]
    assert smx("-w", lab, *TWO, *SCENES) == 2, "what says what the run is must not be written over"
    assert f"{file} is damaged" in capsys.readouterr().err
    file.write_bytes(whole)
    assert smx("-w", lab, "db", "rebuild") == 0
    assert [run["state"] for run in data(capsys, "-w", lab, "ls")] == ["done", "done"]


@pytest.mark.parametrize(
    "name", ["handle.json", "shards/0/exit.json", "shards/0/heartbeat.json", "shards/0/usage.json"]
)
def test_a_damaged_file_that_can_be_done_without_costs_nothing_but_a_line(
    lab: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The scenes are there: a file about how they were made must not hide them, nor have them made again."""
    file, _ = two_runs(lab, f"attempts/1/{name}")
    handle = lab / "runs/gen" / file.relative_to(lab / "runs/gen").parts[0] / "attempts/1/handle.json"
    write_json(handle, {**json.loads(handle.read_text()), "process": {**this_process(), "start": 1}})  # it is over
    file.write_bytes(b"\0\0\0\0")
    assert smx("-w", lab, "db", "rebuild") == 1
    assert f"done without: {file} is damaged" in capsys.readouterr().err
    assert smx("-w", lab, "db", "check") == 1
    assert f"{file} is damaged" in capsys.readouterr().out
    assert [run["state"] for run in data(capsys, "-w", lab, "ls")] == ["done", "done"]
    assert smx("-w", lab, *TWO, *SCENES) == 0
    assert len(list((lab / "runs").glob("gen/*/attempts/*"))) == 2


def test_a_damaged_record_is_one_scene_to_do_again_and_is_said(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One bad block on a disk must cost one scene, not every command that names its run."""
    assert smx("-w", lab, *GEN, *SCENES) == 0
    (run,) = (lab / "runs/gen").iterdir()
    items = run / "attempts/1/shards/0/items.jsonl"
    lines = items.read_bytes().splitlines(keepends=True)
    items.write_bytes(b"\0" * (len(lines[0]) - 1) + b"\n" + lines[1])
    assert smx("-w", lab, "db", "check") == 1
    capsys.readouterr()
    assert smx("-w", lab, *GEN, *SCENES, "--dry-run") == 0
    reason = capsys.readouterr().out
    assert f"{items}, line 1, is damaged" in reason
    assert "1 item" in reason
    assert smx("-w", lab, "db", "rebuild") == 1
    assert f"done without: {items}, line 1, is damaged" in capsys.readouterr().err
    assert [(row["state"], row["done"]) for row in data(capsys, "-w", lab, "ls")] == [("partial", 1)]
    assert smx("-w", lab, *GEN, *SCENES) == 0
    again = (run / "attempts/2/shards/0/items.jsonl").read_text().splitlines()
    assert [json.loads(line)["item"] for line in again] == [json.loads(lines[0])["item"]]
    assert [(row["state"], row["done"]) for row in data(capsys, "-w", lab, "ls")] == [("done", 2)]
    assert items.read_bytes().startswith(b"\0"), "nothing is lost: what is left of the record may be looked at"
    capsys.readouterr()
    assert smx("-w", lab, *GEN, *SCENES) == 0
    assert "damaged" not in capsys.readouterr().err, "done again, it is no matter any more"


def test_a_damaged_result_does_not_refuse_the_command_that_made_the_run(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It holds nothing that the items do not."""
    assert smx("-w", lab, "gen", "--sampler", "uniform", "--frames", "4,6", *SCENES) == 0
    results = sorted((lab / "runs/gen").glob("*/result.json"))
    whole = results[0].read_bytes()
    for damage in (b"{", b""):
        results[0].write_bytes(damage)
        capsys.readouterr()
        assert smx("-w", lab, "gen", "--sampler", "uniform", "--frames", "4,6", *SCENES) == 0
        said = capsys.readouterr()
        assert f"{results[0]} is damaged" in said.err
        assert "made again from its items" in said.err
        assert said.out.count("coverage") == 2
        assert results[0].read_bytes() == whole


def test_one_damaged_run_does_not_keep_a_command_from_the_others(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a matrix of a hundred runs is refused as a whole for one file."""
    assert smx("-w", lab, *GEN, *SCENES) == 0
    (run,) = (lab / "runs/gen").iterdir()
    plan = run / "attempts/1/plan.json"
    whole = plan.read_bytes()
    plan.write_bytes(b"{")
    both = ("gen", "--sampler", "uniform", "--frames", "4,6", *SCENES)
    capsys.readouterr()
    assert smx("-w", lab, *both) == 1
    told = capsys.readouterr().err
    assert f"damaged   gen   {run.name}" in told
    assert str(plan) in told
    plan.write_bytes(whole)
    assert smx("-w", lab, *both) == 0
    assert [(row["state"], row["done"]) for row in data(capsys, "-w", lab, "ls")] == [("done", 2)] * 2


@pytest.mark.parametrize("command", ["show", "open"])
def test_a_run_whose_folder_is_gone_is_said_to_be_gone(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Somebody made room on the disk; the registry still knows the run."""
    assert smx("-w", lab, *GEN, *SCENES) == 0
    (run,) = (lab / "runs/gen").iterdir()
    run.rename(tmp_path / "elsewhere")
    capsys.readouterr()
    assert smx("-w", lab, command, run.name) == 2
    said = capsys.readouterr().err
    assert "is gone" in said
    assert "smx db rebuild" in said


def test_a_missing_registry_is_not_called_an_empty_workspace(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`No runs yet: smx demo` would send somebody off to do it all again."""
    (lab / "experiments/models").mkdir(parents=True)
    assert smx("-w", lab, *GEN, *SCENES) == 0
    (lab / "registry.db").unlink()
    for command in ("ls", "report"):
        capsys.readouterr()
        assert smx("-w", lab, command) == 0
        assert "smx db rebuild makes it from their folders" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("ls",), ("report",), ("status",), ("ledger",), ("gc",), GEN, ("db", "check")])
def test_an_empty_registry_is_not_called_an_empty_workspace(
    lab: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """A copy that was cut off: `no runs yet` would send somebody off to do it all again, and hide notes and marks."""
    run = lab / "runs/gen/x-12345678"
    run.mkdir(parents=True)
    (run / "spec.json").write_text("{}")
    (lab / "registry.db").touch()
    assert smx("-w", lab, *command) == 2
    said = capsys.readouterr()
    assert f"{lab / 'registry.db'} is empty (0 bytes)" in said.err
    assert "smx db rebuild" in said.err
    assert (said.out, left(lab / "runs")) == ("", ["gen", "gen/x-12345678", "gen/x-12345678/spec.json"])
    (run / "spec.json").unlink()
    assert smx("-w", lab, "db", "rebuild") == 0
    assert smx("-w", lab, "ls") == 0


def test_names_and_numbers_are_whole_on_a_narrow_terminal_and_in_a_pipe(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column cut off at its edge reads as another number; half a run's name cannot be typed."""
    assert smx("-w", lab, "gen", "--sampler", "mergeaware_uniform", "--frames", "4", *SCENES) == 0
    (run,) = (lab / "runs/gen").iterdir()
    monkeypatch.setenv("COLUMNS", "40")
    capsys.readouterr()
    assert smx("-w", lab, "ls") == 0
    assert run.name in capsys.readouterr().out
    assert smx("-w", lab, "samples", "stats") == 0
    heads, row = capsys.readouterr().out.splitlines()[1:3]
    assert heads.split()[-3:] == ["as", "sa", "fill"]
    assert row.split()[-1] == "0.0"


def test_nothing_to_retry_is_an_empty_list_for_programs(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script that reads --json gets JSON, always."""
    assert data(capsys, "-w", lab, "retry") == []


def test_a_table_is_printed_where_its_lines_cannot_be(lab: Path) -> None:
    """An old terminal, or a batch system's C locale: dots and dashes go, numbers stay, JSON loses nothing."""
    env = {"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"}
    base = [sys.executable, "-m", "smx", "-w", str(lab)]
    asked = ["eval", "--model", "chance", *QUESTIONS]
    subprocess.run([*base, *asked], env=env, check=True, capture_output=True)
    table = subprocess.run([*base, "report"], env=env, check=True, capture_output=True, text=True).stdout
    assert "chance" in table
    assert subprocess.run([*base, "note", "chance-nobody", "x"], env=env, capture_output=True).returncode == 2
    assert smx("-w", lab, "note", next((lab / "runs/eval").iterdir()).name, "Büro") == 0
    listed = subprocess.run([*base, "ledger", "--json"], env=env, check=True, capture_output=True, text=True).stdout
    assert "B\\u00fcro" in listed
