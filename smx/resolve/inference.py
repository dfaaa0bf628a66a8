"""How a model is asked: decoding and precision, where the request leaves them open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smx.models import BaseVLM
from smx.resolve.context import Context
from smx.resolve.weights import ChosenWeights, Weights


def settle(
    context: Context, values: Mapping[str, Any], chosen: ChosenWeights, model: BaseVLM, weights: Weights
) -> dict[str, Any]:
    """`decoding` and `dtype` of an evaluation. Nothing of either for a model that computes nothing.

    Decoding is the variant's where none is asked for. Precision: bfloat16, as checkpoints are published, where the
    work gets a GPU and the base model is read from a checkpoint; else float32.
    """
    if not (model.needs_frames and model.computes_here):
        return {}
    on_gpu = context.gpu and type(model).needs_checkpoint
    return {
        "decoding": _decoding(context, str(values.get("decoding", chosen.variant.decoding)), chosen, model, weights),
        "dtype": values.get("dtype", "bfloat16" if on_gpu else "float32"),
    }


def _decoding(context: Context, asked: str, chosen: ChosenWeights, model: BaseVLM, weights: Weights) -> str:
    """`greedy` or `checkpoint`; what that means for these weights is said. `UserError` where it cannot be done."""
    folder = weights.folder
    if folder is None:
        if asked == "checkpoint":
            context.say(f"{chosen.name} has no checkpoint that could say how it decodes: decoding is greedy.")
        return "greedy"
    if not folder.is_dir():
        return asked  # still to be trained: its generation_config.json will be that of the weights it starts from
    if asked == "checkpoint":
        found = model.checkpoint_decoding(folder)
        parts = [] if found.repetition_penalty == 1 else [f"repetition_penalty {found.repetition_penalty:g}"]
        parts += [f"{found.note} is greedy"] if found.note else []
        if parts:
            context.say(f"Decoding of {chosen.name}, by its checkpoint: {'; '.join(parts)}.")
    elif left_out := model.left_out_by_greedy(folder):
        context.say(f"Decoding of {chosen.name} is greedy: generation_config.json's {left_out} is not applied.")
    return asked
