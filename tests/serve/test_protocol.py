"""Whatever arrives on a connection has an end, an answer in its turn, and no effect on the others."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from serve import protocol
from serve.protocol import PIPELINED, TARGET
from serve.settings import LimitsConfig
from tests.serve.raw import connect, exchange, read, read_all, respond, running, statuses

QUICK = 0.3  # seconds
HURRIED = LimitsConfig(headers=4096, header_seconds=QUICK, body_seconds=QUICK, idle_seconds=QUICK)
PATIENT = LimitsConfig(headers=4096, header_seconds=60, body_seconds=60, idle_seconds=QUICK)  # idle: `exchange` ends
GET = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = GET[:-2] + b"Connection: close\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class App:
    """Answers by path; `gone` gets the path of each request whose client went away, unless that is /echo."""

    def __init__(self) -> None:
        self.gone: queue.Queue[str] = queue.Queue()

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
            if path == "/slow":
                await asyncio.sleep(0.05)
            names = [name.decode() for name, _ in scope["headers"]]
            await respond(send, 200, json.dumps({"path": path, "length": len(body), "names": names}).encode())


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def servers(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Ports of a server with little and one with much time, and the app."""
    app = App()
    with ExitStack() as stack:
        ports = {
            name: stack.enter_context(running(app, limits, request.param))
            for name, limits in {"hurried": HURRIED, "patient": PATIENT}.items()
        }
        yield {"app": app, **ports}


@pytest.fixture
def app(servers: dict[str, Any]) -> App:
    return servers["app"]


@pytest.fixture
def hurried(servers: dict[str, Any]) -> Iterator[int]:
    yield servers["hurried"]
    assert statuses(exchange(servers["hurried"], LAST)) == [200]


@pytest.fixture
def patient(servers: dict[str, Any]) -> Iterator[int]:
    yield servers["patient"]
    assert statuses(exchange(servers["patient"], LAST)) == [200]


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
    answer = b""
    while not answer.endswith(b"}"):
        answer += client.recv(65536)
    assert statuses(answer) == [200]


def fields(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % number for number in range(count))


def test_requests_as_they_should_be(patient: int) -> None:
    body = POST + b"Content-Length: 5\r\n\r\nhello"
    chunks = CHUNKED + b"5;name=value\r\nhello\r\n3\r\nyou\r\n0\r\nTrailer: x\r\n\r\n"
    answers = exchange(patient, GET + body + chunks + GET)
    assert statuses(answers) == [200] * 4
    assert [answers.count(b'"length": %d,' % length) for length in (0, 5, 8)] == [2, 1, 1]
    assert b"trailer" not in answers.lower().replace(b"transfer-encoding", b"")
    assert exchange(patient, *(bytes([byte]) for byte in body)).count(b'"length": 5') == 1
    assert exchange(patient, *(bytes([byte]) for byte in chunks)).count(b'"length": 8') == 1
    assert statuses(exchange(patient, b"GET /echo HTTP/1.0\r\n\r\n")) == [200]
    large = 3 * 2**20
    assert b'"length": %d' % large in exchange(patient, POST + b"Content-Length: %d\r\n\r\n" % large, bytes(large))
    many = b"".join(b"1000\r\n" + bytes(0x1000) + b"\r\n" for _ in range(500)) + b"0\r\n\r\n"
    assert b'"length": %d' % (500 * 0x1000) in exchange(patient, CHUNKED + many)
    tiny = b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
    assert b'"length": 20000' in exchange(patient, CHUNKED + tiny)
    waits = POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    assert statuses(exchange(patient, waits, b"hello", pause=0.1)) == [100, 200]


