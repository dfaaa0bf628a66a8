"""Token arithmetic: a wrong count here is a wrong memory estimate, a wrong prompt, or a wrong table of costs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smx.errors import UserError
from smx.tokens import Layout, smart_resize, vision_windows


def test_worked_case_to_the_digit() -> None:
    """16 frames of 644x476: every figure of the notes."""
    clip = Layout(16, 644, 476)
    assert clip.grid == (8, 34, 46)
    assert clip.patches == 1564
    assert (clip.tubelets, clip.tubelet_width) == (12_512, 1_176)
    assert clip.merged == (8, 17, 23)
    assert clip.tokens == 3_128
    assert (clip.spatial_tubelet_width(1024), clip.spatial_tubelet_width(2048)) == (8_192, 16_384)
    assert clip.spatial_shape == (16, 1569, 2048)
    assert clip.pose_shape == (16, 9)
    assert clip.positions_shape(59) == (3, 1, 3_187)


def test_vga_becomes_644x476() -> None:
    """The size VSI-Bench's videos have inside Qwen's training budget, width first."""
    assert smart_resize(640, 480) == (644, 476)
    assert smart_resize(480, 640) == (476, 644)


def test_window_order_of_the_notes() -> None:
    """thw (2, 8, 8), windows of 8 px, patch 2, merge 2: cells in windows of 2x2, 16 patches each."""
    order, ends = vision_windows((2, 8, 8), window=8, patch=2, merge=2)
    assert order[:12] == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13]
    assert sorted(order) == list(range(32))
    assert ends == list(range(0, 129, 16))


def test_windows_at_the_edge_are_smaller() -> None:
    """17x23 merged cells do not divide into 4x4 windows; no cell may be lost or padded."""
    order, ends = vision_windows((8, 34, 46))
    assert sorted(order) == list(range(3_128))
    assert ends[-1] == 12_512
    assert len(ends) - 1 == 8 * 5 * 6


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Layout(15, 644, 476), ["15 frames", "14 or 16"]),
        (lambda: Layout(1, 644, 476), ["1 frames", "use 2"]),
        (lambda: Layout(16, 640, 480), ["640x480", "644x476"]),
        (lambda: Layout(16, 10, 28), ["10x28", "28x28"]),
        (lambda: smart_resize(0, 480), ["0x480"]),
        (lambda: smart_resize(10_000, 40), ["200 times"]),
        (lambda: smart_resize(640, 480, pixels=(9, 8)), ["9..8"]),
        (lambda: vision_windows((2, 8, 8), window=14), ["14 px", "28"]),
    ],
)
def test_sizes_that_do_not_fit_say_which_would(make: object, words: list[str]) -> None:
    """Without the nearest valid size the user has to do the arithmetic."""
    assert callable(make)
    with pytest.raises(UserError) as caught:
        make()
    assert all(word in str(caught.value) for word in words), str(caught.value)


sides = st.integers(20, 2000)


@settings(max_examples=200, deadline=None)
@given(sides, sides, st.sampled_from([(56 * 56, 28 * 28 * 1280), (293_216, 324_576), (3136, 9800)]))
def test_resize_equals_the_processor(width: int, height: int, pixels: tuple[int, int]) -> None:
    """A size that differs from transformers' by one cell shifts every visual token."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as theirs

    if max(width, height) / min(width, height) > 200:
        return
    assert smart_resize(width, height, pixels=pixels) == tuple(reversed(theirs(height, width, 28, *pixels)))


@settings(max_examples=60, deadline=None)
@given(sides, sides)
def test_resized_frames_always_divide(width: int, height: int) -> None:
    """What `smart_resize` returns must be accepted by `Layout`, near the shape it had."""
    wide, high = smart_resize(width, height)
    assert Layout(2, wide, high).tokens == wide * high // 784
    if 0.5 < width / height < 2:
        assert math.isclose(wide / high, width / height, rel_tol=0.15)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.sampled_from([56, 112]))
def test_windows_equal_the_models(t: int, h: int, w: int, window: int) -> None:
    """The windows decide which patches see each other; they must be the ones the model uses."""
    import torch
    from transformers.vision_utils import get_vision_window_index

    grid = (t, 2 * h, 2 * w)
    order, ends = vision_windows(grid, window=window)
    index, cumulative = get_vision_window_index(
        torch.tensor([grid]), spatial_merge_size=2, window_size=window, patch_size=14
    )
    assert order == index.tolist()
    assert ends == cumulative.tolist()
