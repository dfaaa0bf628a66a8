"""VGGT's inference path in plain torch: aggregator and camera head. Module names are the checkpoint's.

Source: "VGGT: Visual Geometry Grounded Transformer" and the tensors of `facebook/VGGT-1B`. Written anew from the
facts; one block serves all four stacks of transformers, so that a checkpoint's tensors load and save by name.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smx.models._vggt.config import POSE, REGISTERS, SPECIAL, VGGTConfig

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
ROPE_BASE = 100.0
DINO_EPS, BLOCK_EPS = 1e-6, 1e-5
REFINEMENTS = 4  # rounds of the camera head


class Aggregator(nn.Module):
    """Frames → tokens: a DINOv2 patch embedding, then attention within a frame and over all frames in turn.

    Only the first `layers` of the alternating pairs are built.
    """

    def __init__(self, config: VGGTConfig, layers: int) -> None:
        super().__init__()
        width, heads = config.embed_dim, config.num_heads
        self.head_dim = width // heads
        self.patch_embed = PatchEmbedding(config)
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, width))
        self.register_token = nn.Parameter(torch.zeros(1, 2, REGISTERS, width))
        self.frame_blocks = nn.ModuleList(Block(width, heads, BLOCK_EPS, normed=True) for _ in range(layers))
        self.global_blocks = nn.ModuleList(Block(width, heads, BLOCK_EPS, normed=True) for _ in range(layers))

    def forward(self, images: Tensor, keep: Collection[int], few: int | None = None) -> dict[int, Tensor]:
        """`images` [B, S, 3, H, W] in 0..1, H and W multiples of the patch → layer: [B, S, 5 + patches, 2·width].

        Per frame the camera token, four registers, then the patches by row; the first half is the frame block's
        output, the second the global block's. The first frame has tokens of its own: frame order matters.
        `few`: what frames do alone is done for as many at a time; memory then grows with tokens, not with their MLPs.
        """
        batch, frames = images.shape[:2]
        few = few or batch * frames
        embedded = [self.patch_embed(part) for part in torch.split(images.flatten(0, 1), few)]
        patches, grid = torch.cat([part for part, _ in embedded]), embedded[0][1]
        special = torch.cat(
            (_first_and_rest(self.camera_token, frames), _first_and_rest(self.register_token, frames)), 1
        )
        x = torch.cat((special.repeat(batch, 1, 1).to(patches.dtype), patches), dim=1)
        within = rotations(grid, self.head_dim, x.device)
        across = tuple(part.repeat(frames, 1) for part in within)
        found: dict[int, Tensor] = {}
        for layer, (frame, everywhere) in enumerate(zip(self.frame_blocks, self.global_blocks, strict=True)):
            seen = torch.cat([frame(part, within) for part in torch.split(x, few)])
            x = everywhere(seen.view(batch, -1, x.shape[-1]), across, few * x.shape[1]).view_as(seen)
            if layer in keep:
                found[layer] = torch.cat((seen, x), dim=-1).view(batch, frames, x.shape[1], -1)
        return found


class PatchEmbedding(nn.Module):
    """DINOv2 with four registers: each frame alone to one token per patch."""

    def __init__(self, config: VGGTConfig) -> None:
        super().__init__()
        width = config.embed_dim
        self.side = config.img_size // config.patch_size  # of the grid that positions were learned on
        self.patch_embed = Patches(width, config.patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, REGISTERS, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.side**2, width))
        self.blocks = nn.ModuleList(
            Block(width, config.patch_embed_num_heads, DINO_EPS) for _ in range(config.patch_embed_depth)
        )
        self.norm = nn.LayerNorm(width, eps=DINO_EPS)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """[N, 3, H, W] in 0..1 → ([N, patches, width], (rows, columns))."""
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        x = self.patch_embed.proj(((images - mean) / std).to(self.cls_token.dtype))
        grid = (x.shape[2], x.shape[3])
        places = self._positions(grid).to(x.dtype)
        x = x.flatten(2).mT + places[:, 1:]
        first = (self.cls_token + places[:, :1], self.register_tokens)
        x = torch.cat((*(token.expand(len(x), -1, -1) for token in first), x), dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, SPECIAL:], grid

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        if grid == (self.side, self.side):
            return self.pos_embed
        whole = self.pos_embed.float()
        learned = whole[:, 1:].mT.reshape(1, -1, self.side, self.side)
        moved = F.interpolate(learned, size=grid, mode="bicubic", antialias=True)
        return torch.cat((whole[:, :1], moved.flatten(2).mT), dim=1)


class Patches(nn.Module):
    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, side, side)


class CameraHead(nn.Module):
    """Camera tokens → pose encodings, refined in rounds. Runs in float32."""

    def __init__(self, config: VGGTConfig) -> None:
        super().__init__()
        width = config.width
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE))
        self.embed_pose = nn.Linear(POSE, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.token_norm = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.trunk_norm = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.trunk = nn.ModuleList(
            Block(width, config.camera_num_heads, BLOCK_EPS) for _ in range(config.camera_trunk_depth)
        )
        self.pose_branch = Mlp(width, width // 2, POSE)

    def forward(self, camera_tokens: Tensor) -> Tensor:
        """[B, S, 2·width], the camera tokens of the last layer → [B, S, 9].

        Translation, quaternion xyzw (not normalised), fields of view in radians: vertical, horizontal, both ≥ 0.
        """
        tokens = self.token_norm(camera_tokens.float())
        plain = F.layer_norm(tokens, tokens.shape[-1:], eps=DINO_EPS)
        pose: Tensor | None = None
        for _ in range(REFINEMENTS):
            known = self.empty_pose_tokens.expand(*tokens.shape[:2], -1) if pose is None else pose.detach()
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(known)).chunk(3, dim=-1)
            x = tokens + gate * (plain * (1 + scale) + shift)
            for block in self.trunk:
                x = block(x)
            step = self.pose_branch(self.trunk_norm(x))
            pose = step if pose is None else pose + step
        assert pose is not None
        return torch.cat((pose[..., :7], pose[..., 7:].relu()), dim=-1)


class Block(nn.Module):
    """Attention and MLP, each behind a norm and scaled per channel; `normed` also normalises queries and keys."""

    def __init__(self, width: int, heads: int, eps: float, *, normed: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, normed=normed)
        self.ls1 = Scale(width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, 4 * width, width)
        self.ls2 = Scale(width)

    def forward(self, x: Tensor, rotation: tuple[Tensor, ...] | None = None, few: int | None = None) -> Tensor:
        """`few`: tokens that go through the MLP at a time; None: all."""
        x = x + self.ls1(self.attn(self.norm1(x), rotation))
        parts = torch.split(x, few or x.shape[1], dim=1)
        return torch.cat([part + self.ls2(self.mlp(self.norm2(part))) for part in parts], dim=1)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, *, normed: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.q_norm: nn.Module = nn.LayerNorm(width // heads, eps=BLOCK_EPS) if normed else nn.Identity()
        self.k_norm: nn.Module = nn.LayerNorm(width // heads, eps=BLOCK_EPS) if normed else nn.Identity()

    def forward(self, x: Tensor, rotation: tuple[Tensor, ...] | None) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(mixed)
        return out


class Mlp(nn.Module):
    def __init__(self, into: int, inner: int, out: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(into, inner), nn.Linear(inner, out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def rotations(grid: tuple[int, int], head_dim: int, device: Any) -> tuple[Tensor, Tensor]:
    """cos and sin [5 + rows·columns, head_dim] of one frame's tokens, in float32.

    The first half of a head turns with the row, the second with the column, each by split halves. Patches count
    from 1; the special tokens stand at 0 and are not turned.
    """
    rows, columns = grid
    row = torch.arange(1, rows + 1, device=device).repeat_interleave(columns)
    column = torch.arange(1, columns + 1, device=device).repeat(rows)
    places = F.pad(torch.stack((row, column), dim=1).float(), (0, 0, SPECIAL, 0))
    quarter = head_dim // 4
    frequency = ROPE_BASE ** (-torch.arange(quarter, device=device, dtype=torch.float32) / quarter)
    angle = (places[:, :, None] * frequency).repeat(1, 1, 2).flatten(1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, ...]) -> Tensor:
    """`x` [..., tokens, head_dim] turned by `rotations`, computed in float32."""
    cos, sin = rotation
    halves = x.float().reshape(*x.shape[:-1], 2, 2, -1)  # axis, half of the axis
    turned = torch.stack((-halves[..., 1, :], halves[..., 0, :]), dim=-2).flatten(-3)
    return (x * cos + turned * sin).to(x.dtype)


def _first_and_rest(token: Tensor, frames: int) -> Tensor:
    """[1, 2, k, width] → [frames, k, width]: one for the first frame, the other for all that follow."""
    return torch.cat((token[0, :1], token[0, 1:].expand(frames - 1, -1, -1)))
