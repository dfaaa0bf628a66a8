"""What a clip costs a model: parameters, bytes, FLOPs and the peak memory of a forward pass.

FLOPs count a multiplication and an addition as two. Only what a pass must compute is counted: attention of the
language model is causal (half of L²), the vision encoder's is within a frame or a window. Norms, activations and
rotations are left out (below 1 %). Peak memory is that of inference with sdpa: no L x L matrix is ever held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from smx.tokens import VGGT_SPECIAL, VGGT_WIDTH, Layout, vision_windows

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
VGGT_PARAMETERS = 304_371_712 + 604_739_584  # patch embedding (DINOv2-L with registers), 24 + 24 blocks; no heads
VGGT_INNER = VGGT_WIDTH // 2  # width of its blocks; frame and global outputs are concatenated


@dataclass(frozen=True)
class Vision:
    """A vision encoder by its config."""

    depth: int
    width: int
    inner: int
    heads: int
    out: int
    patch: int
    merge: int
    tubelet: int  # numbers in one pixel tubelet
    gated: bool  # three matrices in its MLP instead of two
    full: frozenset[int]  # layers whose attention spans a whole frame
    window: int  # pixels, of the other layers
    mergers: int  # patch mergers: one, and one for each deep-stacked layer
    positions: int  # learned position embeddings


@dataclass(frozen=True)
class Text:
    """A language model by its config."""

    depth: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool
    head_norms: bool  # norms on query and key heads, and no biases (Qwen3); else biases on q, k, v (Qwen2.5)


@dataclass(frozen=True)
class Architecture:
    """What of a model its costs depend on."""

    title: str
    vision: Vision
    text: Text
    vggt: bool = False

    @classmethod
    def of_config(cls, title: str, config: Mapping[str, Any], *, vggt: bool = False) -> Architecture:
        """From a `config.json` of Qwen2.5-VL or Qwen3-VL, nested or flat; defaults are transformers'."""
        text: Mapping[str, Any] = config.get("text_config") or config
        vision: Mapping[str, Any] = config["vision_config"]
        third = "deepstack_visual_indexes" in vision
        merge, depth, heads = vision.get("spatial_merge_size", 2), vision["depth"], text["num_attention_heads"]
        patch = vision.get("patch_size", 16 if third else 14)
        channels = vision.get("in_channels", vision.get("in_chans", 3))
        head = text.get("head_dim") or text["hidden_size"] // heads
        return cls(
            title,
            Vision(
                depth=depth,
                width=vision["hidden_size"],
                inner=vision["intermediate_size"],
                heads=vision["num_heads"],
                out=vision["out_hidden_size"],
                patch=patch,
                merge=merge,
                tubelet=channels * vision.get("temporal_patch_size", 2) * patch**2,
                gated=not third,
                full=frozenset(range(depth) if third else vision.get("fullatt_block_indexes", [7, 15, 23, 31])),
                window=vision.get("window_size", 112),
                mergers=1 + len(vision.get("deepstack_visual_indexes", ())),
                positions=vision.get("num_position_embeddings", 2304) if third else 0,
            ),
            Text(
                depth=text["num_hidden_layers"],
                width=text["hidden_size"],
                inner=text["intermediate_size"],
                heads=heads,
                kv_heads=text["num_key_value_heads"],
                head=head,
                vocabulary=text["vocab_size"],
                tied=bool(config.get("tie_word_embeddings") or text.get("tie_word_embeddings")),
                head_norms=third,
            ),
            vggt,
        )

    def parameters(self) -> dict[str, int]:
        """Numbers of weights: vision, language, and VGGT where there is one."""
        found = {"vision": _vision_parameters(self.vision), "language": _text_parameters(self.text)}
        if self.vggt:
            wide = Layout(2, 28, 28).spatial_tubelet_width(VGGT_WIDTH)
            connector = wide + wide * self.text.width + self.text.width + self.text.width**2 + self.text.width
            found["vggt"] = VGGT_PARAMETERS
            found["connector"] = connector
        return found


@dataclass(frozen=True)
class Cost:
    """Bytes and FLOPs of one clip and its text in one model."""

    tokens: int  # of the whole prompt
    weights: int  # bytes
    pixels: int  # bytes, float32 as the processor makes them
    embeddings: int  # bytes of the merged video tokens in the language model's width
    cache: int  # bytes of keys and values of the whole prompt
    vision_windowed: int  # FLOPs of attention in windowed layers
    vision_full: int  # FLOPs of attention in layers over whole frames
    vision_linear: int
    vggt: int
    prefill_attention: int
    prefill_linear: int
    peak: int  # bytes, weights included

    @property
    def flops(self) -> int:
        """Of everything up to the first answered token."""
        vision = self.vision_windowed + self.vision_full + self.vision_linear
        return vision + self.vggt + self.prefill_attention + self.prefill_linear


