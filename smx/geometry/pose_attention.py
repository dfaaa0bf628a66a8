"""Attention that knows cameras: PRoPE and GTA, as an operator of its own and as the parts the LLM's hooks use.

Source: "Cameras as Relative Positional Encoding" (PRoPE) and its code; "GTA: A Geometry-Aware Attention
Mechanism"; CaPE of "EscherNet" (6-DoF). Cameras are w2c, OpenCV axes; the camera of frame c acts through the 4x4
`P_c = lift(K_norm) · w2c`. A query is multiplied by Pᵀ, keys and values by P⁻¹ and the output by P, so a token of
camera i sees a token of camera j only through `P_i · P_j⁻¹`, which does not depend on the choice of world. CaPE
multiplies a query by P⁻¹ and a key by Pᵀ (`P_j · P_i⁻¹`, P = w2c), values and output not at all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from smx.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

ROPE_BASE = 100.0


def prope_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    w2c: Tensor,
    K: Tensor | None,
    patches: tuple[int, int],
    image_size: tuple[int, int],
) -> Tensor:
    """Softmax attention among the patches of several cameras, on the whole head.

    `q, k, v` are [B, heads, cameras·py·px, d], tokens by (camera, row, column), d a multiple of 8; `w2c`
    [B, cameras, 4, 4]; `K` [B, cameras, 3, 3] in pixels of an image of `image_size` (W, H), or None for GTA
    (P = w2c); `patches` is (px, py). The first half of d holds 4-blocks that P acts on, a quarter is rotated by
    the patch's column and a quarter by its row (base 100, split halves), values and output included.
    Returns [B, heads, cameras·py·px, d] in the dtype of `q`; matrices and rotations are float32 at least, also where
    that is bfloat16 and under autocast.
    """
    import torch

    px, py = patches
    cameras, d = w2c.shape[1], q.shape[-1]
    assert q.shape[-2] == cameras * py * px, f"{q.shape[-2]} tokens are not {cameras} cameras of {px}x{py} patches"
    assert d % 8 == 0, f"a head of {d} does not split into 4-blocks and two rotations; use a multiple of 8"
    exact = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):  # which would compute the products in bfloat16
        P, P_inv = projections(
            w2c.to(torch.promote_types(w2c.dtype, exact)), None if K is None else K.to(exact), image_size
        )
    column = torch.arange(px, device=q.device).repeat(py)
    row = torch.arange(py, device=q.device).repeat_interleave(px)

    def act(x: Tensor, matrix: Tensor, sign: int) -> Tensor:
        wide = x.to(exact).reshape(*x.shape[:2], cameras, py * px, d)
        with torch.autocast(x.device.type, enabled=False):
            moved = torch.einsum("bcij,bhcnkj->bhcnki", matrix.to(exact), _in_fours(wide[..., : d // 2]))
        rotated = (_rotate(wide[..., d // 2 : -d // 4], sign * column), _rotate(wide[..., -d // 4 :], sign * row))
        return torch.cat((moved.flatten(-2), *rotated), dim=-1).flatten(2, 3).to(x.dtype)

    q, k, v = act(q, P.mT, 1), act(k, P_inv, 1), act(v, P_inv, 1)
    return act(torch.nn.functional.scaled_dot_product_attention(q, k, v), P, -1)


def projections(w2c: Tensor, K: Tensor | None, image_size: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """P and P⁻¹ [..., 4, 4] of cameras `w2c` [..., 4, 4] with `K` [..., 3, 3] (None: P = w2c), without `inv`.

    `K` is made independent of the image: fx/W, fy/H, cx/W − ½, cy/H − ½. Skew is taken as 0.
    """
    inverse = invert(w2c)
    if K is None:
        return w2c, inverse
    width, height = image_size
    fx, fy = K[..., 0, 0] / width, K[..., 1, 1] / height
    cx, cy = K[..., 0, 2] / width - 0.5, K[..., 1, 2] / height - 0.5
    lift, unlift = w2c.new_zeros(w2c.shape), w2c.new_zeros(w2c.shape)
    for matrix, values in ((lift, (fx, fy, cx, cy)), (unlift, (1 / fx, 1 / fy, -cx / fx, -cy / fy))):
        for (i, j), value in zip(((0, 0), (1, 1), (0, 2), (1, 2)), values, strict=True):
            matrix[..., i, j] = value.to(matrix.dtype)
        matrix[..., 2, 2] = matrix[..., 3, 3] = 1
    return lift @ w2c, inverse @ unlift


def invert(pose: Tensor) -> Tensor:
    """Inverse of rigid transforms [..., 4, 4]: Rᵀ and −Rᵀt."""
    inverse = pose.new_zeros(pose.shape)
    inverse[..., :3, :3] = pose[..., :3, :3].mT
    inverse[..., :3, 3:] = -pose[..., :3, :3].mT @ pose[..., :3, 3:]
    inverse[..., 3, 3] = 1
    return inverse


def centres(w2c: Tensor) -> Tensor:
    """Camera centres [..., 3] in the world."""
    return -(w2c[..., :3, :3].mT @ w2c[..., :3, 3:])[..., 0]


def rotation_angles(w2c: Tensor) -> Tensor:
    """Angle [..., n, n] in radians between the rotations of cameras [..., n, 4, 4], each with each, 0..π."""
    import torch

    R = w2c[..., :3, :3]
    between = R[..., :, None, :, :] @ R[..., None, :, :, :].mT
    # atan2 of both parts: arccos alone loses half the digits of small angles
    skew = between - between.mT
    sine = (skew[..., 0, 1] ** 2 + skew[..., 0, 2] ** 2 + skew[..., 1, 2] ** 2).sqrt() / 2
    return torch.atan2(sine, (between.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2)


def slopes(heads: int) -> list[float]:
    """Slope of each head's bias: 2^(−8h/H) for h = 1..H, as ALiBi has them."""
    return [2 ** (-8 * head / heads) for head in range(1, heads + 1)]


