"""`smx samples stats`: the statistic behind the lab's question, from the sample sets alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.walks import Walk
from typer.testing import CliRunner

from smx import plugins, sampleset
from smx.cli.samples import app
from smx.errors import UserError
from smx.geometry.view import GeometryOptions
from smx.node.sampling import make_sample
from smx.samples.stats import fit, stats, unshared


def test_rows_say_what_the_samples_hold(tmp_path: Path) -> None:
    """Lost otherwise: the table disagrees with the pairs it is about."""
    put(tmp_path, "mergeaware_sa", "one", [(0, 1, 0.5), (4, 5, 0.9)], coverage=0.6, fill=1)
    put(tmp_path, "mergeaware_sa", "two", [(0, 9, 0.1), (4, 4, 1.0)], coverage=0.8)
    put(tmp_path, "sa", "one", [(0, 4, 0.2), (5, 8, None)], coverage=0.9)
    (first,), (second,) = (stats(tmp_path, [name])["rows"] for name in ("mergeaware_sa", "sa"))
    assert (first["sampler"], first["dataset"], first["frames"], first["scenes"]) == ("mergeaware_sa", "rooms", 4, 2)
    assert first["pairs"] == 3
    assert first["overlap"] == pytest.approx(0.5)
    assert first["overlap_p10"] == pytest.approx(0.18)
    assert first["below"] == pytest.approx(1 / 3)
    assert first["coverage"] == pytest.approx(0.7)
    assert first["shared_with_sa"] == pytest.approx(3 / 4)
    assert first["fill"] == pytest.approx(1 / 8)
    assert second["shared_with_sa"] == 1


def test_other_options_of_a_sampler_are_another_row(tmp_path: Path) -> None:
    """Lost otherwise: window 5 and window 30 are averaged into a number that describes neither."""
    put(tmp_path, "mergeaware_sa", "one", [(0, 1, 0.5)], options={"window": 5})
    put(tmp_path, "mergeaware_sa", "one", [(0, 1, 0.9)], options={"window": 30}, fingerprint="ffffffff")
    assert sorted(row["overlap"] for row in stats(tmp_path)["rows"]) == [0.5, 0.9]


def test_a_trend_is_fitted_over_the_scenes_all_frame_counts_share(tmp_path: Path) -> None:
    """Lost otherwise: the trend with n is that of easier scenes, not of more frames."""
    for n in (2, 4, 8):
        put(tmp_path, "sa", "both", [(2 * k, 2 * k + 1, 0.1 * n) for k in range(n // 2)])
    put(tmp_path, "sa", "only at 8", [(2 * k, 2 * k + 1, 0.0) for k in range(4)])
    (found,) = stats(tmp_path)["fits"]
    assert found["scenes"] == 1
    assert found["linear"] == {"a": pytest.approx(0, abs=1e-9), "b": pytest.approx(0.1), "r2": pytest.approx(1)}


def test_rows_are_compared_over_the_scenes_that_all_of_them_share(tmp_path: Path) -> None:
    """Lost otherwise: a sampler that failed on the hard scenes looks better than one that did them all."""
    put(tmp_path, "mergeaware_sa", "easy", [(0, 1, 0.9), (2, 3, 0.9)])
    put(tmp_path, "sa", "easy", [(0, 1, 0.9), (2, 3, 0.9)])
    put(tmp_path, "sa", "hard", [(0, 1, 0.1), (2, 3, 0.1)])
    rows = stats(tmp_path)["rows"]
    assert [(row["overlap"], row["scenes"], row["made"]) for row in rows] == [
        (pytest.approx(0.9), 1, n) for n in (1, 2)
    ]
    assert unshared(rows) == ["rooms: over the 1 scene that all rows share, of up to 2"]
    put(tmp_path, "random", "other", [(0, 1, 0.5), (2, 3, 0.5)])
    assert unshared(stats(tmp_path)["rows"]) == [
        "rooms: no scene is in all rows, so each is over its own: not to be compared"
    ]
    assert unshared(stats(tmp_path, ["sa"])["rows"]) == []


def test_fits_recover_their_own_laws() -> None:
    """Lost otherwise: the notes' observation is confirmed or refuted by arithmetic mistakes."""
    assert fit([(n, 1 - 3 / n) for n in (4, 8, 16)])["reciprocal"] == {"c": pytest.approx(3), "r2": pytest.approx(1)}
    assert fit([(8, 0.2), (16, 0.4)])["linear"]["r2"] is None
    assert fit([(4, 0.5), (8, 0.5), (16, 0.5)])["linear"]["r2"] is None


