"""Position ids are ours: the rules of docs/models.md, checked against transformers and a recorded reference."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smx.cli import run
from smx.errors import UserError
from smx.models._vlm.position_ids import temporal_stride, text_positions, text_start, video_positions
from smx.models._vlm.position_options import Rope
from smx.models.tiny import Model as Tiny

TIMES = np.arange(8) * 0.5


def stride(**options: Any) -> float:
    return temporal_stride(Rope.parse(options, "rope"), TIMES, 2)


def whole(start: int, grid: tuple[int, int, int], step: float, rule: str, text: int) -> np.ndarray:
    """Text, a video at `start`, text: [3, L]."""
    after = text_start(start, grid, step, rule)
    return np.concatenate(
        (text_positions(0, start), video_positions(start, grid, step), text_positions(after, text)), axis=1
    )


def test_every_temporal_rule() -> None:
    """A silent change of stride moves scores by more than the effects under study."""
    assert stride() == 2.0  # what transformers 4.51's processor assumed for frame lists
    assert stride(temporal="index") == 1.0
    assert stride(temporal="seconds", seconds_per_grid=0.5, tokens_per_second=25) == 12.5
    assert stride(seconds_per_grid="auto") == pytest.approx(2.0)  # 2 frames × 0.5 s × 2
    assert temporal_stride(Rope(seconds_per_grid="auto"), TIMES, 1) == pytest.approx(1.0)  # one frame per tubelet
    assert temporal_stride(Rope(seconds_per_grid="auto"), TIMES[::-1], 2) == pytest.approx(2.0)
    assert stride(temporal="constant") == 0.0
    assert stride(base="hw") == 0.0
    assert stride(temporal="stride", stride=3.5) == 3.5
    with pytest.raises(UserError, match="belong together"):
        stride(temporal="stride")


def test_times_are_floored() -> None:
    """t = floor(k · seconds · tokens_per_second), also where the product is just below a whole number."""
    assert video_positions(10, (5, 1, 1), 0.7)[0].tolist() == [10, 10, 11, 12, 12]
    assert video_positions(0, (4, 1, 1), 0.1 * 3 / 0.3)[0].tolist() == [0, 1, 2, 3]


def test_text_start_max_and_grid_differ_on_long_videos() -> None:
    """Published Spatial-MLLM numbers use max; transformers since uses grid."""
    assert text_start(4, (4, 3, 4), 2, "max") == 4 + 6 + 1
    assert text_start(4, (4, 3, 4), 2, "grid") == 4 + 4
    assert text_start(4, (2, 3, 4), 1, "max") == text_start(4, (2, 3, 4), 1, "grid")
    assert text_start(4, (4, 3, 4), 0, "max") == 8


def test_equal_the_recorded_reference(fixtures: Path) -> None:
    """Spatial-MLLM under transformers 4.51: stride 2, text start max."""
    from safetensors.numpy import load_file

    folder = fixtures / "golden/spatial_mllm_tiny"
    inputs, expected = load_file(folder / "inputs.safetensors"), load_file(folder / "expected.safetensors")
    ids = inputs["input_ids"][0].tolist()
    start, length = ids.index(1002), ids.count(1002)
    t, h, w = (int(side) for side in inputs["video_grid_thw"][0])
    ours = whole(start, (t, h // 2, w // 2), 2.0, "max", len(ids) - start - length)
    assert np.array_equal(ours, expected["position_ids"][:, 0])


def trained(folder: Path, **options: Any) -> Path:
    """A tiny checkpoint as smx saves it, made with `options`."""
    Tiny.parse(options, "m").load(None, seed=0, device="cpu", dtype="float32").save(folder)
    return folder


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({}, {"rope": {"temporal": "index"}}, r"temporal stride 2\.0, this variant would run it with 1\.0"),
        ({}, {"rope": {"text_start": "grid"}}, "text start max, .* with grid"),
        ({}, {"rope": {"layout": "interleaved"}}, "rope layout chunked, .* with interleaved"),
        ({}, {"tubelets": "repeat"}, "tubelets pair, .* with repeat"),
        (
            {"rope": {"base": "hw"}},
            {"rope": {"text_start": "grid"}},
            r"temporal stride 0\.0 and text start max, .* with 2\.0 and grid",
        ),
        ({"rope": {"seconds_per_grid": "auto"}}, {}, "temporal stride auto x 2, "),
    ],
)
def test_other_positions_than_trained_are_refused_unless_allowed(
    before: dict[str, Any], now: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Whatever moves a position id makes another experiment; where that is meant, the run says so for good."""
    folder = trained(tmp_path / "c", **before)
    with pytest.raises(UserError, match=f"was trained with {words}"):
        Tiny.parse(now, "m").check(folder)
    with pytest.raises(UserError, match="--allow-position-mismatch"):
        Tiny.parse(now, "m").check(folder)
    allowed = Tiny.parse({**now, "allow_position_mismatch": True}, "m")
    runner = allowed.load(folder, seed=0, device="cpu", dtype="float32")
    assert runner.info["position_mismatch"].startswith("was trained with")


def test_other_ways_to_the_same_positions_are_no_mismatch(tmp_path: Path) -> None:
    """`constant` and `hw`, `index` and a stride of 1: names differ, ids do not."""
    Tiny.parse({"rope": {"base": "hw"}}, "m").check(trained(tmp_path / "a", rope={"temporal": "constant"}))
    stride = {"temporal": "stride", "stride": 1}
    runner = Tiny.parse({"rope": stride}, "m").load(
        trained(tmp_path / "b", rope={"temporal": "index"}), seed=0, device="cpu", dtype="float32"
    )
    assert "position_mismatch" not in runner.info
    assert runner.info["temporal_stride"] == 1.0


