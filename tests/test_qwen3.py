"""Qwen3-VL: prompt, positions, pixels and checkpoints as transformers' own processor and model have them."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_models import QUESTIONS, scene, tiny

from smx.errors import UserError
from smx.models import Decoding, Query, Reply, SceneInput
from smx.models._qwen3_vl.model import Qwen3Runner, block_times
from smx.models.qwen3_vl import Model

torch.set_num_threads(1)

PIXELS = (64 * 64, 9800)  # 320x240 becomes 96x64: 2x3 merged cells


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the architecture, a few thousand parameters, saved by transformers."""
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLForConditionalGeneration

    prompts = tiny().prompts
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    text = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocab_size": prompts.tokenizer.get_vocab_size(),
        "rope_parameters": rope,
        "initializer_range": 0.1,
    }
    vision = {
        "depth": 3,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_heads": 4,
        "out_hidden_size": 64,
        "deepstack_visual_indexes": [0, 1],
        "num_position_embeddings": 64,
        "initializer_range": 0.1,
    }
    tokens = {"video_token_id": prompts.video, "image_token_id": prompts.ids["<|image_pad|>"]}
    ends = {
        "vision_start_token_id": prompts.ids["<|vision_start|>"],
        "vision_end_token_id": prompts.ids["<|vision_end|>"],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Qwen3VLConfig(text_config=text, vision_config=vision, **tokens, **ends)
        model = Qwen3VLForConditionalGeneration._from_config(config)
    place = tmp_path_factory.mktemp("qwen3") / "c"
    model.save_pretrained(place)
    prompts.tokenizer.encode_special_tokens = False
    prompts.tokenizer.save(str(place / "tokenizer.json"))
    return place


@pytest.fixture
def runner(folder: Path) -> Qwen3Runner:
    return load(folder)


def load(folder: Path, **options: Any) -> Qwen3Runner:
    model = Model.parse({"pixels": PIXELS, **options}, "model qwen3vl")
    runner = model.load(folder, seed=0, device="cpu", dtype="float32")
    assert isinstance(runner, Qwen3Runner)
    return runner


def asked(runner: Qwen3Runner, view: SceneInput | None) -> dict[str, Any]:
    """A whole prompt as `PositionedVLM.logits` takes it."""
    clip, question = runner.clip(view), runner.prompts.question("How many chairs?")
    after = np.arange(clip.next_position, clip.next_position + len(question))
    where = np.concatenate((clip.positions, np.tile(after, (3, 1))), axis=1)
    ids = torch.tensor([[*clip.ids, *question]])
    return {"input_ids": ids, "position_ids": torch.from_numpy(where)[:, None], **clip.video}


def test_prompt_is_the_processors(runner: Qwen3Runner) -> None:
    """Timestamps, blocks and turns: the text that transformers' processor makes of the same video, as ids."""
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

    view = scene(6)
    grid = runner.clip(view).video["grid_thw"]
    processor = Qwen3VLProcessor.__new__(Qwen3VLProcessor)
    processor.video_processor = SimpleNamespace(merge_size=2, temporal_patch_size=2)
    processor.video_token = "<|video_pad|>"
    processor.vision_start_token, processor.vision_end_token = "<|vision_start|>", "<|vision_end|>"
    metadata = SimpleNamespace(fps=2, frames_indices=list(range(6)))  # frames half a second apart, as in `scene`
    blocks = processor.replace_video_token({"video_grid_thw": grid, "video_metadata": [metadata]}, 0)
    text = f"<|im_start|>user\n{blocks}How many chairs?<|im_end|>\n<|im_start|>assistant\n"
    tokenizer = runner.prompts.tokenizer
    tokenizer.encode_special_tokens = False
    theirs = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = True
    assert asked(runner, view)["input_ids"][0].tolist() == theirs


def test_positions_and_logits_are_transformers_own(runner: Qwen3Runner) -> None:
    """Our positions equal `get_rope_index`; the whole model, fed by us, is the model fed by itself, bit for bit."""
    inputs = asked(runner, scene(4))
    vlm = runner.model.vlm
    kinds = (inputs["input_ids"] == runner.prompts.video).int() * 2
    theirs, _ = vlm.model.get_rope_index(inputs["input_ids"], kinds, video_grid_thw=inputs["grid_thw"])
    assert torch.equal(theirs, inputs["position_ids"])
    with torch.inference_mode():
        ours = runner.model.logits(**inputs)
        own = vlm(
            input_ids=inputs["input_ids"],
            mm_token_type_ids=kinds,
            pixel_values_videos=inputs["pixel_values"],
            video_grid_thw=inputs["grid_thw"],
            use_cache=False,
        ).logits
    assert torch.equal(ours, own)


def test_pixels_are_the_processors() -> None:
    """Patch 16, mean and deviation 0.5, pairs side by side: rows as Qwen3-VL's video processor cuts them."""
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

    from smx.models._qwen3_vl.model import HALF
    from smx.models._vlm.preprocess import prepare

    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3), dtype=np.uint8)  # no resizing: exact
    rows, layout = prepare(frames, PIXELS, patch=16, mean=HALF, std=HALF)
    processor = Qwen3VLVideoProcessor()
    video = (torch.from_numpy(frames).permute(0, 3, 1, 2).float()[None] / 255 - 0.5) / 0.5
    theirs, *_ = processor.patchify(video, patch_size=16, merge_size=2, temporal_patch_size=2)
    assert layout.grid == (2, 4, 6)
    assert np.abs(rows - theirs.reshape(rows.shape).numpy()).max() < 1e-6


