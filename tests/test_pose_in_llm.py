"""Camera poses inside the language model: every kind, in prefill, cache, batches, checkpointing and bfloat16."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_models import QUESTIONS, logits, plain, scene, sentence, tiny
from torch import Tensor

from smx.errors import SceneError, UserError
from smx.geometry import pose_attention as pa
from smx.models import SceneInput
from smx.models._vlm import pose_bias, poses
from smx.models._vlm.pose_attention import PoseHooks, scene_cameras, token_transforms
from smx.models._vlm.position_options import Pose, Rope
from smx.models._vlm.runner import QwenRunner
from smx.models.tiny import Model as Tiny

torch.set_num_threads(1)

KINDS = [kind for kind in poses.names() if poses.encoding(kind).reads_cameras]
VARIANTS: list[dict[str, Any]] = [
    *({"pose": {"kind": kind}} for kind in poses.names()),
    {"pose": {"kind": "prope"}, "rope": {"base": "hw"}},
    {"pose": {"kind": "gta", "apply": "vo"}},
    {"pose": {"kind": "cape", "tubelet": "split"}},
    {"pose": {"kind": "cape"}, "rope": {"base": "hw", "layout": "interleaved"}},
    {"rope": {"layout": "interleaved"}},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_without_video_every_variant_is_the_base_model(options: dict[str, Any]) -> None:
    """Bit-identical logits for text alone, hooks attached or not; with video all but `none` differ."""
    runner = tiny(**options)
    text, video = sentence(runner, None), sentence(runner, scene())
    assert torch.equal(logits(runner, text), plain(runner, text))
    same = torch.equal(logits(runner, video), plain(runner, video))
    assert same == (runner.model.hooks is None)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_batched_padded_and_cached_is_one_by_one(options: dict[str, Any]) -> None:
    """Token by token in float32: clips of other lengths beside it, padding before it, a cache, or none of these."""
    runner = tiny(**options)
    asked = [(scene(4, 0), QUESTIONS[0]), (scene(2, 1), QUESTIONS[2]), (scene(6, 2), QUESTIONS[1])]
    together = runner.answer_together(asked, 6)
    cached = [next(runner.answer(view, [query], 6)) for view, query in asked]
    assert together == cached
    assert [reply.text for reply in cached] == [uncached(runner, *each) for each in asked]
    blind = runner.answer_together([(None, query) for query in QUESTIONS], 4)
    assert blind == list(runner.answer(None, QUESTIONS, 4))


def uncached(runner: QwenRunner, view: SceneInput, query: Any) -> str:
    """Greedy decoding that computes everything again for every word."""
    inputs, said = sentence(runner, view, query.text), list[int]()
    while len(said) < 6:
        token = int(logits(runner, inputs)[0, -1].argmax())
        if token in runner.prompts.stops:
            break
        said.append(token)
        inputs["input_ids"] = torch.cat((inputs["input_ids"], torch.tensor([[token]])), 1)
        inputs["position_ids"] = torch.cat((inputs["position_ids"], inputs["position_ids"][..., -1:] + 1), 2)
    return runner.prompts.decode(said)


@pytest.mark.parametrize("kind", KINDS)
def test_no_camera_code_runs_per_decoded_token(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: what a scene of video costs does not grow with the answer, and a second answer costs nothing."""
    calls = {"n": 0}

    def counted(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls["n"] += 1
            return function(*args, **kwargs)

        return call

    for name in ("transform", "rotation_angles", "projections"):
        monkeypatch.setattr(pa, name, counted(getattr(pa, name)))
    runner, view = tiny(pose={"kind": kind}), scene()
    monkeypatch.setattr(type(runner.prompts), "stops", frozenset())  # so that answers are as long as asked for
    found = []
    for limit in (1, 9):
        calls["n"], runner._prefix, runner._clip = 0, None, None
        [reply] = runner.answer(view, QUESTIONS[:1], limit)
        assert reply.new_tokens == limit
        found.append(calls["n"])
    assert found[0] == found[1] > 0
    calls["n"] = 0
    list(runner.answer(view, QUESTIONS[1:], 9))
    assert calls["n"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_backends_and_checkpointing_agree(kind: str) -> None:
    """eager = sdpa; gradients with recomputed layers, of either kind, are those without, to the bit."""
    sdpa, eager = tiny(pose={"kind": kind}), tiny(pose={"kind": kind}, attention="eager")
    inputs = sentence(sdpa, scene())
    assert torch.allclose(logits(sdpa, inputs), logits(eager, inputs), atol=1e-4)
    grads = []
    for reentrant in (None, True, False):
        runner = tiny(pose={"kind": kind})
        module = runner.module()
        if reentrant is not None:
            module.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": reentrant})
        batch = runner.collate([runner.example(scene(n, n), QUESTIONS[0], "3") for n in (2, 4)])
        module(**batch).loss.backward()
        grads.append([p.grad for p in module.parameters() if p.grad is not None])
    for other in grads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(grads[0], other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_packed_training_rows_are_separate_rows(kind: str) -> None:
    """Questions of one scene share a row in training; bias and transforms must not leak between them."""
    runner = tiny(pose={"kind": kind})
    view = scene(4)
    examples = [runner.example(view, query, "3") for query in QUESTIONS]
    with torch.inference_mode():
        packed = runner.module()(**runner.collate(examples)).loss
        alone = [runner.module()(**runner.collate([example])).loss for example in examples]
    counts = torch.tensor([int((example["labels"] != -100).sum()) for example in examples])
    assert torch.allclose(packed, (torch.stack(alone) * counts).sum() / counts.sum(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_another_world_leaves_the_answer_alone(kind: str) -> None:
    """Relative to a reference camera every world is the same world; other cameras give other logits."""
    world = np.eye(4)
    world[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    world[:3, 3] = (5, -2, 8)
    runner = tiny(pose={"kind": kind})
    here, there = (logits(runner, sentence(runner, scene(world=w))) for w in (None, world))
    assert torch.allclose(here, there, atol=1e-4)
    turned = scene()
    assert turned.w2c is not None
    turned.w2c[2:] = turned.w2c[0]
    assert (logits(runner, sentence(runner, turned)) - here).abs().max() > 1e-3


def test_cape_logits_depend_on_the_way_from_one_camera_to_the_other() -> None:
    """qᵀ (P_j P_i⁻¹)ᵀ k: CaPE's product, and the same under any world (1e-12)."""
    w2c = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    w2c[:, :3, 3] = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w2c[1, :3, :3] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    world = w2c[1] @ w2c[2]
    q, k = torch.randn(2, 1, 3, 1, 4, dtype=torch.float64)

    def products(cameras: Tensor) -> Tensor:
        P, P_inv = pa.projections(cameras, None, (1, 1))
        dims = torch.arange(4)
        a = pa.transform(q, P_inv[None, :, None], dims)[0, :, 0]
        b = pa.transform(k, P.mT[None, :, None], dims)[0, :, 0]
        return a @ b.T

    P, P_inv = pa.projections(w2c, None, (1, 1))
    between = torch.einsum("jab,ibc->ijac", P, P_inv)
    wanted = torch.einsum("ia,ijab,jb->ij", q[0, :, 0], between.mT, k[0, :, 0])
    assert torch.allclose(products(w2c), wanted, atol=1e-12)
    assert torch.allclose(products(w2c @ world), products(w2c), atol=1e-12)


def test_geo_alibi_is_the_angle_times_the_slope() -> None:
    """−2^(−8h/H) · angle between visual tokens, nothing for text, nothing ahead of a token."""
    angles = torch.tensor([0.0, 0.4, 2.0])
    w2c = torch.eye(4).repeat(3, 1, 1)
    w2c[:, 0, 0], w2c[:, 0, 2] = angles.cos(), angles.sin()
    w2c[:, 2, 0], w2c[:, 2, 2] = -angles.sin(), angles.cos()
    cameras = torch.stack((w2c, pa.invert(w2c)), dim=1)[None, :, None]
    visual = torch.tensor([[False, True, True, True, False]])
    state = token_transforms(visual, torch.tensor([[3, 2, 2]]), cameras, 2)
    between = poses.encoding("geo_alibi").bias(cameras[:, :, 0, 0], 4)
    bias = pose_bias.bias(visual, state.tubelet, between)
    assert bias.shape == (1, 4, 5, 5)
    for head in range(4):
        assert float(bias[0, head, 3, 1]) == pytest.approx(-(2.0 ** (-2 * (head + 1))) * 2.0, rel=1e-5)
        assert float(bias[0, head, 3, 2]) == pytest.approx(-(2.0 ** (-2 * (head + 1))) * 1.6, rel=1e-5)
    assert not bias[0, :, 4].any()
    assert not bias[0, :, :, 0].any()
    queries, keys = pose_bias.factors(visual, state.tubelet, between)
    assert torch.equal(queries @ keys.mT, bias)  # each number is one angle times one 1: no digit is lost


@torch.inference_mode()
def test_geo_alibi_leaves_sdpa_its_fused_causal_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask of heads x tokens x tokens would triple attention, and at 12,000 tokens take gigabytes."""
    runner = tiny(pose={"kind": "geo_alibi"})
    inputs = sentence(runner, scene())
    seen: list[tuple[int, Any, bool]] = []
    sdpa: Any = torch.nn.functional.scaled_dot_product_attention

    def watched(query: Tensor, *rest: Tensor, **how: Any) -> Any:
        if query.shape[2] == inputs["input_ids"].shape[1]:
            seen.append((query.shape[-1], how["attn_mask"], how["is_causal"]))
        return sdpa(query, *rest, **how)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    logits(runner, inputs)
    assert seen == [(40, None, True)] * 3  # heads of 32 and 8 for the tubelets, in each of the layers
    seen.clear()
    logits(runner, {key: inputs[key] for key in ("input_ids", "position_ids")})
    assert seen == [(32, None, True)] * 3  # and sdpa as it was, where there is no video


def test_interleaved_sections_are_qwen3s() -> None:
    """The same pairs rotate by the same axis as in Qwen3-VL's own rotary embedding (24, 20, 20)."""
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding

    sections = [24, 20, 20]
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": sections, "mrope_interleaved": True}
    rotary = Qwen3VLTextRotaryEmbedding(Qwen3VLTextConfig(head_dim=128, rope_parameters=rope))
    positions = torch.tensor([[[1]], [[1000]], [[100000]]])
    cos, _ = rotary(torch.zeros(1), positions)
    pairs = pa.section_pairs(sections, "interleaved")
    for axis, name in enumerate("thw"):
        mine = (positions[axis, 0, 0].float() * rotary.inv_freq).cos()
        assert torch.equal(cos[0, 0, pairs[name]], mine[pairs[name]])
    assert sorted(pair for each in pairs.values() for pair in each) == list(range(64))
    assert [len(pairs[name]) for name in "thw"] == sections
    low = pa.blocks(sections, "low", 0.1, "thw", "interleaved")  # 4, 2 and 2 pairs, each of one section
    assert low == [(60, 61), (62, 63), (55, 58), (56, 59)]
    assert [len(each) for each in pa.section_pairs([16, 24, 24], "interleaved").values()] == [16, 24, 24]


def test_interleaved_layout_rotates_as_it_says() -> None:
    """The hook's cos and sin are those of Qwen3-VL's own rotary embedding; text is as it was before."""
    from types import SimpleNamespace

    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding

    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    config = Qwen3VLTextConfig(hidden_size=64, num_attention_heads=2, head_dim=32, rope_parameters=rope)
    rotary = Qwen3VLTextRotaryEmbedding(config)
    hooks = PoseHooks(SimpleNamespace(config=config), Pose(), Rope(layout="interleaved"))
    positions = torch.randint(0, 900, (3, 2, 7), generator=torch.Generator().manual_seed(0))
    x = torch.zeros(1)
    for ours, theirs in zip(hooks._interleaved(rotary, (x, positions), None), rotary(x, positions), strict=True):
        assert torch.equal(ours, theirs)


def test_matrices_stay_float32_under_bfloat16() -> None:
    """In a bfloat16 model and under the Trainer's autocast the 4x4s are applied in float32."""
    runner = tiny(dtype="bfloat16", pose={"kind": "prope"})
    assert runner.clip(scene()).video["cameras"].dtype == torch.float32
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 5, 2, 8, generator=generator)
    matrices = torch.randn(1, 5, 1, 4, 4, generator=generator)
    dims = torch.arange(8)
    with torch.autocast("cpu", torch.bfloat16):
        under = pa.transform(x, matrices, dims)
    assert torch.equal(under, pa.transform(x, matrices, dims))


def broken(change: Any) -> SceneInput:
    view = scene()
    assert view.w2c is not None
    assert view.K is not None
    change(view)
    return view


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.w2c.__setitem__((1, 0, 3), np.inf), "finite cameras, found none for chosen frames 1"),
        (lambda v: v.w2c.__setitem__((3, slice(0, 3), slice(0, 3)), 2 * np.eye(3)), "rigid w2c .* chosen frames 3"),
        (lambda v: v.K.__setitem__((2, 0, 0), np.inf), r"found inf and 220 \(a field of view of 0"),
        (lambda v: v.K.__setitem__((0, 1, 1), 0.0), "found 210 and 0 .* chosen frames 0"),
        (lambda v: v.K.__setitem__((0, 0, 2), np.nan), "finite intrinsics"),
        (lambda v: v.K.__setitem__((3, 0, 2), 900.0), "frame 3 .* the principal point cx 900 is outside the picture"),
        (lambda v: v.K.__setitem__((1, 1, 1), 9e4), r"frame 1 .* a field of view of 0\.\d+° .* outside 10° to 170°"),
    ],
)
def test_a_camera_that_is_none_is_the_scenes_error(change: Any, words: str) -> None:
    """fov 0 and lost poses must not become inf in the logits; the message says what was found and expected."""
    with pytest.raises(SceneError, match=words):
        scene_cameras(broken(change), Pose(kind="prope"), repeat=False)


def test_cameras_of_other_frames_are_the_scenes_error() -> None:
    """Fewer cameras than frames would give tokens the camera of another frame, or a traceback."""
    view = scene()
    assert view.w2c is not None
    assert view.K is not None
    few = SceneInput(view.scene, view.frames, view.timestamps, view.w2c[:2], view.K)
    with pytest.raises(SceneError, match=r"w2c of every frame: expected \[4, 4, 4\], found \[2, 4, 4\]"):
        scene_cameras(few, Pose(kind="gta"), repeat=False)
    flat = SceneInput(view.scene, view.frames, view.timestamps, view.w2c, view.K[:, :2])
    with pytest.raises(SceneError, match=r"K of every frame: expected \[4, 3, 3\], found \[4, 2, 3\]"):
        scene_cameras(flat, Pose(kind="prope"), repeat=False)


def test_kinds_without_intrinsics_do_without_them() -> None:
    """gta, cape and geo_alibi read w2c alone; prope says what it misses, and who does without."""
    view = scene()
    blind = SceneInput(view.scene, view.frames, view.timestamps, view.w2c, None)
    for kind in KINDS:
        pose = Pose.parse({"kind": kind}, "pose")
        if not pose.encoding.intrinsics:
            assert torch.isfinite(scene_cameras(blind, pose, repeat=False)).all()
            continue
        with pytest.raises(SceneError, match=r"needs intrinsics \(K\), .*; cape, geo_alibi, gta do without"):
            scene_cameras(blind, pose, repeat=False)


@pytest.mark.parametrize("kind", poses.names())
def test_a_kind_is_described_and_refuses_what_it_does_not_read(kind: str) -> None:
    """Lost otherwise: an ablation over an option that changes nothing, run and reported as one that does."""
    encoding = poses.encoding(kind)
    stages = dict(Tiny.parse({"pose": {"kind": kind}}, "m").pipeline())
    assert stages["poses"].startswith(encoding.words)
    assert ("cameras" in stages) == encoding.reads_cameras
    other = {"dims": "low", "fraction": 0.5, "use": "rotation", "scale": "max", "reference": "medoid"}
    for name in encoding.unread:
        if name in other:
            with pytest.raises(UserError, match=f"{kind} .* reads no {name}"):
                Pose.parse({"kind": kind, name: other[name]}, "pose")
    for which in ("qk", "vo") if encoding.acts else ():
        if not set(which) <= set(encoding.acts):
            with pytest.raises(UserError, match=f"{kind} acts on .* only: 'apply' is {encoding.apply}, not {which}"):
                Pose.parse({"kind": kind, "apply": which}, "pose")


def test_an_unknown_kind_names_the_closest() -> None:
    """Lost otherwise: a typing error is answered with a list to search."""
    with pytest.raises(UserError, match=r"did you mean prope\? valid kinds: prope, .*geo_alibi"):
        Pose.parse({"kind": "prop"}, "pose")


def test_a_new_kind_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: a new encoding means edits in options, hooks, words and checks, and one of them is forgotten."""
    source = Path(poses.__file__).with_name("cape.py").read_text(encoding="utf-8")
    source = source.replace('"CaPE: extrinsics, in the logits alone"', '"mine: keys and values"')
    source = source.replace('{"q": "P_inv", "k": "P.T"}', '{"k": "P_inv", "v": "P.T"}')
    (tmp_path / "mine_kv.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(poses, "__path__", [*poses.__path__, str(tmp_path)])
    poses.names.cache_clear()
    try:
        assert "mine_kv" in poses.names()
        runner = tiny(pose={"kind": "mine_kv"})
        assert runner.options.resolved()["pose"]["apply"] == "kv"
        assert dict(runner.options.pipeline())["poses"].startswith("mine: keys and values; 12 of 32 dims")
        text, video = sentence(runner, None), sentence(runner, scene())
        assert torch.equal(logits(runner, text), plain(runner, text))
        assert not torch.equal(logits(runner, video), plain(runner, video))
        with pytest.raises(UserError, match="mine_kv acts on keys and values only"):
            Pose.parse({"kind": "mine_kv", "apply": "qk"}, "pose")
    finally:
        poses.names.cache_clear()


def test_heads_that_do_not_divide_are_refused_before_loading(tmp_path: Path) -> None:
    """What was found and what rotary positions need, with poses or without: no head can be rotated."""
    tiny(seed=4).save(tmp_path / "c")
    config = json.loads((tmp_path / "c/config.json").read_text())
    config["text_config"]["rope_parameters"]["mrope_section"] = [4, 6, 7]
    (tmp_path / "c/config.json").write_text(json.dumps(config))
    for kind in ("gta", "geo_alibi", "none"):
        with pytest.raises(UserError, match=r"\[4, 6, 7\] is 17 rotary pairs, a head of 32 has 16"):
            Tiny.parse({"pose": {"kind": kind}}, "m").check(tmp_path / "c")
    config["text_config"].update(num_attention_heads=8, hidden_size=196)
    (tmp_path / "c/config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"text width 196 over 8 heads is 24\.5 per head"):
        Tiny.parse({"pose": {"kind": "gta"}}, "m").check(tmp_path / "c")


def test_cape_is_recorded_as_queries_and_keys() -> None:
    """A run's record must say what was applied."""
    assert Pose.parse({"kind": "cape"}, "pose").apply == "qk"
    assert Pose.parse(Pose.parse({"kind": "cape"}, "pose").model_dump(), "pose").apply == "qk"
