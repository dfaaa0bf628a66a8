"""Runs on a real cluster: they end in the right state, with the outputs an undisturbed run has."""

from __future__ import annotations

from pathlib import Path

from cluster import Cluster, until
from commands import smx

from smx.project import find
from smx.registry.rows import RunRow
from smx.registry.store import Registry
from smx.runfolder import RunFolder
from smx.sync import sync

GEN = ("gen", "--dataset", "rooms", "--set", "dataset_options.count=4", "--set", "dataset_options.frames=24")
GEN = (*GEN, "--set", "dataset_options.width=80", "--set", "dataset_options.height=60")


def on_slurm(lab: Path, *arguments: object) -> int:
    """`smx -w LAB … --executor slurm`."""
    return smx("-w", lab, *arguments, "--executor", "slurm")


def settle(lab: Path, patience: float = 120.0) -> list[RunRow]:
    """Sync until no attempt is live; the runs, oldest first."""
    space = find(lab)

    def over() -> bool:
        with Registry.open(space.registry) as registry:
            sync(space, registry)
            return not registry.attempts(live=True)

    until("all runs have ended", over, patience)
    with Registry.open(space.registry) as registry:
        return registry.runs()[::-1]


def test_a_run_is_submitted_and_followed_to_its_end(cluster: Cluster, lab: Path) -> None:
    """The plainest thing: four scenes in two tasks of one array, in a folder with an impossible name."""
    assert on_slurm(lab, *GEN, "--sampler", "uniform", "--frames", "8", "--shards", "2") == 0
    (run,) = settle(lab)
    assert (run.state, run.done, run.failed) == ("done", 4, 0)
    folder = RunFolder(find(lab).runs / run.folder)
    handle = folder.attempt(1).handle()
    assert handle is not None
    assert [index for _, index, _ in handle["shards"]] == [0, 1]
    assert not list(lab.parent.rglob("pwned"))
