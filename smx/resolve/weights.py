"""Which variant runs, and with which weights: its own, a checkpoint's, those of a train run, or a stand-in's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smx import plugins
from smx.atomic_io import expanded
from smx.digests import checkpoint_digest
from smx.errors import UserError, unknown
from smx.models import BaseVLM
from smx.resolve.context import Context
from smx.resolve.hub_cache import cached
from smx.resolve.requests import Roots
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
    source: str = ""  # repo@revision, of weights in the Hugging Face cache


def choose(context: Context, asked: str, places: Roots, *, trains: bool = False) -> ChosenWeights:
    """The variant `asked` for, or its stand-in where its weights are nowhere and nothing is configured."""
    chosen = _with_weights(context, asked, places, trains=trains)
    if places.allow_position_mismatch is None:
        return chosen
    return ChosenWeights(_allowing_mismatch(chosen.variant), chosen.name, chosen.stands_in_for)


def weights_of(context: Context, trained: Mapping[str, Run], chosen: ChosenWeights, places: Roots) -> Weights:
    """Where the weights of the chosen variant are, or will be. `trained`: train runs that a checkpoint may name."""
    given = places.checkpoint
    if given and not plugins.load("models", chosen.variant.base).trainable:
        raise UserError(f"model {chosen.name!r} has no weights, so --checkpoint means nothing to it")
    if given is not None and given in trained:
        return _made_by(trained[given], chosen)
    path = _find(context, chosen.variant, chosen.name, places)
    if path is None:
        return Weights(None)
    if not path.is_dir():
        if given is None:
            raise UserError(
                f"there is no folder {str(path)!r}, which is to hold the weights of {chosen.name!r}",
                "mend `checkpoints:` in experiments/site.yaml, or `checkpoint:` in the variant's file",
            )
        raise UserError(
            f"checkpoint {str(path)!r} is neither a folder nor a train run",
            f"train runs: {', '.join(c.title for c in trained.values()) or 'none yet (smx train)'}",
        )
    return Weights(path, {"checkpoint": checkpoint_digest(path)}, source=_source(chosen, path))


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
    raise UserError(
        f"model {name!r} needs weights ({variant.checkpoint or 'no checkpoint named'}) that are not here",
        "give their folder: --checkpoint DIR, or `checkpoints:` in experiments/site.yaml",
    )


def _read(workspace: Workspace, name: str) -> Variant:
    files = workspace.variant_files()
    if name not in files:
        raise unknown("model", name, files, "smx list models")
    return Variant.parse(read_yaml(files[name]), str(files[name]))


def _find(context: Context, variant: Variant, name: str, places: Roots) -> Path | None:
    if places.checkpoint:
        return Path(places.checkpoint)
    for key in (name, variant.checkpoint):
        if key and key in context.checkpoints:
            return Path(expanded(context.checkpoints[key]))
    if variant.checkpoint and variant.checkpoint.startswith(("/", ".", "~")):
        return Path(expanded(variant.checkpoint))
    if variant.checkpoint and (snapshot := cached(variant.checkpoint)):
        context.say(f"Weights of {name}: {snapshot.name}, from the Hugging Face cache.")
        return snapshot.folder
    return None


def _source(chosen: ChosenWeights, folder: Path) -> str:
    """repo@revision of weights that are the snapshot in the Hugging Face cache; "" for all others."""
    hub = chosen.variant.checkpoint or ""
    of_hub = folder.parts[-3:-1] == (f"models--{hub.replace('/', '--')}", "snapshots")
    return f"{hub}@{folder.name}" if of_hub else ""


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
            f"smx eval --model {run.spec.model} --checkpoint {run.title}",
        )
    digests = {"checkpoint": f"train:{run.fingerprint}"}
    asked_right = f"--model {run.spec.model} --checkpoint {run.title}"
    return Weights(run.folder / "checkpoint", digests, (run.fingerprint,), run.spec.variant, asked_right)


def with_weights(chosen: ChosenWeights, weights: Weights) -> BaseVLM:
    """The variant's options, with what it leaves to its weights filled in."""
    options: BaseVLM = chosen.variant.options()
    if weights.trained_as is not None:
        return options.like(type(options).parse(_options(weights.trained_as), "the training's variant"))
    return options.at(weights.folder)


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
