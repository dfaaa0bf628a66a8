"""Scenes that give a sampler little to go on: each is a message with the scene, or a sample that says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.commands import smx
from support.media import make_video, moving, rotate_by_tag
from support.walks import Walk

from smx import plugins, sampleset, video
from smx.errors import SceneError
from smx.geometry.view import GeometryOptions
from smx.node.sampling import make_sample


class Nothing(Walk):
    """A scene without a single frame."""

    def __init__(self) -> None:
        super().__init__(2)
        self.id, self.frame_ids = "scannet/none", np.empty(0, dtype=np.int64)


class Blind(Walk):
    """A scene whose cameras see nothing but the sky."""

    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None:
        found = super().depth(frame_id)
        assert found is not None
        return np.full_like(found[0], np.nan), found[1]


@pytest.mark.parametrize("name", plugins.names("samplers"))
def test_a_scene_without_frames_is_an_error_with_its_name(name: str, tmp_path: Path) -> None:
    """Lost otherwise: an index error somewhere in a sampler."""
    with pytest.raises(SceneError, match=r"scannet/none.*no frames"):
        sample(Nothing(), name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", plugins.names("samplers"))
def test_a_scene_that_sees_nothing_is_said_or_has_unknown_coverage(name: str, tmp_path: Path) -> None:
    """Lost otherwise: a coverage of 0 / 0, or frames chosen by chance under the name of a rule."""
    if "voxels" in plugins.load("samplers", name).needs:
        with pytest.raises(SceneError, match=r"walk/40x1.*no point"):
            sample(Blind(40), name, tmp_path)
        return
    record = sample(Blind(40), name, tmp_path)
    assert record["coverage"] is None
    assert record["overlap"] is None


@pytest.mark.parametrize("lost", [[7], range(40)], ids=["one", "all"])
@pytest.mark.parametrize("name", plugins.names("samplers"))
def test_lost_poses_cost_their_frames_and_all_lost_is_said(name: str, lost: Sequence[int], tmp_path: Path) -> None:
    """Lost otherwise: minus infinity in one pose of ScanNet stretches the voxel grid over the universe."""
    if len(lost) == 40 and plugins.load("samplers", name).needs:
        with pytest.raises(SceneError, match=r"walk/40x1.*camera"):
            sample(Walk(40, lost=lost), name, tmp_path)
    else:
        assert sample(Walk(40, lost=lost), name, tmp_path)["frames"] == 8


def test_odd_videos_are_sampled_from_the_frames_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variable rate, a rotation tag, a broken tail: what is there is used, what is not is said."""
    root = tmp_path / "data"
    root.mkdir()
    make_video(root / "plain.mp4", 30, g="10")
    rotate_by_tag(root / "plain.mp4", root / "turned.mp4", 90)
    times = [i / 25 + (0.5 if i > 12 else 0) for i in range(30)]
    video.write(root / "variable.mp4", moving(30), 25, timestamps=times)
    whole = (root / "plain.mp4").read_bytes()
    (root / "tail.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    lab = tmp_path / "lab"
    lab.mkdir()
    monkeypatch.setenv("SMX_WORKSPACE", str(lab))
    assert smx("gen", "--sampler", "uniform", "--frames", "4", "--root", root) == 0
    found = {folder.name: sampleset.read(folder) for folder in sampleset.samples(lab / "samples")}
    assert found["turned"].frames().shape[1:3] == (64, 48)
    assert found["plain"].frames().shape[1:3] == (48, 64)
    np.testing.assert_allclose(found["variable"].timestamps, [times[i] for i in found["variable"].ids], atol=1e-3)
    assert max(found["tail"].ids) < 29 == max(found["plain"].ids)
    assert found["tail"].record["source"]["frames_declared"] == 30


@pytest.mark.parametrize(("frames", "known"), [(1, False), (5, True)])
def test_a_frame_paired_with_itself_is_no_overlap(frames: int, known: bool, tmp_path: Path) -> None:
    """Lost otherwise: the shorter the scenes, the better a run's overlap, as the last frame is repeated."""
    found = sample(Walk(frames), "uniform", tmp_path)
    pairs = [p for p in sampleset.read(tmp_path / "uniform").pairs if p["ids"][0] != p["ids"][1]]
    expected = round(float(np.mean([p["overlap"] for p in pairs])), 6) if known else None
    assert found["overlap"] == expected
    assert found["fill"] == 8 - frames


def sample(scene: Walk, name: str, place: Path) -> dict[str, object]:
    return make_sample(
        scene,
        sampler_name=name,
        sampler=plugins.load("samplers", name)(),
        n=8,
        seed=0,
        geometry=GeometryOptions(),
        folder=place / name,
        extra={},
    )
