"""What goes wrong on a cluster, played on a real one: nothing is lost, guessed, or submitted twice."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

import pytest
from commands import smx
from processes import Smx, outcomes

from slurm.cluster import Cluster, until
from slurm.following import (
    EVAL,
    GEN,
    Gate,
    attempt_of,
    fake_sbatch,
    job_of,
    look,
    node_of,
    on_slurm,
    settle,
    site,
    states,
)
from smx.executors import Word
from smx.executors.slurm import Executor
from smx.project import find

pytestmark = pytest.mark.xdist_group("slurm")  # one cluster, one worker

ONE = (*GEN, "--sampler", "uniform")


@pytest.fixture
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same gen run undisturbed, without SLURM."""
    folder = tmp_path_factory.mktemp("calm")
    assert smx("-w", folder, *ONE) == 0
    return folder


def started(lab: Path) -> int:
    """How often the only attempt's first shard was started."""
    runs, _, _ = look(lab)
    return len((attempt_of(lab, runs[0]).shard(0).path / "starts.jsonl").read_text().splitlines())


def test_a_node_that_dies_costs_the_item_in_hand(cluster: Cluster, lab: Path, calm: Path, gate: Gate) -> None:
    """slurmd and all its processes gone: SLURM starts the job elsewhere, which goes on from the recorded items."""
    assert on_slurm(lab, *ONE) == 0
    gate.shut_after(2)
    job = job_of(lab)
    cluster.kill_node(node_of(cluster, job))
    cluster.hurry(job)
    gate.open()
    (run,) = settle(lab)
    assert states([run]) == [("gen", "done", 4, 0)]
    assert started(lab) == 2
    assert len(gate.twice()) <= 1
    assert outcomes(lab) == outcomes(calm)


@pytest.mark.parametrize("how", ["grace signal", "requeue by hand"])
def test_a_stopped_job_goes_on_where_it_was(cluster: Cluster, lab: Path, calm: Path, gate: Gate, how: str) -> None:
    """Preempted, or requeued by an administrator: same attempt, same outputs, only the item in hand again."""
    assert on_slurm(lab, *ONE) == 0
    gate.shut_after(2)
    job = job_of(lab)
    if how == "grace signal":
        cluster.run("scancel", "--signal=USR2", job)
    else:
        cluster.run("scontrol", "requeue", job)
    assert look(lab)[0][0].state in ("pending", "running")
    assert on_slurm(lab, *ONE) == 0  # nobody else starts it meanwhile
    cluster.hurry(job)
    gate.open()
    (run,) = settle(lab)
    assert states([run]) == [("gen", "done", 4, 0)]
    assert len(look(lab)[1]) == 1
    assert started(lab) == 2
    assert len(gate.twice()) <= 1
    assert outcomes(lab) == outcomes(calm)


def test_the_time_limit_only_interrupts(cluster: Cluster, lab: Path, calm: Path, gate: Gate) -> None:
    """A run longer than its partition's limit goes on after each limit."""
    site(lab, {"partition": "short", "time": "1m", "grace": 55})
    assert on_slurm(lab, *ONE) == 0
    gate.shut_after(2)
    cluster.hurry(job_of(lab))
    gate.open()
    (run,) = settle(lab)
    assert started(lab) == 2
    assert states([run]) == [("gen", "done", 4, 0)]
    assert len(gate.twice()) <= 1
    assert outcomes(lab) == outcomes(calm)


def test_requeues_have_a_limit(cluster: Cluster, lab: Path, gate: Gate) -> None:
    """A job that is stopped again and again does not burn GPU hours for ever."""
    site(lab, {"requeue": 0})
    assert on_slurm(lab, *ONE) == 0
    gate.shut_after(1)
    cluster.run("scancel", "--signal=USR2", job_of(lab))
    (run,) = settle(lab)
    assert run.state in ("partial", "preempted")
    (attempt,) = look(lab)[1]
    assert attempt.state == "preempted"
    assert attempt.failure
    assert attempt.failure["kind"] == "preempted"


