"""What `smx tokens` predicts, against real processors, real parameters and a real forward's peak memory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models import scene, sentence, tiny
from test_qwen3 import asked, folder, load  # noqa: F401 - folder is a fixture
from torch.utils.flop_counter import FlopCounterMode

from smx.cli import run
from smx.errors import UserError
from smx.models import tiny as tiny_model
from smx.models._vlm import loading
from smx.models._vlm.runner import VideoRunner
from smx.tokens import Layout, smart_resize, smart_resize_clip, stamp_tokens
from smx.tokens.costs import BYTES, VGGT_PARAMETERS, Architecture, cost, peak_memory
from smx.tokens.known import QWEN2_5_VL_3B, QWEN3_VL_4B

torch.set_num_threads(1)

QWEN2_5 = Architecture.of_config("3B", QWEN2_5_VL_3B)
QWEN3 = Architecture.of_config("4B", QWEN3_VL_4B)
sides = st.integers(20, 1500)


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 80), sides, sides)
def test_qwen3_clips_are_resized_as_its_processor_does(frames: int, width: int, height: int) -> None:
    """Its budget counts all frames of a clip; one cell more or less shifts every token."""
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as theirs

    if max(width, height) / min(width, height) > 100:
        return
    budget = Qwen3VLVideoProcessor.size
    least, most = budget["shortest_edge"], budget["longest_edge"]
    high, wide = theirs(frames, height, width, 2, 32, least, most)
    assert smart_resize_clip(frames, width, height) == (wide, high)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 6))
def test_qwen3_tokens_are_those_of_its_processor(pairs: int, rows: int, columns: int) -> None:
    """Rows of pixels from its video processor's own patches; placeholders and timestamps from its prompt."""
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

    clip = Layout(2 * pairs, 32 * columns, 32 * rows, patch=16)
    video = torch.zeros(1, 2 * pairs, 3, clip.height, clip.width)
    pixels, *_ = Qwen3VLVideoProcessor().patchify(video, patch_size=16, merge_size=2, temporal_patch_size=2)
    assert pixels.shape[-2:] == (clip.tubelets, clip.tubelet_width)
    processor = Qwen3VLProcessor.__new__(Qwen3VLProcessor)
    processor.video_processor = SimpleNamespace(merge_size=2, temporal_patch_size=2)
    processor.video_token, processor.vision_start_token, processor.vision_end_token = "V", "S", "E"
    metadata = SimpleNamespace(fps=1, frames_indices=list(range(2 * pairs)))
    said = {"video_grid_thw": torch.tensor([clip.grid]), "video_metadata": [metadata]}
    prompt = processor.replace_video_token(said, 0)
    assert prompt.count("V") == clip.tokens
    # as Qwen's tokenizer splits it: each digit, `<`, `.`, ` seconds`, `>` and the two brackets are a token each
    extra = len(prompt.replace(" seconds", "s")) - clip.tokens
    assert sum(stamp_tokens(2 * k + 0.5) for k in range(pairs)) == extra


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), sides, sides)
def test_qwen2_5_tokens_are_those_of_its_processor(pairs: int, width: int, height: int) -> None:
    """Frame by frame its image processor's grid; a clip has it once per pair."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    if max(width, height) / min(width, height) > 100:
        return
    budget = (56 * 56, 40_000)
    clip = Layout(2 * pairs, *smart_resize(width, height, pixels=budget))
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": budget[0], "longest_edge": budget[1]})
    made = processor(images=[np.zeros((height, width, 3), np.uint8)] * pairs, return_tensors="np")
    assert made["image_grid_thw"].tolist() == [[1, *clip.grid[1:]]] * pairs
    assert made["pixel_values"].shape == (clip.tubelets, clip.tubelet_width)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 30), st.integers(1, 30))
def test_spatial_tokens_follow_the_frames(pairs: int, rows: int, columns: int) -> None:
    """VGGT's side: every frame 5 + P tokens; the connector's tubelets are as many as the merged tokens."""
    clip = Layout(2 * pairs, 28 * columns, 28 * rows)
    frames, tokens, width = clip.spatial_shape
    left = frames * (tokens - 5) * width
    assert left == clip.tokens * clip.spatial_tubelet_width(width)
    assert clip.pose_shape == (frames, 9)


def test_vggt_is_as_large_as_the_checkpoints() -> None:
    """Aggregator and patch embedding, from the shapes that a checkpoint is checked against."""
    from smx.models._vggt.config import VGGTConfig, shapes

    assert sum(math.prod(shape) for _, shape in shapes(VGGTConfig(), "aggregator")) == VGGT_PARAMETERS


def test_parameters_are_counted_exactly(folder: Any) -> None:  # noqa: F811
    """From a config alone: the tiny models here, and the released sizes as they are known by name."""
    runner = tiny_model.Model().load(None, seed=0, device="cpu", dtype="float32")
    assert isinstance(runner, VideoRunner)
    assert sum(Architecture.of_config("tiny", tiny_model.config()).parameters().values()) == runner.info["parameters"]
    third = load(folder)
    config = json.loads((folder / "config.json").read_text())
    assert sum(Architecture.of_config("qwen3", config).parameters().values()) == third.info["parameters"]
    assert sum(QWEN2_5.parameters().values()) == 3_754_622_976  # Qwen2.5-VL-3B
    assert sum(QWEN3.parameters().values()) == 4_437_815_808  # Qwen3-VL-4B


def test_flops_of_the_worked_case() -> None:
    """16 frames of 644x476 in 3B: written out here, layer by layer."""
    clip = Layout(16, 644, 476)
    found = cost(QWEN2_5, clip, 59)
    length = 3187
    assert found.tokens == length
    assert found.prefill_attention == 36 * 4 * 2048 * length * (length + 1) // 2
    per_layer = 2048 * 2048 * 2 + 2048 * 256 * 2 + 3 * 2048 * 11008
    assert found.prefill_linear == 2 * length * 36 * per_layer + 2 * 2048 * 151_936
    assert found.vision_full == 4 * 4 * 1280 * 8 * 1564**2
    cells = [(4 if row < 4 else 1) * (4 if column < 5 else 3) * 4 for row in range(5) for column in range(6)]
    assert sum(cells) == 1564
    assert found.vision_windowed == 28 * 4 * 1280 * 8 * sum(n**2 for n in cells)
    assert found.cache == 2 * 36 * 256 * length * 2
    assert found.pixels == 12_512 * 1_176 * 4
    assert found.embeddings == 3_128 * 2048 * 2


@torch.inference_mode()
def measured(runner: VideoRunner, inputs: dict[str, Any]) -> int:
    """Peak bytes that one prefill allocates beside its weights and inputs, from torch's own allocation events."""
    return peak(lambda: prefill(runner, inputs))


