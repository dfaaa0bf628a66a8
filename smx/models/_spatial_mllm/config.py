"""Looks at a Spatial-MLLM checkpoint without torch: config.json, and which tensor plays which part.

Layout of the public v1.1 checkpoints (transformers 4.51): a flat Qwen2.5-VL config with `spatial_config` and
`connector_config`; tensors `visual.*`, `model.*`, `lm_head`, `spatial_encoder.vggt_model.*` and `connector.*`.
Names as later transformers spell them (`model.visual.*`, `model.language_model.*`) are read too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx.errors import UserError, closest, unknown
from smx.models._vggt.config import PARTS, VGGTConfig, shapes
from smx.models._vlm import checkpoint, config_checks
from smx.models._vlm.checkpoint import current_name
from smx.models._vlm.checkpoint_json import read_json
from smx.models._vlm.parts import sizes
from smx.models._vlm.prompt import KEYS

if TYPE_CHECKING:
    from smx.models._spatial_mllm.options import SpatialOptions

MODEL_TYPE = "spatial-mllm"
ARCHITECTURE = "SpatialMLLMForConditionalGeneration"
ENCODER = "spatial_encoder.vggt_model."
CONNECTOR = "connector."
LAST = -1  # layer of the aggregator
CONNECTORS = ("mlp_add", "spatial_merge")
OWN_KEYS = ("model_type", "spatial_config", "connector_config")  # the rest of config.json is a Qwen2.5-VL's
# The tracker, what DINOv2 was trained with, and what smx adds for features that were never published.
UNREAD = (ENCODER + "track_head.", ENCODER + "aggregator.patch_embed.mask_token", CONNECTOR)
WORDS = (512, 4096)  # a vocabulary so small cannot be Qwen's, but has room for bytes: it may lack a tokenizer


@dataclass(frozen=True)
class SpatialConfig:
    """config.json of a Spatial-MLLM, taken apart."""

    folder: Path
    qwen: dict[str, Any]
    vggt: VGGTConfig
    layer: int  # of the aggregator, whose tokens go into the connector
    connector: str
    vggt_folder: Path | None = None  # of VGGT alone, beside a plain Qwen2.5-VL: there is no connector yet

    @property
    def sources(self) -> tuple[tuple[Path, str], ...]:
        """Folders that hold tensors, each with what stands before their names in a Spatial-MLLM."""
        return ((self.folder, ""),) if self.vggt_folder is None else ((self.folder, ""), (self.vggt_folder, ENCODER))

    @property
    def hidden(self) -> int:
        """Width of the language model."""
        width: int = (self.qwen.get("text_config") or self.qwen)["hidden_size"]
        return width

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding."""
        return config_checks.tied(self.qwen)

    @property
    def speaks_bytes(self) -> bool:
        """Whether this is a toy without a tokenizer: then a byte is a token."""
        words = (self.qwen.get("text_config") or self.qwen).get("vocab_size", 0)
        special = all(isinstance(self.qwen.get(key), int) for key in KEYS.values())
        return special and WORDS[0] <= words <= WORDS[1] and not (self.folder / "tokenizer.json").is_file()

    @property
    def merge(self) -> int:
        """Patches along each side of a merged token."""
        side: int = self.qwen["vision_config"].get("spatial_merge_size", 2)
        return side

    @property
    def tubelet_width(self) -> int:
        """Numbers in one 2x2x2 tubelet of spatial features."""
        pair: int = self.qwen["vision_config"].get("temporal_patch_size", 2)
        return self.merge**2 * pair * self.vggt.width


def lacks_vggt(folder: Path) -> bool:
    """Whether a checkpoint is a plain Qwen2.5-VL, from which a Spatial-MLLM can begin once VGGT is beside it."""
    return checkpoint.content_of_config(folder).get("model_type") == checkpoint.MODEL_TYPE


