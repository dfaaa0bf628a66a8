"""The site file for SLURM, and how jobs become arrays; only `smx doctor` needs a cluster for it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from submitit.slurm.slurm import SlurmJobEnvironment
from support.commands import closed, smx

from slurm.cluster import Cluster
from slurm.following import GEN, on_slurm, settle
from slurm.following import site as site_file
from smx import doctor
from smx.errors import UserError
from smx.executors import Job
from smx.executors._slurm.array_executor import ArrayExecutor
from smx.executors._slurm.commands import Answer, environment
from smx.executors._slurm.commands import Cluster as ClusterInfo
from smx.executors._slurm.job_arrays import Part, divide
from smx.executors._slurm.limits import check
from smx.executors._slurm.options import Resources
from smx.executors._slurm.site_text import pick, site_text
from smx.executors.slurm import Executor
from smx.failures import classify
from smx.slurm import limits
from smx.workspace import builtin, site


def test_the_shipped_site_files_are_right() -> None:
    """What `smx init` copies is accepted as it is."""
    found = sorted((builtin("templates") / "sites").glob("*.yaml"))
    assert len(found) > 1
    for path in found:
        Executor.parse(site.read(path, path.parent).executors.get("slurm", {}), path.name)


def test_kinds_differ_and_a_command_line_differs_once() -> None:
    """gen without GPUs; a retry with twice the memory and time."""
    executor = Executor.parse(
        {"gpus": 2, "time": "90m", "memory": "10G", "kinds": {"gen": {"gpus": 0}, "train": {"time": "1-00:00:00"}}}, "x"
    )
    assert (executor.resources("gen").gpus, executor.resources("eval").gpus) == (0, 2)
    more = executor.resources("train", {"memory": "x2", "time": "x1.5"})
    assert (more.memory, more.time, more.gpus) == ("20480M", "1-12:00:00", 2)
    with pytest.raises(UserError, match="needs a memory to start from"):
        Executor().resources("gen", {"memory": "x2"})


def test_an_environment_is_written_as_anyone_would() -> None:
    """`OMP_NUM_THREADS: 4` needs no quotes; what YAML reads as yes or no does, as nobody knows what was meant."""
    executor = Executor.parse({"environment": {"OMP_NUM_THREADS": 4, "SCALE": 0.5}}, "executor slurm")
    assert executor.environment == {"OMP_NUM_THREADS": "4", "SCALE": "0.5"}
    with pytest.raises(UserError, match="DEBUG"):
        Executor.parse({"environment": {"DEBUG": True}}, "executor slurm")


@pytest.mark.parametrize("time", [60, 5400, "60", "1h30", "", [5], "0m", "00:00:00"])
def test_a_time_that_could_mean_two_things_is_refused(time: Any) -> None:
    """YAML and SLURM read bare numbers differently, so nobody's 60 becomes an hour or a minute by luck."""
    with pytest.raises(UserError, match="90m"):
        Executor.parse({"time": time}, "executor slurm")


@pytest.mark.parametrize(
    "line", ["--mail-type=FAIL", "--wait-all-nodes=1", "--nodelist=n1", "--hold", "-H", "--export=NONE"]
)
def test_a_site_may_add_what_smx_does_not_set(line: str) -> None:
    """Only what smx finds its jobs by is kept for itself."""
    assert Executor.parse({"sbatch": [line]}, "executor slurm").resources("gen").sbatch == [line]


def grid(gens: int, evals: int, shards: int = 1) -> list[Job]:
    """So many gens, and so many evals of each, which wait for it."""
    made = [Job("e:e", Path(f"/gen/{k}/attempts/1"), kind="gen") for k in range(gens)]
    asks = [(gen, f"/eval/{k}-{n}/attempts/1") for n in range(evals) for k, gen in enumerate(made)]
    return [*(Job("e:e", Path(path), shards, (gen.folder,), kind="eval") for gen, path in asks), *made]


def test_arrays_follow_resources_and_producers() -> None:
    """Producers first, one array per group, none longer than the cluster takes."""
    jobs = grid(2, 3, shards=3)
    parts = divide(jobs, {job.folder: Resources(gpus=int(job.kind == "eval")) for job in jobs}, 8)
    assert [part.array for part in parts] == ["0-1", "0-7", "0-0", "0-7", "0-0"]
    assert {job.kind for job, _ in parts[0].tasks} == {"gen"}
    assert [part.after for part in parts[1:]] == [(Path(f"/gen/{k}/attempts/1"),) for k in range(2) for _ in range(2)]
    tasks = [task for part in parts for task in part.tasks]
    assert len({(job.folder, shard) for job, shard in tasks}) == len(tasks) == 20


