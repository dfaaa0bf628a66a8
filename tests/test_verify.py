"""`smx verify`: a silent change of what a model computes is found, and the stage where it begins is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_qwen3 import folder as qwen3  # noqa: F401 - a fixture: a tiny Qwen3-VL
from torch import Tensor

from smx import verify
from smx.cli import run
from smx.errors import UserError
from smx.geometry import pose_attention as pa
from smx.models._vlm import poses
from smx.models.spatial_mllm import Model as Spatial
from smx.models.tiny import Model as Tiny

torch.set_num_threads(1)

HOW: verify.RecordSettings = {"device": "cpu", "dtype": "float32", "attention": "sdpa"}
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
    assert len({file.stat().st_mode for file in out.iterdir()}) == 1, "whoever may read one of them reads all"
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


POSES = {kind: {"pose": {"kind": kind}} for kind in poses.names() if poses.encoding(kind).reads_cameras}
PLAIN = ["video_embeds", "position_ids", "pose_dims", "cameras", "logits", "text_only_logits", "generated_ids"]


@pytest.fixture(scope="module")
def posed(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A record of the tiny checkpoint as a variant of each kind of pose."""
    place = tmp_path_factory.mktemp("posed")
    for kind, options in POSES.items():
        verify.record(tiny, place / kind, variant=verify.As(kind, "tiny", options), **HOW)
    return {kind: place / kind for kind in POSES}


@pytest.mark.parametrize("kind", POSES)
def test_a_pose_variant_is_recorded_and_checked(kind: str, tiny: Path, posed: dict[str, Path]) -> None:
    """Its cameras, and the dims of a head that carry them, move scores like any weight does."""
    verdict = verify.check(tiny, posed[kind], **HOW)
    assert verdict.first_off is None
    stages = [name for name in PLAIN if kind != "geo_alibi" or name != "pose_dims"]  # a bias has no dims
    assert [stage.name for stage in verdict.stages] == stages
    about = json.loads((posed[kind] / "record.json").read_text())
    assert (about["model"], about["options"]["pose"]["kind"]) == (kind, kind)
    assert about["made"]["packages"]["transformers"]


def test_poses_are_in_the_record_and_words_alone_are_not_touched(tiny: Path, posed: dict[str, Path]) -> None:
    """A record that never ran the hooks would pass every check and prove nothing."""
    found = {kind: load_file(place / "expected.safetensors") for kind, place in posed.items()}
    for a, b in (("prope", "gta"), ("gta", "cape"), ("cape", "geo_alibi")):
        assert (found[a]["logits"] - found[b]["logits"]).abs().max() > 1e-2
        assert torch.equal(found[a]["text_only_logits"], found[b]["text_only_logits"])


@pytest.mark.parametrize("kind", POSES)
def test_cameras_of_another_convention_are_named(kind: str, tiny: Path, posed: dict[str, Path], tmp_path: Path) -> None:
    """Camera-to-world taken for world-to-camera: rigid, finite, and wrong."""
    record = tmp_path / "r"
    shutil.copytree(posed[kind], record)
    inputs = load_file(record / "inputs.safetensors")
    save_file(inputs | {"w2c": pa.invert(inputs["w2c"])}, record / "inputs.safetensors")
    assert verify.check(tiny, record, **HOW).first_off == "cameras"


