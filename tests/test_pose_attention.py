"""PRoPE and GTA: the laws that make them relative, and the parts the LLM's hooks are built of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smx.errors import UserError
from smx.geometry import pose_attention as pa
from smx.geometry.pose_attention import prope_attention

CAMERAS, PX, PY, DIM = 3, 4, 2, 16
SIZE = (320, 240)


def some_cameras(seed: int, *shape: int) -> Tensor:
    """Random w2c [*shape, 4, 4] float64, with rotations by any angle and centres metres apart."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(*shape, 3, 3)))
    q[..., 0] *= np.sign(np.linalg.det(q))[..., None]
    pose = np.zeros((*shape, 4, 4))
    pose[..., :3, :3] = q
    pose[..., :3, 3] = rng.normal(size=(*shape, 3)) * 2
    pose[..., 3, 3] = 1
    return torch.from_numpy(pose)


def some_intrinsics(seed: int, *shape: int) -> Tensor:
    rng = np.random.default_rng(seed)
    K = np.zeros((*shape, 3, 3))
    K[..., 0, 0], K[..., 1, 1] = rng.uniform(150, 400, shape), rng.uniform(150, 400, shape)
    K[..., 0, 2], K[..., 1, 2] = rng.uniform(120, 200, shape), rng.uniform(90, 150, shape)
    K[..., 2, 2] = 1
    return torch.from_numpy(K)


@pytest.fixture
def qkv() -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(2, 2, CAMERAS * PX * PY, DIM, generator=generator, dtype=torch.float64) for _ in range(3)]


def attend(qkv: list[Tensor], w2c: Tensor, K: Tensor | None, size: tuple[int, int] = SIZE) -> Tensor:
    return prope_attention(*qkv, w2c=w2c, K=K, patches=(PX, PY), image_size=size)


@pytest.mark.parametrize("kind", ["prope", "gta"])
def test_equals_attention_computed_token_by_token(fixtures: Path, kind: str) -> None:
    """The reference was written differently: one token at a time, in float64."""
    data = {name: torch.from_numpy(array) for name, array in np.load(fixtures / "golden/prope_attention.npz").items()}
    ours = prope_attention(
        data["q"],
        data["k"],
        data["v"],
        w2c=data["viewmats"],
        K=data["Ks"] if kind == "prope" else None,
        patches=(int(data["patches_x"]), int(data["patches_y"])),
        image_size=(int(data["image_width"]), int(data["image_height"])),
    )
    assert (ours - data[kind]).abs().max() <= 1e-9


@pytest.mark.parametrize("with_K", [True, False])
def test_another_world_changes_nothing(qkv: list[Tensor], with_K: bool) -> None:
    """Law 1: right-multiplying every w2c by one rigid motion. Lost: scores would depend on where SLAM started."""
    w2c, K = some_cameras(0, 2, CAMERAS), some_intrinsics(1, 2, CAMERAS) if with_K else None
    moved = w2c @ some_cameras(9, 1)
    difference = (attend(qkv, w2c, K) - attend(qkv, moved, K)).abs().max()
    assert difference <= 1e-12
    assert (attend(qkv, w2c, K) - attend(qkv, w2c.flip(1), K)).abs().max() > 1e-2  # cameras do matter


def test_resizing_the_image_changes_nothing(qkv: list[Tensor]) -> None:
    """Law 2: K in pixels and the image size scaled together, each axis by its own factor."""
    w2c, K = some_cameras(0, 2, CAMERAS), some_intrinsics(1, 2, CAMERAS)
    scaled = K * torch.tensor([[2.0], [3.0], [1.0]], dtype=torch.float64)
    assert torch.allclose(attend(qkv, w2c, K), attend(qkv, w2c, scaled, (640, 720)), rtol=0, atol=1e-12)