def reference_index(w2c: Tensor, rule: str) -> int:
    """Which of `w2c` [n, 4, 4] everything is expressed relative to.

    `first` and `middle` (n // 2) by list order; `medoid`: the centre with the least sum of distances to the others.
    """
    import torch

    if rule == "first":
        return 0
    if rule == "middle":
        return len(w2c) // 2
    if rule == "medoid":
        points = centres(w2c)
        return int(torch.cdist(points[None], points[None])[0].sum(-1).argmin())
    raise UserError(f"unknown reference camera {rule!r}", "valid: first, middle, medoid")


def relative(w2c: Tensor, index: int) -> Tensor:
    """`w2c` [n, 4, 4] with the camera `index` as the world."""
    return w2c @ invert(w2c[index])


def scale_translations(w2c: Tensor, rule: str) -> Tensor:
    """`w2c` [n, 4, 4], relative to a reference camera at the origin, with translations divided by a length.

    `mean`: mean distance of all centres to the reference becomes 1; `max`: the largest does; `none`: as it is.
    Cameras that all stand in one place stay as they are.
    """
    if rule == "none":
        return w2c
    distance = centres(w2c).norm(dim=-1)
    length = distance.mean() if rule == "mean" else distance.max()
    scaled = w2c.clone()
    if length > 1e-9:
        scaled[:, :3, 3] /= length
    return scaled


def keep_part(w2c: Tensor, use: str) -> Tensor:
    """`w2c` [n, 4, 4] reduced to its `rotation` (centre at the origin) or `translation` (same centre, no rotation)."""
    if use == "both":
        return w2c
    kept = w2c.clone()
    if use == "rotation":
        kept[:, :3, 3] = 0
    else:
        kept[:, :3, 3] = -centres(w2c)
        kept[:, :3, :3] = w2c.new_tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return kept