def test_what_a_pose_does_is_named(
    tiny: Path, posed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One changed thing each: the pairs that carry a pose, the temporal positions, the product, the slopes."""

    def saying(kind: str, **change: object) -> Path:
        record = tmp_path / "-".join((kind, *change))
        shutil.copytree(posed[kind], record)
        about = json.loads((record / "record.json").read_text())
        about["options"] |= change
        (record / "record.json").write_text(json.dumps(about))
        return record

    high = saying("prope", pose={"kind": "prope", "dims": "high"})
    assert verify.check(tiny, high, **HOW).first_off == "pose_dims"
    assert verify.check(tiny, saying("gta", rope={"temporal": "index"}), **HOW).first_off == "position_ids"
    transform = pa.transform
    with monkeypatch.context() as changed:
        changed.setattr(pa, "transform", lambda x, matrices, dims: transform(x, matrices.mT, dims))
        assert verify.check(tiny, posed["cape"], **HOW).first_off == "logits"
    with monkeypatch.context() as changed:
        changed.setattr(pa, "slopes", lambda heads: [1.0] * heads)
        assert verify.check(tiny, posed["geo_alibi"], **HOW).first_off == "logits"
    other = changed_copy(tiny, tmp_path / "c", "model.layers.1.self_attn.k_proj.weight")
    assert verify.check(other, posed["prope"], **HOW).first_off == "logits"


def test_a_checkpoint_is_recorded_as_it_was_trained(tmp_path: Path) -> None:
    """Without a variant named, a pose checkpoint must not be recorded without its poses."""
    options = {"pose": {"kind": "gta"}, "rope": {"base": "hw"}, "tubelets": "repeat"}
    Tiny.parse(options, "m").load(None, seed=1, device="cpu", dtype="float32").save(tmp_path / "c")
    stages = verify.record(tmp_path / "c", tmp_path / "r", **HOW)
    assert [stage.name for stage in stages] == PLAIN
    assert next(stage.shape for stage in stages if stage.name == "cameras") == [1, 8, 1, 2, 4, 4]
    about = json.loads((tmp_path / "r/record.json").read_text())
    assert (about["options"]["rope"]["base"], about["options"]["pose"]["kind"]) == ("hw", "gta")
    assert verify.check(tmp_path / "c", tmp_path / "r", **HOW).first_off is None


@pytest.mark.parametrize(
    ("tensor", "first"),
    [
        (None, None),
        ("model.visual.merger.linear_fc2.weight", "video_embeds"),
        ("model.visual.deepstack_merger_list.1.linear_fc2.weight", "deepstack_embeds"),
        ("model.language_model.layers.1.mlp.up_proj.weight", "logits"),
    ],
)
def test_qwen3_is_recorded_and_the_first_stage_off_is_named(
    tensor: str | None,
    first: str | None,
    qwen3: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Its features of the encoder's middle reach the language model beside the others: they are a stage too."""
    stages = verify.record(qwen3, tmp_path / "r", **HOW)
    assert [stage.name for stage in stages] == [
        *("video_embeds", "deepstack_embeds", "position_ids", "logits", "text_only_logits", "generated_ids")
    ]
    other = qwen3 if tensor is None else changed_copy(qwen3, tmp_path / "c", tensor)
    assert verify.check(other, tmp_path / "r", **HOW).first_off == first


def test_qwen3_positions_are_transformers_own(qwen3: Path, tmp_path: Path) -> None:  # noqa: F811
    """What is recorded is what the architecture itself would have, so a change there is seen against it."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLForConditionalGeneration

    verify.record(qwen3, tmp_path / "r", **HOW)
    inputs, found = (load_file(tmp_path / "r" / name) for name in verify.FILES)
    vlm = Qwen3VLForConditionalGeneration.from_pretrained(qwen3)
    kinds = (inputs["input_ids"] == vlm.config.video_token_id).int() * 2
    theirs, _ = vlm.model.get_rope_index(inputs["input_ids"], kinds, video_grid_thw=inputs["video_grid_thw"])
    assert torch.equal(theirs, found["position_ids"])


@pytest.mark.parametrize(
    "options",
    [
        {"features": "camera"},
        {"features": "cat", "pose": {"kind": "cape", "tubelet": "split"}},
        {"connector": "spatial_merge", "features": "3d", "tubelets": "repeat"},
        {"features": "2d", "pose": {"kind": "gta", "source": "vggt"}},
    ],
    ids=str,
)
def test_every_way_to_read_vggt_is_covered(options: dict[str, object], golden: Path, tmp_path: Path) -> None:
    """A checkpoint trained with other features or cameras of its own is recorded with them, not as the default."""
    model = Spatial.parse(options, "m")
    model.load(golden, seed=1, device="cpu", dtype="float32").save(tmp_path / "c")
    stages = {stage.name: stage for stage in verify.record(tmp_path / "c", tmp_path / "r", **HOW)}
    assert ("fused_embeds" in stages) == (model.features != "2d")
    assert ("cameras" in stages) == (model.pose.kind != "none")
    if model.features == "camera":
        assert stages["fused_embeds"].shape[0] == stages["video_embeds"].shape[0] + 8
    assert verify.check(tmp_path / "c", tmp_path / "r", **HOW).first_off is None


def test_cameras_that_vggt_finds_move_with_it(golden: Path, tmp_path: Path) -> None:
    """With `pose.source: vggt` the camera head is upstream of attention: it is named, not what follows from it."""
    variant = verify.As("own", "spatial_mllm", {"pose": {"kind": "gta", "source": "vggt"}})
    verify.record(golden, tmp_path / "r", variant=variant, **HOW)
    head = "spatial_encoder.vggt_model.camera_head.pose_branch.fc2.weight"
    other = changed_copy(golden, tmp_path / "c", head)
    verdict = verify.check(other, tmp_path / "r", **HOW)
    off = [stage.name for stage in verdict.stages if not stage.same]
    assert off[0] == "pose_enc"
    assert {"cameras", "logits"} <= set(off)
    assert np.isfinite([stage.relative for stage in verdict.stages if stage.relative is not None]).all()


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


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("w2c", lambda x: x.index_fill(0, torch.tensor([1]), torch.nan), "finite cameras, found none .* frames 1"),
        ("w2c", lambda x: x * 2, r"rigid w2c .* frames 0, 1"),
        ("w2c", lambda x: x[:3], r"w2c is \[3, 4, 4\], .* expect \[8, 4, 4\]"),
        ("K", lambda x: x * 0, "found 0 and 0 .a field of view of 0 is infinite"),
        ("text_only_ids", lambda x: x + 100_000, "outside 0 to"),
        ("pixel_values_videos", lambda x: x[:5], r"pixel_values_videos is \[5, 1176\]"),
        ("video_grid_thw", lambda x: x * 0, r"video_grid_thw is \[\[0, 0, 0\]\]"),
        ("input_ids", lambda x: x[:, 10:], "prompt has .* video tokens, its grid"),
    ],
)
def test_a_damaged_record_is_said(
    name: str, change: Callable[[Tensor], Tensor], words: str, tiny: Path, posed: dict[str, Path], tmp_path: Path
) -> None:
    """What was found and what was expected, not a traceback out of a matrix product."""
    record = tmp_path / "r"
    shutil.copytree(posed["prope"], record)
    inputs = load_file(record / "inputs.safetensors")
    save_file(inputs | {name: change(inputs[name]).contiguous()}, record / "inputs.safetensors")
    with pytest.raises(UserError, match=words):
        verify.check(tiny, record, **HOW)


@pytest.mark.parametrize("schema", [99, "x", [1]])
def test_a_record_of_a_newer_smx_is_not_guessed_at(schema: object, tiny: Path, tmp_path: Path) -> None:
    """Read by the wrong rules, it would say that the model moved, or that it did not."""
    verify.record(tiny, tmp_path / "r", **HOW)
    about = json.loads((tmp_path / "r" / "record.json").read_text())
    (tmp_path / "r" / "record.json").write_text(json.dumps(about | {"schema": schema}))
    with pytest.raises(UserError, match=r"has schema .* reads up to 2"):
        verify.check(tiny, tmp_path / "r", **HOW)


def test_a_record_that_fails_leaves_nothing(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a record would be taken for one, and keep its name from the next try."""
    with monkeypatch.context() as broken:
        broken.setattr(verify, "_computed", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            verify.record(tiny, tmp_path / "r", **HOW)
    assert not list(tmp_path.iterdir())
    verify.record(tiny, tmp_path / "r", **HOW)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_wrong_input_is_said(tiny: Path, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 with what was found and expected; a record is never written over."""

    def refused(*arguments: str) -> str:
        assert run(["verify", *arguments]) == 2
        return capsys.readouterr().err

    assert "is no record: inputs.safetensors and expected.safetensors missing" in refused("check", str(tiny))
    assert "no checkpoint folder" in refused("record", str(tmp_path / "none"), str(tmp_path / "out"))
    assert "exists already" in refused("record", str(tiny), str(tiny))
    assert "a limit of nan is no difference" in refused("check", str(golden), "--limit", "nan")
    (tmp_path / "file").touch()
    assert "file/out cannot be made: " in refused("record", str(tiny), str(tmp_path / "file/out"))
    assert "'--seed': Input should be greater than or equal to 0" in refused(
        "record", str(tiny), str(tmp_path / "out"), "--seed", "-1"
    )
    assert "there is no device 'tpu' here" in refused("check", str(golden), "--device", "tpu")
    assert "a variant of base 'tiny' cannot run" in refused(
        "record", str(golden), str(tmp_path / "out"), "--model", "tiny-prope"
    )
    assert "lacks 3 weights" in refused("record", str(golden), str(tmp_path / "out"), "--model", "spatialmllm-camera")
    assert "spatialmllm" in refused("record", str(golden), str(tmp_path / "out"), "--model", "spatialmlm")
    assert "lacks video_tchw" in refused("check", str(golden), str(_without_frames(golden, tmp_path / "r")))
    assert not (tmp_path / "out").exists()


def _without_frames(golden: Path, to: Path) -> Path:
    shutil.copytree(golden, to)
    (to / "inputs.safetensors").chmod(0o644)
    inputs = load_file(to / "inputs.safetensors")
    del inputs["video_tchw"]
    save_file(inputs, to / "inputs.safetensors")
    return to
