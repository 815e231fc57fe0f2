"""The service without its wire: photos in, an answer out, whatever goes on around it.

What a request of photos goes through: admission, a decoding process each, the device's queue, one edition's scorer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import numpy as np

from prohibit_jax.bundle.store import Store
from prohibit_jax.images.decode import ImageError, Limits
from prohibit_jax.score.bands import band
from prohibit_jax.types import Photo, Scores
from serve import work
from serve.batcher import Admission, Batcher, Scored
from serve.edition import Edition
from serve.errors import Refusal
from serve.log import log
from serve.metrics import Metrics
from serve.pace import Pace
from serve.repository import Repository
from serve.settings import ServeConfig
from serve.statistics import Statistics
from serve.work import Given, Prepared
from serve.workers import Death, Workers

T = TypeVar("T")
Result = tuple[Scored | ImageError, float]
"""A photo's scores, or why there are none, and the seconds until it was opened."""

BYTES_A_PIXEL = 24
"""Of memory that decoding takes at most."""
TOGETHER = 4
"""Photos that a process is given at once: a call has a cost of its own."""
REHEARSALS = 5
"""Runs of each batch size before the first request, by which the device's pace is known."""
PROMISED = 0.85
"""Of a budget is for decoding, queue and device; the rest for reading the request and writing the answer."""
BATCH = 1 / 2
"""Of a budget is for one batch."""
STUCK = 60.0
"""Seconds in one batch after which the device is taken for dead."""


@dataclass(frozen=True)
class Timing:
    """Seconds that the slowest photo of a request spent in each stage."""

    decode: float
    queue: float
    device: float


@dataclass(frozen=True)
class Answer:
    """What an edition says of a request's photos."""

    edition: Edition
    scores: Scores
    """float32 [b, k], calibrated, a column for each of the edition's classes; NaN where there is an error."""
    errors: tuple[ImageError | None, ...]
    timing: Timing


