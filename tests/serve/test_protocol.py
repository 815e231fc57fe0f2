"""Whatever arrives on a connection has an end, an answer in its turn, and no effect on the others."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from serve.protocol import PIPELINED, TARGET
from serve.settings import LimitsConfig
from tests.serve.raw import Server, connect, exchange, read, read_all, read_until, respond, running, statuses
from tests.waiting import TIMEOUT, until

LIMITS = LimitsConfig(headers=4096, idle_seconds=10**6)  # so that no other limit is taken for this one
GET = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = GET[:-2] + b"Connection: close\r\n\r\n"
HELD = GET.replace(b"echo", b"held")
SLOW = GET.replace(b"echo", b"slow")
ENDLESS = GET.replace(b"echo", b"endless")
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class App:
    """Answers by path; `gone` gets the path of each request whose client went away, unless that is /echo."""

    def __init__(self) -> None:
        self.gone: queue.Queue[str] = queue.Queue()
        self.permits = asyncio.Semaphore(0)  # one for each answer at /held

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/early":
            await respond(send, 413, b"early")
            return
        body = await read(receive)
        if body is None:
            if path != "/echo":
                self.gone.put(path)
        elif path == "/endless":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            listening = asyncio.ensure_future(receive())
            while not listening.done():
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
                await asyncio.sleep(0)
            self.gone.put(path)
        else:
            if path == "/held":
                await self.permits.acquire()
            for _ in range(10 if path == "/slow" else 0):
                await asyncio.sleep(0)  # all else has its turn
            names = [name.decode() for name, _ in scope["headers"]]
            await respond(send, 200, json.dumps({"path": path, "length": len(body), "names": names}).encode())


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def shared_server(request: pytest.FixtureRequest) -> Iterator[tuple[Server, App]]:
    app = App()
    with running(app, LIMITS, request.param) as server:
        yield server, app


@pytest.fixture
def app(shared_server: tuple[Server, App]) -> App:
    return shared_server[1]


@pytest.fixture
def server(shared_server: tuple[Server, App]) -> Iterator[Server]:
    """Which serves as before when the test is over."""
    server, _ = shared_server
    yield server
    assert statuses(exchange(server, LAST)) == [200]


def refused(answers: bytes, *expected: int) -> str:
    """The error of the last of these answers."""
    assert statuses(answers) == [*expected]
    head, _, body = answers[answers.rindex(b"HTTP/1.1 %d" % expected[-1]) :].partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    assert f"content-length: {len(body)}".encode() in head
    [(key, text)] = json.loads(body).items()
    assert key == "error"
    assert text
    assert "\n" not in text
    assert "Traceback" not in text
    return text


def succeed(client: socket.socket) -> None:
    """A request and its answer on an open connection."""
    client.sendall(GET)
    assert statuses(read_until(client, b"}")) == [200]


def release(server: Server, app: App) -> None:
    """Lets the app answer at /held, once."""
    server.time.call_soon_threadsafe(app.permits.release)


def fields(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % number for number in range(count))


def test_requests_as_they_should_be(server: Server) -> None:
    body = POST + b"Content-Length: 5\r\n\r\nhello"
    chunks = CHUNKED + b"5;name=value\r\nhello\r\n3\r\nyou\r\n0\r\nTrailer: x\r\n\r\n"
    answers = exchange(server, GET + body + chunks + LAST)
    assert statuses(answers) == [200] * 4
    assert [answers.count(b'"length": %d,' % length) for length in (0, 5, 8)] == [2, 1, 1]
    assert b"trailer" not in answers.lower().replace(b"transfer-encoding", b"")
    assert byte_by_byte(server, body).count(b'"length": 5') == 1
    assert byte_by_byte(server, chunks).count(b'"length": 8') == 1
    assert statuses(exchange(server, b"GET /echo HTTP/1.0\r\n\r\n")) == [200]
    large = 3 * 2**20
    assert b'"length": %d' % large in exchange(server, POST + b"Content-Length: %d\r\n\r\n" % large, bytes(large), LAST)
    many = b"".join(b"1000\r\n" + bytes(0x1000) + b"\r\n" for _ in range(500)) + b"0\r\n\r\n"
    assert b'"length": %d' % (500 * 0x1000) in exchange(server, CHUNKED + many, LAST)
    tiny = b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
    assert b'"length": 20000' in exchange(server, CHUNKED + tiny, LAST)
    with connect(server) as client:
        client.sendall(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert statuses(read_until(client, b"\r\n\r\n")) == [100]
        client.sendall(b"hello" + LAST)
        assert statuses(read_all(client)) == [200, 200]


def byte_by_byte(server: Server, data: bytes) -> bytes:
    """The answer to a request of which the server reads one byte at a time."""
    with connect(server) as client:
        for byte in data:
            server.send(client, bytes([byte]))
        return read_until(client, b"}")


def test_pipelined(server: Server, app: App) -> None:
    requests = [SLOW if number % 7 == 0 else GET for number in range(50)]
    assert statuses(exchange(server, b"".join(requests), LAST)) == [200] * 51
    posts = [POST + b"Content-Length: %d\r\n\r\n" % length + bytes(length) for length in (100_000, 1, 200_000)]
    answers = exchange(server, b"".join(posts), LAST)
    places = [answers.index(b'"length": %d,' % length) for length in (100_000, 1, 200_000)]
    assert places == sorted(places)
    with connect(server) as client:
        server.send(client, HELD + GET * 400)
        release(server, app)
        refused(read_all(client), *[200] * (PIPELINED + 1), 429)


REFUSED = {
    "header of 200 KB": (GET[:-2] + b"X: " + b"y" * 200_000 + b"\r\n\r\n", 431),
    "header without end": (GET[:-2] + b"X: " + b"y" * 200_000, 431),
    "header name without end": (GET[:-2] + b"X" * 200_000, 431),
    "10,000 fields": (GET[:-2] + fields(10_000) + b"\r\n", 431),
    "65 fields": (GET[:-2] + fields(64) + b"\r\n", 431),
    "target": (b"GET /" + b"a" * TARGET + b" HTTP/1.1\r\n\r\n", 414),
    "target without end": (b"GET /" + b"a" * 100_000, 414),
    "garbage": (b"hello\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),
    "bare LF": (b"GET /echo HTTP/1.1\nHost: x\n\n", 400),
    "bare LF in fields": (b"GET /echo HTTP/1.1\r\nHost: x\nContent-Length: 3\r\n\r\nabc", 400),
    "bare LF in chunks": (CHUNKED + b"3\nabc\n0\n\n", 400),
    "bare CR": (b"GET /echo HTTP/1.1\rHost: x\r\r", 400),
    "folded": (b"GET /echo HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", 400),
    "space before colon": (POST + b"Content-Length : 3\r\n\r\nabc", 400),
    "NUL": (b"GET /echo HTTP/1.1\r\nHo\0st: x\r\n\r\n", 400),
    "length and chunks": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks and length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    "list of lengths": (POST + b"Content-Length: 3, 4\r\n\r\nabc", 400),
    "length with sign": (POST + b"Content-Length: +3\r\n\r\nabc", 400),
    "endless length": (POST + b"Content-Length: " + b"9" * 100 + b"\r\n\r\nabc", 400),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\nabc", 400),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /echo\r\n\r\n", 400),
    "HTTP/2": (b"GET /echo HTTP/2.0\r\n\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "websocket": (GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", 400),
    "h2c": (POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", 400),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\n\r\n", 400),
    "no path": (b"GET http://x HTTP/1.1\r\n\r\n", 400),
    "target in UTF-8": ("GET /\u00e9 HTTP/1.1\r\n\r\n".encode(), 400),
    "chunk size": (CHUNKED + b"zz\r\n", 400),
    "chunk size overflow": (CHUNKED + b"f" * 17 + b"\r\n", 400),
    "long chunk": (CHUNKED + b"3\r\nabcde\r\n", 400),
    "chunk extension": (CHUNKED + b"3;" + b"x" * 2**20, 400),
    "chunk extensions": (CHUNKED + (b"1;" + b"x" * 1000 + b"\r\nx\r\n") * 1000, 400),
    "trailers": (CHUNKED + b"3\r\nabc\r\n0\r\n" + fields(100_000), 400),
    "blank lines": (b"\r\n" * 2**19, 431),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, server: Server) -> None:
    data, status = REFUSED[case]
    refused(exchange(server, data), status)
    if status != 414 and case not in ("blank lines", "chunk extension", "trailers"):  # those dribble for too long
        refused(exchange(server, *(data[i : i + 999] for i in range(0, len(data), 999))), status)


def test_limits_to_the_byte(server: Server) -> None:
    most = LIMITS.headers - len(b"/echoHost: x\r\nConnection: close\r\nX: \r\n")
    assert statuses(exchange(server, LAST[:-2] + b"X: " + b"y" * most + b"\r\n\r\n")) == [200]
    refused(exchange(server, LAST[:-2] + b"X: " + b"y" * (most + 1) + b"\r\n\r\n"), 431)
    assert statuses(exchange(server, LAST[:-2] + fields(62) + b"\r\n")) == [200]
    refused(exchange(server, LAST[:-2] + fields(63) + b"\r\n"), 431)


def test_answers_keep_their_order(server: Server, app: App) -> None:
    refused(exchange(server, SLOW + GET + b"garbage\r\n\r\n"), 200, 200, 400)
    refused(exchange(server, SLOW + CHUNKED + b"zz\r\n"), 200, 400)
    with connect(server) as client:
        server.send(client, HELD + CHUNKED)
        client.sendall(b"zz\r\n")
        release(server, app)
        refused(read_all(client), 200, 400)
    refused(exchange(server, CHUNKED.replace(b"echo", b"broken") + b"3\r\nabc\r\nzz\r\n"), 400)
    assert app.gone.get(timeout=TIMEOUT) == "/broken"


def test_a_refusal_is_not_put_into_an_answer(server: Server, app: App) -> None:
    with connect(server) as client:
        client.sendall(ENDLESS)
        client.recv(1000)
        server.send(client, b"garbage\r\n\r\n")  # waits for the answer's end, which never comes
    assert app.gone.get(timeout=TIMEOUT) == "/endless"


@pytest.mark.parametrize("begun", [b"", b"GET", GET[:-2], GET[:-2] + b"X: y", b"\r\n"])
def test_slow_head(begun: bytes, server: Server) -> None:
    with connect(server) as client:
        server.send(client, begun)
        server.time.advance(LIMITS.header_seconds)
        refused(read_all(client), 408)
    with connect(server) as client:
        succeed(client)
        server.send(client, begun if begun.strip() else b"G")  # blank lines would be idle
        server.time.advance(LIMITS.header_seconds)
        refused(read_all(client), 408)


def test_dribbled_head(server: Server) -> None:
    with connect(server) as client:
        dribble(server, client, GET, LIMITS.header_seconds)
        refused(read_all(client), 408)


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (CHUNKED, b"1\r\nx\r\n" * 4),
        (CHUNKED + b"5\r\nhel", b"lo\r\n" + b"1\r\nx\r\n" * 4),
        (POST + b"Content-Length: 50\r\n\r\nhell", b"o" * 40),
    ],
)
def test_slow_body(begun: bytes, more: bytes, server: Server, app: App) -> None:
    begun = begun.replace(b"echo", b"body")
    for rest in (b"", more):
        with connect(server) as client:
            server.send(client, begun)
            if rest:
                dribble(server, client, rest, LIMITS.body_seconds)
            else:
                server.time.advance(LIMITS.body_seconds)
            assert "20 seconds" in refused(read_all(client), 408)
        assert app.gone.get(timeout=TIMEOUT) == "/body"


def dribble(server: Server, client: socket.socket, data: bytes, seconds: float) -> None:
    """Sends a byte a second, for so many seconds."""
    for byte in data[: round(seconds)]:
        server.send(client, bytes([byte]))
        server.time.advance(1)


def test_a_body_behind_other_requests_has_its_whole_time(server: Server, app: App) -> None:
    with connect(server) as client:
        server.send(client, HELD * 3 + POST + b"Content-Length: 100000\r\n\r\n")
        for _ in range(3):
            server.time.advance(LIMITS.body_seconds - 1)  # together, longer than a body may take
            release(server, app)
            assert statuses(read_until(client, b"}")) == [200]
        server.time.advance(LIMITS.body_seconds - 1)
        client.sendall(bytes(100_000) + LAST)
        assert statuses(read_all(client)) == [200, 200]


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"])
def test_idle(sent: bytes, server: Server) -> None:
    with connect(server) as client:
        succeed(client)
        server.time.advance(LIMITS.idle_seconds - 1)
        server.send(client, sent)
        server.time.advance(1)
        assert read_all(client) == b""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_loop_s_own_time_ends_what_never_comes(loop: str) -> None:
    with running(App(), LIMITS.model_copy(update={"header_seconds": 0.05}), loop, real=True) as server:
        assert "0.05 seconds" in refused(exchange(server, GET[:-2]), 408)


def test_who_stays_after_a_refusal_is_cut_off(server: Server) -> None:
    with connect(server) as client:
        client.sendall(b"garbage\r\n\r\n")
        refused(read_all(client), 400)
        server.time.advance(LIMITS.header_seconds)
        until(lambda: client.getsockname()[1] not in server.read)


def test_early_answer(server: Server) -> None:
    """The client reads only once it has sent everything: the answer is still there."""
    size = 16 * 2**20
    head = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % size
    assert statuses(exchange(server, head + b"\r\n", bytes(size), LAST)) == [413, 200]
    assert statuses(exchange(server, head + b"Connection: close\r\n\r\n", bytes(size), GET)) == [413]
    # Told not to send it, the client may go on with another request, which must not be taken for the body.
    with connect(server) as client:
        client.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert statuses(read_until(client, b"early")) == [413]
        client.sendall(GET)
        assert read_all(client) == b""


@pytest.mark.parametrize(
    ("begun", "then"), [(b"Content-Length: 9\r\n\r\n", b"a"), (b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n")]
)
def test_an_early_answer_is_the_only_one(begun: bytes, then: bytes, server: Server) -> None:
    with connect(server) as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\n" + begun)
        assert statuses(read_until(client, b"early")) == [413]
        server.send(client, then)
        server.time.advance(LIMITS.body_seconds)
        assert read_all(client) == b""  # no 408, no 400


def test_a_client_that_does_not_read(server: Server, app: App) -> None:
    with connect(server) as client:
        client.sendall(ENDLESS)
        until(lambda: server.time.advance(1) or not app.gone.empty())
    assert app.gone.get(timeout=TIMEOUT) == "/endless"


def test_half_closed(server: Server, app: App) -> None:
    """The client's end is the end: nothing tells one that still reads from one that has gone."""
    for data, path in ((b"", ""), (GET[:-2], ""), (CHUNKED.replace(b"echo", b"half"), "/half")):
        with connect(server) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b""
        if path:
            assert app.gone.get(timeout=TIMEOUT) == path


