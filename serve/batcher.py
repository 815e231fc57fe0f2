"""Photos of all requests, gathered into the scorer's batches: nothing is let in that could not be answered in time.

A batch begins when the device is free, with what is decoded by then, the most urgent first: at little load it is one
photo at once, at much it is a full batch. It waits for photos that are being decoded only where a batch with them saves
more of the device's time than the wait takes, and no deadline suffers: there is no delay to tune. While a batch runs,
the next photos are decoded.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import ceil
from time import monotonic

import numpy as np

from prohibit_jax.types import Photo, Scores
from serve.edition import Edition
from serve.errors import Refusal
from serve.log import LOG
from serve.metrics import Metrics
from serve.pace import Pace

PATIENCE = 1.5
"""A request that even an idle service could not answer within its budget is given so many times what it takes."""


@dataclass(eq=False)
class Admission:
    """A request that was let in, and how many of its photos are yet to be scored."""

    deadline: float  # of the monotonic clock
    photos: int


@dataclass(eq=False)
class Scored:
    """A photo's row: float32 [columns of the scorer], and the seconds that it waited and that its batch took."""

    scores: np.ndarray
    queue: float
    device: float


@dataclass(order=True)
class _Ticket:
    """A decoded photo that waits for the device."""

    deadline: float
    number: int  # among equals, who came first
    admission: Admission = field(compare=False)
    edition: Edition = field(compare=False)
    pixels: Mapping[int, Photo] = field(compare=False)
    since: float = field(compare=False)
    scored: asyncio.Future[Scored] = field(compare=False)


