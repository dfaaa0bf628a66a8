"""Several ranks of one training on a real cluster: one model, recorded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slurm.cluster import Cluster
from slurm.following import check, on_slurm, settle, site
from smx.node import _FirstRank, _OtherRank
from smx.runfolder import run_folders
from smx.workspace import find

_DATA = ("scenes=1", "train_scenes=1", "frames=16", "width=80", "height=60")
_RECIPE = ("steps=4", "save_every=2", "batch=2")
TRAIN = (
    *("train", "--model", "tiny", "--data", "rooms", "--sampler", "uniform", "--frames", "2"),
    *(f"--set=data_options.rooms.{pair}" for pair in _DATA),
    *(f"--set=recipe.{pair}" for pair in _RECIPE),
)


def test_ranks_train_one_model(
    cluster: Cluster, lab: Path, calm: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two ranks share each step: the losses of one process, each stretch of steps recorded once."""
    train = {"tasks": 2, "cpus": 1, "environment": {"OMP_NUM_THREADS": "1"}}
    site(lab, {"time": "10m", "memory": "2G", "kinds": {"train": train}})
    assert on_slurm(lab, *TRAIN, "--set=recipe.batch=3") == 2
    assert "2 ranks cannot share the 3 examples" in capsys.readouterr().err
    assert on_slurm(lab, *TRAIN) == 0
    settle(lab)
    check(lab, "gen done 1/1", "train done 4/4")
    assert _losses(lab) == pytest.approx(_losses(calm(TRAIN)), rel=1e-4)


def test_the_first_failure_is_told_and_not_its_echo(tmp_path: Path) -> None:
    """One rank fails, and the first one is stopped for it: what is recorded is the cause, and once."""
    other, first = _OtherRank(tmp_path / "0"), _FirstRank(tmp_path / "0")
    first.begin()
    other.append({"item": "a"})
    other.beat({})
    other.end("preempted")
    assert (list(first.items()), first.heartbeat(), first.exit()) == ([], None, None)
    other.end("failed", line="the cause")
    first.end("cancelled", reason="asked to stop")
    said = first.exit()
    assert said is not None
    assert (said["how"], said["line"]) == ("failed", "the cause")


def _losses(lab: Path) -> list[float]:
    (run,) = [run for run in run_folders(find(lab).runs) if run.spec["kind"] == "train"]
    result = run.result()
    assert result is not None
    losses: list[float] = result["losses"]
    assert len(losses) == 4
    return losses