def test_evals_with_gens_of_their_own_are_one_array_beside_theirs() -> None:
    """Lost otherwise: a call of sbatch for each of them, 41 for 80 tasks."""
    jobs = grid(40, 1)
    jobs[3] = replace(jobs[3], after=())  # its frames are there already
    parts = divide(jobs, {job.folder: Resources(throttle=32) for job in jobs}, 1000)
    assert [(p.array, p.beside, p.turn) for p in parts] == [("0-40%32", None, ()), ("1-3,5-40%32", 0, (0,))]
    gens = dict(zip(parts[0].indices, parts[0].tasks, strict=True))
    assert all(job.after == (gens[k][0].folder,) for k, (job, _) in zip(parts[1].indices, parts[1].tasks, strict=True))
    assert len(divide(grid(40, 2), {job.folder: Resources() for job in grid(40, 2)}, 1000)) == 3


@given(st.integers(1, 12), st.integers(1, 3), st.integers(1, 40), st.integers(2, 16), st.booleans())
def test_no_more_tasks_run_at_once_than_the_throttle_says(
    gens: int, evals: int, throttle: int, most: int, own: bool
) -> None:
    """Lost otherwise: a throttle of 2 lets 12 evals run, and one of 32 makes 40 gens wait for each other."""
    jobs = grid(gens, evals)
    ask = {job.folder: Resources(throttle=throttle, gpus=int(job.kind == "eval")) for job in jobs}
    parts = divide(jobs, ask, most, {job.folder: job.kind for job in jobs} if own else None)
    for kinds in ({"gen"}, {"eval"}) if own else ({"gen", "eval"},):
        open_ = [part for part in parts if part.tasks[0][0].kind in kinds]
        before: set[int] = set()
        tasks = sum(len(part.tasks) for part in open_)
        while open_:  # in waves: all whose turn has come
            wave = [part for part in open_ if set(part.turn) <= before]
            at_once = sum(part.throttle or len(part.tasks) for part in wave)
            assert 0 < at_once <= throttle
            before |= {part.number for part in wave}
            open_ = [part for part in open_ if part not in wave]
        if tasks <= throttle:
            assert all(not part.turn for part in parts if part.tasks[0][0].kind in kinds)


def test_a_canary_goes_before_everything_of_its_kind() -> None:
    """Its first shard is an array of its own; all else of the kind waits for it and takes no throttle."""
    carrier = Path("/eval/0/attempts/1")
    gen = Job("e:e", Path("/gen/0/attempts/1"), kind="gen")
    evals = [
        Job("e:e", Path(f"/eval/{k}/attempts/1"), 2, (gen.folder,) if k == 1 else (), kind="eval", canary=carrier)
        for k in range(3)
    ]
    ask = {job.folder: Resources(throttle=8) for job in (gen, *evals)}
    parts = divide([*evals, gen], ask, 100)
    assert [(p.first, p.behind, p.array) for p in parts] == [
        (True, None, "0-0"),
        (False, None, "0-0%1"),
        (False, carrier, "0-2%3"),
        (False, carrier, "0-1%2"),
    ]
    assert [(job.folder, shard) for job, shard in parts[0].tasks] == [(carrier, 0)]
    assert parts[3].after == (gen.folder,)


def test_more_is_a_multiple_of_what_the_last_attempt_asked_for() -> None:
    """Not of the site file's: a run that was given 20G and failed is not tried with 20G again."""
    executor = Executor.parse({"time": "1h", "memory": "10G", "exclude": ["n7"]}, "x")
    before = {"memory": "20480M", "time": "02:00:00", "gpus": 1}
    wanted = {"memory": "x2", "time": "3h", "exclude": ["n1", "n7"]}
    assert executor.scaled_resources("eval", before, wanted) == {
        "memory": "40960M",
        "time": "03:00:00",
        "exclude": ["n7", "n1"],
    }
    assert executor.scaled_resources("eval", {}, {"memory": "x2"}) == {"memory": "20480M"}
    with pytest.raises(UserError, match="memory"):
        executor.scaled_resources("eval", before, {"memory": "twice"})


