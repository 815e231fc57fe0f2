"""What a query strategy sees, and what strategies share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from prohibit_jax.types import InputError

BLOCK = 16384
"""Rows of embeddings that are read at a time: 80 MB at 1,280 features."""

AHEAD = 2
"""Blocks that threads read while another is in use."""

TINY = 1e-12
"""Probabilities are kept so far from 0 and 1 where a logarithm is taken."""


@runtime_checkable
class Embeddings(Protocol):
    """Rows of unit length: an array, or something that reads them from a disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, f)"""
        ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray:
        """float32 [m, f]: of a slice, or of row numbers in any order."""
        ...


@dataclass(frozen=True)
class View:
    """What a strategy sees: n photos that may be asked about, and m that are answered."""

    scores: np.ndarray | None  # float32 [n], calibrated; None on a first day, before there is a head
    embeddings: Embeddings | None  # float32 [n, f], unit length
    labels: np.ndarray  # int8 [m]: 1 for the class, 0 for the rest
    label_scores: np.ndarray | None  # float32 [m], by the head that made `scores`; NaN where it has none
    label_embeddings: Embeddings | None  # float32 [m, f], unit length
    versions: np.ndarray | None = None  # float32 [n, v]: calibrated scores of several versions or seeds of the head
    threshold: float = 0.5  # from which on a photo is reviewed

    @property
    def size(self) -> int:
        """n, the number of photos that may be asked about."""
        if self.scores is not None:
            return len(self.scores)
        return 0 if self.embeddings is None else self.embeddings.shape[0]

    @cached_property
    def likeness(self) -> np.ndarray:
        """float32 [n]: each photo's cosine to the nearest known positive, -1 where none is known; needs embeddings.

        It takes a pass over all of them, once.
        """
        embeddings, yes = self.needed_embeddings("neighbours"), np.flatnonzero(self.labels == 1)
        if self.label_embeddings is None or not yes.size:
            return np.full(self.size, -1, np.float32)
        return likeness(embeddings, self.label_embeddings[yes])

    def needed_scores(self, strategy: str) -> np.ndarray:
        """`scores`, or InputError in the name of the strategy that needs them."""
        if self.scores is None:
            raise InputError(f"strategy {strategy}: it needs scores; without a head use neighbours, k_center or random")
        return self.scores

    def needed_embeddings(self, strategy: str) -> Embeddings:
        """`embeddings`, or InputError in the name of the strategy that needs them."""
        if self.embeddings is None:
            raise InputError(f"strategy {strategy}: it needs embeddings; score the pool with --embedding")
        return self.embeddings


Strategy = Callable[[View, int, np.random.Generator], np.ndarray]
"""(view, budget, rng) -> rows of the view, int64, at most `budget`, best first, none twice."""


def highest(keys: np.ndarray, budget: int) -> np.ndarray:
    """int64 [<= budget]: the rows of the largest keys, largest first, equal ones in their order."""
    wanted = min(budget, len(keys))
    if wanted < 1:
        return np.zeros(0, np.int64)
    least = np.partition(keys, len(keys) - wanted)[len(keys) - wanted]
    rows = np.flatnonzero(keys >= least)
    return rows[np.argsort(-keys[rows], kind="stable")][:wanted]


def likeness(embeddings: Embeddings, known: np.ndarray) -> np.ndarray:
    """float32 [n]: the cosine of each photo to the nearest of `known` [p, f], p from 1."""
    nearest = np.empty(embeddings.shape[0], np.float32)
    for start, block in blocks(embeddings):
        nearest[start : start + len(block)] = (block @ known.T).max(1)
    return nearest


def blocks(embeddings: Embeddings) -> Iterator[tuple[int, np.ndarray]]:
    """All rows in their order, some at a time: (the first one's number, float32 [<= BLOCK, f])."""
    starts = range(0, embeddings.shape[0], BLOCK)
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting: deque[Future[np.ndarray]] = deque()
        for place, start in enumerate(starts):
            for following in starts[place + len(waiting) : place + AHEAD + 1]:
                waiting.append(pool.submit(embeddings.__getitem__, slice(following, following + BLOCK)))
            yield start, waiting.popleft().result()