@pytest.mark.parametrize("which", ["cluster", "bare_cluster"])
def test_scancel_by_hand(which: str, lab: Path, gate: Gate, request: pytest.FixtureRequest) -> None:
    """Cancelled is said, by whom where SLURM tells, and what waits for it is cancelled with it."""
    cluster: Cluster = request.getfixturevalue(which)
    assert on_slurm(lab, *EVAL, "--sampler", "uniform", "--frames", "4") == 0
    gate.shut_after(1)
    gen = next(a for a in look(lab)[1] if a.state == "running")
    cluster.run("scancel", str(gen.job))
    runs = settle(lab)
    assert {r.kind: r.state for r in runs}["eval"] == "cancelled"
    by_run = {a.fingerprint: a for a in look(lab)[1]}
    assert by_run[gen.fingerprint].state == "cancelled"
    kinds = {str(a.failure["kind"]) for a in by_run.values() if a.failure}
    assert kinds <= {"cancelled", "dependency"}


def test_controller_gone_while_a_run_goes_on(cluster: Cluster, lab: Path, gate: Gate) -> None:
    """squeue errors are no news: the state stays, and says since when it is not known."""
    assert on_slurm(lab, *ONE) == 0
    gate.shut_after(1)
    before = look(lab)
    assert before[0][0].state == "running"
    cluster.stop_controller()
    try:
        runs, attempts, unknown = look(lab)
        assert runs[0].state == "running"
        assert attempts[0].unknown_since
        assert "squeue" in unknown[0]
        assert on_slurm(lab, *ONE, "--set", "seed=1") == 2  # nothing is submitted into the void
    finally:
        cluster.start_controller()
    gate.open()
    assert states(settle(lab)) == [("gen", "done", 4, 0)]
    assert look(lab)[1][0].unknown_since is None


