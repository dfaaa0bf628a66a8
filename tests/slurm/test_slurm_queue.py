"""What happens to jobs while they wait: old code, canaries, brakes, limits that come too soon."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.commands import smx

from slurm.cluster import Cluster, until
from slurm.following import ASKED, BEGUN, EVAL, GEN, attempt_of, check, ended, job_of, look, on_slurm, settle, site
from smx import plugins
from smx.atomic_io import read_json
from smx.control.reservations import submission_folder
from smx.executors._slurm import circuit_breaker, task_stop
from smx.failures import streak
from smx.registry.rows import AttemptRow
from smx.runfolder import ShardFolder
from smx.workspace import find

WHOLE = '''"""Frames at random."""
from smx.samplers.random import Sampler as Random

class Sampler(Random):
    pass
'''
BROKEN = WHOLE.replace(
    "pass",
    """def choose(self, view, n, seed):
        raise RuntimeError('half an edit')
""",
)


@pytest.fixture(autouse=True)
def _only_this_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler of the same name in a lab seen before comes first: this process knows all of them."""
    monkeypatch.setattr(plugins, "_extra_folders", [])


def sampler(lab: Path, text: str) -> None:
    """The lab's own sampler `first`."""
    folder = lab / "experiments" / "plugins" / "samplers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "first.py").write_text(text)


def begun(lab: Path) -> list[str]:
    """Items that began, in order."""
    return (lab.parent / BEGUN).read_text().split()[1::2]


def live(lab: Path) -> list[AttemptRow]:
    """Attempts that run or wait, after a look at them."""
    return [attempt for attempt in look(lab)[1] if attempt.live]


OOM = {"kind": "oom-gpu", "line": "CUDA out of memory", "group": "oom"}
OTHER = {"kind": "python", "line": "KeyError: 'x'", "group": "key"}
DEAD = {"kind": "node-fail", "line": "its node failed", "group": "node"}


@pytest.mark.parametrize(
    ("ends", "count"),
    [
        ([OOM, OOM, OOM], 3),
        ([OTHER, OOM, OOM], 2),
        ([OOM, OOM, None, OOM], 1),
        ([OOM, DEAD, OOM], 2),
        ([OOM, OOM, None], 0),
        ([DEAD, DEAD], 0),
        ([], 0),
    ],
    ids=["the same", "another before", "one did well", "a node died in between", "the last did well", "nodes", "none"],
)
def test_only_the_same_failure_in_a_row_counts(ends: list[dict[str, str] | None], count: int) -> None:
    """An array is not held for failures that have nothing to do with each other, or with the tasks to come."""
    found = streak((f"2027-01-01T00:00:0{k}Z", end) for k, end in enumerate(ends))
    assert (found.count if found else 0) == count


@pytest.mark.parametrize(
    ("items", "counts"),
    [
        ("FF", True),
        ("F", False),
        ("DF", False),
        ("Fd", False),
    ],
    ids=["every item", "its only item", "one of two", "two of two in different ways"],
)
def test_single_bad_items_hold_nothing(tmp_path: Path, items: str, counts: bool) -> None:
    """Five shards with a broken scene each are five broken scenes, not a broken experiment."""
    shard = ShardFolder(tmp_path)
    for number, how in enumerate(items):
        error = {"kind": "python", "line": "KeyError", "group": how}
        shard.append({"item": str(number), "ok": how == "D", "error": error})
    shard.end("failed", kind="items", line="items failed")
    found = circuit_breaker._failure(shard, shard.exit() or {})
    assert (found is not None) is counts


def test_a_job_that_waits_runs_the_code_it_was_submitted_with(cluster: Cluster, lab: Path) -> None:
    """A plugin broken while the job is held in the queue: nothing of that reaches the job."""
    site(lab, {"sbatch": ["--hold"]})
    sampler(lab, WHOLE)
    assert on_slurm(lab, *GEN, "--sampler", "first") == 0
    sampler(lab, BROKEN)
    assert look(lab)[1][0].reason == "held by its owner (scontrol release) (JobHeldUser)"
    cluster.run("scontrol", "release", job_of(lab))
    settle(lab)
    assert ended(lab) == ["gen done 4/4"]


def test_each_eval_stands_beside_its_gen_and_falls_with_it(cluster: Cluster, lab: Path) -> None:
    """Two arrays for six runs; of a gen that fails, only its own eval is cancelled."""
    sampler(lab, BROKEN)
    site(lab, {"throttle": 3})
    assert on_slurm(lab, *EVAL, "--sampler", "uniform,first,random", "--frames", "4") == 0
    runs = settle(lab)
    folder = submission_folder(find(lab), attempt_of(lab, runs[0]).plan["submission"])
    assert len((read_json(folder / "parts.json") or {})["names"]) == 2
    check(
        lab,
        *[*["gen done 2/2"] * 2, "gen failed 0/2 python"],
        *[*[f"eval done {ASKED}/{ASKED}"] * 2, f"eval cancelled 0/{ASKED} dependency"],
    )


