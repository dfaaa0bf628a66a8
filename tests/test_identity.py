"""What tells runs apart, and what must not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from smx import digests, plugins
from smx.digests import checkpoint_digest
from smx.resolve import Resolver
from smx.samplers import BaseSampler
from smx.workspace import Workspace


def test_weights_that_differ_in_the_middle_alone_are_other_weights(tmp_path: Path) -> None:
    """Lost otherwise: a fine-tuned checkpoint whose first and last tensors were frozen shows the old one's scores."""
    found = []
    for middle in (0.0, 1.0):
        folder = tmp_path / str(middle)
        folder.mkdir()
        size = 1 << 19
        tensors = {"a": np.zeros(size), "b": np.full(size, middle), "c": np.zeros(size)}
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": "x"}))
        found.append(checkpoint_digest(folder))
    assert found[0] != found[1]


def test_a_file_that_only_claims_to_hold_weights_has_a_digest_too(tmp_path: Path) -> None:
    """Lost otherwise: a torn download ends in a traceback instead of the check's own words."""
    for content in (b"", b"1234", b"\xff" * 64, b"\x02\x00\x00\x00\x00\x00\x00\x00[]"):
        (tmp_path / "model.safetensors").write_bytes(content)
        assert len(checkpoint_digest(tmp_path)) == 64


@pytest.mark.parametrize(
    ("model", "sampler", "runs"),
    [("frequency", "uniform", 1), ("chance", "uniform", 2), ("tiny", "uniform", 2), ("tiny", "random", 2)],
)
def test_a_seed_that_changes_nothing_makes_no_further_run(tmp_path: Path, model: str, sampler: str, runs: int) -> None:
    """Lost otherwise: the same run three times, and "± 0.0 over 3 seeds" in the table."""
    resolver = Resolver(Workspace(tmp_path, "default"))
    options = {"scenes": 1, "train_scenes": 1, "frames": 16, "width": 64, "height": 48}
    asked = {"model": model, "sampler": sampler, "frames": 4, "bench": "rooms", "bench_options": options}
    found = {resolver.eval({**asked, "seed": seed})[-1].fingerprint for seed in (0, 1)}
    assert len(found) == runs


def test_a_partner_chosen_by_overlap_needs_depth_before_the_queue() -> None:
    """Lost otherwise: every scene of a dataset without depth fails one by one, hours later."""
    cls: type[BaseSampler] = plugins.load("samplers", "mergeaware_uniform")
    assert cls.parse({}, "sampler").requires() == frozenset()
    assert cls.parse({"partner": "least"}, "sampler").requires() == {"cameras", "voxels"}


def test_a_scene_that_is_added_changes_no_run_of_the_others(tmp_path: Path) -> None:
    """Lost otherwise: one video copied beside the others, and everything is to be computed again."""
    for scene, shade in (("kitchen", 10), ("office", 20)):
        (tmp_path / "data" / scene).mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", (32, 24), (shade, k, 0)).save(tmp_path / "data" / scene / f"{k:04d}.png")
    asked = {"sampler": "uniform", "frames": 2, "dataset": "frames", "root": str(tmp_path / "data")}

    def made(*scenes: str) -> str:
        return Resolver(Workspace(tmp_path, "default")).gen({**asked, "scenes": scenes})[0].fingerprint

    one, both = made("kitchen"), made("*")
    (tmp_path / "data" / "office" / "0004.png").write_bytes(b"another frame")
    assert made("kitchen") == one
    assert made("*") != both


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: every command reads two MiB of every video, or (worse) a changed video passes for the old one."""
    read: list[str] = []
    ends = digests._ends

    def noting(path: Path) -> str:
        read.append(path.name)
        return ends(path)

    monkeypatch.setattr(digests, "_ends", noting)
    old, fresh = tmp_path / "old.mp4", tmp_path / "fresh.mp4"
    for path in (old, fresh):
        path.write_bytes(b"a" * 99)
    os.utime(old, (1, 1))
    known: dict[str, Any] = {}
    for _ in range(2):
        with digests.remembering(known):
            before = [digests.file_digest(path) for path in (old, fresh)]
    assert read == ["old.mp4", "fresh.mp4", "fresh.mp4"]  # who changed it a moment ago may change it again
    known = json.loads(json.dumps(known))
    old.write_bytes(b"b" * 99)
    os.utime(old, (2, 2))
    with digests.remembering(known):
        assert digests.file_digest(old) != before[0]
    assert digests.file_digest(old) == ends(old)
