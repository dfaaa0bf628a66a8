"""Launch, follow, stop, try again and mark as a program calls them: nothing here comes from the command line."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import smx
from smx import plugins
from smx.control.cancel import cancel
from smx.control.launch import Launch, LaunchOptions, Request, combinations, launch
from smx.control.mark import mark
from smx.control.plan import Decision
from smx.control.progress import Listener, progress
from smx.control.retry import retry
from smx.control.wait import wait, wait_for
from smx.errors import UserError
from smx.executors import BaseExecutor
from smx.executors.inline import Executor as Inline
from smx.processes import this_process
from smx.registry.rows import AttemptRow, RunRow
from smx.registry.store import Registry
from smx.run import Run
from smx.runfolder import AttemptFolder, RunFolder
from smx.states import AttemptState
from smx.workspace import Workspace

PACKAGE = Path(smx.__file__).parent
# What the command line may call of control: its own functions, and a look at what there is.
DOORS = {"launch", "retry", "cancel", "mark", "trash", "wait", "progress", "sync", "rebuild"}
ROOMS = {"dataset": "rooms", "dataset_options": {"count": 1, "frames": 16, "width": 32, "height": 32}}


class Heard(Listener):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.decisions: list[Decision] = []
        self.previews: list[str] = []
        self.states: list[AttemptState] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def decided(self, decisions: Sequence[Decision]) -> None:
        self.decisions += decisions

    def preview(self, text: str) -> None:
        self.previews.append(text)

    @contextmanager
    def following(self, attempts: Sequence[tuple[Run, AttemptFolder]]) -> Iterator[None]:
        self.states += [progress(attempt).state for _, attempt in attempts]
        yield
        self.states += [progress(attempt).state for _, attempt in attempts]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace with a folder for executors of its own."""
    monkeypatch.setattr(plugins, "_extra_folders", [])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "experiments/plugins/executors").mkdir(parents=True)
    return Workspace(tmp_path, "--workspace")


def gens(**keys: Any) -> list[Request]:
    """Two sample sets of one scene, or as the keys say."""
    return combinations("gen", {"sampler": ["uniform", "random"], "frames": 2, **ROOMS, **keys})


def executor(lab: Workspace, name: str, text: str) -> None:
    """A plugin of the workspace."""
    (lab.root / f"experiments/plugins/executors/{name}.py").write_text(text)
    plugins.add_folder(lab.root / "experiments/plugins")


def attempts(lab: Workspace) -> list[AttemptRow]:
    with Registry.open(lab.registry, create=False) as registry:
        return registry.attempts()


def test_a_program_launches_and_hears_what_happens(lab: Workspace) -> None:
    """Lost otherwise: only the command line can start runs, or it decides something that a program does not get."""
    heard = Heard()
    done = launch(lab, gens(), labels={"experiment": ["mine"]}, listener=heard)
    assert [(run.sampler, run.state) for run in done.runs] == [("uniform", "done"), ("random", "done")]
    assert done.ended_well
    assert (
        [(d.action, d.reason) for d in heard.decisions]
        == [("run", "new")] * 2
        == [(d.action, d.reason) for d in done.decisions]
    )
    assert heard.states == [AttemptState.waiting] * 2 + [AttemptState.done] * 2
    assert all(run.labels["experiment"] == ["mine"] for run in done.runs)
    assert [d.action for d in launch(lab, gens()).decisions] == ["skip"] * 2


def test_a_dry_run_decides_and_writes_nothing(lab: Workspace) -> None:
    """Lost otherwise: whoever only asks what would run has started it."""
    heard = Heard()
    done = launch(lab, gens(), LaunchOptions(dry_run=True), listener=heard)
    assert ([d.action for d in done.decisions], done.runs) == (["run", "run"], [])
    assert not lab.registry.exists()
    assert not lab.runs.exists()


def test_a_request_that_needs_another_run_gets_it_first(lab: Workspace) -> None:
    """Lost otherwise: a program has to know that an eval needs a sample set, and a trained model a training."""
    bench = {"bench": "rooms", "bench_options": {"scenes": 1, "train_scenes": 1, "frames": 16}}
    train = {"data": ["rooms"], "data_options": {"rooms": bench["bench_options"]}, "recipe": {"steps": 1}}
    request = {"kind": "eval", "model": "tiny", "sampler": "uniform", "frames": 2, "train": train, **bench}
    plan = launch(lab, [request], LaunchOptions(dry_run=True)).decisions
    assert [(d.run.kind, d.asked) for d in plan] == [("gen", False), ("train", False), ("gen", False), ("eval", True)]
    assert plan[1].run.fingerprint in plan[3].run.needs


