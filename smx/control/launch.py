"""Launch runs: resolve what is asked for, check it, reserve and submit what is missing, follow it, sync."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smx import plugins
from smx.atomic_io import expanded
from smx.control.plan import Decision, decide
from smx.control.progress import Listener
from smx.control.reservations import executor_for
from smx.control.submit import planned, submit
from smx.control.sync import ingest_unknown, refresh, run_of, sync
from smx.control.wait import wait_for
from smx.dotted import nest
from smx.errors import UserError
from smx.executors import BaseExecutor
from smx.registry.reading import registry_as_it_is
from smx.registry.rows import RunRow, excluded_attempts
from smx.registry.store import Registry
from smx.resolve import Resolver, unique
from smx.resolve.hub_cache import absent, is_hub_id
from smx.results.derive import derive
from smx.run import Run
from smx.runfolder import AttemptFolder, RunFolder
from smx.spec import SampleSpec
from smx.states import LIVE, RunState
from smx.workspace import Workspace
from smx.workspace.storage import warnings

Request = Mapping[str, Any]
DIMENSIONS = ("model", "sampler", "frames", "seed")  # keys of which a request may name several


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """How to go about it."""

    executor: str | None = None  # None: the site file's, else inline
    dry_run: bool = False  # decide and preview; write nothing
    retry: bool = False  # also do items again that failed in a run that is done
    shards: int = 1  # tasks that each run's items are split over
    max_failed: int | None = None  # of a run's items; None: 1 or 1 %, whichever is more
    watch: bool = False  # wait until all have ended, those that other commands are at too
    canary: bool = False  # two items of each kind first; the rest waits for them
    keep: bool = False  # what is done with a plugin's code before it was edited serves


@dataclass(frozen=True)
class Launch:
    """What came of it."""

    decisions: list[Decision]
    runs: list[RunRow] = field(default_factory=list)  # those asked for, as they are now; none of a dry run
    requested: list[str] = field(default_factory=list)  # fingerprint of each request's run, in their order
    in_doubt: bool = False  # of nothing that was handed over it is known whether it was taken

    @property
    def ended_well(self) -> bool:
        """False when any run that was asked for did not end well; one that still goes on is no failure."""
        whole = all(decision.action != "damaged" for decision in self.decisions)
        return whole and not self.in_doubt and all(row.state in (RunState.done, *LIVE) for row in self.runs)


def combinations(kind: str, keys: Mapping[str, Any]) -> list[Request]:
    """Requests of one run each, from keys of which those of `DIMENSIONS` may hold lists."""
    several = [key for key in DIMENSIONS if isinstance(keys.get(key), list | tuple)]
    grid = itertools.product(*(keys[key] for key in several))
    return [request_of(kind, {**keys, **dict(zip(several, values, strict=True))}) for values in grid]


def request_of(kind: str, keys: Mapping[str, Any]) -> Request:
    """A request of one run. `UserError` where the keys name another kind."""
    if keys.get("kind", kind) != kind:
        raise UserError(f"kind: Input should be {kind!r} (got {keys['kind']!r})", f"smx {keys['kind']} --help")
    return {**keys, "kind": kind}


def launch(
    workspace: Workspace,
    requests: Sequence[Request],
    options: LaunchOptions | None = None,
    *,
    labels: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
) -> Launch:
    """Start what is missing of the runs asked for, and of the runs these need.

    A request is a spec's keys and places as the command line and matrices have them, with its `kind`: gen, train or
    eval. One of kind eval may have `train`, keys with which its model is trained first; its `checkpoint` may name a
    train run. `labels` are kept with each run. With an executor that works in this process it returns when the work
    is done, with others when it is handed over, or with `options.watch` when it has ended. `UserError` for whatever
    is wrong, before anything is started.
    """
    options, listener = options or LaunchOptions(), listener or Listener()
    plugins.forget_edited()
    name, executor = executor_for(workspace, options.executor)
    if options.canary and not executor.canaries:
        raise UserError(f"executor {name} knows no --canary", "leave it away, or name one: --executor slurm")
    resolver = Resolver(
        workspace,
        stand_ins=executor.stand_ins,
        remember=not options.dry_run,
        gpu=executor.gives_gpu("eval"),
    )
    if not options.dry_run:
        workspace.require_writable()
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(registry_as_it_is(workspace, listener.say))
        runs, asked = _resolved(workspace, registry, resolver, requests)
        runs = [replace(run, labels={**run.labels, **(labels or {})}) for run in runs]
        for line in resolver.said:
            listener.say(line)
        executor.check({run.kind for run in runs})
        if missing := warnings(workspace):
            listener.say(f"warning: {missing} (smx doctor)")
        if not options.dry_run:
            # Made only now that everything asked for is known to be right.
            if registry.path != workspace.registry:
                registry = stack.enter_context(Registry.open(workspace.registry))
            workspace.share()
            ingest_unknown(workspace, registry, runs)
            refresh(workspace, registry, listener.say)
        runs = [_where_it_is(workspace, registry, run) for run in runs]
        decisions = decide(runs, registry, asked=set(asked), retry=options.retry, keep=options.keep)
        listener.decided(decisions)
        batch = Batch(decisions, name, executor, options.shards, options.max_failed, canary=options.canary)
        carry_out(workspace, registry, [batch], options, listener)
        if options.dry_run:
            return Launch(decisions, requested=asked)
        if doubt := in_doubt(registry, decisions):
            listener.say("whether any of it was taken is not known: smx status goes on looking for it by its name")
        return Launch(decisions, asked_for(registry, decisions), asked, doubt)


@dataclass(frozen=True)
class Batch:
    """Decisions that are handed over together."""

    decisions: Sequence[Decision]
    name: str  # the executor's
    executor: BaseExecutor
    shards: int = 1
    max_failed: int | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)  # what differs from the site file's, this once
    canary: bool = False


def carry_out(
    workspace: Workspace, registry: Registry, batches: Sequence[Batch], options: LaunchOptions, listener: Listener
) -> None:
    """Submit these, follow them where somebody wants to, sync. Of a dry run, only preview them."""
    if options.dry_run:
        for batch in batches:
            jobs = planned(
                workspace,
                registry,
                batch.decisions,
                shards=batch.shards,
                resources=batch.resources,
                canary=batch.canary,
            )
            if jobs and (text := batch.executor.preview(jobs)):
                listener.preview(text)
        return
    _mend_results(registry, [d.run for batch in batches for d in batch.decisions if d.action == "skip"], listener)
    try:
        followed = [pair for batch in batches for pair in _submitted(workspace, registry, batch, options, listener)]
        drivers = {id(batch.executor): batch.executor for batch in batches}.values()
        shows = options.watch or any(driver.in_process for driver in drivers)
        with listener.following(followed) if shows else contextlib.nullcontext():
            for driver in drivers:
                driver.drive()
            if options.watch:
                wait_for(workspace, registry, {run.fingerprint for run, _ in followed}, first=0)
    except KeyboardInterrupt:
        listener.say("interrupted: the same command again goes on from here")
        raise
    finally:
        sync(workspace, registry)


def asked_for(registry: Registry, decisions: Sequence[Decision]) -> list[RunRow]:
    """The runs somebody asked for, as the registry has them now."""
    return [row for d in decisions if d.asked and (row := registry.run(d.run.fingerprint))]


def in_doubt(registry: Registry, decisions: Sequence[Decision]) -> bool:
    """Whether nobody can say of any run that was started that its scheduler took it."""
    started = [registry.attempts(d.run.fingerprint)[-1:] for d in decisions if d.action == "run"]
    unsure = [bool(a and a[0].live and a[0].unknown_since and a[0].handle and not a[0].job) for a in started]
    return bool(unsure) and all(unsure)


def _resolved(
    workspace: Workspace, registry: Registry, resolver: Resolver, requests: Sequence[Request]
) -> tuple[list[Run], list[str]]:
    """All runs, those that others need first, and the fingerprint of each request's own, in their order."""
    runs: list[Run] = []
    asked = []
    for request in requests:
        made = list(_runs_of(workspace, registry, resolver, dict(request)))
        runs += made
        asked.append(made[-1].fingerprint)
    if not runs:
        raise UserError("that makes no runs: a list of names is empty", "for example --sampler sa --frames 8,16")
    return unique(runs), asked


