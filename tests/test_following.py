"""Following runs: what is going on, why, and how to go on. Lost otherwise: hours of a cluster, or of a person."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from support.commands import data, smx

from smx.atomic_io import write_json
from smx.failures import Failure
from smx.monitor.why import explain, lines
from smx.processes import this_process
from smx.registry import live_queries
from smx.registry.rows import AttemptRow, RunRow, ShardRow
from smx.registry.store import Registry
from smx.runfolder import RunFolder, now, run_folders

FAST = ("--set", "bench_options.scenes=1", "--set", "bench_options.train_scenes=1", "--set", "bench_options.frames=24")


# A model that says which process it is in.
TALKER = '''"""Answers at random, and talks."""
import os
from smx.models.chance import Model as Chance

class Model(Chance):
    def load(self, *arguments, **options):
        print("I am", os.getpid())
        return super().load(*arguments, **options)
'''


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace; what is computed is written to `probe`."""
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("SMX_PROBE", str(tmp_path / "probe"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """What `smx …` prints on both streams."""
    capsys.readouterr()
    assert smx(*arguments) == code, capsys.readouterr()
    printed = capsys.readouterr()
    return printed.out + printed.err


def probed(lab: Path) -> list[str]:
    """Items computed since the last look."""
    path = lab / "probe"
    found = [line.split()[1] for line in path.read_text().splitlines()] if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def scenes(folder: Path, count: int) -> Path:
    """Scenes of four tiny frames each."""
    for scene in range(count):
        images = folder / f"scene_{scene}" / "images"
        images.mkdir(parents=True)
        for frame in range(4):
            Image.new("RGB", (16, 12), (60 * frame, scene, 0)).save(images / f"frame_{frame:04d}.png")
    return folder


def frame(folder: Path, scene: int) -> Path:
    """The first frame of a scene."""
    return folder / f"scene_{scene}" / "images" / "frame_0000.png"


def only(lab: Path, kind: str = "gen") -> RunFolder:
    """The one run of a kind there is."""
    (found,) = [run for run in run_folders(lab / "runs") if run.path.parent.name == kind]
    return found


# One bad night


def test_a_run_whose_only_scene_failed_has_failed(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script must not go on with a sample set that has nothing in it."""
    root = scenes(lab / "data", 1)
    for image in frame(root, 0).parent.glob("*[123].png"):
        image.write_bytes(image.read_bytes()[:40])
    command = ("gen", "--sampler", "uniform", "--frames", 2, "--dataset", "frames", "--root", root)
    assert smx(*command) == 1
    assert data(capsys, "ls")[0]["state"] == "failed"
    assert smx(*command, "--retry", "--max-failed", 1) == 0  # somebody says that it may


def test_two_broken_scenes_cost_two_scenes(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The notes' night: the run finishes, names both, and after mending them retry computes those two alone."""
    root = scenes(lab / "data", 6)
    good = frame(root, 0).read_bytes()
    for scene in (1, 4):
        frame(root, scene).write_bytes(good[:40])
    command = ("gen", "--sampler", "uniform", "--frames", 2, "--dataset", "frames", "--root", root, "--max-failed", 2)
    assert smx(*command) == 0
    assert len(probed(lab)) == 6
    name = only(lab).path.name
    told = said(capsys, "status")
    assert "1 run done but for 2 failed items" in told
    told = said(capsys, "why", name)
    assert "4/6 items, 2 failed" in told
    assert "2 × missing-input in" in told
    assert re.search("scene_1, scene_4|scene_4, scene_1", told)
    assert f"smx retry {name}" in told
    for scene in (1, 4):
        frame(root, scene).write_bytes(good)
    assert "2 of 6 items left" in said(capsys, "retry", "--dry-run")
    assert probed(lab) == []
    assert smx("retry", "--kind", "missing-input") == 0
    assert sorted(probed(lab)) == ["scene_1", "scene_4"]  # several are done at once
    assert "nothing to try again" in said(capsys, "retry")
    assert data(capsys, "ls")[0]["done"] == 6


def test_retry_brings_what_a_run_needs_along(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An eval whose sample set failed must not be tried again without it: it would only fail again."""
    command = ("eval", "--model", "tiny", "--sampler", "uniform", "--frames", 2, *FAST)
    assert smx(*command, "--dry-run") == 0
    assert smx(*command) == 0
    with Registry.open(lab / "registry.db") as registry:
        for run in run_folders(lab / "runs"):
            shutil.rmtree(run.path / "attempts" / "1" / "shards")  # as if both had been killed before they began
            (run.path / "result.json").unlink()
            plan = run.attempt(1).plan
            gone = {**this_process(), "pid": 2**22 + 1, "start": 1}
            handle = {"executor": "inline", "process": gone, "shards": 1}
            write_json(run.path / "attempts" / "1" / "handle.json", handle)
            assert len(plan["needs"]) == (run.spec["kind"] == "eval")
            registry.update_attempt(run.spec["fingerprint"], 1, state="running")
    shutil.rmtree(lab / "samples")
    assert "lost" in said(capsys, "status")
    name = only(lab, "eval").path.name
    told = said(capsys, "retry", name, "--dry-run")
    assert told.index("would run gen") < told.index("would run eval")
    assert "(needed)" in told
    assert smx("retry", name) == 0
    assert {row["state"] for row in data(capsys, "ls")} == {"done"}


def test_retry_refuses_a_kind_that_does_not_exist(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A typo must not mean "everything"."""
    assert "did you mean timeout" in said(capsys, "retry", "--kind", "timout", code=2)


# Status, why, watch


@pytest.fixture
def made_up(lab: Path) -> Path:
    """A registry in which every state occurs."""
    with Registry.open(lab / "registry.db") as registry:
        number = 0

        def run(state: str, failure: Failure | None = None, **known: Any) -> str:
            nonlocal number
            number += 1
            mark = f"{number:08x}" + "0" * 56
            cell: Any = ("prope", "sa", 16, "vsibench", None, 0, {}, state, 288, known.get("done", 0), 0)
            registry.add_run(RunRow(mark, "eval", f"prope-{state}", f"eval/prope-{state}-{mark[:8]}", "{}", *cell))
            told = failure.as_json() if failure else None
            registry.put_attempt(AttemptRow(mark, 1, "slurm", state, 288, failure=told, **known))
            return mark

        for n in range(3):
            run("failed", Failure("oom-gpu", f"CUDA out of memory. Tried to allocate {n} GiB", "vit.forward", "Error"))
        run("failed", Failure("node-fail", "its node failed (n042)", node="n042"))
        run("cancelled", Failure("cancelled", "cancelled by ada"))
        run("waiting", created="2026-02-13T00:00:00.000Z", reason="waits for its turn: other jobs have more priority")
        run("done", done=288)
        mark = run("running", done=72, started="2026-02-13T03:00:00.000Z")
        registry.put_shard(ShardRow(mark, 1, 0, "running", "n007", 72, 0, now()))
    return lab


def test_status_says_it_on_one_screen(made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten commands and a spreadsheet otherwise."""
    told = said(capsys, "status", "--no-sync")
    lines = told.splitlines()
    assert lines[0].split() == ["waiting", "running", "done", "failed", "cancelled"]
    assert lines[1].split() == ["eval", "1", "1", "1", "4", "1"]
    assert "4 failed: 3 × oom-gpu in vit.forward, 1 × node-fail on n042" in told
    assert "1 waiting, the oldest for" in told
    assert "waits for its turn: other jobs have more priority" in told
    assert "n007" in told
    assert "72/288" in told
    assert "1 cancelled" in told
    assert max(map(len, lines)) <= 100


def test_nodes_that_failed_are_remembered_for_two_weeks(made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken GPU eats every job that is sent to it; one that was mended a month ago does not."""
    with Registry.open(made_up / "registry.db") as registry:
        for number, (node, ended) in enumerate(
            [("n042", now()), ("n042", now()), ("n1", "2026-02-13T00:00:00.000Z"), ("n[2-3]", now())], 100
        ):
            mark = f"{number:08x}" + "0" * 56
            registry.add_run(RunRow(mark, "eval", "x", f"eval/x-{mark[:8]}", "{}", state="failed"))
            failure = Failure("node-fail", "its node failed", node=node).as_json()
            registry.put_attempt(AttemptRow(mark, 1, "slurm", "failed", 9, failure=failure, ended=ended))
        found = [(bad.name, bad.failures) for bad in live_queries.bad_nodes(registry)]
        told = "\n".join(lines(explain(registry, made_up / "runs", registry.find("00000064"))))
    assert found == [("n042", 2)]
    assert "node n042 failed 2 times in the last 14 days" in told
    assert "--exclude-bad-nodes" in told
    assert "nodes that failed in the last 14 days: n042 (2)" in said(capsys, "status", "--no-sync")
    assert data(capsys, "status", "--no-sync")["bad_nodes"][0]["node"] == "n042"


def test_what_was_held_says_why_and_what_to_do(made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A queue that does not move looks like a full cluster otherwise."""
    reason = f"{live_queries.HELD}5 tasks in a row failed the same way (oom-gpu: CUDA out of memory)"
    with Registry.open(made_up / "registry.db") as registry:
        (waiting,) = [attempt for attempt in registry.attempts(live=True) if attempt.state == "waiting"]
        registry.update_attempt(waiting.fingerprint, 1, reason=reason)
    told = said(capsys, "status", "--no-sync")
    assert f"1 {reason}" in told
    assert "mend it, then start them anew: smx retry prope-waiting-00000006" in told


def test_filters_narrow_every_part(made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers of someone else's experiment in one's own status."""
    assert data(capsys, "status", "--no-sync", "--state", "failed")["counts"] == {"eval": {"failed": 4}}
    assert data(capsys, "status", "--no-sync", "--state", "done")["failures"] == []
    assert said(capsys, "status", "--no-sync", "--model", "qwen").startswith("No runs fit")
    assert "did you mean failed" in said(capsys, "status", "--state", "faild", code=2)
    assert (
        len(data(capsys, "status", "--no-sync", "--state", "failed,running", "--frames", "16")["counts"]["eval"]) == 2
    )


def test_status_without_a_registry_makes_none(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Looking must not leave files behind."""
    assert said(capsys, "status") == "No runs yet: smx demo, or smx gen --help.\n"
    assert not (lab / "registry.db").exists()


def test_why_names_who_else_failed_so(made_up: Path) -> None:
    """One cause looks like three otherwise."""
    with Registry.open(made_up / "registry.db") as registry:
        told = "\n".join(lines(explain(registry, made_up / "runs", registry.find("00000001"))))
    assert "2 other runs failed the same way" in told
    assert "prope-failed-00000002" in told
    assert "smx retry prope-failed-00000001" in told


# While they run


class Gate:
    """Jobs stop where their first item begins, until `open`."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._pipe: int | None = None

    def open(self) -> None:
        """Let them go on; twice is fine."""
        if self._pipe is None:
            self._pipe = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def close(self) -> None:
        """Nobody is left waiting."""
        self.open()
        assert self._pipe is not None
        os.close(self._pipe)


@pytest.fixture
def gate(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A closed gate; whatever runs when the test ends is let through and waited for."""
    made = Gate(lab / "gate")
    monkeypatch.setenv("SMX_PROBE", str(made.path))
    yield made
    made.open()
    smx("cancel", "--all")
    smx("wait")
    made.close()


def until_it_runs(lab: Path, kind: str) -> RunFolder:
    """The one run of a kind, once its first shard has given a sign of life."""
    pause = threading.Event()
    for _ in range(600):
        found = [run for run in run_folders(lab / "runs") if run.path.parent.name == kind]
        if found and found[0].attempts() and found[0].attempt(1).shard(0).heartbeat():
            return found[0]
        pause.wait(0.1)
    raise AssertionError("it never began")


def test_a_run_is_followed_stopped_and_tried_again(lab: Path, gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    """Cancelling stops what waits for it too; retry then does the same work, where it was done before."""
    command = ("eval", "--model", "tiny", "--sampler", "uniform", "--frames", 2, "--executor", "local", *FAST)
    assert smx(*command) == 0
    gen = until_it_runs(lab, "gen")
    eval_ = only(lab, "eval")
    told = said(capsys, "status")
    assert "1 running" in told
    assert gen.path.name in told
    assert "1 waiting" in told
    why = said(capsys, "why", eval_.path.name)
    assert "behind 1 run that must end first" in why
    assert f"gen {gen.path.name}: running" in why
    assert "it runs on" in said(capsys, "why", gen.path.name)
    assert "nothing printed yet" in said(capsys, "logs", gen.path.name) or gen.attempt(1).logs()
    told = said(capsys, "cancel", gen.path.name)
    assert f"gen   {gen.path.name}" in told
    assert f"eval  {eval_.path.name}" in told
    assert "(it needs one of them)" in told
    assert smx("wait", gen.path.name, eval_.path.name) == 1
    assert {row["state"] for row in data(capsys, "ls")} == {"cancelled"}
    assert "left alone: " in said(capsys, "retry")
    gate.open()
    told = said(capsys, "retry", "--kind", "cancelled,dependency")
    assert smx("wait") == 0
    assert {row["state"] for row in data(capsys, "ls")} == {"done"}
    assert {a.plan["executor"] for a in gen.attempts()} == {"local"}


def test_watch_ends_with_the_last_run(lab: Path, gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal that shows yesterday's state for ever, otherwise."""
    assert smx("eval", "--model", "chance", "--executor", "local", *FAST) == 0
    until_it_runs(lab, "eval")
    gate.open()
    assert smx("wait") == 0
    told = said(capsys, "watch")
    assert "every 15 s" in told
    assert told.endswith("nothing runs or waits\n")


def test_ctrl_c_leaves_watch_and_not_the_runs(
    lab: Path, gate: Gate, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving the screen must not stop a week of work, nor look like an error."""
    assert smx("eval", "--model", "chance", "--executor", "local", *FAST) == 0
    run = until_it_runs(lab, "eval")

    class Interrupted:
        """Stands for the pause between two looks: Ctrl-C comes in the middle of it."""

        def wait(self, timeout: float) -> bool:
            assert timeout == 15.0
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:  # this module's name alone: the test runner waits for events, too
        patched.setattr("smx.cli.status.threading", SimpleNamespace(Event=Interrupted))
        told = said(capsys, "watch")
    assert run.path.name in told
    assert [row["state"] for row in data(capsys, "ls")] == ["running"]


def test_an_executor_is_never_asked_too_often(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Schedulers of other people suffer from watchers."""
    assert "5" in said(capsys, "watch", "--every", 1, code=2)


def test_an_inline_run_of_another_command_says_how_to_stop_it(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing here can stop it; silence would look like success."""
    assert smx("eval", "--model", "chance", *FAST) == 0
    run = only(lab, "eval")
    (run.path / "attempts/1/shards/0/exit.json").unlink()
    with Registry.open(lab / "registry.db") as registry:
        registry.update_attempt(run.spec["fingerprint"], 1, state="running")
    told = said(capsys, "cancel", "--all", code=1)
    assert "runs inside another command" in told
    assert f"kill -INT {os.getpid()}" in told
    assert "that terminal" in said(capsys, "logs", run.path.name)


def test_logs_merge_shards_and_keep_the_last_of_a_progress_bar(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten thousand states of a progress bar bury the one line that matters."""
    assert smx("eval", "--model", "chance", "--executor", "local", *FAST) == 0
    assert smx("wait") == 0
    run = only(lab, "eval")
    shard = run.attempt(1).shard(0).path
    (shard / "log.out").write_bytes(b"loading\n 1/9\r 5/9\r 9/9\ndone\n")
    (shard / "log.err").write_bytes(b"a warning\nthe last word")
    told = said(capsys, "logs", run.path.name, "-f")
    out, err = "loading\n 9/9\ndone\n", "a warning\nthe last word\n"
    assert told == f"==> shards/0/log.out <==\n{out}==> shards/0/log.err <==\n{err}"
    assert said(capsys, "logs", run.path.name, "--err", "-n", 1) == "the last word\n"
    assert said(capsys, "logs", f"{run.path.name}#1", "--err", "--shard", 0) == err
    assert "has 1 shard\n  valid: --shard 0\n" in said(capsys, "logs", run.path.name, "--shard", 3, code=2)


def test_each_shard_of_a_local_run_has_a_log_of_its_own(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two tasks in one file are lines nobody can take apart, and a failure is blamed on the wrong one."""
    models = lab / "experiments" / "plugins" / "models"
    models.mkdir(parents=True)
    (models / "talker.py").write_text(TALKER)
    (lab / "experiments" / "models").mkdir()
    (lab / "experiments" / "models" / "talker.yaml").write_text("base: talker\n")
    two = ("--set", "bench_options.scenes=2", *FAST[2:])
    assert smx("eval", "--model", "talker", "--executor", "local", "--shards", 2, *two, "--watch") == 0
    name = only(lab, "eval").path.name
    one, other = (said(capsys, "logs", name, "--shard", k) for k in (0, 1))
    assert one.count("I am") == other.count("I am") == 1
    assert one != other
    told = said(capsys, "logs", name)
    assert told.index("==> shards/0/log.out <==") < told.index("==> shards/1/log.out <==")
    assert told.count("I am") == 2


# Afterwards


def test_wait_speaks_in_exit_codes(made_up: Path, lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`smx wait && smx report` must not report on failures."""
    with Registry.open(lab / "registry.db") as registry:
        registry.execute("update attempts set state = 'done' where state in ('running', 'waiting')")
    assert said(capsys, "wait") == "nothing is live: nothing to wait for\n"
    assert smx("wait", "prope-done") == 0
    assert smx("wait", "prope-done", "00000001") == 1
    assert smx("wait", "nothing-like-it") == 2


def test_an_excluded_attempt_counts_in_no_table(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The notes' X: a number known to be wrong must not come back, and a second try must take its place."""
    assert smx("eval", "--model", "chance", *FAST) == 0
    run = only(lab, "eval")
    before = data(capsys, "report")
    assert smx("mark", run.path.name, "excluded") == 0
    assert data(capsys, "ls", "--kind", "eval")[0]["state"] == "new", "done, it says, and has nothing to show"
    told = said(capsys, "report")
    assert "excluded" in told
    (cell,) = data(capsys, "report")["tables"][0]["cells"]
    assert not cell.get("value")
    assert smx("db", "rebuild") == 0
    assert "excluded" in said(capsys, "report")
    probed(lab)
    assert smx("eval", "--model", "chance", *FAST) == 0
    assert len(probed(lab)) == 18
    again = data(capsys, "report")
    assert [c["value"] for c in again["tables"][0]["cells"]] == [c["value"] for c in before["tables"][0]["cells"]]
    assert smx("mark", f"{run.path.name}#1", "none") == 0
    assert "attempts: 1, 2" in said(capsys, "mark", f"{run.path.name}#7", "doubtful", code=2)
    assert smx("mark", run.path.name, "doubtful") == 0
    assert [a["mark"] for a in data(capsys, "show", run.path.name)["attempts"]] == [None, "doubtful"]


def test_diff_shows_what_came_out_differently(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two numbers differ, and nobody can say why."""
    assert smx("eval", "--model", "chance,frequency", *FAST) == 0
    names = sorted(run.path.name for run in run_folders(lab / "runs"))
    found = data(capsys, "diff", *names)
    assert found["spec"]["model"] == ["chance", "frequency"]
    assert found["data"] == {}
    assert found["items"]["shared"] == 18
    assert found["items"]["differ"]
    assert all(entry["a"] != entry["b"] for entry in found["items"]["differ"])
    told = said(capsys, "diff", *names)
    assert "model: chance → frequency" in told
    assert data(capsys, "diff", names[0], names[0])["items"]["differ"] == []


def test_open_prints_paths_that_exist(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cd "$(smx open RUN folder)"`."""
    assert smx("gen", "--sampler", "uniform", "--frames", 2, "--dataset", "frames", "--root", scenes(lab / "d", 1)) == 0
    run = only(lab)
    assert said(capsys, "open", run.path.name, "folder") == f"{run.path}\n"
    found = data(capsys, "open", run.path.name)
    assert {"folder", "spec", "result", "attempt", "samples", "data"} <= found.keys()
    assert all(Path(path).exists() for path in found.values())
    assert "did you mean samples" in said(capsys, "open", run.path.name, "sample", code=2)


def test_cost_tells_wasted_hours(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody knows where the month's GPU hours went."""
    assert smx("eval", "--model", "chance", *FAST) == 0
    run = only(lab, "eval")
    shard = run.attempt(1).shard(0)
    records = [json.loads(line) for line in (shard.path / "items.jsonl").read_text().splitlines()]
    kept = [{**r, "at": f"2026-02-13T0{n}:30:00.000Z", "seconds": 1800.0} for n, r in enumerate(records[:2])]
    (shard.path / "items.jsonl").write_text("".join(json.dumps(r) + "\n" for r in kept))
    write_json(shard.path / "heartbeat.json", {**shard.heartbeat(), "at": "2026-02-13T04:00:00.000Z"})  # type: ignore[dict-item]
    write_json(
        shard.path / "exit.json", {"how": "failed", "at": "2026-02-13T04:00:00.000Z", "kind": "python", "line": "x"}
    )
    assert smx("db", "rebuild") == 0
    (found,) = data(capsys, "status", "--cost")
    assert found["hours"] == pytest.approx(4.0)
    assert found["wasted"] == pytest.approx(3.0)
    told = said(capsys, "status", "--cost")
    assert "4.0" in told
    assert "most wasted" in told