def test_pipelined(patient: int) -> None:
    requests = [b"GET /%s?%d HTTP/1.1\r\nHost: x\r\n\r\n" % (b"slow" if i % 7 == 0 else b"echo", i) for i in range(50)]
    assert statuses(exchange(patient, b"".join(requests))) == [200] * 50
    posts = [POST + b"Content-Length: %d\r\n\r\n" % length + bytes(length) for length in (100_000, 1, 200_000)]
    answers = exchange(patient, b"".join(posts))
    assert [answers.index(b'"length": %d,' % length) for length in (100_000, 1, 200_000)] == sorted(
        answers.index(b'"length": %d,' % length) for length in (100_000, 1, 200_000)
    )
    flood = exchange(patient, GET.replace(b"echo", b"slow") + GET * 400)
    refused(flood, *[200] * (PIPELINED + 1), 429)


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
def test_refused(case: str, patient: int) -> None:
    data, status = REFUSED[case]
    refused(exchange(patient, data), status)
    if status != 414 and case not in ("blank lines", "chunk extension", "trailers"):  # those dribble for too long
        refused(exchange(patient, *(data[i : i + 999] for i in range(0, len(data), 999))), status)


def test_limits_to_the_byte(patient: int) -> None:
    most = PATIENT.headers - len(b"/echoHost: x\r\nX: \r\n")
    assert statuses(exchange(patient, GET[:-2] + b"X: " + b"y" * most + b"\r\n\r\n")) == [200]
    refused(exchange(patient, GET[:-2] + b"X: " + b"y" * (most + 1) + b"\r\n\r\n"), 431)
    assert statuses(exchange(patient, GET[:-2] + fields(63) + b"\r\n")) == [200]


def test_answers_keep_their_order(patient: int, app: App) -> None:
    slow = GET.replace(b"echo", b"slow")
    refused(exchange(patient, slow + GET + b"garbage\r\n\r\n"), 200, 200, 400)
    refused(exchange(patient, slow + CHUNKED, b"zz\r\n", pause=0.01), 200, 400)
    refused(exchange(patient, CHUNKED.replace(b"echo", b"broken") + b"3\r\nabc\r\nzz\r\n"), 400)
    assert app.gone.get(timeout=30) == "/broken"


def test_a_refusal_is_not_put_into_an_answer(patient: int, app: App) -> None:
    with connect(patient) as client:
        client.sendall(GET.replace(b"echo", b"endless"))
        client.recv(1000)
        client.sendall(b"garbage\r\n\r\n")  # waits for the answer's end, which never comes
    assert app.gone.get(timeout=30) == "/endless"


@pytest.mark.parametrize("begun", [b"", b"GET", GET[:-2], GET[:-2] + b"X: y", b"\r\n"])
def test_slow_head(begun: bytes, hurried: int) -> None:
    refused(exchange(hurried, begun), 408)
    refused(exchange(hurried, GET, begun or b"G", pause=0.05), 200, 408) if begun != b"\r\n" else None


def test_dribbled_head(hurried: int) -> None:
    with connect(hurried) as client:
        answers = dribble(client, GET[:-2] + b"X: y\r\n" * 1000)
    refused(answers, 408)


@pytest.mark.parametrize("begun", [CHUNKED, CHUNKED + b"5\r\nhel", POST + b"Content-Length: 5\r\n\r\nhell"])
def test_slow_body(begun: bytes, hurried: int, app: App) -> None:
    text = refused(exchange(hurried, begun.replace(b"echo", b"body")), 408)
    assert "0.3 seconds" in text
    assert app.gone.get(timeout=30) == "/body"
    with connect(hurried) as client:
        client.sendall(begun.replace(b"echo", b"body"))
        refused(
            dribble(client, b"1\r\nx\r\n" * 1000 if b"chunked" in begun[:100] and b"hel" not in begun else b""), 408
        )
    assert app.gone.get(timeout=30) == "/body"


def dribble(client: socket.socket, data: bytes) -> bytes:
    """Sends a byte at a time until the server answers."""
    client.setblocking(False)
    answers = b""
    for byte in data:
        try:
            answers = client.recv(65536)
            break
        except BlockingIOError:
            client.send(bytes([byte]))
            time.sleep(0.02)
    client.settimeout(30)
    return answers + read_all(client)