@pytest.mark.parametrize("tubelets", ["pair", "repeat"])
def test_cached_padded_and_batched_answers_agree(folder: Path, tubelets: str) -> None:
    """One by one, with the video shared, or padded in a batch: the same words."""
    runner = load(folder, tubelets=tubelets)
    pairs = [(scene(4, 0), QUESTIONS[0]), (scene(2, 1), QUESTIONS[1])]
    together = runner.answer_together(pairs, 5)
    runner.share_prefix = False
    assert together == [next(runner.answer(view, [query], 5)) for view, query in pairs]


def test_a_padded_training_batch_has_the_loss_of_its_parts(runner: Qwen3Runner) -> None:
    """It can be fine-tuned like the others."""
    module = runner.module()
    pairs = [(scene(2, 0), QUESTIONS[0]), (scene(4, 1), QUESTIONS[1])]
    examples = [runner.example(view, query, "12") for view, query in pairs]
    with torch.inference_mode():
        singles = [module(**runner.collate([example])).loss for example in examples]
        together = module(**runner.collate(examples)).loss
    assert torch.allclose(together, torch.stack(singles).mean(), atol=1e-5)


def test_times_stand_halfway_between_the_frames_of_a_block() -> None:
    """What the processor writes: the mean of the first and the last frame of a pair."""
    assert block_times(np.array([0.0, 0.5, 3.0, 4.0]), 2) == [0.25, 3.5]
    assert block_times(np.array([0.0, 0.5]), 1) == [0.0, 0.5]


def test_saved_and_loaded_is_the_same_model(runner: Qwen3Runner, tmp_path: Path) -> None:
    """And opens with transformers' own processor files beside it."""
    runner.save(tmp_path / "c")
    again = load(tmp_path / "c")
    inputs = asked(runner, scene(2))
    with torch.inference_mode():
        assert torch.equal(runner.model.logits(**inputs), again.model.logits(**inputs))
    assert json.loads((tmp_path / "c/preprocessor_config.json").read_text())["patch_size"] == 16
    assert again.info["temporal_stride"] == "timestamps in the text"


def test_what_it_cannot_do_is_refused_with_the_reason(folder: Path, tmp_path: Path) -> None:
    """Poses, rotary options, other architectures, and folders that lack tensors."""
    for options, words in (
        ({"pose": {"kind": "prope", "source": "vggt"}}, "needs a base with a VGGT of its own"),
        ({"rope": {"temporal": "index"}}, "positions of its own"),
        ({"pixels": (9, 8)}, "fewest"),
    ):
        with pytest.raises(UserError, match=words):
            Model.parse(options, "model qwen3vl")
    assert not Model.parse({"pose": {"kind": "none"}}, "m").wants_cameras()
    with pytest.raises(UserError, match="needs a checkpoint"):
        Model().check(None)
    for change, words in (
        ({"model_type": "qwen2_5_vl"}, "expected model_type 'qwen3_vl'"),
        ({"text": {"num_hidden_layers": 4}}, "tensors are missing, first model.language_model.layers.3"),
        ({"text": {"num_key_value_heads": 4}}, r"\[64, 64\], its config.json expects \[128, 64\]"),
        ({"vision": {"deepstack_visual_indexes": [0]}}, "do not belong to Qwen3VLFor"),
    ):
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        place.mkdir()
        for file in folder.iterdir():
            (place / file.name).write_bytes(file.read_bytes())
        config = json.loads((place / "config.json").read_text())
        assert isinstance(change, dict)
        config["text_config"] |= change.pop("text", {})
        config["vision_config"] |= change.pop("vision", {})
        (place / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=words):
            Model().check(place)


