"""Small score tables for the tests of this room."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prohibit_jax.bundle.lock import Bundle, Pin
from prohibit_jax.data.label_store import Resolved, Votes
from prohibit_jax.score.bulk import Record
from prohibit_jax.score.embed import Embedding
from prohibit_jax.score.table import ScoreTable, open_scores, write_scores
from prohibit_jax.types import HeadRef
from tests.active.views import units

FEATURES = 8
EMBEDDING = Embedding("lite0", 64, "e" * 64, FEATURES)


def sha256(name: int | str) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def records(n: int, seed: int = 0, classes: int = 1, *, embedded: bool = True) -> list[Record]:
    """Photos "0.jpg" and so on, of random scores and embeddings, their hashes all far apart."""
    rng = np.random.default_rng(seed)
    scores, rows = rng.random((n, classes), np.float32), (3 * units(rng, n, FEATURES)).astype(np.float16)
    hashes = rng.integers(0, 2**64, n, np.uint64)
    return [
        Record(f"{i}.jpg", sha256(i), 640, 480, None, scores[i], int(hashes[i]), rows[i])
        if embedded
        else Record(f"{i}.jpg", sha256(i), 640, 480, None, scores[i])
        for i in range(n)
    ]


def table_of(
    path: Path, rows: Sequence[Record], classes: Sequence[str] = ("weapon",), *, version: int = 3, embedded: bool = True
) -> ScoreTable:
    """Writes a score table and opens it."""
    bundle = Bundle("prod", tuple(Pin(HeadRef(name, version), "a" * 64) for name in classes))
    write_scores(path, rows, bundle, EMBEDDING if embedded else None)
    return open_scores(path)


def answers(**said: str) -> list[Resolved]:
    """What annotators say of photos by number: `answers(p3="yes")` is "3.jpg"."""
    return [
        Resolved(sha256(key[1:]), f"{key[1:]}.jpg", answer, Votes(1, 0, 0), "random", 0) for key, answer in said.items()
    ]
