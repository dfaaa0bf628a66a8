"""VGGT's dense heads (DPT): aggregated tokens of four layers → one map per frame, with its confidence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smx.models._vggt.config import DENSE_CHANNELS, SPECIAL, VGGTConfig
from smx.models._vggt.network import BLOCK_EPS

POSITION_BASE = 100.0
POSITION_SHARE = 0.1  # how strongly a pixel's place is mixed into its features
LAST_CHANNELS = 32


class DenseHead(nn.Module):
    """`depth_head` or `point_head`. Runs in float32; frames do not see each other, so they may come in chunks."""

    def __init__(self, config: VGGTConfig, part: str) -> None:
        super().__init__()
        out, inner = config.dpt_out_channels, config.dpt_features
        self.part, self.patch = part, config.patch_size
        self.norm = nn.LayerNorm(config.width, eps=BLOCK_EPS)
        self.projects = nn.ModuleList(nn.Conv2d(config.width, count, 1) for count in out)
        self.resize_layers = nn.ModuleList(
            (
                nn.ConvTranspose2d(out[0], out[0], 4, 4),
                nn.ConvTranspose2d(out[1], out[1], 2, 2),
                nn.Identity(),
                nn.Conv2d(out[3], out[3], 3, 2, padding=1),
            )
        )
        self.scratch = _Scratch(out, inner, DENSE_CHANNELS[part])

    def forward(self, layers: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Four [N, 5 + patches, 2·width] and the frames' (H, W) → map [N, H, W, C] and confidence [N, H, W] (> 1).

        Depth (C 1) is along the camera's axis; points (C 3) are in the first camera's frame. Both up to the clip's
        scale.
        """
        rows, columns = size[0] // self.patch, size[1] // self.patch
        aspect = size[1] / size[0]
        maps = []
        for tokens, project, resize in zip(layers, self.projects, self.resize_layers, strict=True):
            x = self.norm(tokens[:, SPECIAL:].float()).mT.reshape(len(tokens), -1, rows, columns)
            maps.append(resize(_placed(project(x), aspect)))
        x = self.scratch.refine(maps)
        x = F.interpolate(x, size=(rows * self.patch, columns * self.patch), mode="bilinear", align_corners=True)
        x = self.scratch.output_conv2(_placed(x, aspect)).permute(0, 2, 3, 1)
        values, confidence = x[..., :-1], 1 + x[..., -1].exp()
        if self.part == "depth_head":
            return values.exp(), confidence
        return values.sign() * values.abs().expm1(), confidence


class _Scratch(nn.Module):
    def __init__(self, out: Sequence[int], inner: int, channels: int) -> None:
        super().__init__()
        for number, count in enumerate(out, start=1):
            setattr(self, f"layer{number}_rn", nn.Conv2d(count, inner, 3, padding=1, bias=False))
            setattr(self, f"refinenet{number}", _Refine(inner, joins=number < len(out)))
        self.output_conv1 = nn.Conv2d(inner, inner // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(inner // 2, LAST_CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(LAST_CHANNELS, channels, 1)
        )

    def refine(self, maps: Sequence[Tensor]) -> Tensor:
        """From the coarsest of the four maps to twice the finest."""
        even = [getattr(self, f"layer{number}_rn")(x) for number, x in enumerate(maps, start=1)]
        x: Tensor | None = None
        for number in range(len(even), 0, -1):
            finer = even[number - 2].shape[2:] if number > 1 else None
            here = even[number - 1]
            x = getattr(self, f"refinenet{number}")(here if x is None else x, None if x is None else here, finer)
        out: Tensor = self.output_conv1(x)
        return out


class _Refine(nn.Module):
    """Joins the coarser map with this scale's, and brings it to the next finer size (twice, where there is none)."""

    def __init__(self, inner: int, *, joins: bool) -> None:
        super().__init__()
        if joins:
            self.resConfUnit1 = _Residual(inner)
        self.resConfUnit2 = _Residual(inner)
        self.out_conv = nn.Conv2d(inner, inner, 1)

    def forward(self, x: Tensor, here: Tensor | None, size: torch.Size | None) -> Tensor:
        if here is not None:
            x = x + self.resConfUnit1(here)
        x = self.resConfUnit2(x)
        to = tuple(size) if size is not None else (2 * x.shape[2], 2 * x.shape[3])
        out: Tensor = self.out_conv(F.interpolate(x, size=to, mode="bilinear", align_corners=True))
        return out


class _Residual(nn.Module):
    def __init__(self, inner: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(inner, inner, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()  # the reference's ReLU works in place, so the skipped path is rectified too
        out: Tensor = x + self.conv2(self.conv1(x).relu())
        return out


def _placed(x: Tensor, aspect: float) -> Tensor:
    """[N, C, h, w] plus waves that tell where a cell lies in the frame, `aspect` = W / H of the frame."""
    channels, height, width = x.shape[1:]
    diagonal = (aspect**2 + 1) ** 0.5

    def waves(extent: float, count: int) -> Tensor:
        end = extent / diagonal * (count - 1) / count
        place = torch.linspace(-end, end, count, dtype=torch.float32, device=x.device).double()
        steps = torch.arange(channels // 4, dtype=torch.float64, device=x.device) / (channels // 4)
        angle = place[:, None] * POSITION_BASE**-steps
        return torch.cat((angle.sin(), angle.cos()), dim=-1).to(x.dtype)  # [count, channels / 2]

    across = waves(aspect, width).mT[:, None, :].expand(-1, height, -1)
    down = waves(1.0, height).mT[:, :, None].expand(-1, -1, width)
    return x + POSITION_SHARE * torch.cat((across, down))
