"""What goes wrong on a cluster, played on a real one: nothing is lost, guessed, or submitted twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.commands import smx
from support.processes import Smx

from slurm.cluster import Cluster, until
from slurm.following import (
    ASKED,
    ASKED_ONE,
    BEGUN,
    EVAL,
    GEN,
    Gate,
    attempt_of,
    check,
    ended,
    fake_sbatch,
    job_of,
    look,
    matrix,
    node_of,
    on_slurm,
    recorded,
    settle,
    site,
)
from smx.atomic_io import read_json
from smx.control.reservations import submission_folder
from smx.workspace import find

Calm = Callable[..., Path]
ONE = (*GEN, "--sampler", "uniform")
MANY = (*ONE, "--set=dataset_options.count=18")
BOTH = (*EVAL, "--sampler", "uniform", "--frames", "4")


def started(lab: Path) -> int:
    """How often the only attempt's first shard was started."""
    runs, _, _ = look(lab)
    return len((attempt_of(lab, runs[0]).shard(0).path / "starts.jsonl").read_text().splitlines())


@pytest.mark.parametrize("which", ["cluster", "bare_cluster"])
def test_a_node_that_dies_costs_the_item_in_hand(
    which: str, lab: Path, calm: Calm, gate: Gate, request: pytest.FixtureRequest
) -> None:
    """slurmd and all its processes gone: SLURM starts the job elsewhere, which goes on from the recorded items."""
    cluster: Cluster = request.getfixturevalue(which)
    assert on_slurm(lab, *ONE) == 0
    *_, in_hand = gate.shut_after(2)
    job = job_of(lab)
    cluster.kill_node(node_of(cluster, job))
    cluster.runs_again(job)
    gate.open()
    settle(lab)
    assert started(lab) == 2
    check(lab, "gen done 4/4", like=calm(ONE), in_hand={in_hand})


