"""Any number of photos through a scorer, in order, in flat memory: threads decode ahead while the device scores.

At any time, at most `AHEAD` batches of decoded photos are held, whatever the number of photos.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Protocol, runtime_checkable

import numpy as np

from prohibit_jax.images.decode import Limits, probe
from prohibit_jax.images.resize import load
from prohibit_jax.score.scorer import Scorer
from prohibit_jax.types import Photo

AHEAD = 3
"""One batch on the device, one decoded and waiting, one being decoded."""


@runtime_checkable
class Named(Protocol):
    """An item of a source, as far as scoring reads it."""

    @property
    def path(self) -> str: ...


@runtime_checkable
class Source(Protocol):
    """Photos by number; `read` raises OSError or InputError where one cannot be read."""

    @property
    def items(self) -> Sequence[Named]: ...

    def read(self, i: int) -> bytes: ...


@dataclass(frozen=True)
class Record:
    """One photo's row: either `error` says in one line why there are no scores, or there are scores."""

    path: str
    sha256: str | None = None  # of the file's bytes, unless they could not be read
    width: int | None = None  # upright, pixels, as the header says
    height: int | None = None
    error: str | None = None
    scores: np.ndarray | None = None  # float32 [k], calibrated probabilities in the order of the scorer's classes


@dataclass
class Clock:
    """Where a stream's time went, in seconds; whoever takes the records in between takes time beside."""

    waiting: float = 0.0  # for photos to be read and decoded, as far as that was not done while others were scored
    scoring: float = 0.0


def score_items(
    scorer: Scorer,
    source: Source,
    rows: Sequence[int] | None = None,
    *,
    limits: Limits | None = None,
    threads: int | None = None,
    clock: Clock | None = None,
) -> Generator[Record]:
    """Scores a source's photos, all or those of `rows`, and yields their records in that order.

    Args:
        limits: on bytes and pixels of a photo, by default those of `images.decode`.
        threads: that decode, by default one a core.
        clock: is told where the time goes.
    """
    numbers = range(len(source.items)) if rows is None else rows
    photos = ((source.items[i].path, partial(source.read, i)) for i in numbers)
    return score_stream(scorer, photos, limits=limits, threads=threads, clock=clock)


def score_stream(
    scorer: Scorer,
    photos: Iterable[tuple[str, Callable[[], bytes]]],
    *,
    limits: Limits | None = None,
    threads: int | None = None,
    clock: Clock | None = None,
) -> Generator[Record]:
    """Scores (path, function that reads its bytes) pairs as they come and yields their records in that order.

    A photo that cannot be read or decoded becomes a record with its error.
    """
    clock = clock or Clock()
    batch = scorer.batch_sizes[-1]
    prepare = partial(_prepare, sizes=scorer.sizes, limits=limits or Limits())
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="decode")
    waiting: deque[Future[tuple[Record, dict[int, Photo]]]] = deque()
    stream = iter(photos)
    try:
        while True:
            begun = perf_counter()
            room = AHEAD * batch - len(waiting)
            waiting.extend(pool.submit(prepare, path, read) for path, read in islice(stream, room))
            if not waiting:
                return
            window = [waiting.popleft().result() for _ in range(min(batch, len(waiting)))]
            clock.waiting += perf_counter() - begun
            yield from _scored(scorer, window, clock)
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(
    path: str, read: Callable[[], bytes], sizes: tuple[int, ...], limits: Limits
) -> tuple[Record, dict[int, Photo]]:
    """The photo's record without scores, and its pixels at each size, or none with an error."""
    record = Record(path)
    try:
        data = read()
        record = replace(record, sha256=hashlib.sha256(data).hexdigest())
        width, height = probe(data, limits)
        record = replace(record, width=width, height=height)
        return record, {size: load(data, size, limits) for size in sizes}
    except (ValueError, OSError) as error:  # InputError among them, and a NUL in the path
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return replace(record, error=" ".join(text.split()) or type(error).__name__), {}


def _scored(scorer: Scorer, window: Sequence[tuple[Record, dict[int, Photo]]], clock: Clock) -> Iterator[Record]:
    sound = [pixels for record, pixels in window if record.error is None]
    if sound:
        begun = perf_counter()
        scores = iter(scorer({size: np.stack([pixels[size] for pixels in sound]) for size in scorer.sizes}))
        clock.scoring += perf_counter() - begun
    for record, _ in window:
        yield record if record.error is not None else replace(record, scores=next(scores))
