"""What a VGGT is made of, without torch: sizes, and the name and shape of every tensor.

Facts from the paper ("VGGT: Visual Geometry Grounded Transformer") and the tensors of `facebook/VGGT-1B`, whose
sizes are the defaults here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from smx.errors import UserError

PARTS = ("aggregator", "camera_head", "point_head", "depth_head", "track_head")  # the tracker is never run
REGISTERS = 4
SPECIAL = 1 + REGISTERS  # camera token, then registers, before the patches of every frame
POSE = 9  # translation 3, quaternion xyzw 4, fields of view 2
DENSE_CHANNELS = {"point_head": 4, "depth_head": 2}  # the last one is the confidence

Shapes = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class VGGTConfig:
    """`spatial_config` of a Spatial-MLLM checkpoint; what it leaves out is as in VGGT-1B."""

    img_size: int = 518
    patch_size: int = 14
    embed_dim: int = 1024
    depth: int = 24  # of each kind: frame blocks and global blocks alternate
    num_heads: int = 16
    patch_embed_depth: int = 24
    patch_embed_num_heads: int = 16
    camera_trunk_depth: int = 4
    camera_num_heads: int = 16
    dpt_features: int = 256
    dpt_out_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    dpt_layers: tuple[int, ...] = (4, 11, 17, 23)

    @classmethod
    def read(cls, values: Mapping[str, Any], where: str) -> VGGTConfig:
        """From a `spatial_config`, or from config.json of a VGGT. `UserError` for sizes that cannot be built."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        for name, value in known.items():
            lists = isinstance(getattr(cls, name), tuple)
            numbers = value if lists and isinstance(value, list) else [value]
            if not all(type(number) is int and number >= 0 for number in numbers) or (lists and len(numbers) != 4):
                wanted = "a list of four whole numbers" if lists else "a whole number"
                raise UserError(f"{where}: {name} is {value!r}", f"expected {wanted}")
            known[name] = tuple(value) if lists else value
        config = cls(**known)
        config._refuse_odd_sizes(where)
        return config

    @property
    def width(self) -> int:
        """Of the aggregated tokens: frame and global outputs side by side."""
        return 2 * self.embed_dim

    def layer(self, index: int, where: str) -> int:
        """An aggregator layer counted from 0, whatever sign `index` has. `UserError` where there is none."""
        if type(index) is not int or not -self.depth <= index < self.depth:
            raise UserError(
                f"{where}: aggregator layer {index!r} does not exist, there are {self.depth}",
                f"valid: {-self.depth} to {self.depth - 1}",
            )
        return index % self.depth

    def _refuse_odd_sizes(self, where: str) -> None:
        for what, width, heads, factor in (
            ("embed_dim", self.embed_dim, self.num_heads, 4),  # two axes, each rotated by halves
            ("embed_dim of the patch embedding", self.embed_dim, self.patch_embed_num_heads, 1),
            ("width of the camera head", self.width, self.camera_num_heads, 1),
        ):
            if not heads or width % heads or (width // heads) % factor:
                raise UserError(
                    f"{where}: {what} {width} over {heads} heads is {width / (heads or 1):g} per head",
                    f"expected a whole multiple of {factor}" if factor > 1 else "expected a whole number",
                )
        if not self.patch_size or self.img_size % self.patch_size:
            raise UserError(f"{where}: img_size {self.img_size} is no multiple of patch_size {self.patch_size}", "")
        late = [layer for layer in self.dpt_layers if layer >= self.depth]
        if late:
            raise UserError(f"{where}: dpt_layers names layer {late[0]}, there are {self.depth}", "they count from 0")


def shapes(config: VGGTConfig, part: str) -> Shapes:
    """(name, shape) of every tensor of one of `PARTS` but the tracker, by its whole name (`camera_head.…`)."""
    if part == "aggregator":
        found = _aggregator(config)
    elif part == "camera_head":
        found = _camera_head(config)
    else:
        found = _dense_head(config, DENSE_CHANNELS[part])
    for name, shape in found:
        yield f"{part}.{name}", shape


def _aggregator(config: VGGTConfig) -> Shapes:
    width, patch = config.embed_dim, config.patch_size
    yield "camera_token", (1, 2, 1, width)
    yield "register_token", (1, 2, REGISTERS, width)
    embed = "patch_embed."
    yield embed + "cls_token", (1, 1, width)
    yield embed + "register_tokens", (1, REGISTERS, width)
    yield embed + "pos_embed", (1, 1 + (config.img_size // patch) ** 2, width)
    yield embed + "patch_embed.proj.weight", (width, 3, patch, patch)
    yield embed + "patch_embed.proj.bias", (width,)
    yield from _norm(embed + "norm", width)
    for i in range(config.patch_embed_depth):
        yield from _block(f"{embed}blocks.{i}", width)
    for kind in ("frame", "global"):
        for i in range(config.depth):
            yield from _block(f"{kind}_blocks.{i}", width, config.embed_dim // config.num_heads)


def _camera_head(config: VGGTConfig) -> Shapes:
    width = config.width
    yield "empty_pose_tokens", (1, 1, POSE)
    yield from _linear("embed_pose", POSE, width)
    yield from _linear("poseLN_modulation.1", width, 3 * width)
    yield from _norm("token_norm", width)
    yield from _norm("trunk_norm", width)
    for i in range(config.camera_trunk_depth):
        yield from _block(f"trunk.{i}", width)
    yield from _linear("pose_branch.fc1", width, width // 2)
    yield from _linear("pose_branch.fc2", width // 2, POSE)


def _dense_head(config: VGGTConfig, channels: int) -> Shapes:
    inner, out = config.dpt_features, config.dpt_out_channels
    yield from _norm("norm", config.width)
    for i, count in enumerate(out):
        yield f"projects.{i}.weight", (count, config.width, 1, 1)
        yield f"projects.{i}.bias", (count,)
        yield f"scratch.layer{i + 1}_rn.weight", (inner, count, 3, 3)
    for i, side in ((0, 4), (1, 2), (3, 3)):  # up 4x, up 2x, as it is, down 2x
        yield f"resize_layers.{i}.weight", (out[i], out[i], side, side)
        yield f"resize_layers.{i}.bias", (out[i],)
    for i in range(1, 5):
        net = f"scratch.refinenet{i}."
        for unit in ("resConfUnit2.",) if i == 4 else ("resConfUnit1.", "resConfUnit2."):
            for conv in ("conv1", "conv2"):
                yield f"{net}{unit}{conv}.weight", (inner, inner, 3, 3)
                yield f"{net}{unit}{conv}.bias", (inner,)
        yield net + "out_conv.weight", (inner, inner, 1, 1)
        yield net + "out_conv.bias", (inner,)
    for name, into, count, side in (
        ("output_conv1", inner, inner // 2, 3),
        ("output_conv2.0", inner // 2, 32, 3),
        ("output_conv2.2", 32, channels, 1),
    ):
        yield f"scratch.{name}.weight", (count, into, side, side)
        yield f"scratch.{name}.bias", (count,)


def _block(name: str, width: int, normed_head: int = 0) -> Shapes:
    yield from _norm(f"{name}.norm1", width)
    yield from _linear(f"{name}.attn.qkv", width, 3 * width)
    yield from _linear(f"{name}.attn.proj", width, width)
    if normed_head:
        yield from _norm(f"{name}.attn.q_norm", normed_head)
        yield from _norm(f"{name}.attn.k_norm", normed_head)
    yield f"{name}.ls1.gamma", (width,)
    yield from _norm(f"{name}.norm2", width)
    yield from _linear(f"{name}.mlp.fc1", width, 4 * width)
    yield from _linear(f"{name}.mlp.fc2", 4 * width, width)
    yield f"{name}.ls2.gamma", (width,)


def _linear(name: str, into: int, out: int) -> Shapes:
    yield f"{name}.weight", (out, into)
    yield f"{name}.bias", (out,)


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
