"""A uvicorn server in a thread, whose time a test drives, and clients that send bytes as they are."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import uvloop

from serve.protocol import limited_protocol
from serve.settings import LimitsConfig
from tests.waiting import TIMEOUT, until

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Time:
    """An event loop as connections see it: their timers ring when a test lets time pass, all else is the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._now = 1000.0
        self._timers: list[Timer] = []
        self.begun = 0  # timers, ever

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, ring: Callable[[], None]) -> Timer:
        timer = Timer(self._timers, when, ring)
        self._timers.append(timer)
        self.begun += 1
        return timer

    def advance(self, seconds: float) -> None:
        """Lets time pass, from another thread than the loop's; what is then due has happened."""
        asyncio.run_coroutine_threadsafe(self._pass(seconds), self._loop).result(TIMEOUT)

    async def _pass(self, seconds: float) -> None:
        end = self._now + seconds
        while due := [timer for timer in self._timers if timer.at <= end]:
            first = min(due, key=Timer.when)
            first.cancel()
            self._now = first.at
            first.ring()
        self._now = end


@dataclass(eq=False)
class Timer:
    """What `call_at` gives: one of those that are yet to ring."""

    others: list[Timer]
    at: float
    ring: Callable[[], None]

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        if self in self.others:
            self.others.remove(self)


@dataclass
class Server:
    """A server that runs."""

    port: int
    time: Any  # a `Time`, or the event loop itself
    read: dict[int, int] = field(default_factory=dict)
    """Bytes that each open connection has read and parsed, by its client's port."""

    def send(self, client: socket.socket, data: bytes) -> None:
        """Sends data, and returns once the server has read them."""
        port = client.getsockname()[1]
        until(lambda: port in self.read, pause=0.0005)
        end = self.read[port] + len(data)
        client.sendall(data)
        until(lambda: self.read[port] >= end, pause=0.0005)


class Watched:
    """Beside a protocol's class: its time is the server's, and the server knows what it has read."""

    served: Server

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"_loop": self.served.time})

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        self.port = transport.get_extra_info("peername")[1]
        self.served.read[self.port] = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)  # type: ignore[misc]
        self.served.read[self.port] += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # type: ignore[misc]
        self.served.read.pop(self.port, None)


@contextmanager
def running(
    app: Any,
    limits: LimitsConfig,
    loop: str = "asyncio",
    refused: Callable[[int], None] = lambda status: None,
    real: bool = False,
) -> Iterator[Server]:
    """Serves `app` on a free port of 127.0.0.1. Time stands still until a test lets it pass, unless it is `real`."""
    with socket.create_server(("127.0.0.1", 0)) as listener, asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        served = Server(listener.getsockname()[1], runner.get_loop() if real else Time(runner.get_loop()))
        http = type("WatchedProtocol", (Watched, limited_protocol(limits, refused)), {"served": served})
        server = uvicorn.Server(uvicorn.Config(app, http=http, log_config=None, lifespan="off", access_log=False))
        thread = threading.Thread(target=runner.run, args=(server.serve([listener]),))
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive())
            assert server.started
            yield served
        finally:
            server.should_exit = True
            thread.join()


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT)


def read_until(client: socket.socket, end: bytes) -> bytes:
    """What comes, up to and with `end`."""
    received = b""
    while not received.endswith(end):
        piece = client.recv(65536)
        assert piece, received
        received += piece
    return received


def read_all(client: socket.socket) -> bytes:
    """What comes until the server's end; a reset is an error."""
    received = b""
    while piece := client.recv(65536):
        received += piece
    return received


def exchange(server: Server, *pieces: bytes) -> bytes:
    """Sends the pieces, which may arrive together, then reads until the server closes."""
    with connect(server) as client:
        for piece in pieces:
            client.sendall(piece)
        return read_all(client)


def statuses(answers: bytes) -> list[int]:
    """Of each answer in a row of them, none of whose bodies holds a status line."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


async def read(receive: Any) -> bytes | None:
    """An ASGI request's body; None where the client goes away."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        if not message["more_body"]:
            return body


async def respond(send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def forever() -> None:
    await asyncio.Event().wait()
