"""Base models of the Qwen2.5-VL architecture: answers, training, checkpoints, and pose attention inside the LLM."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from smx.errors import SceneError, UserError
from smx.models import Query, SceneInput
from smx.models._vlm.runner import QwenRunner
from smx.models.qwen2_5_vl import Model as Qwen
from smx.models.tiny import Model as Tiny

torch.set_num_threads(1)

QUESTIONS = [
    Query("0", "How many chairs does the video show?\nPlease answer the question using a single word.", "n"),
    Query("1", "What does the table measure, in centimeters?", "n"),
    Query("2", "Is the sofa on your left?\nOptions:\nA. yes\nB. no", "mc", ("A. yes", "B. no")),
]


def tiny(checkpoint: Path | None = None, dtype: str = "float32", seed: int = 0, **options: Any) -> QwenRunner:
    runner = Tiny.parse(options, "model tiny").load(checkpoint, seed=seed, device="cpu", dtype=dtype)
    assert isinstance(runner, QwenRunner)
    return runner


def scene(frames: int = 4, seed: int = 0, world: np.ndarray | None = None) -> SceneInput:
    """Noise seen by cameras that look about; `world` moves the world they are expressed in."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    w2c = np.tile(np.eye(4), (frames, 1, 1))
    w2c[:, :3, :3] = Rotation.random(frames, random_state=seed).as_matrix()
    w2c[:, :3, 3] = rng.normal(size=(frames, 3)) * 3
    K = np.tile(np.array([[210.0, 0, 158], [0, 220, 121], [0, 0, 1]]), (frames, 1, 1))
    pixels = rng.integers(0, 256, (frames, 240, 320, 3), dtype=np.uint8)
    return SceneInput(f"room{seed}", pixels, np.arange(frames) * 0.5, w2c if world is None else w2c @ world, K)


def sentence(runner: QwenRunner, view: SceneInput | None, text: str = "How many chairs?") -> dict[str, Tensor]:
    """One whole prompt, as `PositionedVLM.logits` takes it."""
    clip = runner.clip(view)
    question = runner.prompts.question(text)
    after = np.arange(clip.next_position, clip.next_position + len(question))
    positions = np.concatenate((clip.positions, np.tile(after, (3, 1))), axis=1)
    return {
        "input_ids": torch.tensor([[*clip.ids, *question]]),
        "position_ids": torch.from_numpy(positions)[:, None],
        **clip.video,
    }


@torch.inference_mode()
def logits(runner: QwenRunner, inputs: dict[str, Tensor]) -> Tensor:
    if runner.model.hooks is None:
        return runner.model.logits(**inputs)
    with runner.model.hooks:
        return runner.model.logits(**inputs)


def plain(runner: QwenRunner, inputs: dict[str, Tensor]) -> Tensor:
    """transformers' own forward of the whole model, given our positions."""
    with torch.inference_mode():
        out: Tensor = runner.model.vlm(
            input_ids=inputs["input_ids"],
            position_ids=inputs["position_ids"],
            pixel_values_videos=inputs.get("pixel_values"),
            video_grid_thw=inputs.get("grid_thw"),
            use_cache=False,
        ).logits
    return out


# What a variant computes


def test_importing_a_base_model_is_light() -> None:
    """`smx list models` and the login node would otherwise wait seconds for torch."""
    code = "import sys, smx.models.tiny, smx.models.qwen2_5_vl as q; q.Model().wants_cameras(); "
    code += "print([m for m in ('torch', 'transformers', 'numpy.random', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_seed_is_the_model() -> None:
    """Untrained baselines must be the same everywhere, whatever was drawn from torch's generator before."""
    torch.manual_seed(99)
    a = tiny()
    before = torch.random.get_rng_state()
    b = tiny()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True))
    assert not torch.equal(tiny(seed=1).model.vlm.lm_head.weight, a.model.vlm.lm_head.weight)
    assert a.untrained
    assert 2e6 < a.info["parameters"] < 4e6


