"""The process that annotators' pages talk to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable

import uvicorn
import uvloop

from prohibit_jax.types import InputError
from serve.guard import keys_of
from serve.labelling.app import LIMITS, create_app, is_loopback
from serve.labelling.photos import LIMITS as PHOTO
from serve.labelling.photos import Read
from serve.labelling.session import Session
from serve.listening import Server, bound
from serve.log import log, set_up
from serve.protocol import limited_protocol
from serve.service import BYTES_A_PIXEL
from serve.workers import Death, Workers

KEY = "PROHIBIT_LABEL_KEY"
"""The environment's key, or several with commas, that annotators need; without one only this machine is served."""

DECODERS = 2
"""Processes that open photos, each next to nothing while nobody asks."""

DECODING = 20.0
"""Seconds that a photo may take."""

PATIENCE = 3
"""Seconds for what is in flight when a signal ends the server."""


def serve_labelling(session: Session, read: Read, host: str, port: int, listening: Callable[[str, int], None]) -> None:
    """Serves the page until a signal ends it; every answer that it has acknowledged is stored.

    Args:
        session: what is labelled.
        read: gives a photo's bytes by its path.
        host: to listen at.
        port: 0 is any free one.
        listening: is told host and port once connections are taken.

    Raises:
        InputError: the address is of no use, or open to others without a key.
    """
    keys = keys_of(KEY)
    if not keys and not is_loopback(host):
        raise InputError(
            f"--host {host}: others can reach it, so annotators need a key: set {KEY}, as openssl rand -hex 24"
        )
    with bound(host, port) as listener:
        set_up()
        uvloop.run(_serve(session, read, keys, listener, listening))


async def _serve(
    session: Session,
    read: Read,
    keys: tuple[str, ...],
    listener: socket.socket,
    listening: Callable[[str, int], None],
) -> None:
    workers = Workers(
        min(DECODERS, os.cpu_count() or 1), DECODING, BYTES_A_PIXEL * PHOTO.pixels + 8 * PHOTO.bytes, _died
    )
    server = Server(
        uvicorn.Config(
            create_app(session, read, workers, keys),
            http=limited_protocol(LIMITS),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=PATIENCE,
        )
    )

    def end() -> None:
        server.force_exit = server.should_exit  # it is the second
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    await workers.start()
    try:
        listening(*listener.getsockname()[:2])
        await server.serve([listener])
    finally:
        workers.stop()


def _died(cause: Death) -> None:
    log("worker", logging.WARNING, cause=cause, hint="a decoding process was replaced")
