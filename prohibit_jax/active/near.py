"""Near-identical photos, of which annotators are shown one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prohibit_jax.active.view import Embeddings
from prohibit_jax.images.phash import NEAR_BITS

# Measured on Caltech-101 with Lite0's embeddings at 160 px: of the 146 pairs of its 6,382 photos whose hashes are near,
# 80 are of one picture by their thumbnails; the altered copies are of 200 photos. Share with a cosine from
#
#                                                  0.80  0.85  0.90  0.95
#     the 80 pairs of one picture                  0.96  0.94  0.88  0.75
#     the 66 other pairs, alike in outline         0.64  0.41  0.30  0.06
#     JPEG 30 or 60, contrast, light, 1% cut       1.00  1.00  0.99  0.95
#     half as large                                0.98  0.97  0.92  0.73
#     grey                                         0.82  0.63  0.32  0.14
#     a quarter as large                           0.63  0.37  0.16  0.04
#     any two photos                               0.00  0.00  0.00  0.00
NEAR_COSINE = 0.85
"""Embeddings of copies of one picture are at least so alike."""


@dataclass(frozen=True)
class Seen:
    """Photos that annotators have seen, or are about to."""

    phash: np.ndarray  # uint64 [s]
    embeddings: Embeddings | None  # float32 [s, f], unit length


NOTHING = Seen(np.zeros(0, np.uint64), None)


class Distinct:
    """Photos of a view: those added, and those taken one by one, each unlike all before and those seen already.

    Two are near-identical if their perceptual hashes differ in at most `NEAR_BITS` bits and the cosine of their
    embeddings is at least `NEAR_COSINE`; without embeddings the hashes decide. Few photos have hashes so near, so that
    embeddings of few are read.

    Args:
        embeddings: of the view.
        phash: uint64 [n], of the view; None takes every photo.
        seen: the others.
    """

    def __init__(self, embeddings: Embeddings | None, phash: np.ndarray | None, seen: Seen = NOTHING) -> None:
        self._embeddings = embeddings
        self._phash = phash
        self._seen = seen
        self._rows = np.zeros(0, np.int64)

    def add(self, rows: Sequence[int]) -> None:
        """Counts the photos as taken, near-identical or not."""
        self._rows = np.concatenate([self._rows, np.array(rows, np.int64)])

    def take(self, row: int) -> bool:
        """Takes the photo, unless it is near-identical to one taken or seen; returns whether it did."""
        if self._phash is None:
            return True
        own = self._phash[row]
        seen, taken = _near(self._seen.phash, own), self._rows[_near(self._phash[self._rows], own)]
        if self._any_alike(row, self._seen.embeddings, seen) or self._any_alike(row, self._embeddings, taken):
            return False
        self.add([row])
        return True

    def _any_alike(self, row: int, others: Embeddings | None, near: np.ndarray) -> bool:
        if not near.size or self._embeddings is None or others is None:
            return bool(near.size)
        own = self._embeddings[np.array([row])][0]
        return bool((others[near] @ own).max() >= NEAR_COSINE)


def _near(hashes: np.ndarray, own: np.uint64) -> np.ndarray:
    return np.flatnonzero(np.bitwise_count(hashes ^ own) <= NEAR_BITS)
