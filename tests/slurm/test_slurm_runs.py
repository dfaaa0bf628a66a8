"""Runs on a real cluster: they end in the right state, with the outputs a run without SLURM has."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import left, smx

from slurm.cluster import Cluster
from slurm.following import (
    ASKED,
    ASKED_ONE,
    BEGUN,
    EVAL,
    GEN,
    attempt_of,
    check,
    look,
    matrix,
    on_slurm,
    picture,
    settle,
    site,
)
from smx.atomic_io import read_json, write_json
from smx.executors import Job
from smx.executors.slurm import Executor
from smx.runfolder import AttemptFolder
from smx.states import SchedulerState
from smx.workspace import find

# What one rank of a job sees, in a file of its own.
RANKS = """
import json, os
from smx.runfolder import AttemptFolder

def main(folder, shard):
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "SLURMD_NODENAME", "SRUN_CPUS_PER_TASK")
    names += ("CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "ODD")
    target = AttemptFolder(folder).shard(shard)
    rank = os.environ.get("RANK", "0")
    (target.path / f"rank-{rank}.json").write_text(json.dumps({n: os.environ.get(n) for n in names}))
    if rank == "0":
        target.end("done")
    return 0
"""


@pytest.mark.parametrize("which", ["cluster", "bare_cluster"])
def test_gen_and_eval_are_submitted_and_followed_to_their_end(
    which: str, lab: Path, tmp_path: Path, calm: Callable[..., Path], request: pytest.FixtureRequest
) -> None:
    """Two shards, a dependency, a folder with an impossible name, with sacct and without: the same as inline."""
    request.getfixturevalue(which)
    words = (*EVAL, "--sampler", "uniform", "--frames", "4")
    assert on_slurm(lab, *words, "--shards", "2") == 0
    assert {a.state for a in look(lab)[1]} <= {"waiting", "pending", "running", "done"}
    for run in settle(lab):
        handle = attempt_of(lab, run).handle()
        assert handle is not None
        assert [index for _, index, _ in handle["shards"]] == [0, 1]
    assert not list(tmp_path.rglob("pwned"))
    check(lab, "gen done 2/2", f"eval done {ASKED}/{ASKED}", like=calm(words))


def test_forty_runs_in_arrays_no_longer_than_the_cluster_takes(
    cluster: Cluster, lab: Path, calm: Callable[..., Path]
) -> None:
    """MaxArraySize is 16: parts from index 0, each gen before its evals."""
    site(lab, {"throttle": 12})
    matrix(lab, seeds=19)
    assert on_slurm(lab, "run", "grid") == 0
    settle(lab, 400)
    (listed,) = (find(lab).runs / ".submissions").glob("*/parts.json")
    parts = [read_json(listed.with_name(f"{k}.json")) for k in range(5)]
    assert sorted(len(p["tasks"]) for p in parts if p) == [2, 3, 3, 16, 16]
    check(
        lab, *["gen done 1/1"] * 2, *[f"eval done {ASKED_ONE}/{ASKED_ONE}"] * 38, like=calm(("run", "grid"), seeds=19)
    )


def test_the_night_of_the_notes(
    cluster: Cluster, lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two broken scenes of 288: the other 286 are there in the morning, both are named, and a retry makes two."""
    broken = {"scene0017": b"\x89PNG, or so it began", "scene0203": b""}
    for k in range(288):
        picture(tmp_path / "data" / f"scene{k:04}" / "0.png", k)
        picture(tmp_path / "data" / f"scene{k:04}" / "1.png", k + 1)
    for name, content in broken.items():
        (tmp_path / "data" / name / "1.png").write_bytes(content)
    night = ("gen", "--dataset", "frames", "--root", tmp_path / "data", "--sampler", "uniform", "--frames", "2")
    assert on_slurm(lab, *night, "--shards", "4") == 0
    (run,) = settle(lab)
    name = Path(run.folder).name
    capsys.readouterr()
    assert smx("-w", lab, "show", name) == 0
    said = capsys.readouterr().out
    assert "286/288" in said
    assert all(scene in said for scene in broken)
    check(lab, "gen done 286/288")
    for k in (17, 203):
        picture(tmp_path / "data" / f"scene{k:04}" / "1.png", k + 1)
    begun = (tmp_path / BEGUN).read_text().splitlines()
    assert smx("-w", lab, "retry") == 0
    settle(lab)
    again = (tmp_path / BEGUN).read_text().splitlines()[len(begun) :]
    assert sorted(line.split()[1] for line in again) == sorted(broken)
    check(lab, "gen done 288/288", in_hand=again)


NASTY = 'it\'s "odd" $(touch pwned) `touch pwned` ; touch pwned # ü'
WRAPPER = '#!/bin/bash\nprintf "%s\\n" "$0" "$1" >> "$SAID"\nshift\nexec "$@"\n'
TOOL = '#!/bin/bash\nprintf "%s\\n" "$0" "$@" >> "$SAID"\n'


def test_nothing_a_lab_can_name_runs_as_a_command(
    cluster: Cluster, lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every text of the site file, a data folder and a scene with all that shells trip over: just text."""
    tools = tmp_path / "tools"
    python = f'#!/bin/bash\nexec "{sys.executable}" "$@"\n'
    scripts = {"module": TOOL, "conda": TOOL, f"in {NASTY}": WRAPPER, f"python {NASTY}": python}
    tools.mkdir()
    for name, text in scripts.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    data = tmp_path / f"data\n{NASTY}"
    picture(data / f"scene {NASTY}" / "0.png", 0)
    picture(data / f"scene {NASTY}" / "1.png", 1)
    words = ("gen", "--dataset", "frames", "--root", data, "--sampler", "uniform", "--frames", "2")
    for field in ("constraint", "reservation"):
        site(lab, {field: NASTY})
        assert on_slurm(lab, *words) == 2
        assert "sbatch: error:" in capsys.readouterr().err
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "SAID": str(tmp_path / "said"), "ODD": f"{NASTY}\nmore"}
    options: dict[str, object] = {"environment": environment, "python": str(tools / f"python {NASTY}")}
    options |= dict.fromkeys(("account", "qos", "comment", "wckey", "conda"), NASTY)
    options |= {"modules": [NASTY], "container": [str(tools / f"in {NASTY}"), NASTY]}
    options |= {"srun": [f"--comment={NASTY}"], "sbatch": [f"--mail-user={shlex.quote(NASTY)}"]}
    site(lab, options)
    assert on_slurm(lab, *words) == 0
    settle(lab)
    check(lab, "gen done 1/1")
    assert not list(tmp_path.rglob("pwned"))
    assert not Path("pwned").exists()
    assert (tmp_path / "said").read_text().count(NASTY) == 4  # module, conda, the container's own name and argument


def test_ranks_find_each_other_and_their_gpus(cluster: Cluster, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks on each of two nodes are four ranks of one training, each with the GPUs of its node."""
    (lab / "ranks.py").write_text(RANKS)
    odd = 'it\'s "odd" $(x) `y`\nzwei Zeilen – ünï'
    executor = Executor.model_validate(
        {
            "time": "2m",
            "cpus": 2,
            "comment": 'the "best" it\'s $(run) ü',
            "environment": {"PYTHONPATH": str(lab), "ODD": odd},
            "kinds": {"train": {"gpus": 2, "nodes": 2, "tasks": 2, "gpu_type": "a100"}},
        }
    )
    attempt = lab / "runs" / "train" / "a run" / "attempts" / "1"
    write_json(attempt / "plan.json", {"shards": [[]]})
    executor.check({"train"})
    folder = lab / "runs" / ".submissions" / "ranks"
    monkeypatch.setenv("SLURM_JOB_ID", "1")  # as if smx itself ran in a job: nothing of it may be passed on
    monkeypatch.setenv("SLURM_NTASKS", "77")
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    (handle,) = executor.submit("ranks", folder, [Job("ranks:main", attempt, kind="train")])
    assert handle is not None
    said = cluster.run("scontrol", "show", "job", str(handle["job"]))
    assert 'Comment=the "best" it\'s $(run) ü' in said
    assert "JobName=smx-ranks-0" in said
    while executor.poll([handle])[0][0].state in (
        SchedulerState.waiting,
        SchedulerState.pending,
        SchedulerState.running,
        SchedulerState.unknown,
    ):
        os.sched_yield()
    shard = AttemptFolder(attempt).shard(0)
    assert shard.exit(), "".join(path.read_text() for path in shard.path.glob("log.*"))
    seen = [read_json(shard.path / f"rank-{k}.json") or {} for k in range(4)]
    assert [s["RANK"] for s in seen] == ["0", "1", "2", "3"]
    assert {s["WORLD_SIZE"] for s in seen} == {"4"}
    assert [s["LOCAL_RANK"] for s in seen] == ["0", "1", "0", "1"]
    assert len({s["SLURMD_NODENAME"] for s in seen}) == 2
    assert {(s["CUDA_VISIBLE_DEVICES"], s["HF_HUB_OFFLINE"], s["SRUN_CPUS_PER_TASK"]) for s in seen} == {
        ("0,1", "1", "2")
    }
    assert {s["ODD"] for s in seen} == {odd}
    assert len({s["MASTER_ADDR"] for s in seen}) == 1


def test_a_second_submit_of_the_same_id_finds_the_first(cluster: Cluster, lab: Path) -> None:
    """However often it is called, a submission is one set of jobs; its handles can be made again from its folder."""
    (lab / "ranks.py").write_text(RANKS)
    executor = Executor.model_validate({"time": "2m", "environment": {"PYTHONPATH": str(lab)}})
    attempt = lab / "runs" / "gen" / "a run" / "attempts" / "1"
    write_json(attempt / "plan.json", {"shards": [[], []]})
    jobs = [Job("ranks:main", attempt, shards=2, kind="gen")]
    folder = lab / "runs" / ".submissions" / "rerun"
    first = executor.submit("rerun", folder, jobs)
    assert executor.submit("rerun", folder, jobs) == executor.recover("rerun", folder, jobs) == first
    names = cluster.run("squeue", "-h", "--array", "--states=all", "--name=smx-rerun-0", "-o", "%i").split()
    assert len(names) == 2


def test_dry_run_shows_the_script_and_writes_nothing(
    cluster: Cluster, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would reach SLURM, which index is which run, when it might start, what it costs; not a file, not a job."""
    site(lab, {"gpus": 2})
    before = left(lab)
    assert on_slurm(lab, *EVAL, "--sampler", "uniform", "--frames", "4", "--shards", "2", "--canary", "--dry-run") == 0
    said = capsys.readouterr().out
    assert left(lab) == before
    assert not cluster.run("squeue", "-h")
    for line in ("#SBATCH --array=0-1", "#SBATCH --time=00:05:00", "#SBATCH --signal=USR2@20", "afterok:"):
        assert line in said
    assert "# written by submitit 1." in said
    assert "to start at" in said
    assert "canary: what waits for it begins when all its items are done" in said
    assert "afterok:JOB-OF-0.sh_0:JOB-OF-0.sh_1:JOB-OF-1.sh_0" in said
    assert "3 arrays, 5 tasks; at most 0.8 GPU-hours" in said
    assert "shard 1" in said


WRONG = [
    ({"partition": "mian"}, "did you mean main?", "short"),
    ({"partition": "drained"}, "takes no jobs now", "main"),
    ({"time": "2h"}, "over the limit", "01:00:00"),
    ({"time": "90"}, "write a time as", "90m"),
    ({"gpus": 9}, "no node of partition main has more than 4", "0 to 4"),
    ({"gpus": 1, "gpu_type": "h100"}, "unknown GPU type 'h100'", "a100"),
    ({"memory": "900G"}, "has more than 8000M", "8000M"),
    ({"cpus": 99}, "has more than 8", "8"),
    ({"partitoin": "main"}, "did you mean partition?", "partition"),
    ({"kinds": {"gen": {"tiem": "5m"}}}, "did you mean time?", "time"),
    ({"kinds": {"gne": {}}}, "'gen'", "eval"),
    ({"account": "a\n#SBATCH --uid=0"}, "one line", "control"),
    ({"sbatch": ["--job-name=lab"]}, "--job-name is smx's own", "finds its jobs"),
    ({"sbatch": ["-a 0-3"]}, "-a is smx's own", "finds its jobs"),
    ({"sbatch": ["--out=lab.out"]}, "--out is smx's own", "finds its jobs"),
    ({"sbatch": ["mail-type=FAIL"]}, "write an option of sbatch as", "--name=value"),
    ({"submitit": {"slurm_srun_arsg": []}}, "unknown parameter of submitit 'srun_arsg'", "did you mean srun_args?"),
    ({"submitit": {"slurm_job_name": "lab"}}, "job_name is smx's own", "finds its jobs"),
    ({"submitit": {"timeout_min": 5}}, "timeout_min is smx's own", "set time"),
    ({"submitit": {"additional_parameters": {"array": "0-3"}}}, "--array is smx's own", "finds its jobs"),
    ({"submitit": {"mail_user": "a\n#SBATCH --uid=0"}}, "one line", "control"),
    ({"submitit": {"setup": "ulimit -c 0"}}, "write setup as a list", "ulimit"),
    ({"submitit": {"additional_parameters": 5}}, "executors.slurm.submitit: ", "submitit's documentation"),
    ({"environment": {"MY LAB": "x"}}, "'MY LAB' is no name", "environment variable"),
    ({"gpus": 3, "tasks": 2, "gpus_as": "gpus-per-task"}, "cannot share 3 GPUs", "a multiple of 2"),
    ({"tasks": 2}, "several tasks per node are ranks of training", "--shards"),
]


@pytest.mark.parametrize(("options", "message", "choice"), WRONG, ids=[str(w[0])[:40] for w in WRONG])
def test_wrong_resources_are_refused_before_anything_is_written(
    cluster: Cluster,
    lab: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, object],
    message: str,
    choice: str,
) -> None:
    """Exit 2 with what is valid, and not a file more than before."""
    site(lab, options)
    before = left(lab)
    assert on_slurm(lab, *GEN, "--sampler", "uniform") == 2
    said = capsys.readouterr().err
    assert message in " ".join(said.split())
    assert choice in said
    assert left(lab) == before


def test_without_slurm_nothing_is_written(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a laptop, `--executor slurm` is a wrong word, not a broken run."""
    monkeypatch.setenv("PATH", str(lab))
    before = left(lab)
    assert on_slurm(lab, *GEN, "--sampler", "uniform") == 2
    assert "sbatch is not on PATH" in capsys.readouterr().err
    assert left(lab) == before
