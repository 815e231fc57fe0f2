"""A uvicorn server in a thread, and clients that send bytes as they are."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from serve.protocol import limited_protocol
from serve.settings import LimitsConfig


@contextmanager
def running(
    app: Any, limits: LimitsConfig, loop: Any = "asyncio", refused: Callable[[int], None] = lambda status: None
) -> Iterator[int]:
    """Serves `app` on a free port of 127.0.0.1, which it yields."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, loop=loop, http=limited_protocol(limits, refused), log_config=None, lifespan="off", access_log=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def read_all(client: socket.socket) -> bytes:
    """What comes until the server's end; a reset is an error."""
    received = b""
    while piece := client.recv(65536):
        received += piece
    return received


def exchange(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Sends the pieces, then reads until the server closes."""
    with connect(port) as client:
        for piece in pieces:
            client.sendall(piece)
            time.sleep(pause)
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
