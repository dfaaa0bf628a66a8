"""A real HTTP server that speaks as OpenAI's chat completions do, and fails as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]  # status, headers, body
JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html"}


def said(text: str | None, reason: str = "stop", *, usage: Any = None, **message: Any) -> Reply:
    """An answer in the usual shape; `message`: more of it."""
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text, **message}}
    tokens = {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102} if usage is None else usage
    content = {"id": "1", "object": "chat.completion", "created": 1, "model": "small-vl-2026", "choices": [choice]}
    return 200, JSON, json.dumps(content | ({"usage": tokens} if tokens else {})).encode()


def failed(status: int, message: str, **headers: str) -> Reply:
    """A refusal in OpenAI's shape."""
    return status, JSON | headers, json.dumps({"error": {"message": message, "type": "x", "code": "y"}}).encode()


@dataclass
class ChatServer:
    """What it was asked, and how it answers."""

    answer: Callable[[dict[str, Any], int], Reply]  # of a request's body and how many came before it
    models: list[str] = field(default_factory=lambda: ["small-vl"])
    listing: Reply | None = None  # in place of the list of models
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def texts(self) -> list[str]:
        """The question of each request, in the order they came."""
        return [body["messages"][0]["content"][-1]["text"] for body in self.bodies]


@contextmanager
def serving(answer: Callable[[dict[str, Any], int], Reply], **given: Any) -> Iterator[ChatServer]:
    """A server at `url` until the block ends."""
    state = ChatServer(answer, **given)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in state.models]}
            self._send(state.listing or (200, JSON, json.dumps(listed).encode()))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with state.lock:
                before = len(state.bodies)
                state.bodies.append(body)
                state.keys.append(self.headers.get("authorization"))
                state._now += 1
                state.most_at_once = max(state.most_at_once, state._now)
            try:
                reply = state.answer(body, before)
            finally:
                with state.lock:
                    state._now -= 1
            self._send(reply)

        def _send(self, reply: Reply) -> None:
            status, headers, content = reply
            self.send_response(status)
            for name, value in (headers | {"content-length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