def test_a_damaged_sample_is_left_out_and_named(tmp_path: Path) -> None:
    """Lost otherwise: one bad file hides all statistics, or silently changes them."""
    put(tmp_path, "sa", "one", [(0, 1, 0.5)])
    put(tmp_path, "sa", "two", [(0, 1, 0.5)])
    next(tmp_path.rglob("two/sample.json")).write_text("{")
    found = stats(tmp_path)
    assert found["rows"][0]["scenes"] == 1
    assert len(found["damaged"]) == 1
    assert "two" in found["damaged"][0]


def test_filters_that_leave_nothing_say_what_there_is(tmp_path: Path) -> None:
    """Lost otherwise: a misspelt sampler looks like missing results."""
    put(tmp_path, "sa", "one", [(0, 1, 0.5)])
    with pytest.raises(UserError, match="mergaware_sa") as misspelt:
        stats(tmp_path, ["mergaware_sa"])
    assert "did you mean mergeaware_sa" in misspelt.value.hint
    with pytest.raises(UserError) as absent:
        stats(tmp_path, ["uniform"], [16])
    assert "sa 2 frames on rooms" in absent.value.hint
    assert "smx gen --sampler uniform --frames 16" in absent.value.hint


def test_the_command_prints_a_table_of_real_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: `smx samples stats --sampler mergeaware_sa` of the README."""
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))
    empty = CliRunner().invoke(app, ["stats"])
    assert empty.exit_code == 0
    assert "smx gen --sampler mergeaware_sa --frames 16" in " ".join(empty.stdout.split())
    for name in ("sa", "mergeaware_sa"):
        for n in (4, 8, 16):
            make_sample(
                Walk(60),
                sampler_name=name,
                sampler=plugins.load("samplers", name)(),
                n=n,
                seed=0,
                geometry=GeometryOptions(),
                folder=sampleset.folder(tmp_path / "samples", name, n, "0123abcd", "walks", "one"),
                extra={"dataset": "walks"},
            )
    table = CliRunner().invoke(app, ["stats", "--sampler", "mergeaware_sa"])
    assert table.exit_code == 0
    assert table.stdout.count("mergeaware_sa") == 4
    assert "a + b·n" in table.stdout
    rows = json.loads(CliRunner().invoke(app, ["stats", "--frames", "4,8", "--json"]).stdout)["rows"]
    assert [(row["sampler"], row["frames"]) for row in rows] == [
        ("mergeaware_sa", 4), ("mergeaware_sa", 8), ("sa", 4), ("sa", 8)
    ]  # fmt: skip
    assert rows[0]["overlap"] >= 0.5
    wrong = CliRunner().invoke(app, ["stats", "--frames", "many"])
    assert isinstance(wrong.exception, UserError)


def put(
    root: Path,
    sampler: str,
    scene: str,
    pairs: list[tuple[int, int, float | None]],
    *,
    coverage: float = 0.5,
    fill: int = 0,
    options: dict[str, Any] | None = None,
    fingerprint: str = "0123abcd",
) -> None:
    """A record as gen writes it, without its frames."""
    ids = [i for a, b, _ in pairs for i in (a, b)]
    folder = sampleset.folder(root, sampler, len(ids), fingerprint, "rooms", scene)
    folder.mkdir(parents=True)
    record = {
        "schema": 1,
        "sampler": sampler,
        "options": options or {},
        "dataset": "rooms",
        "scene": scene,
        "ids": ids,
        "fill": [False] * (len(ids) - fill) + [True] * fill,
        "pairs": [{"ids": [a, b], "overlap": overlap, "iou": overlap} for a, b, overlap in pairs],
        "coverage": coverage,
        "geometry": {"source": "dataset", "candidates": 128, "voxel_size": None},
    }
    (folder / "sample.json").write_text(json.dumps(record))