def test_published_weights_evaluated_otherwise_than_trained_say_so(
    fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spatial-MLLM was trained at stride 1 and published at 2: reproduced with a note, anything else refused."""
    assert run(["init", str(tmp_path / "lab")]) == 0
    variant = tmp_path / "lab/experiments/models/mine.yaml"
    ask = ["-w", str(tmp_path / "lab"), "eval", "--model", "mine", "--frames", "4", "--dry-run"]
    ask += ["--checkpoint", str(fixtures / "golden/spatial_mllm_tiny")]
    variant.write_text("base: spatial_mllm\ntrained_stride: 1\n")
    capsys.readouterr()
    assert run(ask) == 2
    assert "was trained with temporal stride 1.0, this variant would run it with 2.0" in capsys.readouterr().err
    assert run([*ask, "--allow-position-mismatch"]) == 0
    said = capsys.readouterr().err
    assert "Positions of mine: temporal stride 2.0, tubelets pair, text start max" in said
    assert "Note: " in said
    variant.write_text("base: spatial_mllm\ntrained_stride: 1\nrope: {temporal: index}\n")
    assert run(ask) == 0
    assert "Note: " not in capsys.readouterr().err
    chance = ["-w", str(tmp_path / "lab"), "eval", "--model", "chance", "--allow-position-mismatch"]
    assert run(chance) == 2
    assert "has no positions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "grid"), [(1.0, (4, 6, 8)), (0.5, (4, 6, 8)), (2.5, (3, 10, 4)), (0.75, (5, 4, 4))]
)
def test_equal_transformers_where_the_rules_coincide(seconds: float, grid: tuple[int, int, int]) -> None:
    """transformers 5.23's `get_rope_index` is `temporal: seconds` with `text_start: grid`."""
    import torch
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    vision = SimpleNamespace(spatial_merge_size=2, tokens_per_second=2)
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision))
    model.get_vision_position_ids = Qwen2_5_VLModel.get_vision_position_ids.__get__(model)
    t, h, w = grid
    tokens = t * h * w // 4
    kinds = torch.tensor([[0] * 5 + [2] * tokens + [0] * 7])
    theirs, _ = Qwen2_5_VLModel.get_rope_index(
        model,
        torch.zeros_like(kinds),
        kinds,
        video_grid_thw=torch.tensor([grid]),
        second_per_grid_ts=torch.tensor([seconds]),
    )
    ours = whole(5, (t, h // 2, w // 2), seconds * 2, "grid", 7)
    assert np.array_equal(ours, theirs[:, 0].numpy())


@pytest.mark.parametrize("rate", [1, 2, 4, None])
@pytest.mark.parametrize("rule", ["grid", "max"])
def test_tokens_per_second_are_the_checkpoints(tmp_path: Path, rate: int | None, rule: str) -> None:
    """Against transformers' `get_rope_index` with the same config.json. Lost otherwise: every checkpoint runs at 2."""
    import torch
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    vision = {} if rate is None else {"tokens_per_second": rate}
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": vision}))
    rope = Tiny().at(tmp_path).rope
    model = SimpleNamespace(config=Qwen2_5_VLConfig(vision_config=vision))
    model.get_vision_position_ids = Qwen2_5_VLModel.get_vision_position_ids.__get__(model)
    rng = np.random.default_rng(0)
    t, h, w = 24, 4, 6
    kinds = torch.tensor([[0] * 5 + [2] * (t * h * w // 4) + [0] * 7])
    for seconds in (1.0, 0.5, 0.1, 0.7, 1 / 3, *rng.uniform(0.03, 5, 20)):
        theirs, _ = Qwen2_5_VLModel.get_rope_index(
            model,
            torch.zeros_like(kinds),
            kinds,
            video_grid_thw=torch.tensor([[t, h, w]]),
            second_per_grid_ts=torch.tensor([seconds], dtype=torch.float64),
        )
        expected = theirs[:, 0].numpy()
        if rule == "max":  # transformers up to 5.2: text goes on past the largest position
            expected[:, -7:] += expected[:, :-7].max() + 1 - expected[0, -7]
        stride = temporal_stride(rope.model_copy(update={"seconds_per_grid": seconds}), TIMES, 2)
        assert np.array_equal(whole(5, (t, h // 2, w // 2), stride, rule, 7), expected), seconds


def test_auto_is_the_clips_duration_over_its_frames() -> None:
    """8 frames of 60 s: 15 s a pair, 30 at two tokens a second, as the processor's `sampled_fps` has it; not 34.3."""
    times = np.arange(8) * 60 / 7
    assert temporal_stride(Rope(seconds_per_grid="auto"), times, 2, 60.0) == 30.0
    assert temporal_stride(Rope(seconds_per_grid="auto"), times, 2) == pytest.approx(34.2857, abs=1e-3)


def test_another_number_than_the_checkpoints_is_a_mismatch(tmp_path: Path) -> None:
    """Lost otherwise: a variant copied from one checkpoint runs another at half its stride."""
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": {"tokens_per_second": 4}}))
    named = Tiny.parse({"rope": {"tokens_per_second": 2}}, "m")
    assert "has tokens_per_second 4" in named.position_mismatch(tmp_path)
    assert not Tiny().at(tmp_path).position_mismatch(tmp_path)
    assert not Tiny.parse({"rope": {"tokens_per_second": 2, "temporal": "index"}}, "m").position_mismatch(tmp_path)
