"""Built-in scenes written to disk come back through the loaders as they were.

Lost otherwise: the loaders of real data would only ever meet real data on the cluster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from smx import plugins
from smx.datasets import Scene
from smx.datasets._rooms_files import write_frames, write_vsibench
from smx.rooms import QUESTION_TYPES, RoomScene, named_scene, questions, render


@pytest.fixture(scope="module")
def scenes() -> list[RoomScene]:
    return [named_scene(f"test-{i:03d}", frames=24, width=96, height=72) for i in range(4)]


def assert_same_frames(opened: Scene, made: RoomScene) -> None:
    """Ids, size, times and (up to the video's compression) pixels."""
    np.testing.assert_array_equal(opened.frame_ids, made.frame_ids)
    assert (opened.width, opened.height) == (made.width, made.height)
    np.testing.assert_allclose(opened.timestamps(), made.frame_ids / made.fps, atol=1e-3)
    ids = [0, 7, 23]
    for (frame_id, pixels), frame in zip(opened.decode(ids), render(made, ids), strict=True):
        assert frame_id in ids
        assert np.abs(pixels.astype(int) - frame.rgb).mean() < 12


def test_frames_folder_reads_back(scenes: list[RoomScene], tmp_path: Path) -> None:
    """Video, exact cameras, depth to half a millimetre."""
    made = scenes[0]
    write_frames(made, tmp_path / made.name)
    dataset = plugins.load("datasets", "frames")()
    assert dataset.scenes(tmp_path) == [made.name]
    opened = dataset.open(tmp_path, made.name)
    assert_same_frames(opened, made)
    cameras = opened.cameras([3, 11])
    assert cameras is not None
    np.testing.assert_array_equal(cameras.w2c, made.w2c[[3, 11]])
    np.testing.assert_array_equal(cameras.K[0], made.K)
    assert cameras.metric
    for frame_id in (0, 23):
        depth = opened.depth(frame_id)
        assert depth is not None
        np.testing.assert_allclose(depth[0], next(render(made, [frame_id])).depth, atol=0.00051)
        np.testing.assert_array_equal(depth[1], made.K)


def test_frames_folder_without_depth(scenes: list[RoomScene], tmp_path: Path) -> None:
    """A video with cameras only is a case of its own for samplers."""
    write_frames(scenes[1], tmp_path, depth=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cameras.json", "video.mp4"]
    (scene_id,) = plugins.load("datasets", "frames")().scenes(tmp_path)
    opened = plugins.load("datasets", "frames")().open(tmp_path, scene_id)
    assert opened.cameras([0]) is not None
    assert opened.depth(0) is None


@pytest.mark.parametrize("table", ["parquet", "jsonl"])
def test_miniature_vsibench_is_read_by_its_bench_and_dataset(
    table: Literal["parquet", "jsonl"], scenes: list[RoomScene], tmp_path: Path
) -> None:
    """All ten types, the three datasets, and videos under the names that the rows give."""
    path = write_vsibench(tmp_path, scenes, table=table)
    assert path == tmp_path / f"test.{table}"
    read = plugins.load("benches", "vsibench")().questions(tmp_path)
    written = [row for scene in scenes for row in questions(scene)]
    assert len(read) == len(written)
    assert {q.type for q in read} == set(QUESTION_TYPES)
    assert {q.dataset for q in read} == {"scannet", "scannetpp", "arkitscenes"}
    by_text = {(row.scene_name, row.question): row for row in written}
    for question in read:
        row = by_text[question.scene.partition("/")[2], question.text]
        assert question.truth == row.ground_truth
        assert list(question.options or ()) == (row.options or [])
    dataset = plugins.load("datasets", "vsibench")()
    assert set(dataset.scenes(tmp_path)) == {q.scene for q in read}
    for scene_id in dataset.scenes(tmp_path)[:1]:
        made = next(s for s in scenes if scene_id.endswith(s.name))
        assert_same_frames(dataset.open(tmp_path, scene_id), made)