def per_tubelet(w2c: Tensor, K: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """Cameras of n frames → cameras of n/2 tubelets: w2c [n/2, slots, 4, 4] and K [n/2, slots, 3, 3].

    `first`: the first frame's; `mean`: rotations averaged (nearest rotation to the sum), centres and K averaged;
    `split`: both frames', in two slots, each for half of the blocks.
    """
    import torch

    pairs, Ks = w2c.reshape(-1, 2, 4, 4), K.reshape(-1, 2, 3, 3)
    if rule == "first":
        return pairs[:, :1], Ks[:, :1]
    if rule == "split":
        return pairs, Ks
    u, _, vh = torch.linalg.svd(pairs[..., :3, :3].sum(1))
    sign = torch.ones_like(u[..., 0])
    sign[..., 2] = torch.linalg.det(u @ vh)
    rotation = (u * sign[..., None, :]) @ vh
    mean = pairs[:, 0].clone()
    mean[:, :3, :3] = rotation
    mean[:, :3, 3] = -(rotation @ centres(pairs).mean(1)[..., None])[..., 0]
    return mean[:, None], Ks.mean(1, keepdim=True)


def section_pairs(sections: list[int], layout: str) -> dict[str, list[int]]:
    """The rotary pairs of the mrope sections t, h, w, whose sizes `sections` gives; highest frequency first.

    `chunked` (Qwen2.5-VL): all of t, then h, then w. `interleaved`: t, h, w in turn while each has pairs left, which
    for Qwen3-VL's 24, 20, 20 is its `mrope_interleaved`.
    """
    if layout == "chunked":
        order = "".join(name * size for name, size in zip("thw", sections, strict=True))
    else:
        sizes = dict(zip("thw", sections, strict=True))
        order = "".join(name for turn in range(max(sections)) for name in "thw" if turn < sizes[name])
    return {name: [pair for pair, owner in enumerate(order) if owner == name] for name in "thw"}


def blocks(
    sections: list[int], dims: str, fraction: float, base: str, layout: str = "chunked"
) -> list[tuple[int, int]]:
    """The rotary pairs (i, j) that make 4-blocks (dims i, j, i + d/2, j + d/2), two consecutive pairs of one section.

    `sections` are the mrope sections t, h, w in pairs, laid out as `section_pairs` says. `low`/`high` take `fraction`
    of each section, rounded up to an even number, at its lowest/highest frequencies; `section:t` (h, w) takes a whole
    section; `auto` is `section:t` where `base` is hw and `low` where it is thw. `UserError` where a section has no
    even number of pairs to give.
    """
    if dims == "auto":
        dims = "section:t" if base == "hw" else "low"
    chosen: list[int] = []
    for name, pairs in section_pairs(sections, layout).items():
        size = len(pairs)
        if dims == f"section:{name}":
            if size % 2:
                raise UserError(
                    f"pose.dims {dims}: the section has {size} rotary pairs, an odd number",
                    "use low or high, which take an even part of each section",
                )
            chosen += pairs
        elif dims in ("low", "high"):
            count = min(2 * math.ceil(size * fraction / 2 - 1e-9), size - size % 2)
            chosen += pairs[size - count :] if dims == "low" else pairs[:count]
    return list(zip(chosen[::2], chosen[1::2], strict=True))


def block_dims(pairs: list[tuple[int, int]], head_dim: int) -> list[int]:
    """The dims of the blocks, four per block: (i, j, i + d/2, j + d/2)."""
    half = head_dim // 2
    return [dim for i, j in pairs for dim in (i, j, i + half, j + half)]


def transform(x: Tensor, matrices: Tensor, dims: Tensor) -> Tensor:
    """Multiply the 4-blocks of `x` by each token's matrices, in float32 at least; other dims keep their bits.

    `x` is [B, L, heads, d], `matrices` [B, L, slots, 4, 4] (block b uses slot b modulo slots), `dims` [4·blocks].
    """
    import torch

    dtype = torch.promote_types(x.dtype, matrices.dtype)
    slots = matrices.shape[2]
    parts = _in_fours(x.index_select(-1, dims).to(dtype))
    out = torch.empty_like(parts)
    with torch.autocast(x.device.type, enabled=False):  # which would compute the products in bfloat16
        for slot in range(slots):
            mine = parts[..., slot::slots, :]
            out[..., slot::slots, :] = torch.einsum("blij,blhkj->blhki", matrices[:, :, slot].to(dtype), mine)
    return x.index_copy(-1, dims, out.flatten(-2).to(x.dtype))


def _in_fours(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:-1], -1, 4)


def _rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Split-half rotation of [..., tokens, f] by `positions` [tokens]."""
    import torch

    half = x.shape[-1] // 2
    frequency = ROPE_BASE ** (-torch.arange(half, device=x.device, dtype=x.dtype) / half)
    angle = positions[:, None].to(x.dtype) * frequency
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat((cos * a + sin * b, cos * b - sin * a), dim=-1)
