"""Pose attention inside an unmodified LLM: forward hooks on its projections, fed by one keyword per forward.

On the pose dims visual tokens get their camera's matrix instead of a rotation; text tokens keep theirs, so a
prompt without video runs the base model's own operations. Keys and values enter the cache already transformed:
the hooks are needed for the tokens of the video only and are taken off before the first word of an answer.
A kind that is a bias adds to the logits between visual tokens instead (`pose_bias`) and leaves every projection alone.
What the kinds do is in `poses`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from smx.errors import SceneError, UserError
from smx.geometry import pose_attention as pa
from smx.geometry.cameras import impossible_intrinsics, is_rigid
from smx.models._vlm import pose_bias, poses

if TYPE_CHECKING:
    from smx.models import SceneInput
    from smx.models._vlm.options import QwenOptions
    from smx.models._vlm.poses import Matrix, PoseEncoding
    from smx.models._vlm.position_options import Pose, Rope

KEYWORD = "smx_pose"  # travels through the layers as a keyword: checkpointing replays keywords, not module state


@dataclass
class TokenTransforms:
    """The cameras of every token of one forward pass; identity for text."""

    visual: Tensor  # [B, L] bool
    tubelet: Tensor  # [B, L] which tubelet of its video a visual token is of
    cameras: Tensor  # [B, T, slots, 2, 4, 4] float32: P and P⁻¹
    P: Tensor  # [B, L, slots, 4, 4] float32
    P_inv: Tensor
    _plain: tuple[Tensor, Tensor] | None = field(default=None, repr=False)  # cos and sin, the same for every layer
    _biased: tuple[Any, dict[str, Any]] | None = field(default=None, repr=False)  # a mask, and the same with bias

    def without_rotation(self, cos: Tensor, sin: Tensor, dims: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [B, L, d] with visual tokens unrotated on `dims`."""
        if self._plain is None:
            here = torch.zeros(cos.shape[-1], dtype=torch.bool, device=cos.device)
            here[dims] = True
            still = self.visual[..., None] & here
            self._plain = cos.masked_fill(still, 1), sin.masked_fill(still, 0)
        return self._plain

    def matrix(self, name: Matrix) -> Tensor:
        """[B, L, slots, 4, 4] of every token."""
        return self.P_inv if name == "P_inv" else self.P.mT if name == "P.T" else self.P

    def biased(self, kind: PoseEncoding, attention: Any, mask: Any, dtype: torch.dtype) -> dict[str, Any]:
        """The keywords that bring the bias of `kind` to `attention`; the same for every layer with this `mask`."""
        if self._biased is None or self._biased[0] is not mask:
            self._biased = mask, self._with_bias(kind, attention, mask, dtype)
        return self._biased[1]

    def _with_bias(self, kind: PoseEncoding, attention: Any, mask: Any, dtype: torch.dtype) -> dict[str, Any]:
        between = kind.bias(self.cameras[:, :, 0, 0], attention.config.num_attention_heads)
        where = self.visual, self.tubelet, between
        backend = attention.config._attn_implementation
        if backend == "sdpa":
            queries, keys = pose_bias.factors(*where)
            return {pose_bias.FACTORS: ((queries / attention.scaling).to(dtype), keys.to(dtype))}
        matrix = pose_bias.bias(*where).to(dtype)
        if backend == "eager":
            assert mask.shape[-2:] == matrix.shape[-2:], "a bias is for tokens that enter the cache together"
            return {"attention_mask": matrix + mask}
        return {"position_bias": matrix}  # flex keeps its block mask, and adds a bias of its own accord


