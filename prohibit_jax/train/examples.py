"""Training examples as a network takes them: photos through Grain, or a frozen trunk's cached features."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from prohibit_jax.config import TrainConfig
from prohibit_jax.data.loader import batches, decoded
from prohibit_jax.data.sources import Source
from prohibit_jax.images.decode import Limits
from prohibit_jax.train.features import FeatureCache

Inputs = np.ndarray  # uint8 [b, h, w, 3] or float32 [b, h, w, f]


class Examples(Protocol):
    """Where a run's inputs come from. Rows number the items of the run's source."""

    def stream(self, rows: np.ndarray, start: int) -> Generator[tuple[Inputs, np.ndarray]]:
        """Batches of (inputs, rows) in the order of `rows`, from batch `start`; the same whatever `start` is.

        Close it when leaving early.
        """

    def read(self, rows: np.ndarray) -> Iterator[tuple[Inputs, np.ndarray]]:
        """Every row once, plain, in chunks of at most a batch."""


@dataclass(frozen=True)
class PhotoExamples:
    """Photos, decoded by worker processes and, in training, augmented."""

    source: Source
    size: int
    config: TrainConfig
    workers: int
    limits: Limits

    def stream(self, rows: np.ndarray, start: int) -> Generator[tuple[Inputs, np.ndarray]]:
        """See Examples."""
        for batch in batches(
            self.source,
            rows,
            size=self.size,
            batch=self.config.batch,
            seed=self.config.seed,
            augment=self.config.augment,
            workers=self.workers,
            start=start,
            limits=self.limits,
        ):
            yield batch["image"], batch["row"]

    def read(self, rows: np.ndarray) -> Iterator[tuple[Inputs, np.ndarray]]:
        """See Examples."""
        for chunk, images in decoded(self.source, rows, self.size, chunk=self.config.batch, limits=self.limits):
            yield images, chunk


@dataclass(frozen=True)
class FeatureExamples:
    """Cached features of photos, which are named by their SHA-256 by row."""

    cache: FeatureCache
    photos: Sequence[str]
    batch: int

    def stream(self, rows: np.ndarray, start: int) -> Generator[tuple[Inputs, np.ndarray]]:
        """See Examples."""
        yield from self.read(rows[start * self.batch :])

    def read(self, rows: np.ndarray) -> Iterator[tuple[Inputs, np.ndarray]]:
        """See Examples."""
        for begin in range(0, len(rows), self.batch):
            chunk = rows[begin : begin + self.batch]
            yield self.cache.read([self.photos[row] for row in chunk]), chunk


def at_batch(predict: Callable[[jax.Array], jax.Array], batch: int) -> Callable[[Inputs], np.ndarray]:
    """`predict` for at most `batch` inputs, which are padded to `batch`, so that it compiles once."""

    def run(inputs: Inputs) -> np.ndarray:
        padded = np.concatenate([inputs, np.repeat(inputs[-1:], batch - len(inputs), axis=0)])
        return np.asarray(predict(jnp.asarray(padded)))[: len(inputs)]

    return run


def predict_all(
    predict: Callable[[jax.Array], jax.Array], examples: Examples, rows: np.ndarray, batch: int
) -> np.ndarray:
    """`predict`'s output for every row, in the order of `rows`, `batch` at a time."""
    run = at_batch(predict, batch)
    return np.concatenate([run(inputs) for inputs, _ in examples.read(rows)])
