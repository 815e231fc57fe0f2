"""The load client against a server that does what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeVar

import pytest

from tests.waiting import TIMEOUT, Clock

T = TypeVar("T")
load = pytest.importorskip("bench.load", reason="the scripts in bench/ are not part of a distribution")

Reply = tuple[int, bytes] | None


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of these servers is too late."""
    monkeypatch.setattr(load, "PATIENCE", TIMEOUT)


@contextmanager
def server(answer: Callable[[bytes], Reply]) -> Iterator[str]:
    """The address of a server that answers a body with a status and another body; None drops the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            reply = answer(self.rfile.read(int(self.headers["Content-Length"])))
            if reply is None:
                self.close_connection = True
                return
            self.send_response(reply[0])
            self.send_header("Content-Length", str(len(reply[1])))
            if reply[0] == 503:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(reply[1])

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/v1/score"
        serving.shutdown()
        thread.join()


def run(url: str, use: Callable[[Any], Awaitable[T]], most: int = 100) -> T:
    """What `use` makes of a client."""

    async def main() -> T:
        client = load.Client(url, most)
        try:
            return await use(client)
        finally:
            client.close()

    return asyncio.run(main())


def test_open_loop_sends_in_turn_at_its_rate_and_sees_every_answer() -> None:
    photos, seen = [b"one", b"two", b"three"], []

    def see(number: int, status: int, body: bytes) -> None:
        seen.append((number, status, body))

    with server(lambda body: (200, body)) as url:
        requests = load.photo_requests(url, photos)
        result = load.summary(run(url, lambda client: load.open_loop(client, requests, 2000, 0.1, seen=see)))
    assert 130 < result["requests"] < 270  # Poisson, from a seed
    assert result["statuses"] == {"200": result["requests"]} == {"200": len(seen)}
    assert all(body == photos[number] for number, _, body in seen)
    assert {number for number, _, _ in seen} == {0, 1, 2}


def test_who_waits_behind_a_stall_is_counted_from_when_it_was_due() -> None:
    """One connection, and a server that takes ten seconds for each of the requests that are due in half a second."""
    clock = Clock(0.0)

    def slow(body: bytes) -> Reply:
        clock.advance(10.0)
        return 200, body

    with server(slow) as url:
        requests = load.photo_requests(url, [b"photo"])
        outcomes = run(url, lambda client: load.open_loop(client, requests, 100, 0.5, clock=clock), most=1).outcomes
    assert len(outcomes) > 30
    for number, outcome in enumerate(outcomes, 1):
        assert 0 < outcome.due < 0.5
        assert outcome.latency == 10.0 * number - outcome.due


def test_statuses_drops_and_refusals_are_told_apart() -> None:
    replies: dict[bytes, Reply] = {b"drop": None, b"shed": (503, b"{}")}

    async def use(client: Any) -> list[int]:
        return [(await client.ask(request))[0] for request in requests]

    with server(lambda body: replies.get(body, (200, body))) as url:
        requests = load.photo_requests(url, [b"good", b"shed", b"drop", b"good"])
        assert run(url, use) == [200, 503, load.FAILED, 200]
    assert run(url, use) == 4 * [load.REFUSED]


def test_closed_loop_keeps_so_many_at_a_time() -> None:
    clock, asked, at_once = Clock(), [], []

    class Client:
        inside = 0

        async def ask(self, request: bytes) -> tuple[int, bytes]:
            self.inside += 1
            asked.append(request)
            at_once.append(self.inside)
            await asyncio.sleep(0)  # until the others have asked
            clock.advance(1.0)
            self.inside -= 1
            return 200, request

    outcomes = asyncio.run(load.closed_loop(Client(), [b"a", b"b"], 3, 9.0, clock=clock)).outcomes
    assert len(outcomes) == len(at_once)
    assert at_once == [1, 2] + 9 * [3]
    assert asked == 5 * [b"a", b"b"] + [b"a"]


def test_percentiles() -> None:
    assert load.latencies([]) == {}
    found = load.latencies([number / 1000 for number in range(1, 1001)])
    assert found == pytest.approx({"p50": 500, "p90": 900, "p99": 990, "p99.9": 999, "max": 1000})
