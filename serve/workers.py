"""Decoding processes: one dies or hangs on somebody's file, the others go on, and another takes its place.

A thread waits on each process, so that the event loop never does. What crashes a process is tried once more, what hangs
one is not. A process that somebody killed, or stopped, says nothing of what it was at: that is tried again.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any, Literal, TypeVar

from prohibit_jax.images.decode import ImageError
from serve.errors import Refusal
from serve.log import LOG

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
TRIES = 2
MORE_TRIES = 4
"""Where processes end through no fault of their work."""

STARTS = 60.0
"""Seconds in which a process starts, on however busy a machine."""

ENDS = 0.2
"""Seconds in which a process that is about to end does."""

SECRETS = ("PROHIBIT_KEYS", "PROHIBIT_ADMIN_KEYS", "PROHIBIT_LABEL_KEY", "PROHIBIT_LABELS")
"""Of the environment, what those who open hostile bytes do not get."""

Death = Literal["died", "stuck"]


class WorkerError(Exception):
    """The process ended before it answered, or took too long and was ended."""

    def __init__(self, cause: Death, innocent: bool) -> None:
        super().__init__(cause, innocent)
        self.cause = cause
        self.innocent = innocent  # it was killed, or hardly had the processor


def processor_seconds(pid: int) -> float:
    """Seconds of a processor that a process has had."""
    with suppress(OSError):
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return 0.0


class Workers:
    """A fixed number of processes that run functions of other modules; thread-safe."""

    def __init__(
        self,
        count: int,
        seconds: float,
        allowance: int,
        died: Callable[[Death], None],
        processor: Callable[[int], float] = processor_seconds,
    ) -> None:
        """
        Args:
            count: processes; 0 is one a core.
            seconds: that a task may take.
            allowance: bytes of memory that a task may take.
            died: is told of each process that ended before it should, from another thread.
            processor: tells how many seconds of a processor a process has had.
        """
        self.count = count or len(os.sched_getaffinity(0))
        self._seconds = seconds
        self._allowance = allowance
        self._died = died
        self._processor = processor
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="decode")

    async def start(self) -> None:
        """Starts the processes and returns once each is ready."""
        workers = [self._worker() for _ in range(self.count)]
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._threads, worker.begin) for worker in workers))
        for worker in workers:
            self._idle.put(worker)

    async def run(self, function: Callable[..., T], *arguments: Any, until: float = inf) -> T:
        """The function's result, or its exception.

        Args:
            function: of a module.
            arguments: of the function.
            until: of the monotonic clock; what has not begun by then is given up.

        Raises:
            TimeoutError: no process was free in time.
            ImageError: it was the end of a process, twice, or took too long.
            Refusal: 503, processes were killed or stopped again and again.
        """
        begun = self._threads.submit(self._run, function, arguments)
        result: asyncio.Future[T] = asyncio.wrap_future(begun)
        try:
            if until < inf:
                await asyncio.wait((result,), timeout=until - monotonic())
                if not result.done() and begun.cancel():
                    raise TimeoutError
            return await result
        except asyncio.CancelledError:
            begun.cancel()  # nobody waits for it any more
            raise

    def stop(self) -> None:
        """Ends them all, without waiting for what they are at."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().end()

    def _worker(self) -> _Worker:
        return _Worker(self._allowance, self._seconds, self._processor)

    def _run(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        faults = 0
        for _ in range(MORE_TRIES):
            worker = self._idle.get()  # there is one, for there are as many as threads
            try:
                if not worker.alive:
                    worker = self._worker()
                result: T = worker.call(function, arguments)
            except WorkerError as error:
                self._died(error.cause)
                faults += not error.innocent
                if error.cause == "stuck" and faults:
                    raise ImageError("damaged", f"took more than {self._seconds:g} s to decode") from None
                if faults == TRIES:
                    raise ImageError("damaged", "ended the process that decoded it") from None
            except OSError as error:  # there is no memory, or no file, for another process
                self._died("died")
                LOG.warning("worker", extra={"fields": {"error": str(error)}})
            else:
                return result
            finally:
                self._idle.put(worker)
        raise Refusal(503, "the processes that decode photos do not live; try again in 1 s", {"Retry-After": "1"})


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, allowance: int, seconds: float, processor: Callable[[int], float]) -> None:
        ours, theirs = socket.socketpair()
        for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # cheaper than to poll before each read
            ours.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", int(seconds), int(seconds % 1 * 1e6)))
        command = [sys.executable, "-m", "serve.work", str(theirs.fileno()), str(allowance)]
        with theirs, ours:  # `detach` below leaves the latter open
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,  # where `serve` is found, however this process found it
                env={name: value for name, value in os.environ.items() if name not in SECRETS}
                | {"OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # where decoders' libraries say what they think of a file
                pass_fds=[theirs.fileno()],
            )
            self._pipe = Connection(ours.detach())
        self._seconds = seconds
        self._processor = processor
        self._had = 0.0  # seconds of a processor, when it said something last
        self._ready = False
        self.alive = True

    def begin(self) -> None:
        """Returns once the process is ready: that is no part of its work. Raises EOFError where it does not start."""
        if not self._ready:
            if not self._pipe.poll(STARTS):
                raise EOFError("a decoding process does not start")
            self._had = self._pipe.recv()
            self._ready = True

    def call(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        """The function's result, or its exception; WorkerError where there is neither."""
        try:
            self.begin()
            self._pipe.send((function, arguments))
            sound, result, stays, self._had = self._pipe.recv()
        except BlockingIOError:
            worked = self._processor(self._process.pid) - self._had
            self.end()
            raise WorkerError("stuck", worked < self._seconds / 2) from None
        except (OSError, EOFError, pickle.UnpicklingError):
            self.end()
            raise WorkerError("died", self._process.returncode == -signal.SIGKILL) from None
        except BaseException:
            self.end()  # or its answer would be the next one's
            raise
        if not stays:
            self.end()
        if not sound:
            raise result
        return result  # type: ignore[no-any-return]

    def end(self) -> None:
        """Kills the process, unless it has ended, and waits for it."""
        self.alive = False
        self._pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS)  # its pipe has closed: a crash says by itself what it was
        self._process.kill()
        self._process.wait()
