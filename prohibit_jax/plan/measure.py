"""Times heads of several forms on this device, all in turn, so that whatever slows it for a while strikes them all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from prohibit_jax.bench.engines import OURS, Engine, Running
from prohibit_jax.bench.jax_engines import device_peak, numbers
from prohibit_jax.bench.race import FULL, LIMIT, REST, SLOW, WARM, title
from prohibit_jax.bench.work import Work
from prohibit_jax.bench.worker import Device, Loaded, Worker, WorkerError
from prohibit_jax.plan.predict import Cost, Form
from prohibit_jax.score.engine import Precision
from prohibit_jax.score.scorer import load_scorer
from prohibit_jax.score.xla import XlaEngine
from prohibit_jax.types import Advance, InputError, Line, silent

FEW, MANY, MOST = 2, 6, 32
"""Heads of a form's two points. One alone would fit into a processor's cache, where a bundle's do not; of small heads
it takes more, up to `MOST`, to tell them from nothing."""
CALLS = (7, 60)  # of each point, at least and at most
SECONDS = 60.0  # for the timed calls of all points


@dataclass(frozen=True)
class Point:
    """Something to time."""

    work: Work
    engine: Engine = OURS


@dataclass(frozen=True)
class Figure:
    """What was found of a point."""

    ms: float  # the median call
    mb: float  # the most that its process took
    compiler: str


@dataclass(frozen=True)
class Serving(Work):
    """A bundle of a store in place of drawn weights, as it would serve."""

    bundle: str = ""
    store: str = ""


def serving(work: Serving, precision: Precision) -> Running:
    """The bundle's scorer as an engine."""
    scorer = load_scorer(work.bundle, work.store, (work.batch,), precision=precision)
    photos = {size: replace(work, size=size).photos() for size in scorer.sizes}
    compiler = "xla" if isinstance(scorer.engine, XlaEngine) else "openvino"
    return Running(lambda _: scorer(photos), lambda _: scorer.logits(photos), 0, precision, compiler, device_peak)


def points_of(form: Form, batch: int, precision: Precision) -> tuple[Point, Point]:
    """The two points that a form's cost is drawn through."""
    _, head = form.networks
    many = min(MOST, ceil(MANY * numbers(Form(form.arch, form.size).networks[1]) / numbers(head)))
    engine = replace(OURS, precision=precision)
    few, more = (Point(Work(heads, batch, form.size, form.trunk, form.arch), engine) for heads in (FEW, many))
    return few, more


def serving_point(bundle: str, store: str, batch: int, precision: Precision) -> Point:
    """The bundle itself."""
    engine = Engine(f"bundle {bundle}", f"{__name__}:serving", precision)
    return Point(Serving(heads=0, batch=batch, size=32, bundle=bundle, store=store), engine)


def costs_of(forms: Sequence[Form], points: Sequence[Point], figures: Sequence[Figure]) -> dict[Form, Cost]:
    """Each form's cost, from its two points, which follow one another, and from what was found of them."""
    costs = {}
    for form, first in zip(forms, range(0, len(points), 2), strict=True):
        few, many = (point.work.heads for point in points[first : first + 2])
        low, high = figures[first : first + 2]
        costs[form] = cost_of(form, few, many, low, high)
    return costs


def cost_of(form: Form, few: int, many: int, low: Figure, high: Figure) -> Cost:
    """The straight line through two points; nothing costs less than 0.

    Args:
        form: what was measured.
        few: heads of the first point.
        many: heads of the second, more.
        low: what was found of the first.
        high: and of the second.
    """
    each_ms, each_mb = (max(0.0, rise / (many - few)) for rise in (high.ms - low.ms, high.mb - low.mb))
    fixed_ms, fixed_mb = max(0.0, low.ms - few * each_ms), max(0.0, low.mb - few * each_mb)
    return Cost(form, fixed_ms, each_ms, fixed_mb, each_mb)


def measure(
    points: Sequence[Point],
    device: Device,
    *,
    seconds: float = SECONDS,
    limit: float = LIMIT,
    progress: Line = silent,
) -> list[Figure]:
    """A figure for each point, every one in a process of its own.

    All points that fit into the memory side by side take turns; where not all do, there are several such rounds.

    Args:
        device: as `race.look` finds it.
        seconds: what the timed calls of a round may take together.
        limit: seconds that a point may take for one answer.

    Raises InputError if any cannot be measured.
    """
    figures: list[Figure] = []
    advance = progress("loading")
    while len(figures) < len(points):
        with ExitStack() as stack:
            runners: list[_Runner] = []
            for number, point in enumerate(points[len(figures) :], len(figures)):
                advance(number, len(points), f"loading {_name(point)}")
                peaks = [runner.peak() for runner in runners]
                if peaks and sum(peaks) + max(peaks) > FULL * device.memory:
                    break
                runners.append(_Runner(point, device, stack.enter_context(Worker(limit))))
            _take_turns(runners, seconds, progress("timing"))
            figures += [runner.figure() for runner in runners]
    advance(len(points), len(points), "loaded")
    return figures


class _Runner:
    """A point in its process."""

    def __init__(self, point: Point, device: Device, worker: Worker) -> None:
        self.point, self.device, self.worker = point, device, worker
        self.loaded: Loaded = self._ask("load", point.engine, point.work)
        self.times: list[float] = []  # seconds
        self.call()
        while len(self.times) < WARM and self.times[0] < SLOW:
            self.call()
        self.expected = min(self.times)
        self.times = []

    def call(self) -> None:
        """Times a call."""
        time.sleep(REST)
        self.times.append(self._ask("call"))

    def peak(self) -> int:
        """The most bytes that it took so far."""
        peak: int = self._ask("peak", self.device.kind)
        return peak

    def figure(self) -> Figure:
        """What was found."""
        return Figure(1e3 * float(np.median(self.times)), self.peak() / 1e6, self.loaded.compiler)

    def _ask(self, request: str, *arguments: Any) -> Any:
        try:
            return self.worker.ask(request, *arguments)
        except WorkerError as error:
            raise InputError(f"{_name(self.point)} cannot be measured: {error}") from None


def _take_turns(runners: Sequence[_Runner], seconds: float, advance: Advance) -> None:
    least, most = CALLS
    turns = int(np.clip(seconds / sum(runner.expected + REST for runner in runners), least, most))
    for turn in range(turns):
        advance(turn, turns)
        for runner in runners:
            runner.call()
    advance(turns, turns)


def _name(point: Point) -> str:
    return point.engine.name if isinstance(point.work, Serving) else title(point.work)
