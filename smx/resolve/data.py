"""Datasets and benches of a workspace: where they are on this machine, and what is in them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smx import plugins
from smx.atomic_io import write_json
from smx.benches import BaseBench, Question
from smx.datasets import BaseDataset
from smx.datasets._scan_folders import digest_of
from smx.digests import DIGESTS, digests_in, remembering
from smx.errors import UserError
from smx.resolve import hub_data
from smx.resolve.context import Context
from smx.resolve.hub_data import Half
from smx.resolve.requests import Roots


@dataclass(frozen=True)
class AskedScenes:
    """Scenes that the questions of a bench are about."""

    name: str  # of the bench
    bench: BaseBench
    options: dict[str, Any]  # of its dataset
    scenes: set[str]
    root: Path | None  # of its questions
    given: bool = False  # that root was named: videos are below it, too
    videos: Path | None = None  # where somebody said that they are


def bench_of(name: str, options: Mapping[str, Any]) -> BaseBench:
    """The bench plugin with these options."""
    bench: BaseBench = plugins.load("benches", name).parse(dict(options), f"bench {name}")
    return bench


def dataset_of(name: str, options: Mapping[str, Any]) -> BaseDataset:
    """The dataset plugin with these options."""
    dataset: BaseDataset = plugins.load("datasets", name).parse(dict(options), f"dataset {name}")
    return dataset


class Data:
    """What one workspace knows of datasets and benches. Questions, scene lists and digests are read once."""

    def __init__(self, context: Context, *, remember: bool = False) -> None:
        """`remember`: keep digests of files in the workspace's cache."""
        self._context = context
        self._remember = remember
        self._downloads: dict[tuple[str, Half], hub_data.Published | None] = {}
        self._questions: dict[Any, list[Question]] = {}
        self._scenes: dict[Any, list[str]] = {}
        self._inputs: dict[Any, dict[str, dict[str, str]]] = {}

    # where

    def root(self, name: str, needed: bool, given: str | None, half: Half = "questions") -> Path | None:
        """Where a dataset's scenes (half "videos") or a bench's questions are; None where these need no folder.

        As `given`, else as the site file says, else where a download has put them.
        """
        if not needed:
            if given:
                raise UserError(f"{name!r} is made on the fly, so --root means nothing to it")
            return None
        place = given or self._context.configured(name, half)
        if not place and (published := self._published(name, half)):
            self._context.say(f"{half.capitalize()} of {name}: {published.name}.")
            return published.folder
        if not place:
            brings = f"{hub_data.download(name)} brings it; or " if hub_data.download(name) else ""
            both = half == "questions" or name not in plugins.names("benches")
            what = f"is {name!r}" if both else f"are the videos of {name!r}"
            raise UserError(
                f"where {what}? no folder is configured for it",
                f"{brings}--root DIR, or in experiments/site.yaml:  data: {{{name}: DIR}}",
            )
        root = Path(place).expanduser()
        if not root.exists():
            raise UserError(
                f"{name!r}: there is no folder {str(root)!r}", "check --root or `data:` in experiments/site.yaml"
            )
        return root.resolve()

    def videos(self, seen: AskedScenes) -> Path | None:
        """Where a bench's scenes are: in its own folder of videos, the dataset's own, or with its questions."""
        dataset = seen.bench.dataset
        if seen.videos is not None or seen.root is None:
            return seen.videos
        if not seen.given and (own := self._context.configured(seen.name, "videos")) and own != str(seen.root):
            return self.root(seen.name, True, own)
        if dataset == seen.name:
            return seen.root if seen.given else self.root(dataset, True, None, "videos")
        return self.root(dataset, True, None, "videos") if self._context.configured(dataset, "videos") else seen.root

    def _published(self, name: str, half: Half) -> hub_data.Published | None:
        """What downloads have left of a bench or dataset on this machine; looked for once."""
        if (name, half) not in self._downloads:
            self._downloads[name, half] = hub_data.published(name, half)
        return self._downloads[name, half]

    # which

    def default_dataset(self, places: Roots) -> str:
        """The dataset that gen means where none is named."""
        if places.root:
            return "frames"
        if self._context.workspace.site is None and not self._context.stand_ins:
            hint = "--dataset NAME: smx list datasets; built-in rooms serve on SLURM only where named: --dataset rooms"
            raise UserError("which dataset? none is named, and there is no site file", hint)
        if self._context.workspace.site is None:
            self._context.say("No dataset is named or configured: the built-in rooms serve (dataset `rooms`).")
            return "rooms"
        site = self._context.workspace.site
        known = [d for d in site.data if d in plugins.names("datasets")]
        if len(known) == 1:
            return known[0]
        raise UserError(
            "which dataset? none is named", f"--dataset NAME; configured: {', '.join(known) or 'none'}; built in: rooms"
        )

    def bench_for(self, asked: str, options: Mapping[str, Any], places: Roots) -> str:
        """The bench that is asked: `asked`, or the rooms where they may stand in and know all these `options`."""
        needs_root = plugins.load("benches", asked).needs_root
        asks_rooms = set(options) <= plugins.load("benches", "rooms").model_fields.keys()
        if not (needs_root and asks_rooms and self._context.may_stand_in(places)):
            return asked
        if self._published(asked, "questions"):
            return asked
        self._context.say(
            f"No data for bench {asked!r} is configured: the built-in rooms serve instead (bench `rooms`)."
        )
        return "rooms"

    # what is in them

    def scenes(self, name: str, dataset: BaseDataset, root: Path | None) -> list[str]:
        """Ids of all scenes."""
        key = (name, dataset, root)
        if key not in self._scenes:
            self._scenes[key] = dataset.scenes(root)
        return self._scenes[key]

    def digest(self, name: str, dataset: BaseDataset, root: Path | None, scenes: Sequence[str]) -> str:
        """Of these scenes alone: what is added beside them changes no run."""
        read = self.inputs(name, dataset, root, scenes)
        return digest_of(read) if read else dataset.digest(root, scenes)

    def inputs(
        self, name: str, dataset: BaseDataset, root: Path | None, scenes: Sequence[str]
    ) -> dict[str, dict[str, str]]:
        """`BaseDataset.inputs` of these scenes. Files are read once, not by each command."""
        key = (name, dataset, root, tuple(scenes))
        if key not in self._inputs:
            place = self._context.workspace.cache / DIGESTS
            known = digests_in(place)
            before = dict(known)
            with remembering(known):
                self._inputs[key] = dataset.inputs(root, scenes)
            if self._remember and known != before:
                with contextlib.suppress(OSError):
                    write_json(place, known)
        return self._inputs[key]

    def questions(self, name: str, bench: BaseBench, root: Path | None) -> list[Question]:
        """What the bench asks, at least one. Those without ground truth are among them, and the user is told."""
        key = (name, bench.model_dump_json(), root)
        if key not in self._questions:
            self._questions[key] = bench.questions(root)
        questions = self._questions[key]
        if not questions:
            raise UserError(f"bench {name!r}: no question is left by its filters", "check --where")
        if lacking := [q.id for q in questions if not q.truth]:
            self._context.say(
                f"Note: {len(lacking)} of {len(questions)} questions have no ground truth (e.g. {lacking[0]}): "
                "they fail, and are in no score."
            )
        return questions
