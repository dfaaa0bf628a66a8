"""A workspace as Python sees it: DataFrames of runs, scores, items and samples, tables, and new runs."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from smx import sampleset
from smx.api.access import Access
from smx.api.frames import frame, listed, plain, runs_frame, samples_frame, scores_frame
from smx.api.runs import LabRun, Runs
from smx.api.show import SampleView, ScoreTable, html_table, state_text
from smx.control.launch import LaunchOptions, launch
from smx.dotted import nest
from smx.errors import UserError, unknown
from smx.samples.lookup import find_sample
from smx.spec import KINDS
from smx.states import RunState

if TYPE_CHECKING:
    import pandas as pd

# Keys of a request whose value is a list itself: naming several does not make several runs.
_LISTS = ("data", "scenes")


class Lab(Access):
    """One workspace. Made by `smx.open`; every method looks at it as it is at that moment."""

    # what there is

    def runs(self, **filters: Any) -> pd.DataFrame:
        """A row a run, newest first: its name, how it stands, and every key of its spec as a column (`recipe.lr`).

        `filters`: a value or a list of kind, model, sampler, frames, bench, dataset, state, tag; `since`, an ISO time.
        """
        return runs_frame(self, filters)

    def scores(self, *, imported: bool = False, **filters: Any) -> pd.DataFrame:
        """A row a score that counts: run × scorer × metric (× task), value in 0..1, 95 % interval, n, unparsed.

        `filters` as of `runs`, and scorer, metric and task. `imported`: those of the lab's past, too.
        """
        return scores_frame(self, filters, imported=imported)

    def items(self, run: str, where: str | Sequence[str] = ()) -> pd.DataFrame:
        """A row an item of one run. Of an eval: question, truth, text, parsed, and a score per scorer.

        `run`: as on the command line. `where`: right, wrong, unparsed, failed, done, or `scene=…`, `type=…`.
        """
        return self.run(run).items(where)

    def samples(
        self, sampler: str | None = None, frames: int | None = None, dataset: str | None = None
    ) -> pd.DataFrame:
        """A row a sample: frame ids in their order, pairs, mean overlap within pairs, coverage, filled frames."""
        return samples_frame(self, sampler, frames, dataset)

    def sample(self, sample_set: str, scene: str) -> SampleView:
        """One scene's sample, as a notebook shows it: frames, pairs, map. `sample_set`: "mergeaware_sa/16"."""
        return SampleView(sampleset.read(find_sample(self.workspace.samples, sample_set, scene)))

    def run(self, name: str) -> LabRun:
        """The run a person means: its name, the start of its fingerprint, or a job id.

        `UserError` where none fits (the closest named), or several do (all named).
        """
        with self.registry() as registry:
            return LabRun(self, registry.find(name).fingerprint)

    def table(
        self,
        rows: str | Sequence[str] = (),
        cols: str | Sequence[str] = (),
        metric: str | Sequence[str] = (),
        bench: str | None = None,
        scorer: str | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> ScoreTable:
        """The table of `smx report`, with its axes: `.to_latex()`, `.to_markdown()`, `.to_html()`, `.to_frame()`."""
        from smx.report.query import parse
        from smx.report.tables import tables

        pairs = [f"{key}={','.join(map(str, listed(value)))}" for key, value in (where or {}).items()]
        query = parse(_joined(rows), _joined(cols), _joined(metric), bench, scorer, pairs)
        with self.registry() as registry:
            return ScoreTable(tables(registry, query, self.workspace.runs), self.workspace)

    def query(self, sql: str) -> pd.DataFrame:
        """What the registry answers to a `select`; its tables and views are those of `smx db query`."""
        from smx.registry.select import select

        columns, rows = select(self.workspace.registry, sql)
        return frame(rows, columns)

    # new runs

    def launch(
        self,
        kind: str,
        *,
        executor: str | None = None,
        shards: int = 1,
        max_failed: int | None = None,
        retry: bool = False,
        watch: bool = False,
        canary: bool = False,
        keep: bool = False,
        labels: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> Runs:
        """Start what is missing of these runs, and of those they need; what is done is not done again.

        `kind`: gen, train or eval. `keys` are those of a spec, as in an experiment's YAML; a list makes a run for each
        of its values, in every combination (`data` and `scenes` are lists themselves). A dot goes inside:
        `**{"sampler_options.window": [10, 30]}`. Returns when the runs have been handed over; with an executor that
        works in this process, or with `watch`, when they have ended. `UserError` before anything is started.
        """
        if kind not in KINDS:
            raise unknown("kind of run", kind, KINDS)
        names, requests = _grid(kind, keys)
        options = LaunchOptions(
            executor=executor, retry=retry, shards=shards, max_failed=max_failed, watch=watch, canary=canary, keep=keep
        )
        done = launch(self.workspace, [r for _, r in requests], options, labels=labels, listener=self.listener)
        pairs = zip((values for values, _ in requests), done.requested, strict=True)
        return Runs(self, names, list(pairs))

    def __repr__(self) -> str:
        with self.registry() as registry:
            counts = Counter(row.state for row in registry.runs())
        stand = ", ".join(f"{n} {state}" for state, n in counts.most_common()) or "no runs yet"
        return f"Lab({str(self.workspace.root)!r}: {stand})"

    def _repr_html_(self) -> str:
        with self.registry() as registry:
            counts = Counter((row.kind, str(row.state)) for row in registry.runs())
        states = [state for state in map(str, RunState) if any(s == state for _, s in counts)]
        head = ["", *(state_text(state) for state in states)]
        body = [[kind, *(counts[kind, state] or "" for state in states)] for kind in KINDS]
        return html_table(head, body, f"{self.workspace.root}")


def _grid(kind: str, keys: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """(the keys that hold lists, a request for each combination of their values)."""
    keys = {key: plain(value) for key, value in keys.items()}
    several = {key: list(value) for key, value in keys.items() if _varies(key, value)}
    for key, values in several.items():
        if not values:
            raise UserError(f"{key} is an empty list: that makes no runs", f'for example {key}=["…"]')
    single = {key: value for key, value in keys.items() if key not in several}
    combinations = itertools.product(*several.values())
    requests = [
        (values, {"kind": kind, **nest({**single, **dict(zip(several, values, strict=True))})})
        for values in combinations
    ]
    return tuple(several), requests


def _varies(key: str, value: object) -> bool:
    return key not in _LISTS and not isinstance(value, str | bytes | Mapping) and isinstance(value, Sequence)


def _joined(names: str | Sequence[str]) -> str:
    return names if isinstance(names, str) else ",".join(names)
