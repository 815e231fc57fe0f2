"""Decoding processes: one dies or hangs on somebody's file, the others go on, and another takes its place.

A thread waits on each process, so that the event loop never does. What a process was at work on when it died is tried
once more, since more often than not somebody else's doing killed it; what it hung on is not.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any, Literal, TypeVar

from prohibit_jax.images.decode import ImageError

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
TRIES = 2
Death = Literal["died", "stuck"]


class WorkerError(Exception):
    """The process ended before it answered, or took too long and was ended."""

    def __init__(self, cause: Death) -> None:
        super().__init__(cause)
        self.cause = cause


class Workers:
    """A fixed number of processes that run functions of other modules; thread-safe."""

    def __init__(self, count: int, seconds: float, allowance: int, died: Callable[[Death], None]) -> None:
        """
        Args:
            count: processes; 0 is one a core.
            seconds: that a task may take.
            allowance: bytes of memory that a task may take.
            died: is told of each process that ended before it should, from another thread.
        """
        self.count = count or len(os.sched_getaffinity(0))
        self._seconds = seconds
        self._allowance = allowance
        self._died = died
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="decode")

    async def start(self) -> None:
        """Starts the processes and returns once each has answered."""
        workers = [_Worker(self._allowance) for _ in range(self.count)]
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._threads, w.call, os.getpid, (), 60.0) for w in workers))
        for worker in workers:
            self._idle.put(worker)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """The function's result, or its exception.

        Raises:
            ImageError: it was the end of a process, twice, or took too long.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, function, arguments)

    def stop(self) -> None:
        """Ends them all, without waiting for what they are at."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().end()

    def _run(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        for _ in range(TRIES):
            worker = self._idle.get()  # there is one, for there are as many as threads
            try:
                result: T = worker.call(function, arguments, self._seconds)
            except WorkerError as error:
                self._died(error.cause)
                if error.cause == "stuck":
                    raise ImageError("damaged", f"took more than {self._seconds:g} s to decode") from None
            else:
                return result
            finally:
                self._idle.put(worker if worker.alive else _Worker(self._allowance))
        raise ImageError("damaged", "ended the process that decoded it")


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, allowance: int) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "serve.work", str(theirs.fileno()), str(allowance)]
        with theirs:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,  # where `serve` is found, however this process found it
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._pipe = Connection(ours.detach())
        self.alive = True

    def call(self, function: Callable[..., T], arguments: tuple[Any, ...], seconds: float) -> T:
        """The function's result, or its exception; WorkerError where there is neither."""
        begun = monotonic()
        try:
            self._pipe.send((function, arguments))
            if not self._pipe.poll(max(seconds - (monotonic() - begun), 0)):
                self.end()
                raise WorkerError("stuck")
            sound, result, stays = self._pipe.recv()
        except (OSError, EOFError, pickle.UnpicklingError):
            self.end()
            raise WorkerError("died") from None
        if not stays:
            self.end()
        if not sound:
            raise result
        return result  # type: ignore[no-any-return]

    def end(self) -> None:
        """Kills the process and waits for it."""
        self.alive = False
        self._pipe.close()
        self._process.kill()
        self._process.wait()
