"""Qwen3-VL at work: timestamped blocks of frame pairs, deep-stacked vision features. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLForConditionalGeneration

from smx.models import SceneInput
from smx.models._qwen3_vl.options import LAYOUT, PATCH, Qwen3Options
from smx.models._vlm import loading
from smx.models._vlm.model import PositionedVLM, additive
from smx.models._vlm.pose_attention import PoseHooks, scene_cameras
from smx.models._vlm.position_ids import text_positions, video_positions
from smx.models._vlm.preprocess import prepare
from smx.models._vlm.prompt import Prompts
from smx.models._vlm.runner import Clip, VideoRunner, without_progress_bars
from smx.tokens import TEMPORAL_PATCH

HALF = np.full(3, 0.5, dtype=np.float32)  # mean and standard deviation of its processor


CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)  # for other tools that open a folder smx saved; its processor replaces the one placeholder by blocks


class Qwen3Prompts(Prompts):
    """Qwen3-VL's prompt: no system turn, and before each pair of frames the time it was taken at."""

    def before(self, video_tokens: int, cameras: int = 0) -> list[int]:
        """The start of the user's turn; the video comes in `blocks`."""
        assert video_tokens == cameras == 0, "a video is made of blocks here"
        return [self.ids["<|im_start|>"], *self.text("user\n")]

    def block(self, seconds: float, tokens: int) -> list[int]:
        """`<0.5 seconds>` and the placeholders of one pair of frames."""
        seen = [self.ids["<|vision_start|>"], *[self.video] * tokens, self.ids["<|vision_end|>"]]
        return [*self.text(f"<{seconds:.1f} seconds>"), *seen]


class Qwen3PoseHooks(PoseHooks):
    """Poses on Qwen3-VL's heads, whose rotary sections are interleaved by the model itself."""

    interleaves_itself = True


def hooks_for(language_model: Any, options: Qwen3Options) -> PoseHooks | None:
    """What `options` change inside the language model; None where nothing is changed."""
    if not options.pose.encoding.reads_cameras:
        return None
    return Qwen3PoseHooks(language_model, options.pose, LAYOUT)


class Qwen3VLM(PositionedVLM):
    """`PositionedVLM` over Qwen3-VL, whose first layers also get features of the vision encoder's middle."""

    def with_video(
        self, embeds: Tensor, video: Tensor, pixel_values: Tensor, grid_thw: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        """`embeds` [B, L, hidden] with the vision tokens; where they are, and what is added to them layer by layer."""
        seen = self.vlm.model.visual(pixel_values.to(embeds.dtype), grid_thw=grid_thw)
        embeds = embeds.masked_scatter(video[..., None], seen.pooler_output.to(embeds.dtype))
        return embeds, {"visual_pos_masks": video, "deepstack_visual_embeds": seen.deepstack_features}

    @property
    def packs(self) -> bool:
        """Its language model takes padding masks only, with a video in the row."""
        return False

    @property
    def takes_block_mask(self) -> bool:
        """A mask of four dimensions goes through as it is."""
        return self.vlm.config.text_config._attn_implementation in ("sdpa", "eager")

    def block_mask(self, seen: Tensor) -> Any:
        """The same for every layer: there is one kind."""
        return additive(seen, self.vlm.dtype)


class Qwen3Runner(VideoRunner):
    """A loaded Qwen3-VL."""

    options: Qwen3Options
    prompts: Qwen3Prompts

    def _processor_files(self) -> dict[str, Any]:
        same = {
            "image_mean": HALF.tolist(),
            "image_std": HALF.tolist(),
            "patch_size": PATCH,
            "temporal_patch_size": TEMPORAL_PATCH,
            "merge_size": 2,
            "size": {"shortest_edge": self.options.pixels[0], "longest_edge": self.options.pixels[1]},
        }
        return {
            "preprocessor_config.json": {"image_processor_type": "Qwen2VLImageProcessorFast", **same},
            "video_preprocessor_config.json": {"video_processor_type": "Qwen3VLVideoProcessor", **same},
        }

    def _chat_template(self) -> str:
        return CHAT_TEMPLATE

    def _clip_of(self, scene: SceneInput) -> Clip:
        repeat = self.options.tubelets == "repeat"
        pixels, layout = prepare(scene.frames, self.options.pixels, patch=PATCH, repeat=repeat, mean=HALF, std=HALF)
        t, h, w = layout.merged
        ids = self.prompts.before(0)
        for seconds in block_times(scene.timestamps, 1 if repeat else TEMPORAL_PATCH):
            ids += self.prompts.block(seconds, h * w)
        assert ids.count(self.prompts.video) == t * h * w, "a block for each tubelet"
        video = {"pixel_values": torch.from_numpy(pixels), "grid_thw": torch.tensor([layout.grid])}
        if self.options.wants_cameras():
            video["cameras"] = scene_cameras(scene, self.options.pose, repeat)[None]
        return Clip(ids, *block_positions(ids, self.prompts.video, (h, w)), video)


def block_positions(ids: Sequence[int], video: int, grid: tuple[int, int]) -> tuple[np.ndarray, int]:
    """([3, L] int64 of a prompt whose `video` placeholders come in blocks of `grid` (h, w), the position after it).

    A block stands at the text's position before it, in rows and columns alone; text goes on past its longer side.
    """
    h, w = grid
    parts, here, done = [], 0, 0
    for begin in [place for place, token in enumerate(ids) if token == video][:: h * w]:
        start = here + begin - done
        parts += [text_positions(here, begin - done), video_positions(start, (1, h, w), 0)]
        here, done = start + max(h, w), begin + h * w
    parts.append(text_positions(here, len(ids) - done))
    return np.concatenate(parts, axis=1), here + len(ids) - done


def block_times(timestamps: np.ndarray, frames: int) -> list[float]:
    """Seconds that stand before each block of `frames` frames: halfway between its first and its last."""
    ends = np.asarray(timestamps, np.float64).reshape(-1, frames)
    return [float(middle) for middle in (ends[:, 0] + ends[:, -1]) / 2]


def from_folder(folder: Path, options: Qwen3Options, *, base: str, device: str, dtype: str) -> Qwen3Runner:
    """A runner with the weights of `folder`, which `check` has looked at."""
    vlm, why = weights_of(folder, options, device, dtype)
    untrained, past = loading.remembered(folder, options)
    prompts = Qwen3Prompts.read(folder / "tokenizer.json")
    assert isinstance(prompts, Qwen3Prompts)
    model = Qwen3VLM(vlm.eval(), prompts.video, hooks_for(vlm.model.language_model, options))
    info = loading.about(vlm, options, why) | past
    return Qwen3Runner(model, prompts, options, base=base, untrained=untrained, info=info)


def weights_of(folder: Path, options: Qwen3Options, device: str, dtype: str) -> tuple[Any, str]:
    """(transformers' Qwen3-VL with the weights of `folder`, the reason for its attention backend)."""
    attention, why = loading.choose_attention(options, device, dtype)
    with without_progress_bars():
        vlm, report = Qwen3VLForConditionalGeneration.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=loading.named_dtype(dtype),
            attn_implementation=loading.building(attention),
            output_loading_info=True,
        )
    loading.refuse_unread(folder, report)
    return loading.settled(vlm.to(device), attention), why