def _runs_of(workspace: Workspace, registry: Registry, resolver: Resolver, request: dict[str, Any]) -> Iterator[Run]:
    """The run of one request, after those it needs."""
    kind, train = request.pop("kind"), request.pop("train", None)
    if kind == "gen":
        yield from resolver.gen(request)
        return
    if kind == "train":
        _know_checkpoint(workspace, registry, resolver, request)
        yield from resolver.train(request)
        return
    if train is not None and plugins.load("models", resolver.base_of(str(request.get("model", "tiny")))).trainable:
        shared = {key: request[key] for key in ("model", *SampleSpec.model_fields) if key in request}
        made = [_where_it_is(workspace, registry, run) for run in resolver.train({**shared, **nest(train)})]
        yield from made
        resolver.trained = {**resolver.trained, made[-1].title: made[-1]}
        request["checkpoint"] = made[-1].title
    _know_checkpoint(workspace, registry, resolver, request)
    yield from resolver.eval(request)


def _know_checkpoint(workspace: Workspace, registry: Registry, resolver: Resolver, request: Request) -> None:
    """Make a train run that `request` names as its checkpoint known to the resolver."""
    name = expanded(str(request.get("checkpoint") or ""))
    if name and name not in resolver.trained and not resolver.has_weights(name):
        resolver.trained = {**resolver.trained, name: trained_run(workspace, registry, name)}


