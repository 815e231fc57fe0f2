"""What every server of ours begins with: a socket that listens, and uvicorn without its ideas about signals."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from prohibit_jax.types import InputError

BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn's server; left to itself it would raise a signal again when it is done."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the process."""
        yield


def bound(host: str, port: int) -> socket.socket:
    """A socket on which clients wait from here on, and are not refused. Raises InputError where it cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise InputError(f"--host {host} --port {port}: {error.strerror or error}; choose another") from None
    return made


def address(host: str, port: int) -> str:
    """The URL of what listens there."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
