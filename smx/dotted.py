"""Dotted keys: nested dictionaries as flat ones, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smx.errors import UserError


def nest(pairs: Mapping[str, Any]) -> dict[str, Any]:
    """`{"recipe.lr": 1}` -> `{"recipe": {"lr": 1}}`. `UserError` when a key is both a value and a group."""
    nested: dict[str, Any] = {}
    for key, value in pairs.items():
        *groups, last = key.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                raise UserError(f"{key!r} sets a key inside {group!r}, which already has a value")
        if isinstance(value, Mapping) and isinstance(place.get(last), dict):
            place[last] = {**place[last], **nest(value)}
        else:
            place[last] = nest(value) if isinstance(value, Mapping) else value
    return nested


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """`{"recipe": {"lr": 1}}` -> `{"recipe.lr": 1}`: the inverse of `nest`. An empty group leaves no key."""
    leaves: dict[str, Any] = {}
    _gather(nested, "", leaves)
    return leaves


def _gather(nested: Mapping[str, Any], before: str, leaves: dict[str, Any]) -> None:
    for key, value in nested.items():
        if isinstance(value, dict):  # not Mapping, which takes five times as long to ask
            _gather(value, f"{before}{key}.", leaves)
        else:
            leaves[before + key] = value
