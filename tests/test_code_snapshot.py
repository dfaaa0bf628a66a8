"""Jobs that wait run the code they were submitted with, whatever happens to the checkout meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import left
from support.processes import GEN, until

import smx
from smx import plugins
from smx.control import code_snapshot
from smx.control.code_snapshot import snapshot
from smx.runfolder import run_folders
from smx.workspace import Workspace, find

SAMPLER = '''"""The first frames, as {name} has them."""
from smx.samplers.uniform import Sampler
'''


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a sampler of its own."""
    own = tmp_path / "lab" / "experiments" / "plugins"
    (own / "samplers").mkdir(parents=True)
    (own / "samplers" / "first.py").write_text(SAMPLER.format(name="before"))
    monkeypatch.setattr(plugins, "_extra_folders", [])
    return find(tmp_path / "lab")


def test_the_same_code_is_kept_once_and_other_code_beside_it(lab: Workspace) -> None:
    """A thousand attempts of one tree share a folder; a changed plugin is another tree."""
    first = snapshot(lab)
    assert snapshot(lab) == first
    copied = first.path / "smx" / "control" / "code_snapshot.py"
    assert copied.read_bytes() == Path(code_snapshot.__file__).read_bytes()
    (lab.experiments / "plugins" / "samplers" / "first.py").write_text(SAMPLER.format(name="after"))
    second = snapshot(lab)
    assert second.digest != first.digest
    assert "before" in (first.plugin_folders[0] / "samplers" / "first.py").read_text()
    assert "after" in (second.plugin_folders[0] / "samplers" / "first.py").read_text()
    assert sorted(p.name for p in first.path.parent.iterdir()) == sorted([first.digest, second.digest])


def test_an_empty_file_beside_a_plugin_changes_nothing(lab: Workspace) -> None:
    """Or each submission would replace the copy under the jobs that run it, and no two digests would be the same."""
    (lab.experiments / "plugins" / "samplers" / "_shared.py").touch()
    kept = snapshot(lab)
    made = kept.path.stat().st_ino
    assert snapshot(lab) == kept
    assert kept.path.stat().st_ino == made


def test_a_copy_that_somebody_changed_is_made_again(lab: Workspace) -> None:
    """What an attempt's digest names is what its job ran, or the digest would be a lie."""
    kept = snapshot(lab)
    (kept.path / "smx" / "spec.py").write_text("broken")
    (kept.path / "smx" / "extra.py").write_text("")
    again = snapshot(lab)
    assert again == kept
    assert (kept.path / "smx" / "spec.py").read_bytes() == Path(smx.__file__).with_name("spec.py").read_bytes()
    assert not (kept.path / "smx" / "extra.py").exists()
    assert [p.name for p in kept.path.parent.iterdir()] == [kept.digest]


def test_looking_at_what_would_be_copied_writes_nothing(lab: Workspace) -> None:
    """`--dry-run` names the copy without making it."""
    before = left(lab.root)
    planned = snapshot(lab, write=False)
    assert left(lab.root) == before
    assert planned == snapshot(lab)


def test_a_large_file_beside_a_plugin_is_not_copied(lab: Workspace) -> None:
    """Weights kept there are data: a copy per change of the code would fill the disk."""
    weights = lab.experiments / "plugins" / "samplers" / "weights.bin"
    with weights.open("wb") as file:
        file.truncate(9 << 20)
    kept = snapshot(lab)
    assert (kept.plugin_folders[0] / "samplers" / "weights.bin").readlink() == weights
    assert snapshot(lab) == kept


def test_a_run_that_waits_is_made_with_the_code_it_was_submitted_with(tmp_path: Path) -> None:
    """A checkout edited (here: broken) while runs wait in a queue changes nothing, smx's own files included."""
    checkout, place, gate = tmp_path / "checkout", tmp_path / "lab", tmp_path / "gate"
    checkout.mkdir()
    shutil.copytree(Path(smx.__file__).parent, checkout / "smx")
    (place / "experiments").mkdir(parents=True)
    (place / "experiments" / "site.yaml").write_text("executors: {local: {slots: 1}}\n")
    os.mkfifo(gate)  # an item waits until somebody reads it
    command = [sys.executable, "-m", "smx", "-w", str(place), "gen", "--dataset", "rooms", "--frames", "4,6"]
    command += [*GEN, "--executor", "local"]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "SMX_PROBE": str(gate)}
    subprocess.run(command, env=environment, cwd=checkout, check=True, capture_output=True)
    for path in (checkout / "smx").rglob("*.py"):
        path.write_text("raise RuntimeError('half an edit')\n")
    reader = os.open(gate, os.O_RDWR)
    runs = [run.attempts()[0] for run in run_folders(place / "runs")]
    until(lambda: all(attempt.shard(0).exit() for attempt in runs), "the end of both runs")
    os.close(reader)
    assert [(attempt.shard(0).exit() or {})["how"] for attempt in runs] == ["done", "done"]
    (digest,) = {attempt.plan["provenance"]["snapshot"] for attempt in runs}
    assert (place / "runs" / ".code" / digest / "smx" / "node" / "gen.py").is_file()
