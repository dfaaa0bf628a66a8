"""generation_config.json of a checkpoint: what `decoding: checkpoint` applies of it. Without torch.

transformers' `generate` applies it whether asked or not, so published numbers have it in them. Sampling at a
temperature of almost nothing (Qwen2.5-VL: 1e-6) is greedy decoding; real sampling is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smx.errors import UserError
from smx.models import Decoding
from smx.models._vlm.checkpoint_json import read_json

FILE = "generation_config.json"
# At or under it the likeliest id is drawn: one whose logit is 0.002 lower has a chance of 2e-9.
COLD = 1e-4
_SAMPLING = ("temperature", "top_p", "top_k")
# Keys of transformers' GenerationConfig that move answers and that smx does not apply: their values that do nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "penalty_alpha": (0,),
    "dola_layers": (),
    "encoder_repetition_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "sequence_bias": ({}, []),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "exponential_decay_length_penalty": (),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "guidance_scale": (1,),
    "watermarking_config": (),
    "stop_strings": ([],),
}


def decoding_of(folder: Path) -> Decoding:
    """Of a checkpoint; the usual where it has no such file. `UserError` for what is not applied, or not repeatable."""
    config = _read(folder)
    if drawn := _sampling(config):
        raise UserError(
            f"{folder / FILE} has answers drawn at random ({drawn}): no number could be made again",
            "ask it with --set decoding=greedy",
        )
    if other := _not_applied(config):
        raise UserError(
            f"{folder / FILE} asks for {', '.join(other)}, which smx does not apply",
            "ask it with --set decoding=greedy",
        )
    return Decoding(_penalty(folder, config), _stops(folder, config), _greedy_all_the_same(config))


def left_out(folder: Path) -> str:
    """What plain greedy decoding leaves out that would change answers, in words; empty where nothing."""
    config = _read(folder)
    penalty = _penalty(folder, config)
    parts = [] if penalty == 1 else [f"repetition_penalty {penalty:g}"]
    parts += [drawn] if (drawn := _sampling(config)) else []
    return ", ".join([*parts, *_not_applied(config)])


def _read(folder: Path) -> dict[str, Any]:
    return read_json(folder / FILE, "") if (folder / FILE).is_file() else {}


def _sampling(config: dict[str, Any]) -> str:
    """What is drawn at random, in words. transformers samples at temperature 1 where none is named."""
    if not config.get("do_sample") or config.get("top_k") == 1:
        return ""
    temperature = config.get("temperature")
    if isinstance(temperature, int | float) and 0 <= temperature <= COLD:
        return ""
    return _words({"temperature": 1.0} | {k: v for k, v in config.items() if v is not None}, *_SAMPLING)


def _greedy_all_the_same(config: dict[str, Any]) -> str:
    """Sampling that always draws the likeliest id, in words; `config` asks for no other."""
    if not config.get("do_sample"):
        return ""
    return _words(config, "top_k" if config.get("top_k") == 1 else "temperature")


def _words(config: dict[str, Any], *keys: str) -> str:
    return ", ".join(["do_sample", *(f"{key} {config[key]}" for key in keys if config.get(key) is not None)])


def _not_applied(config: dict[str, Any]) -> list[str]:
    return [
        f"{key} {config[key]}"
        for key, neutral in _NEUTRAL.items()
        if config.get(key) is not None and config[key] not in neutral
    ]


def _penalty(folder: Path, config: dict[str, Any]) -> float:
    penalty = config.get("repetition_penalty")
    if penalty is None:
        return 1.0
    if isinstance(penalty, bool) or not isinstance(penalty, int | float) or not 0 < penalty < float("inf"):
        raise UserError(f"{folder / FILE}: repetition_penalty is {penalty!r}", "expected a number above 0")
    return float(penalty)


def _stops(folder: Path, config: dict[str, Any]) -> frozenset[int] | None:
    named = config.get("eos_token_id")
    if named is None:
        return None
    stops = named if isinstance(named, list) else [named]
    if not all(type(stop) is int for stop in stops):
        raise UserError(f"{folder / FILE}: eos_token_id is {named!r}", "expected the number of a token, or several")
    return frozenset(stops)
