"""A score table as a pool: which of its photos may be asked about, and their embeddings, read when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prohibit_jax.score.table import ScoreTable


@dataclass(frozen=True)
class Stored:
    """Embeddings of some rows of a score table, of unit length, read when they are asked for.

    Attributes:
        table: with embeddings.
        rows: int64 [n], of photos without errors.
        progress: told how far a pass over them is, as (done, in all).
    """

    table: ScoreTable
    rows: np.ndarray
    progress: Callable[[int, int], None] = lambda done, total: None

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, f)"""
        return len(self.rows), self.table.embedding.features if self.table.embedding else 0

    def __getitem__(self, wanted: slice | np.ndarray) -> np.ndarray:
        """float32 [m, f]"""
        rising, places = np.unique(self.rows[wanted], return_inverse=True)
        parts = [values for _, values in self.table.embeddings(rising)]
        read = unit(np.concatenate([np.empty((0, self.shape[1]), np.float32), *parts]))
        if isinstance(wanted, slice):
            self.progress(min(wanted.stop or len(self.rows), len(self.rows)), len(self.rows))
        return read if np.array_equal(places, np.arange(len(rising))) else read[places]


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Brings the rows of float32 [n, f] to unit length, in place, and returns them; a row of zeros stays."""
    squares = np.einsum("ij,ij->i", embeddings, embeddings)  # without the copy that np.linalg.norm makes
    embeddings /= np.sqrt(np.maximum(squares, np.finfo(np.float32).tiny))[:, None]
    return embeddings


@dataclass(frozen=True)
class Known:
    """Embeddings of answered photos: those of the pool, and after them of photos from elsewhere."""

    stored: Stored
    others: np.ndarray  # float32 [e, f], unit length

    @property
    def shape(self) -> tuple[int, ...]:
        """(m, f)"""
        return self.stored.shape[0] + len(self.others), self.stored.shape[1]

    def __getitem__(self, wanted: slice | np.ndarray) -> np.ndarray:
        """float32 [m, f]"""
        places, own = np.arange(self.shape[0])[wanted], self.stored.shape[0]
        read = np.empty((len(places), self.shape[1]), np.float32)
        read[places < own] = self.stored[places[places < own]]
        if len(self.others):
            read[places >= own] = self.others[places[places >= own] - own]
        return read


@dataclass(frozen=True)
class Askable:
    """The photos of a pool that may be asked about, and what became of the others.

    Attributes:
        rows: int64 [n], rising, of the table; of identical files, the first.
        answered: SHA-256 -> row, of the answered photos.
        queued: int64 [q], rows of photos that are in another queue and not answered.
        photos: in the table.
        errors: photos that could not be scored.
        copies: further files of one content.
    """

    rows: np.ndarray
    answered: dict[str, int]
    queued: np.ndarray
    photos: int
    errors: int
    copies: int


def askable(table: ScoreTable, answered: Collection[str], queued: Collection[str]) -> Askable:
    """Sorts out a pool's photos by their SHA-256."""
    sound = np.flatnonzero(pc.is_null(table.texts("error")).to_numpy())
    contents = table.texts("sha256").take(pa.array(sound))
    codes = np.concatenate([np.zeros(0, np.int32), *_codes(contents)])
    first = np.diff(np.maximum.accumulate(codes), prepend=-1) > 0  # a content's code is the next one at its first photo
    rows, contents = sound[first], contents.filter(pa.array(first))
    known, others = (_among(contents, some) for some in (answered, queued))
    return Askable(
        rows[~(known | others)],
        dict(zip(contents.filter(pa.array(known)).to_pylist(), rows[known].tolist(), strict=True)),
        rows[others & ~known],
        photos=table.rows,
        errors=table.rows - len(sound),
        copies=len(sound) - len(rows),
    )


def _codes(contents: pa.ChunkedArray) -> list[np.ndarray]:
    return [chunk.indices.to_numpy() for chunk in pc.dictionary_encode(contents).chunks]


def _among(contents: pa.ChunkedArray, some: Collection[str]) -> np.ndarray:
    return np.asarray(pc.is_in(contents, value_set=pa.array(some, pa.string())).to_numpy())