def script(ask: Resources) -> str:
    """What submitit writes for an array of two tasks."""
    job = Job("e:e", Path("/gen/0/attempts/1"), 2, kind="gen", code=Path("/code"))
    return ArrayExecutor(Part(0, ask, ((job, 0), (job, 1)), ()), "a").text()


NASTY = 'it\'s "odd" $(touch pwned) `touch pwned` ; touch pwned # ü'


def test_no_value_runs_as_a_command(tmp_path: Path) -> None:
    """Every option of the site file that reaches the script as text stays text."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("srun", "module"):
        (tools / name).write_text('#!/bin/bash\nprintf "%s\\n" "$0" "$@" "$ODD" >> said\n')
        (tools / name).chmod(0o755)
    ask = Resources.model_validate(
        dict.fromkeys(("partition", "account", "qos", "constraint", "comment", "wckey", "gpu_type"), NASTY)
        | {"gpus": 1, "modules": [NASTY], "container": [NASTY], "python": NASTY, "srun": [NASTY], "exclude": [NASTY]}
        | {"environment": {"ODD": NASTY + "\nsecond line"}}
    )
    written = script(ask)
    subprocess.run(["bash", "-c", written], cwd=tmp_path, env={"PATH": f"{tools}:/usr/bin:/bin"}, check=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["said", "tools"]
    assert (tmp_path / "said").read_text().count(NASTY) == 6


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"modules": ["nosuch"]}, "module load nosuch"),
        ({"conda": "env"}, 'smx_hook="$(conda shell.bash hook)"'),
        ({"prologue": ["if true; then", "  cd /no/such", "fi"]}, "cd /no/such"),
        ({"prologue": ["[ -d /no/such ] && cd /no/such", "if false; then", "false", "fi"]}, ""),
    ],
    ids=["modules", "conda", "inside an if", "only a question"],
)
def test_no_work_in_a_broken_environment(tmp_path: Path, asked: dict[str, Any], line: str) -> None:
    """Lost otherwise: runs that are done in another environment than the one the site file names."""
    for name, code in (("srun", "touch worked"), ("module", "exit 3")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{code}\n")
        (tmp_path / name).chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = ["bash", "-c", script(Resources.parse(asked, "x"))]
    job = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, check=False)
    assert (tmp_path / "worked").exists() is not bool(line)
    failure = classify(log=job.stderr, record={"state": "FAILED", "exit": "1:0"}, began=False)
    if line:
        assert job.returncode
        assert (failure.kind, line in failure.line) == ("never-started", True)


def test_submitit_sends_nothing_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: a limit of 5 minutes, a wckey the cluster rejects, a signal that no task listens to."""
    monkeypatch.setattr(SlurmJobEnvironment, "USR_SIG", "USR1")  # as SUBMITIT_PREEMPT_SIGNAL in a shell's profile does
    options = {line.split("=")[0] for line in script(Resources()).splitlines() if line.startswith("#SBATCH")}
    ours = (
        "array",
        "comment",
        "error",
        "job-name",
        "nodes",
        "ntasks-per-node",
        "open-mode",
        "output",
        "requeue",
        "signal",
    )
    assert options == {f"#SBATCH --{name}" for name in ours}
    assert "#SBATCH --signal=USR2@120\n" in script(Resources())


def test_a_surrounding_job_is_not_passed_on() -> None:
    """smx run inside a job submits like smx run outside; only where the configuration lies is kept."""
    inside = {"SLURM_JOB_ID": "1", "SBATCH_PARTITION": "x", "PMI_RANK": "0", "PMIX_ID": "1", "SRUN_DEBUG": "1"}
    kept = environment({**inside, "SLURM_CONF": "/etc/slurm.conf", "HOME": "/home/x"})
    assert kept == {
        "SLURM_CONF": "/etc/slurm.conf",
        "HOME": "/home/x",
        "SLURM_TIME_FORMAT": "%s",
        "SLURM_BITSTR_LEN": "0",
    }


