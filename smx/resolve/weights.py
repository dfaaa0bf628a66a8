"""Which variant runs, and with which weights: its own, a checkpoint's, those of a train run, or a stand-in's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from smx import plugins
from smx.atomic_io import expanded
from smx.digests import checkpoint_digest
from smx.errors import UserError, unknown
from smx.models import BaseVLM
from smx.resolve import adapters, hub_cache
from smx.resolve.context import Context
from smx.resolve.requests import Roots, not_run_by_run
from smx.run import Run
from smx.spec import TrainSpec, Variant
from smx.workspace import Workspace
from smx.yamlfile import read_yaml


@dataclass(frozen=True)
class ChosenWeights:
    """The variant that runs."""

    variant: Variant
    name: str
    stands_in_for: dict[str, str] = field(default_factory=dict)  # {"model": the name that was asked for}


@dataclass(frozen=True)
class Weights:
    """The weights to load."""

    folder: Path | None  # None: a model without any, or one that starts untrained
    digests: dict[str, str] = field(default_factory=dict)  # what of them enters the fingerprint
    needs: tuple[str, ...] = ()  # fingerprints of the runs that make them
    trained_as: Mapping[str, Any] | None = None  # the variant that a named train run trains, resolved
    asked_right: str = ""  # the options of `smx eval` that ask the weights of a named train run as they were trained
    source: hub_cache.Snapshot | None = None  # where they are one of the Hugging Face cache
    adapter: Path | None = None  # a LoRA adapter that is merged into them
    parts: Mapping[str, Path] = field(default_factory=dict)  # folders of parts that `folder` lacks


def choose(
    context: Context,
    asked: str,
    places: Roots,
    *,
    trains: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> ChosenWeights:
    """The variant `asked` for, or its stand-in where its weights are nowhere and nothing is configured.

    `options`: those of it that are set for this run; `UserError` for any that decide what it computes.
    """
    chosen = _with_weights(context, asked, places, trains=trains)
    if options:
        chosen = replace(chosen, variant=_set(chosen.variant, chosen.name, options))
    if places.allow_position_mismatch is None:
        return chosen
    return ChosenWeights(_allowing_mismatch(chosen.variant), chosen.name, chosen.stands_in_for)


def weights_of(context: Context, trained: Mapping[str, Run], chosen: ChosenWeights, places: Roots) -> Weights:
    """Where the weights of the chosen variant are, or will be. `trained`: train runs that a checkpoint may name."""
    given, plugin = places.checkpoint, plugins.load("models", chosen.variant.base)
    if given and not (plugin.trainable or plugin.needs_checkpoint):
        raise UserError(f"model {chosen.name!r} has no weights, so --checkpoint means nothing to it")
    if given is not None and given in trained:
        return _made_by(trained[given], chosen)
    path = _find(context, chosen.variant, chosen.name, places)
    if path is None:
        return Weights(None)
    if not path.is_dir():
        raise _no_folder(path, chosen, given, trained)
    if adapters.is_adapter(path):
        base = _base_of(context, path, chosen)
        digests = {"checkpoint": checkpoint_digest(base), "adapter": checkpoint_digest(path)}
        return Weights(base, digests, source=hub_cache.of_folder(base), adapter=path)
    parts = _parts_beside(context, path, chosen)
    digests = {name: checkpoint_digest(folder) for name, folder in {"checkpoint": path, **parts}.items()}
    return Weights(path, digests, source=hub_cache.of_folder(path), parts=parts)


def _parts_beside(context: Context, checkpoint: Path, chosen: ChosenWeights) -> dict[str, Path]:
    """Folders of the parts that a checkpoint lacks and the variant names."""
    parts = {}
    for part in chosen.variant.options().lacks(checkpoint):
        if named := chosen.variant.parts.get(part):
            folder = _elsewhere(context, f"{part} of {chosen.name}", named)
            if folder is None:
                raise UserError(
                    f"{chosen.name!r} begins with {checkpoint} and {named}, which is not here",
                    f"{hub_cache.download(named)}   (or in experiments/site.yaml:  checkpoints: {{{named}: DIR}})",
                )
            parts[part] = folder
    return parts


def is_here(context: Context, given: str) -> bool:
    """Whether what somebody calls a checkpoint is a folder, a name of the site file, or a snapshot in the cache."""
    return (
        Path(given).is_dir()
        or given in context.checkpoints
        or (hub_cache.is_hub_id(given) and hub_cache.cached(given) is not None)
    )


def _no_folder(path: Path, chosen: ChosenWeights, given: str | None, trained: Mapping[str, Run]) -> UserError:
    if given is None or str(path) != given:
        return UserError(
            f"there is no folder {str(path)!r}, which is to hold the weights of {given or chosen.name!r}",
            "mend `checkpoints:` in experiments/site.yaml, or `checkpoint:` in the variant's file",
        )
    if hub_cache.is_hub_id(given):
        return hub_cache.absent(given)
    named = ", ".join(run.title for run in trained.values())
    return UserError(
        f"checkpoint {given!r} is neither a folder nor a train run",
        f"train runs here: {named}" if named else "train runs: smx ls --kind train",
    )


def _base_of(context: Context, adapter: Path, chosen: ChosenWeights) -> Path:
    """The folder of the weights that an adapter was trained on: by the name it has for them, or the variant's own."""
    name = adapters.base_of(adapter)
    if name in context.checkpoints:
        return Path(expanded(context.checkpoints[name]))
    if Path(expanded(name)).is_dir():
        return Path(expanded(name))
    if hub_cache.is_hub_id(name) and (snapshot := hub_cache.cached(name)):
        return snapshot.folder
    own = chosen.variant.checkpoint or ""
    # Trained elsewhere, from a folder that is not here: the last part of its path is the model's name.
    if own.partition("@")[0].rpartition("/")[2] == Path(name).name and (
        folder := _find(context, chosen.variant, chosen.name, Roots())
    ):
        return folder
    plain = name.partition("@")[0]
    brings = f"{hub_cache.download(name)}; or " if hub_cache.is_hub_id(name) else ""
    raise UserError(
        f"{adapter} is a LoRA adapter of {name}, which is not on this machine",
        f"{brings}in experiments/site.yaml:  checkpoints: {{{plain}: DIR}}",
    )


