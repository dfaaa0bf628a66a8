"""Asks an endpoint: several questions of a scene at once, each sent again where that can help."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import openai

from smx.models import AnswerCost, Query, Reply, Runner, SceneInput
from smx.models._openai.faults import in_words, reply_of
from smx.models._openai.options import EndpointOptions

MILLION = 1_000_000
NO_KEY = "none"  # what is sent where there is none: the package insists on one
DOWN = (openai.APIConnectionError,)  # a timeout is one of them


class EndpointRunner(Runner):
    """An endpoint that can be asked. `EndpointError` for a question it did not answer, whatever the reason."""

    def __init__(self, options: EndpointOptions) -> None:
        self.options = options
        self._key = options.key()
        self._client = openai.OpenAI(
            base_url=options.url,
            api_key=self._key or NO_KEY,
            timeout=options.timeout,
            max_retries=options.retries,  # with a longer pause each time, or the one that Retry-After asks for
        )
        self._down = False  # whether the last question found nobody: then the next is not sent again and again
        self._pictures: tuple[SceneInput, list[dict[str, Any]]] | None = None
        self.info = {
            "endpoint": options.url,
            "model": options.name,
            "shown": f"{options.picture} pictures",
            "questions": f"{options.concurrency} at once",
        }

    def answer(self, scene: SceneInput | None, queries: Sequence[Query], max_new_tokens: int) -> Iterator[Reply]:
        """Answers, in order, each as soon as it and those before it are known."""
        for outcome in self.outcomes(scene, queries, max_new_tokens):
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    def outcomes(
        self, scene: SceneInput | None, queries: Sequence[Query], max_new_tokens: int
    ) -> Iterator[Reply | Exception]:
        """Of all queries, `concurrency` of them in hand at once."""
        pictures = self._shown(scene)
        futures: list[Future[Reply]] = [Future() for _ in queries]
        todo = iter(list(zip(queries, futures, strict=True)))
        lock, over = threading.Lock(), threading.Event()

        def work() -> None:
            while not over.is_set():
                with lock:
                    query, future = next(todo, (None, None))
                if query is None or future is None:
                    return
                try:
                    future.set_result(self._ask(pictures, query, max_new_tokens))
                except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
                    future.set_exception(error)

        # Daemons: an interrupted command does not wait for answers that nobody will read.
        for _ in range(min(self.options.concurrency, len(queries))):
            threading.Thread(target=work, daemon=True, name="ask").start()
        before = time.perf_counter()
        try:
            for future in futures:
                error = future.exception()
                now = time.perf_counter()
                share, before = now - before, now  # of the task's time: questions at once share it
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield error or _timed(future.result(), share, self.options.concurrency)
        finally:
            over.set()

    def prepare(self, scene: SceneInput) -> None:
        """Compress its pictures."""
        self._pictures = scene, _pictures(scene, self.options)

    def _shown(self, scene: SceneInput | None) -> list[dict[str, Any]]:
        if scene is None:
            return []
        ahead = self._pictures
        return ahead[1] if ahead is not None and ahead[0] is scene else _pictures(scene, self.options)

    def _ask(self, pictures: list[dict[str, Any]], query: Query, limit: int) -> Reply:
        options = self.options
        retries = 0 if self._down else options.retries
        content = [*pictures, {"type": "text", "text": query.text}]
        fields: dict[str, Any] = {options.limit: limit, "messages": [{"role": "user", "content": content}]}
        if options.temperature is not None:
            fields["temperature"] = options.temperature
        try:
            completion = self._client.with_options(max_retries=retries).chat.completions.create(
                model=options.name or "",
                extra_body=options.extra or None,
                **fields,
            )
        except (openai.OpenAIError, ValueError) as error:
            self._down = isinstance(error, DOWN)
            raise in_words(error, options, retries + 1, self._key) from None
        self._down = False
        text, usage = reply_of(completion, options, self._key)
        prompt, new = (getattr(usage, name, None) or 0 for name in ("prompt_tokens", "completion_tokens"))
        cost = AnswerCost(0.0, 1, dollars=self._dollars(usage, prompt, new), by=completion.model or "")
        return Reply(text, prompt, new, cost)

    def _dollars(self, usage: Any, prompt: int, new: int) -> float | None:
        """What the endpoint says (`usage.cost`), else by the variant's price; None where neither tells."""
        said = (getattr(usage, "model_extra", None) or {}).get("cost")
        if isinstance(said, int | float):
            return float(said)
        price = self.options.price
        return None if price is None else (prompt * price.input + new * price.output) / MILLION


def _timed(reply: Reply, seconds: float, together: int) -> Reply:
    cost = reply.cost
    assert cost is not None
    return Reply(
        reply.text,
        reply.prompt_tokens,
        reply.new_tokens,
        AnswerCost(seconds, together, dollars=cost.dollars, by=cost.by),
    )


def _pictures(scene: SceneInput, options: EndpointOptions) -> list[dict[str, Any]]:
    """A content part of each frame, in order."""
    return [_part(frame, options) for frame in scene.frames]


def _part(frame: np.ndarray, options: EndpointOptions) -> dict[str, Any]:
    from PIL import Image

    image = Image.fromarray(frame)
    if options.longest is not None and max(image.size) > options.longest:
        share = options.longest / max(image.size)
        width, height = (max(1, round(side * share)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    held = io.BytesIO()
    image.save(held, options.picture, **({"quality": 95} if options.picture == "jpeg" else {}))
    url = f"data:image/{options.picture};base64,{base64.b64encode(held.getvalue()).decode()}"
    detail = {} if options.detail is None else {"detail": options.detail}
    return {"type": "image_url", "image_url": {"url": url, **detail}}
