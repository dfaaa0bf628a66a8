"""VGGT and what Spatial-MLLM makes of it: features, connectors, cameras, checkpoints in the public layout.

What the reference computed is compared in test_verify.py; here are laws, slow references and wrong input.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from smx.errors import SceneError, UserError
from smx.geometry import pose_encoding
from smx.models import Query, SceneInput
from smx.models._spatial_mllm.config import read_config
from smx.models._spatial_mllm.loading import spatial_features
from smx.models._spatial_mllm.model import SpatialMerge, sides, unpatchify
from smx.models._spatial_mllm.runner import SpatialRunner
from smx.models._spatial_mllm.saving import save_weights
from smx.models._vggt.config import PARTS, VGGTConfig, shapes
from smx.models._vggt.network import MEAN, STD, PatchEmbedding
from smx.models._vlm.position_ids import camera_positions, text_start, video_positions
from smx.models.spatial_mllm import Model
from smx.resolve.training import recipe_of

torch.set_num_threads(1)

SMALL = {"pixels": [3136, 9800]}
QUESTIONS = [Query("0", "How many chairs?", "n"), Query("1", "Is the sofa on your left?", "mc", ("A. yes", "B. no"))]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"features": "2d"},
    {"features": "3d"},
    {"features": "cat"},
    {"features": "camera"},
    {"tubelets": "repeat"},
    {"features": "camera", "tubelets": "repeat"},
    {"features": "3d", "tubelets": "repeat", "connector": "spatial_merge"},
    {"pose": {"kind": "prope"}},
    {"pose": {"kind": "prope", "source": "vggt"}, "rope": {"base": "hw"}},
]


@pytest.fixture(scope="module")
def golden(fixtures: Path) -> Path:
    return fixtures / "golden/spatial_mllm_tiny"


@pytest.fixture(scope="module")
def inputs(golden: Path) -> Any:
    return load_file(golden / "inputs.safetensors")


def load(checkpoint: Path, dtype: str = "float32", seed: int = 0, **options: Any) -> SpatialRunner:
    runner = Model.parse({**SMALL, **options}, "variant").load(checkpoint, seed=seed, device="cpu", dtype=dtype)
    assert isinstance(runner, SpatialRunner)
    return runner


def scene(frames: int = 4, seed: int = 0) -> SceneInput:
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    w2c = np.tile(np.eye(4), (frames, 1, 1))
    w2c[:, :3, :3] = Rotation.random(frames, random_state=seed).as_matrix()
    w2c[:, :3, 3] = rng.normal(size=(frames, 3))
    K = np.tile(np.array([[105.0, 0, 56], [0, 110, 42], [0, 0, 1]]), (frames, 1, 1))
    pixels = rng.integers(0, 256, (frames, 84, 112, 3), dtype=np.uint8)
    return SceneInput(f"room{seed}", pixels, np.arange(frames) * 0.5, w2c, K)


@torch.inference_mode()
def logits(runner: SpatialRunner, view: SceneInput | None) -> Tensor:
    """Of one whole prompt, without a cache."""
    clip, question = runner.clip(view), runner.prompts.question("How many chairs?")
    after = np.arange(clip.next_position, clip.next_position + len(question))
    positions = np.concatenate((clip.positions, np.tile(after, (3, 1))), axis=1)
    ids, where = torch.tensor([[*clip.ids, *question]]), torch.from_numpy(positions)[:, None]
    if runner.model.hooks is None:
        return runner.model.logits(ids, where, **clip.video)
    with runner.model.hooks:
        return runner.model.logits(ids, where, **clip.video)


# VGGT


def test_vggt_sees_the_very_frames_that_qwen_sees(inputs: dict[str, Tensor]) -> None:
    """The frames are taken back out of Qwen's tubelets: nothing may be lost on the way."""
    frames = unpatchify(inputs["pixel_values_videos"], inputs["video_grid_thw"][0].tolist(), 14, 2)
    assert (frames - inputs["video_tchw"]).abs().max() < 1e-6