def test_gone_while_requests_wait(server: Server, app: App) -> None:
    with connect(server) as client:
        client.sendall(ENDLESS + GET)
        client.recv(1000)
    assert app.gone.get(timeout=TIMEOUT) == "/endless"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_connections(loop: str) -> None:
    heard: list[int] = []
    with running(App(), LIMITS.model_copy(update={"connections": 4}), loop, heard.append) as server:
        with ExitStack() as stack:
            for client in [stack.enter_context(connect(server)) for _ in range(4)]:
                succeed(client)
            answer = exchange(server, GET)
            refused(answer, 503)
            assert b"Retry-After: 1\r\n" in answer
            assert statuses(exchange(server, LAST.replace(b"/echo", b"/healthz"))) == [200]  # it lives
            more = [stack.enter_context(connect(server)) for _ in range(12)]
            for client in more:
                with suppress(OSError):  # beyond twice the limit it is closed already
                    client.sendall(GET)
            found = []
            for client in more:
                with suppress(ConnectionError):
                    found.append(statuses(client.recv(65536)))
            assert found.count([503]) <= 4
            assert [200] not in found
        until(lambda: statuses(exchange(server, LAST)) == [200])
        assert set(heard) == {503}


def test_silent_crowd(server: Server) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(server)) for _ in range(200)]
        for client in crowd:
            server.send(client, b"" if client in crowd[:100] else GET[:-2])
        assert statuses(exchange(server, LAST)) == [200]
        server.time.advance(LIMITS.header_seconds)
        for client in crowd:
            refused(read_all(client), 408)


def test_a_request_costs_no_timer(server: Server) -> None:
    before = server.time.begun
    with connect(server) as client:
        for _ in range(10):
            succeed(client)
    assert server.time.begun == before + 1