@pytest.mark.parametrize("penalty", [1.0, 1.05, 1.3])
def test_answers_are_those_of_transformers_own_generate(runner: Qwen3Runner, penalty: float) -> None:
    """Lost otherwise: a published checkpoint's repetition penalty counts other tokens than it does everywhere else."""
    length, view = 12, scene(4)
    questions = [Query(str(k), f"How many chairs {'and then ' * k}?", "object_counting") for k in range(3)]
    vlm, clip = runner.model.vlm, runner.clip(view)
    theirs = []
    for query in questions:
        ids = torch.tensor([[*clip.ids, *runner.prompts.question(query.text)]])
        with torch.inference_mode():
            out = vlm.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                mm_token_type_ids=(ids == runner.prompts.video).int() * 2,
                pixel_values_videos=clip.video["pixel_values"],
                video_grid_thw=clip.video["grid_thw"],
                do_sample=False,
                max_new_tokens=length,
                repetition_penalty=penalty,
                eos_token_id=sorted(runner.prompts.stops),
                pad_token_id=runner.prompts.pad,
            )
        theirs.append(runner.prompts.decode(out[0, ids.shape[1] :].tolist()))
    runner.decoding = Decoding(penalty)
    replies = list(runner.outcomes(view, questions, length))
    assert [reply.text for reply in replies if isinstance(reply, Reply)] == theirs


# Camera poses

POSED = {"pose": {"kind": "prope", "fraction": 0.4}}