def peak(forward: Callable[[], Any]) -> int:
    """Bytes held at once at most, of what `forward` allocates."""
    forward()  # what is allocated once and kept does not count
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        forward()
    assert profile.profiler is not None
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(held.max())


def prefill(runner: VideoRunner, inputs: dict[str, Any]) -> None:
    """A forward pass up to the first answered token."""
    from transformers.cache_utils import DynamicCache

    cache, given = DynamicCache(config=runner.model.vlm.config.text_config), dict(inputs)
    runner.model.next_logits(given.pop("input_ids"), given.pop("position_ids"), cache, **given)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("text", "vision"),
    [
        ({}, {}),
        ({"intermediate_size": 4096, "num_hidden_layers": 2}, {}),
        ({"hidden_size": 768, "num_attention_heads": 24, "num_key_value_heads": 12}, {"out_hidden_size": 768}),
        ({}, {"intermediate_size": 1024}),
        ({}, {"hidden_size": 256}),
    ],
    ids=["as it is", "wide language MLP", "wide attention", "wide vision MLP", "wide vision"],
)
def test_peak_memory_is_what_a_forward_takes(dtype: str, text: dict[str, int], vision: dict[str, int]) -> None:
    """Within 10 % of the measured peak of a real prefill, whichever stage is the widest."""
    base = tiny_model.config()
    config = {
        **base,
        "text_config": {**base["text_config"], **text},
        "vision_config": {**base["vision_config"], **vision},
    }
    options = tiny_model.Model.parse({"pixels": (90_000, 110_000)}, "m")
    runner = loading.from_config(config, tiny_model.TOKENIZER, options, base="tiny", seed=0, device="cpu", dtype=dtype)
    within(runner, Architecture.of_config("tiny", config), sentence(runner, scene(8)), 14, dtype)


