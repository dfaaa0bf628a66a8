"""A rebuilt registry says what the scorers of today make of the recorded items."""

from __future__ import annotations

from pathlib import Path

import pytest

from smx.benches._vsi import VsiBench
from smx.cli import run
from smx.registry.store import Registry


def test_a_new_scorer_version_reaches_old_runs_by_a_rebuild(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: a corrected scorer never reaches runs that are done, and tables mix two versions for good."""
    options = ("--set", "bench_options.scenes=1", "--set", "bench_options.train_scenes=1")
    assert run(["-w", str(tmp_path), "eval", "--model", "frequency", *options, "--max-failed", "99"]) == 0
    assert scorers(tmp_path) == {VsiBench.scorer_id(name) for name in VsiBench.scorers}
    monkeypatch.setattr(VsiBench, "scorer_versions", dict.fromkeys(VsiBench.scorers, "later"))
    assert run(["-w", str(tmp_path), "db", "rebuild"]) == 0
    assert scorers(tmp_path) == {f"{name}@later" for name in VsiBench.scorers}


def scorers(space: Path) -> set[str]:
    """Scorers the registry has numbers of."""
    with Registry.open(space / "registry.db", create=False) as registry:
        return {score.scorer for score in registry.scores()}
