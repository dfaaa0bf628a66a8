"""The built-in rooms: cameras, depth and frames are exact, walkable, and the same everywhere.

Lost otherwise: every check of samplers and position encodings that rests on these scenes.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from smx.datasets.rooms import Dataset
from smx.errors import SceneError, UserError
from smx.rooms import RoomScene, make_scene, named_scene, render, scene_names, visible
from smx.rooms.catalogue import CATEGORIES
from smx.rooms.layout import DOOR_HEIGHT

SEEDS = tuple(range(12))


@cache
def scene(seed: int) -> RoomScene:
    """Small frames: geometry does not depend on resolution."""
    return make_scene(seed, width=160, height=120)


def centres(s: RoomScene) -> np.ndarray:
    """[N, 3] camera centres in the world."""
    return np.asarray(-np.einsum("nji,nj->ni", s.w2c[:, :3, :3], s.w2c[:, :3, 3]))


def unproject(s: RoomScene, frame_id: int, depth: np.ndarray) -> np.ndarray:
    """[H, W, 3] world points of a depth map, written without the renderer's own ray code."""
    v, u = np.mgrid[: s.height, : s.width]
    pixels = np.stack([u * depth, v * depth, depth], axis=-1).reshape(-1, 3)
    in_camera = np.linalg.solve(s.K, pixels.T)
    homogeneous = np.vstack([in_camera, np.ones(in_camera.shape[1])])
    return np.asarray((np.linalg.inv(s.w2c[frame_id]) @ homogeneous)[:3].T.reshape(s.height, s.width, 3))


def reprojection_error(s: RoomScene, i: int, j: int, w2c: np.ndarray) -> tuple[float, int]:
    """(median |depth| difference in metres, pixels compared) of frame i moved into frame j, off edges."""
    first, second = (f.depth.astype(np.float64) for f in render(s, [i, j]))
    v, u = np.mgrid[: s.height, : s.width]
    points = np.linalg.solve(s.K, np.stack([u * first, v * first, first], axis=-1).reshape(-1, 3).T)
    move = w2c[j] @ np.linalg.inv(w2c[i])
    moved = move[:3, :3] @ points + move[:3, 3:]
    ahead = moved[2] > 0.1
    x, y, z = s.K @ moved[:, ahead]
    x, y = np.rint(x / z).astype(int), np.rint(y / z).astype(int)
    inside = (x > 0) & (x < s.width - 1) & (y > 0) & (y < s.height - 1)
    x, y, z = x[inside], y[inside], z[inside]
    # Compare at the same point of the surface: the plane through the pixel, by its inverse depth's slope.
    near = 1 / second
    exact_x, exact_y = (s.K @ moved[:, ahead])[:2, inside] / z
    plane = near[y, x] + (exact_x - x) * (near[y, x + 1] - near[y, x - 1]) / 2
    plane += (exact_y - y) * (near[y + 1, x] - near[y - 1, x]) / 2
    agree = np.abs(second[y, x] - z) < 0.5  # the rest is hidden in frame j
    error = np.abs(1 / plane - z)[agree]
    return (float(np.median(error)) if len(error) else np.inf), len(error)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_depth_of_one_frame_lands_on_the_depth_of_another(seed: int) -> None:
    """Cameras, intrinsics and depth belong together to a millimetre, and inverted poses do not."""
    s = scene(seed)
    compared = 0
    for i in range(0, 84, 6):
        right, count = reprojection_error(s, i, i + 4, s.w2c)
        if count > 2000:
            compared += 1
            assert right < 1e-3
            wrong, kept = reprojection_error(s, i, i + 4, np.linalg.inv(s.w2c))
            assert wrong > 20 * right or kept < count / 2
    assert compared >= 5


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_depth_lies_on_the_surfaces_of_the_scene(seed: int) -> None:
    """Every pixel's point is on a face of what it shows: a piece's bounding box, or a wall, floor, ceiling."""
    s = scene(seed)
    for frame_id in (0, 40, 90):
        frame = next(render(s, [frame_id]))
        points = unproject(s, frame_id, frame.depth.astype(np.float64))
        for number in np.unique(frame.pieces[frame.pieces >= 0]):
            piece = s.pieces[number]
            offset = points[frame.pieces == number] - np.array(piece.centre)
            c, sn = np.cos(piece.yaw), np.sin(piece.yaw)
            local = np.stack(
                [c * offset[:, 0] + sn * offset[:, 1], c * offset[:, 1] - sn * offset[:, 0], offset[:, 2]], axis=1
            )
            assert np.all(np.abs(local) <= np.array(piece.size) / 2 + 1e-4)
        shell = points[frame.pieces < 0]
        gaps = [np.abs(shell[:, 2]), np.abs(shell[:, 2] - s.ceiling), np.abs(shell[:, 2] - DOOR_HEIGHT)]
        for corner in s.tables.cells[:, :, :2].reshape(-1, 2):
            gaps += [np.abs(shell[:, 0] - corner[0]), np.abs(shell[:, 1] - corner[1])]
        assert np.min(gaps, axis=0).max() <= 0.03 + 1e-4  # a picture stands 3 cm off its wall


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_nothing_stands_between_the_camera_and_what_a_pixel_shows(seed: int) -> None:
    """Points along each ray before its hit are in a room or doorway and in no part of any piece."""
    s = scene(seed)
    rng = np.random.default_rng(seed)
    for frame_id in (5, 50, 80):
        depth = next(render(s, [frame_id])).depth.astype(np.float64)
        for share in rng.uniform(0.05, 0.999, 6):
            p = unproject(s, frame_id, depth * share).reshape(-1, 3)
            inside = np.zeros(len(p), bool)
            for low, high in s.tables.cells:
                inside |= np.all((p >= low - 1e-6) & (p <= high + 1e-6), axis=1)
            assert inside.all()
            for box in s.tables.boxes:
                w = p - box[:3]
                local = np.stack([box[6] * w[:, 0] + box[7] * w[:, 1], box[6] * w[:, 1] - box[7] * w[:, 0], w[:, 2]])
                assert not np.any(np.all(np.abs(local) < box[3:6, None] - 1e-4, axis=0))


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_compiled_renderer_equals_the_plain_one(seed: int) -> None:
    """The fast path may not show anything the reference does not."""
    s = make_scene(seed, width=112, height=80)
    ids = [0, 31, 62, 95]
    for fast, slow in zip(render(s, ids), render(s, ids, compiled=False), strict=True):
        same = fast.pieces == slow.pieces
        assert same.mean() > 0.9995
        np.testing.assert_allclose(fast.depth[same], slow.depth[same], atol=1e-4)
        difference = np.abs(fast.rgb.astype(int) - slow.rgb).max(axis=-1)
        assert (difference <= 1).mean() > 0.9995
        assert fast.rgb.dtype == np.uint8
        assert fast.depth.dtype == np.float32


