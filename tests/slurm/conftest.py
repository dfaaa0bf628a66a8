"""Real clusters for the tests of this folder: one with accounting, one without. Each worker has its own."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.commands import smx

from slurm.cluster import Cluster, missing
from slurm.following import BEGUN, Gate, matrix, site

# A model of the lab: it waits for its frames like a real one, but nothing of it is torch's.
FRAMED = '''"""Answers at random, after looking at its frames."""
from typing import ClassVar
from smx.models.chance import Model as Chance

class Model(Chance):
    needs_frames: ClassVar[bool] = True
'''

# So jobs that only count need not wait until the real one is loaded, to be told that there is no GPU.
TORCH = """
class cuda:
    is_available = staticmethod(lambda: False)
"""


@pytest.fixture(scope="session")
def _with_accounting() -> Iterator[Cluster]:
    yield from _started(accounting=True)


@pytest.fixture(scope="session")
def _without_accounting() -> Iterator[Cluster]:
    yield from _started(accounting=False)


@pytest.fixture
def cluster(_with_accounting: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Four nodes of eight CPUs and four GPUs, slurmdbd and its database; empty before and after."""
    yield from _used(_with_accounting, monkeypatch)


@pytest.fixture
def bare_cluster(_without_accounting: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The same without accounting: sacct says that it is disabled."""
    yield from _used(_without_accounting, monkeypatch)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose name has everything that shells trip over, with a site file for the cluster."""
    folder = tmp_path / 'lab of "Zoë" & $(touch pwned)\n\'s'
    _furnish(folder)
    (folder / "experiments" / "torch").mkdir()
    (folder / "experiments" / "torch" / "torch.py").write_text(TORCH)
    site(folder, {})
    monkeypatch.setenv("SMX_PROBE", str(tmp_path / BEGUN))
    return folder


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A workspace in which a command ran undisturbed, without SLURM; each only once. `seeds`: of the matrix."""

    @functools.cache
    def workspace(command: tuple[str, ...], seeds: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("calm")
        _furnish(folder)
        matrix(folder, seeds)
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("SMX_PROBE", raising=False)
            assert smx("-w", folder, *command) == 0
        return folder

    return workspace


def _furnish(folder: Path) -> None:
    (folder / "experiments" / "plugins" / "models").mkdir(parents=True)
    (folder / "experiments" / "plugins" / "models" / "framed.py").write_text(FRAMED)
    (folder / "experiments" / "models").mkdir()
    (folder / "experiments" / "models" / "framed.yaml").write_text("base: framed\n")


def _started(*, accounting: bool) -> Iterator[Cluster]:
    if "slurm" not in os.environ.get("SMX_REQUIRE", "").split(","):
        pytest.skip("a cluster is started only where SMX_REQUIRE names slurm: it takes minutes")
    if why := missing(accounting):
        pytest.fail(f"slurm is required here: {why}")
    with Cluster(accounting=accounting) as cluster:
        yield cluster


def _used(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    for name in [n for n in os.environ if n.startswith(("SLURM_", "SBATCH_")) and n != "SLURM_CONF"]:
        monkeypatch.delenv(name)
    cluster.clear()
    yield cluster
    cluster.clear()


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Holds items of jobs at their beginning; jobs started from here on go through it."""
    found = Gate(tmp_path / "gate", tmp_path / BEGUN)
    monkeypatch.setenv("SMX_PROBE", str(found.path))
    yield found
    found.close()