def test_without_pose_it_is_transformers_own_forward() -> None:
    """Bit for bit, given the same positions: smx changes nothing it does not name."""
    runner = tiny()
    inputs = sentence(runner, scene())
    assert torch.equal(logits(runner, inputs), plain(runner, inputs))


@pytest.mark.parametrize("apply", ["qkvo", "qk", "vo"])
def test_pose_leaves_prompts_without_video_alone(apply: str) -> None:
    """Bit-identical to the base model; with video and hooks, logits do change."""
    runner = tiny(pose={"kind": "prope", "apply": apply})
    text, video = sentence(runner, None), sentence(runner, scene())
    assert torch.equal(logits(runner, text), plain(runner, text))
    assert (logits(runner, video) - plain(runner, video)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["prope", "gta"])
@pytest.mark.parametrize("base", ["thw", "hw"])
def test_another_world_leaves_visual_attention_alone(kind: str, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right-multiplying all w2c by one SE3: logits between visual tokens stay; cameras otherwise matter."""
    world = np.eye(4)
    world[:3, :3] = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]])
    world[:3, 3] = (5, -2, 8)
    runner = tiny(rope={"base": base}, pose={"kind": kind, "scale": "none"})
    attend: Callable[..., Tensor] = torch.nn.functional.scaled_dot_product_attention

    def attention(view: SceneInput) -> Tensor:
        """Pre-softmax logits of the first layer between visual tokens [heads, V, V]."""
        seen: list[Tensor] = []
        cameras = view.w2c
        assert cameras is not None
        clip = sentence(runner, view)
        # As if no reference camera were chosen: the law must hold without that normalisation.
        clip["cameras"] = absolute(cameras, view)
        layer = runner.model.vlm.model.language_model.layers[0].self_attn

        def spy(q: Tensor, k: Tensor, *rest: Any, **options: Any) -> Tensor:
            if q.shape[2] == clip["input_ids"].shape[1] and not seen:
                seen.append(q[0] @ k[0].repeat_interleave(layer.num_key_value_groups, 0).mT)
            return attend(q, k, *rest, **options)

        monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
        logits(runner, clip)
        monkeypatch.undo()
        visual = clip["input_ids"][0] == runner.prompts.video
        return seen[0][:, visual][:, :, visual]

    def absolute(w2c: np.ndarray, view: SceneInput) -> Tensor:
        from smx.geometry.pose_attention import projections

        assert view.K is not None
        K = None if kind == "gta" else torch.from_numpy(view.K[::2])
        P, P_inv = projections(torch.from_numpy(w2c[::2]), K, (320, 240))
        return torch.stack((P, P_inv), dim=1)[None, :, None].float()

    here, there, other = attention(scene()), attention(scene(world=world)), attention(scene(seed=0, frames=4))
    assert torch.equal(here, other)
    assert (here - there).abs().max() <= 1e-4 * here.std()
    turned = scene()
    assert turned.w2c is not None
    turned.w2c[2] = turned.w2c[0]
    assert (here - attention(turned)).abs().max() > 1e-2 * here.std()


def test_scaling_makes_the_unit_of_length_irrelevant() -> None:
    """A SLAM without scale and a metric dataset must give the same answer under `scale: mean`."""
    near, far = scene(), scene()
    assert far.w2c is not None
    far.w2c[:, :3, 3] *= 100
    runner = tiny(pose={"kind": "prope"})
    a, b = (logits(runner, sentence(runner, view)) for view in (near, far))
    assert torch.allclose(a, b, atol=1e-4)
    unscaled = tiny(pose={"kind": "prope", "scale": "none"})
    a, b = (logits(unscaled, sentence(unscaled, view)) for view in (near, far))
    assert (a - b).abs().max() > 1e-2


@pytest.mark.parametrize(
    "options",
    [
        {"pose": {"kind": "prope", "tubelet": "split"}},
        {"pose": {"kind": "prope", "tubelet": "mean", "use": "rotation"}},
        {"pose": {"kind": "prope", "use": "translation", "reference": "medoid"}},
        {"pose": {"kind": "gta", "dims": "section:w", "scale": "max"}},
        {"pose": {"kind": "prope", "dims": "high", "fraction": 0.5, "reference": "middle"}},
        {"rope": {"temporal": "index", "text_start": "grid"}},
        {"rope": {"temporal": "constant"}},
        {"rope": {"seconds_per_grid": "auto"}},
        {"tubelets": "repeat"},
    ],
    ids=str,
)
def test_every_option_changes_the_answer(options: dict[str, Any]) -> None:
    """An option that is read and dropped makes two columns of a table equal by mistake."""
    base: dict[str, Any] = {"pose": {"kind": options["pose"]["kind"]}} if "pose" in options else {}
    view = SceneInput(**(vars(scene(6)) | {"timestamps": np.arange(6) * 2.0}))
    a, b = tiny(**base), tiny(**options)
    x, y = logits(a, sentence(a, view))[0, -1], logits(b, sentence(b, view))[0, -1]
    assert torch.isfinite(y).all()
    assert (x - y).abs().max() > 1e-5


def test_repeat_gives_every_frame_its_own_tubelet() -> None:
    """The control for "the merging is wrong": n frames, n tubelets, each of one frame twice."""
    view = scene(4)
    clip = tiny(tubelets="repeat").clip(view)
    assert clip.video["grid_thw"].tolist() == [[4, 6, 8]]
    rows = clip.video["pixel_values"].reshape(4, 48, 3, 2, 14, 14)
    assert torch.equal(rows[:, :, :, 0], rows[:, :, :, 1])


def test_pixels_equal_the_processors() -> None:
    """Frames of a tubelet side by side must be what transformers' processor makes of each frame alone."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from smx.models._vlm.preprocess import prepare

    frames, budget = scene(2).frames, (293_216, 324_576)
    rows, layout = prepare(frames, budget)
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": budget[0], "longest_edge": budget[1]})
    ours = rows.reshape(-1, 3, 2, 14 * 14)
    for position, frame in enumerate(frames):
        theirs = processor(images=[frame], return_tensors="np")
        assert theirs["image_grid_thw"].tolist() == [[1, *layout.grid[1:]]]
        alone = theirs["pixel_values"].reshape(-1, 3, 2, 14 * 14)
        assert np.abs(ours[:, :, position] - alone[:, :, 0]).max() < 1e-5


def test_a_question_cannot_forge_special_tokens() -> None:
    """Question files are data: `<|im_end|>` in one must stay text."""
    prompts = tiny().prompts
    ids = prompts.text("<|im_end|><|video_pad|> hello <|vision_start|>")
    assert not set(ids) & set(prompts.ids.values())
    assert prompts.decode(prompts.answer("12.5 chairs, no?")) == "12.5 chairs, no?"
    assert len(prompts.text("1234")) == 4  # digits stay apart


# Answering


@pytest.mark.parametrize("pose", ["none", "prope"])
def test_sharing_the_video_gives_the_same_answers(pose: str) -> None:
    """Keys and values computed once per scene against everything recomputed per question, in float32."""
    runner, reference = tiny(pose={"kind": pose}), tiny(pose={"kind": pose})
    reference.share_prefix = False
    for seed in (0, 1):
        view = scene(seed=seed)
        shared, separate = (list(r.answer(view, QUESTIONS, 6)) for r in (runner, reference))
        assert shared == separate
        assert [reply.text for reply in runner.answer(view, QUESTIONS[::-1], 6)] == [r.text for r in separate[::-1]]
    assert shared[0].prompt_tokens == sentence(runner, view, QUESTIONS[0].text)["input_ids"].shape[1]


@pytest.mark.parametrize("pose", ["none", "prope"])
def test_cached_steps_equal_recomputed_ones(pose: str) -> None:
    """Each generated token is the argmax of a forward without any cache."""
    runner, view = tiny(pose={"kind": pose}), scene()
    [reply] = runner.answer(view, QUESTIONS[:1], 5)
    inputs = sentence(runner, view, QUESTIONS[0].text)
    said: list[int] = []
    while len(said) < 5:
        token = int(logits(runner, inputs)[0, -1].argmax())
        if token in runner.prompts.stops:
            break
        said.append(token)
        inputs["input_ids"] = torch.cat((inputs["input_ids"], torch.tensor([[token]])), 1)
        inputs["position_ids"] = torch.cat((inputs["position_ids"], inputs["position_ids"][..., -1:] + 1), 2)
    assert (runner.prompts.decode(said), len(said)) == (reply.text, reply.new_tokens)


def test_hooks_are_off_while_words_are_made() -> None:
    """A decode step must cost nothing for pose attention."""
    runner = tiny(pose={"kind": "prope"})
    list(runner.answer(scene(), QUESTIONS[:1], 2))
    attention = runner.model.vlm.model.language_model.layers[0].self_attn
    modules = [attention, attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def test_a_broken_scene_is_a_scene_error_and_the_next_one_is_fine() -> None:
    """Lost poses and missing cameras are the scene's fault, named by position, and spoil nothing else."""
    runner, lost = tiny(pose={"kind": "prope"}), scene()
    assert lost.w2c is not None
    lost.w2c[2] = np.nan
    with pytest.raises(SceneError, match=r"chosen frames 2"):
        list(runner.answer(lost, QUESTIONS, 2))
    blind = SceneInput("nocams", lost.frames, lost.timestamps)
    with pytest.raises(SceneError, match="nocams"):
        list(runner.answer(blind, QUESTIONS, 2))
    assert len(list(runner.answer(scene(), QUESTIONS, 2))) == 3
    assert len(list(runner.answer(None, QUESTIONS, 2))) == 3  # blind: no frames at all


def test_bfloat16_answers(tmp_path: Path) -> None:
    """The precision real checkpoints run in; cameras stay float32."""
    runner = tiny(dtype="bfloat16", pose={"kind": "prope"})
    assert runner.info["dtype"] == "bfloat16"
    assert len(list(runner.answer(scene(), QUESTIONS, 2))) == 3


def test_attention_backend_is_said_and_never_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published runs differ by 3 points between backends."""
    assert tiny().info["attention"] == "sdpa"
    assert tiny().info["attention_reason"].startswith("auto: ")
    eager = tiny(attention="eager", pose={"kind": "prope"})
    assert eager.info["attention"] == "eager"
    sdpa = tiny(pose={"kind": "prope"})
    inputs = sentence(sdpa, scene())
    assert torch.allclose(logits(sdpa, inputs), logits(eager, inputs), atol=1e-4)
    with pytest.raises(UserError, match="flash_attention_2 cannot run here"):
        tiny(attention="flash_attention_2")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"flex cannot run here: .* no C\+\+ compiler"):
        tiny(attention="flex")
    assert "bias" in tiny(pose={"kind": "geo_alibi"}).info["attention_reason"]


# Training


@pytest.mark.parametrize("pose", ["none", "prope"])
def test_a_padded_batch_has_the_loss_of_its_parts(pose: str) -> None:
    """Padding, other videos in the batch and other clip lengths must not leak into an example."""
    runner = tiny(pose={"kind": pose})
    module = runner.module()
    views = [scene(4, 0), scene(6, 1), scene(2, 2)]
    examples = [runner.example(v, q, a) for v, q, a in zip(views, QUESTIONS, ("5", "120.5", "B"), strict=True)]
    with torch.inference_mode():
        singles = [module(**runner.collate([example])).loss for example in examples]
        together = module(**runner.collate(examples)).loss
    counts = torch.tensor([int((example["labels"] != -100).sum()) for example in examples])
    assert counts.tolist() == [2, 6, 2]
    assert torch.allclose(together, (torch.stack(singles) * counts).sum() / counts.sum(), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"pose": {"kind": "prope"}}, {"attention": "eager"}], ids=str)
def test_a_scenes_examples_share_its_video_and_nothing_else(options: dict[str, Any]) -> None:
    """Questions of one scene go through in one row; loss and gradients are those of a row for each."""
    runner = tiny(**options)
    module, views = runner.module(), [scene(2, 0), scene(4, 1)]
    asked = [(0, 0, "5"), (1, 0, "12"), (0, 1, "120.5"), (1, 2, "B"), (0, 2, "A")]
    examples = [runner.example(views[v], QUESTIONS[q], answer) for v, q, answer in sorted(asked)]
    packed = runner.collate(examples)
    assert packed["input_ids"].shape[0] == len(packed["grid_thw"]) == 2
    separate = runner.collate([{k: v.clone() for k, v in example.items()} for example in examples])
    assert separate["input_ids"].shape[0] == len(separate["grid_thw"]) == 5
    found = []
    for batch in (packed, separate):
        module.zero_grad()
        loss = module(**batch).loss
        loss.backward()
        found.append((loss.detach(), [p.grad for p in module.parameters() if p.grad is not None]))
    (loss, grads), (expected, wanted) = found
    assert torch.allclose(loss, expected, atol=1e-5)
    assert all(
        torch.allclose(a, b, atol=1e-5 + 1e-4 * float(b.abs().max())) for a, b in zip(grads, wanted, strict=True)
    )


def test_two_examples_can_be_learned() -> None:
    """The whole path trains: loss falls, and the answers come out."""
    runner = tiny(pose={"kind": "prope"})
    module, views = runner.module(), [scene(2, 0), scene(2, 1)]
    views[1].frames[:] //= 4  # the same question: only what is seen tells them apart
    batch = runner.collate([runner.example(v, QUESTIONS[0], a) for v, a in zip(views, ("3", "8"), strict=True)])
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    losses = []
    for _ in range(25):
        loss = module(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[0] > 5
    assert losses[-1] < 0.1
    assert [next(runner.answer(view, QUESTIONS[:1], 4)).text for view in views] == ["3", "8"]
    assert not runner.untrained


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_is_exact(reentrant: bool) -> None:
    """Recomputed layers must see the same cameras; as module state they would silently not."""
    grads = []
    for checkpointed in (False, True):
        runner = tiny(pose={"kind": "prope"})
        module = runner.module()
        if checkpointed:
            module.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": reentrant})
        views = [scene(2, 0), scene(4, 1)]
        batch = runner.collate([runner.example(view, QUESTIONS[0], "3") for view in views])
        module(**batch).loss.backward()
        grads.append([p.grad for p in module.parameters() if p.grad is not None])
    assert len(grads[0]) == len(grads[1]) > 70
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_answers_follow_training() -> None:
    """Keys and values kept from before a training step must not be used after it."""
    runner, view = tiny(), scene(2)
    list(runner.answer(view, QUESTIONS[:1], 3))
    module = runner.module()
    module(**runner.collate([runner.example(view, QUESTIONS[0], "7")])).loss.backward()
    torch.optim.SGD(module.parameters(), lr=0.5).step()
    after = list(runner.answer(view, QUESTIONS[:1], 3))
    runner.share_prefix = False
    assert after == list(runner.answer(view, QUESTIONS[:1], 3))


# Checkpoints


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    tiny(seed=4).save(folder)
    return folder


def copy(folder: Path, to: Path, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """A checkpoint's copy, its config.json changed."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    if change:
        config = json.loads((to / "config.json").read_text())
        change(config)
        (to / "config.json").write_text(json.dumps(config))
    return to


def test_saved_and_loaded_is_the_same_model(tmp_path: Path) -> None:
    """Options, positions, the untrained mark and every bit of the logits survive; tools can open the folder."""
    from transformers import AutoTokenizer

    options: dict[str, Any] = {"pose": {"kind": "prope"}, "rope": {"temporal": "index"}}
    before = tiny(seed=2, **options)
    before.save(tmp_path / "c")
    after = tiny(tmp_path / "c", **options)
    inputs = sentence(before, scene())
    assert torch.equal(logits(before, inputs), logits(after, inputs))
    assert after.untrained
    assert after.info["temporal_stride"] == 1.0
    assert "trained_options" not in after.info
    memory = json.loads((tmp_path / "c/smx.json").read_text())
    assert memory["options"]["pose"]["kind"] == "prope"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "c")
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "How many chairs?"}]}]
    theirs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    prompts = before.prompts
    prompts.tokenizer.encode_special_tokens = False
    assert prompts.text(theirs) == [*prompts.before(1), *prompts.question("How many chairs?")]


