"""submitit underneath: what it knows reaches SLURM, and a run on SLURM is its jobs."""

from __future__ import annotations

from pathlib import Path

import pytest
import submitit
from support.commands import smx

from slurm.cluster import Cluster, until
from slurm.following import GEN, Gate, attempt_of, check, fake_sbatch, on_slurm, settle, site
from smx import job
from smx.errors import UserError

TWO = (*GEN, "--sampler", "uniform", "--shards", "2")


@pytest.mark.parametrize("which", ["cluster", "bare_cluster"])
def test_a_run_is_submitits_jobs(which: str, lab: Path, gate: Gate, request: pytest.FixtureRequest) -> None:
    """Lost otherwise: whoever knows submitit cannot look into a run, or stop one shard of it, from a notebook."""
    request.getfixturevalue(which)
    site(lab, {"prologue": ["echo the shell began", "echo and complained >&2"]})
    gate.shut()
    assert on_slurm(lab, *TWO) == 0
    first, second = job("uniform-4f-rooms", lab)
    assert isinstance(first, submitit.SlurmJob)
    until("both run", lambda: {first.state, second.state} == {"RUNNING"})
    assert not first.done()
    second.cancel()
    until("one is stopped", lambda: second.state == "CANCELLED")
    assert second.done()
    gate.open()
    (run,) = settle(lab)
    until("the other is done", lambda: first.state == "COMPLETED")
    assert (first.stdout(), first.stderr()) == ("the shell began\n", "and complained\n")
    assert run.done == 2


def test_a_moved_workspace_keeps_what_was_printed(cluster: Cluster, lab: Path, tmp_path: Path) -> None:
    """Lost otherwise: once a lab moves to another disk, no run's output is found any more."""
    site(lab, {"prologue": ["echo the shell began"]})
    assert on_slurm(lab, *TWO) == 0
    (run,) = settle(lab)
    check(lab, "gen done 4/4")
    moved = lab.rename(tmp_path / "elsewhere")
    shard = attempt_of(moved, run).shard(1).path
    assert (shard / "log.out").read_text() == "the shell began\n"
    assert (shard / "log.err").exists()
    assert [task.stdout() for task in job(run.folder, moved)] == ["the shell began\n"] * 2


def test_a_job_whose_id_was_never_told_is_one_all_the_same(
    cluster: Cluster, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost otherwise: the job that sbatch made before it was killed cannot be stopped from Python."""
    with monkeypatch.context() as patch:
        patch.setenv("PATH", fake_sbatch(tmp_path / "bin", '"$REAL" --hold "$@" >/dev/null\nexit 0'))
        (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "bin" / "squeue").chmod(0o755)
        (tmp_path / "bin" / "sacct").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "bin" / "sacct").chmod(0o755)
        assert on_slurm(lab, *TWO) == 1
    tasks = job("uniform-4f-rooms", lab)
    assert [task.state for task in tasks] == ["PENDING"] * 2
    for task in tasks:
        task.cancel()
    settle(lab)
    check(lab, "gen cancelled 0/4 cancelled")


def test_what_submitit_knows_reaches_the_job(cluster: Cluster, lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a site that needs an option of submitit has to wait for smx to have it, too."""
    further = {"slurm_srun_args": ["--comment=by srun"], "mail_user": "nobody@example.org", "exclusive": True}
    site(lab, {"submitit": {**further, "setup": ["echo set up"], "additional_parameters": {"nice": 7}}})
    assert on_slurm(lab, *TWO, "--dry-run") == 0
    script = capsys.readouterr().out
    for line in ("#SBATCH --exclusive\n", "#SBATCH --mail-user=nobody@example.org\n", "'--comment=by srun'"):
        assert line in script
    assert on_slurm(lab, *TWO) == 0
    settle(lab)
    check(lab, "gen done 4/4")
    tasks = job("uniform-4f-rooms", lab)
    assert [task.stdout() for task in tasks] == ["set up\n"] * 2
    said = cluster.run("scontrol", "show", "job", tasks[0].job_id)
    assert "Nice=7" in said


def test_a_run_that_never_was_on_slurm_is_no_job(lab: Path) -> None:
    """Lost otherwise: an empty list, and a loop over it that quietly does nothing."""
    assert smx("-w", lab, *GEN, "--sampler", "uniform") == 0
    with pytest.raises(UserError, match="never was on SLURM"):
        job("uniform-4f-rooms", lab)
    with pytest.raises(UserError, match="unknown run"):
        job("unifrom-4f-rooms", lab)