def say_positions(context: Context, name: str, model: BaseVLM, weights: Weights) -> None:
    """Scores move with positions by more than most effects under study, so nobody should have to guess them."""
    said = ", ".join(f"{what} {value}" for what, value in model.positions().items())
    if said:
        context.say(f"Positions of {name}: {said}.")
    folder = weights.folder
    if folder is not None and folder.is_dir() and (mismatch := model.position_mismatch(folder)):
        context.say(f"Note: {folder} {mismatch}; the variant allows it.")


def _with_weights(context: Context, name: str, places: Roots, *, trains: bool) -> ChosenWeights:
    variant = _read(context.workspace, name)
    known = variant.base in plugins.names("models")
    if known and (
        not plugins.load("models", variant.base).needs_checkpoint or _find(context, variant, name, places) is not None
    ):
        return ChosenWeights(variant, name)
    if variant.stand_in and context.may_stand_in(places):
        verb = "trained" if trains else "asked, untrained,"
        context.say(f"No weights for {name!r} are configured: {variant.stand_in!r} is {verb} instead.")
        return ChosenWeights(_read(context.workspace, variant.stand_in), variant.stand_in, {"model": name})
    if not known:
        raise unknown("base model", variant.base, plugins.names("models"), f"variant {name!r} names it")
    brings = f"{hub_cache.download(variant.checkpoint)} brings them; or " if variant.checkpoint else ""
    raise UserError(
        f"model {name!r} needs weights ({variant.checkpoint or 'no checkpoint named'}) that are not here",
        f"{brings}give their folder: --checkpoint DIR, or `checkpoints:` in experiments/site.yaml",
    )


def _read(workspace: Workspace, name: str) -> Variant:
    files = workspace.variant_files()
    if name not in files:
        raise unknown("model", name, files, "smx list models")
    return Variant.parse(read_yaml(files[name]), str(files[name]))


def _find(context: Context, variant: Variant, name: str, places: Roots) -> Path | None:
    if places.checkpoint:
        return _given(context, name, places.checkpoint)
    if name in context.checkpoints:
        return Path(expanded(context.checkpoints[name]))
    return _elsewhere(context, name, variant.checkpoint) if variant.checkpoint else None


def _elsewhere(context: Context, name: str, own: str) -> Path | None:
    """The folder that a variant's file means by a path or a hub id."""
    if own in context.checkpoints:
        return Path(expanded(context.checkpoints[own]))
    if own.startswith(("/", ".", "~")):
        return context.workspace.root / expanded(own)
    return _of_cache(context, name, own)


def _given(context: Context, name: str, given: str) -> Path:
    """The folder that `--checkpoint` means: one, or that of a name in the site file or of a hub id."""
    if Path(given).is_dir():
        return Path(given)
    if given in context.checkpoints:
        return Path(expanded(context.checkpoints[given]))
    found = _of_cache(context, name, given) if hub_cache.is_hub_id(given) else None
    return found or Path(given)


