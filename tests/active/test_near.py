"""Near-identical photos: the hash and the embedding must both agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prohibit_jax.active.near import NEAR_COSINE, NOTHING, Distinct, Seen
from prohibit_jax.images.phash import NEAR_BITS

NEAR, FAR = 2**NEAR_BITS - 1, 2 ** (NEAR_BITS + 1) - 1
ALIKE, APART = NEAR_COSINE + 0.01, NEAR_COSINE - 0.01


def at(cosines: Sequence[float]) -> np.ndarray:
    """Embeddings with these cosines to the first axis."""
    return np.array([[c, (1 - c * c) ** 0.5] for c in cosines], np.float32).reshape(-1, 2)


def hashes(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def taken(embeddings: np.ndarray | None, phash: np.ndarray | None, seen: Seen = NOTHING, n: int = 3) -> list[int]:
    distinct = Distinct(embeddings, phash, seen)
    return [row for row in range(n if phash is None else len(phash)) if distinct.take(row)]


def test_both_must_be_near() -> None:
    assert taken(at([1.0, ALIKE]), hashes(0, NEAR)) == [0]
    assert taken(at([1.0, APART]), hashes(0, NEAR)) == [0, 1]
    assert taken(at([1.0, ALIKE]), hashes(0, FAR)) == [0, 1]


def test_any_photo_before_counts_and_one_passed_over_does_not() -> None:
    assert taken(at([1.0, 1.0, 1.0]), hashes(0, FAR, NEAR)) == [0, 1]
    assert taken(at([1.0, 0.0, 1.0]), hashes(0, 0, 0)) == [0, 1]
    chain = hashes(0, NEAR, NEAR << NEAR_BITS | NEAR)  # the last is near only the second, which is passed over
    assert taken(at([1.0, 1.0, 1.0]), chain) == [0, 2]


def test_photos_seen_already_count() -> None:
    assert taken(at([1.0, 0.0]), hashes(0, 0), Seen(hashes(NEAR), at([1.0]))) == [1]
    assert taken(at([1.0, 0.0]), hashes(0, 0), Seen(hashes(FAR), at([1.0]))) == [0, 1]


def test_without_embeddings_the_hash_decides() -> None:
    assert taken(None, hashes(0, NEAR, FAR)) == [0, 2]
    assert taken(None, hashes(0, NEAR, FAR), Seen(hashes(0), None)) == [2]


def test_without_hashes_every_photo_is_taken() -> None:
    assert taken(at([1.0, 1.0, 1.0]), None) == [0, 1, 2]
