"""Any number of photos through a scorer, in order, in flat memory: threads decode ahead while the device scores.

At any time, at most `AHEAD` batches of decoded photos are held, whatever the number of photos.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Protocol, runtime_checkable

import numpy as np

from prohibit_jax.images.decode import Limits, decode, probe
from prohibit_jax.images.phash import phash
from prohibit_jax.images.resize import load
from prohibit_jax.score.embed import Embedder
from prohibit_jax.score.scorer import Scorer
from prohibit_jax.types import Photo

AHEAD = 3
"""One batch on the device, one decoded and waiting, one being decoded."""

EDGE = 64
"""JPEGs are decoded to at least twice this for their perceptual hash, as `data.index` does: the two give the same."""


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
    phash: int | None = None  # 64 bits, where there is an embedding
    embedding: np.ndarray | None = None  # float16 [f], as tables keep it


@dataclass
class Clock:
    """Where a stream's time went, in seconds; whoever takes the records in between takes time beside."""

    waiting: float = 0.0  # for photos to be read and decoded, as far as that was not done while others were scored
    scoring: float = 0.0


def score_items(
    scorer: Scorer | None,
    source: Source,
    rows: Sequence[int] | None = None,
    *,
    embedder: Embedder | None = None,
    fresh: Callable[[str], bool] = lambda sha256: True,
    limits: Limits | None = None,
    threads: int | None = None,
    clock: Clock | None = None,
) -> Generator[Record]:
    """Scores a source's photos, all or those of `rows`, and yields their records in that order.

    Args:
        scorer: None where embeddings alone are wanted.
        source: the photos.
        rows: numbers of photos.
        embedder: makes embeddings beside the scores.
        fresh: asked in the decoding threads of each content's SHA-256; where it says no, nothing more is done, and the
            record has neither a size nor an error.
        limits: on bytes and pixels of a photo, by default those of `images.decode`.
        threads: that decode, by default one a core.
        clock: is told where the time goes.
    """
    items = source.items
    numbers = range(len(items)) if rows is None else rows
    photos = ((items[i].path, partial(source.read, i)) for i in numbers)
    return score_stream(scorer, photos, embedder=embedder, fresh=fresh, limits=limits, threads=threads, clock=clock)


def score_stream(
    scorer: Scorer | None,
    photos: Iterable[tuple[str, Callable[[], bytes]]],
    *,
    embedder: Embedder | None = None,
    fresh: Callable[[str], bool] = lambda sha256: True,
    limits: Limits | None = None,
    threads: int | None = None,
    clock: Clock | None = None,
) -> Generator[Record]:
    """Scores (path, function that reads its bytes) pairs as they come and yields their records in that order.

    A photo that cannot be read or decoded becomes a record with its error. The arguments are those of `score_items`.
    """
    clock = clock or Clock()
    batch = scorer.batch_sizes[-1] if scorer else embedder.batch if embedder else 1
    sizes = {*(scorer.sizes if scorer else ()), *([embedder.size] if embedder else [])}
    prepare = partial(_prepare, sizes=sizes, hashed=embedder is not None, fresh=fresh, limits=limits or Limits())
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="decode")
    waiting: deque[Future[Prepared]] = deque()
    stream = iter(photos)
    try:
        while True:
            begun = perf_counter()
            window: list[Prepared] = []
            sound = 0
            # Photos without pixels take no place on the device, but do not keep those before them waiting for ever.
            while sound < batch and len(window) < AHEAD * batch:
                room = AHEAD * batch - sound - len(waiting)
                waiting.extend(pool.submit(prepare, path, read) for path, read in islice(stream, room))
                if not waiting:
                    break
                window.append(waiting.popleft().result())
                sound += bool(window[-1][1])
            clock.waiting += perf_counter() - begun
            if not window:
                return
            yield from _scored(scorer, embedder, window, clock)
    finally:
        pool.shutdown(cancel_futures=True)


Prepared = tuple[Record, dict[int, Photo]]
"""A photo's record without scores, and its pixels at each size; none with an error, or where it is not fresh."""


def _prepare(
    path: str,
    read: Callable[[], bytes],
    sizes: Collection[int],
    hashed: bool,
    fresh: Callable[[str], bool],
    limits: Limits,
) -> Prepared:
    record = Record(path)
    try:
        data = read()
        record = replace(record, sha256=hashlib.sha256(data).hexdigest())
        if not fresh(record.sha256 or ""):
            return record, {}
        width, height = probe(data, limits)
        record = replace(record, width=width, height=height)
        pixels = {size: load(data, size, limits) for size in sizes}
        return replace(record, phash=int(phash(decode(data, limits, EDGE)))) if hashed else record, pixels
    except (ValueError, OSError) as error:  # InputError among them, and a NUL in the path
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return replace(record, error=" ".join(text.split()) or type(error).__name__), {}


def _scored(
    scorer: Scorer | None, embedder: Embedder | None, window: Sequence[Prepared], clock: Clock
) -> Iterator[Record]:
    sound = [pixels for _, pixels in window if pixels]
    scores: Iterator[np.ndarray] = iter(())
    embeddings: Iterator[np.ndarray] = iter(())
    if sound:
        begun = perf_counter()
        images = {size: np.stack([pixels[size] for pixels in sound]) for size in sound[0]}
        if scorer:
            scores = iter(scorer({size: images[size] for size in scorer.sizes}))
        if embedder:
            embeddings = iter(embedder(images[embedder.size]).astype(np.float16))
        clock.scoring += perf_counter() - begun
    for record, pixels in window:
        yield replace(record, scores=next(scores, None), embedding=next(embeddings, None)) if pixels else record