def read_config(folder: Path, vggt: Path | None = None) -> SpatialConfig:
    """`UserError` where it is another architecture, or names sizes or a connector that cannot be built.

    `vggt`: the folder of VGGT's own weights, where `folder` is a plain Qwen2.5-VL.
    """
    config = checkpoint.content_of_config(folder)
    if vggt is not None and config.get("model_type") == checkpoint.MODEL_TYPE:
        return _of_base_parts(folder, checkpoint.read_config(folder), vggt)
    if config.get("model_type") != MODEL_TYPE:
        found = ", ".join(map(str, config.get("architectures") or [])) or "no architecture named"
        raise UserError(
            f"{folder} holds a {config.get('model_type')!r} ({found})",
            f"expected model_type {MODEL_TYPE!r} ({ARCHITECTURE}); base qwen2_5_vl reads plain Qwen2.5-VL, and a "
            "variant with `parts: {vggt: facebook/VGGT-1B}` begins with one (spatialmllm-base)",
        )
    where = f"{folder}/config.json"
    for key in OWN_KEYS[1:]:
        if not isinstance(config.get(key), dict):
            raise UserError(f"{where} has no {key}", f"expected the layout of {ARCHITECTURE}")
    connector = config["connector_config"].get("connector_type", CONNECTORS[0])
    if connector not in CONNECTORS:
        raise unknown("connector_type", str(connector), CONNECTORS, f"it stands in {where}")
    qwen = {key: value for key, value in config.items() if key not in OWN_KEYS}
    config_checks.refuse_odd_sizes(folder, qwen)
    vggt_config = VGGTConfig.read(config["spatial_config"], f"{where}, spatial_config")
    _refuse_other_patches(where, qwen, vggt_config)
    layer = vggt_config.layer(config["connector_config"].get("spatial_embeds_layer_idx", LAST), where)
    return SpatialConfig(folder, qwen, vggt_config, layer, connector)


def _of_base_parts(folder: Path, config: dict[str, Any], vggt: Path) -> SpatialConfig:
    """A Spatial-MLLM that begins: a plain Qwen2.5-VL and a VGGT, whose last layer the published connector reads."""
    where = f"{vggt}/config.json"
    values = read_json(vggt / "config.json", "give a folder with config.json and model.safetensors of VGGT-1B")
    if "embed_dim" not in values:
        raise UserError(
            f"{vggt} holds a {values.get('model_type')!r}, no VGGT", "expected img_size, patch_size, embed_dim"
        )
    sizes_of_vggt = VGGTConfig.read(values, where)
    qwen = {key: value for key, value in config.items() if key not in OWN_KEYS}
    _refuse_other_patches(where, qwen, sizes_of_vggt)
    return SpatialConfig(folder, qwen, sizes_of_vggt, sizes_of_vggt.layer(LAST, where), CONNECTORS[0], vggt)


def _refuse_other_patches(where: str, qwen: dict[str, Any], vggt: VGGTConfig) -> None:
    patch = qwen["vision_config"].get("patch_size", 14)
    if patch != vggt.patch_size:
        raise UserError(
            f"{where}: Qwen's patches are {patch} pixels, VGGT's {vggt.patch_size}",
            "expected the same: their tokens are added one to one",
        )


def check(folder: Path, options: SpatialOptions, base: str) -> None:
    """`UserError` naming what was found and what was expected, for the first thing that does not fit."""
    config = read_config(folder, options.vggt_folder)
    checkpoint.refuse_other_positions(folder, options, base)
    checkpoint.refuse_pose(config.qwen, options)
    if not config.speaks_bytes:
        checkpoint.refuse_no_tokenizer(folder)
    check_tensors(config, options)


