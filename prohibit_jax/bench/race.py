"""Engines timed in turn on one work, after their outputs were compared with those of the networks as trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import ceil
from typing import Any

import numpy as np

from prohibit_jax.bench.engines import REFERENCE, Engine
from prohibit_jax.bench.work import Work
from prohibit_jax.bench.worker import Device, Loaded, Worker, WorkerError
from prohibit_jax.types import Advance, Line, silent

Row = dict[str, Any]

LIMIT = 900.0  # seconds for any one answer, of which compiling is the longest
CALLS = (3, 200)  # timed calls of an engine, at least and at most
WARM = 3  # calls before the first timed one, for compilers that trace twice and caches that fill
SLOW = 2.0  # seconds from which on a call needs no more warming than the first
REST = 0.02  # seconds between calls, in which the threads that wait for more work go to sleep
PHOTOS = 4  # at least so many are compared
FULL = 0.8  # of the memory, over which no engine is started beside others

# Of `differ`. Measured: float32 1e-5, and 1e-2 where a GPU multiplies in tf32; bfloat16 0.01 to 0.15. The weights of
# another head are at 1 and more.
TOLERANCE = {"float32": 0.05, "bfloat16": 0.5}


def look(limit: float = LIMIT) -> Device:
    """What there is to compute on, found by a process that ends again, since whoever looks takes memory of it."""
    with Worker(limit) as worker:
        device: Device = worker.ask("device")
        return device


def race(
    work: Work,
    engines: Sequence[Engine],
    device: Device,
    *,
    seconds: float = 10.0,
    limit: float = LIMIT,
    progress: Line = silent,
) -> list[Row]:
    """A row for each engine, in the order given: its figures, or in `error` why there are none.

    All engines that fit into the memory side by side take turns. Where not all fit, there are several such rounds, the
    first engine in each, and every other is compared with it as it was in their common round.

    Args:
        engines: the first is the one that the others are compared with in speed.
        device: as `look` finds it.
        seconds: what the timed calls of an engine may take together.
        limit: seconds that an engine may take for one answer.
    """
    ours, *waiting = engines
    try:
        truth = _reference(work, limit)
    except WorkerError as error:
        return [_Runner(work, engine).row(f"the reference to compare with: {error}") for engine in engines]
    rows: list[Row] = []
    while waiting or not rows:
        with ExitStack() as stack:
            advance = progress(f"{title(work)}: loading")
            runners: list[_Runner] = []
            for engine in (ours, *waiting):
                advance(len(runners), 1 + len(waiting), f"{title(work)}: loading {engine.name}")
                peaks = [runner.peak for runner in runners]
                if len(runners) > 1 and sum(peaks) + max(peaks) > FULL * device.memory:
                    break
                runners.append(_Runner(work, engine))
                runners[-1].attempt(runners[-1].load, truth, device, limit, stack)
            advance(1 + len(waiting), 1 + len(waiting), f"{title(work)}: loaded")
            waiting = waiting[len(runners) - 1 :]
            _take_turns([runner for runner in runners if not runner.error], seconds, progress("timing"))
            for runner in runners:
                runner.attempt(runner.look_back, device)
            found = [runner.row(runner.error) for runner in runners]
            rows += _compared(found)[1 if rows else 0 :]
    return rows


def _compared(rows: list[Row]) -> list[Row]:
    """The rows with what each one's time is to the first one's, where both have one."""
    ours = rows[0].get("p50_ms")
    return [row | {"ratio": row["p50_ms"] / ours} if ours and "p50_ms" in row else row for row in rows]


def title(work: Work) -> str:
    """A work in a few words."""
    return f"{work.arch.name} x{work.heads}" + (f" on a trunk through {work.trunk}" if work.trunk else "")


def _reference(work: Work, limit: float) -> np.ndarray:
    with Worker(limit) as worker:
        worker.ask("load", REFERENCE, work)
        logits: np.ndarray = worker.ask("logits", work, ceil(PHOTOS / work.batch))
        return logits


class _Runner:
    """An engine on its way to a row."""

    def __init__(self, work: Work, engine: Engine) -> None:
        self.work, self.engine = work, engine
        self.error = engine.missing
        self.times: list[float] = []  # seconds
        self.peak = 0  # bytes

    def attempt(self, step: Callable[..., None], *arguments: Any) -> None:
        """Takes a step, unless one has failed; the engine of a failed one gives its memory back."""
        if not self.error:
            try:
                step(*arguments)
            except WorkerError as error:
                self.error, self.peak = str(error), 0
                self.worker.close()

    def load(self, truth: np.ndarray, device: Device, limit: float, stack: ExitStack) -> None:
        """Starts the engine, compares its outputs and warms it. Raises WorkerError if they differ."""
        self.worker = worker = stack.enter_context(Worker(limit))
        self.loaded: Loaded = worker.ask("load", self.engine, self.work)
        begun = time.perf_counter()
        found = worker.ask("logits", self.work, ceil(PHOTOS / self.work.batch))
        self.seconds_to_first = self.loaded.seconds + time.perf_counter() - begun
        self.difference = differ(found, truth)
        allowed = TOLERANCE[self.loaded.precision]
        if not self.difference <= allowed:
            raise WorkerError(
                f"its outputs are {self.difference:.2g} of their scale off; {self.loaded.precision} explains {allowed}"
            )
        self.call()
        while len(self.times) < WARM and self.times[0] < SLOW:
            self.call()
        self.expected = min(self.times)
        self.times = []
        self.look_back(device)

    def call(self) -> None:
        """Times a call."""
        time.sleep(REST)
        self.times.append(self.worker.ask("call"))

    def look_back(self, device: Device) -> None:
        """Asks how much memory it has taken so far."""
        self.peak = self.worker.ask("peak", device.kind)

    def row(self, error: str) -> Row:
        """What is reported."""
        work = self.work
        setting = {
            "engine": self.engine.name, "model": work.arch.name, "heads": work.heads, "batch": work.batch,
            "size": work.size, "trunk": work.trunk,
        }  # fmt: skip
        if error:
            return setting | {"precision": self.engine.precision, "error": error}
        p50, p95 = np.percentile(self.times, (50, 95))
        return setting | {
            "precision": self.loaded.precision, "compiler": self.loaded.compiler, "p50_ms": 1e3 * float(p50),
            "p95_ms": 1e3 * float(p95), "photos_per_second": work.batch / float(p50), "calls": len(self.times),
            "weights_mb": self.loaded.weights / 1e6, "peak_mb": self.peak / 1e6,
            "first_score_s": self.seconds_to_first, "difference": self.difference,
        }  # fmt: skip


def differ(found: np.ndarray, truth: np.ndarray) -> float:
    """The worst head's distance from the truth in parts of its logits' scale, both as root mean squares over photos.

    Args:
        found: logits [photos, k].
        truth: what they should be.
    """
    if found.shape != truth.shape:
        return float("inf")
    distance, scale = (np.sqrt(np.square(array, dtype=np.float64).mean(0)) for array in (found - truth, truth))
    return float((distance / scale).max())


def _take_turns(runners: Sequence[_Runner], seconds: float, advance: Advance) -> None:
    """Times every engine as often as `seconds` allow, its calls evenly among all others', so that whatever slows the
    machine for a while strikes them all."""
    least, most = CALLS
    counts = [int(np.clip(seconds / runner.expected, least, most)) for runner in runners]
    turns = sorted(((call + 0.5) / count, number) for number, count in enumerate(counts) for call in range(count))
    for done, (_, number) in enumerate(turns):
        advance(done, len(turns))
        runners[number].attempt(runners[number].call)
    advance(len(turns), len(turns))