def test_what_is_visible_does_not_depend_on_the_resolution() -> None:
    """Questions judge visibility on small frames; they must show the same scene."""
    s = scene(1)
    small = next(visible(s.resized(80, 60), [20]))
    large = next(visible(s.resized(320, 240), [20]))
    share = [np.bincount(m.ravel() + 1, minlength=len(s.pieces) + 1) / m.size for m in (small, large)]
    np.testing.assert_allclose(share[0], share[1], atol=0.01)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_walk_is_one_a_person_could_take(seed: int) -> None:
    """No camera in a wall or a piece, every room entered, the first one again; no jumps; rigid, upright poses."""
    s = scene(seed)
    at = centres(s)
    rooms = [next((i for i, r in enumerate(s.rooms) if r.x0 < x < r.x1 and r.y0 < y < r.y1), None) for x, y, _ in at]
    assert set(rooms) - {None} == set(range(len(s.rooms)))
    assert rooms[-1] == next(r for r in rooms if r is not None)
    for x, y, z in at:
        cells = [c for c in s.tables.cells if np.all(c[0] <= (x, y, z)) and np.all((x, y, z) <= c[1])]
        assert cells, "outside the building"
        for piece in s.pieces:
            dx, dy = x - piece.centre[0], y - piece.centre[1]
            c, sn = np.cos(piece.yaw), np.sin(piece.yaw)
            inside = np.array([abs(c * dx + sn * dy), abs(c * dy - sn * dx)]) < np.array(piece.size[:2]) / 2 + 0.15
            assert not inside.all()
    assert np.linalg.norm(np.diff(at, axis=0), axis=1).max() < 0.9
    rotation = s.w2c[:, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (len(at), 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    assert np.all(rotation[:, 1, 2] < -0.8)  # the camera's down is the world's down
    turned = np.einsum("nij,nij->n", rotation[1:], rotation[:-1])
    assert np.degrees(np.arccos(np.clip((turned - 1) / 2, -1, 1))).max() < 50


@pytest.mark.parametrize("seed", SEEDS)
def test_furniture_stands_in_its_room_and_apart(seed: int) -> None:
    """Sizes stay in their category's range, pieces touch the floor and never each other (dense sampling)."""
    s = scene(seed)
    outlines = []
    for piece in s.pieces:
        category = CATEGORIES[piece.category]
        assert all(a <= v <= b for a, v, b in zip(category.low, piece.size, category.high, strict=True))
        assert piece.centre[2] == piece.size[2] / 2
        grid = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.5, 0.5, 9)), axis=-1).reshape(-1, 2)
        c, sn = np.cos(piece.yaw), np.sin(piece.yaw)
        points = grid * piece.size[:2] @ np.array([[c, sn], [-sn, c]]) + piece.centre[:2]
        room = s.rooms[piece.room]
        assert np.all((points > (room.x0, room.y0)) & (points < (room.x1, room.y1)))
        outlines.append(points)
    for i, a in enumerate(outlines):
        for b in outlines[:i]:
            assert np.linalg.norm(a[:, None] - b[None], axis=-1).min() > 0.05


