"""Pose attention inside an unmodified LLM: forward hooks on its projections, fed by one keyword per forward.

On the pose dims visual tokens get their camera's matrix instead of a rotation; text tokens keep theirs, so a
prompt without video runs the base model's own operations. Keys and values enter the cache already transformed:
the hooks are needed for the tokens of the video only and are taken off before the first word of an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from smx.errors import SceneError, UserError
from smx.geometry import pose_attention as pa

if TYPE_CHECKING:
    from smx.models import SceneInput
    from smx.models._options import Pose

KEYWORD = "smx_pose"  # travels through the layers as a keyword: checkpointing replays keywords, not module state


@dataclass
class TokenTransforms:
    """The matrices of every token of one forward pass; identity for text."""

    visual: Tensor  # [B, L] bool
    P: Tensor  # [B, L, slots, 4, 4] float32
    P_inv: Tensor
    _plain: tuple[Tensor, Tensor] | None = field(default=None, repr=False)  # cos and sin, the same for every layer

    def without_rotation(self, cos: Tensor, sin: Tensor, dims: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [B, L, d] with visual tokens unrotated on `dims`."""
        if self._plain is None:
            here = torch.zeros(cos.shape[-1], dtype=torch.bool, device=cos.device)
            here[dims] = True
            still = self.visual[..., None] & here
            self._plain = cos.masked_fill(still, 1), sin.masked_fill(still, 0)
        return self._plain


def token_transforms(visual: Tensor, grid_thw: Tensor, cameras: Tensor, merge: int) -> TokenTransforms:
    """Per-token matrices from per-tubelet `cameras` [B, T, slots, 2, 4, 4]; `visual` [B, L] marks video tokens."""
    per_tubelet = (grid_thw[:, 1] // merge) * (grid_thw[:, 2] // merge)
    tubelet = ((visual.cumsum(1) - 1) // per_tubelet[:, None]).clamp(0, cameras.shape[1] - 1)
    rows = torch.arange(len(visual), device=visual.device)[:, None]
    eye = torch.eye(4, dtype=cameras.dtype, device=cameras.device)
    both = torch.where(visual[..., None, None, None, None], cameras[rows, tubelet], eye)
    return TokenTransforms(visual, both[..., 0, :, :], both[..., 1, :, :])


class PoseHooks:
    """Puts the hooks on a language model and takes them off. Use as `with hooks:`; nesting is fine."""

    def __init__(self, language_model: Any, pose: Pose, rope_base: str) -> None:
        config = language_model.config
        self.language_model = language_model
        self.apply = pose.apply
        self.head_dim = config.hidden_size // config.num_attention_heads
        sections = list(config.rope_parameters["mrope_section"])
        pairs = pa.blocks(sections, pose.dims, pose.fraction, rope_base)
        if not pairs:
            raise UserError(
                f"pose.dims {pose.dims} with fraction {pose.fraction} selects no rotary pairs", "raise pose.fraction"
            )
        self.dims = torch.tensor(pa.block_dims(pairs, self.head_dim))
        self._handles: list[Any] = []
        self._depth = 0

    @property
    def attached(self) -> bool:
        return self._depth > 0

    def __enter__(self) -> PoseHooks:
        self._depth += 1
        if self._depth == 1:
            self._attach()
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()

    def _attach(self) -> None:
        device = next(self.language_model.parameters()).device
        dims = self.dims.to(device)
        for layer in self.language_model.layers:
            self._attach_to(layer.self_attn, dims)

    def _attach_to(self, attention: Any, dims: Tensor) -> None:
        now: list[TokenTransforms] = []  # set on entry of every call, a recomputed one included

        def enter(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            state = kwargs.pop(KEYWORD, None)
            now.clear()
            if state is not None:
                now.append(state)
                if "q" in self.apply:
                    kwargs["position_embeddings"] = state.without_rotation(*kwargs["position_embeddings"], dims)
            return args, kwargs

        def leave(*_: Any) -> None:
            now.clear()

        def projected(which: str) -> Any:
            def hook(_: Any, __: Any, output: Tensor) -> Tensor | None:
                if not now:
                    return None
                matrices = now[0].P.mT if which == "q" else now[0].P_inv
                return self._transform(output, matrices, dims)

            return hook

        def before_output(_: Any, args: tuple[Tensor]) -> tuple[Tensor] | None:
            return (self._transform(args[0], now[0].P, dims),) if now else None

        self._handles += [
            attention.register_forward_pre_hook(enter, with_kwargs=True),
            attention.register_forward_hook(leave, always_call=True),
        ]
        for which in "qkv":
            if which in self.apply:
                projection = getattr(attention, f"{which}_proj")
                self._handles.append(projection.register_forward_hook(projected(which)))
        if "o" in self.apply:
            self._handles.append(attention.o_proj.register_forward_pre_hook(before_output))

    def _transform(self, x: Tensor, matrices: Tensor, dims: Tensor) -> Tensor:
        return pa.transform(x.reshape(*x.shape[:-1], -1, self.head_dim), matrices, dims).reshape(x.shape)


def scene_cameras(scene: SceneInput, pose: Pose, repeat: bool) -> Tensor:
    """[T, slots, 2, 4, 4] float32: P and P⁻¹ of every tubelet of the scene, relative to its reference camera.

    Computed in float64. With `repeat` every frame is a tubelet. `SceneError` where a camera is missing.
    """
    if scene.w2c is None or scene.K is None:
        raise SceneError(f"{scene.scene}: pose {pose.kind} needs cameras, and these frames have none")
    lost = np.flatnonzero(~(np.isfinite(scene.w2c).all((1, 2)) & np.isfinite(scene.K).all((1, 2))))
    if len(lost):
        raise SceneError(f"{scene.scene}: no finite camera for chosen frames {', '.join(map(str, lost))} (by position)")
    w2c, K = (torch.from_numpy(np.asarray(a, np.float64).copy()) for a in (scene.w2c, scene.K))
    w2c = pa.relative(w2c, pa.reference_index(w2c, pose.reference))
    w2c = pa.keep_part(pa.scale_translations(w2c, pose.scale), pose.use)
    if repeat:
        w2c, K = w2c[:, None], K[:, None]
    else:
        w2c, K = pa.per_tubelet(w2c, K, pose.tubelet)
    height, width = scene.frames.shape[1:3]
    P, P_inv = pa.projections(w2c, None if pose.kind == "gta" else K, (width, height))
    return torch.stack((P, P_inv), dim=2).float()
