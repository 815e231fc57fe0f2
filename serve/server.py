"""The process: a socket, an event loop, and what signals mean.

It listens before the heads are loaded, so that probes get an answer. SIGTERM drains: unready at once, still serving for
`drain_seconds`, until load balancers have noticed; then no new connection, and `stop_seconds` for what is in flight.
SIGINT does the same without the first wait, a second signal without any. SIGHUP reads the bundle's lock file again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvicorn
import uvloop

from prohibit_jax.bundle.lock import read_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.types import InputError
from serve.app import create_app
from serve.errors import Refusal
from serve.guard import Keys
from serve.listening import BACKLOG, Server, bound
from serve.log import log, set_up
from serve.protocol import limited_protocol
from serve.service import Service
from serve.settings import ServeConfig


def serve(
    bundle: str,
    store: Store,
    host: str,
    port: int,
    settings: ServeConfig,
    listening: Callable[[str, int], None],
) -> None:
    """Serves a bundle until a signal ends it.

    Args:
        bundle: its name.
        store: that has it.
        host: to listen at.
        port: 0 is any free one.
        settings: all the rest.
        listening: is told host and port once connections are taken.

    Raises:
        InputError: the bundle, a key or the address is of no use, in one line.
    """
    read_bundle(store, bundle)  # what is wrong with it is said before anything is set up
    keys = Keys.from_environment()
    with bound(host, port) as listener:
        set_up()
        _open_files()
        service = Service(store, bundle, settings)
        uvloop.run(_serve(service, keys, listener, listening))
    if service.repository.busy:  # compiling, which nothing ends but the process' own end
        sys.stdout.flush()
        os._exit(0)


async def _serve(service: Service, keys: Keys, listener: socket.socket, listening: Callable[[str, int], None]) -> None:
    config, limits = service.settings.service, service.settings.limits
    server = Server(
        uvicorn.Config(
            create_app(service, keys),
            http=limited_protocol(limits, service.metrics.refused),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=round(config.stop_seconds),
        )
    )
    loop = asyncio.get_running_loop()
    serving = loop.create_task(server.serve([listener]))
    starting = loop.create_task(service.start())
    signalled: set[asyncio.Task[None]] = set()  # what signals began: the loop itself would forget it

    def end(number: signal.Signals) -> None:
        log("signal", name=number.name)
        server.force_exit = service.draining  # it is the second
        serves = service.ready and number is signal.SIGTERM
        service.drain()
        begin(_end(server, config.drain_seconds if serves else 0.0))

    def reload() -> None:
        log("signal", name="SIGHUP")
        begin(_reload(service))

    def begin(work: Coroutine[Any, Any, None]) -> None:
        task = loop.create_task(work)
        signalled.add(task)
        task.add_done_callback(signalled.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, reload)
    host, port = listener.getsockname()[:2]
    log("listening", host=host, port=port)
    listening(host, port)
    try:
        done, _ = await asyncio.wait((serving, starting), return_when=asyncio.FIRST_COMPLETED)
        if starting in done:
            starting.result()
            _settle()
        await serving
    finally:
        server.should_exit = True
        await serving
        starting.cancel()  # what its threads are at goes on, and is not waited for
        with contextlib.suppress(asyncio.CancelledError, InputError):
            await starting
        await service.stop()
        log("stopped")


async def _end(server: uvicorn.Server, wait: float) -> None:
    await asyncio.sleep(wait)
    server.should_exit = True


async def _reload(service: Service) -> None:
    with contextlib.suppress(Refusal):  # which is in the log
        await service.repository.reload()


def _settle() -> None:
    """Takes what lives as long as the process out of the garbage collector's rounds, each of which stops everything."""
    gc.collect()
    gc.freeze()


def _open_files() -> None:
    """Lets the process have as many files and connections as it may, which is often more than it begins with."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
