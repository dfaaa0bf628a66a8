"""What a variant of base openai may say, and where its key is. Light on purpose (pydantic only)."""

from __future__ import annotations

import ipaddress
import os
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from smx.errors import UserError
from smx.models import BaseVLM
from smx.options import Options


class Price(Options):
    """US dollars for a million tokens, as the endpoint's price list has them."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]


class EndpointOptions(BaseVLM):
    """Where the endpoint is, and how it is asked."""

    url: str = "https://api.openai.com/v1"
    name: str | None = None  # of the model at the endpoint; left out: the only one that it lists
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] = "OPENAI_API_KEY"  # environment variable of its key
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8  # questions of a scene that are in hand at once
    retries: Annotated[int, Field(ge=0, le=100)] = 6  # times a question is sent again, ever later
    timeout: Annotated[float, Field(gt=0)] = 120.0  # seconds until an answer is given up
    price: Price | None = None  # where the endpoint does not say itself what an answer costs
    picture: Literal["jpeg", "png"] = "jpeg"
    longest: Annotated[int, Field(ge=16)] | None = None  # pixels of a picture's longer side; left out: as it is
    detail: Literal["auto", "low", "high"] | None = None  # as OpenAI's image_url has it
    temperature: Annotated[float, Field(ge=0)] | None = 0.0  # null: not sent, for models that refuse it
    limit: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"  # how max_new_tokens is called
    extra: dict[str, Any] = Field(default_factory=dict)  # further fields of a request, as the endpoint names them

    @field_validator("url")
    @classmethod
    def _is_an_address_and_no_secret(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no user, password or query: the key is read from the environment (key_env)")
        return url.rstrip("/")

    def key(self) -> str | None:
        """The key. None where there is none and the endpoint is on this machine or network. `UserError` elsewhere."""
        key = os.environ.get(self.key_env, "").strip()
        if key or self._is_near():
            return key or None
        raise UserError(
            f"there is no key for {self.url}: {self.key_env} is not set",
            f"export {self.key_env}=…; it is read from the environment alone, and written nowhere",
        )

    def pipeline(self) -> list[tuple[str, str]]:
        """From frames to the answer."""
        size = "as they are" if self.longest is None else f"at most {self.longest} pixels long"
        return [
            ("frames", f"as {self.picture} pictures, {size}, in order, ahead of the question"),
            ("poses", "none"),
            ("language model", f"{self.name or 'the only one it lists'}, at {self.url}"),
        ]

    def _is_near(self) -> bool:
        """Whether it is a server that asks no key as a rule: by http, a local name, or a private address."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        try:
            return ipaddress.ip_address(host).is_private
        except ValueError:
            return parts.scheme == "http" or host == "localhost"