@pytest.mark.parametrize(
    ("out", "wanted"),
    [("123\n", "123"), ("123;cluster\n", "123"), ("Note 2027\n77\n", "77"), ("1\n2\n", None), ("", None)],
)
def test_the_id_in_an_answer(out: str, wanted: str | None) -> None:
    """Two numbers are a doubt, not a choice."""
    assert ArrayExecutor._get_job_id_from_submission_command(out) == (wanted or "")


@pytest.mark.parametrize(
    ("words", "doubtful"),
    [
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", True),
        ("sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received", True),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", False),
        ("sbatch: error: invalid partition specified: nowhere", False),
    ],
)
def test_what_leaves_a_doubt(words: str, doubtful: bool) -> None:
    """A broken connection may have made the job; a refusal has not."""
    assert Answer(False, words=words, code=1).doubtful is doubtful


@pytest.mark.parametrize(("code", "doubtful"), [(-9, True), (137, True), (None, True), (1, False), (255, False)])
def test_a_killed_command_leaves_a_doubt(code: int | None, doubtful: bool) -> None:
    """The login node kills what takes too much; it may have reached the controller before."""
    assert Answer(False, code=code).doubtful is doubtful


CONFIG = "ClusterName = lab\nMaxArraySize = 1001\n"
PARTITIONS = """PartitionName=cpu Default=NO State=UP MaxTime=2-00:00:00 Nodes=c[1-2]
PartitionName=gpu Default=YES State=UP MaxTime=08:00:00 Nodes=g1
PartitionName=long Default=NO State=UP MaxTime=UNLIMITED Nodes=g1
PartitionName=old Default=NO State=DOWN MaxTime=UNLIMITED Nodes=g1"""
NODES = """NodeName=c1 CPUTot=64 RealMemory=128000 Gres=(null) Partitions=cpu
NodeName=c2 CPUTot=64 RealMemory=128000 Gres=(null) Partitions=cpu
NodeName=g1 CPUTot=64 RealMemory=512000 Gres=gpu:h100:4 Partitions=gpu,long,old"""
HERE = ClusterInfo(limits.config(CONFIG), limits.partitions(PARTITIONS), limits.nodes(NODES))


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, "cpu"),
        ({"gpus": 1}, "gpu"),
        ({"gpus": 4, "time": "12h"}, "long"),
        ({"memory": "400G"}, "gpu"),
        ({"gpus": 1, "gpu_type": "a100"}, ""),
    ],
)
def test_auto_is_the_partition_that_fits(asked: dict[str, Any], wanted: str) -> None:
    """Lost otherwise: whoever is new there asks around which queue is for what, or waits for ever in the wrong one."""
    ask = Resources.parse({"partition": "auto", **asked}, "x")
    if wanted:
        partition, why = pick(HERE, ask, "eval")
        assert partition.name == wanted
        assert "nodes of" in why
    else:
        with pytest.raises(UserError, match="no partition fits"):
            pick(HERE, ask, "eval")


def test_a_written_site_file_is_right_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lost otherwise: the first thing a new lab sees of smx on its cluster is a refusal by SLURM."""
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    text = site_text(HERE, ["lab", "other"], ["normal"])
    (tmp_path / "site.yaml").write_text(text)
    written = site.read(tmp_path / "site.yaml", tmp_path)
    executor = Executor.parse(written.executors["slurm"], "x")
    for kind, partition, gpus, memory in (("gen", "cpu", 0, "8192M"), ("eval", "gpu", 1, "121600M")):
        asked = executor.resources(kind)
        check(HERE, asked, kind)
        assert (asked.partition, asked.gpus, asked.memory, asked.account) == (partition, gpus, memory, "lab")
    assert executor.resources("train").time == "08:00:00"
    assert "storage: {runs: $SCRATCH/smx/runs" in text


def test_a_workspace_is_set_up_on_a_cluster(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command, and SLURM takes what it wrote; what is there already is nobody's to write over."""
    assert smx("init", "--slurm", tmp_path / "new") == 0
    found = tmp_path / "new" / "experiments" / "site.yaml"
    text = found.read_text()
    capsys.readouterr()
    smx("-w", tmp_path / "new", "doctor", "--json")
    levels = {f["about"]: f["level"] for f in json.loads(capsys.readouterr().out)}
    assert {levels[f"slurm {kind}"] for kind in ("gen", "train", "eval")} == {"ok"}
    assert smx("init", "--slurm", tmp_path / "new") == 2
    assert smx("-w", tmp_path / "new", "doctor", "--write-site") == 2
    assert found.read_text() == text


