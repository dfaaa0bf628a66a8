"""Runs in Python: one by its name, or those that a launch was about, by what tells them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx.api.access import Access
from smx.api.frames import items_frame, scores_frame
from smx.api.show import Text, html_table, state_text
from smx.control.cancel import cancel
from smx.control.retry import retry
from smx.control.wait import wait
from smx.errors import UserError
from smx.monitor import why as whys
from smx.registry.rows import RunRow
from smx.runfolder import RunFolder
from smx.states import RunState

if TYPE_CHECKING:
    import pandas as pd


class LabRun:
    """One run. Every look at it is a look at the registry as it is then."""

    def __init__(self, access: Access, fingerprint: str) -> None:
        self._access = access
        self.fingerprint = fingerprint

    @property
    def row(self) -> RunRow:
        """What the registry has of it, its live attempts looked at."""
        with self._access.registry() as registry:
            row = registry.run(self.fingerprint)
        if row is None:
            raise UserError(f"run {self.fingerprint[:12]} is not in the registry any more", "smx db rebuild; smx ls")
        return row

    @property
    def name(self) -> str:
        """What the command line calls it, and its folder's name."""
        return self.row.title

    @property
    def state(self) -> str:
        """done, failed, partial, running …"""
        return str(self.row.state)

    @property
    def folder(self) -> Path:
        """Where its spec, attempts, logs and result are."""
        return self._access.workspace.runs / self.row.folder

    @property
    def result(self) -> dict[str, Any] | None:
        """Its result.json: counts, scores, what it took; None until items are done."""
        return RunFolder(self.folder).result()

    def why(self) -> Text:
        """Why it waits or how it failed, as `smx why` says it."""
        with self._access.registry() as registry:
            row = registry.run(self.fingerprint)
            assert row is not None
            return Text("\n".join(whys.lines(whys.explain(registry, self._access.workspace.runs, row))))

    def scores(self) -> pd.DataFrame:
        """Its scores, as rows of `Lab.scores`."""
        return scores_frame(self._access, {"fingerprint": self.fingerprint})

    def items(self, where: str | Sequence[str] = ()) -> pd.DataFrame:
        """A row an item, as `Lab.items` has them."""
        return items_frame(self._access, self.fingerprint, where)

    def wait(self) -> LabRun:
        """Return once it has ended."""
        wait(self._access.workspace, [self.fingerprint], listener=self._access.listener)
        return self

    def retry(self, **how: Any) -> LabRun:
        """Start what is left of it: `memory="x2"`, `time`, `exclude_bad_nodes`, `executor`, `watch` as `smx retry`."""
        retry(self._access.workspace, [self.fingerprint], listener=self._access.listener, **how)
        return self

    def cancel(self) -> LabRun:
        """Stop it, and what waits for it."""
        cancel(self._access.workspace, [self.fingerprint], listener=self._access.listener)
        return self

    def __repr__(self) -> str:
        row = self.row
        return f"{row.kind} {row.title}: {row.state}, {row.done}/{row.items or '?'} items"

    def _repr_html_(self) -> str:
        row = self.row
        about = [("kind", row.kind), ("state", state_text(row.state)), ("items", _items(row))]
        axes = [("model", row.variant), ("sampler", row.sampler), ("frames", row.frames), ("bench", row.bench)]
        folder = self._access.workspace.runs / row.folder  # of this row: every property looks at the registry again
        shown = [pair for pair in (*about, *axes, ("folder", folder)) if pair[1] is not None]
        return html_table([], shown, row.title) + _scores_html((RunFolder(folder).result() or {}).get("scores") or {})


class Runs(Sequence[LabRun]):
    """The runs of a launch, by place, or by the values of the keys that were lists: `runs["prope", "sa", 16]`."""

    def __init__(self, access: Access, keys: Sequence[str], runs: Sequence[tuple[tuple[Any, ...], str]]) -> None:
        """`keys` that tell them apart; `runs`: (a value of each key, fingerprint)."""
        self._access = access
        self.keys = tuple(keys)
        self._by_values = dict(runs)

    def __len__(self) -> int:
        return len(self._by_values)

    def __iter__(self) -> Iterator[LabRun]:
        return (LabRun(self._access, fingerprint) for fingerprint in self._by_values.values())

    def __getitem__(self, at: Any) -> Any:
        """One by its values (all of them, as a tuple or alone); a number alone is a place, a slice places."""
        if isinstance(at, int | slice):
            return list(self)[at]
        values = at if isinstance(at, tuple) else (at,)
        if values in self._by_values:
            return LabRun(self._access, self._by_values[values])
        # Values that were given as one, not as a list, tell nothing apart; naming them is no mistake.
        fitting = [own for own in self._by_values if own and set(own) <= set(values)]
        if isinstance(at, tuple) and len(fitting) == 1:
            return LabRun(self._access, self._by_values[fitting[0]])
        listed = [f"runs[{repr(own)[1:-1].rstrip(',')}]" for own in self._by_values if own]
        asked = repr(values)[1:-1].rstrip(",")
        if not listed:
            raise UserError(f"no key of this launch is a list, so {asked} names none of its runs", "runs[0] is its run")
        raise UserError(f"no run of this launch is {asked}", f"by {', '.join(self.keys)}: {'; '.join(listed[:12])}")

    def wait(self) -> Runs:
        """Return once all have ended."""
        wait(self._access.workspace, self._names(), listener=self._access.listener)
        return self

    def retry(self, **how: Any) -> Runs:
        """Start what is left of them, as `LabRun.retry` does."""
        retry(self._access.workspace, self._names(), listener=self._access.listener, **how)
        return self

    def cancel(self) -> Runs:
        """Stop them, and what waits for them."""
        cancel(self._access.workspace, self._names(), listener=self._access.listener)
        return self

    def why(self) -> Text:
        """Of each that is not done: why it waits, or how it failed."""
        return Text("\n\n".join(run.why() for run in self if run.state != RunState.done) or "all are done")

    def scores(self) -> pd.DataFrame:
        """Their scores, as rows of `Lab.scores`."""
        return scores_frame(self._access, {"fingerprint": self._names()})

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "no runs"

    def _repr_html_(self) -> str:
        rows = [run.row for run in self]
        body = [[*own, r.title, state_text(r.state), _items(r)] for own, r in zip(self._by_values, rows, strict=True)]
        return html_table([*self.keys, "run", "state", "items"], body)

    def _names(self) -> list[str]:
        return list(dict.fromkeys(self._by_values.values()))


def _items(row: RunRow) -> str:
    return f"{row.done}/{row.items or '?'}" + (f", {row.failed} failed" if row.failed else "")


def _scores_html(scores: Mapping[str, Any]) -> str:
    """A row a scorer, a column an average; nothing where nothing is scored."""
    columns = [(name, average) for name in ("all", "acc", "mra") for average in ("micro", "macro")]
    values = {scorer: [summary.get(n, {}).get(a) for n, a in columns] for scorer, summary in scores.items()}
    body = [[scorer, *("" if v is None else f"{100 * v:.1f}" for v in row)] for scorer, row in values.items()]
    return html_table(["scorer", *(f"{name}.{average}" for name, average in columns)], body) if body else ""
