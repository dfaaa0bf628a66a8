"""What a training does to which part of a model: the recipe with nothing left open, and what is refused of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smx.atomic_io import read_json
from smx.errors import UserError, unknown
from smx.models import BaseVLM
from smx.run import Run
from smx.spec import Recipe, TrainSpec


def recipe_of(name: str, model: BaseVLM, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The base's recipe with what is `asked` for in place, and a rate written out for each part that is trained.

    `lr` becomes the rate of the first part trained, so that the same training is the same run however it was said.
    `UserError` where nothing would be trained, or something that was asked for would mean nothing. `name`: the
    variant's, in words.
    """
    recipe = {**model.recipe, **asked}
    _refuse_hidden_epochs(name, model, asked, recipe)
    rates = _rates(name, model, asked)
    return {**recipe, "train": rates, "lr": next(iter(rates.values()))}


def refuse_foreign_checkpoints(run: Run) -> None:
    """`UserError` where the folder of a run that would go on holds a checkpoint of another variant or other parts."""
    assert isinstance(run.spec, TrainSpec)
    for manifest in sorted(run.folder.glob("training/checkpoint-*/manifest.json")):
        try:
            content = read_json(manifest) or {}
        except UserError:
            continue  # a damaged one is never read: the one before it is
        if content.get("fingerprint", run.fingerprint) == run.fingerprint:
            continue
        other = "of another variant" if content.get("variant") != run.spec.variant else "of other parts, rates or data"
        raise UserError(
            f"{manifest.parent} is {other} than {run.title}: {content.get('run') or 'another run'} made it",
            f"move it away, then the same command goes on from what is left in {manifest.parent.parent}",
        )


def trained_words(model: BaseVLM, rates: Mapping[str, float], sizes: Mapping[str, int]) -> str:
    """`llm at 7e-06, merger at 2e-05: 3,100,000,000 of 4,600,000,000 parameters; frozen: vision, vggt`."""
    words = ", ".join(f"{part} at {rate:g}" for part, rate in rates.items())
    if sizes:
        trained = sum(sizes.get(part, 0) for part in rates)
        words += f": {trained:,} of {sum(sizes.values()):,} parameters"
    frozen = [part for part in model.parts() if part not in rates and sizes.get(part, 1)]
    return words + (f"; frozen: {', '.join(frozen)}" if frozen else "")


def _refuse_hidden_epochs(name: str, model: BaseVLM, asked: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    steps = recipe.get("steps", 0)
    if "epochs" not in asked or not steps:
        return
    if asked.get("steps"):
        raise UserError(
            f"recipe.steps ({steps:,}) and recipe.epochs ({asked['epochs']:g}) are both given",
            "one of them says how long to train: leave the other one out",
        )
    raise UserError(
        f"recipe.epochs ({asked['epochs']:g}) is given, and {name!r} trains for {steps:,} steps by its own recipe",
        f"--set recipe.steps=0 --set recipe.epochs={asked['epochs']:g} trains by epochs",
    )


def _rates(name: str, model: BaseVLM, asked: Mapping[str, Any]) -> dict[str, float]:
    """Part -> its peak learning rate, in the model's order; frozen ones left out."""
    obstacles = model.parts()
    free = [part for part in obstacles if not obstacles[part]]
    own = model.recipe.get("train", dict.fromkeys(free))
    given: Mapping[str, float] = asked.get("train", {})
    for part, rate in given.items():
        if part not in obstacles:
            raise unknown("part", part, free, f"recipe.train names parts of {name!r}")
        if rate and obstacles[part]:
            raise UserError(
                f"recipe.train: {part} of {name!r} cannot be trained, {obstacles[part]}",
                f"parts that can: {', '.join(free)}",
            )
    common = asked.get("lr", model.recipe.get("lr", Recipe.model_fields["lr"].default))
    rates = {part: given.get(part, own.get(part) or common) for part in free if part in own or part in given}
    rates = {part: float(rate) for part, rate in rates.items() if rate}
    if not rates:
        raise UserError(
            f"recipe.train leaves nothing of {name!r} to train: every part has rate 0",
            f"for example --set recipe.train.{free[0]}={common:g}; parts: {', '.join(free)}",
        )
    if "lr" in asked and not any(part in rates and part not in given and own.get(part) is None for part in own):
        words = ", ".join(f"{part} {rate:g}" for part, rate in rates.items())
        raise UserError(
            f"recipe.lr ({common:g}) means nothing: every part that is trained has a rate of its own ({words})",
            "leave recipe.lr out, or the rate that it should be",
        )
    return rates