def test_peak_memory_of_qwen3(folder: Any) -> None:  # noqa: F811
    """Two matrices in its encoder's MLP, deep-stacked features held until they are added."""
    runner = load(folder, pixels=(90_000, 110_000))
    config = json.loads((folder / "config.json").read_text())
    within(runner, Architecture.of_config("qwen3", config), asked(runner, scene(8)), 16, "float32")


@torch.inference_mode()
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_peak_memory_of_vggt(dtype: str) -> None:
    """Its 48 blocks are alike and each needs its memory anew: one of each kind takes what all of them take."""
    from smx.models._vggt.config import VGGTConfig
    from smx.models._vggt.network import Aggregator

    clip = Layout(2, 140, 112)
    small = replace(VGGTConfig(), depth=1, patch_embed_depth=1)
    aggregator = Aggregator(small, 1).to(loading.named_dtype(dtype))
    images = torch.rand(1, clip.frames, 3, clip.height, clip.width)
    model = replace(QWEN2_5, vggt=True)
    given = sum(model.parameters().values()) * BYTES[dtype] + clip.tubelets * clip.tubelet_width * 4
    found = peak(lambda: aggregator(images, {0}))
    assert peak_memory(model, clip, 0, dtype) - given == pytest.approx(found, rel=0.1)


def within(runner: VideoRunner, model: Architecture, inputs: dict[str, Any], patch: int, dtype: str) -> None:
    t, h, w = inputs["grid_thw"][0].tolist()
    clip = Layout(2 * t, w * patch, h * patch, patch=patch)
    text = inputs["input_ids"].shape[1] - clip.tokens
    given = sum(model.parameters().values()) * BYTES[dtype] + clip.tubelets * clip.tubelet_width * 4
    assert peak_memory(model, clip, text, dtype) - given == pytest.approx(measured(runner, inputs), rel=0.1)


def counted(forward: Callable[[], Any]) -> dict[str, int]:
    """FLOPs by torch's name of an operation, as torch itself counts them in a forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as mode:
        forward()
    return {str(name): count for name, count in mode.get_flop_counts()["Global"].items()}


def test_flops_are_those_that_torch_counts() -> None:
    """To the last one, beside attention, which torch counts without the causal half or on a CPU not at all."""
    runner = tiny(pixels=(90_000, 110_000))
    inputs = sentence(runner, scene(8))
    [[t, h, w]] = inputs["grid_thw"].tolist()
    clip = Layout(2 * t, w * 14, h * 14)
    mine = cost(Architecture.of_config("tiny", tiny_model.config()), clip, inputs["input_ids"].shape[1] - clip.tokens)
    found = counted(lambda: prefill(runner, inputs))
    assert mine.vision_linear + mine.prefill_linear == sum(
        count for name, count in found.items() if "attention" not in name
    )


def test_vggts_flops_are_those_that_torch_counts() -> None:
    """A real forward of the 1B model without its memory (on meta); only the first layer's pixels are left out."""
    from smx.models._vggt.config import VGGTConfig
    from smx.models._vggt.network import Aggregator

    with torch.device("meta"):
        aggregator, images = Aggregator(VGGTConfig(), 24), torch.zeros(1, 4, 3, 84, 112)
        found = counted(lambda: aggregator(images, {23}))
    pixels = found.pop("aten.convolution")
    mine = cost(replace(QWEN2_5, vggt=True), Layout(4, 112, 84), 0).vggt
    assert mine == sum(found.values())
    assert pixels < mine / 1000


# The command