def test_a_body_behind_other_requests_has_its_whole_time(hurried: int) -> None:
    slow = GET.replace(b"echo", b"slow") * 10  # longer than a body may take
    body = POST + b"Content-Length: 100000\r\n\r\n"
    assert statuses(exchange(hurried, slow + body, bytes(100_000))) == [200] * 11


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"])
def test_idle(sent: bytes, hurried: int) -> None:
    with connect(hurried) as client:
        succeed(client)
        client.sendall(sent)
        assert read_all(client) == b""


def test_early_answer(patient: int) -> None:
    """The client reads only once it has sent everything: the answer is still there."""
    size = 16 * 2**20
    head = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % size
    assert statuses(exchange(patient, head + b"\r\n", bytes(size), GET)) == [413, 200]
    assert statuses(exchange(patient, head + b"Connection: close\r\n\r\n", bytes(size), GET)) == [413]
    # Told not to send it, the client may go on with another request, which must not be taken for the body.
    assert statuses(exchange(patient, head + b"Expect: 100-continue\r\n\r\n", GET, pause=0.1)) == [413]


def test_an_early_answer_is_the_only_one(hurried: int) -> None:
    head = b"POST /early HTTP/1.1\r\nHost: x\r\n"
    assert statuses(exchange(hurried, head + b"Content-Length: 9\r\n\r\n", b"a")) == [413]  # and no 408
    assert statuses(exchange(hurried, head + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n", pause=0.05)) == [413]


def test_a_client_that_does_not_read(hurried: int, app: App) -> None:
    with connect(hurried) as client:
        client.sendall(GET.replace(b"echo", b"endless"))
        assert app.gone.get(timeout=30) == "/endless"


def test_half_closed(patient: int, app: App) -> None:
    """The client's end is the end: nothing tells one that still reads from one that has gone."""
    for data, path in ((b"", ""), (GET[:-2], ""), (CHUNKED.replace(b"echo", b"half"), "/half")):
        with connect(patient) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b""
        if path:
            assert app.gone.get(timeout=30) == path


def test_gone_while_requests_wait(patient: int, app: App) -> None:
    with connect(patient) as client:
        client.sendall(GET.replace(b"echo", b"endless") + GET)
        client.recv(1000)
    assert app.gone.get(timeout=30) == "/endless"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_connections(loop: str) -> None:
    heard: list[int] = []
    with running(App(), HURRIED.model_copy(update={"connections": 4, "idle_seconds": 60}), loop, heard.append) as port:
        with ExitStack() as stack:
            for client in [stack.enter_context(connect(port)) for _ in range(4)]:
                succeed(client)
            answer = exchange(port, GET)
            refused(answer, 503)
            assert b"Retry-After: 1\r\n" in answer
            assert statuses(exchange(port, LAST.replace(b"/echo", b"/healthz"))) == [200]  # it lives
            more = [stack.enter_context(connect(port)) for _ in range(12)]
            for client in more:
                with suppress(OSError):  # beyond twice the limit it is closed already
                    client.sendall(GET)
            found = []
            for client in more:
                with suppress(ConnectionError):
                    found.append(statuses(client.recv(65536)))
            assert found.count([503]) <= 4
            assert [200] not in found
        deadline = time.monotonic() + 30
        while statuses(answer := exchange(port, LAST)) != [200]:
            refused(answer, 503)
            assert time.monotonic() < deadline
        assert set(heard) == {503}


def test_silent_crowd(hurried: int) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(hurried)) for _ in range(200)]
        for client in crowd[100:]:
            client.sendall(GET[:-2])
        assert statuses(exchange(hurried, GET)) == [200]
        for client in crowd:
            refused(read_all(client), 408)


def test_a_request_costs_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    rings: list[object] = []
    ring = protocol._Limited._ring
    monkeypatch.setattr(protocol._Limited, "_ring", lambda self: (rings.append(self), ring(self)))
    with running(App(), PATIENT.model_copy(update={"idle_seconds": 90}), "uvloop") as port, connect(port) as client:
        for _ in range(50):
            succeed(client)
    assert len(rings) == 1