def test_another_stride_than_trained_is_refused(saved: Path) -> None:
    """Evaluated at another stride than trained, scores are another experiment's."""
    with pytest.raises(UserError, match=r"trained with temporal stride 2\.0.*run it with 1\.0"):
        Tiny.parse({"rope": {"temporal": "index"}}, "m").check(saved)
    with pytest.raises(UserError, match="stride"):
        tiny(saved, rope={"seconds_per_grid": "auto"})
    assert tiny(saved, pose={"kind": "prope"}).info["trained_options"]["pose"]["kind"] == "none"
    assert tiny(saved).untrained


def test_any_folder_of_the_architecture_loads(saved: Path, tmp_path: Path) -> None:
    """Without smx.json, under base qwen2_5_vl, the same weights give the same logits."""
    folder = copy(saved, tmp_path / "c")
    (folder / "smx.json").unlink()
    runner = Qwen.parse({"pixels": (3136, 9800)}, "m").load(folder, seed=0, device="cpu", dtype="float32")
    assert isinstance(runner, QwenRunner)
    mine = tiny(saved)
    inputs = sentence(mine, scene())
    assert torch.equal(logits(runner, inputs), logits(mine, inputs))
    with pytest.raises(UserError, match="smx did not make it"):
        Tiny().check(folder)
    with pytest.raises(UserError, match="base 'tiny'"):
        Qwen().check(saved)


