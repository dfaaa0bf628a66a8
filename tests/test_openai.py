"""Base openai: an endpoint asked over real HTTP; whatever it does not answer is an error, never a wrong answer."""

from __future__ import annotations

import base64
import io
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.chat_server import HTML, JSON, ChatServer, Reply, failed, said, serving
from support.commands import QUESTIONS as FEW
from support.commands import data, smx

from smx.errors import EndpointError, UserError
from smx.models import Query, SceneInput
from smx.models import Reply as Answer
from smx.models.openai import Model

KEY = "sk-abcdefghijklmnop"
QUERIES = [Query(str(n), f"question {n}", "n") for n in range(6)]
NOW = {"retry-after": "0.01"}  # the package waits as long as it is told, else half a second and more


def scene(frames: int = 2) -> SceneInput:
    rng = np.random.default_rng(0)
    return SceneInput("room", rng.integers(0, 256, (frames, 48, 64, 3), dtype=np.uint8), np.arange(frames) / 2.0)


def runner(server: ChatServer | str, **options: Any) -> Any:
    url = server if isinstance(server, str) else server.url
    model = Model.parse({"url": url, "name": "small-vl", "retries": 2, **options}, "model openai")
    return model.load(None, seed=0, device="cpu", dtype="float32")


def outcomes(server: ChatServer | str, queries: list[Query] = QUERIES, **options: Any) -> list[Any]:
    return list(runner(server, **options).outcomes(scene(), queries, 16))


def echo(body: dict[str, Any], before: int) -> Reply:
    """The question itself, so that a mix-up shows."""
    return said(body["messages"][0]["content"][-1]["text"])


def test_a_question_goes_out_with_its_frames_and_comes_back_in_order() -> None:
    """Lost otherwise: an answer is recorded for another question, or the model saw other pictures."""
    with serving(echo) as server:
        found = outcomes(server, picture="png", detail="low", extra={"top_k": 1})
    assert [outcome.text for outcome in found] == [query.text for query in QUERIES]
    assert {(outcome.prompt_tokens, outcome.new_tokens, outcome.cost.by) for outcome in found} == {
        (100, 2, "small-vl-2026")
    }
    assert sorted(server.texts()) == [query.text for query in QUERIES]
    body = server.bodies[0]
    assert {key: body[key] for key in ("model", "temperature", "max_completion_tokens", "top_k")} == {
        "model": "small-vl",
        "temperature": 0.0,
        "max_completion_tokens": 16,
        "top_k": 1,
    }
    *pictures, _ = body["messages"][0]["content"]
    assert [part["image_url"]["detail"] for part in pictures] == ["low", "low"]
    for part, frame in zip(pictures, scene().frames, strict=True):
        kind, _, content = part["image_url"]["url"].partition(",")
        assert kind == "data:image/png;base64"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))), frame)


def test_options_of_the_request_are_sent() -> None:
    """Lost otherwise: an option that is read and dropped, on somebody's bill."""
    with serving(echo) as server:
        outcomes(server, QUERIES[:1], temperature=None, limit="max_tokens", longest=32)
    [body] = server.bodies
    assert "temperature" not in body
    assert body["max_tokens"] == 16
    content = body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (32, 24)


def test_as_many_are_in_hand_as_are_allowed() -> None:
    """Lost otherwise: a server that could answer eight at once answers one by one."""
    together = threading.Barrier(3)  # opens when three requests are there at once, and for no fewer

    def meet(body: dict[str, Any], before: int) -> Reply:
        together.wait(10)
        return echo(body, before)

    with serving(meet) as server:
        assert all(isinstance(each, Answer) for each in outcomes(server, concurrency=3))
    assert server.most_at_once == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_asked_again(status: int) -> None:
    """Lost otherwise: a night's run has holes because a server was busy for a second."""
    busy = failed(status, "busy", **NOW)
    with serving(lambda body, before: busy if before < 2 else echo(body, before)) as server:
        [found] = outcomes(server, QUERIES[:1])
    assert found.text == "question 0"
    assert len(server.bodies) == 3