def test_controller_gone_while_sbatch_runs(
    cluster: Cluster, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer is no refusal: the run stays open until SLURM can say that no such job ever was."""
    controller = f"$(cat {cluster.folder}/slurmctld.pid)"
    script = f'P={controller}; kill $P; while kill -0 $P 2>/dev/null; do :; done\nexec "$REAL" "$@"'
    with monkeypatch.context() as patch:
        patch.setenv("PATH", fake_sbatch(tmp_path / "bin", script))
        try:
            assert on_slurm(lab, *ONE) == 0
            runs, attempts, unknown = look(lab)
            assert (runs[0].state, bool(attempts[0].unknown_since), bool(unknown)) == ("waiting", True, True)
        finally:
            cluster.start_controller()
    (run,) = settle(lab)
    (attempt,) = look(lab)[1]
    assert run.state == attempt.state == "lost"
    assert attempt.failure
    assert "never appeared" in attempt.failure["line"]
    assert on_slurm(lab, *ONE) == 0
    assert states(settle(lab)) == [("gen", "done", 4, 0)]


def test_accounting_down_changes_nothing_that_is_known(cluster: Cluster, lab: Path, gate: Gate) -> None:
    """slurmdbd away for a while: runs are followed through squeue and their folders."""
    assert on_slurm(lab, *ONE) == 0
    gate.shut_after(1)
    cluster.stop_accounting()
    try:
        assert look(lab)[0][0].state == "running"
        gate.open()
        assert states(settle(lab)) == [("gen", "done", 4, 0)]
    finally:
        cluster.start_accounting()


def test_an_answer_that_was_lost_is_found(
    cluster: Cluster, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sbatch makes the job and then fails with the socket time-out: one job, known by its name."""
    words = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    lost = f'"$REAL" "$@" >/dev/null\necho "{words}" >&2\nexit 1'
    monkeypatch.setenv("PATH", fake_sbatch(tmp_path / "bin", lost))
    assert on_slurm(lab, *EVAL, "--sampler", "uniform", "--frames", "4") == 0
    assert [r.state for r in settle(lab)] == ["done", "done"]
    assert [len(r) for r in (look(lab)[0], look(lab)[1])] == [2, 2]
    assert all(a.job for a in look(lab)[1])


def test_a_warning_beside_the_id_does_not_hide_it(
    cluster: Cluster, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sites print their news into sbatch's answer."""
    noisy = 'echo "Maintenance on 3 May 2027: 123"\n"$REAL" "$@"\necho "sbatch: warning: low balance 7" >&2'
    monkeypatch.setenv("PATH", fake_sbatch(tmp_path / "bin", noisy))
    assert on_slurm(lab, *ONE) == 0
    assert states(settle(lab)) == [("gen", "done", 4, 0)]


def test_a_rejected_part_says_so_and_the_accepted_one_goes_on(
    cluster: Cluster,
    lab: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A limit of submissions between two arrays: sbatch's own words, and the first array's runs stay known."""
    words = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
    second = f'case "$*" in *1.sh) echo "{words}" >&2; exit 1;; esac\nexec "$REAL" "$@"'
    monkeypatch.setenv("PATH", fake_sbatch(tmp_path / "bin", second))
    assert on_slurm(lab, *EVAL, "--sampler", "uniform", "--frames", "4") == 2
    assert words in capsys.readouterr().err
    runs = settle(lab)
    assert [(r.kind, r.state) for r in runs] == [("gen", "done"), ("eval", "failed")]
    failure = next(a.failure for a in look(lab)[1] if a.state == "failed")
    assert failure
    assert (failure["kind"], words in failure["line"]) == ("submit", True)


def test_two_commands_at_once_submit_a_run_once(cluster: Cluster, lab: Path) -> None:
    """Whoever comes second leaves it to the first."""
    here = partial(_go_to, str(cluster.conf))
    both = [Smx(lab, *ONE, "--executor", "slurm", before=here) for _ in range(2)]
    assert [p.end() for p in both] == [0, 0], [p.said for p in both]
    assert len(list((find(lab).runs / ".submissions").iterdir())) == 1
    assert states(settle(lab)) == [("gen", "done", 4, 0)]
    assert len(look(lab)[1]) == 1


def test_a_broken_environment_is_told_from_broken_work(cluster: Cluster, lab: Path) -> None:
    """Python that is not there: never started, with the shell's words as evidence."""
    site(lab, {"python": "/no/such/python"})
    assert on_slurm(lab, *ONE) == 0
    (run,) = settle(lab)
    assert run.state == "failed"
    (attempt,) = look(lab)[1]
    assert attempt.failure
    assert attempt.failure["kind"] == "never-started"


def test_a_gen_that_fails_cancels_only_what_waits_for_it(cluster: Cluster, lab: Path) -> None:
    """A consumer of a failed producer is cancelled by SLURM itself, with the reason; others go on."""
    site(lab, {"kinds": {"gen": {"python": "/no/such/python"}}})
    assert on_slurm(lab, *EVAL, "--sampler", "uniform", "--frames", "4") == 0
    runs = settle(lab)
    assert [(r.kind, r.state) for r in runs] == [("gen", "failed"), ("eval", "cancelled")]


def test_a_job_id_seen_before_is_another_job(cluster: Cluster, lab: Path, gate: Gate) -> None:
    """Ids start again after years: what counts is the name, which nobody has had before."""
    assert on_slurm(lab, *ONE) == 0
    gate.shut_after(1)
    runs, _, _ = look(lab)
    handle = attempt_of(lab, runs[0]).handle()
    assert handle is not None
    job, index, _ = handle["shards"][0]
    old = {**handle, "at": handle["at"] - 3600, "shards": [[job, index, "smx-000000000000-0"]]}
    (now,), (before,) = Executor(lost_after=1).poll([handle, old])
    assert (now.word, before.word) == (Word.running, Word.absent)


def test_a_full_disk_is_told_and_loses_nothing(cluster: Cluster, lab: Path, tmp_path: Path) -> None:
    """The run folder's disk is full: the run fails with the reason, and goes on once there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        runs = find(lab).root / "runs"
        runs.symlink_to(disk)
        (lab / "samples").mkdir()
        assert on_slurm(lab, *ONE) == 0
        full = disk / "full"
        until("it is full", lambda: _fill(full))
        (run,) = settle(lab)
        assert run.state in ("failed", "lost")
        full.unlink()
        assert on_slurm(lab, *ONE) == 0
        assert states(settle(lab)) == [("gen", "done", 4, 0)]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _go_to(conf: str) -> None:
    os.environ["SLURM_CONF"] = conf


def _fill(path: Path) -> bool:
    try:
        with path.open("ab", buffering=0) as file:
            while file.write(b"x" * 512):
                pass
    except OSError:
        return True
    return False
