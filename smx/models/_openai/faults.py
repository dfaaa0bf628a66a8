"""What can go wrong between a question and its answer, in one sentence each that never holds the key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import openai

from smx.errors import EndpointError

if TYPE_CHECKING:
    from smx.models._openai.options import EndpointOptions

LONGEST = 200  # characters of what a server says


def in_words(error: Exception, options: EndpointOptions, tries: int, key: str | None) -> EndpointError:
    """`error` of the package openai as one sentence; `tries`: how often the question was sent."""
    url, times = options.url, f"asked {tries} time{'s' if tries != 1 else ''}"
    if isinstance(error, openai.APITimeoutError):
        words = f"{url} was silent for {options.timeout:g} s, {times}"
    elif isinstance(error, openai.APIStatusError):
        words = _status(error, options, times, key)
    elif isinstance(error, openai.APIConnectionError):
        words = f"nothing answers at {url} ({error.__cause__ or error}), {times}"
    elif isinstance(error, openai.APIResponseValidationError | ValueError):
        words = f"{url} answers what is no answer ({type(error).__name__}): does the address end in /v1?"
    else:
        words = f"{url}: {error}"
    return EndpointError(scrubbed(words, key))


def reply_of(completion: Any, options: EndpointOptions, key: str | None) -> tuple[str, Any]:
    """(text, usage) of what the endpoint sent. `EndpointError` where it is no answer: none is counted as wrong."""
    url = options.url
    if isinstance(completion, str):
        kind = "a page of HTML" if re.search(r"<(!doctype|html|head|body)", completion, re.IGNORECASE) else "plain text"
        raise EndpointError(f"{url} answers with {kind}: does the address end in /v1?")
    choices = getattr(completion, "choices", None)
    if not choices:
        said = (getattr(completion, "model_extra", None) or {}).get("error")
        words = _clipped(said.get("message") if isinstance(said, dict) else said)
        raise EndpointError(scrubbed(f"{url} answers without an answer{f': {words}' if words else ''}", key))
    message, reason = choices[0].message, choices[0].finish_reason
    text = (message.content or "").strip() if message is not None else ""
    if refusal := getattr(message, "refusal", None):
        raise EndpointError(scrubbed(f"{url} refuses to answer: {_clipped(refusal)}", key))
    if reason == "content_filter":
        raise EndpointError(f"{url} refuses to answer: its content filter stopped the answer")
    if not text:
        spent = "all of max_new_tokens went into thinking; --set max_new_tokens=1024 leaves room for an answer"
        raise EndpointError(f"{url} answers with nothing: {spent if reason == 'length' else f'it ended ({reason})'}")
    return text, completion.usage


def scrubbed(text: str, key: str | None) -> str:
    """`text` without the key, whole or as a server shortens it (`sk-ab***cd`)."""
    if key:
        text = text.replace(key, "…")
    return re.sub(r"\b(?:sk|key|pk|AIza)[-_]?[\w-]*\*+[\w-]*|\bsk-[\w-]{8,}", "…", text)


def _status(error: openai.APIStatusError, options: EndpointOptions, times: str, key: str | None) -> str:
    url, status = options.url, error.status_code
    words = _clipped(_message(error))
    said = f": {words}" if words else ""
    if status in (401, 403):
        return f"{url} {'refuses the key in' if key else 'wants a key: set'} {options.key_env} ({status})"
    if status == 404:
        return f"{url} has no model {options.name!r}, or is no OpenAI-compatible address (404{said})"
    if status == 429:
        return f"{url} says too many requests (429), {times}{said}"
    if status >= 500:
        return f"{url} failed ({status}), {times}{said}"
    return f"{url} refuses the question ({status}{said})"


def _message(error: openai.APIStatusError) -> Any:
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error")
        return body.get("message") or (inner.get("message") if isinstance(inner, dict) else inner) or body.get("detail")
    return body


def _clipped(said: Any) -> str:
    """One line of it, without tags."""
    line = " ".join(re.sub(r"<[^>]*>", " ", str(said or "")).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
