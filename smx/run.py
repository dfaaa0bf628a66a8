"""A run as it was asked for: resolved and checked, before anyone decides whether it is needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smx.spec import AnySpec, GenSpec, dataset_label, sample_folder


@dataclass(frozen=True)
class Item:
    """The smallest unit that can fail alone. Items of one group (a scene) stay in one shard."""

    id: str
    group: str
    data: str = ""  # of gen: digest of the files that its scene is read from; "" where it is read from none


@dataclass(frozen=True)
class Run:
    """One run: identity, items, and where its inputs are on this machine."""

    spec: AnySpec
    fingerprint: str  # 64 hex digits
    name: str  # readable part of the folder name
    folder: Path  # where the run is kept
    items: tuple[Item, ...]
    plugins: dict[str, int | str]  # identities that entered the fingerprint
    inputs: dict[str, str]  # role -> digest that entered the fingerprint
    paths: dict[str, str | None]  # role -> place on this machine; no part of the identity
    labels: dict[str, Any] = field(default_factory=dict)  # untrained, stand_in_for, experiment
    needs: tuple[str, ...] = ()  # fingerprints of runs that must have run before

    @property
    def kind(self) -> str:
        """gen, train or eval."""
        return self.spec.kind

    @property
    def title(self) -> str:
        """How people see it, and the folder's name: name and eight digits."""
        return self.folder.name

    def sample_folder(self, item: Item) -> Path:
        """Where a run of kind gen keeps one scene."""
        assert isinstance(self.spec, GenSpec)
        label = dataset_label(self.spec.dataset, self.spec.dataset_options, self.plugins)
        samples = Path(str(self.paths["samples"]))
        return sample_folder(samples, self.spec, label, item.id, item.data, self.plugins)