def test_a_request_of_another_kind_is_refused() -> None:
    """Lost otherwise: a key copied from another request starts a run that nobody asked for."""
    with pytest.raises(UserError, match="kind: Input should be 'gen'"):
        gens(kind="eval")


def test_what_failed_is_tried_again_and_what_is_done_is_not(lab: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: a program does a lab's work twice, or leaves its failures."""
    with monkeypatch.context() as patch:
        patch.setattr("smx.node.gen.make_sample", _fails)
        assert not launch(lab, gens(sampler=["random"]), LaunchOptions(max_failed=0)).ended_well
    launch(lab, gens(sampler=["uniform"]))
    assert retry(lab, filters={"sampler": ["uniform"]}) == Launch([])
    again = retry(lab)
    assert [(run.sampler, run.state) for run in again.runs] == [("random", "done")]
    assert again.ended_well


def test_runs_are_waited_for_stopped_and_marked(lab: Workspace) -> None:
    """Lost otherwise: a program cannot follow what it started."""
    started = launch(lab, gens(), LaunchOptions(executor="local"))
    ended = wait(lab, [run.title for run in started.runs])
    assert [(run.sampler, run.state) for run in ended] == [("random", "done"), ("uniform", "done")]
    assert cancel(lab) == []
    run, number = mark(lab, ended[0].title, "excluded")
    assert (number, run.done) == (1, 0)
    assert mark(lab, ended[0].title, None)[0].done == 1


def test_watching_waits_for_what_another_process_works_on(lab: Workspace) -> None:
    """Lost otherwise: a script goes on to its table before the runs have ended."""
    done = launch(lab, gens(), LaunchOptions(executor="local", watch=True))
    assert {run.state for run in done.runs} == {"done"}


def test_an_executor_that_inherits_from_inline_does_its_work(lab: Workspace) -> None:
    """Lost otherwise: a lab's own executor computes nothing, and the command ends with exit code 0."""
    text = 'from smx.executors.inline import Executor as Inline\n\n\nclass Executor(Inline):\n    """Own."""\n'
    executor(lab, "noting", text)
    done = launch(lab, gens(), LaunchOptions(executor="noting"))
    assert {run.state for run in done.runs} == {"done"}
    assert {(row.executor, (row.handle or {})["executor"]) for row in attempts(lab)} == {("noting", "noting")}


ASKED = '''"""Counts how often it is asked; what it holds ends by its own word, or when it was asked so often."""
import os
from pathlib import Path
from typing import ClassVar
from smx.executors import BaseExecutor, ShardStatus
from smx.states import SchedulerState


class Executor(BaseExecutor):
    """Asked."""

    poll_interval: ClassVar[float] = 0.4

    def submit(self, submission, folder, jobs):
        return [{"shards": job.shards} for job in jobs]

    def recover(self, submission, folder, jobs):
        return [None] * len(jobs)

    def poll(self, handles):
        count = Path(os.environ["SMX_ASKED"])
        with count.open("a") as file:
            print(len(handles), file=file)
        over = len(count.read_text().splitlines()) > int(os.environ["SMX_ASKED_MOST"])
        state = SchedulerState.cancelled if over else SchedulerState.pending
        return [[ShardStatus(state)] * handle["shards"] for handle in handles]

    def cancel(self, handles):
        pass
'''


@pytest.fixture
def asked(lab: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An executor whose poll interval is 0.4 s; a line in this file for each question."""
    monkeypatch.setenv("SMX_ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("SMX_ASKED_MOST", "3")
    executor(lab, "asked", ASKED)
    return tmp_path / "asked"


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def Event(self) -> Clock:
        return self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of whoever waits for runs."""
    made = Clock()
    waiting = sys.modules["smx.control.wait"]
    monkeypatch.setattr(waiting, "time", made)
    monkeypatch.setattr(waiting, "threading", made)
    return made


@pytest.mark.parametrize("interval", [15.0, 0.5])
def test_an_executor_is_asked_at_its_interval_and_then_less_often(
    lab: Workspace, asked: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, interval: float
) -> None:
    """Lost otherwise: everybody who waits asks a cluster's controller twice a second, and the site throttles them."""
    monkeypatch.setenv("SMX_ASKED_MOST", "6")
    monkeypatch.setattr(plugins.load("executors", "asked"), "poll_interval", interval)
    started = launch(lab, gens(sampler=["uniform"]), LaunchOptions(executor="asked"))
    times: list[float] = []
    with Registry.open(lab.registry) as registry:
        before = len(asked.read_text().splitlines())

        def note(live: Sequence[AttemptRow]) -> bool:
            if len(asked.read_text().splitlines()) > before + len(times):
                times.append(clock.now)
            return True

        wait_for(lab, registry, {run.fingerprint for run in started.runs}, look=note)
    gaps = [after - first for first, after in zip([0.0, *times], times, strict=False)]
    longest = min(60.0, 4 * interval)
    expected = [interval, 2 * interval, longest, longest]
    assert gaps[:4] == pytest.approx(expected, abs=0.5)


def test_watching_and_waiting_ask_as_seldom(lab: Workspace, asked: Path, clock: Clock) -> None:
    """Lost otherwise: `--watch` has a rhythm of its own again."""
    done = launch(lab, gens(), LaunchOptions(executor="asked", watch=True))
    assert [run.state for run in done.runs] == ["cancelled"] * 2
    assert asked.read_text().splitlines() == ["2"] * 4  # both in one question
    assert clock.now == pytest.approx(0.4 + 0.8 + 1.6, abs=0.8)


def test_the_last_word_of_the_runs_themselves_is_not_waited_for(
    lab: Workspace, asked: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost otherwise: `smx eval --watch` sits there for a minute after its run is done."""
    monkeypatch.setattr(plugins.load("executors", "asked"), "poll_interval", 60.0)
    started = launch(lab, gens(sampler=["uniform"]), LaunchOptions(executor="asked"))
    attempt = RunFolder(lab.runs / started.runs[0].folder).attempt(1)

    def end(live: Sequence[AttemptRow]) -> bool:
        attempt.shard(0).begin()
        attempt.shard(0).end("failed", kind="python", line="over")
        return True

    with Registry.open(lab.registry) as registry:
        wait_for(lab, registry, {started.runs[0].fingerprint}, look=end)
    assert clock.now < 2
    assert wait(lab, [started.runs[0].title])[0].state == "failed"


def test_what_works_inside_another_process_is_named_and_not_touched(lab: Workspace) -> None:
    """Lost otherwise: an executor of one's own that works in its process is asked to stop what it cannot."""
    executor(
        lab,
        "mine",
        "from smx.executors.inline import Executor as Inline\n\n\n"
        'class Executor(Inline):\n    """Never works."""\n\n    def drive(self):\n        pass\n',
    )
    launch(lab, gens(sampler=["uniform"]), LaunchOptions(executor="mine"))
    heard = Heard()
    (stopped,) = cancel(lab, listener=heard)
    assert (stopped.stuck, stopped.stopping, stopped.named) == (True, False, True)
    assert heard.lines[-1] == f"  kill -INT {this_process()['pid']}"


def test_no_rule_hangs_on_an_executors_name() -> None:
    """Lost otherwise: an executor that another inherits from under its own name is half of what it is."""
    names = set(plugins.names("executors"))
    compared = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        for part in (node.left, *node.comparators)
        if isinstance(part, ast.Constant) and part.value in names
    ]
    assert compared == []
    assert (Inline.in_process, BaseExecutor.in_process) == (True, False)


def test_the_command_line_calls_control_by_its_doors() -> None:
    """Lost otherwise: a rule about runs is written a second time, in a command, and the two drift apart."""
    inside = [
        f"{path.name}:{node.lineno}: {node.module}"
        for path in (PACKAGE / "cli").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smx.control")
        if (node.module or "").removeprefix("smx.control").lstrip(".") not in DOORS
        if [alias.name for alias in node.names] != ["Decision"]  # what a listener is told
    ]
    assert inside == []


def _fails(*_: Any, **__: Any) -> RunRow:
    raise RuntimeError("no sample today")


def test_two_variants_that_are_the_same_are_one_run_in_one_folder(tmp_path: Path) -> None:
    """Lost otherwise: a copied variant computes everything again, and the run waits for ever for its second folder."""
    models = tmp_path / "experiments" / "models"
    models.mkdir(parents=True)
    (models / "mychance.yaml").write_text("base: chance\n")
    lab = Workspace(tmp_path, "--workspace")
    options = {"scenes": 1, "train_scenes": 1, "frames": 16, "width": 32, "height": 32}
    asked = [
        {"kind": "eval", "model": model, "bench": "rooms", "bench_options": options} for model in ("chance", "mychance")
    ]
    first, second = launch(lab, asked[:1]), launch(lab, asked[1:])
    assert [decision.action for decision in second.decisions] == ["skip"]
    assert [row.state for row in second.runs] == ["done"]
    assert second.runs[0].folder == first.runs[0].folder
    assert len(list((tmp_path / "runs" / "eval").iterdir())) == 1
    assert len(launch(lab, asked).decisions) == 1