# What the cluster itself says of a site file


def told(lab: Path, capsys: pytest.CaptureFixture[str], code: int, **options: object) -> dict[str, str]:
    """`smx doctor` with these options: what it says about SLURM, by subject, each after its level."""
    site_file(lab, options)
    capsys.readouterr()
    assert smx("-w", lab, "doctor", "--json") == code
    said: dict[str, str] = {}
    for found in json.loads(capsys.readouterr().out):
        said[found["about"]] = said.get(found["about"], "") + f"{found['level']}: {found['text']} -> {found['hint']}\n"
    return said


def test_doctor_on_a_cluster_with_accounting(
    cluster: Cluster, lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a site file gets wrong, after the real partitions, GPUs and accounts; nothing is submitted."""
    monkeypatch.setattr(doctor, "software", tuple)
    found = told(
        lab, capsys, 0, partition="main", gpus=2, gpu_type="a100", kinds={"gen": {"partition": "short", "time": "1m"}}
    )
    assert re.match(
        r"ok: slurm\S* \d+\.\d+.*cluster smxtest, 4 nodes, partitions main\*, again, spare, urgent, short, drained",
        found["slurm"],
    )
    assert found["accounting"].startswith("ok: on; your accounts: root")
    assert found["slurm gen"].startswith("ok: partition short, 00:01:00")
    assert found["slurm train"].startswith("ok: partition main, 00:05:00, 200M, 2 GPUs (a100)")
    wrong: list[tuple[dict[str, object], str]] = [
        ({"partition": "mian"}, "did you mean main?"),
        ({"time": "2h"}, "over the limit of partition main: 01:00:00"),
        ({"gpus": 1, "gpu_type": "h100"}, "unknown GPU type 'h100'"),
        ({"gpus": 5}, "no node of partition main has more than 4"),
        ({"partition": "drained"}, "takes no jobs now"),
        ({"qos": "nromal"}, "did you mean normal?"),
        ({"constraint": "nvlink"}, "sbatch refuses it: "),
    ]
    for options, words in wrong:
        found = told(lab, capsys, 1, **options)
        assert {found[f"slurm {kind}"].partition(":")[0] for kind in ("gen", "train", "eval")} == {"problem"}
        assert words in found["slurm eval"]
    assert "did you mean srun_args?" in str(told(lab, capsys, 1, submitit={"srun_arsg": []}))
    nobody = told(lab, capsys, 0, account="nobody", kinds={"eval": {"account": "root"}})
    assert nobody["slurm gen"].startswith("warning: account 'nobody' is none of yours -> valid: root\nok: ")
    assert nobody["slurm eval"].startswith("ok: ")
    cluster.stop_accounting()
    try:
        assert told(lab, capsys, 0)["accounting"].startswith("warning: on, but it does not answer")
    finally:
        cluster.start_accounting()
    assert cluster.run("squeue", "-h", "-t", "all", "-n", "smx-doctor") == ""


def test_doctor_on_a_cluster_without_accounting(
    bare_cluster: Cluster, lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accounts are then nobody's to check; with the controller down nothing is, and that is a problem."""
    monkeypatch.setattr(doctor, "software", tuple)
    found = told(lab, capsys, 0, account="anything")
    assert found["accounting"].startswith("ok: off")
    assert found["slurm gen"].startswith("ok: partition default, 00:05:00, 200M, no GPU, account anything")
    bare_cluster.stop_controller()
    try:
        assert "SLURM does not answer" in told(lab, capsys, 1)["slurm"]
    finally:
        bare_cluster.start_controller()


def test_what_jobs_make_in_a_shared_workspace_is_the_groups(cluster: Cluster, lab: Path) -> None:
    """doctor's `shared` line holds for jobs: SLURM hands the umask of the submission on to them."""
    lab.chmod(0o2770)
    before = os.umask(0o077)
    try:
        for folder in (lab / "experiments", *(lab / "experiments").rglob("*")):
            folder.chmod(0o2770 if folder.is_dir() else 0o660)
        assert on_slurm(lab, *GEN, "--sampler", "uniform", "--shards", 2) == 0
        (run,) = settle(lab)
    finally:
        os.umask(before)
    assert (run.state, run.done) == ("done", 4)
    assert closed(lab) == []
