"""Hooks of the site file. Lost otherwise: a night in which nobody was told that the first run had failed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from support.commands import SCENES, data, smx
from support.processes import until

from smx import doctor
from smx.control import hooks
from smx.control.sync import sync
from smx.processes import start_time
from smx.registry.store import Registry
from smx.workspace import find, shell

NASTY = 'it\'s "odd" $(touch pwned) `touch pwned` ; touch pwned & ü'
GEN = ("gen", "--sampler", "uniform", "--frames", 2)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace with a name that shells trip over."""
    folder = tmp_path / NASTY
    (folder / "experiments").mkdir(parents=True)
    monkeypatch.setenv("SMX_WORKSPACE", str(folder))
    return folder


def site(lab: Path, **lines: str) -> None:
    """A site file with these hooks."""
    written = {"hooks": lines, "data": {"frames": str(lab / "data")}}
    (lab / "experiments" / "site.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")


def scenes(lab: Path, broken: int) -> None:
    """Four scenes, this many of them with a first frame that cannot be read."""
    for scene in range(4):
        images = lab / "data" / f"scene_{scene}" / "images"
        images.mkdir(parents=True, exist_ok=True)
        for frame in range(4):
            Image.new("RGB", (16, 12), (60 * frame, scene, 0)).save(images / f"frame_{frame:04d}.png")
        if scene < broken:
            (images / "frame_0000.png").write_bytes(b"not an image")


def records(lab: Path) -> dict[str, dict[str, object]]:
    """What is written down of hooks that ran: event -> record."""
    found = sorted((lab / "runs" / ".submissions").glob("*/hook-*.json"))
    return {path.stem.removeprefix("hook-"): json.loads(path.read_text()) for path in found}


def test_a_finished_experiment_is_told_once_with_what_came_of_it(lab: Path) -> None:
    """Through the environment: nothing that stands in it is read by a shell."""
    site(lab, on_finished="env > told", on_first_failure="touch failed")
    scenes(lab, broken=0)
    assert smx(*GEN, "--dataset", "frames") == 0
    told = dict(line.split("=", 1) for line in (lab / "told").read_text().splitlines() if line.startswith("SMX_"))
    assert (told["SMX_EVENT"], told["SMX_RUNS"], told["SMX_DONE"], told["SMX_FAILED"]) == ("finished", "1", "1", "0")
    assert told["SMX_WORKSPACE"] == str(lab)
    assert told["SMX_TEXT"].endswith("1 of 1 runs done")
    assert "SMX_RUN" not in told
    assert sorted(p.name for p in lab.iterdir()) == ["data", "experiments", "registry.db", "runs", "samples", "told"]
    (lab / "told").unlink()
    assert smx(*GEN, "--dataset", "frames") == 0  # nothing was started
    assert smx("status") == 0
    assert not (lab / "told").exists()


def test_the_first_failure_is_told_with_its_run_and_reason(lab: Path) -> None:
    """Then the end, with how many failed; a retry is told anew."""
    site(
        lab, on_finished='echo "$SMX_EVENT $SMX_FAILED" >> told', on_first_failure='echo "$SMX_EVENT $SMX_TEXT" >> told'
    )
    scenes(lab, broken=3)
    assert smx(*GEN, "--dataset", "frames") == 1
    first, last = (lab / "told").read_text().splitlines()
    assert first.startswith("first_failure ")
    assert "1 failed, first uniform-2f-frames-" in first
    assert "missing-input: 3 of 4 items failed" in first
    assert last == "finished 1"
    scenes(lab, broken=0)
    assert smx("retry") == 0
    assert (lab / "told").read_text().splitlines()[2:] == ["finished 0"]


def test_a_hook_that_fails_or_hangs_breaks_nothing(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit code and its output are kept, and said; the run is done all the same."""
    monkeypatch.setattr(hooks, "_PATIENCE", 0.2)
    site(lab, on_finished="echo to stdout; echo to stderr >&2; exit 3")
    scenes(lab, broken=0)
    assert smx(*GEN, "--dataset", "frames") == 0
    assert records(lab)["finished"]["code"] == 3
    (log,) = (lab / "runs" / ".submissions").glob("*/hook-finished.log")
    assert log.read_text() == "to stdout\nto stderr\n"
    site(lab, on_finished="sleep 60 & sleep 60")
    assert smx(*GEN, "--dataset", "frames", "--seed", 1, "--set", "image_format=jpg") == 0
    assert None in [json.loads(p.read_text())["code"] for p in (lab / "runs").glob(".submissions/*/hook-*.json")]
    assert {run["state"] for run in data(capsys, "ls")} == {"done"}
    capsys.readouterr()
    monkeypatch.setattr(doctor, "software", tuple)
    assert smx("doctor") == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning  hook")]
    assert len(told) == 2
    assert "did not end" in told[0]
    assert "exit code 3, see " in told[1]


def test_two_looks_at_once_tell_it_once(lab: Path) -> None:
    """Two processes see the same end at the same moment; the event is one file, and one of them gets it."""
    site(lab, on_finished="echo once >> told")
    assert smx(*GEN, "--dataset", "rooms", *SCENES) == 0
    (lab / "told").unlink()
    ((submission,),) = [[p.name] for p in (lab / "runs" / ".submissions").iterdir() if p.name != ".due"]
    (lab / "runs" / ".submissions" / submission / "hook-finished.json").unlink()
    hooks.expect(find(lab), submission)
    look = (
        "import sys; from pathlib import Path; from smx.control import hooks; from smx.workspace import find\n"
        "from smx.registry.store import Registry; space = find(Path(sys.argv[1]))\n"
        "with Registry.open(space.registry) as registry:\n"
        "    print('ready', flush=True); sys.stdin.read(); hooks.run_due(space, registry)\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", look, lab], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for each in both:
        assert each.stdout is not None
        each.stdout.readline()
    for each in both:
        assert each.stdin is not None
        each.stdin.close()
    for each in both:
        assert each.wait(60) == 0
        assert each.stdout is not None
        each.stdout.close()
    assert (lab / "told").read_text() == "once\n"


def test_a_look_that_died_before_it_told_leaves_it_to_the_next(lab: Path) -> None:
    """The state was written, then the power went: whoever looks next tells it, and a hook set meanwhile is used."""
    assert smx(*GEN, "--dataset", "rooms", *SCENES) == 0
    (submission,) = [p.name for p in (lab / "runs" / ".submissions").iterdir() if p.name != ".due"]
    assert list((lab / "runs" / ".submissions" / ".due").iterdir()) == []  # told to nobody: there was no hook
    hooks.expect(find(lab), submission)
    site(lab, on_finished="echo late > told")
    space = find(lab)
    with Registry.open(space.registry) as registry:
        assert sync(space, registry) == []
    assert (lab / "told").read_text() == "late\n"


def test_a_line_gets_what_it_is_told_and_is_stopped_whole(tmp_path: Path) -> None:
    """A NUL would end the environment; a hung line goes with all it has started."""
    with (tmp_path / "log").open("wb") as log:
        nul = {"SMX_TEXT": "a\0b"}
        assert shell.run('printf "%s" "$SMX_TEXT"', variables=nul, cwd=tmp_path, output=log, seconds=60) == 0
        line = "sh -c 'echo $$ > pid; exec sleep 60' & wait"
        assert shell.run(line, variables={}, cwd=tmp_path, output=log, seconds=1) is None
    assert (tmp_path / "log").read_text() == "a b"
    child = int((tmp_path / "pid").read_text())
    until(lambda: start_time(child) is None, "what the line had started is gone")