def _where_it_is(workspace: Workspace, registry: Registry, run: Run) -> Run:
    """The run in the folder it was first made in: another variant's name for the same thing makes no second folder."""
    row = registry.run(run.fingerprint)
    if row is None or run.folder == (folder := workspace.runs / row.folder):
        return run
    paths = {**run.paths, "output": str(folder / "checkpoint")} if run.kind == "train" else run.paths
    return replace(run, folder=folder, name=row.name, paths=paths)


def trained_run(workspace: Workspace, registry: Registry, text: str) -> Run:
    """The train run a person names as a checkpoint. `UserError` when it is none, or has not been done."""
    if Path(text).is_absolute() or text.startswith((".", "~")):
        raise UserError(f"there is no checkpoint folder {text!r}", "--checkpoint takes a folder, or a train run's name")
    sync(workspace, registry)
    try:
        row = registry.find(text)
    except UserError:
        if is_hub_id(text) and not text.startswith("train/"):
            raise absent(text) from None
        raise
    if row.kind != "train":
        raise UserError(f"{text!r} is a {row.kind} run, not a checkpoint", "smx ls --kind train")
    if row.state != RunState.done and not registry.attempts(row.fingerprint, live=True):
        raise UserError(f"train run {text!r} is {row.state}: it has no finished checkpoint", f"smx show {text}")
    return run_of(RunFolder(workspace.runs / row.folder))


def _submitted(
    workspace: Workspace, registry: Registry, batch: Batch, options: LaunchOptions, listener: Listener
) -> list[tuple[Run, AttemptFolder]]:
    """Submit a batch; the attempts to follow: its own, and when watching what other commands are at, too."""
    started = submit(
        workspace,
        registry,
        batch.decisions,
        executor=(batch.name, batch.executor),
        shards=batch.shards,
        max_failed=batch.max_failed,
        resources=batch.resources,
        canary=batch.canary,
        tell=listener.say,
    )
    for canary in dict.fromkeys(a.plan["canary"]["run"] for _, a in started.attempts if a.plan["canary"]):
        listener.say(f"canary: the first items of {canary} go first, the rest of its kind waits for them")
    for run in started.taken:
        listener.say(f"{run.title}: another command started it a moment ago")
    if not options.watch:
        return started.attempts
    others = [*started.taken, *(d.run for d in batch.decisions if d.action == "wait")]
    live = [(run, row.attempt) for run in others for row in registry.attempts(run.fingerprint, live=True)]
    return [*started.attempts, *((run, RunFolder(run.folder).attempt(number)) for run, number in live)]


def _mend_results(registry: Registry, runs: Sequence[Run], listener: Listener) -> None:
    """Derive a damaged result.json from its items again, and say so: it must not refuse what needs it."""
    for run in runs:
        folder = RunFolder(run.folder)
        try:
            folder.result()
        except UserError as damaged:
            derive(folder, excluded_attempts(registry.attempts(run.fingerprint)))
            listener.say(f"{damaged.message}: made again from its items")
