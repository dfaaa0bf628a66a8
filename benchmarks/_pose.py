"""One attention layer of Qwen2.5-VL-3B's size with random weights, a clip's positions and cameras: what is measured."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

from smx.geometry.pose_attention import projections
from smx.models._vlm.pose_attention import KEYWORD, PoseHooks, TokenTransforms, token_transforms
from smx.models._vlm.position_ids import text_positions, video_positions
from smx.models._vlm.position_options import Pose, Rope
from smx.tokens import Layout
from smx.tokens.known import QWEN2_5_VL_3B

TEXT = 59
KINDS: dict[str, tuple[Pose, Rope]] = {
    "prope thw": (Pose(kind="prope"), Rope()),
    "prope hw": (Pose(kind="prope"), Rope(base="hw")),
    "gta": (Pose(kind="gta"), Rope()),
    "cape": (Pose(kind="cape", apply="qk"), Rope()),
    "geo_alibi": (Pose(kind="geo_alibi"), Rope()),
}


@dataclass
class Layer:
    """A language model of one layer, and what its attention is called with."""

    model: Any
    x: Tensor  # [1, L, 2048]
    rotation: tuple[Tensor, Tensor]
    visual: Tensor  # [1, L]
    grid: Tensor  # [1, 3]
    cameras: Tensor  # [1, T, 1, 2, 4, 4]

    def plain(self) -> Tensor:
        """The attention as it is."""
        return self._attend()

    def posed(self, hooks: PoseHooks) -> Tensor:
        """The same with cameras; what is computed once for all layers of a model is computed for this one."""
        with hooks:
            return self._attend(**{KEYWORD: self.state()})

    def state(self) -> TokenTransforms:
        return token_transforms(self.visual, self.grid, self.cameras, 2)

    def _attend(self, **extra: Any) -> Tensor:
        out: Tensor = self.model.layers[0].self_attn(
            hidden_states=self.x, attention_mask=None, position_embeddings=self.rotation, **extra
        )[0]
        return out


def layer(clip: Layout, device: str, dtype: torch.dtype, attention: str = "sdpa") -> Layer:
    """A clip's tokens and `TEXT` of text, random weights and cameras."""
    torch.manual_seed(0)
    text = {key: value for key, value in QWEN2_5_VL_3B.items() if key not in ("vision_config", "vocab_size")}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    ends = {"bos_token_id": None, "eos_token_id": None}
    config = Qwen2_5_VLTextConfig(**{**text, **ends, "num_hidden_layers": 1, "vocab_size": 8, "rope_parameters": rope})
    config._attn_implementation = attention
    with torch.device(device):
        model = Qwen2_5_VLTextModel(config).to(dtype)
    length = clip.tokens + TEXT
    before = TEXT // 2
    parts = (text_positions(0, before), video_positions(before, clip.merged, 2.0), text_positions(600, TEXT - before))
    where = torch.cat([torch.from_numpy(part) for part in parts], dim=1)[:, None].to(device)
    visual = torch.zeros(1, length, dtype=torch.bool, device=device)
    visual[:, before : before + clip.tokens] = True
    x = torch.randn(1, length, config.hidden_size, device=device, dtype=dtype)
    grid = torch.tensor([clip.grid], device=device)
    return Layer(model, x, model.rotary_emb(x, where), visual, grid, cameras(clip.grid[0]).to(device))


def cameras(tubelets: int) -> Tensor:
    """[1, T, 1, 2, 4, 4] float32: P and P⁻¹ of cameras that look about, translations of length 1."""
    generator = torch.Generator().manual_seed(1)
    turned, _ = torch.linalg.qr(torch.randn(tubelets, 3, 3, generator=generator, dtype=torch.float64))
    w2c = torch.eye(4, dtype=torch.float64).repeat(tubelets, 1, 1)
    w2c[:, :3, :3] = turned * torch.linalg.det(turned)[:, None, None]
    w2c[:, :3, 3] = torch.nn.functional.normalize(torch.randn(tubelets, 3, generator=generator), dim=-1).double()
    K = torch.tensor([[525.0, 0, 320], [0, 525, 240], [0, 0, 1]], dtype=torch.float64).expand(tubelets, 3, 3)
    return torch.stack(projections(w2c, K, (640, 480)), dim=1)[None, :, None].float()


def need_a_gpu() -> None:
    """Leaves with exit code 2 where there is none: this benchmark means nothing without one."""
    if not torch.cuda.is_available():
        sys.stderr.write("error: this benchmark needs a GPU, and torch sees none here\n  run it on a GPU node\n")
        sys.exit(2)


def flash() -> bool:
    """Whether flash-attention 2 can be measured beside sdpa."""
    return importlib.util.find_spec("flash_attn") is not None
