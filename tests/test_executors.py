"""Executors: what is handed over is done once, in order, and can be watched and stopped from another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.processes import until

from smx import plugins
from smx.atomic_io import claim, read_json, write_json
from smx.errors import UserError
from smx.executors import BaseExecutor, Job, ShardStatus, _local_queue
from smx.executors.inline import Executor as Inline
from smx.executors.local import Executor as Local
from smx.processes import process, start_time, this_process
from smx.runfolder import AttemptFolder
from smx.states import SchedulerState

# Work for a job: it says that it began, waits for a file where it is told to, and ends as its items say.
ENTRIES = """
import os, signal, threading
from pathlib import Path
from smx.processes import this_process
from smx.runfolder import AttemptFolder

class Stop(BaseException):
    pass

def stop(*_):
    raise Stop

def work(folder, shard):
    attempt = AttemptFolder(folder)
    target = attempt.shard(shard)
    signal.signal(signal.SIGTERM, stop)
    target.begin()
    how, gate = attempt.plan["items"][shard]
    try:
        with Path(os.environ["BEGUN"]).open("ab", buffering=0) as file:
            file.write(f"{attempt.run.path.name} {shard}\\n".encode())
        target.beat(this_process())
        while gate and not Path(gate).exists():
            threading.Event().wait(0.02)
    except Stop:
        target.end("cancelled", reason="asked to stop")
        return 130
    if how == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    target.end(how)
    return 0
"""


class Place:
    """Attempts to hand to an executor, and what came of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.begun = root / "begun"
        self.gate = root / "gate"

    def job(self, name: str, *shards: str, after: Sequence[Job] = (), waits: bool = False) -> Job:
        """An attempt whose shards end as named (`done`, `failed`; `crash`: by SIGKILL); it may wait at the gate."""
        folder = self.root / "runs" / name / "attempts" / "1"
        items = [[how, str(self.gate) if waits else ""] for how in shards or ("done",)]
        write_json(folder / "plan.json", {"shards": [[] for _ in items], "items": items, "submitter": this_process()})
        return Job("entries:work", folder, len(items), tuple(job.folder for job in after))

    def ends(self, job: Job) -> list[str | None]:
        """How each shard says that it ended."""
        exits = [shard.exit() for shard in AttemptFolder(job.folder).shards()]
        return [None if end is None else end["how"] for end in exits]

    def reason(self, job: Job) -> str:
        """Why its first shard was cancelled."""
        end = AttemptFolder(job.folder).shard(0).exit()
        assert end is not None
        return str(end["reason"])

    def started(self) -> list[str]:
        """`name shard` of everything that began, in order."""
        return self.begun.read_text().splitlines() if self.begun.exists() else []

    def ended(self, *jobs: Job) -> None:
        """Wait until every shard has said how it ended."""
        until(lambda: all(None not in self.ends(job) for job in jobs), f"the end of {[j.folder for j in jobs]}")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Jobs can import their entry point; whatever still runs at the end is let through the gate."""
    (tmp_path / "entries.py").write_text(ENTRIES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("BEGUN", str(tmp_path / "begun"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "entries", raising=False)
    return Place(tmp_path)


def hand_over(executor: BaseExecutor, place: Place, *jobs: Job) -> list[dict[str, Any]]:
    """Submit as `smx` does: answers are written beside the attempts."""
    handles = [h for h in executor.submit("s1", place.root / "submission", jobs) if h is not None]
    assert len(handles) == len(jobs)
    for job, handle in zip(jobs, handles, strict=True):
        write_json(job.folder / "handle.json", handle)
    executor.drive()
    return handles


@pytest.fixture(params=["inline", "local"])
def executor(request: pytest.FixtureRequest) -> BaseExecutor:
    """Every executor that needs no scheduler, as its plugin is loaded."""
    found: BaseExecutor = plugins.load("executors", request.param)()
    return found


def test_every_shard_is_done_once_and_handles_are_plain_json(executor: BaseExecutor, place: Place) -> None:
    """What submit answers is all another process on another day has."""
    jobs = [place.job("a", "done", "done"), place.job("b", "failed")]
    handles = hand_over(executor, place, *jobs)
    place.ended(*jobs)
    assert sorted(place.started()) == ["a 0", "a 1", "b 0"]
    assert [place.ends(job) for job in jobs] == [["done", "done"], ["failed"]]
    assert json.loads(json.dumps(handles)) == handles
    again = type(executor)().poll(handles)
    assert [len(facts) for facts in again] == [2, 1]


def test_a_dependant_begins_after_its_producer_and_never_after_a_failed_one(
    executor: BaseExecutor, place: Place
) -> None:
    """An eval must not run on half a sample set; it says what it waited for in vain, and so on down the line."""
    good, bad = place.job("good"), place.job("bad", "failed")
    wants_good = place.job("wants-good", after=[good])
    wants_bad = place.job("wants-bad", after=[good, bad])
    last = place.job("last", after=[wants_bad])
    hand_over(executor, place, good, bad, wants_good, wants_bad, last)
    place.ended(good, bad, wants_good, wants_bad, last)
    assert place.started().index("good 0") < place.started().index("wants-good 0")
    assert "wants-bad 0" not in place.started()
    assert (place.ends(wants_bad), place.reason(wants_bad)) == (["cancelled"], "dependency bad did not succeed")
    assert place.reason(last) == "dependency wants-bad did not succeed"


def test_a_producer_of_an_earlier_submission_that_died_cancels_its_dependant(
    executor: BaseExecutor, place: Place
) -> None:
    """Its launcher and its process are gone and nobody will say so: nothing waits for it forever."""
    dead = {**this_process(), "start": 1}
    producers = [place.job("killed"), place.job("never-started"), place.job("never-planned")]
    write_json(producers[0].folder / "handle.json", {"executor": "inline", "process": dead, "shards": 1})
    plan = read_json(producers[1].folder / "plan.json")
    write_json(producers[1].folder / "plan.json", {**(plan or {}), "submitter": dead})
    (producers[2].folder / "plan.json").unlink()
    dependants = [place.job(f"after-{p.folder.parent.parent.name}", after=[p]) for p in producers]
    hand_over(executor, place, *dependants)
    place.ended(*dependants)
    assert [place.ends(d) for d in dependants] == [["cancelled"]] * 3
    assert place.started() == []


def test_an_entry_point_that_cannot_be_imported_is_the_shards_failure(executor: BaseExecutor, place: Place) -> None:
    """A broken installation shows in `smx show`, not only in a log nobody reads."""
    job = place.job("broken")
    broken = Job("no_such_module:work", job.folder)
    hand_over(executor, place, broken)
    place.ended(broken)
    end = AttemptFolder(job.folder).shard(0).exit()
    assert end is not None
    assert (end["how"], end["kind"]) == ("failed", "never-started")
    assert "no_such_module" in end["line"]


def test_inline_work_of_a_process_that_is_gone_is_ended_and_elsewhere_unknown() -> None:
    """A pid that another process has now is not the one that worked; on another host nothing can be said."""
    mine = this_process()
    places = [mine, {**mine, "start": mine["start"] + 1}, {**mine, "host": "elsewhere"}]
    handles = [{"executor": "inline", "process": p, "shards": 2} for p in places]
    words = [[fact.state for fact in facts] for facts in Inline().poll(handles)]
    assert words == [[SchedulerState.running] * 2, [SchedulerState.ended] * 2, [SchedulerState.unknown] * 2]


def test_no_more_tasks_run_at_once_than_there_are_slots(place: Place) -> None:
    """The machine is shared: the third task waits for one of two slots."""
    jobs = [place.job(f"j{k}", waits=True) for k in range(3)]
    local = Local(slots=2)
    handles = hand_over(local, place, *jobs)
    until(lambda: len(place.started()) == 2, "two tasks begin")
    words = [facts[0].state for facts in local.poll(handles)]
    assert sorted(words) == [SchedulerState.running, SchedulerState.running, SchedulerState.waiting]
    place.gate.touch()
    place.ended(*jobs)
    assert sorted(place.started()) == ["j0 0", "j1 0", "j2 0"]


def test_work_goes_on_after_the_command_that_started_it_has_ended(place: Place) -> None:
    """Closing the terminal kills the launcher's session, not the work."""
    job = place.job("a", waits=True)
    code = (
        "import sys; from pathlib import Path; from smx.executors import Job; from smx.executors.local import Executor;"
        "from smx.atomic_io import write_json;"
        "job = Job('entries:work', Path(sys.argv[1]));"
        "write_json(job.folder / 'handle.json', Executor(slots=1).submit('s1', Path(sys.argv[2]), [job])[0])"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, str(job.folder), str(place.root / "submission")],
        start_new_session=True,
    )
    assert launcher.wait() == 0
    until(place.started, "the task begins")
    place.gate.touch()
    place.ended(job)
    assert place.ends(job) == ["done"]


def test_a_killed_task_is_ended_and_its_dependant_cancelled(place: Place) -> None:
    """SIGKILL or out of memory: no exit.json, but the driver knows, and so does everyone who asks."""
    job = place.job("a", "crash")
    dependant = place.job("b", after=[job])
    handles = hand_over(Local(), place, job, dependant)
    place.ended(dependant)
    assert Local().poll(handles)[0] == [ShardStatus(SchedulerState.ended, Local().poll(handles)[0][0].where)]
    assert place.ends(job) == [None]
    assert place.reason(dependant) == "dependency a did not succeed"


def test_a_killed_driver_leaves_running_work_alone_and_waiting_work_absent(place: Place) -> None:
    """What runs ends well; what did not begin can be started again, and is not begun behind our back."""
    jobs = [place.job("a", waits=True), place.job("b", waits=True)]
    local = Local(slots=1)
    handles = hand_over(local, place, *jobs)
    until(place.started, "the first task begins")
    driver = read_json(place.root / "submission" / "driver.json")
    assert driver is not None
    os.kill(driver["pid"], signal.SIGKILL)
    until(lambda: start_time(driver["pid"]) is None, "the driver is gone")
    assert [facts[0].state for facts in local.poll(handles)] == [SchedulerState.running, SchedulerState.absent]
    place.gate.touch()
    place.ended(jobs[0])
    assert place.started() == ["a 0"]


def test_a_task_whose_driver_is_gone_does_not_begin(place: Place) -> None:
    """Started in the driver's last moment, it may have been given up and started elsewhere already."""
    job = place.job("a")
    folder = place.root / "submission"
    task = {"entry": job.entry, "folder": str(job.folder), "shard": 0, "after": []}
    write_json(folder / "queue.json", {"submission": "s1", "slots": 1, "tasks": [task]})
    write_json(folder / "driver.json", {**this_process(), "start": 1})
    assert _local_queue._task(folder, 0) == 1
    assert place.started() == []
    assert place.ends(job) == ["cancelled"]


def test_cancel_stops_what_runs_and_what_waits_and_leaves_the_rest(place: Place) -> None:
    """One run of several is cancelled: its dependant goes with it, the others are done."""
    running, waiting, other = place.job("a", waits=True), place.job("b"), place.job("c")
    dependant = place.job("d", after=[running])
    local = Local(slots=1)
    handles = hand_over(local, place, running, waiting, other, dependant)
    until(place.started, "the first task begins")
    local.cancel(handles[:2])
    place.ended(running, waiting, other, dependant)
    assert place.reason(running) == "asked to stop"
    assert place.reason(waiting) == "cancelled before it began"
    assert place.reason(dependant) == "dependency a did not succeed"
    assert place.ends(other) == ["done"]
    assert place.started() == ["a 0", "c 0"]
    local.cancel(handles)  # all over: nothing to stop
    assert place.ends(other) == ["done"]


def test_a_task_killed_by_cancel_before_it_could_say_so_is_cancelled_not_lost(place: Place) -> None:
    """SIGTERM while Python still starts leaves no exit.json; the wish to cancel is on record."""
    job = place.job("a", "crash")
    local = Local()
    handles = hand_over(local, place, job)
    until(lambda: local.poll(handles)[0][0].state == SchedulerState.ended, "the task is killed")
    write_json(place.root / "submission" / "task-0.cancel.json", {})
    assert local.poll(handles)[0][0].state == SchedulerState.cancelled