def check_tensors(config: SpatialConfig, options: SpatialOptions) -> None:
    """`UserError` where the headers do not hold what the config says, for every part that `options` read."""
    folder = config.folder
    found = {
        spatial_name(before + name): shape
        for source, before in config.sources
        for name, shape in checkpoint.tensors(source).items()
    }
    expected = dict(checkpoint.expected_shapes(config.qwen))
    if config.tied:
        found.setdefault("lm_head.weight", expected["lm_head.weight"])
    needed = set(expected)
    last = max(options.layers(config.layer, config.vggt.depth), default=-1)
    for part in PARTS[:-1]:
        for name, shape in shapes(config.vggt, part):
            expected[ENCODER + name] = shape
            if part in options.vggt_parts() and _layer_of(name) <= last:
                needed.add(ENCODER + name)
    connector = connector_shapes(config, found)
    expected |= connector
    if options.connects() and options.connector == config.connector and config.vggt_folder is None:
        needed |= connector.keys()
    missing = sorted(needed - found.keys())
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of the {len(needed)} tensors that are read are missing, first {missing[0]}",
            "the weights belong to another config, or a shard was left out",
        )
    surplus = sorted(name for name in found.keys() - expected.keys() if not name.startswith(UNREAD))
    if surplus:
        raise UserError(
            f"{folder}: {len(surplus)} tensors do not belong to {ARCHITECTURE}, first {surplus[0]}",
            f"the nearest it has is {closest(surplus[0], expected)[0]}",
        )
    for name, shape in expected.items():
        if found.get(name, shape) != shape:
            raise UserError(
                f"{folder}: {name} is {list(found[name])}, its config.json expects {list(shape)}",
                "config.json and weights are of different models",
            )


def connector_shapes(config: SpatialConfig, found: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the connector in a checkpoint; the width between its two layers is as found."""
    if config.connector == "mlp_add":
        width = config.tubelet_width
        sizes: dict[str, tuple[int, ...]] = {"ln_q.weight": (width,)}
    else:
        width = config.merge**2 * config.vggt.width
        sizes = {"ln_q.weight": (config.vggt.width,), "ln_q.bias": (config.vggt.width,)}
    inner = found.get(CONNECTOR + "mlp.0.weight", (width,))[0]
    sizes |= {"mlp.0.weight": (inner, width), "mlp.0.bias": (inner,)}
    sizes |= {"mlp.2.weight": (config.hidden, inner), "mlp.2.bias": (config.hidden,)}
    return {CONNECTOR + name: shape for name, shape in sizes.items()}


def part_sizes(config: SpatialConfig, options: SpatialOptions) -> dict[str, int]:
    """Part -> numbers in it as it is loaded: VGGT no further than `options` read it, and their connector."""
    last = max(options.layers(config.layer, config.vggt.depth), default=-1)
    vggt = [
        (ENCODER + name, shape)
        for part in options.vggt_parts()
        for name, shape in shapes(config.vggt, part)
        if _layer_of(name) <= last
    ]
    return sizes((*checkpoint.expected_shapes(config.qwen), *vggt), tied=config.tied) | _connector_size(config, options)


def _connector_size(config: SpatialConfig, options: SpatialOptions) -> dict[str, int]:
    """Of the connector that `options` ask for, whether the checkpoint brings it or the seed."""
    hidden, width, tubelet = config.hidden, config.vggt.width, config.tubelet_width
    if options.features == "2d":
        return {}
    if options.features == "camera":
        return {"connector": width + _linear(width, hidden)}
    if options.connector == "spatial_merge":
        merged = config.merge**2 * width
        return {"connector": 2 * width + _linear(merged, merged) + _linear(merged, hidden)}
    brings = options.connector == config.connector and config.vggt_folder is None
    found = checkpoint.tensors(config.folder) if brings else {}
    brought = {spatial_name(name): shape for name, shape in found.items()}
    inner = brought.get(CONNECTOR + "mlp.0.weight", (tubelet,))[0]
    joined = _linear(hidden, hidden // 2) + _linear(hidden, hidden - hidden // 2) if options.features == "cat" else 0
    return {"connector": tubelet + _linear(tubelet, inner) + _linear(inner, hidden) + joined}


def _linear(into: int, out: int) -> int:
    return into * out + out


def spatial_name(name: str) -> str:
    """A tensor's name: Qwen's parts as transformers 5 spells them, VGGT's and the connector's as published."""
    for own in (ENCODER, CONNECTOR):
        if name.startswith("model." + own):
            return name.removeprefix("model.")
    return current_name(name)


def public_name(name: str) -> str:
    """The inverse, as the published checkpoints spell it."""
    for old, new in checkpoint.OLDER:
        if name.startswith(new):
            return old + name[len(new) :]
    return name


def _layer_of(name: str) -> int:
    """Which alternating pair of blocks a tensor of the aggregator belongs to; -1 where to none."""
    parts = name.split(".")
    return int(parts[2]) if parts[1] in ("frame_blocks", "global_blocks") else -1
