"""`smx verify`: a silent change of what a model computes is found, and the stage where it begins is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from smx.cli import run
from smx.models.tiny import Model as Tiny
from smx.node import verify

torch.set_num_threads(1)

HOW: verify.How = {"device": "cpu", "dtype": "float32", "attention": "sdpa"}
REFERENCE = [
    *("spatial_last", "pose_enc", "depth", "depth_conf", "world_points", "world_points_conf"),
    *("video_embeds", "fused_embeds", "position_ids", "logits", "text_only_logits", "generated_ids"),
]


@pytest.fixture(scope="module")
def golden(fixtures: Path) -> Path:
    return fixtures / "golden/spatial_mllm_tiny"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2.5-VL checkpoint as smx saves it."""
    folder = tmp_path_factory.mktemp("verify") / "tiny"
    Tiny().load(None, seed=1, device="cpu", dtype="float32").save(folder)
    return folder


def changed_copy(folder: Path, to: Path, tensor: str, factor: float = 1.01) -> Path:
    """A checkpoint's copy with one tensor scaled."""
    shutil.copytree(folder, to)
    (to / "model.safetensors").chmod(0o644)
    weights = load_file(to / "model.safetensors")
    weights[tensor] = weights[tensor] * factor
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


def test_spatial_mllm_computes_what_the_reference_computed(golden: Path) -> None:
    """The lab's numbers rest on this: every stage of the public code under transformers 4.51, within 2e-4."""
    verdict = verify.check(golden, **HOW)
    assert [stage.name for stage in verdict.stages] == REFERENCE
    assert verdict.first_off is None
    assert all(stage.limit <= 2e-4 for stage in verdict.stages)
    assert verdict.made is None


def test_a_record_is_checked_and_says_what_it_was_made_with(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Versions decide what changed: a record without them could only say that something did."""
    out = tmp_path / "records/tiny"
    assert run(["verify", "record", str(tiny), str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["expected.safetensors", "inputs.safetensors", "record.json"]
    made = json.loads((out / "record.json").read_text())["made"]
    assert (
        made["packages"]["torch"] == torch.__version__.split("+")[0] or made["packages"]["torch"] == torch.__version__
    )
    capsys.readouterr()
    assert run(["verify", "check", str(tiny), str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["same"]
    assert found["first_off"] is None
    assert found["changed"] == []
    assert [stage["name"] for stage in found["stages"]] == REFERENCE[6:7] + REFERENCE[8:]
    about = json.loads((out / "record.json").read_text())
    about["made"]["packages"]["transformers"] = "4.51.3"
    (out / "record.json").write_text(json.dumps(about))
    assert run(["verify", "check", str(tiny), str(out)]) == 0
    assert "transformers 4.51.3 -> " in capsys.readouterr().out


def test_a_record_of_a_spatial_mllm_covers_every_stage(golden: Path, tmp_path: Path) -> None:
    """Depth or cameras that move would otherwise go unseen: samplers read them, not answers."""
    verify.record(golden, tmp_path / "r", **HOW)
    verdict = verify.check(golden, tmp_path / "r", **HOW)
    assert [stage.name for stage in verdict.stages] == REFERENCE
    assert verdict.first_off is None


def test_a_check_computes_as_the_record_was_made(tiny: Path, tmp_path: Path) -> None:
    """A record in bfloat16 compared in float32 would be off everywhere, and nothing would have changed."""
    verify.record(tiny, tmp_path / "r", device="cpu", dtype="bfloat16", attention="eager")
    verdict = verify.check(tiny, tmp_path / "r", device="cpu")
    assert verdict.first_off is None
    assert (verdict.here["dtype"], verdict.here["attention"]) == ("bfloat16", "eager")
    other = verify.check(tiny, tmp_path / "r", device="cpu", dtype="float32")
    assert "dtype bfloat16 -> float32" in other.changed()


@pytest.mark.parametrize(
    ("tensor", "first"),
    [
        ("spatial_encoder.vggt_model.aggregator.global_blocks.1.mlp.fc2.weight", "spatial_last"),
        ("spatial_encoder.vggt_model.camera_head.pose_branch.fc2.weight", "pose_enc"),
        ("spatial_encoder.vggt_model.depth_head.scratch.output_conv2.2.weight", "depth"),
        ("spatial_encoder.vggt_model.point_head.projects.2.weight", "world_points"),
        ("visual.merger.mlp.2.weight", "video_embeds"),
        ("connector.mlp.0.weight", "fused_embeds"),
        ("model.layers.1.mlp.up_proj.weight", "logits"),
    ],
)
def test_the_first_stage_that_is_off_is_named(
    tensor: str, first: str, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything behind a fault is off as well: the first is where to look."""
    folder = changed_copy(golden, tmp_path / "c", tensor)
    assert run(["verify", "check", str(folder)]) == 1
    assert f"the first is {first}." in capsys.readouterr().out
    verdict = verify.check(folder, **HOW)
    assert verdict.first_off == first
    before = REFERENCE[: REFERENCE.index(first)]
    assert all(stage.same for stage in verdict.stages if stage.name in before)


def test_positions_by_another_rule_are_named(golden: Path, tmp_path: Path) -> None:
    """What transformers changed silently, several times: the positions stage is off before the logits."""
    record = tmp_path / "r"
    shutil.copytree(golden, record)
    (record / "record.json").write_text(json.dumps({"rope": {"text_start": "grid"}}))
    verdict = verify.check(golden, record, **HOW)
    assert verdict.first_off == "position_ids"
    assert "differ" in next(stage.note for stage in verdict.stages if not stage.same)


def test_a_stage_that_is_not_there_or_not_finite_is_off(golden: Path, tmp_path: Path) -> None:
    """A missing stage or a NaN must never count as the same."""
    record = tmp_path / "r"
    record.mkdir()
    shutil.copy(golden / "inputs.safetensors", record)
    expected = load_file(golden / "expected.safetensors")
    save_file({"logits": expected["logits"][:, :-1].contiguous(), "novel": torch.ones(2)}, record / verify.FILES[1])
    stages = {stage.name: stage for stage in verify.check(golden, record, **HOW).stages}
    assert stages["logits"].note == "shape is [1, 60, 1024] here"
    assert stages["novel"].note == "this checkpoint does not compute it"
    broken = changed_copy(golden, tmp_path / "c", "model.norm.weight", float("nan"))
    assert next(s for s in verify.check(broken, **HOW).stages if s.name == "logits").note == "not finite here"


def test_wrong_input_is_said(tiny: Path, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 with what was found and expected; a record is never written over."""

    def refused(*arguments: str) -> str:
        assert run(["verify", *arguments]) == 2
        return capsys.readouterr().err

    assert "is no record: inputs.safetensors and expected.safetensors missing" in refused("check", str(tiny))
    assert "no checkpoint folder" in refused("record", str(tmp_path / "none"), str(tmp_path / "out"))
    assert "exists already" in refused("record", str(tiny), str(tiny))
    assert "there is no device 'tpu' here" in refused("check", str(golden), "--device", "tpu")
    assert "lacks video_tchw" in refused("check", str(golden), str(_without_frames(golden, tmp_path / "r")))
    assert not (tmp_path / "out").exists()


def _without_frames(golden: Path, to: Path) -> Path:
    shutil.copytree(golden, to)
    (to / "inputs.safetensors").chmod(0o644)
    inputs = load_file(to / "inputs.safetensors")
    del inputs["video_tchw"]
    save_file(inputs, to / "inputs.safetensors")
    return to
