"""From row numbers to batches of pixels, with Grain: each place has the same pixels, whatever the number of workers.

A stream is resumed by its place alone: `start` batches are passed over without being read.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from prohibit_jax.data.index import Progress
from prohibit_jax.data.sources import Source
from prohibit_jax.images.augment import augment as augmented
from prohibit_jax.images.decode import Limits
from prohibit_jax.images.resize import load
from prohibit_jax.types import Images, InputError, Photo

AHEAD = 4
"""Batches that are ready ahead of the one in use: enough to hide a slow file, few enough to stay small in memory."""


def read(source: Source, i: int, size: int, limits: Limits = Limits()) -> Photo:  # noqa: B008 - frozen
    """Photo `i` of `source`, uint8 [size, size, 3]. Raises InputError that names it, where it cannot be read."""
    try:
        return load(source.read(i), size, limits)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    except InputError as error:
        reason = str(error)
    raise InputError(f"photo {source.items[i].path!r}: {reason}")


@dataclass(frozen=True, repr=False)  # Grain names a step by its repr, which would be that of every photo
class _Load(grain.transforms.Map):  # type: ignore[misc]
    """From a place in the stream to its photo; augmentation depends on the seed and the place alone."""

    source: Source
    rows: np.ndarray
    size: int
    seed: int
    augment: bool
    limits: Limits

    def map(self, element: Any) -> dict[str, np.ndarray]:
        place = int(element)
        row = int(self.rows[place])
        photo = read(self.source, row, self.size, self.limits)
        if self.augment:
            photo = augmented(photo, np.random.default_rng([self.seed, place]))
        return {"image": photo, "row": np.int64(row)}  # type: ignore[dict-item]


def batches(
    source: Source,
    rows: np.ndarray,
    *,
    size: int,
    batch: int,
    seed: int = 0,
    augment: bool = False,
    workers: int = 0,
    start: int = 0,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yields {"image": uint8 [batch, size, size, 3], "row": int64 [batch]}; the last one may be shorter.

    Close it when leaving early: worker processes and their shared memory go with it.

    Args:
        source: the photos.
        rows: int64 [n], item numbers in the order of use.
        size: edge in pixels.
        batch: photos per batch.
        seed: of the augmentation.
        augment: whether photos are varied at random.
        workers: processes that decode; 0 decodes in threads of this process.
        start: batches to pass over.
        limits: on the bytes and pixels of a photo.

    Raises:
        InputError: a photo cannot be read, or decoded, or a worker process was killed.
    """
    transform = _Load(source, np.asarray(rows, np.int64), size, seed, augment, limits)
    photos = grain.MapDataset.range(start * batch, len(rows)).map(transform)
    threads = grain.ReadOptions(num_threads=2, prefetch_buffer_size=AHEAD)
    alone = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    dataset = photos.batch(batch).to_iter_dataset(alone if workers else threads)
    if workers:
        flags.FLAGS.mark_as_parsed()  # Grain hands its flags to the workers, and absl refuses to read unparsed ones
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=AHEAD)
        dataset = dataset.mp_prefetch(options, worker_init_fn=_begin_worker)
    iterator = iter(dataset)
    try:
        yield from iterator
    except InputError as error:
        raise InputError(str(error).partition("\n")[0]) from error  # Grain adds lines about its traceback
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):
            raise
        reason = "a process that decodes photos was killed, as where memory runs out; use fewer"
        raise InputError(f"data.workers: {reason}") from error
    finally:
        iterator.close()


def _begin_worker(worker: int, workers: int) -> None:
    """A worker never takes a part of the accelerator's memory, and never outlives the process that it works for."""
    jax.config.update("jax_platforms", "cpu")
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Where the parent is killed, nobody else would end the worker."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def decoded(
    source: Source,
    rows: np.ndarray,
    size: int,
    workers: int = 2,
    progress: Progress | None = None,
    *,
    chunk: int = 64,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Generator[tuple[np.ndarray, Images], None, None]:
    """Yields (int64 [c], uint8 [c, size, size, 3]): the photos of `rows` in order, at most `chunk` at a time.

    Threads decode the next chunk while the caller works on this one; memory does not grow with the rows.

    Raises:
        InputError: a photo cannot be read, or decoded.
    """
    rows = np.asarray(rows, np.int64)
    pool = ThreadPoolExecutor(max(workers, 1))
    one = partial(read, source, size=size, limits=limits)
    waiting: deque[tuple[np.ndarray, Iterator[Photo]]] = deque()
    done = 0
    try:
        for first in range(0, len(rows) + chunk, chunk):
            part = rows[first : first + chunk]
            waiting.append((part, pool.map(one, part.tolist())))
            if first:
                part, photos = waiting.popleft()
                yield part, np.stack(list(photos))
                done += len(part)
                if progress:
                    progress(done, len(rows))
    finally:
        pool.shutdown(cancel_futures=True)
