"""Looks at an endpoint before anything is asked of it, with the standard library alone."""

from __future__ import annotations

import importlib.util
import json
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from smx.errors import UserError

if TYPE_CHECKING:
    from smx.models._openai.options import EndpointOptions

PATIENCE = 20.0  # seconds
NAME_IT = "name the model: --set model.name=NAME, or name: in the variant"


def require_package() -> None:
    """`UserError` where the package that asks is not installed."""
    if importlib.util.find_spec("openai") is None:
        raise UserError("base openai needs the package openai, which is not installed", "pip install 'smx[openai]'")


def only_model(options: EndpointOptions) -> str:
    """The name of the one model that an endpoint lists. `UserError` in one sentence where that cannot be said."""
    names = sorted({str(entry["id"]) for entry in _listed(options)})
    if not names:
        raise UserError(f"{options.url} lists no model", NAME_IT)
    if len(names) > 1:
        shown = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
        raise UserError(f"{options.url} has {len(names)} models: {shown}", NAME_IT)
    return names[0]


def _listed(options: EndpointOptions) -> list[dict[str, Any]]:
    url, key = options.url, options.key()
    request = Request(f"{url}/models", headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urlopen(request, timeout=min(PATIENCE, options.timeout)) as reply:
            content = json.loads(reply.read())
        entries = content["data"]
        if not all(isinstance(entry["id"], str) for entry in entries):
            raise TypeError
    except HTTPError as error:
        raise UserError(f"{url}/models answers {error.code} ({error.reason})", _hint(options, error.code)) from None
    except TimeoutError:
        raise UserError(f"{url} is silent", f"is the server up? else {NAME_IT}") from None
    except (OSError, HTTPException) as error:
        cause = getattr(error, "reason", error)
        raise UserError(f"nothing answers at {url}: {cause}", f"start the server; else {NAME_IT}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{url}/models is no list of models, so nothing OpenAI-compatible answers there",
            "such addresses mostly end in /v1",
        ) from None
    return list(entries)


def _hint(options: EndpointOptions, status: int) -> str:
    if status in (401, 403):
        return f"is {options.key_env} set, and of this endpoint?"
    return NAME_IT
