"""What a decoding process runs: hostile bytes are opened where a crash or an endless loop costs one small process.

Started as `python -m serve.work HANDLE BYTES`; it answers one task after the other until its pipe closes.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from prohibit_jax.images.decode import ImageError, Limits
from prohibit_jax.images.resize import load, resize
from prohibit_jax.types import InputError, Photo
from serve.errors import Refusal

KEPT = 24 * 2**20
"""Bytes by which a process may have grown after a task: what is more is given back, or it ends and is replaced."""

NICENESS = 10
"""The device goes first: decoded photos wait for it, and one of its threads that has to wait holds up all of them."""

Given = bytes | np.ndarray | ImageError
"""A photo: a file, its pixels as uint8 [h, w, 3], or why there is none."""

Prepared = tuple[dict[int, Photo] | ImageError, float]
"""A photo's pixels at each size, uint8 [size, size, 3], or why there are none, and the seconds that it took."""


def prepare(photos: Sequence[Given], sizes: Sequence[int], limits: Limits) -> list[Prepared]:
    """Opens photos, each with an error of its own.

    Args:
        photos: some of one request.
        sizes: edge lengths, pixels.
        limits: on bytes and pixels of a file.
    """
    return [_prepared(photo, sizes, limits) for photo in photos]


def _prepared(photo: Given, sizes: Sequence[int], limits: Limits) -> Prepared:
    began = perf_counter()
    found: dict[int, Photo] | ImageError
    try:
        if isinstance(photo, ImageError):
            raise photo
        if isinstance(photo, bytes):
            found = {size: load(photo, size, limits) for size in sizes}
        else:
            found = {size: photo if photo.shape == (size, size, 3) else resize(photo, size) for size in sizes}
    except ImageError as error:
        found = error
    except MemoryError:
        found = _no_memory()
    return found, perf_counter() - began


def main(handle: int, allowance: int) -> None:
    """Says that it is ready, then answers each (function, arguments) until the pipe closes.

    It is ready when it says how many seconds of a processor it has had. An answer is (whether it went well, the result
    or the exception, whether another may follow, those seconds).

    Args:
        handle: of the pipe's end.
        allowance: bytes of memory that a task may take beyond what the process has now.
    """
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the service says when to end
    base = _pages(0)
    with suppress(ValueError, OSError):  # a lower limit is in force
        resource.setrlimit(resource.RLIMIT_AS, (base + allowance, base + allowance))
    resident = _pages(1)
    with Connection(handle) as pipe, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send(process_time())  # ready
        while True:
            function, arguments = pipe.recv()
            sound, result = _run(function, arguments)
            del arguments  # before memory is looked at
            if _pages(1) > resident + KEPT:
                _give_back()
            stays = _pages(1) < resident + KEPT
            pipe.send((sound, result, stays, process_time()))
            del result
            if not stays:
                return


def _run(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[bool, Any]:
    try:
        return True, function(*arguments)
    except MemoryError:
        return False, _no_memory()
    except (InputError, Refusal) as error:
        return False, error
    except Exception as error:  # one that may not survive the pipe
        return False, RuntimeError(f"{type(error).__name__}: {error}")


def _no_memory() -> ImageError:
    return ImageError("too_many_pixels", "needs more memory than may be used")


def _give_back() -> None:
    """Returns what the C library keeps for later to the system."""
    with suppress(AttributeError, OSError):  # another C library than GNU's
        ctypes.CDLL(None).malloc_trim(0)


def _pages(field: int) -> int:
    """Bytes of address space (0) or of memory (1) that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