class Service:
    """All that lives as long as the process: heads, decoding processes, the queue, and what is counted."""

    def __init__(self, store: Store, bundle: str, settings: ServeConfig) -> None:
        config, limits = settings.service, settings.limits
        self.settings = settings
        self.metrics = Metrics()
        self.statistics = Statistics()
        self.repository = Repository(store, bundle, config, self.metrics, self._edition_changed)
        self.draining = False
        self._limits = Limits(limits.photo_bytes, limits.pixels)
        allowance = BYTES_A_PIXEL * limits.pixels + 8 * limits.body
        self._workers = Workers(config.workers, config.work_seconds, allowance, self._worker_died)
        pace = Pace(config.batch_sizes, self._workers.count)
        self._budget = PROMISED * config.budget_ms / 1e3
        self.batcher = Batcher(pace, config.queue, BATCH * self._budget, self.metrics, self._watch)
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False
        self._decoding = 0
        self._one_work = asyncio.Semaphore(1)

    @property
    def ready(self) -> bool:
        """Whether requests are served and more are welcome."""
        return self._started and not self.draining and self._running

    @property
    def alive(self) -> bool:
        """Whether it can be hoped that this process will serve again."""
        return self.batcher.running < STUCK and self._running

    @property
    def _running(self) -> bool:
        """Whether nothing that `start` began has ended by itself."""
        return not any(task.done() for task in self._tasks)

    async def start(self) -> None:
        """Loads and compiles the bundle, starts the decoding processes, and learns how fast both are.

        Raises InputError where the bundle cannot be served.
        """
        edition, _ = await asyncio.gather(self.repository.open(), self._workers.start())
        await asyncio.to_thread(self._rehearse, edition)
        self.metrics.listen()
        self.metrics.workers.set(self._workers.count)
        watch = self.repository.watch(self.settings.service.watch_seconds)
        self._tasks = [asyncio.create_task(work) for work in (self.batcher.run(), watch)]
        self._started = True
        self.metrics.ready.set(1)
        alone = self.batcher.pace.alone(1)
        log("ready", bundle=edition.bundle, classes=len(edition.classes), photo_ms=round(1e3 * alone, 1))
        if alone > self._budget:
            log(
                "slow",
                logging.WARNING,
                hint="one photo takes longer than service.budget_ms even when nothing else goes on",
            )

    async def stop(self) -> None:
        """Ends what `start` began, as far as it came; requests in flight are the caller's to wait for."""
        if self._started:
            self.metrics.unlisten()
        self._started = False
        self.metrics.ready.set(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._workers.stop()
        self.repository.stop()
        await asyncio.to_thread(self.batcher.stop)

    def drain(self) -> None:
        """Tells load balancers, by `ready`, to send requests elsewhere; those that come are still served."""
        self.draining = True
        self.metrics.ready.set(0)

    def check_room(self) -> None:
        """Raises Refusal 503 where a request would have to be turned away: before its body is read."""
        with self._counted(1):
            if not self._started:
                self.metrics.shed.labels("starting").inc()
                raise Refusal(503, "starting: the heads are being loaded", {"Retry-After": "2"})
            self.batcher.check(self._budget)

    async def score(self, photos: Sequence[Given], budget_ms: float | None = None) -> Answer:
        """Scores a request's photos, all by one edition.

        Args:
            photos: of the request.
            budget_ms: from now to the answer, if less than the service's own.

        Raises:
            Refusal: 413 more photos than a request may have, 503 with Retry-After where there is no time for it.
        """
        if len(photos) > self.settings.limits.photos:
            raise Refusal(413, f"{len(photos)} photos; a request may have {self.settings.limits.photos}")
        edition = self.repository.edition
        budget = min(self._budget, PROMISED * budget_ms / 1e3) if budget_ms else self._budget
        with self._counted(len(photos)), self.batcher.admit(len(photos), budget) as admission:
            groups = [self._group(edition, group, admission) for group in _groups(photos, self._workers.count)]
            found = [one for group in await _all(groups) for one in group]
        return self._answer(edition, found)

    async def work(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs a function of a module in a decoding process: for what is large, untrusted and not a photo.

        Raises:
            Refusal: 413 where it takes too much time or memory; else what the function raises.
        """
        try:
            async with self._one_work:  # the other processes are for photos
                return await self._workers.run(function, *arguments)
        except ImageError as error:
            raise Refusal(413, f"the request {error}") from None

    async def _group(self, edition: Edition, photos: Sequence[Given], admission: Admission) -> list[Result]:
        """Some photos of a request: opened by one process, then queued."""
        began = monotonic()
        self._decoding += len(photos)
        ahead = self._decoding
        self.metrics.decoding_photos.set(ahead)
        try:
            prepared = await self._prepared(edition, photos, admission)
        finally:
            self._decoding -= len(photos)
            self.metrics.decoding_photos.set(self._decoding)
        decode = monotonic() - began
        # A huge photo may be later by what it alone takes longer; turned away, it would be each time it came again.
        expected = self.batcher.pace.decode.promised
        admission.deadline += max(0.0, max(seconds for _, seconds in prepared) - expected)
        self.batcher.pace.decoded(ahead, decode)
        return await _all([self._one(edition, found, decode, admission) for found, _ in prepared])

    async def _prepared(self, edition: Edition, photos: Sequence[Given], admission: Admission) -> list[Prepared]:
        try:
            return await self._workers.run(
                work.prepare, photos, edition.scorer.sizes, self._limits, until=admission.deadline
            )
        except TimeoutError:
            raise self.batcher.late(len(photos)) from None
        except ImageError as error:
            if len(photos) == 1:
                return [(error, 0.0)]
        return [one for photo in photos for one in await self._prepared(edition, [photo], admission)]  # whose doing?

    async def _one(
        self, edition: Edition, found: dict[int, Photo] | ImageError, decode: float, admission: Admission
    ) -> Result:
        if isinstance(found, ImageError):
            admission.photos -= 1
            self.metrics.photo_errors.labels(found.reason).inc()
            return found, decode
        return await self.batcher.score(edition, found, admission), decode

    def _answer(self, edition: Edition, found: Sequence[Result]) -> Answer:
        scores = np.full((len(found), len(edition.classes)), np.nan, np.float32)
        stages = {"decode": [seconds for _, seconds in found], "queue": [0.0], "device": [0.0]}
        errors: list[ImageError | None] = []
        for row, (result, _) in zip(scores, found, strict=True):
            errors.append(result if isinstance(result, ImageError) else None)
            if isinstance(result, Scored):
                row[:] = result.scores[edition.columns]
                stages["queue"].append(result.queue)
                stages["device"].append(result.device)
        broken = sum(error is not None for error in errors)
        self.metrics.photos.labels("broken").inc(broken)
        self.metrics.photos.labels("scored").inc(len(found) - broken)
        slowest = {stage: max(seconds) for stage, seconds in stages.items()}
        for stage, seconds in slowest.items():
            self.metrics.stage_seconds.labels(stage).observe(seconds)
        return Answer(edition, scores, tuple(errors), Timing(**slowest))

    def _watch(self, edition: Edition, scores: Scores) -> None:
        """Counts a batch's scores and bands, head by head, shadows too."""
        self.metrics.scores.observe(edition.labels, scores)
        bands: dict[str, list[str]] = {}
        for card, column in zip(edition.scorer.cards, scores.T, strict=True):
            bands[card.name] = [band(score, card.thresholds) for score in column.tolist()]
        for card, label in zip(edition.scorer.cards, edition.labels, strict=True):
            for name in set(bands[card.name]):
                self.metrics.bands.labels(*label, name).inc(bands[card.name].count(name))
            if label[2] == "shadow" and label[0] in bands:
                apart = sum(a != b for a, b in zip(bands[card.name], bands[label[0]], strict=True))
                self.metrics.disagreements.labels(*label[:2]).inc(apart)

    def _rehearse(self, edition: Edition) -> None:
        pace, scorer = self.batcher.pace, edition.scorer
        for batch in scorer.batch_sizes:
            black = {size: np.zeros((batch, size, size, 3), np.uint8) for size in scorer.sizes}
            seconds = []
            for _ in range(REHEARSALS):
                began = monotonic()
                scorer(black)
                seconds.append(monotonic() - began)
            pace.rehearsed(batch, seconds)

    def _edition_changed(self, edition: Edition) -> None:
        metrics = self.metrics
        metrics.edition.set(edition.number)
        metrics.scores.keep(edition.labels)
        metrics.head_info.clear()
        for label, card in zip(edition.labels, edition.scorer.cards, strict=True):
            metrics.head_info.labels(*label, card.params_sha256).set(1)
        metrics.bundle_info.clear()
        metrics.bundle_info.labels(edition.bundle, edition.bundle_sha256).set(1)

    def _worker_died(self, cause: Death) -> None:
        self.metrics.worker_deaths.labels(cause).inc()
        log("worker", logging.WARNING, cause=cause, hint="a decoding process was replaced")

    @contextmanager
    def _counted(self, photos: int) -> Iterator[None]:
        """Counts photos as shed where the block is refused for want of time or room."""
        try:
            yield
        except Refusal as refusal:
            if refusal.status == 503:
                self.metrics.photos.labels("shed").inc(photos)
            raise


def _groups(photos: Sequence[Given], workers: int) -> list[Sequence[Given]]:
    """The photos in parts, one for each process, or more where these would be too large to begin scoring soon."""
    size = min(-(-len(photos) // workers), TOGETHER)
    return [photos[start : start + size] for start in range(0, len(photos), size)]


async def _all(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order; where one fails, the others are cancelled, and its exception is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise
