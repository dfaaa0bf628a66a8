"""One question to squeue and one to sacct, however many jobs there are, and what is said when they do not answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.commands import smx

from smx.control.plan import decide
from smx.control.rebuild import ask_all, ingest_all
from smx.control.reservations import run_row
from smx.control.submit import Started, submit
from smx.control.sync import sync
from smx.errors import UserError
from smx.executors import Job
from smx.executors.slurm import Executor
from smx.processes import this_process
from smx.registry.store import Registry
from smx.resolve import Resolver
from smx.run import Run
from smx.runfolder import RunFolder, now
from smx.workspace import Workspace

RUNS = 7
CONFIG = "MaxArraySize = 3"
PARTITION = "PartitionName=gpu Default=YES MaxTime=2-00:00:00 Nodes=n1 State=UP"
NODE = "NodeName=n1 CPUTot=8 RealMemory=8000 Partitions=gpu"


class Cluster:
    """Commands that answer what they are told to, and count how often they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        case = f'case "$*" in *config*) echo "{CONFIG}";; *partition*) echo "{PARTITION}";; *) echo "{NODE}";; esac'
        self.answers("scontrol", case)
        self.answers("sbatch", f'wc -l < "{folder}/sbatch.calls"')
        self.answers("scancel", "")
        self.answers("squeue", "")
        self.answers("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")

    def answers(self, command: str, script: str) -> None:
        """From now on."""
        path = self.folder / command
        path.write_text(f'#!/bin/sh\necho "$@" >> "{path}.calls"\n{script}\n')
        path.chmod(0o755)

    def calls(self, command: str) -> int:
        """How often it was called since the last time we asked."""
        path = self.folder / f"{command}.calls"
        count = len(path.read_text().splitlines()) if path.exists() else 0
        path.unlink(missing_ok=True)
        return count


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """On PATH."""
    found = Cluster(tmp_path / "tools")
    monkeypatch.setenv("PATH", f"{found.folder}:/usr/bin:/bin")
    return found


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """Empty."""
    found = Workspace(tmp_path / "lab", "--workspace")
    found.root.mkdir()
    return found


def submit_all(space: Workspace, registry: Registry) -> None:
    """RUNS runs of one scene each."""
    options = {"count": 1, "frames": 16, "width": 32, "height": 32}
    request = {"sampler": "random", "frames": 2, "dataset": "rooms", "dataset_options": options}
    resolver = Resolver(space)
    cells = [cell for seed in range(RUNS) for cell in resolver.gen({**request, "seed": seed})]
    decisions = decide(cells, registry, asked=set(), retry=False)
    submit(space, registry, decisions, executor=("slurm", Executor(lost_after=0)))


