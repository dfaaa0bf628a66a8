"""Spatial-MLLM at work: Qwen2.5-VL whose video tokens meet VGGT's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smx.geometry import pose_encoding
from smx.models import SceneInput
from smx.models._spatial_mllm.model import SpatialFeatures
from smx.models._spatial_mllm.options import SpatialOptions
from smx.models._spatial_mllm.saving import save_weights
from smx.models._vlm.model import PositionedVLM
from smx.models._vlm.pose_attention import PoseHooks, scene_cameras
from smx.models._vlm.position_ids import prompt_positions
from smx.models._vlm.preprocess import prepare
from smx.models._vlm.prompt import Prompts
from smx.models._vlm.runner import Clip, QwenRunner
from smx.tokens import TEMPORAL_PATCH

FROZEN = "spatial.vggt."


class SpatialVLM(PositionedVLM):
    """`PositionedVLM` with the rows of `spatial` at the placeholders."""

    def __init__(self, vlm: Any, video_token: int, hooks: PoseHooks | None, spatial: SpatialFeatures) -> None:
        super().__init__(vlm, video_token, hooks)
        self.spatial = spatial
        self.register_state_dict_post_hook(_leave_out_frozen)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_put_back_frozen)  # type: ignore[no-untyped-call]

    def with_video(
        self, embeds: Tensor, video: Tensor, pixel_values: Tensor, grid_thw: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        """`embeds` [B, L, hidden] with the variant's features at their placeholders."""
        features = self.spatial(self.vlm.model.visual, pixel_values, grid_thw, embeds.dtype)
        places = self.spatial.placeholders(video, grid_thw)
        assert int(places.sum()) == len(features), f"{int(places.sum())} placeholders for {len(features)} tokens"
        return embeds.masked_scatter(places[..., None], features.to(embeds.dtype)), {}


class SpatialRunner(QwenRunner):
    """A loaded Spatial-MLLM."""

    model: SpatialVLM
    options: SpatialOptions

    def __init__(
        self,
        vlm: Any,
        spatial: SpatialFeatures,
        prompts: Prompts,
        options: SpatialOptions,
        *,
        base: str,
        untrained: bool,
        info: dict[str, Any],
    ) -> None:
        super().__init__(vlm, prompts, options, base=base, untrained=untrained, info=info)
        self.model = SpatialVLM(vlm, prompts.video, self.model.hooks, spatial)

    def save(self, folder: Path) -> None:
        """A folder in the public layout, which the reference reads too, and `smx.json`."""
        super().save(folder)
        if self.model.spatial.config.speaks_bytes:
            (folder / "tokenizer.json").unlink()  # there is none: who loads it speaks bytes again

    def _save_weights(self, folder: Path) -> None:
        save_weights(self.model.vlm, self.model.spatial, folder)

    def _clip_of(self, scene: SceneInput) -> Clip:
        clip = super()._clip_of(scene)
        return self._with_camera_tokens(scene, clip) if self.options.features == "camera" else clip

    def _completed(self, scene: SceneInput, clip: Clip) -> Clip:
        if not self.options.pose.encoding.reads_cameras or self.options.pose.source != "vggt":
            return clip
        return replace(clip, video=clip.video | {"cameras": self._own_cameras(scene, clip)})

    @torch.inference_mode()
    def _own_cameras(self, scene: SceneInput, clip: Clip) -> Tensor:
        """[1, T, slots, 2, 4, 4]: P and P⁻¹ of the cameras that VGGT finds. `SceneError` where one is none."""
        [grid] = clip.video["grid_thw"].tolist()
        images = self.model.spatial.frames(clip.video["pixel_values"].to(self.model.device), grid)
        found = self.model.spatial.pose_encodings(images).double().cpu().numpy()
        height, width = scene.frames.shape[1:3]
        w2c, K = pose_encoding.decode(found, (width, height))
        seen = replace(scene, w2c=w2c, K=K)
        return scene_cameras(seen, self.options.pose, self.options.tubelets == "repeat")[None]

    def _with_camera_tokens(self, scene: SceneInput, clip: Clip) -> Clip:
        """The clip with a placeholder for each frame's camera token behind those of the video."""
        options, repeat = self.options, self.options.tubelets == "repeat"
        _, layout = prepare(scene.frames[:1].repeat(2, 0), options.pixels)
        frames = len(scene.frames)
        t, h, w = frames if repeat else frames // TEMPORAL_PATCH, *layout.merged[1:]
        stride = self._stride(scene)
        ids = self.prompts.before(t * h * w, frames)
        start = ids.index(self.prompts.video)
        positions, after = prompt_positions(len(ids), start, (t, h, w), stride, options.rope.text_start, frames)
        return Clip(ids, positions, after, clip.video)


def _leave_out_frozen(_: nn.Module, state: dict[str, Any], prefix: str, __: Any) -> None:
    """VGGT never changes: a checkpoint in training does without its gigabytes."""
    for name in [name for name in state if name.startswith(prefix + FROZEN)]:
        del state[name]


def _put_back_frozen(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, SpatialVLM)
    for name, value in module.spatial.vggt.state_dict().items():
        state.setdefault(prefix + FROZEN + name, value)