def cost(model: Architecture, clip: Layout, text_tokens: int, dtype: str = "bfloat16") -> Cost:
    """What `clip` and `text_tokens` of text around it cost, answered with weights and activations in `dtype`."""
    each, vision, text = BYTES[dtype], model.vision, model.text
    length = clip.tokens + text_tokens
    windowed, full = _vision_attention(vision, clip)
    queries, keys = text.heads * text.head, text.kv_heads * text.head
    per_token = text.width * (2 * queries + 2 * keys) + 3 * text.width * text.inner
    return Cost(
        tokens=length,
        weights=sum(model.parameters().values()) * each,
        pixels=clip.tubelets * clip.tubelet_width * 4,
        embeddings=clip.tokens * text.width * each,
        cache=2 * text.depth * keys * length * each,
        vision_windowed=windowed,
        vision_full=full,
        vision_linear=2 * clip.tubelets * (_block_weights(vision) * vision.depth + vision.width * vision.tubelet)
        + 2 * clip.tokens * _merger_weights(vision) * vision.mergers,
        vggt=_vggt_flops(clip) if model.vggt else 0,
        prefill_attention=4 * text.depth * queries * (length * (length + 1) // 2),
        prefill_linear=2 * length * per_token * text.depth + 2 * text.width * text.vocabulary,
        peak=peak_memory(model, clip, text_tokens, dtype),
    )


def peak_memory(model: Architecture, clip: Layout, text_tokens: int, dtype: str = "bfloat16") -> int:
    """Bytes held at the worst moment of a prefill: weights, pixels, and the widest stage beside them.

    Stages are counted in copies of the stream that live at once in transformers 5.23 with sdpa; the counts were read
    off measured passes and are held against others in tests/test_token_costs.py (within 10 %).
    """
    each, text = BYTES[dtype], model.text
    length, queries = clip.tokens + text_tokens, text.heads * text.head
    cache = 2 * text.depth * text.kv_heads * text.head * length * each
    deep = (model.vision.mergers - 1) * clip.tokens * text.width * each
    layer = max(2 * text.width + 4 * queries, 3 * text.width + 3 * text.inner)
    language = length * each * (text.width + 2 * text.head + layer) + cache + deep
    stages = [language, _encoder_memory(model.vision, clip, each) + deep]
    if model.vggt:
        copies = 9 * each + 6.2 * 4  # it normalises and rotates queries and keys in float32
        stages.append(int(clip.frames * (clip.patches + VGGT_SPECIAL) * copies * VGGT_INNER))
    return sum(model.parameters().values()) * each + clip.tubelets * clip.tubelet_width * 4 + max(stages)


def _encoder_memory(vision: Vision, clip: Layout, each: int) -> int:
    """Bytes at the widest moment of the vision encoder, which rotates queries and keys in float32."""
    copy = vision.tubelet * each if each != 4 else 0  # pixels in the encoder's own precision
    head = vision.width // vision.heads
    rotating = 5 * each * vision.width + 4 * (5.5 if each == 4 else 6.2) * vision.width + 8 * head
    mlp = each * (4 * vision.width + (3 if vision.gated else 2) * vision.inner)
    return int(clip.tubelets * (copy + max(rotating, mlp)))


def _vision_attention(vision: Vision, clip: Layout) -> tuple[int, int]:
    """FLOPs of attention in (windowed, full) layers; products with keys and with values."""
    t = clip.grid[0]
    whole = sum(1 for layer in range(vision.depth) if layer in vision.full)
    full = 4 * vision.width * t * clip.patches**2 * whole
    if whole == vision.depth:
        return 0, full
    _, ends = vision_windows(clip.grid, window=vision.window, patch=vision.patch, merge=vision.merge)
    squares = sum((b - a) ** 2 for a, b in pairwise(ends))
    return 4 * vision.width * squares * (vision.depth - whole), full


def _vggt_flops(clip: Layout) -> int:
    """Of DINOv2-L's 24 blocks (per frame) and the aggregator's 24 frame and 24 global blocks, MLPs four times wide."""
    tokens, width = clip.patches + VGGT_SPECIAL, VGGT_INNER
    per_token = 2 * 12 * width**2
    frame = clip.frames * (tokens * per_token + 4 * width * tokens**2)
    everything = clip.frames * tokens
    across = everything * per_token + 4 * width * everything**2
    return 24 * (2 * frame + across)


def _block_weights(vision: Vision) -> int:
    return 4 * vision.width**2 + (3 if vision.gated else 2) * vision.width * vision.inner


def _merger_weights(vision: Vision) -> int:
    merged = vision.width * vision.merge**2
    return merged**2 + merged * vision.out


def _vision_parameters(vision: Vision) -> int:
    width, inner, merged = vision.width, vision.inner, vision.width * vision.merge**2
    norms = 2 * width if vision.gated else 4 * width
    biases = 4 * width + ((2 * inner + width) if vision.gated else (inner + width))
    embedding = vision.tubelet * width + (0 if vision.gated else width) + vision.positions * width
    merger = _merger_weights(vision) + merged + vision.out
    normed = width if vision.gated else 2 * width  # of the first merger; the others norm what is merged
    return (
        embedding
        + vision.depth * (_block_weights(vision) + norms + biases)
        + vision.mergers * merger
        + normed
        + (vision.mergers - 1) * 2 * merged
    )


def _text_parameters(text: Text) -> int:
    queries, keys = text.heads * text.head, text.kv_heads * text.head
    attention = text.width * (2 * queries + 2 * keys) + (2 * text.head if text.head_norms else queries + 2 * keys)
    layer = attention + 3 * text.width * text.inner + 2 * text.width
    return text.depth * layer + text.width + text.vocabulary * text.width * (1 if text.tied else 2)
