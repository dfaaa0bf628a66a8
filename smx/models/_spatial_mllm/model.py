"""The spatial side of Spatial-MLLM: VGGT's tokens of a clip, and the connectors that bring them to the LLM.

Source: "Spatial-MLLM" and the tensors of its v1.1 checkpoints; `spatial_merge` is the lab's own projector.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import torch
from torch import Tensor, nn

from smx.errors import UserError
from smx.models._spatial_mllm.config import SpatialConfig
from smx.models._spatial_mllm.options import SpatialOptions
from smx.models._vggt.config import SPECIAL
from smx.models._vggt.network import Aggregator, CameraHead
from smx.models._vlm.preprocess import MEAN, STD
from smx.tokens import TEMPORAL_PATCH

NORM_EPS = 1e-6
FRESH_SPREAD = 0.02  # of weights that no checkpoint brings


class SpatialFeatures(nn.Module):
    """Pixels of clips → what stands at their placeholders in the prompt. VGGT is frozen and has no gradients."""

    def __init__(self, config: SpatialConfig, options: SpatialOptions, inner: int) -> None:
        super().__init__()
        self.config, self.options = config, options
        layers, parts = options.layers(config.layer, config.vggt.depth), options.vggt_parts()
        self.vggt = nn.ModuleDict()
        if "aggregator" in parts:
            self.vggt["aggregator"] = Aggregator(config.vggt, max(layers) + 1)
        if "camera_head" in parts:
            self.vggt["camera_head"] = CameraHead(config.vggt)
        self.vggt.requires_grad_(False)
        self.connector: Any = connector(config, options, inner)

    def forward(self, visual: Any, pixels: Tensor, grid_thw: Tensor, dtype: torch.dtype) -> Tensor:
        """[placeholders of all clips, hidden], clip by clip; `visual` is Qwen's own encoder.

        `pixels` [tubelets of the batch, 1176] are float32; `grid_thw` [B, 3].
        """
        features = self.options.features
        flat: Tensor | None = None
        if features != "3d":
            flat = visual(pixels.to(dtype), grid_thw=grid_thw).pooler_output
        if features == "2d":
            assert flat is not None
            return flat
        rows, out = 0, []
        for grid in grid_thw.tolist():
            count = math.prod(grid)
            tokens = self.tokens(self.frames(pixels[rows : rows + count], grid))
            merged = slice(rows // self.config.merge**2, (rows + count) // self.config.merge**2)
            out.append(self.fuse(None if flat is None else flat[merged], tokens, grid, dtype))
            rows += count
        return torch.cat(out)

    def fuse(self, flat: Tensor | None, tokens: dict[int, Tensor], grid: list[int], dtype: torch.dtype) -> Tensor:
        """One clip: `flat` [t·h·w, hidden] of Qwen's encoder (None: not read), VGGT's `tokens` by layer."""
        features = self.options.features
        if features == "camera":
            assert flat is not None
            cameras = tokens[self.config.vggt.depth - 1][:, 0].to(dtype)
            return torch.cat((flat, self.connector(cameras)))
        spatial: Tensor = self.connector(tokens[self.config.layer][:, SPECIAL:].to(dtype), grid)
        if features == "3d":
            return spatial
        assert flat is not None
        if features == "cat":
            both: Tensor = self.connector.join(flat, spatial)
            return both
        return flat + spatial

    @torch.no_grad()
    def tokens(self, images: Tensor) -> dict[int, Tensor]:
        """[S, 3, H, W] float32 in 0..1 → layer: [S, 5 + patches, 2·width] for every layer that is read."""
        found = self.vggt["aggregator"](images[None], self.options.layers(self.config.layer, self.config.vggt.depth))
        return {layer: tokens[0] for layer, tokens in found.items()}

    @torch.no_grad()
    def pose_encodings(self, images: Tensor) -> Tensor:
        """[S, 3, H, W] float32 in 0..1 → [S, 9], of VGGT's camera head."""
        last = self.tokens(images)[self.config.vggt.depth - 1]
        poses: Tensor = self.vggt["camera_head"](last[None, :, 0])[0]
        return poses

    def frames(self, pixels: Tensor, grid: list[int]) -> Tensor:
        """The frames [S, 3, H, W] in 0..1 that rows [t·h·w, 1176] of one clip were cut from, each once."""
        images = unpatchify(pixels, grid, self.config.vggt.patch_size, self.config.merge)
        return images[::2] if self.options.tubelets == "repeat" else images

    def placeholders(self, video: Tensor, grid_thw: Tensor) -> Tensor:
        """[B, L] bool: where `forward`'s rows go, from `video` [B, L]; camera tokens follow a clip's last one."""
        if self.options.features != "camera":
            return video
        numbers = torch.arange(video.shape[1], device=video.device)
        last = torch.where(video, numbers, -1).amax(1, keepdim=True)
        frames = grid_thw[:, :1] * (1 if self.options.tubelets == "repeat" else TEMPORAL_PATCH)
        return video | ((numbers > last) & (numbers <= last + frames))