@pytest.mark.parametrize("command", ["ls", "status", "report", "show {run}"])
def test_a_cluster_that_is_down_is_one_sentence(
    space: Workspace, cluster: Cluster, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """SLURM says in four lines that it is not there, of each of seven runs: nobody finds the runs between them."""
    with Registry.open(space.registry) as registry:
        submit_all(space, registry)
        (run, *_) = registry.runs()
    lines = (
        "error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host",
        "error: fetch_config: DNS SRV lookup failed",
        "error: _establish_config_source: failed to fetch config",
        "fatal: Could not establish a configuration source",
    )
    for tool in ("squeue", "sacct", "scontrol", "sbatch"):
        cluster.answers(tool, "".join(f"echo '{tool}: {line}' >&2\n" for line in lines) + "exit 1")
    capsys.readouterr()
    assert smx("-w", space.root, *command.format(run=run.fingerprint).split()) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unknown: ")]
    assert len(said) == 1, said
    assert said[0].endswith(" and 6 more: squeue: it finds no slurm.conf, and no controller by DNS")


def test_each_source_is_asked_once_and_what_is_down_is_said(space: Workspace, tmp_path: Path, cluster: Cluster) -> None:
    """A login node where every `smx status` starts thousands of squeues is a login node without users."""
    with Registry.open(space.registry) as registry:
        submit_all(space, registry)
        assert cluster.calls("sbatch") == 3, "one for each array of at most three tasks"
        handles = [row.handle or {} for row in registry.attempts()]
        tasks = [tuple(handle["shards"][0]) for handle in handles]
        lines = "".join(f"{job}|{k}|PENDING|{handles[0]['at']:.0f}|N/A||{name}|Priority\n" for job, k, name in tasks)
        (cluster.folder / "queue").write_text(lines)

        cluster.answers("squeue", f'cat "{cluster.folder}/queue"')
        assert sync(space, registry) == []
        assert {row.state for row in registry.attempts()} == {"pending"}
        assert (cluster.calls("squeue"), cluster.calls("sacct")) == (1, 1)

        cluster.answers("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
        doubts = sync(space, registry)
        assert len(doubts) == RUNS
        assert all("Unable to contact slurm controller" in doubt for doubt in doubts)
        assert all(row.live and row.unknown_since for row in registry.attempts())
        assert (cluster.calls("squeue"), cluster.calls("sacct")) == (1, 1)

        cluster.answers("squeue", "")  # forgets them, and slurmdbd is down: nobody knows
        cluster.answers("sacct", "echo 'error: slurm_persist_conn_open: Connection refused' >&2; exit 1")
        doubts = sync(space, registry)
        assert all("sacct cannot be asked" in doubt for doubt in doubts)
        assert all(row.live for row in registry.attempts())
        (cluster.calls("squeue"), cluster.calls("sacct"))

        (job, k, name), *rest = tasks
        lines = "".join(f"{j}_{i}|TIMEOUT|0:0|1|{5 + i}|65|n1||{n}\n{j}_{i}.0|CANCELLED|0:15|1|5|65|n1|7K|x\n"
                        for j, i, n in rest)  # fmt: skip
        (cluster.folder / "books").write_text(lines + f"{job}_{k}|CANCELLED by 0|0:0|1|5|65|n1||{name}\n")
        cluster.answers("sacct", f'cat "{cluster.folder}/books"')
        assert sync(space, registry) == []
        states = sorted(row.state for row in registry.attempts())
        assert states == ["cancelled", *["failed"] * (RUNS - 1)]
        assert {(row.usage or {}).get("memory") for row in registry.attempts()} == {None, 7 << 10}
        before = registry.attempts()
        assert (cluster.calls("squeue"), cluster.calls("sacct")) == (1, 1)

    cluster.answers("sacct", "")  # weeks later it has forgotten
    with Registry.open(tmp_path / "rebuilt.db") as registry:
        ingest_all(space, registry, ask_all(space))
        assert registry.attempts() == before
    assert (cluster.calls("squeue"), cluster.calls("sacct")) == (0, 0), "what SLURM said of ended jobs was kept"


def test_what_was_given_up_comes_back_when_it_is_heard_of(space: Workspace, tmp_path: Path, cluster: Cluster) -> None:
    """Lost otherwise: a job that goes on is called lost for ever, and `smx retry` makes its twin."""
    (space.root / "experiments").mkdir()
    (space.root / "experiments" / "site.yaml").write_text("executors: {slurm: {lost_after: 0}}")
    with Registry.open(space.registry) as registry:
        submit_all(space, registry)
        handles = [row.handle or {} for row in registry.attempts()]

        def queue(state: str) -> None:
            tasks = [(handle["at"], *handle["shards"][0]) for handle in handles]
            lines = [f"{job}|{k}|{state}|{at:.0f}|{at:.0f}|n1|{name}|None" for at, job, k, name in tasks]
            cluster.answers("squeue", "\n".join(f"echo '{line}'" for line in lines))

        with Registry.open(tmp_path / "rebuilt.db") as other:  # nobody has followed them: a doubt begins
            ingest_all(space, other, ask_all(space))
            assert all(row.live and row.unknown_since for row in other.attempts())
        assert len(sync(space, registry)) == RUNS
        assert sync(space, registry) == []
        assert {row.state for row in registry.attempts()} == {"lost"}
        cluster.answers("squeue", "exit 1")
        assert sync(space, registry) == []
        assert {row.state for row in registry.attempts()} == {"lost"}

        queue("RUNNING")
        assert sync(space, registry) == []
        assert all(row.live and row.failure is None for row in registry.attempts())
        queue("FAILED")
        sync(space, registry)
        assert {row.state for row in registry.attempts()} == {"failed"}

        (row, *_) = registry.attempts()
        run = registry.run(row.fingerprint)
        assert run is not None
        RunFolder(space.runs / run.folder).attempt(1).shard(0).end("done")  # started again by hand
        queue("COMPLETED")
        sync(space, registry)
        assert [other.state for other in registry.attempts(row.fingerprint)] == ["done"]


def test_a_task_cancelled_while_it_waited_is_not_lost(space: Workspace, cluster: Cluster) -> None:
    """Lost otherwise: SLURM keeps no record of it, and `smx retry` starts what somebody stopped."""
    (space.root / "experiments").mkdir()
    (space.root / "experiments" / "site.yaml").write_text("executors: {slurm: {lost_after: 0}}")
    with Registry.open(space.registry) as registry:
        submit_all(space, registry)
        tasks = [(row.handle or {})["shards"][0] for row in registry.attempts()]
        gone = next(task for task in tasks if task[1] == 1)
        lines = [f"{job}|{k}|PENDING|1|N/A||{name}|Priority" for job, k, name in tasks if [job, k, name] != gone]
        cluster.answers("squeue", "\n".join(f"echo '{line}'" for line in lines))
        assert len(sync(space, registry)) == 1, "one answer is a doubt"
        assert sync(space, registry) == []
        kinds = [row.failure["kind"] for row in registry.attempts() if row.failure]
        assert (kinds, sum(row.live for row in registry.attempts())) == (["cancelled"], RUNS - 1)


# Two login nodes


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """A thread of this name is a process on another login node: nobody here can look at it."""

    def process() -> dict[str, Any]:
        there = threading.current_thread().name == "login2"
        return {"host": "login2", "pid": 1, "start": 1} if there else this_process()

    monkeypatch.setattr("smx.control.submit.this_process", process)
    monkeypatch.setattr("smx.control.submit._QUIET", 0.0)
    return "login2"


def eval_and_its_gen(space: Workspace) -> tuple[Run, Run]:
    """A gen cell and an eval that looks at its frames."""
    small = {"bench_options": {"scenes": 1, "train_scenes": 1, "frames": 16}}
    gen, evaluation = Resolver(space).eval({"model": "tiny", "bench": "rooms", "frames": 2, **small})
    return gen, evaluation


def start(space: Workspace, registry: Registry, cells: Sequence[Run], executor: Executor, tell: Any = None) -> Started:
    """What `smx gen` or `smx eval` does once its cells are known."""
    decisions = decide(cells, registry, asked=set(), retry=False)
    return submit(space, registry, decisions, executor=("slurm", executor), tell=tell or (lambda line: None))


def test_an_eval_waits_for_frames_that_another_login_node_is_submitting(
    space: Workspace, cluster: Cluster, elsewhere: str
) -> None:
    """Two people type `smx run` at once: every run is submitted once, and none is cancelled for the other's sake."""
    gen, evaluation = eval_and_its_gen(space)
    begun, go = threading.Event(), threading.Event()

    class Slow(Executor):
        def submit(self, submission: str, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
            begun.set()
            assert go.wait(60)
            return super().submit(submission, folder, jobs)

    def gen_there() -> None:
        with Registry.open(space.registry) as registry:
            start(space, registry, [gen], Slow(lost_after=0))

    said: list[str] = []

    def tell(line: str) -> None:
        said.append(line)
        go.set()

    Registry.open(space.registry).close()
    there = threading.Thread(target=gen_there, name=elsewhere)
    there.start()
    assert begun.wait(60)
    with Registry.open(space.registry) as registry:
        started = start(space, registry, [gen, evaluation], Executor(lost_after=0), tell)
        there.join(60)
        assert [cell.kind for cell, _ in started.attempts] == ["eval"]
        assert [shard.exit() for _, attempt in started.attempts for shard in attempt.shards()] == [None]
        assert len(registry.attempts(live=True)) == 2
    assert said == [f"waiting for {gen.title}: another command (process 1 on login2) is submitting it, 300 s at most"]
    first, second = (cluster.folder / "sbatch.calls").read_text().splitlines()
    assert "--dependency" not in first
    assert "--dependency=afterok:1_0 " in second


def test_a_login_node_that_never_goes_on_leaves_the_eval_as_it_was(
    space: Workspace, cluster: Cluster, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be down. The eval is neither cancelled nor claimed for good: the same command does it later."""
    monkeypatch.setattr("smx.control.submit._ELSEWHERE", 0.0)
    gen, evaluation = eval_and_its_gen(space)
    with Registry.open(space.registry) as registry:
        registry.add_run(run_row(space, gen, now()))
        origin = {"submitter": {"host": elsewhere, "pid": 1, "start": 1}}
        items = [(gen.fingerprint, len(gen.items))]
        registry.reserve(items, submission="s", executor="slurm", provenance=origin)
        with pytest.raises(UserError, match=r"process 1 on login2\) has been submitting") as caught:
            start(space, registry, [gen, evaluation], Executor(lost_after=0))
        assert "type the same command again" in caught.value.hint
        assert [row.fingerprint for row in registry.attempts()] == [gen.fingerprint]
        found = registry.run(evaluation.fingerprint)
        assert found is not None
        assert found.state == "new"
    assert not evaluation.folder.exists()
    assert cluster.calls("sbatch") == 0
