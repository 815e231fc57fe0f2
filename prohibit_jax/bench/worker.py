"""One engine in a process of its own, so that its memory is its own and no other's threads are in it.

`Worker` starts the process, and `main` is what runs in it: it answers over a socket, one request at a time, and ends
when the other side hangs up.
"""

from __future__ import annotations

import gc
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import numpy as np

from prohibit_jax.bench.engines import Engine, cores_here
from prohibit_jax.bench.work import Work

ROOT = Path(__file__).resolve().parents[2]


class WorkerError(Exception):
    """Why an engine has no figures, in one line."""


@dataclass(frozen=True)
class Device:
    """What JAX computes on."""

    kind: str  # cpu or gpu
    name: str
    cores: int
    memory: int  # bytes


@dataclass(frozen=True)
class Loaded:
    """What an engine says of itself once it holds its weights."""

    weights: int  # bytes
    precision: str
    compiler: str
    seconds: float


class Worker:
    """A process that runs one engine; used as a context, it ends with it."""

    def __init__(self, limit: float) -> None:
        """Starts the process; every answer is waited for `limit` seconds at most."""
        self.limit = limit
        self.pipe, theirs = Pipe()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        # By default JAX takes three quarters of an accelerator's memory, of which other engines want some.
        settings = {"PYTHONPATH": os.pathsep.join(paths), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import main; main({theirs.fileno()})"],
                pass_fds=[theirs.fileno()],
                env=os.environ | settings,
                stdin=subprocess.DEVNULL,
                stdout=self.errors,
                stderr=self.errors,
            )

    def ask(self, request: str, *arguments: Any) -> Any:
        """The answer to a request. Raises WorkerError if it fails, takes too long, or kills the process."""
        try:
            self.pipe.send((request, arguments))
            if not self.pipe.poll(self.limit):
                raise WorkerError(f"{request}: no answer within {self.limit:.0f} s")
            good, answer = self.pipe.recv()
        except (EOFError, OSError):
            raise WorkerError(f"{request}: {self._death()}") from None
        if not good:
            raise WorkerError(f"{request}: {answer}")
        return answer

    def close(self) -> None:
        """Ends the process."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()
        self.errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _death(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        last = self.errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        if code == -9:
            return "killed, as the system does where memory runs out"
        return f"its process ended with {code}" + (f": {last[:200]}" if last else "")


class _Bench:
    """The requests that a worker answers."""

    def device(self) -> Device:
        """What there is to compute on."""
        import jax

        device = jax.devices()[0]
        cores = cores_here()
        if device.platform == "cpu":
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            return Device("cpu", f"{_processor()}, {cores} cores", cores, memory)
        return Device("gpu", device.device_kind, cores, int(device.memory_stats()["bytes_limit"]))

    def load(self, engine: Engine, work: Work) -> Loaded:
        """Builds the engine with the work's weights in it."""
        begun = time.perf_counter()
        self.engine = engine.loaded(work)
        self.images = work.photos()
        return Loaded(self.engine.weights, self.engine.precision, self.engine.compiler, time.perf_counter() - begun)

    def logits(self, work: Work, turns: int) -> np.ndarray:
        """Computes the logits of `turns` different sets of photos, [turns * b, k]; the first call compiles."""
        return np.concatenate([np.array(self.engine.logits(work.photos(turn))) for turn in range(turns)])

    def call(self) -> float:
        """Seconds from photos on the host to scores on the host."""
        gc.collect()
        begun = time.perf_counter()
        self.engine.call(self.images)
        return time.perf_counter() - begun

    def profile(self, calls: int) -> dict[str, Any]:
        """What an accelerator runs in one call of an engine in JAX: how many `kernels`, their `ms`, and each name's."""
        import jax

        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                for _ in range(calls):
                    self.engine.call(self.images)
            (trace,) = Path(folder).rglob("*.xplane.pb")
            return kernels(jax.profiler.ProfileData.from_file(str(trace)).planes, calls)

    def peak(self, device: str) -> int:
        """The most bytes of memory that this process took, or on an accelerator of the accelerator's."""
        if device == "gpu" and self.engine.device_peak:
            return self.engine.device_peak()
        status = Path("/proc/self/status")
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
        return 1024 * (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def kernels(planes: Iterable[Any], calls: int) -> dict[str, Any]:
    """The kernels of a trace of so many calls, per call: their number, `ms`, and `by_name` in ms; copies are none."""
    events = [
        event
        for plane in planes
        if plane.name.startswith("/device:GPU")
        for line in plane.lines
        if line.name.startswith("Stream")
        for event in line.events
        if not event.name.startswith(("Memcpy", "Memset"))
    ]
    by_name: Counter[str] = Counter()
    for event in events:
        by_name[event.name] += event.duration_ns / 1e6 / calls
    return {"kernels": len(events) / calls, "ms": by_name.total(), "by_name": dict(by_name.most_common())}


def main(descriptor: int) -> None:
    """Answers the requests that come over this socket."""
    bench = _Bench()
    pipe: Connection[Any, Any] = Connection(descriptor)
    volunteer()
    while True:
        try:
            request, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = (True, getattr(bench, request)(*arguments))
        except Exception as error:  # whatever a library raises is for the table to say
            text = " ".join(str(error).split())
            answer = (False, f"{type(error).__name__}: {text[:300]}")
        pipe.send(answer)


def volunteer() -> None:
    """Where memory runs out, Linux is to end an engine rather than the process that compares them."""
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("1000")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    name = re.search(r"model name\s*:\s*(.+)", text)
    flags = re.search(r"flags\s*:\s*(.+)", text)
    fast = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flags and flag in flags[1].split()]
    return " ".join([name[1] if name else platform.machine(), *([f"({', '.join(fast)})"] if fast else [])])