def test_older_key_layout_gives_the_recorded_logits(fixtures: Path, tmp_path: Path) -> None:
    """Keys and flat config of transformers 4.51, against what 4.51 computed: text logits and video tokens."""
    from safetensors.torch import load_file, save_file

    source = fixtures / "golden/spatial_mllm_tiny"
    weights = load_file(source / "model.safetensors")
    kept = {k: v for k, v in weights.items() if k.startswith(("visual.", "model.", "lm_head."))}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    for key in ("spatial_config", "connector_config"):
        del config[key]
    config |= {"model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tiny().prompts.tokenizer.save(str(tmp_path / "tokenizer.json"))
    runner = Qwen().load(tmp_path, seed=0, device="cpu", dtype="float32")
    assert isinstance(runner, QwenRunner)
    inputs, expected = load_file(source / "inputs.safetensors"), load_file(source / "expected.safetensors")
    ids = inputs["text_only_ids"]
    where = torch.arange(ids.shape[1]).expand(3, 1, -1)
    with torch.inference_mode():
        text = runner.model.logits(ids, where)
        video = runner.model.vlm.model.visual(inputs["pixel_values_videos"], grid_thw=inputs["video_grid_thw"])
    for ours, theirs in ((text, expected["text_only_logits"]), (video.pooler_output, expected["video_embeds"])):
        assert (ours - theirs).abs().max() <= 2e-4 * theirs.std()


def drop(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda config: config.pop(key)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(model_type="llava"), ["'llava'", "expected model_type 'qwen2_5_vl'"]),
        (lambda c: c.update(architectures=["Qwen3VL"]), ["Qwen3VL", "Qwen2_5_VLForConditionalGeneration"]),
        (lambda c: c["text_config"].update(num_hidden_layers=4), ["tensors are missing", "layers.3"]),
        (lambda c: c["text_config"].update(num_hidden_layers=2), ["do not belong", "layers.2"]),
        (lambda c: c["vision_config"].update(intermediate_size=99), ["[256, 128]", "[99, 128]"]),
        (lambda c: c["text_config"].update(num_attention_heads=5), ["192 over 5 heads"]),
        (drop("vision_config"), ["vision_config is missing", "expected an object of sizes"]),
    ],
)
def test_a_config_of_another_model_is_refused(
    saved: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], words: list[str]
) -> None:
    """On the login node, before hours in a queue; names what was found and what was expected."""
    with pytest.raises(UserError) as caught:
        Tiny().check(copy(saved, tmp_path / "c", change))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_damaged_folders_are_refused(saved: Path, tmp_path: Path) -> None:
    """A download that stopped half way must not become a result."""
    whole = (saved / "model.safetensors").read_bytes()

    def refused(name: str, content: bytes | None, words: str) -> None:
        folder = copy(saved, tmp_path / f"{len(list(tmp_path.iterdir()))}")
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)
        with pytest.raises(UserError, match=words):
            Tiny().check(folder)

    refused("model.safetensors", whole[:-7], "its header says")
    refused("model.safetensors", whole[:100], "no safetensors file")
    refused("model.safetensors", b"", "no safetensors file")
    refused("model.safetensors", None, r"model\.safetensors is missing")
    refused("config.json", b"{", "not readable JSON")
    refused("config.json", None, r"has no config\.json")
    refused("tokenizer.json", None, r"no tokenizer\.json")
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    refused("model.safetensors.index.json", json.dumps(index).encode(), "model-00001-of-00002")
    index = {"weight_map": {"nowhere": "model.safetensors"}}
    refused("model.safetensors.index.json", json.dumps(index).encode(), "lacks nowhere")
    for broken in ({}, {"weight_map": ["a"]}, {"weight_map": {"lm_head.weight": "../other/model.safetensors"}}):
        refused("model.safetensors.index.json", json.dumps(broken).encode(), "names no file of this folder")
    refused("smx.json", b'{"base": "tiny", "positions": [1]}', r"positions is \[1\]")
    with pytest.raises(UserError, match="no checkpoint folder"):
        Tiny().check(tmp_path / "nothing")
    with pytest.raises(UserError, match="needs a checkpoint"):
        Qwen().check(None)