class MlpAdd(nn.Module):
    """2x2x2 tubelets of spatial tokens → hidden: RMSNorm, Linear, GELU, Linear."""

    def __init__(self, config: SpatialConfig, options: SpatialOptions, inner: int) -> None:
        super().__init__()
        width, self.merge = config.tubelet_width, config.merge
        self.repeat = options.tubelets == "repeat"
        self.ln_q = nn.RMSNorm(width, eps=NORM_EPS)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, config.hidden))

    def forward(self, patches: Tensor, grid: list[int]) -> Tensor:
        """[frames, h·w, 2·width] → [t·h/2·w/2, hidden]; a tubelet's numbers by row, column, channel, time."""
        t, h, w = grid
        m = self.merge
        x = patches.repeat_interleave(2, dim=0) if self.repeat else patches
        cells = x.reshape(t, -1, h // m, m, w // m, m, x.shape[-1]).permute(0, 2, 4, 3, 5, 6, 1)
        out: Tensor = self.mlp(self.ln_q(cells.flatten(3).flatten(0, 2)))
        return out


class Cat(MlpAdd):
    """2-D tokens at half the width beside 3-D tokens at the other half."""

    def __init__(self, config: SpatialConfig, options: SpatialOptions, inner: int) -> None:
        super().__init__(config, options, inner)
        half = config.hidden // 2
        self.half_2d = nn.Linear(config.hidden, half)
        self.half_3d = nn.Linear(config.hidden, config.hidden - half)

    def join(self, flat: Tensor, spatial: Tensor) -> Tensor:
        return torch.cat((self.half_2d(flat), self.half_3d(spatial)), dim=-1)


class SpatialMerge(nn.Module):
    """2x2 patches of each frame → one token: LayerNorm, merge, Linear, GELU, Linear. Time is not merged."""

    def __init__(self, width: int, hidden: int, merge: int = 2) -> None:
        super().__init__()
        self.merge = merge
        inner = merge**2 * width
        self.ln_q = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = nn.Sequential(nn.Linear(inner, inner), nn.GELU(), nn.Linear(inner, hidden))

    def forward(self, patches: Tensor, grid: list[int] | None = None) -> Tensor:
        """[frames, h·w, width] → [frames·h/2·w/2, hidden]. Without `grid` (…, h, w) the sides are inferred."""
        h, w = grid[-2:] if grid is not None else sides(patches.shape[1], self.merge)
        m = self.merge
        if h * w != patches.shape[1]:
            raise UserError(f"{patches.shape[1]} patches are no grid of {h}x{w}", "give the grid of the patches")
        if h % m or w % m:
            raise UserError(
                f"Grid size ({h}, {w}) not divisible by merge_size {m}",
                f"resize frames so that both are: ({-(-h // m) * m}, {-(-w // m) * m}) would be",
            )
        cells = self.ln_q(patches).reshape(-1, h // m, m, w // m, m, patches.shape[-1]).transpose(2, 3)
        out: Tensor = self.mlp(cells.flatten(3).flatten(0, 2))
        return out


class CameraToken(nn.Module):
    """VGGT's camera token of each frame → one token of the LLM: RMSNorm, Linear."""

    def __init__(self, config: SpatialConfig) -> None:
        super().__init__()
        self.camera_norm = nn.RMSNorm(config.vggt.width, eps=NORM_EPS)
        self.camera = nn.Linear(config.vggt.width, config.hidden)

    def forward(self, cameras: Tensor) -> Tensor:
        out: Tensor = self.camera(self.camera_norm(cameras))
        return out


def connector(config: SpatialConfig, options: SpatialOptions, inner: int) -> nn.Module:
    """The connector that `options` asks for; `inner` is the width between the layers of mlp_add."""
    if options.features == "2d":
        return nn.Identity()
    if options.features == "camera":
        return CameraToken(config)
    if options.connector == "spatial_merge":
        return SpatialMerge(config.vggt.width, config.hidden, config.merge)
    return (Cat if options.features == "cat" else MlpAdd)(config, options, inner)


def fresh_weights(module: nn.Module, names: list[str], seed: int) -> dict[str, Tensor]:
    """Parameters of `module` drawn from `seed`, each by its name alone: norms 1, biases 0, the rest small."""
    shapes = {name: weight.shape for name, weight in module.named_parameters()}
    drawn = {name: torch.zeros(shapes[name]) for name in names}
    for name, weight in drawn.items():
        if name in ("ln_q.weight", "camera_norm.weight"):
            weight.fill_(1)
        elif name.endswith("weight"):
            weight.normal_(std=FRESH_SPREAD, generator=torch.Generator().manual_seed(seed + zlib.crc32(name.encode())))
    return drawn


def sides(patches: int, merge: int = 2) -> tuple[int, int]:
    """The factors (h, w), h ≤ w, of a number of patches that are closest to a square, both multiples of `merge`."""
    for h in range(math.isqrt(patches), 0, -1):
        if patches % h == 0 and h % merge == 0 and (patches // h) % merge == 0:
            return h, patches // h
    raise UserError(
        f"Cannot find valid H, W factors of {patches} patches, both multiples of {merge}",
        f"the number must be a multiple of {merge**2}; give height and width",
    )


def unpatchify(pixels: Tensor, grid: list[int], patch: int, merge: int) -> Tensor:
    """The inverse of `_pixels.patchify` and its normalisation: rows → frames [t·pair, 3, H, W] in 0..1."""
    t, h, w = grid
    cells = pixels.float().reshape(t, h // merge, w // merge, merge, merge, 3, -1, patch, patch)
    images = cells.permute(0, 6, 5, 1, 3, 7, 2, 4, 8).reshape(-1, 3, h * patch, w * patch)
    mean, std = (torch.from_numpy(values).to(images.device).view(3, 1, 1) for values in (MEAN, STD))
    return images * std + mean
