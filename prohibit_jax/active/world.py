"""A labelled source as simulations take it: every usable photo's embedding, label, perceptual hash and cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from etils import epath

from prohibit_jax.active.simulate import World
from prohibit_jax.bundle.store import Store, open_store
from prohibit_jax.config import Config
from prohibit_jax.data.dataset import Dataset, load_dataset
from prohibit_jax.data.splits import clusters
from prohibit_jax.heads.embedded import BATCH, embeddings
from prohibit_jax.score.embed import load_embedder
from prohibit_jax.types import InputError, Line, silent


def load_world(
    config: Config,
    store: Store | epath.PathLike,
    *,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> World:
    """The photos of the configured source, labelled for the configured class, embedded by the configured weights.

    Embeddings are kept in the store's cache, so that only the first time takes long.

    Raises:
        InputError: no weights to embed with, a class of several, or a source that cannot be used.
    """
    return world_of(*load_labelled(config, store, progress=progress, warn=warn))


def load_labelled(
    config: Config,
    store: Store | epath.PathLike,
    *,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """As `load_world`: the dataset, the rows of it that can be used, and their embeddings float32 [n, f]."""
    if config.class_.classes:
        raise InputError("class.classes: simulations are of one class; give class.positive")
    if not config.model.weights:
        raise InputError("model.weights: name the weights that embed photos, as in --weights lite0")
    store = open_store(store)
    embedder = load_embedder(store, f"{config.model.weights}:{config.model.size}", BATCH)
    dataset = load_dataset(config, store.cache, progress=progress("looking at photos"), warn=warn)
    rows = dataset.rows("all")
    index, limits, advance = dataset.index, dataset.limits, progress("embedding photos")
    return dataset, rows, embeddings(store, embedder, dataset.source, index.sha256, rows, limits, advance)


def world_of(dataset: Dataset, rows: np.ndarray, features: np.ndarray) -> World:
    """The world of a dataset's rows, whose embeddings are float32 [n, f]."""
    cluster = clusters(dataset.index, dataset.source.items)
    return World(features, dataset.labels[rows].astype(np.int8), dataset.index.phash[rows], cluster[rows])


def fingerprint(world: World) -> str:
    """SHA-256 of all that a run depends on."""
    digest = hashlib.sha256()
    for array in (world.features, world.labels, world.phash, world.clusters):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