@pytest.mark.parametrize("name", sorted(CATEGORIES))
def test_parts_fill_the_bounding_box_of_their_piece(name: str) -> None:
    """Sizes and distances are of the bounding box, so something must be seen on each of its sides."""
    parts = np.array([p[:6] for p in CATEGORIES[name].parts])
    assert np.all(parts[:, ::2] < parts[:, 1::2])
    np.testing.assert_array_equal(parts[:, ::2].min(axis=0), 0)
    np.testing.assert_array_equal(parts[:, 1::2].max(axis=0), 1)


def test_another_process_makes_the_same_scene() -> None:
    """Two shards on two nodes must see the same frames, whatever their hash seed."""
    code = (
        "import hashlib\nfrom smx.rooms import named_scene, render, questions\n"
        "s = named_scene('test-003', frames=12, width=64, height=48)\n"
        "h = hashlib.sha256(b''.join(f.rgb.tobytes() + f.depth.tobytes() for f in render(s, range(12))))\n"
        "print(s.digest(), h.hexdigest(), hashlib.sha256(repr(questions(s)).encode()).hexdigest())"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PATH": ""}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


def test_train_and_test_share_no_scene() -> None:
    """A score on test scenes must not come from having trained on them."""
    digests = [
        {named_scene(name, frames=2, width=16, height=16).digest() for name in scene_names(split, 10)}
        for split in ("train", "test")
    ]
    assert len(digests[0]) == len(digests[1]) == 10
    assert not digests[0] & digests[1]


def test_dataset_hands_out_what_was_rendered() -> None:
    """Frames by id in ascending order, whatever the order asked; cameras and depth of the same frame."""
    opened = Dataset(frames=24, width=64, height=48).open(None, "test-002")
    made = named_scene("test-002", frames=24, width=64, height=48)
    got = list(opened.decode([9, 3, 9]))
    assert [i for i, _ in got] == [3, 9]
    frames = list(render(made, [3, 9]))
    np.testing.assert_array_equal(got[1][1], frames[1].rgb)
    cameras = opened.cameras([9, 3])
    assert cameras is not None
    assert cameras.metric
    np.testing.assert_array_equal(cameras.w2c, made.w2c[[9, 3]])
    depth = opened.depth(9)
    assert depth is not None
    np.testing.assert_array_equal(depth[0], frames[1].depth)
    np.testing.assert_array_equal(depth[1], made.K)
    assert opened.timestamps().shape == (24,)
    assert np.all(np.diff(opened.timestamps()) > 0)
    assert opened.source() == Dataset(frames=24, width=64, height=48).open(None, "test-002").source()


def test_dataset_options_decide_its_identity() -> None:
    """Another option is other data; the same options are the same data."""
    base = Dataset().digest(None)
    assert Dataset().digest(None) == base
    others = [Dataset(split="train"), Dataset(frames=32), Dataset(first=1), Dataset(width=64), Dataset(count=9)]
    assert len({base, *(d.digest(None) for d in others)}) == 6
    assert Dataset(count=3, first=5).scenes(None) == ["test-005", "test-006", "test-007"]


def test_what_does_not_exist_is_named() -> None:
    """A wrong scene, frame or size gives a message, not an empty picture."""
    with pytest.raises(UserError, match="test-009"):
        Dataset().open(None, "test-009")
    with pytest.raises(UserError, match="no built-in scene"):
        named_scene("validation-1")
    with pytest.raises(UserError, match="1 frames"):
        make_scene(0, frames=1)
    with pytest.raises(UserError, match="8x8"):
        make_scene(0, width=8, height=8)
    opened = Dataset(frames=4, width=32, height=24).open(None, "test-000")
    for ask in (lambda: list(opened.decode([4])), lambda: opened.cameras([-1]), lambda: opened.depth(4)):
        with pytest.raises(SceneError, match="only 0 to 3"):
            ask()