def test_the_walk_says_every_figure_of_the_notes(capsys: pytest.CaptureFixture[str]) -> None:
    """The worked case, to the digit."""
    assert run(["tokens", "--frames", "16", "--size", "644x476", "--explain"]) == 0
    said = capsys.readouterr().out
    for figure in (
        "P = 34 · 46 = 1,564",
        "16 / 2 = 8; video_grid_thw [[8, 34, 46]]",
        "= 12,512, each 3 · 2 · 14 · 14 = 1,176",
        "8 · 17 · 23 = 3,128 tokens",
        "[16, 1569, 2048]",
        "[16, 9]",
        "8,192 for DD 1024, 16,384",
        "3,128 + 59 of text = 3,187: positions [3, 1, 3187]",
        "58.9 MB in float32",
    ):
        assert figure in said, figure


def test_the_table_has_a_row_per_count(capsys: pytest.CaptureFixture[str]) -> None:
    """8, 16, 32 and 64 frames unless others are named; the same numbers as JSON."""
    assert run(["tokens", "--model", "qwen2_5vl"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["8", "16", "32", "64"]
    assert [row[3] for row in rows] == ["1,564", "3,128", "6,256", "12,512"]
    assert run(["tokens", "--model", "qwen2_5vl", "--frames", "4,6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["video_tokens"] for row in found["rows"]] == [782, 1173]
    assert found["rows"][0]["flops"] == cost(QWEN2_5, Layout(4, 644, 476), 59).flops


@pytest.mark.parametrize(
    ("model", "tokens", "text"),
    [("spatialmllm-repeat", 2 * 1564, 59), ("spatialmllm-camera", 1564, 59 + 8), ("tiny", 1564, 59)],
)
def test_variants_count_as_they_run(model: str, tokens: int, text: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A tubelet per frame doubles the tokens; camera tokens stand in the prompt beside the video's."""
    assert run(["tokens", "--model", model, "--frames", "8", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["rows"]
    assert (row["video_tokens"], row["text"]) == (tokens, text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "640x480"], ["640x480 does not divide", "644x476", "--resize"]),
        (["--size", "big"], ["'big' is no size"]),
        (["--frames", "7"], ["7 frames do not make whole tubelets", "6 or 8"]),
        (["--frames", "many"], ["'many' is no list"]),
        (["--model", "chance"], ["looks at no frames"]),
        (["--model", "spatialmlm"], ["did you mean spatialmllm"]),
        (["--dtype", "int8"], ["unknown dtype"]),
    ],
)
def test_wrong_input_names_what_would_do(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, and the size, count or name that works."""
    assert run(["tokens", *arguments]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said


def test_resizing_first_is_what_eval_does(capsys: pytest.CaptureFixture[str]) -> None:
    """640x480 becomes 644x476 for patch 14; Qwen3-VL's cells are 32 px."""
    assert run(["tokens", "--size", "640x480", "--resize", "--frames", "8"]) == 0
    assert "640x480 is resized to 644x476" in capsys.readouterr().out
    assert run(["tokens", "--model", "qwen3vl", "--size", "650x480", "--resize", "--frames", "8", "--explain"]) == 0
    said = capsys.readouterr().out
    assert "resized to 640x480" in said
    assert "timestamp" in said


def test_a_clip_too_short_for_qwen3_says_so() -> None:
    """Its processor refuses it too."""
    with pytest.raises(UserError, match="2 frames at least"):
        smart_resize_clip(1, 640, 480)


def test_json_carries_what_explain_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a program reads the printed words, or works the numbers out again."""
    assert run(["tokens", "--frames", "16", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["rows"]
    assert row["patches"] == 1564
    assert row["vggt_tokens"] == 1569
    assert row["vggt_shape"] == [16, 1569, 2048]
    assert row["pose_shape"] == [16, 9]
    assert row["spatial_tubelet_width"] == {"1024": 8192, "2048": 16384}
    assert row["positions"] == [3, 1, 3187]
    assert row["merged_thw"] == [8, 17, 23]
    assert (row["window"], row["windows"], row["cu_window_seqlens"][-1]) == (112, 240, 12512)
    assert row["full_attention_layers"] == [7, 15, 23, 31]
    assert row["bytes"]["float32"]["cache"] == 2 * row["bytes"]["bfloat16"]["cache"]


def test_a_clip_that_no_model_reads_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a typed zero too many costs minutes."""
    assert run(["tokens", "--frames", "8,1000000"]) == 2
    assert "1,000,000 frames" in capsys.readouterr().err