class Batcher:
    """The queue before the device; its methods are called on the event loop."""

    def __init__(
        self,
        pace: Pace,
        room: int,
        longest: float,
        metrics: Metrics,
        watched: Callable[[Edition, Scores], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """
        Args:
            pace: tells how long a batch takes, and learns.
            room: photos that are let in at any time.
            longest: seconds that a batch may take, if a smaller one exists: who comes next waits for its end.
            metrics: are told of batches, and of what is shed.
            watched: is shown every batch's scores, float32 [b, columns of the scorer].
            clock: of all deadlines, in seconds.
        """
        self.pace = pace
        self._room = room
        self._longest = longest
        self._metrics = metrics
        self._watched = watched
        self._clock = clock
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._admitted: set[Admission] = set()
        self._waiting: list[_Ticket] = []
        self._arrived = asyncio.Event()
        self._count = 0
        self._began = self._ends = 0.0  # of the batch on the device; 0: there is none

    @property
    def photos(self) -> int:
        """That were let in and are not scored yet."""
        return sum([admission.photos for admission in self._admitted])

    @property
    def running(self) -> float:
        """Seconds for which the device has been at its batch."""
        return self._clock() - self._began if self._began else 0.0

    @contextmanager
    def admit(self, photos: int, budget: float) -> Iterator[Admission]:
        """Lets a request in for the time of the block.

        Args:
            photos: of the request.
            budget: seconds from now in which it is to be answered.

        Raises:
            Refusal: 503 with Retry-After, where it could not be, or would make others late.
        """
        admission = self._checked(photos, budget)
        self._admitted.add(admission)
        try:
            yield admission
        finally:
            self._admitted.discard(admission)

    def check(self, budget: float) -> None:
        """Raises the Refusal that a request of one photo would meet with: early, before its body is read."""
        self._checked(1, budget)

    def _checked(self, photos: int, budget: float) -> Admission:
        now, before = self._clock(), self.photos
        if before + photos > self._room:
            raise self._shed("queue", photos, before)
        admission = Admission(now + max(budget, PATIENCE * self.pace.alone(photos)), photos)
        start = now + max(self.pace.decoding(before - len(self._waiting) + photos), self._ends - now)
        later = sorted((other for other in self._admitted if other.deadline > admission.deadline), key=_deadline)
        ahead = before - sum(other.photos for other in later)
        for one in (admission, *later):
            ahead += one.photos
            if start + self.pace.drain(ahead) > one.deadline:
                raise self._shed("budget", photos, before)
        return admission

    async def score(self, edition: Edition, pixels: Mapping[int, Photo], admission: Admission) -> Scored:
        """A photo's scores by that edition.

        Args:
            edition: whose scorer it is.
            pixels: {size: uint8 [size, size, 3]} for each of the scorer's sizes.
            admission: of the photo's request.

        Raises:
            Refusal: 503, its deadline came first.
        """
        self._count += 1
        future: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        ticket = _Ticket(admission.deadline, self._count, admission, edition, pixels, self._clock(), future)
        heapq.heappush(self._waiting, ticket)
        self._arrived.set()
        try:
            return await future
        except BaseException:
            admission.photos -= 1
            raise

    async def run(self) -> None:
        """Scores batch after batch until it is cancelled."""
        free = self._clock()
        while True:
            self._arrived.clear()
            if not self._waiting:
                await self._arrived.wait()
                free = self._clock()
            wait = self._worth_waiting(self._clock() - free)
            if wait > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._arrived.wait()
                continue
            batch = self._take()
            self._metrics.queue_photos.set(len(self._waiting))
            if not batch:
                continue
            try:
                await self._score(batch)
            except Exception as error:
                LOG.exception("error")
                for ticket in batch:
                    if not ticket.scored.done():
                        ticket.scored.set_exception(error)
            free = self._clock()

    def stop(self) -> None:
        """Lets the device finish its batch and ends its thread."""
        self._device.shutdown(cancel_futures=True)

    def _worth_waiting(self, waited: float) -> float:
        """Seconds for which the device may go on waiting, as it has for `waited`, until more photos are decoded."""
        waiting = len(self._waiting)
        coming = self.photos - waiting
        slack = self._waiting[0].deadline - self._clock() - self.pace.drain(waiting + coming)
        return min(self.pace.gain(waiting, coming) - waited, slack)

    def _take(self) -> list[_Ticket]:
        """The next batch, all of one edition, the most urgent first; what has become too late is turned away."""
        batch: list[_Ticket] = []
        others: list[_Ticket] = []
        most = 0
        while self._waiting and (not batch or len(batch) < most):
            ticket = heapq.heappop(self._waiting)
            if ticket.scored.done():  # its client has gone
                continue
            left = ticket.deadline - self._clock()
            if left < self.pace.batch(1) and not batch:
                ticket.scored.set_exception(self._shed("deadline", 1, len(self._waiting)))
            elif batch and ticket.edition is not batch[0].edition:
                others.append(ticket)
            else:
                most = most or self.pace.choose(len(self._waiting) + 1, self._longest)
                batch.append(ticket)
        for ticket in others:
            heapq.heappush(self._waiting, ticket)
        return batch

    async def _score(self, batch: list[_Ticket]) -> None:
        edition = batch[0].edition
        self._metrics.batch_photos.observe(len(batch))
        began = self._began = self._clock()
        self._ends = began + self.pace.batch(len(batch))
        try:
            scores = await asyncio.get_running_loop().run_in_executor(self._device, _run, edition, batch)
        finally:
            self._began = self._ends = 0.0
        seconds = self._clock() - began
        self.pace.observe(len(batch), seconds)
        self._metrics.device_seconds.inc(seconds)
        for ticket, row in zip(batch, scores, strict=True):
            if not ticket.scored.done():
                ticket.admission.photos -= 1  # now, not when its request hears of it: the next batch is up
                ticket.scored.set_result(Scored(row, began - ticket.since, seconds))
        self._watched(edition, scores)

    def late(self, photos: int) -> Refusal:
        """Counts photos whose time was up before they could be opened; what their request is told."""
        return self._shed("deadline", photos, self.photos)

    def _shed(self, cause: str, photos: int, before: int) -> Refusal:
        """Counts photos that are turned away, with `before` ahead of them; what their request is told."""
        self._metrics.shed.labels(cause).inc(photos)
        wait = max(ceil(self.pace.drain(before)), 1)
        return Refusal(503, f"too busy; try again in {wait} s", {"Retry-After": str(wait)})


def _deadline(admission: Admission) -> float:
    return admission.deadline


def _run(edition: Edition, batch: list[_Ticket]) -> Scores:
    sizes = edition.scorer.sizes
    return edition.scorer({size: np.stack([ticket.pixels[size] for ticket in batch]) for size in sizes})