def test_cancel_never_signals_a_stranger_that_has_the_pid_now(place: Place) -> None:
    """Pids are used again; the start time tells."""
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    folder = place.root / "submission"
    record = process(stranger.pid)
    write_json(folder / "task-0.json", {**record, "start": record["start"] - 1})
    Local().cancel([{"executor": "local", "queue": str(folder), "tasks": [0, 1]}])
    assert stranger.poll() is None
    stranger.communicate(b"\n")
    assert stranger.returncode == 0


def test_a_driver_that_comes_up_after_it_was_given_up_does_nothing(place: Place) -> None:
    """Its launcher was killed at once and the runs are started again by someone else: not twice."""
    job = place.job("a")
    folder = place.root / "submission"
    task = {"entry": job.entry, "folder": str(job.folder), "shard": 0, "after": []}
    write_json(folder / "queue.json", {"submission": "s1", "slots": 1, "tasks": [task]})
    assert Local().recover("s1", folder, [job]) == [None]
    subprocess.run([sys.executable, "-m", "smx.executors._local_queue", str(folder)], check=True)
    assert place.started() == []
    assert Local().recover("s1", folder, [job]) == [None]  # asked again, the same answer


def test_handles_of_a_lost_answer_are_found_again(place: Place) -> None:
    """The launcher died after the driver came up: its work is recognised, not started again."""
    job = place.job("a", "done", "done")
    local = Local()
    handles = hand_over(local, place, job)
    place.ended(job)
    assert Local().recover("s1", place.root / "submission", [job]) == handles
    assert local.submit("s1", place.root / "submission", [job]) == handles
    assert sorted(place.started()) == ["a 0", "a 1"]


def test_a_dependant_waits_for_a_producer_in_its_queue_though_their_launcher_is_dead(place: Place) -> None:
    """No handle was written and the submitter is gone, but the driver knows that it still runs."""
    producer, bystander = place.job("a", waits=True), place.job("b")
    for job in (producer, bystander):
        plan = read_json(job.folder / "plan.json")
        write_json(job.folder / "plan.json", {**(plan or {}), "submitter": {**this_process(), "start": 1}})
    dependant = place.job("c", after=[producer])
    Local(slots=2).submit("s1", place.root / "submission", [producer, bystander, dependant])
    place.ended(bystander)  # the driver has looked at its queue again
    place.gate.touch()
    place.ended(producer, dependant)
    assert place.ends(dependant) == ["done"]


def test_fifty_runs_are_handed_over_by_starting_one_process(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitting costs a queue file and a driver, however many runs there are."""
    calls: list[list[str]] = []

    def counted(program: str, arguments: list[str], *_: Any, **__: Any) -> int:
        calls.append(arguments)
        return os.getpid()

    monkeypatch.setattr(os, "posix_spawn", counted)
    jobs = [place.job(f"j{k}") for k in range(50)]
    handles = Local().submit("s1", place.root / "submission", jobs)
    assert len(calls) == 1
    assert len({json.dumps(handle) for handle in handles}) == 50


def test_only_one_of_several_claims_a_file(tmp_path: Path) -> None:
    """What decides between a late driver and the command that gave it up."""
    assert [claim(tmp_path / "x.json", {"who": k}) for k in range(3)] == [True, False, False]
    assert read_json(tmp_path / "x.json") == {"who": 0}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_misspelt_parameter_of_submitit_is_named_without_slurm() -> None:
    """Lost otherwise: a typo in the site file is found by whoever types `smx run` on the cluster, and not before."""
    with pytest.raises(UserError, match="unknown parameter of submitit 'srun_arsg'") as error:
        plugins.load("executors", "slurm").parse({"submitit": {"slurm_srun_arsg": []}}, "executor slurm")
    assert "did you mean srun_args?" in error.value.hint
    assert "use_srun" not in error.value.hint, "smx sets that one itself"