def test_the_first_frame_is_vggts_reference_and_the_others_have_no_order(golden: Path) -> None:
    """Frame 0 has tokens of its own; shuffling the rest only shuffles what comes out."""
    spatial = load(golden).model.spatial
    images = torch.rand(4, 3, 56, 84, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([0, 3, 1, 2])
    [plain], [shuffled] = (spatial.tokens(frames).values() for frames in (images, images[order]))
    assert torch.allclose(plain[order], shuffled, atol=1e-5)
    turned = spatial.tokens(images.flip(0))[1].flip(0)
    assert (turned - plain).abs().max() > 1e-2


def test_only_the_layers_and_heads_that_are_read_are_loaded(golden: Path, tmp_path: Path) -> None:
    """VGGT-1B takes gigabytes: a variant that reads its first layer must not hold 24."""
    assert not list(load(golden, features="2d").model.spatial.vggt.parameters())
    assert set(load(golden).model.spatial.vggt) == {"aggregator"}
    assert set(load(golden, pose={"kind": "gta", "source": "vggt"}).model.spatial.vggt) == {"aggregator", "camera_head"}

    def first_layer(config: dict[str, Any]) -> None:
        config["connector_config"]["spatial_embeds_layer_idx"] = 0

    aggregator: Any = load(edited(golden, tmp_path / "c", config=first_layer)).model.spatial.vggt["aggregator"]
    assert len(aggregator.frame_blocks) == 1


# Cameras


def test_a_pose_encoding_is_a_camera() -> None:
    """w2c, OpenCV, quaternion xyzw, vertical field of view first: any other reading mirrors or swaps the room."""
    from scipy.spatial.transform import Rotation

    rotation = Rotation.random(5, random_state=0)
    rng = np.random.default_rng(0)
    shift, fields = rng.normal(size=(5, 3)), rng.uniform(0.5, 2, (5, 2))
    encoding = np.concatenate((shift, rotation.as_quat() * 3, fields), axis=1)
    w2c, K = pose_encoding.decode(encoding, (112, 84))
    assert np.allclose(w2c[:, :3, :3], rotation.as_matrix())
    assert np.allclose(w2c[:, :3, 3], shift)
    assert np.allclose(w2c[:, 3], [0, 0, 0, 1])
    assert np.allclose(K[:, 0, 0], 56 / np.tan(fields[:, 1] / 2))
    assert np.allclose(K[:, 1, 1], 42 / np.tan(fields[:, 0] / 2))
    assert np.allclose(K[:, :2, 2], (56, 42))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (7, 0.0, r"fields of view for frames 1 .*\[0, 1\.2\]; expected two angles"),
        (8, 3.2, "fields of view"),
        (2, math.nan, r"not finite for frames 1 \(by position\)"),
        (0, math.inf, "not finite"),
        (slice(3, 7), 0.0, "quaternions of length 0"),
    ],
)
def test_an_encoding_that_is_no_camera_is_said(place: Any, value: float, words: str) -> None:
    """A field of view of 0 comes out of a ReLU; as a focal length of inf it would poison every frame."""
    encoding = np.tile(np.array([0.1, 0.2, 0.3, 0, 0, 0, 1, 1.1, 1.2]), (3, 1))
    encoding[1, place] = value
    with pytest.raises(SceneError, match=words):
        pose_encoding.decode(encoding, (112, 84))


def test_vggts_own_cameras_feed_pose_attention(golden: Path, tmp_path: Path) -> None:
    """`pose.source: vggt` needs no cameras in the sample set; where VGGT fails, the scene does, by name."""
    runner, view = load(golden, pose={"kind": "prope", "source": "vggt"}), scene()
    blind = SceneInput(view.scene, view.frames, view.timestamps)
    assert not runner.options.wants_cameras()
    assert torch.equal(logits(runner, blind), logits(load(golden, pose={"kind": "prope", "source": "vggt"}), view))
    assert (logits(runner, blind) - logits(load(golden), blind)).abs().max() > 1e-3
    with pytest.raises(SceneError, match=r"room0: .*none"):
        logits(load(golden, pose={"kind": "prope"}), blind)

    def shut(weights: dict[str, Tensor]) -> None:
        weights["spatial_encoder.vggt_model.camera_head.pose_branch.fc2.bias"][7:] = -100

    shut_eyes = load(edited(golden, tmp_path / "c", weights=shut), pose={"kind": "prope", "source": "vggt"})
    with pytest.raises(SceneError, match="fields of view"):
        logits(shut_eyes, blind)


# Connectors and features


