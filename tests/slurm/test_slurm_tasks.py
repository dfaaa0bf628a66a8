"""What a task decides before and after its work, and what is no answer of SLURM's; its words are recorded ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from smx.executors._slurm import array_task, commands
from smx.runfolder import AttemptFolder, RunFolder

Say = Callable[..., None]
ROW = "{job}|{index}|{state}|1800000000|1800000000|n1|{name}|None"


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """A PATH on which SLURM's commands are shell scripts; each may be given, by its name."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def scripts(**given: str) -> None:
        for name, text in given.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)

    scripts(squeue="exit 0", scontrol=f'echo "$@" >> {tmp_path}/asked')
    return scripts


def attempt(path: Path, *ends: str | None, handle: bool = True) -> AttemptFolder:
    """A run's first attempt with a shard for each of `ends`: how its exit.json says it ended, None without one."""
    made = RunFolder(path).attempt(1)
    made.path.mkdir(parents=True)
    (made.path / "plan.json").write_text(json.dumps({"shards": [[{"id": "a"}] for _ in ends], "of": len(ends)}))
    for k, end in enumerate(ends):
        made.shard(k).begin()
        if end:
            made.shard(k).end(end)
    if handle:
        shards = [["7", k, f"smx-{path.name}-0"] for k in range(len(ends))]
        (made.path / "handle.json").write_text(json.dumps({"executor": "slurm", "shards": shards}))
    return made


def work(folder: Path, shard: int) -> int:
    """Entry of the tasks here."""
    AttemptFolder(folder).shard(shard).end("done")
    return 0


def begin(
    monkeypatch: pytest.MonkeyPatch, mine: AttemptFolder, *after: AttemptFolder, job: str = "12", restart: int = 0
) -> int:
    """Run the only task of an array that is for `mine`, which waits for `after`."""
    folder = mine.run.path.parent / "submission"
    folder.mkdir(exist_ok=True)
    task = {"folder": os.path.relpath(mine.path, folder), "shard": 0, "behind": None}
    task["after"] = [os.path.relpath(each.path, folder) for each in after]
    part = {"name": "smx-x-0", "entry": f"{__name__}:work", "cwd": str(Path.cwd()), "tasks": {"0": task}}
    (folder / "0.json").write_text(json.dumps({**part, "requeue": 1, "grace": 9, "hold_after": 0}))
    for key, value in {"ARRAY_JOB_ID": job, "ARRAY_TASK_ID": "0", "JOB_ID": job, "JOB_NAME": "smx-x-0"}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
    return array_task.main(folder / "0.json")


@pytest.mark.parametrize(
    ("ends", "state", "restart", "how", "why"),
    [
        (["done", "done"], "", 0, "done", ""),
        (["done", "failed"], "", 0, "cancelled", "did not succeed"),
        (["done", None], "", 0, "cancelled", "SLURM knows no job of it any more"),
        (["done", None], "FAILED", 0, "cancelled", "squeue says FAILED"),
        (["done", None], "RUNNING", 0, "preempted", "squeue says RUNNING"),
        (["done", None], "RUNNING", 1, "cancelled", "squeue says RUNNING"),
    ],
    ids=["done", "failed", "forgotten", "killed", "still at work", "still at work after all waiting"],
)
def test_nothing_begins_before_what_it_needs_is_done(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    say: Say,
    ends: list[str | None],
    state: str,
    restart: int,
    how: str,
    why: str,
) -> None:
    """Lost otherwise: SLURM takes `afterok` on a job that it has forgotten as fulfilled: answers on half the frames."""
    gen, mine = attempt(tmp_path / "gen", *ends), attempt(tmp_path / "eval", None)
    if state:
        say(squeue=f'echo "{ROW.format(job=7, index=1, state=state, name="smx-gen-0")}"')
    begin(monkeypatch, mine, gen, restart=restart)
    end = mine.shard(0).exit() or {}
    assert (end["how"], why in end.get("reason", "")) == (how, True)
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == ("requeue 12\n" if how == "preempted" else "")


@pytest.mark.parametrize(
    ("state", "works"),
    [("RUNNING", False), ("PENDING", False), ("COMPLETED", True), ("", True)],
    ids=["the other one runs", "it waits to go on", "it is over", "nobody knows it"],
)
def test_two_jobs_of_one_script_do_not_share_a_shard(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    say: Say,
    capsys: pytest.CaptureFixture[str],
    state: str,
    works: bool,
) -> None:
    """Lost otherwise: sbatch makes the array twice, or somebody types it again, and each item is recorded twice."""
    mine = attempt(tmp_path / "eval", None)
    begin(monkeypatch, mine, job="11")
    (mine.shard(0).path / "exit.json").unlink()
    if state:
        say(squeue=f'echo "{ROW.format(job=11, index=0, state=state, name="smx-x-0")}"')
    assert begin(monkeypatch, mine, job="12") == 0
    assert (mine.shard(0).exit() is not None) is works
    assert ("job 11_0 is at this shard already" in capsys.readouterr().err) is not works
    assert len(mine.shard(0).starts()) == 1 + works


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("sleep 600 & sleep 600", "squeue has not answered within 0 s"),
        (f"printf '{ROW.format(job=1, index=0, state='RUNNING', name='smx-x-0')}'", "squeue's answer was cut short"),
        ("echo '1|0|RUNN'", "squeue printed what is no answer: 1|0|RUNN"),
    ],
    ids=["hangs", "half a line", "half a record"],
)
def test_what_is_no_answer_is_no_news(say: Say, monkeypatch: pytest.MonkeyPatch, script: str, words: str) -> None:
    """Lost otherwise: minutes of silence behind a command that hangs, or jobs given up as half an answer lacks them."""
    monkeypatch.setattr(commands, "_QUESTION", 0.3)
    say(squeue=script)
    answer, records = commands.listed(["smx-x-0"])
    assert (answer.ok, answer.words, records) == (False, words, [])


def test_news_beside_an_answer_are_not_taken_for_it(say: Say) -> None:
    """A site's words, in its own encoding, before the records."""
    row = ROW.format(job=1, index=0, state="RUNNING", name="smx-x-0")
    say(squeue=f"printf 'Wartung am 3. M\\344rz\\n'; echo '{row}'")
    answer, records = commands.queue(["smx-x-0"])
    assert answer.ok
    assert records["smx-x-0", 0].state == "RUNNING"


def test_a_task_that_failed_goes_on_when_it_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    """Lost otherwise: an administrator requeues what a broken node failed, and it leaves without a look."""
    mine = attempt(tmp_path / "eval", "failed")
    assert begin(monkeypatch, mine, restart=1) == 0
    assert (mine.shard(0).exit() or {})["how"] == "done"
