"""Any OpenAI-compatible endpoint (a vLLM or SGLang server, GPT, Gemini), asked with the chosen frames as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from smx.models import Query, Runner
from smx.models._openai.options import EndpointOptions


class Model(EndpointOptions):
    """Its weights are elsewhere; the key of the endpoint is in the environment, and is never written down."""

    computes_here: ClassVar[bool] = False
    per_run: ClassVar[frozenset[str]] = frozenset(
        {"url", "name", "key_env", "concurrency", "retries", "timeout", "price"}
    )

    def at(self, checkpoint: Path | None) -> Self:
        """The model's name is the endpoint's, where the variant names none and there is only one."""
        if self.name is not None:
            return self
        from smx.models._openai.look import only_model

        return self.model_copy(update={"name": only_model(self)})

    def check(self, checkpoint: Path | None) -> None:
        """The package is installed, and there is a key where one is needed."""
        from smx.models._openai.look import require_package

        require_package()
        self.key()

    def load(
        self,
        checkpoint: Path | None,
        *,
        seed: int,
        device: str,
        dtype: str,
        training: Sequence[tuple[Query, str]] = (),
    ) -> Runner:
        """Nothing is loaded, and nobody asked yet."""
        self.check(None)
        from smx.models._openai.runner import EndpointRunner

        return EndpointRunner(self)
