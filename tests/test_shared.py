"""A workspace of several people. Lost otherwise: a colleague's runs, behind rights that only their owner can mend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support.commands import SCENES, closed, smx

from smx.executors._slurm.job_status import facts
from smx.registry.store import Registry
from smx.states import SchedulerState
from smx.workspace import Workspace, find

GEN = ("gen", "--dataset", "rooms", "--sampler", "uniform", "--frames", "2", *SCENES)
CAREFUL = 0o077  # a umask that keeps everything to oneself
ZOE, MAX, LAB = 23451, 23452, 23450  # two users and the group they share; no names are needed


@pytest.fixture(autouse=True)
def careful() -> Iterator[None]:
    """Everybody's own umask is a closed one."""
    before = os.umask(CAREFUL)
    yield
    os.umask(before)


def shared(folder: Path, mode: int) -> Path:
    """A folder as a lab's administrator makes it."""
    folder.mkdir()
    folder.chmod(mode)
    return folder


@pytest.mark.parametrize("executor", ["inline", "local"])
@pytest.mark.parametrize(("mode", "others"), [(0o2770, 0o000), (0o2775, 0o005)])
def test_everything_follows_a_setgid_folder(tmp_path: Path, executor: str, mode: int, others: int) -> None:
    """Registry, run folders, samples, logs and queues, of the command and of the processes it starts."""
    lab = shared(tmp_path / "lab", mode)
    assert smx("-w", lab, *GEN, "--executor", executor, "--watch") == 0
    assert smx("-w", lab, "note", next((lab / "runs" / "gen").iterdir()).name, "a note") == 0
    assert smx("-w", lab, "db", "rebuild") == 0
    assert closed(lab, others=others) == []


def test_a_colleague_reads_what_was_trained(tmp_path: Path) -> None:
    """Weights too, of the checkpoint and of the state to go on from: their writer keeps files to their owner."""
    lab = shared(tmp_path / "lab", 0o2770)
    few = ("scenes=1", "train_scenes=1", "frames=8", "width=80", "height=60")
    options = [f"--set=data_options.rooms.{pair}" for pair in few]
    assert smx("-w", lab, "train", "--model", "tiny", "--frames", "2", "--steps", "1", *options) == 0
    assert len([*lab.rglob("*.safetensors")]) == 3  # the checkpoint; weights and moments to go on from
    assert closed(lab) == []


def test_the_site_file_shares_a_folder_that_is_closed(tmp_path: Path) -> None:
    """`shared: true` opens what its owner has made before, and folders on other storage, too."""
    lab, big = tmp_path / "lab", tmp_path / "big"
    lab.mkdir()
    assert smx("-w", lab, *GEN) == 0
    assert not lab.stat().st_mode & 0o070
    text = f"shared: true\nstorage: {{runs: {big / 'runs'}, samples: {big / 'samples'}}}\n"
    (lab / "experiments").mkdir()
    (lab / "experiments" / "site.yaml").write_text(text)
    shutil.rmtree(lab / "runs")
    shutil.rmtree(lab / "samples")
    shutil.rmtree(lab / "cache")
    assert smx("-w", lab, *GEN) == 0
    assert closed(big / "runs") == closed(big / "samples") == closed(big / "cache") == []
    assert [line for line in closed(lab) if "site.yaml" not in line] == []


def test_a_private_workspace_stays_private(tmp_path: Path) -> None:
    """Without being asked, nothing is opened to anybody."""
    assert smx("-w", tmp_path, *GEN) == 0
    assert os.umask(CAREFUL) == CAREFUL
    assert not any(p.stat().st_mode & 0o077 for p in (tmp_path / "runs").rglob("*"))