def test_a_pickle_is_named_not_loaded(saved: Path, tmp_path: Path) -> None:
    """Weights are never pickles."""
    folder = copy(saved, tmp_path / "c")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is a pickle"):
        Tiny().check(folder)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pose": {"kind": "cape", "apply": "qkvo"}}, "cape acts on queries and keys only"),
        ({"pose": {"kind": "geo_alibi", "dims": "low", "use": "rotation"}}, "reads no dims, use"),
        ({"pose": {"kind": "geo_alibi", "tubelet": "split"}}, "first or mean"),
        ({"pose": {"kind": "geo_alibi"}, "attention": "flash_attention_2"}, "flash attention takes none"),
        ({"pose": {"kind": "prope", "source": "vggt"}}, "needs a base with a VGGT"),
        ({"pose": {"kind": "none", "dims": "section:x"}}, "section:t"),
        ({"rope": {"temporl": "index"}}, "did you mean temporal"),
        ({"tubelets": "single"}, "'pair' or 'repeat'"),
        ({"pixels": (9800, 3136)}, "fewest"),
    ],
)
def test_wrong_options_say_what_is_allowed(options: dict[str, Any], words: str) -> None:
    """A variant file with a slip must not run as something else."""
    with pytest.raises(UserError) as caught:
        Tiny.parse(options, "model tiny")
    assert words in str(caught.value)