def test_two_items_go_first_and_nothing_is_done_twice(
    cluster: Cluster, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The canary's items are part of the run: the array that follows does the others."""
    assert on_slurm(lab, *GEN, "--sampler", "random", "--seed", "0,1", "--canary") == 0
    assert "go first, the rest of its kind waits" in capsys.readouterr().err
    runs = settle(lab)
    assert ended(lab) == ["gen done 4/4"] * len(runs)
    first = begun(lab)[:2]
    plans = {run.folder: attempt_of(lab, run).plan for run in runs}
    carrier = plans[f"gen/{plans[runs[0].folder]['canary']['run']}"]
    folder = submission_folder(find(lab), carrier["submission"])
    tasks = [len((read_json(folder / f"{k}.json") or {})["tasks"]) for k in range(2)]
    assert tasks == [1, len(runs)]
    assert sorted(first) == sorted(item["id"] for item in carrier["shards"][0])
    assert len(begun(lab)) == 4 * len(runs)


def test_a_failed_canary_stops_what_waits_for_it(cluster: Cluster, lab: Path) -> None:
    """Two items are spent instead of eight, and the others say why they never began."""
    sampler(lab, BROKEN)
    assert on_slurm(lab, *GEN, "--sampler", "first", "--seed", "0,1", "--canary") == 0
    runs = settle(lab)
    assert len(begun(lab)) == 2
    failures = [a.failure for a in look(lab)[1]]
    assert sorted(f["kind"] for f in failures if f) == ["dependency", "python"]
    sampler(lab, WHOLE)
    assert smx("-w", lab, "retry", "--mem", "x99") == 2  # no node has so much
    assert smx("-w", lab, "retry", "--mem", "x2") == 0
    again = settle(lab)[len(runs) :]  # other code makes other runs
    assert [run.state for run in again] == ["done"] * len(runs)
    assert {attempt_of(lab, run).plan["resources"]["memory"] for run in again} == {"400M"}


@pytest.mark.parametrize("which", ["by the tasks themselves", "by sync"])
def test_an_array_that_keeps_failing_is_held(
    cluster: Cluster, lab: Path, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    """Three failures of the same kind are enough; mended, retry starts all of them anew, with the new code."""
    options: dict[str, object] = {"hold_after": 3, "throttle": 1}
    if which == "by sync":
        options |= {"python": "/no/such/python", "prologue": ["sleep 2"]}
    site(lab, options)
    sampler(lab, BROKEN)
    assert on_slurm(lab, *GEN, "--sampler", "first", "--seed", ",".join(map(str, range(8)))) == 0
    until("what is left is held", lambda: all((a.reason or "").startswith("held: ") for a in live(lab)), 120, 0.3)
    assert len(live(lab)) >= 3
    capsys.readouterr()
    assert smx("-w", lab, "status") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "in a row failed the same way" in told
    assert "smx retry" in told
    sampler(lab, WHOLE)
    site(lab, {})
    assert smx("-w", lab, "retry") == 0
    again = settle(lab)[8:]  # other code makes other runs
    assert [run.state for run in again] == ["done"] * 8


@pytest.mark.parametrize(
    ("starts", "items", "began", "limit", "in_vain"),
    [
        ([(1, "")], 1, -3600, 100, True),
        ([(1, "")], 2, -3600, 100, False),
        ([(1, "")], 1, -3600, 1000, False),
        ([(1, "")], 1, -5, 55, False),
        ([(1, ""), (1, "limit")], 1, -5, 55, True),
        ([(1, ""), (1, "preempted")], 1, -5, 55, False),
        ([(0, ""), (1, "limit")], 1, -5, 55, False),
    ],
    ids=[
        *("nothing within an hour", "one item", "told long before its end", "a limit of a minute"),
        *("nothing in two starts", "preempted before", "one item the start before"),
    ],
)
def test_a_time_limit_that_no_item_fits_in_is_not_met_again(
    tmp_path: Path, starts: list[tuple[int, str]], items: int, began: int, limit: int, in_vain: bool
) -> None:
    """One item takes longer than the partition allows: no more GPU hours go into it. Preemption is another matter."""
    shard = ShardFolder(tmp_path / "shards" / "0")
    shard.begin()
    (tmp_path / "plan.json").write_text(json.dumps({"shards": [[{"id": str(k)} for k in range(3)]]}))
    for number in range(items):
        shard.append({"item": str(number), "ok": True})
    lines = [json.dumps({"at": "2027-01-01T00:00:00Z", "items": n, "after": after}) for n, after in starts]
    (shard.path / "starts.jsonl").write_text("\n".join(lines))
    now = time.time()
    part = {"grace": 120, "requeue": 0}
    code = task_stop.again(shard, part, 0, task_stop.JobTimes(now + began, now + limit))
    end = shard.exit() or {}
    assert (code, end["how"], end.get("kind")) == ((1, "failed", "timeout") if in_vain else (75, "preempted", None))
    if in_vain:
        assert end["line"] == f"{items} was not finished within the time limit"
    task_stop.again(shard, part, 0, task_stop.JobTimes(now + began, now + limit, preempted=True))
    assert (shard.exit() or {})["how"] == "preempted"


DEAF = '''"""Frames at random; where a file is found, after one call that does not come back."""
import ctypes
from pathlib import Path
from smx.samplers.random import Sampler as Random

class Sampler(Random):
    def choose(self, view, n, seed):
        if (flag := Path({flag!r})).exists():
            flag.unlink()
            lock, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
            library.pthread_mutex_lock(lock)
            library.pthread_mutex_lock(lock)  # it is ours already: no signal ends this
        return super().choose(view, n, seed)
'''


def test_one_long_call_does_not_cost_the_run_its_next_start(cluster: Cluster, lab: Path, tmp_path: Path) -> None:
    """Work that cannot answer the signal, deep in a library, is left in time to ask for another start."""
    flag = tmp_path / "deaf"
    flag.touch()
    sampler(lab, DEAF.format(flag=str(flag)))
    site(lab, {"grace": 8})
    assert on_slurm(lab, *GEN, "--sampler", "first") == 0
    until("the call begins", lambda: not flag.exists())
    job = job_of(lab)
    cluster.run("scancel", "--signal=USR2", job)
    cluster.runs_again(job)
    settle(lab)
    in_hand = (lab.parent / BEGUN).read_text().splitlines()[0]
    check(lab, "gen done 4/4", in_hand={in_hand})
