"""What goes wrong in decoding processes; a module that they import in no time."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

from prohibit_jax.types import InputError


def die_once(path: str) -> str:
    """Kills its process the first time."""
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def suffer(harm: str) -> None:
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[harm])


def spin() -> None:
    while True:
        pass


def wait_at(gate: str) -> None:
    """Goes on once nobody has the file locked."""
    with open(gate) as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def hog(bytes_: int) -> int:
    return len(bytearray(bytes_))


def unpicklable() -> None:
    class LocalError(Exception):
        pass

    raise LocalError("nobody knows me")


def refuse() -> None:
    raise InputError("class '!': no")