def test_looking_changes_no_rights(tmp_path: Path) -> None:
    """A wrong command in a workspace that is to be shared leaves it as it is."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "site.yaml").write_text("shared: true\n")
    before = tmp_path.stat().st_mode
    assert smx("-w", tmp_path, "gen", "--sampler", "nosuch") == 2
    assert smx("-w", tmp_path, "ls") == 0
    assert tmp_path.stat().st_mode == before
    assert [p.name for p in tmp_path.iterdir()] == ["experiments"]


# Two people


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter: pytest's own are for one user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def pictures(folder: Path) -> Path:
    """Two scenes without cameras, for everybody to read: nothing to compute about them."""
    for scene in range(2):
        images = folder / "data" / f"scene_{scene}" / "images"
        images.mkdir(parents=True)
        for frame in range(4):
            Image.new("RGB", (16, 12), (60 * frame, scene, 0)).save(images / f"frame_{frame:04d}.png")
    for path in (folder / "data", *(folder / "data").rglob("*")):
        path.chmod(0o755)
    return folder / "data"


def as_user(user: int, lab: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`smx -w LAB …` typed by somebody else of the group; they may read this installation, and write what is theirs."""
    may = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    who = ["setpriv", f"--reuid={user}", f"--regid={LAB}", "--clear-groups", *may]
    home = lab.parent / f"home-{user}"
    if not home.exists():
        home.mkdir()
        os.chown(home, user, LAB)
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(home)}
    return subprocess.run(
        [*who, sys.executable, "-m", "smx", "-w", str(lab), *words],
        env=environment,
        capture_output=True,
        text=True,
        umask=CAREFUL,
        check=False,
    )


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="becoming two people takes root")
def test_two_people_submit_sync_and_retry_in_one_workspace(public: Path) -> None:
    """One starts, the other looks, notes, goes on and rebuilds; then the first again."""
    gen = ("gen", "--dataset", "frames", "--root", str(pictures(public)), "--sampler", "uniform", "--frames", "2")
    lab = shared(public / "lab", 0o2770)
    os.chown(lab, ZOE, LAB)
    lab.chmod(0o2770)

    def typed(user: int, *words: str) -> str:
        done = as_user(user, lab, *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    typed(ZOE, *gen, "--executor", "local", "--watch")
    name = next((lab / "runs" / "gen").iterdir()).name
    typed(MAX, "note", name, "looked at it")
    (lab / "runs" / "gen" / name / "attempts" / "1" / "shards" / "0" / "exit.json").unlink()
    with Registry.open(lab / "registry.db") as registry:  # as if it had been cut off
        registry.update_attempt(registry.runs()[0].fingerprint, 1, state="running")
    typed(MAX, *gen, "--seed", "0,1", "--set", "sampler=random")
    typed(MAX, "db", "rebuild")
    typed(ZOE, *gen, "--seed", "1,2", "--set", "sampler=random")
    with Registry.open(lab / "registry.db") as registry:
        assert {run.state for run in registry.runs()} <= {"done", "lost"}
    owners = {path.stat().st_uid for path in (lab / "runs").rglob("*")}
    assert owners == {ZOE, MAX}
    assert [line for line in closed(lab) if not line.endswith("-journal")] == []


def test_a_colleagues_job_that_slurm_does_not_show_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PrivateData hides it from everybody else: their look at the runs must not end it, and start it again."""
    for name, said in (("squeue", ""), ("sacct", ""), ("scontrol", "cat " + str(tmp_path / "config"))):
        (tmp_path / name).write_text(f"#!/bin/sh\n{said}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    handle = {"executor": "slurm", "folder": str(tmp_path), "at": 0, "shards": [["12", 0, "smx-a-0"]]}

    def seen(private: str, user: int) -> SchedulerState:
        (tmp_path / "config").write_text(f"ClusterName             = alps\nPrivateData             = {private}\n")
        monkeypatch.setattr(os, "geteuid", lambda: user)
        ((fact,),) = facts([handle], lost_after=0)
        return fact.state

    owner = tmp_path.stat().st_uid
    assert seen("jobs,usage", MAX) == SchedulerState.unknown
    assert seen("none", MAX) == SchedulerState.absent
    assert seen("jobs,usage", owner) == SchedulerState.absent
    assert seen("accounts", MAX) == SchedulerState.absent


def test_a_workspace_is_shared_when_its_group_can_write_and_inherits(tmp_path: Path) -> None:
    """Setgid alone is how many labs' whole disks are set up: it shares nothing."""
    for mode, wanted in ((0o755, False), (0o2755, False), (0o775, False), (0o2775, True)):
        tmp_path.chmod(mode)
        assert find(tmp_path).shared is wanted
    assert isinstance(find(tmp_path), Workspace)
