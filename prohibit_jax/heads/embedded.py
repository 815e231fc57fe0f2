"""Embeddings of any photos, kept in the store's cache by the photo's content and by what made them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from prohibit_jax.bundle.store import Store
from prohibit_jax.data.sources import Source
from prohibit_jax.images.decode import Limits
from prohibit_jax.score.embed import Embedder
from prohibit_jax.train.features import FeatureCache, fill
from prohibit_jax.types import Embeddings

BATCH = 64
"""Photos that an embedder for `embeddings` is best compiled for."""


def embeddings(
    store: Store,
    embedder: Embedder,
    source: Source,
    photos: Sequence[str],
    rows: np.ndarray,
    limits: Limits,
    progress: Callable[[int, int], None],
) -> Embeddings:
    """Of the rows of a source, float32 [n, f]; what the cache lacks is computed first.

    Args:
        store: has the cache.
        embedder: for `BATCH` photos or fewer.
        source: the photos.
        photos: their SHA-256 by row.
        rows: those wanted, each of a photo that can be decoded.
        limits: on its bytes and pixels.
        progress: told how many of those lacking are done.
    """
    from prohibit_jax.data.loader import decoded  # only here: Grain takes a second to import, which a round need not

    cache = FeatureCache(Path(store.cache / "embeddings" / f"{embedder.embedding.sha256}-{embedder.size}"))
    fill(
        cache,
        photos,
        rows,
        lambda lacking: decoded(source, lacking, embedder.size, chunk=BATCH, limits=limits),
        lambda images: embedder(images)[:, None, None, :],
        progress,
    )
    return cache.read([photos[row] for row in rows])[:, 0, 0, :]