def attended(runner: Qwen3Runner, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the first layer's attention is given [L, hidden] and gives, and its logits [heads, L, L], as they run."""
    layer = runner.model.vlm.model.language_model.layers[0].self_attn
    given: list[Any] = []
    seen: list[torch.Tensor] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def spy(q: torch.Tensor, k: torch.Tensor, *rest: Any, **how: Any) -> torch.Tensor:
        if q.shape[2] == inputs["input_ids"].shape[1] and not seen:
            keys = k[0].repeat_interleave(q.shape[1] // k.shape[1], 0)
            seen.append(q[0] @ keys.mT)
        out: torch.Tensor = attend(q, k, *rest, **how)
        return out

    into = layer.register_forward_pre_hook(lambda _, __, kw: given.append(kw["hidden_states"]), with_kwargs=True)
    out = layer.register_forward_hook(lambda _, __, output: given.append(output[0]))
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode(), runner.model.hooks or nullcontext():
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
        runner.model.logits(**inputs)
    into.remove()
    out.remove()
    return given[0][0], given[1][0], seen[0]


def test_pose_attention_is_what_it_says_token_by_token(folder: Path) -> None:
    """Norm of each head, then P on the pose dims and rotation elsewhere, by hand: q Pᵀ, k and v P⁻¹, output P."""
    runner = load(folder, **POSED)
    inputs = asked(runner, scene(4))
    hidden, ours, _ = attended(runner, inputs)
    hooks, model = runner.model.hooks, runner.model.vlm.model.language_model
    assert hooks is not None
    layer, frequency = model.layers[0].self_attn, model.rotary_emb.inv_freq
    dims, half = hooks.dims.reshape(-1, 4).tolist(), layer.head_dim // 2
    where, ids = inputs["position_ids"][:, 0], inputs["input_ids"][0]
    video = (ids == runner.prompts.video).tolist()
    cells = sum(video) // inputs["cameras"].shape[1]
    owner = [axis for turn in range(6) for axis in range(3) if turn < (6, 5, 5)[axis]]  # of pairs: t, h, w in turn

    def placed(x: torch.Tensor, token: int, matrix: str, *, rotates: bool) -> torch.Tensor:
        """One head of one token: its rotation, and on the pose dims of a visual one its camera's matrix instead."""
        out = x.clone()
        for pair in range(half if rotates else 0):
            angle = where[owner[pair], token].float() * frequency[pair]
            a, b = x[pair], x[pair + half]
            out[pair], out[pair + half] = a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()
        for place in dims if video[token] else ():
            P, P_inv = inputs["cameras"][0, sum(video[:token]) // cells, 0]
            out[place] = {"P": P, "P_inv": P_inv, "P.T": P.mT}[matrix] @ x[place]
        return out

    def every(x: torch.Tensor, matrix: str, *, rotates: bool = False) -> torch.Tensor:
        """[L, heads, d]."""
        heads = [placed(x[t, h], t, matrix, rotates=rotates) for t in range(len(x)) for h in range(x.shape[1])]
        return torch.stack(heads).reshape(x.shape)

    with torch.inference_mode():
        shape = (len(ids), -1, layer.head_dim)
        q = every(layer.q_norm(layer.q_proj(hidden).view(shape)), "P.T", rotates=True)
        k = every(layer.k_norm(layer.k_proj(hidden).view(shape)), "P_inv", rotates=True)
        v = every(layer.v_proj(hidden).view(shape), "P_inv")
        k, v = (x.repeat_interleave(layer.num_key_value_groups, 1) for x in (k, v))
        logits = torch.einsum("ihd,jhd->hij", q, k) * layer.scaling
        weights = logits.masked_fill(torch.ones_like(logits).triu(1).bool(), -torch.inf).softmax(-1)
        theirs = layer.o_proj(every(torch.einsum("hij,jhd->ihd", weights, v), "P").flatten(1))
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("kind", ["prope", "gta", "cape", "geo_alibi"])
def test_poses_leave_text_alone_and_change_what_is_seen(folder: Path, kind: str) -> None:
    """A prompt without video is the base model's bit for bit; with one, cameras matter."""
    plain, posed = load(folder), load(folder, pose={"kind": kind})
    assert posed.info["pose"]["kind"] == kind
    with torch.inference_mode(), posed.model.hooks or nullcontext():
        text = asked(plain, None)
        assert torch.equal(posed.model.logits(**text), plain.model.logits(**text))
        one, other = asked(posed, scene(4)), asked(posed, scene(4, 1))
        there = posed.model.logits(**one)
        assert (there - plain.model.logits(**asked(plain, scene(4)))).abs().max() > 1e-4
        assert (there - posed.model.logits(**one | {"cameras": other["cameras"]})).abs().max() > 1e-5


@pytest.mark.parametrize("kind", ["prope", "geo_alibi"])
def test_posed_answers_agree_shared_and_one_by_one(folder: Path, kind: str) -> None:
    """With the video shared or computed anew: the same words; hooks are off while words are made."""
    runner = load(folder, pose={"kind": kind})
    pairs = [(scene(4, 0), QUESTIONS[0]), (scene(4, 1), QUESTIONS[1])]
    shared = [next(runner.answer(view, [query], 5)).text for view, query in pairs]
    assert runner.model.hooks is not None
    assert not runner.model.hooks.attached
    runner.share_prefix = False
    assert [next(runner.answer(view, [query], 5)).text for view, query in pairs] == shared


def test_another_world_leaves_visual_attention_alone(folder: Path) -> None:
    """The frame of reference of the cameras means nothing: logits between visual tokens stay."""
    world = np.eye(4)
    world[:3, :3] = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]])
    world[:3, 3] = (5, -2, 8)
    runner = load(folder, **POSED)
    here, there = asked(runner, scene(4)), asked(runner, scene(4, world=world))
    visual = here["input_ids"][0] == runner.prompts.video
    a, b = (attended(runner, each)[2][:, visual][:, :, visual] for each in (here, there))
    assert (a - b).abs().max() <= 1e-4 * a.std()


def test_runs_without_poses_keep_their_identity() -> None:
    """Lost otherwise: every recorded run of Qwen3-VL is computed again because an option was added."""
    assert "pose" not in Model().resolved()
    assert "pose" in Model.parse(POSED, "m").resolved()