def test_equal_cameras_leave_plain_rope_attention(qkv: list[Tensor]) -> None:
    """Law 3: with one camera for all, only the patch rotations remain."""
    w2c = some_cameras(5, 1).expand(2, CAMERAS, 4, 4)
    K = some_intrinsics(6, 1).expand(2, CAMERAS, 3, 3)
    columns = torch.arange(PX).repeat(PY).repeat(CAMERAS).double()
    rows = torch.arange(PY).repeat_interleave(PX).repeat(CAMERAS).double()

    def turn(x: Tensor, sign: int) -> Tensor:
        out = x.clone()
        quarter = DIM // 4
        for start, position in ((DIM // 2, columns), (DIM // 2 + quarter, rows)):
            for i in range(quarter // 2):
                angle = sign * position * 100 ** (-i / (quarter // 2))
                a, b = x[..., start + i], x[..., start + i + quarter // 2]
                out[..., start + i] = a * angle.cos() + b * angle.sin()
                out[..., start + i + quarter // 2] = b * angle.cos() - a * angle.sin()
        return out

    q, k, v = (turn(x, 1) for x in qkv)
    plain = turn(torch.nn.functional.scaled_dot_product_attention(q, k, v), -1)
    assert torch.allclose(attend(qkv, w2c, K), plain, rtol=0, atol=1e-11)


def test_token_order_within_a_camera_only_permutes(qkv: list[Tensor]) -> None:
    """Law 4: a camera acts on its tokens as a set; where nothing is rotated, reordering them reorders the output."""
    for x in qkv:
        x[..., DIM // 2 :] = 0
    w2c, K = some_cameras(0, 2, CAMERAS), some_intrinsics(1, 2, CAMERAS)
    order = torch.cat([c * PX * PY + torch.randperm(PX * PY) for c in range(CAMERAS)])
    swapped = attend([x[:, :, order] for x in qkv], w2c, K)
    assert torch.allclose(swapped, attend(qkv, w2c, K)[:, :, order], rtol=0, atol=1e-12)


def test_inverse_is_the_inverse_without_solving() -> None:
    """P⁻¹ is written out; a slip in it would show up only as slightly worse scores."""
    w2c, K = some_cameras(0, 7), some_intrinsics(1, 7)
    P, P_inv = pa.projections(w2c, K, SIZE)
    eye = torch.eye(4, dtype=torch.float64).expand(7, 4, 4)
    assert torch.allclose(P @ P_inv, eye, rtol=0, atol=1e-12)
    x = torch.tensor([0.3, -0.2, 2.5, 1.0], dtype=torch.float64)
    pixel = K[0] @ (w2c[0] @ x)[:3]
    u = P[0] @ x
    assert torch.allclose(u[:2] / u[2], pixel[:2] / pixel[2] / torch.tensor(SIZE) - 0.5, atol=1e-12)


def test_blocks_are_the_ones_of_the_design() -> None:
    """Sections 16, 24, 24: which dims the pose takes decides what a variant means."""
    sections = [16, 24, 24]
    low = pa.blocks(sections, "auto", 0.25, "thw")
    assert [i for pair in low for i in pair] == [*range(12, 16), *range(34, 40), *range(58, 64)]
    assert pa.blocks(sections, "low", 0.25, "hw") == low
    high = pa.blocks(sections, "high", 0.25, "thw")
    assert [i for pair in high for i in pair] == [*range(4), *range(16, 22), *range(40, 46)]
    whole = pa.blocks(sections, "auto", 0.25, "hw")
    assert [i for pair in whole for i in pair] == list(range(16))
    assert pa.blocks([4, 6, 6], "low", 0.25, "thw") == [(2, 3), (8, 9), (14, 15)]
    assert pa.block_dims([(12, 13)], 128) == [12, 13, 76, 77]
    with pytest.raises(UserError, match="odd number"):
        pa.blocks([3, 5, 8], "section:h", 0.25, "thw")


def test_reference_and_scale_make_scenes_comparable() -> None:
    """Translations ×10 or ×100 blow the logits up; after scaling the unit of length must not matter."""
    w2c = some_cameras(0, 6)
    far = w2c.clone()
    far[:, :3, 3] *= 100
    for rule, reduce in (("mean", torch.mean), ("max", torch.max)):
        near = pa.scale_translations(pa.relative(w2c, 2), rule)
        assert torch.allclose(near, pa.scale_translations(pa.relative(far, 2), rule), atol=1e-12)
        assert torch.allclose(near[2], torch.eye(4, dtype=torch.float64), atol=1e-12)
        assert float(reduce(pa.centres(near).norm(dim=-1))) == pytest.approx(1)
    still = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    assert torch.equal(pa.scale_translations(still, "mean"), still)
    centre = torch.zeros(5, 3, dtype=torch.float64)
    centre[:, 0] = torch.tensor([0.0, 1, 2, 3, 10])
    row = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    row[:, :3, 3] = -centre
    assert [pa.reference_index(row, rule) for rule in ("first", "middle", "medoid")] == [0, 2, 2]


def test_rotation_or_translation_alone() -> None:
    """`pose.use`: the ablation must remove exactly one part."""
    w2c = pa.relative(some_cameras(0, 4), 0)
    rotation, translation = pa.keep_part(w2c, "rotation"), pa.keep_part(w2c, "translation")
    assert torch.equal(rotation[:, :3, :3], w2c[:, :3, :3])
    assert float(pa.centres(rotation).abs().max()) == 0
    assert torch.allclose(pa.centres(translation), pa.centres(w2c), atol=1e-12)
    assert torch.equal(translation[:, :3, :3], torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    assert pa.keep_part(w2c, "both") is w2c


def test_one_token_two_cameras() -> None:
    """`pose.tubelet`: first, mean (halfway between two cameras), split (both)."""
    w2c, K = some_cameras(0, 4), some_intrinsics(1, 4)
    first, K_first = pa.per_tubelet(w2c, K, "first")
    assert torch.equal(first[:, 0], w2c[::2])
    assert torch.equal(K_first[:, 0], K[::2])
    split, _ = pa.per_tubelet(w2c, K, "split")
    assert torch.equal(split.reshape(4, 4, 4), w2c)
    mean, K_mean = pa.per_tubelet(w2c, K, "mean")
    assert torch.allclose(pa.centres(mean[:, 0]), pa.centres(w2c).reshape(2, 2, 3).mean(1), atol=1e-12)
    assert torch.allclose(K_mean[:, 0], K.reshape(2, 2, 3, 3).mean(1))
    R = mean[:, 0, :3, :3]
    assert torch.allclose(R @ R.mT, torch.eye(3, dtype=torch.float64).expand(2, 3, 3), atol=1e-12)
    assert torch.allclose(torch.linalg.det(R), torch.ones(2, dtype=torch.float64))
    to_first = torch.einsum("bij,bij->b", R, w2c[::2, :3, :3])
    to_second = torch.einsum("bij,bij->b", R, w2c[1::2, :3, :3])
    assert torch.allclose(to_first, to_second, atol=1e-12)


def test_only_the_pose_dims_change() -> None:
    """`transform`: other dims keep their bits, each slot acts on its own blocks, bfloat16 is computed in float32."""
    dims = torch.tensor(pa.block_dims([(2, 3), (6, 7)], 16))
    x = torch.randn(1, 5, 2, 16).bfloat16()
    matrices = torch.stack((some_cameras(0, 1, 5).float(), some_cameras(1, 1, 5).float()), dim=2)
    out = pa.transform(x, matrices, dims)
    others = [d for d in range(16) if d not in dims.tolist()]
    assert torch.equal(out[..., others], x[..., others])
    assert out.dtype == torch.bfloat16
    for slot in range(2):
        block = dims[4 * slot : 4 * slot + 4]
        expected = torch.einsum("blij,blhj->blhi", matrices[:, :, slot], x[..., block].float())
        assert torch.equal(out[..., block], expected.bfloat16())
    wide = pa.transform(x.double(), matrices, dims)
    assert torch.allclose(wide, pa.transform(x.double(), matrices.double(), dims), rtol=0, atol=0)


@pytest.mark.parametrize("autocast", [False, True])
def test_the_operator_keeps_its_matrices_in_float32_under_bfloat16(
    qkv: list[Tensor], autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost otherwise: cameras metres apart rounded to three digits, and invariance with them."""
    w2c, K = some_cameras(0, 2, CAMERAS).float(), some_intrinsics(1, 2, CAMERAS).float()
    product = torch.einsum
    kinds: set[torch.dtype] = set()

    def watched(equation: str, *operands: Tensor) -> Tensor:
        out = product(equation, *operands)
        kinds.update(x.dtype for x in (*operands, out))
        return out

    monkeypatch.setattr(torch, "einsum", watched)
    low = [x.bfloat16() for x in qkv]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = attend(low, w2c, K)
    assert kinds == {torch.float32}
    assert ours.dtype == torch.bfloat16
    assert torch.allclose(ours.double(), attend([x.double() for x in low], w2c.double(), K.double()), atol=0.05)
