"""gen: choose frames of each scene and write them as a sample."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from smx import plugins, sampleset
from smx.digests import DIGESTS, digests_in, inputs_digest, remembering
from smx.errors import SceneError
from smx.node.geometry import source_of
from smx.node.parallel import finished, workers_for
from smx.node.sampling import make_sample
from smx.node.shard import Shard
from smx.run import Item
from smx.sampleset import places
from smx.spec import GenSpec, dataset_label, digest, sample_set

VOXELS_VERSION = 3  # raise when the same scene would give other voxels
_SCENE_BYTES = 1 << 30  # what a scene in hand may take: decoded frames, point maps or depth, and room to work


def work(shard: Shard) -> None:
    """Make one sample per scene, several scenes at once; a broken one is recorded and the rest goes on."""
    spec = shard.spec
    assert isinstance(spec, GenSpec)
    dataset = plugins.load("datasets", spec.dataset).parse(spec.dataset_options, f"dataset {spec.dataset}")
    sampler = plugins.load("samplers", spec.sampler).parse(spec.sampler_options, f"sampler {spec.sampler}")
    identity, code = sample_set(spec), plugins.identity("samplers", spec.sampler)
    root = shard.path("samples")
    assert root is not None
    place = sampleset.set_folder(root, spec.sampler, spec.frames, identity[:8])
    label = dataset_label(spec.dataset, spec.dataset_options)
    folder = _dataset_folder(shard, root, label)
    geometry = source_of(spec.geometry, shard.path("poses") or shard.path("vggt"), shard.path("depth"))
    cache = shard.path("cache")
    assert cache is not None
    known = digests_in(cache / DIGESTS)

    def make(item: Item) -> tuple[dict[str, Any], float]:
        started = shard.begin(item.id)
        with remembering(known):
            inputs = dataset.inputs(shard.path("dataset"), [item.id]).get(item.id, {})
        if item.data and inputs_digest(inputs) != item.data:
            raise SceneError(f"files of scene {item.id!r} have changed since this run was planned: ask for it again")
        data = make_sample(
            dataset.open(shard.path("dataset"), item.id),
            inputs=inputs,
            code=code if isinstance(code, str) else "",
            sampler_name=spec.sampler,
            sampler=sampler,
            n=spec.frames,
            seed=spec.seed,
            geometry=spec.geometry,
            folder=places.of_data(place, label, item.id, inputs_digest(inputs))
            or sampleset.folder(root, spec.sampler, spec.frames, identity[:8], folder, item.id),
            image=spec.image_format,
            cache=_cache(shard, item, inputs),
            source_of=geometry,
            extra={"sample_set": identity, "dataset": label, "dataset_version": type(dataset).version},
        )
        if spec.strict and (doubt := data.get("doubt")):
            raise SceneError(f"scene {item.id!r}: {doubt}")
        return data, time.perf_counter() - started

    workers = workers_for(len(shard.items), _SCENE_BYTES)
    for item, made in finished(shard.items, make, workers):
        if isinstance(made, Exception):
            shard.fail(item.id, made)
            sampleset.record_failed(place, folder, item.id, made)
        else:
            data, took = made
            # First, for what is recorded as an item is not done again, and its line would be missing for good.
            sampleset.record_done(place, folder, item.id, data)
            # Its share of the task's time: the seconds of all items add up to what the task took.
            shard.succeed(item.id, data, time.perf_counter() - took / workers)


def _dataset_folder(shard: Shard, samples: Path, label: str) -> str:
    """Name of the folder that new samples of this root go into, in the sample set."""
    if (root := shard.path("dataset")) is None:
        return label
    data = {item["id"]: item["data"] for part in shard.attempt.plan["shards"] for item in part if item["data"]}
    return places.claimed(samples, label, root, data)


def _cache(shard: Shard, item: Item, inputs: dict[str, str]) -> Path:
    """Where a scene's voxels are kept: named after everything they depend on."""
    spec, record = shard.spec, shard.attempt.run.spec
    assert isinstance(spec, GenSpec)
    depends = {
        "dataset": spec.dataset,
        "options": spec.dataset_options,
        "version": record["plugins"][f"datasets/{spec.dataset}"],
        "data": inputs_digest(inputs) or record["inputs"]["dataset"],
        "scene": item.id,
        "geometry": spec.geometry.model_dump(mode="json"),
        "voxels": VOXELS_VERSION,
    }
    folder = shard.path("cache")
    assert folder is not None
    return folder / "voxels" / f"{digest(depends)[:32]}.npz"
