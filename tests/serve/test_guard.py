from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from prohibit_jax.types import InputError
from serve.errors import Refusal
from serve.guard import Guard, Keys
from serve.log import LOG
from serve.metrics import Metrics
from tests.serve import asgi

DATA, ADMIN = "a-data-key-of-tests", "an-admin-key-of-tests"
KEYS = Keys((DATA,), (ADMIN,))
LOAD = "/v2/repository/models/weapon/load"


async def _fine(_: Request) -> Response:
    return PlainTextResponse("fine")


async def _broken(_: Request) -> Response:
    raise ZeroDivisionError("secret.py, line 7")


async def _refusing(_: Request) -> Response:
    raise Refusal(503, "too busy", {"Retry-After": "3"})


async def _reading(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _gone(_: Request) -> Response:
    raise ClientDisconnect


async def _half(_: Request) -> Response:
    async def pieces() -> Any:
        yield b"half"
        raise ZeroDivisionError

    return StreamingResponse(pieces())


def app(keys: Keys = KEYS, metrics: Metrics | None = None, most: int = 1000) -> Starlette:
    routes = [
        Route("/v1/score", _fine, methods=["POST"]),
        Route("/v1/classes", _fine),
        Route("/healthz", _fine),
        Route("/reading", _reading, methods=["POST"]),
        Route("/broken", _broken),
        Route("/refusing", _refusing),
        Route("/gone", _gone),
        Route("/half", _half),
        Route("/v2/repository/models/{name}/load", _fine, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, keys, metrics or Metrics(), most)])


def ask(made: Starlette, method: str, path: str, key: str = "", **headers: str) -> asgi.Response:
    given = {"Authorization": f"Bearer {key}"} if key else {}
    return asyncio.run(asgi.request(made, method, path, {**given, **headers}))


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", "/healthz", "", 200),
        ("POST", "/v1/score", "", 401),
        ("POST", "/v1/score", "a-data-key-of-test", 401),
        ("POST", "/v1/score", DATA, 200),
        ("POST", "/v1/score", ADMIN, 200),
        ("POST", LOAD, "", 401),
        ("POST", LOAD, DATA, 403),
        ("POST", LOAD, ADMIN, 200),
        ("POST", f"{LOAD}%0A", "", 401),  # a router's $ matches before a line's end
        ("POST", f"{LOAD}%0A", DATA, 403),
        ("POST", f"{LOAD}/", DATA, 403),
        ("GET", "/nowhere", "", 401),  # what is not known is closed
        ("GET", "/nowhere", DATA, 404),
        ("POST", "/v1//score", "", 401),
        ("POST", "/V2/repository/models/weapon/load", DATA, 404),
    ],
)
def test_a_key_opens_what_it_is_for(method: str, path: str, key: str, status: int) -> None:
    assert ask(app(), method, path, key).status == status


def test_without_keys_anybody_scores_and_nobody_changes_heads() -> None:
    made = app(Keys())
    assert ask(made, "POST", "/v1/score").status == 200
    refused = ask(made, "POST", LOAD, ADMIN)
    assert refused.status == 403
    assert "PROHIBIT_ADMIN_KEYS" in refused.json()["error"]
    assert ask(app(Keys((DATA,))), "POST", LOAD, DATA).status == 403


@pytest.mark.parametrize("authorization", ["Bearer", "Bearer ", "Basic YTpi", DATA, f"bearer {DATA}", "Bearer \u00e9"])
def test_a_header_that_is_no_key_is_none(authorization: str) -> None:
    assert ask(app(), "POST", "/v1/score", Authorization=authorization).status == 401


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROHIBIT_KEYS", f" {DATA} , other-data-key-of-tests,")
    monkeypatch.delenv("PROHIBIT_ADMIN_KEYS", raising=False)
    assert Keys.from_environment() == Keys((DATA, "other-data-key-of-tests"), ())
    monkeypatch.setenv("PROHIBIT_ADMIN_KEYS", "short")
    with pytest.raises(InputError, match="PROHIBIT_ADMIN_KEYS: a key has fewer than 16 characters") as caught:
        Keys.from_environment()
    assert "short" not in str(caught.value)


def test_what_goes_wrong_inside_stays_inside(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    made = app(KEYS, metrics)
    with caplog.at_level(logging.INFO, LOG.name):
        answer = ask(made, "GET", "/broken", DATA, **{"X-Request-Id": "abc-1"})
    assert answer.status == 500
    assert answer.json() == {"error": "internal error; the log has it as request abc-1"}
    assert "secret.py" in caplog.text
    labels = {"route": "/broken", "code": "500"}
    assert metrics.registry.get_sample_value("prohibit_requests_total", labels) == 1


def test_a_refusal_is_an_answer() -> None:
    made = app()
    made.add_exception_handler(Refusal, lambda _, error: PlainTextResponse("handled", error.status))
    assert ask(made, "GET", "/refusing", DATA).body == b"handled"
    bare = ask(app(), "GET", "/refusing", DATA)
    assert (bare.status, bare.headers["retry-after"], bare.json()) == (503, "3", {"error": "too busy"})


def test_bodies_of_all_requests_are_bounded_together() -> None:
    made = app(Keys(), most=1000)

    async def post(size: int) -> int:
        return (await asgi.request(made, "POST", "/reading", {}, b"x" * size)).status

    async def story() -> None:
        assert await post(1000) == 200
        assert await post(1001) == 503
        assert await post(1000) == 200  # what was held is given back, whatever became of the request

    asyncio.run(story())


def test_half_an_answer_breaks_off() -> None:
    with pytest.raises(ZeroDivisionError):
        ask(app(), "GET", "/half", DATA)


def test_requests_have_names_and_lines(caplog: pytest.LogCaptureFixture) -> None:
    made, metrics = app(), Metrics()
    made = app(KEYS, metrics)
    with caplog.at_level(logging.INFO, LOG.name):
        first = ask(made, "GET", "/v1/classes?key=hidden", DATA)
        second = ask(made, "GET", "/v1/classes", DATA, **{"X-Request-Id": "bad name\n"})
        ask(made, "GET", "/healthz")
        ask(made, "GET", "/nowhere/at/all", DATA)
    names = [first.headers["x-request-id"], second.headers["x-request-id"]]
    assert all(len(name) == 16 for name in names)
    assert names[0] != names[1]
    lines = [record.fields for record in caplog.records if record.getMessage() == "request"]  # type: ignore[attr-defined]
    assert [line["path"] for line in lines] == ["/v1/classes", "/v1/classes", "/nowhere/at/all"]
    assert "hidden" not in json.dumps(lines)
    assert DATA not in caplog.text
    found = metrics.registry.get_sample_value("prohibit_requests_total", {"route": "none", "code": "404"})
    assert found == 1  # a client's path is no label