def token_transforms(visual: Tensor, grid_thw: Tensor, cameras: Tensor, merge: int) -> TokenTransforms:
    """Per-token matrices from per-tubelet `cameras` [B, T, slots, 2, 4, 4]; `visual` [B, L] marks video tokens."""
    per_tubelet = (grid_thw[:, 1] // merge) * (grid_thw[:, 2] // merge)
    tubelet = ((visual.cumsum(1) - 1) // per_tubelet[:, None]).clamp(0, cameras.shape[1] - 1)
    rows = torch.arange(len(visual), device=visual.device)[:, None]
    eye = torch.eye(4, dtype=cameras.dtype, device=cameras.device)
    both = torch.where(visual[..., None, None, None, None], cameras[rows, tubelet], eye)
    return TokenTransforms(visual, tubelet, cameras, both[..., 0, :, :], both[..., 1, :, :])


def hooks_for(language_model: Any, options: QwenOptions) -> PoseHooks | None:
    """What `options` change inside the language model; None where nothing is changed."""
    if not options.pose.encoding.reads_cameras and options.rope.layout == "chunked":
        return None
    return PoseHooks(language_model, options.pose, options.rope)


class PoseHooks:
    """Puts the hooks on a language model and takes them off. Use as `with hooks:`; nesting is fine."""

    interleaves_itself = False  # whether the model's own rotary embedding does what `rope.layout: interleaved` asks

    def __init__(self, language_model: Any, pose: Pose, rope: Rope) -> None:
        config = language_model.config
        self.language_model = language_model
        self.pose, self.rope, self.kind = pose, rope, pose.encoding
        self.heads = config.num_attention_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.sections = list(config.rope_parameters["mrope_section"])
        self.dims = torch.tensor(self._pose_dims(), dtype=torch.long)
        self._handles: list[Any] = []
        self._depth = 0

    @property
    def attached(self) -> bool:
        return self._depth > 0

    @property
    def reads_cameras(self) -> bool:
        return self.kind.reads_cameras

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

    def _pose_dims(self) -> list[int]:
        pose = self.pose
        if not self.kind.acts:
            return []
        pairs = pa.blocks(self.sections, pose.dims, pose.fraction, self.rope.base, self.rope.layout)
        if not pairs:
            raise UserError(
                f"pose.dims {pose.dims} with fraction {pose.fraction} selects no rotary pairs", "raise pose.fraction"
            )
        return pa.block_dims(pairs, self.head_dim)

    def _attach(self) -> None:
        if self.rope.layout == "interleaved" and not self.interleaves_itself:
            self._handles.append(self.language_model.rotary_emb.register_forward_hook(self._interleaved))
        if not self.kind.reads_cameras:
            return
        pose_bias.register()
        device = next(self.language_model.parameters()).device
        dims = self.dims.to(device)
        for layer in self.language_model.layers:
            self._attach_to(layer.self_attn, dims)

    def _interleaved(self, rotary: Any, args: tuple[Tensor, Tensor], _: Any) -> tuple[Tensor, Tensor]:
        """cos and sin [B, L, d] of positions [3, B, L], the sections' pairs taken in turn. Text comes out as before."""
        x, positions = args
        pairs = pa.section_pairs(self.sections, "interleaved")
        section = torch.zeros(self.head_dim // 2, dtype=torch.long, device=x.device)
        for number, name in enumerate("thw"):
            section[pairs[name]] = number
        angles = positions[section].permute(1, 2, 0).float() * rotary.inv_freq.to(device=x.device, dtype=torch.float)
        angles = torch.cat((angles, angles), dim=-1)
        cos, sin = angles.cos() * rotary.attention_scaling, angles.sin() * rotary.attention_scaling
        return cos.to(x.dtype), sin.to(x.dtype)

    def _attach_to(self, attention: Any, dims: Tensor) -> None:
        now: list[TokenTransforms] = []  # set on entry of every call, a recomputed one included
        kind, config = self.kind, attention.config
        apply = [name for name in kind.acts if name in self.pose.apply]
        backend = config._attn_implementation

        def enter(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            state: TokenTransforms | None = kwargs.pop(KEYWORD, None)
            now.clear()
            if state is None:
                return args, kwargs
            now.append(state)
            if kind.biased:
                dtype = kwargs["position_embeddings"][0].dtype
                kwargs |= state.biased(kind, attention, kwargs.get("attention_mask"), dtype)
                if pose_bias.FACTORS in kwargs:
                    config._attn_implementation = pose_bias.NAME  # for this call alone: masks are made by its name
            if "q" in apply:
                cos, sin = kwargs["position_embeddings"]
                kwargs["position_embeddings"] = state.without_rotation(cos, sin, dims)
            return args, kwargs

        def leave(*_: Any) -> None:
            now.clear()
            config._attn_implementation = backend

        def projected(which: str) -> Any:
            def hook(_: Any, __: Any, output: Tensor) -> Tensor | None:
                return self._transform(output, now[0].matrix(kind.acts[which]), dims) if now else None

            return hook

        def before_output(_: Any, args: tuple[Tensor]) -> tuple[Tensor] | None:
            return (self._transform(args[0], now[0].matrix(kind.acts["o"]), dims),) if now else None

        self._handles += [
            attention.register_forward_pre_hook(enter, with_kwargs=True),
            attention.register_forward_hook(leave, always_call=True),
        ]
        for which in apply:
            projection = getattr(attention, f"{which}_proj")
            if which == "o":
                self._handles.append(projection.register_forward_pre_hook(before_output))
            else:  # a norm of each head would undo what is done before it (Qwen3-VL's q_norm and k_norm)
                last = getattr(attention, f"{which}_norm", projection)
                self._handles.append(last.register_forward_hook(projected(which)))

    def _transform(self, x: Tensor, matrices: Tensor, dims: Tensor) -> Tensor:
        return pa.transform(x.reshape(*x.shape[:2], -1, self.head_dim), matrices, dims).reshape(x.shape)


def scene_cameras(scene: SceneInput, pose: Pose, repeat: bool) -> Tensor:
    """[T, slots, 2, 4, 4] float32: P and P⁻¹ of every tubelet of the scene, relative to its reference camera.

    Computed in float64. With `repeat` every frame is a tubelet. `SceneError` where a camera is missing or none.
    """
    _refuse_cameras(scene, pose)
    assert scene.w2c is not None
    w2c = torch.from_numpy(np.asarray(scene.w2c, np.float64).copy())
    K = None if scene.K is None else torch.from_numpy(np.asarray(scene.K, np.float64).copy())
    height, width = scene.frames.shape[1:3]
    return tubelet_cameras(w2c, K, (width, height), pose, repeat)


def tubelet_cameras(w2c: Tensor, K: Tensor | None, size: tuple[int, int], pose: Pose, repeat: bool) -> Tensor:
    """[T, slots, 2, 4, 4] float32 from w2c [n, 4, 4] and K [n, 3, 3] in pixels of `size` (W, H).

    K may be None where the kind reads none.
    """
    w2c = pa.relative(w2c, pa.reference_index(w2c, pose.reference))
    w2c = pa.keep_part(pa.scale_translations(w2c, pose.scale), pose.use)
    if K is None or not pose.encoding.intrinsics:
        K = torch.eye(3, dtype=w2c.dtype, device=w2c.device).expand(len(w2c), 3, 3)
    if repeat:
        w2c, K = w2c[:, None], K[:, None]
    else:
        w2c, K = pa.per_tubelet(w2c, K, pose.tubelet)
    P, P_inv = pose.encoding.matrices(w2c, K, size)
    return torch.stack((P, P_inv), dim=2).float()


def _refuse_cameras(scene: SceneInput, pose: Pose) -> None:
    """`SceneError` naming what was found and what was expected, and the chosen frames by position."""
    what = f"{scene.scene}: pose {pose.kind} needs"
    if scene.w2c is None:
        raise SceneError(f"{what} the cameras of its frames (w2c), and these frames have none")
    for name, found, sides in (("w2c", scene.w2c, (4, 4)), ("K", scene.K, (3, 3))):
        expected = (len(scene.frames), *sides)
        if found is not None and found.shape != expected:
            raise SceneError(f"{what} {name} of every frame: expected {list(expected)}, found {list(found.shape)}")
    lost = ~np.isfinite(scene.w2c).all((1, 2))
    if lost.any():
        raise SceneError(f"{what} finite cameras, found none for chosen frames {_positions(lost)} (by position)")
    loose = ~is_rigid(scene.w2c)
    if loose.any():
        raise SceneError(
            f"{what} rigid w2c (a rotation and a translation), found others for chosen frames {_positions(loose)} "
            "(by position)"
        )
    if not pose.encoding.intrinsics:
        return
    if scene.K is None:
        others = [kind for kind in poses.names() if (e := poses.encoding(kind)).reads_cameras and not e.intrinsics]
        raise SceneError(f"{what} intrinsics (K), and these frames have none; {', '.join(others)} do without")
    focal = scene.K[:, (0, 1), (0, 1)]
    flat = ~(np.isfinite(scene.K).all((1, 2)) & (focal > 0).all(1))
    if flat.any():
        fx, fy = focal[np.flatnonzero(flat)[0]]
        raise SceneError(
            f"{what} finite intrinsics with focal lengths above 0, found {fx:g} and {fy:g} (a field of view of 0 is "
            f"infinite) for chosen frames {_positions(flat)} (by position)"
        )
    height, width = scene.frames.shape[1:3]
    if wrong := impossible_intrinsics(scene.K, (width, height)):
        raise SceneError(f"{what} intrinsics of its own pictures; of chosen frame {wrong[0]} (by position) {wrong[1]}")


def _positions(where: np.ndarray) -> str:
    return ", ".join(map(str, np.flatnonzero(where)))