def test_stopped_jobs_go_on_where_they_were(cluster: Cluster, lab: Path, calm: Calm, gate: Gate) -> None:
    """Told by the grace signal, requeued by hand, preempted with a GraceTime: same attempt, the item in hand again.

    Lost otherwise: SLURM's SIGTERM to what other work displaces is taken for a person's cancel.
    """
    made = (*GEN, "--sampler", "random", "--seed")
    for seed, partition in enumerate(("main", "main", "again", "spare")):
        site(lab, {"partition": partition, "exclude": ["n3", "n4"] if partition == "main" else []})
        assert on_slurm(lab, *made, seed) == 0
    gate.shut_after(8)
    jobs = [str(attempt.job) for attempt in sorted(look(lab)[1], key=lambda a: a.created)]
    cluster.run("scancel", "--signal=USR2", jobs[0])
    cluster.run("scontrol", "requeue", jobs[1])
    cluster.run("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "true")
    assert on_slurm(lab, *made, "0,1,2,3") == 0  # nobody else starts them meanwhile
    for job in jobs:
        cluster.runs_again(job)
    gate.open()
    runs = settle(lab)
    assert len(look(lab)[1]) == 4
    assert [len(attempt_of(lab, run).shard(0).starts()) for run in runs] == [2] * 4
    begun = Counter((lab.parent / BEGUN).read_text().splitlines())
    again = {item for item, times in begun.items() if times > 1}
    check(lab, *["gen done 4/4"] * 4, like=calm((*made, "0,1,2,3")), in_hand=again)
    assert (len(begun), max(begun.values())) == (16, 2)
    assert len({item.split()[0] for item in again}) == len(again)  # one of each run at most


def test_the_time_limit_only_interrupts(cluster: Cluster, lab: Path, calm: Calm, gate: Gate) -> None:
    """A run longer than its time limit goes on after it. (The limits are set when each start has got far enough.)"""
    site(lab, {"time": "30m", "grace": 60})
    assert on_slurm(lab, *ONE) == 0
    *_, in_hand = gate.shut_after(2)
    job = job_of(lab)
    cluster.run("scontrol", "update", f"jobid={job}", "endtime=now+2minutes")
    cluster.runs_again(job)
    cluster.run("scontrol", "update", f"jobid={job}", "endtime=now+30minutes")
    gate.open()
    settle(lab)
    assert started(lab) == 2
    check(lab, "gen done 4/4", like=calm(ONE), in_hand={in_hand})


def test_requeues_have_a_limit(cluster: Cluster, lab: Path, calm: Calm, gate: Gate) -> None:
    """A job that is stopped again and again does not burn GPU hours for ever; the command itself goes on."""
    site(lab, {"requeue": 0})
    assert on_slurm(lab, *ONE) == 0
    *_, in_hand = gate.shut_after(2)
    cluster.run("scancel", "--signal=USR2", job_of(lab))
    (run,) = settle(lab)
    assert run.state == "partial"
    (attempt,) = look(lab)[1]
    assert attempt.failure
    assert (attempt.state, attempt.failure["kind"]) == ("preempted", "preempted")
    gate.open()
    assert on_slurm(lab, *ONE) == 0
    settle(lab)
    check(lab, "gen done 4/4", like=calm(ONE), in_hand={in_hand})


@pytest.mark.parametrize("which", ["cluster", "bare_cluster"])
def test_scancel_by_hand(which: str, lab: Path, calm: Calm, gate: Gate, request: pytest.FixtureRequest) -> None:
    """Cancelled is said, and what waits for it is cancelled with it; the same command does what is left."""
    cluster: Cluster = request.getfixturevalue(which)
    assert on_slurm(lab, *BOTH) == 0
    gate.shut_after(1)
    recorded(lab, 1)
    cluster.run("scancel", next(str(a.job) for a in look(lab)[1] if a.state == "running"))
    settle(lab)
    check(lab, "gen partial 1/2 cancelled", f"eval cancelled 0/{ASKED} dependency")
    assert smx("-w", lab, "retry") == 0  # leaves them alone: nobody asked for what was cancelled
    assert [a.attempt for a in look(lab)[1]] == [1, 1]
    gate.open()
    assert on_slurm(lab, *BOTH) == 0
    settle(lab)
    check(lab, "gen done 2/2", f"eval done {ASKED}/{ASKED}", like=calm(BOTH))


@pytest.mark.parametrize("which", ["cluster", "bare_cluster"])
def test_controller_gone_while_a_run_goes_on(
    which: str, lab: Path, calm: Calm, gate: Gate, request: pytest.FixtureRequest
) -> None:
    """squeue errors are no news: the state stays, and says since when it is not known."""
    cluster: Cluster = request.getfixturevalue(which)
    assert on_slurm(lab, *ONE) == 0
    gate.shut_after(1)
    assert look(lab)[0][0].state == "running"
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
    settle(lab)
    assert look(lab)[1][0].unknown_since is None
    check(lab, "gen done 4/4", like=calm(ONE))


def test_controller_gone_while_sbatch_runs(
    cluster: Cluster, lab: Path, calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer is no refusal: the run stays open until SLURM can say that no such job ever was."""
    controller = f"$(cat {cluster.folder}/slurmctld.pid)"
    script = f'P={controller}; kill $P; while kill -0 $P 2>/dev/null; do :; done\nexec "$REAL" "$@"'
    with monkeypatch.context() as patch:
        patch.setenv("PATH", fake_sbatch(tmp_path / "bin", script))
        try:
            assert on_slurm(lab, *ONE) == 1
            runs, attempts, unknown = look(lab)
            assert (runs[0].state, bool(attempts[0].unknown_since), bool(unknown)) == ("waiting", True, True)
        finally:
            cluster.start_controller()
    settle(lab)
    (attempt,) = look(lab)[1]
    assert attempt.failure
    assert "named no job, and none appeared" in attempt.failure["line"]
    check(lab, "gen lost 0/4 lost")
    assert on_slurm(lab, *ONE) == 0
    settle(lab)
    check(lab, "gen done 4/4", like=calm(ONE))


def test_accounting_down_changes_nothing_that_is_known(cluster: Cluster, lab: Path, calm: Calm, gate: Gate) -> None:
    """slurmdbd away for a while: runs are followed through squeue and their folders."""
    assert on_slurm(lab, *ONE) == 0
    gate.shut_after(1)
    cluster.stop_accounting()
    try:
        assert look(lab)[0][0].state == "running"
        gate.open()
        settle(lab)
        check(lab, "gen done 4/4", like=calm(ONE))
    finally:
        cluster.start_accounting()


TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


@pytest.mark.parametrize(
    ("which", "end"),
    [
        ("cluster", f'echo "{TIMED_OUT}" >&2\nexit 1'),
        ("bare_cluster", f'echo "{TIMED_OUT}" >&2\nexit 1'),
        ("cluster", "kill -KILL $$"),
    ],
)
def test_an_answer_that_was_lost_is_found(
    which: str,
    end: str,
    lab: Path,
    calm: Calm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """sbatch makes the job and then fails with the socket time-out, or is killed: one job, known by its name."""
    request.getfixturevalue(which)
    monkeypatch.setenv("PATH", fake_sbatch(tmp_path / "bin", f'"$REAL" "$@" >/dev/null\n{end}'))
    assert on_slurm(lab, *BOTH) == 0
    settle(lab)
    assert [a.attempt for a in look(lab)[1] if a.job] == [1, 1]
    check(lab, "gen done 2/2", f"eval done {ASKED}/{ASKED}", like=calm(BOTH))


def test_what_sbatch_said_instead_of_an_id_is_told(
    cluster: Cluster, lab: Path, calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper of the site that only prints its news: no job, and its words are why; the same command tries again."""
    with monkeypatch.context() as patch:
        patch.setenv("PATH", fake_sbatch(tmp_path / "bin", 'echo "Submissions are closed until 5 May"'))
        assert on_slurm(lab, *ONE) == 1
    settle(lab)
    (attempt,) = look(lab)[1]
    assert attempt.failure
    assert "Submissions are closed until 5 May" in attempt.failure["line"]
    check(lab, "gen lost 0/4 lost")
    assert on_slurm(lab, *ONE) == 0
    settle(lab)
    check(lab, "gen done 4/4", like=calm(ONE))


def test_a_job_that_appears_after_its_answer_was_lost_can_be_stopped(
    cluster: Cluster, lab: Path, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller makes it when nobody looks for it any more: its id was never told, and cancel stops it."""
    asked = tmp_path / "asked"
    with monkeypatch.context() as patch:
        late = f'printf "%s\\n" "$PWD" "$@" > {asked}\necho "{TIMED_OUT}" >&2\nexit 1'
        patch.setenv("PATH", fake_sbatch(tmp_path / "bin", late))
        site(lab, {"lost_after": 300})
        assert on_slurm(lab, *ONE) == 1
    # The workspace's name has a newline: the script and its options are the lines after it.
    folder, _, options = asked.read_text().rpartition("\n--parsable\n")
    subprocess.run(["sbatch", "--parsable", *options.split()], cwd=folder, check=True)
    gate.shut_after(1)
    recorded(lab, 1)
    assert smx("-w", lab, "cancel", "--all") == 0
    settle(lab)
    check(lab, "gen partial 1/4 cancelled")


def test_a_warning_beside_the_id_does_not_hide_it(
    cluster: Cluster, lab: Path, calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sites print their news into sbatch's answer."""
    noisy = 'echo "Maintenance on 3 May 2027: 123"\n"$REAL" "$@"\necho "sbatch: warning: low balance 7" >&2'
    monkeypatch.setenv("PATH", fake_sbatch(tmp_path / "bin", noisy))
    assert on_slurm(lab, *ONE) == 0
    settle(lab)
    check(lab, "gen done 4/4", like=calm(ONE))


def test_a_rejected_part_says_so_and_the_accepted_one_goes_on(
    cluster: Cluster,
    lab: Path,
    calm: Calm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A limit of submissions between two arrays: sbatch's own words, and the first array's runs stay known."""
    words = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
    second = f'case "$*" in *1.sh) echo "{words}" >&2; exit 1;; esac\nexec "$REAL" "$@"'
    with monkeypatch.context() as patch:
        patch.setenv("PATH", fake_sbatch(tmp_path / "bin", second))
        assert on_slurm(lab, *BOTH) == 2
    assert words in capsys.readouterr().err
    settle(lab)
    failure = next(a.failure for a in look(lab)[1] if a.state == "failed")
    assert failure
    assert words in failure["line"]
    check(lab, "gen done 2/2", f"eval failed 0/{ASKED} submit")
    assert on_slurm(lab, *BOTH) == 0
    settle(lab)
    check(lab, "gen done 2/2", f"eval done {ASKED}/{ASKED}", like=calm(BOTH))


def test_half_of_one_run_is_refused(
    cluster: Cluster,
    lab: Path,
    calm: Calm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run split over two arrays, the second rejected: what was accepted is computed once, the rest is then all."""
    words = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
    second = f'case "$*" in *1.sh) echo "{words}" >&2; exit 1;; esac\nexec "$REAL" "$@"'
    with monkeypatch.context() as patch:
        patch.setenv("PATH", fake_sbatch(tmp_path / "bin", second))
        assert on_slurm(lab, *MANY, "--shards", "18") == 2
    said = capsys.readouterr().err
    assert "refused 2 of 18 shards of uniform-4f-rooms" in said
    assert words in said
    settle(lab)
    check(lab, "gen partial 16/18 submit")
    assert on_slurm(lab, *MANY) == 0
    settle(lab)
    check(lab, "gen done 18/18", like=calm(MANY))


def test_a_run_folder_that_cannot_be_written(cluster: Cluster, lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A colleague's run, which they may read only: exit 2 before sbatch, and not an attempt more than before."""
    site(lab, {"python": "/no/such/python"})
    assert on_slurm(lab, *ONE) == 0
    (run,) = settle(lab)
    folder = str(find(lab).runs / run.folder)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        capsys.readouterr()
        assert on_slurm(lab, *ONE) == 2
        assert f"cannot write to {folder}" in capsys.readouterr().err
    finally:
        subprocess.run(["umount", folder], check=True)
    assert len(look(lab)[1]) == 1
    check(lab, "gen failed 0/4 never-started")


def test_two_commands_at_once_submit_each_run_once(cluster: Cluster, lab: Path, calm: Calm) -> None:
    """The same matrix twice in the same moment: whoever comes second leaves to the first what the first has."""
    matrix(lab, seeds=3)
    here = partial(_go_to, str(cluster.conf), str(lab.parent / BEGUN))
    both = [Smx(lab, "run", "grid", "--executor", "slurm", before=here) for _ in range(2)]
    assert [p.end() for p in both] == [0, 0], [p.said for p in both]
    settle(lab)
    assert [a.attempt for a in look(lab)[1]] == [1] * 8
    listed = [part["tasks"] for part in map(read_json, (find(lab).runs / ".submissions").glob("*/?.json")) if part]
    tasks = [(task["folder"], task["shard"]) for part in listed for task in part.values()]
    assert len(tasks) == len(set(tasks)) == 8
    check(lab, *["gen done 1/1"] * 2, *[f"eval done {ASKED_ONE}/{ASKED_ONE}"] * 6, like=calm(("run", "grid"), seeds=3))


@pytest.mark.parametrize("which", ["cluster", "bare_cluster"])
def test_a_broken_environment_is_told_from_broken_work(
    which: str, lab: Path, calm: Calm, request: pytest.FixtureRequest
) -> None:
    """Gen without its Python was never started, and SLURM itself cancels what waits for it; mended, all is done."""
    request.getfixturevalue(which)
    site(lab, {"kinds": {"gen": {"python": "/no/such/python"}}})
    assert on_slurm(lab, *BOTH) == 0
    settle(lab)
    check(lab, "gen failed 0/2 never-started", f"eval cancelled 0/{ASKED} dependency")
    gen = next(a for a in look(lab)[1] if a.state == "failed")
    assert gen.failure
    assert "/no/such/python" in str(gen.failure["evidence"])
    site(lab, {})
    assert on_slurm(lab, *BOTH) == 0
    settle(lab)
    check(lab, "gen done 2/2", f"eval done {ASKED}/{ASKED}", like=calm(BOTH))


def test_one_empty_answer_loses_no_job(
    cluster: Cluster, lab: Path, calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that has long been in the queue, and for a moment neither squeue nor sacct lists it: a doubt, no end.

    Where nobody knows of it for too long, and it was there all the same, what it did counts in the end.
    """
    site(lab, {"sbatch": ["--hold"], "lost_after": 0})
    assert on_slurm(lab, *ONE) == 0
    with monkeypatch.context() as patch:
        (tmp_path / "bin").mkdir()
        for name in ("squeue", "sacct"):
            (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
            (tmp_path / "bin" / name).chmod(0o755)
        patch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        (run,), _, unknown = look(lab)
        assert run.state == "pending"
        assert "neither squeue nor sacct knows it now" in unknown[0]
        assert look(lab)[0][0].state == "lost"  # lost_after is over
    assert look(lab)[0][0].state == "pending", "it is heard of again"
    cluster.run("scontrol", "release", job_of(lab).partition("_")[0])
    until("what it did counts", lambda: look(lab)[0][0].state == "done")
    check(lab, "gen done 4/4", like=calm(ONE))


@pytest.mark.parametrize("which", ["cluster", "bare_cluster"])
def test_job_ids_begin_again(
    which: str,
    lab: Path,
    calm: Calm,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """A controller that forgot everything gives another run the same id: what counts is the name, never used twice."""
    monkeypatch.setattr("smx.control.attempt_state._FRESH", 1.0)
    cluster: Cluster = request.getfixturevalue(which)
    cluster.reset()
    assert on_slurm(lab, *ONE) == 0
    gate.shut_after(1)
    recorded(lab, 1)
    first = job_of(lab)
    cluster.reset()
    assert on_slurm(lab, *GEN, "--sampler", "random") == 0
    assert {attempt.job for attempt in look(lab)[1]} == {first}
    gate.open()
    settle(lab)
    (how,) = [attempt.failure["kind"] for attempt in look(lab)[1] if attempt.failure]
    assert how in ("lost", "cancelled")  # the latter where slurmdbd closed the old controller's books in time
    check(lab, f"gen partial 1/4 {how}", "gen done 4/4")
    assert on_slurm(lab, *ONE) == 0
    settle(lab)
    check(lab, "gen done 4/4", "gen done 4/4", like=calm((*GEN, "--sampler", "uniform,random")))


def test_what_somebody_does_to_one_run_is_that_runs(
    cluster: Cluster, lab: Path, gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script handed over twice, a folder deleted under a job, a damaged plan: named, and all else goes on.

    Lost otherwise: items recorded twice; and every command, of every run, for one folder.
    """
    made = (*GEN, "--sampler", "random", "--seed")
    assert on_slurm(lab, *made, "0,1,2") == 0
    gate.shut_after(3)
    twice, gone, damaged = look(lab)[0]
    submission = submission_folder(find(lab), attempt_of(lab, twice).plan["submission"])
    again = subprocess.run(["sbatch", "--parsable", "0.sh"], cwd=submission, capture_output=True, text=True, check=True)
    until("the second array is over", lambda: again.stdout.strip() not in cluster.run("squeue", "-h", "-o", "%F"))
    assert look(lab)[0][0].state == "running"
    shutil.rmtree(find(lab).runs / gone.folder)
    plan = attempt_of(lab, damaged).path / "plan.json"
    text = plan.read_text()
    plan.write_text("{")
    capsys.readouterr()
    assert smx("-w", lab, "status") == 0
    status = capsys.readouterr()
    assert f"{Path(gone.folder).name} attempt 1: its folder is gone" in status.out + status.err
    assert smx("-w", lab, "cancel", Path(gone.folder).name) == 0
    gate.open()
    until("the two others are over", lambda: len([a for a in look(lab)[1] if a.live]) <= 1)
    assert on_slurm(lab, *made, "0,1,2,3") == 0
    until("the damage is told", lambda: any(str(plan) in line for line in look(lab)[2]))
    plan.write_text(text)
    settle(lab)
    assert ended(lab) == ["gen done 4/4"] * 4  # (a registry made again knows nothing of what was deleted)
    begun = Counter((lab.parent / BEGUN).read_text().splitlines())
    assert {item for item, times in begun.items() if times > 1 and gone.title[-8:] not in item} == set()
    assert len(list(attempt_of(lab, twice).shard(0).items())) == 4


def test_a_full_disk_is_told_and_loses_nothing(
    cluster: Cluster, lab: Path, calm: Calm, gate: Gate, tmp_path: Path
) -> None:
    """The run folder's disk fills up in the middle: the run fails with the reason, and goes on once there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (lab / "runs").symlink_to(disk)
        assert on_slurm(lab, *ONE) == 0
        gate.shut_after(2)
        recorded(lab, 2)
        full = disk / "full"
        _fill(full)
        gate.open()
        (run,) = settle(lab)
        in_hand = gate.begun[-1]
        full.unlink()
        kept = len(list(attempt_of(lab, run).shard(0).items()))
        check(lab, f"gen partial {kept}/4 no-space")
        assert on_slurm(lab, *ONE) == 0
        settle(lab)
        check(lab, "gen done 4/4", like=calm(ONE), in_hand={in_hand})
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _go_to(conf: str, probe: str) -> None:
    os.environ |= {"SLURM_CONF": conf, "SMX_PROBE": probe}


def _fill(path: Path) -> None:
    """Take all that is left of a disk."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 512):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