def _of_cache(context: Context, name: str, repo: str) -> Path | None:
    snapshot = hub_cache.cached(repo)
    if snapshot is None:
        return None
    context.say(f"Weights of {name}: {snapshot.name}, from the Hugging Face cache.")
    return snapshot.folder


def _set(variant: Variant, name: str, options: Mapping[str, Any]) -> Variant:
    """The variant with `options` of this run."""
    base = plugins.load("models", variant.base)
    if not set(options) <= base.per_run:
        if base.per_run:
            first = sorted(set(options) - base.per_run)[0]
            raise unknown(f"option of {name!r} to set for a run:", first, base.per_run)
        raise not_run_by_run()
    return Variant.parse({**variant.model_dump(), **options}, f"model {name}")


def _allowing_mismatch(variant: Variant) -> Variant:
    """The variant, run at other positions than its weights were trained with."""
    if not variant.options().positions():
        raise UserError(f"base {variant.base!r} has no positions, so --allow-position-mismatch means nothing to it")
    return Variant.model_validate({**variant.model_dump(), "allow_position_mismatch": True})


def _made_by(run: Run, chosen: ChosenWeights) -> Weights:
    """What a train run leaves, or will leave."""
    assert isinstance(run.spec, TrainSpec)
    if run.spec.variant["base"] != chosen.variant.base:
        raise UserError(
            f"{run.title} trained {run.spec.model!r}, of another base model than {chosen.name!r}",
            f"--model {run.spec.model} --checkpoint {run.title}",
        )
    digests = {"checkpoint": f"train:{run.fingerprint}"}
    asked_right = f"--model {run.spec.model} --checkpoint {run.title}"
    return Weights(run.folder / "checkpoint", digests, (run.fingerprint,), run.spec.variant, asked_right)


def with_weights(chosen: ChosenWeights, weights: Weights) -> BaseVLM:
    """The variant's options, with what it leaves to its weights filled in."""
    options: BaseVLM = chosen.variant.options()
    if weights.trained_as is not None:
        return options.like(type(options).parse(_options(weights.trained_as), "the training's variant"))
    return options.beside(weights.parts).at(weights.folder)


def check_adapter(model: BaseVLM, weights: Weights) -> None:
    """`UserError` where the weights come with an adapter that was made on others."""
    if weights.adapter is not None and weights.folder is not None:
        model.check_adapter(weights.adapter, weights.folder)


def refuse_other_training(context: Context, model: BaseVLM, weights: Weights) -> None:
    """`UserError` where weights that smx trained would be asked as another model, by folder and by name alike."""
    trained = _trained_options(weights)
    if trained is None or not (mismatch := model.training_mismatch(trained)):
        return
    right = weights.asked_right
    if not getattr(model, "allow_position_mismatch", False):
        raise UserError(
            f"{weights.folder} {mismatch}",
            f"ask it as {f'it was trained: smx eval {right}' if right else 'the variant that was trained'}, or "
            "--allow-position-mismatch where that is the experiment",
        )
    context.say(f"Note: {weights.folder} {mismatch}; the variant allows it.")


def refuse_other_positions(model: BaseVLM, weights: Weights) -> None:
    """`UserError` where a training would go on from weights of a named run at other positions than that had.

    Folders are compared by `BaseVLM.check`. Poses, features and a connector may be new: that is what is trained.
    """
    if weights.trained_as is None or getattr(model, "allow_position_mismatch", False):
        return
    before = type(model).parse(_options(weights.trained_as), "the training's variant").positions()
    ours = model.positions()
    if other := [name for name in before if name in ours and before[name] != ours[name]]:
        was, now = (" and ".join(f"{name} {each[name]}" for name in other) for each in (before, ours))
        raise UserError(
            f"{weights.folder} was trained with {was}, this variant would go on with {now}",
            f"{weights.asked_right}, or --allow-position-mismatch where that is the experiment",
        )


def never_saw_poses(model: BaseVLM, weights: Weights) -> bool:
    """Whether cameras enter the attention of weights that, as far as is known, were trained without any."""
    return weights.folder is not None and _posed(model.resolved()) and not _posed(_trained_options(weights) or {})


def _posed(options: Mapping[str, Any]) -> bool:
    return bool((options.get("pose") or {}).get("kind", "none") != "none")


def _trained_options(weights: Weights) -> dict[str, Any] | None:
    """Options that the weights were trained with; None where nothing tells."""
    from smx.models._vlm.checkpoint_json import memory

    if weights.trained_as is not None:
        return _options(weights.trained_as)
    return memory(weights.folder).get("options") if weights.folder is not None else None


def _options(variant: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in variant.items() if key != "base"}