PAGE = b"<!doctype html><html><body>Welcome to nginx</body></html>"
FAULTS: dict[str, tuple[Reply, str]] = {
    "too many": (failed(429, "quota is used up", **NOW), r"says too many requests \(429\), asked 3 times: quota is"),
    "broken": (failed(500, "it broke", **NOW), r"failed \(500\), asked 3 times: it broke"),
    "wrong question": (failed(400, "too many images"), r"refuses the question \(400: too many images\)"),
    "wrong key": (failed(401, f"Incorrect API key {KEY}"), r"refuses the key in OPENAI_API_KEY \(401\)"),
    "no such model": (failed(404, "no model"), r"has no model 'small-vl', or is no OpenAI-compatible address"),
    "page": ((200, HTML, PAGE), "answers with a page of HTML"),
    "page of an error": ((502, HTML | NOW, PAGE), r"failed \(502\), asked 3 times: Welcome to nginx"),
    "half": ((200, JSON, b'{"choices": ['), "answers what is no answer"),
    "nothing": (said(""), r"answers with nothing: it ended \(stop\)"),
    "no text": (said(None), r"answers with nothing: it ended \(stop\)"),
    "thinking": (said("", "length"), "all of max_new_tokens went into thinking"),
    "filter": (said("The", "content_filter"), "refuses to answer: its content filter"),
    "refusal": (said(None, refusal="I cannot help with rooms"), "refuses to answer: I cannot help with rooms"),
    "no choices": ((200, JSON, b'{"error": {"message": "GPU on fire"}}'), "without an answer: GPU on fire"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_not_answered_is_one_sentence_and_spoils_no_other(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: an outage is counted as wrong answers, or ends the run."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    reply, words = FAULTS[fault]

    def answer(body: dict[str, Any], before: int) -> Reply:
        return reply if body["messages"][0]["content"][-1]["text"] == "question 1" else echo(body, before)

    with serving(answer) as server:
        first, broken, third = outcomes(server, QUERIES[:3])
    assert (first.text, third.text) == ("question 0", "question 2")
    assert isinstance(broken, EndpointError)
    with pytest.raises(EndpointError, match=words):
        raise broken
    assert "\n" not in str(broken)
    assert KEY not in str(broken)
    assert set(server.keys) == {f"Bearer {KEY}"}


def test_a_server_that_is_slow_or_down_is_said_and_not_waited_for_again_and_again() -> None:
    """Lost otherwise: ten thousand questions wait six times each for a server that is gone."""
    over = threading.Event()

    def hang(body: dict[str, Any], before: int) -> Reply:
        over.wait(10)
        return echo(body, before)

    with serving(hang) as server:
        found = outcomes(server, QUERIES[:3], timeout=0.05, retries=1, concurrency=1)
        over.set()
    assert "was silent for 0.05 s, asked 2 times" in str(found[0])
    assert ["asked 1 time" in str(each) for each in found[1:]] == [True, True]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    found = outcomes(url, QUERIES[:2], retries=0)
    assert all(isinstance(each, EndpointError) for each in found)
    assert f"nothing answers at {url}" in str(found[0])


def test_costs_are_the_endpoints_or_the_price_lists() -> None:
    """Lost otherwise: nobody knows what a table cost."""
    told = said("4", usage={"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8, "cost": 0.25})
    with serving(lambda body, before: told) as server:
        assert outcomes(server, QUERIES[:1])[0].cost.dollars == 0.25
    price = {"input": 2.0, "output": 10.0}
    with serving(echo) as server:
        [priced] = outcomes(server, QUERIES[:1], price=price)
        [unknown] = outcomes(server, QUERIES[:1])
    assert priced.cost.dollars == pytest.approx((100 * 2 + 2 * 10) / 1e6)
    assert unknown.cost.dollars is None
    with serving(lambda body, before: said("4", usage=False)) as server:
        assert outcomes(server, QUERIES[:1])[0].prompt_tokens == 0


def test_the_model_is_the_only_one_that_is_served() -> None:
    """`--set model.url=…` is enough for a server of one's own; what cannot be told is said before the queue."""
    page: Reply = (200, HTML, PAGE)
    with serving(echo) as server:
        assert Model(url=server.url).at(None).name == "small-vl"
        assert Model(url=server.url, name="other").at(None).name == "other"
        for change, words in (
            ({"models": ["b", "a"]}, "has 2 models: a, b"),
            ({"models": []}, "lists no model"),
            ({"listing": page}, "no list of models"),
            ({"listing": failed(401, "no")}, r"answers 401 \(Unauthorized\)"),
        ):
            vars(server).update({"models": ["small-vl"], "listing": None} | change)
            with pytest.raises(UserError, match=words):
                Model(url=server.url).at(None)
    with pytest.raises(UserError, match="nothing answers at"):
        Model(url=server.url).at(None)


def test_a_key_is_needed_where_one_is_and_is_in_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: a key stands in a file of the run, which the whole group reads."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="OPENAI_API_KEY is not set"):
        Model(name="gpt").check(None)
    Model(url="http://node07:8000/v1", name="x").check(None)
    Model(url="https://10.0.0.7/v1", name="x").check(None)
    monkeypatch.setenv("MY_KEY", KEY)
    Model(name="gpt", key_env="MY_KEY").check(None)
    for url in ("http://me:secret@host/v1", "http://host/v1?key=1", "host/v1", "ftp://host"):
        with pytest.raises(UserError, match="must"):
            Model.parse({"url": url}, "model openai")
    with serving(lambda body, before: failed(401, "who are you")) as server:
        assert "wants a key: set OPENAI_API_KEY" in str(outcomes(server, QUERIES[:1])[0])


def test_importing_it_takes_neither_the_package_nor_torch() -> None:
    """Lost otherwise: `smx list models` waits a second for a package that few use."""
    code = "import sys, smx.models.openai as o, smx.models.hf as h; o.Model(); h.Model(); "
    code += "print([m for m in ('openai', 'httpx2', 'torch', 'transformers', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_eval_asks_an_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The command as it is typed: what failed is no score, a retry asks only that, and the key is in no file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert smx("init", ".") == 0
    broken = [True]

    def answer(body: dict[str, Any], before: int) -> Reply:
        if broken[0] and before == 0:
            return failed(400, f"bad request with {KEY}")
        return said("3")

    asked = ("--model", "openai", "--bench", "rooms", *FEW, "--frames", "2", "--set", "bench_options.scenes=1")
    with serving(answer) as server:
        command = ("eval", *asked, "--set", f"model.url={server.url}", "--set", "model.price={input: 1, output: 2}")
        [first] = data(capsys, *command)
        assert (first["failed"], first["done"]) == (1, first["items"] - 1)
        [error] = first["result"]["errors"]
        assert error["kind"] == "endpoint"
        assert error["line"].startswith(f"{server.url} refuses the question (400: bad request with")
        scores = next(iter(first["result"]["scores"].values()))
        assert scores["n"] == first["done"]
        assert first["result"]["spent"] == {
            "prompt_tokens": 100 * first["done"],
            "new_tokens": 2 * first["done"],
            "dollars": round(first["done"] * 104 / 1e6, 6),
            "by": ["small-vl-2026"],
        }
        broken[0] = False
        count = len(server.bodies)
        [second] = data(capsys, *command, "--retry")
        assert second["failed"] == 0
        assert len(server.bodies) == count + 1
        assert smx(*command) == 0
        assert "small-vl-2026" in capsys.readouterr().out
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.temperature=1", "option of 'openai' to set for a run"),
        ("model.url=nowhere", "must be an address"),
    ],
)
def test_only_where_it_is_may_be_set_for_a_run(
    setting: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Lost otherwise: one name in a table for two ways of asking."""
    monkeypatch.chdir(tmp_path)
    assert smx("init", ".") == 0
    assert smx("eval", "--model", "openai", "--bench", "rooms", "--set", setting) == 2
    assert words in capsys.readouterr().err
    assert smx("eval", "--model", "tiny", "--bench", "rooms", "--set", "model.pixels=[1,2]") == 2
    assert "are not set run by run" in capsys.readouterr().err