def test_mlp_add_flattens_tubelets_with_time_innermost(golden: Path) -> None:
    """Against a loop over cells: row in 2x2, column in 2x2, channel, time."""
    connector = load(golden).model.spatial.connector
    t, h, w, channels = 2, 4, 6, 128
    patches = torch.rand(2 * t, h * w, channels, generator=torch.Generator().manual_seed(0))
    frames = patches.view(2 * t, h, w, channels)
    cells = []
    for k, i, j in itertools.product(range(t), range(h // 2), range(w // 2)):
        numbers = [
            frames[2 * k + time, 2 * i + row, 2 * j + column, channel]
            for row in range(2)
            for column in range(2)
            for channel in range(channels)
            for time in range(2)
        ]
        cells.append(torch.stack(numbers))
    with torch.inference_mode():
        slow = connector.mlp(connector.ln_q(torch.stack(cells)))
        assert torch.allclose(connector(patches, [t, h, w]), slow, atol=1e-6)


def test_spatial_merge_merges_space_and_not_time() -> None:
    """Against a loop; 448² gives 256 tokens of a frame, 252x448 144, 196x392 98."""
    merge = SpatialMerge(8, 12)
    patches = torch.rand(2, 24, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = merge(patches, [2, 4, 6])
        normed = merge.ln_q(patches).view(2, 4, 6, 8)
        slow = [
            merge.mlp(torch.cat([normed[k, 2 * i + a, 2 * j + b] for a in (0, 1) for b in (0, 1)]))
            for k, i, j in itertools.product(range(2), range(2), range(3))
        ]
        assert torch.allclose(found, torch.stack(slow), atol=1e-6)
        assert torch.equal(merge(patches), found)  # 24 patches: 4 x 6 is the pair closest to a square
        assert [len(merge(torch.zeros(1, n, 8))) for n in (32 * 32, 18 * 32, 14 * 28)] == [256, 144, 98]
    assert [sides(n) for n in (32 * 32, 18 * 32, 14 * 28)] == [(32, 32), (24, 24), (14, 28)]


@pytest.mark.parametrize(
    ("patches", "grid", "words"),
    [
        (15, [1, 3, 5], r"Grid size \(3, 5\) not divisible by merge_size 2\n.*\(4, 6\) would be"),
        (26, None, "Cannot find valid H, W factors"),
        (24, [1, 4, 4], "24 patches are no grid of 4x4"),
    ],
)
def test_a_grid_that_cannot_be_merged_is_said(patches: int, grid: list[int] | None, words: str) -> None:
    """With what to do; numbers that happen to divide would merge the wrong patches silently."""
    with pytest.raises(UserError, match=words):
        SpatialMerge(8, 12)(torch.zeros(1, patches, 8), grid)


def test_features_are_what_they_say(golden: Path) -> None:
    """fused = 2d + 3d; 2d is the plain Qwen2.5-VL, bit for bit."""
    view = scene()
    runners = {name: load(golden, features=name) for name in ("fused", "2d", "3d", "cat", "camera")}
    found = {}
    with torch.inference_mode():
        for name, runner in runners.items():
            video, model = runner.clip(view).video, runner.model
            found[name] = model.spatial(model.vlm.model.visual, video["pixel_values"], video["grid_thw"], torch.float32)
        connector = runners["cat"].model.spatial.connector
        both = torch.cat((connector.half_2d(found["2d"]), connector.half_3d(found["3d"])), dim=-1)
    assert torch.equal(found["fused"], found["2d"] + found["3d"])
    assert torch.equal(found["cat"], both)
    assert torch.equal(found["camera"][:-4], found["2d"])
    assert len(found["camera"]) == len(found["2d"]) + len(view.frames)
    runner = runners["2d"]
    clip = runner.clip(view)
    ids, where = torch.tensor([clip.ids]), torch.from_numpy(clip.positions)[:, None]
    with torch.inference_mode():
        plain = runner.model.vlm(
            input_ids=ids,
            position_ids=where,
            pixel_values_videos=clip.video["pixel_values"],
            video_grid_thw=clip.video["grid_thw"],
            use_cache=False,
        ).logits
        assert torch.equal(runner.model.logits(ids, where, **clip.video), plain)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_a_prompt_without_video_is_the_base_models(options: dict[str, Any], golden: Path) -> None:
    """Bit for bit, whatever the variant does to video."""
    runner = load(golden, **options)
    ids = torch.tensor([runner.prompts.question("How many chairs?")])
    where = torch.arange(ids.shape[1]).expand(3, 1, -1)
    with torch.inference_mode():
        plain = runner.model.vlm(input_ids=ids, position_ids=where, use_cache=False).logits
        assert torch.equal(runner.model.logits(ids, where), plain)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_every_variant_answers_alike_however_it_is_asked(options: dict[str, Any], golden: Path) -> None:
    """One by one, with the video's keys and values shared, and several scenes in one padded batch."""
    runner, reference = load(golden, **options), load(golden, **options)
    reference.share_prefix = False
    views = [scene(4, 0), scene(6, 1)]
    singles = [next(reference.answer(view, [query], 5)) for view in views for query in QUESTIONS]
    shared = [reply for view in views for reply in runner.answer(view, QUESTIONS, 5)]
    together = runner.answer_together([(view, query) for view in views for query in QUESTIONS], 5)
    assert singles == shared == together


def test_weights_nobody_published_are_drawn_from_the_seed_and_said(golden: Path) -> None:
    """`cat` and `camera` have no published connector: untrained, or a table would show noise as a result."""
    a, b, other = load(golden, features="cat"), load(golden, features="cat"), load(golden, seed=1, features="cat")
    assert a.untrained
    assert a.info["untrained_weights"] == ["half_2d.bias", "half_2d.weight", "half_3d.bias", "half_3d.weight"]
    halves = [runner.model.spatial.connector.half_2d.weight for runner in (a, b, other)]
    assert torch.equal(halves[0], halves[1])
    assert not torch.equal(halves[0], halves[2])
    assert not load(golden).untrained
    assert load(golden).info["features"] == "fused"


def test_positions_of_camera_tokens_stand_beside_the_grid(golden: Path) -> None:
    """Each frame's own place at its tubelet's time, none shared with a patch, and text behind all of them."""
    found = camera_positions(5, (2, 3, 4), 2.0, 4)
    assert found.tolist() == [[5, 5, 7, 7], [8, 9, 8, 9], [9, 10, 9, 10]]
    patches = set(map(tuple, video_positions(5, (2, 3, 4), 2.0).T.tolist()))
    assert not patches & set(map(tuple, found.T.tolist()))
    clip = load(golden, features="camera", rope={"temporal": "constant"}).clip(scene())
    assert clip.ids.count(1001) == 4
    assert clip.next_position > clip.positions.max()
    assert text_start(5, (2, 3, 4), 2.0, "max") == 9


# Training


@pytest.mark.parametrize("options", [{}, {"features": "cat"}, {"features": "camera"}, {"features": "3d"}], ids=str)
def test_the_connector_the_merger_and_the_language_model_are_trained(options: dict[str, Any], golden: Path) -> None:
    """The published recipe: VGGT and the vision encoder stay as they are."""
    runner = load(golden, **options)
    runner.train_only(recipe_of("spatialmllm", runner.options, {})["train"])
    module = runner.module()
    batch = runner.collate([runner.example(scene(4, s), QUESTIONS[0], a) for s, a in enumerate(("3", "8"))])
    module(**batch).loss.backward()
    moved = {name for name, weight in module.named_parameters() if weight.grad is not None}
    assert any(name.startswith("spatial.connector.") for name in moved)
    assert any(".language_model." in name for name in moved)
    assert any(".visual.merger." in name for name in moved) is (options.get("features") != "3d")
    assert not any(".vggt." in name or ".visual.blocks." in name for name in moved)
    with torch.no_grad():
        alone = [
            module(**runner.collate([runner.example(scene(4, s), QUESTIONS[0], a)])).loss
            for s, a in enumerate(("3", "8"))
        ]
        assert torch.allclose(module(**batch).loss, torch.stack(alone).mean(), atol=1e-5)
    assert not runner.untrained


def test_a_checkpoint_in_training_leaves_vggt_out(golden: Path) -> None:
    """Frozen gigabytes in every checkpoint would fill the disk; what is loaded back is whole."""
    state = load(golden).module().state_dict()
    assert not any(".vggt." in name for name in state)
    fresh: Any = load(golden).module()
    with torch.no_grad():
        for weight in fresh.spatial.connector.parameters():
            weight.zero_()
    fresh.load_state_dict(state)
    assert float(fresh.spatial.connector.mlp[0].weight.detach().abs().max()) > 0


# Checkpoints


def edited(
    folder: Path,
    to: Path,
    *,
    config: Callable[[dict[str, Any]], None] | None = None,
    weights: Callable[[dict[str, Tensor]], Any] | None = None,
) -> Path:
    """A checkpoint's copy (without the record), its config or weights changed."""
    to.mkdir()
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copyfile(folder / name, to / name)
    if config:
        content = json.loads((to / "config.json").read_text())
        config(content)
        (to / "config.json").write_text(json.dumps(content))
    if weights:
        tensors = load_file(to / "model.safetensors")
        save_file(weights(tensors) or tensors, to / "model.safetensors", metadata={"format": "pt"})
    return to


def without(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


def newer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names as transformers spells them since 4.52."""
    older = {"visual.": "model.visual.", "model.": "model.language_model.", "": "model."}
    kept = ("lm_head.",)
    return {
        name
        if name.startswith(kept)
        else next(new + name.removeprefix(old) for old, new in older.items() if name.startswith(old)): tensor
        for name, tensor in tensors.items()
    }


def test_old_and_new_names_and_shards_are_one_model(golden: Path, tmp_path: Path) -> None:
    """A lab has checkpoints of every age."""
    expected = logits(load(golden), scene())
    renamed = edited(golden, tmp_path / "new", weights=newer)
    assert "model.spatial_encoder.vggt_model.aggregator.camera_token" in load_file(renamed / "model.safetensors")
    assert torch.equal(logits(load(renamed), scene()), expected)
    runner = load(golden)
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    save_weights(runner.model.vlm, runner.model.spatial, sharded, shard=2_000_000)
    assert len(list(sharded.glob("model-0*-of-0*.safetensors"))) > 4
    assert not (sharded / "model.safetensors").exists()
    assert torch.equal(logits(load(sharded), scene()), expected)
    next(iter(sorted(sharded.glob("model-00003*")))).unlink()
    with pytest.raises(UserError, match=r"model-00003-of-\d+\.safetensors is missing"):
        load(sharded)


def test_what_is_saved_is_the_public_layout(golden: Path, tmp_path: Path) -> None:
    """Every tensor under its published name, heads and all, bit for bit: the reference reads it back."""
    runner = load(golden)
    runner.save(tmp_path / "c")
    before, after = load_file(golden / "model.safetensors"), load_file(tmp_path / "c/model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    old, new = (json.loads((folder / "config.json").read_text()) for folder in (golden, tmp_path / "c"))
    assert new == old
    again = load(tmp_path / "c")
    assert torch.equal(logits(again, scene()), logits(runner, scene()))
    assert json.loads((tmp_path / "c/smx.json").read_text())["options"]["features"] == "fused"


def test_tied_embeddings(golden: Path, tmp_path: Path) -> None:
    """The published 3B ties head and embedding and stores one of them."""

    def tie(config: dict[str, Any]) -> None:
        config["tie_word_embeddings"] = True

    tied = edited(golden, tmp_path / "tied", config=tie, weights=without("lm_head.weight"))
    runner = load(tied)
    assert runner.model.vlm.lm_head.weight is runner.model.vlm.model.language_model.embed_tokens.weight
    runner.save(tmp_path / "saved")
    assert "lm_head.weight" not in load_file(tmp_path / "saved/model.safetensors")
    assert torch.equal(logits(load(tmp_path / "saved"), scene()), logits(runner, scene()))


@pytest.mark.parametrize("options", [{"features": "cat"}, VARIANTS[7]], ids=str)
def test_connectors_of_our_own_survive_saving(options: dict[str, Any], golden: Path, tmp_path: Path) -> None:
    """Trained `cat` or `spatial_merge` must come back, and not as untrained."""
    runner = load(golden, **options)
    module = runner.module()
    module(**runner.collate([runner.example(scene(), QUESTIONS[0], "3")])).loss.backward()
    runner.save(tmp_path / "c")
    again = load(tmp_path / "c", seed=9, **options)
    assert torch.equal(logits(again, scene()), logits(runner, scene()))
    assert not again.untrained


def test_bfloat16(golden: Path) -> None:
    """The precision real checkpoints run in; VGGT's camera head stays float32."""
    runner = load(golden, dtype="bfloat16", pose={"kind": "prope", "source": "vggt"})
    assert {weight.dtype for weight in runner.model.spatial.vggt["camera_head"].parameters()} == {torch.float32}
    assert {weight.dtype for weight in runner.model.spatial.vggt["aggregator"].parameters()} == {torch.bfloat16}
    assert len(list(runner.answer(scene(), QUESTIONS, 2))) == 2


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(config: dict[str, Any]) -> None:
        *above, last = path.split(".")
        for name in above:
            config = config[name]
        config[last] = value

    return apply


ENCODER = "spatial_encoder.vggt_model."


@pytest.mark.parametrize(
    ("config", "weights", "words"),
    [
        (change("model_type", "qwen2_5_vl"), None, "holds a 'qwen2_5_vl'.*\n.*'spatial-mllm'"),
        (
            change("connector_config.connector_type", "mlp_ad"),
            None,
            "connector_type 'mlp_ad'\ndid you mean mlp_add",
        ),
        (change("connector_config.spatial_embeds_layer_idx", 5), None, "layer 5 does not exist, there are 2"),
        (change("spatial_config", None), None, "has no spatial_config"),
        (change("spatial_config.num_heads", 5), None, r"embed_dim 64 over 5 heads is 12\.8 per head\n.*multiple of 4"),
        (change("spatial_config.camera_num_heads", 3), None, "camera head 128 over 3 heads"),
        (change("spatial_config.depth", "2"), None, "depth is '2'\n.*whole number"),
        (change("spatial_config.dpt_layers", [0, 1]), None, r"dpt_layers is \[0, 1\]\n.*four"),
        (change("spatial_config.patch_size", 7), None, "Qwen's patches are 14 pixels, VGGT's 7"),
        (change("num_attention_heads", 3), None, r"text width 128 over 3 heads is 42\.6667 per head"),
        (change("spatial_config.embed_dim", 32), None, r"camera_token is \[1, 2, 1, 64\].*expects \[1, 2, 1, 32\]"),
        (change("hidden_size", 256), None, r"mrope_section \[4, 6, 6\] is 16 rotary pairs, a head of 64 has 32"),
        (change("intermediate_size", 128), None, r"gate_proj.weight is \[256, 128\], .* expects \[128, 128\]"),
        (change("intermediate_size", None), None, "intermediate_size is missing\n.*above 0"),
        (change("num_hidden_layers", "2"), None, "num_hidden_layers is '2'"),
        (change("num_key_value_heads", 3), None, "4 heads of queries share 3 of keys"),
        (change("vision_config", [1]), None, r"vision_config is \[1\]"),
        (change("vision_config.depth", None), None, "vision depth is missing"),
        (change("rope_scaling", [1]), None, r"rope_scaling is \[1\]"),
        (change("rope_scaling.mrope_section", "4,6,6"), None, "mrope_section is '4,6,6'\n.*three whole numbers"),
        (change("connector_config.spatial_embeds_layer_idx", "last"), None, "layer 'last' does not exist"),
        (
            None,
            without("connector.ln_q.weight"),
            r"1 of the \d+ .*missing, first connector.ln_q.weight",
        ),
        (None, without(ENCODER + "aggregator.camera_token"), "aggregator.camera_token"),
        (None, lambda w: w | {"visual.extra": torch.ones(1)}, "1 tensors do not belong"),
        (
            None,
            lambda w: w | {"connector.mlp.2.weight": torch.ones(128, 7)},
            r"connector.mlp.2.weight is \[128, 7\], its config.json expects \[128, 1024\]",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    config: Any, weights: Any, words: str, golden: Path, tmp_path: Path
) -> None:
    """On the login node, with what was found and what was expected, before a job waits in the queue for it."""
    folder = edited(golden, tmp_path / "c", config=config, weights=weights)
    with pytest.raises(UserError, match=words):
        Model().check(folder)


def test_heads_that_are_not_read_may_be_missing(golden: Path, tmp_path: Path) -> None:
    """A checkpoint without depth, point and tracking heads answers all the same."""

    def headless(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        heads = tuple(f"{ENCODER}{part}_head." for part in ("depth", "point", "camera"))
        return {name: tensor for name, tensor in weights.items() if not name.startswith(heads)}

    folder = edited(golden, tmp_path / "c", weights=headless)
    assert torch.equal(logits(load(folder), scene()), logits(load(golden), scene()))
    with pytest.raises(UserError, match="camera_head"):
        Model.parse({"pose": {"kind": "gta", "source": "vggt"}}, "variant").check(folder)


def test_a_checkpoint_is_needed_and_a_real_one_needs_its_tokenizer(golden: Path, tmp_path: Path) -> None:
    """Only a toy speaks in bytes; a real vocabulary without its tokenizer is an accident."""
    with pytest.raises(UserError, match="needs a checkpoint"):
        Model().check(None)
    big = edited(golden, tmp_path / "c", config=change("vocab_size", 151936))
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        Model().check(big)
    assert load(golden).info["tokenizer"].startswith("bytes")
    prompts = load(golden).prompts
    assert prompts.decode(prompts.answer("12.5 chairs, né?")) == "12.5 chairs, né?"


@pytest.mark.parametrize(
    "options",
    [
        {"connector": "spatial_merge"},
        {"connector": "spatial_merge", "features": "3d"},
        {"connector": "spatial_merge", "tubelets": "repeat"},
    ],
)
def test_spatial_merge_needs_a_tubelet_per_frame(options: dict[str, str]) -> None:
    """Its tokens are a frame's, so nothing that merges frames has as many."""
    with pytest.raises(UserError, match="it needs 'features: 3d' and 'tubelets: repeat'"):
        Model.parse(options, "variant")


def test_sizes_of_the_published_model_are_the_defaults() -> None:
    """A wrong default would refuse every real checkpoint: VGGT-1B's patch embedding is DINOv2-L/14 with registers."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = VGGTConfig.read({"img_size": 518, "patch_size": 14, "embed_dim": 1024}, "config.json")
    sizes = {name: math.prod(shape) for part in PARTS[:-1] for name, shape in shapes(config, part)}
    large = Dinov2WithRegistersConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14
    )
    with torch.device("meta"):
        theirs = sum(weight.numel() for weight in Dinov2WithRegistersModel(large).parameters())
    ours = sum(size for name, size in sizes.items() if name.startswith("aggregator.patch_embed."))
    assert ours + 1024 == theirs  # their mask token, which only training uses
    assert 1.18e9 < sum(sizes.values()) < 1.2e9  # 1.26 billion with the tracker
    assert (config.width, config.layer(-1, "")) == (2048, 23)


def test_the_patch_embedding_is_transformers_dinov2() -> None:
    """Another implementation, given the same weights, at a size other than the one positions were learned at."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    small = Dinov2WithRegistersConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14, layerscale_value=0.5
    )
    torch.manual_seed(0)
    theirs = Dinov2WithRegistersModel(small).eval()
    for weight in theirs.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    config = VGGTConfig(img_size=56, embed_dim=32, patch_embed_depth=2, patch_embed_num_heads=2)
    ours = PatchEmbedding(config)
    has = theirs.state_dict()
    names = {
        "layernorm.": "norm.",
        "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.": "",
        "encoder.layer.": "blocks.",
        "attention.o_proj": "attn.proj",
        "layer_scale1.lambda1": "ls1.gamma",
        "layer_scale2.lambda1": "ls2.gamma",
    }
    state = {}
    for name, weight in has.items():
        for old, new in names.items():
            name = name.replace(old, new)
        state[name] = weight
    for layer, kind in itertools.product(range(2), ("weight", "bias")):
        parts = [state.pop(f"blocks.{layer}.attention.{part}_proj.{kind}") for part in "qkv"]
        state[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(parts)
    del state["mask_token"]
    ours.load_state_dict(state)
    images = torch.rand(2, 3, 84, 112)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.inference_mode():
        found, grid = ours(images)
        expected = theirs((images - mean) / std).last_hidden_state[:, 5:]
    assert grid == (6, 8)
    assert torch.allclose(found, expected, atol=1e-4)


def test_the_config_is_taken_apart(golden: Path) -> None:
    """Widths that the connector depends on: 8 · 2048 for the published models."""
    config = read_config(golden)
    assert (config.tubelet_width, config.hidden, config.layer, config.merge) == (8 * 128, 128, 1, 2)
    spatial, fresh = spatial_features(config, Model(), 0, "cpu", "float32")
    assert not fresh
    assert not any(weight.requires_grad for weight in spatial.vggt.parameters())
