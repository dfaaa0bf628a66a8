"""gen: choose frames of each scene and write them as a sample."""

from __future__ import annotations

from pathlib import Path

from smx import plugins, sampleset
from smx.node import Shard
from smx.node.sampling import make_sample
from smx.spec import GenSpec, dataset_label, digest, sample_set

VOXELS_VERSION = 1  # raise when the same scene would give other voxels


def work(shard: Shard) -> None:
    """Make one sample per scene; a broken scene is recorded and the rest goes on."""
    spec = shard.spec
    assert isinstance(spec, GenSpec)
    dataset = plugins.load("datasets", spec.dataset).parse(spec.dataset_options, f"dataset {spec.dataset}")
    sampler = plugins.load("samplers", spec.sampler).parse(spec.sampler_options, f"sampler {spec.sampler}")
    identity = sample_set(spec)
    root = shard.path("samples")
    assert root is not None
    index = sampleset.set_folder(root, spec.sampler, spec.frames, identity[:8])
    label = dataset_label(spec.dataset, spec.dataset_options)
    for item in shard.items:
        folder = sampleset.folder(root, spec.sampler, spec.frames, identity[:8], label, item.id)
        started = shard.begin(item.id)
        try:
            scene = dataset.open(shard.path("dataset"), item.id)
            data = make_sample(
                scene,
                sampler_name=spec.sampler,
                sampler=sampler,
                n=spec.frames,
                seed=spec.seed,
                geometry=spec.geometry,
                folder=folder,
                image=spec.image_format,
                cache=_cache(shard, item.id),
                extra={"sample_set": identity, "dataset": label, "dataset_version": type(dataset).version},
            )
        except Exception as error:  # noqa: BLE001 - recorded for this scene; the others go on
            shard.fail(item.id, error)
            sampleset.record_failed(index, label, item.id, error)
        else:
            # First, for what is recorded as an item is not done again, and its line would be missing for good.
            sampleset.record_done(index, label, item.id, data)
            shard.succeed(item.id, data, started)


def _cache(shard: Shard, scene: str) -> Path:
    """Where a scene's voxels are kept: named after everything they depend on."""
    spec, record = shard.spec, shard.attempt.run.spec
    assert isinstance(spec, GenSpec)
    depends = {
        "dataset": spec.dataset,
        "options": spec.dataset_options,
        "version": record["plugins"][f"datasets/{spec.dataset}"],
        "data": record["inputs"]["dataset"],
        "scene": scene,
        "geometry": spec.geometry.model_dump(mode="json"),
        "voxels": VOXELS_VERSION,
    }
    folder = shard.path("cache")
    assert folder is not None
    return folder / "voxels" / f"{digest(depends)[:32]}.npz"
