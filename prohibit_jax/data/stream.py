"""The order in which training meets its photos, as plain row numbers that a seed fixes."""

from __future__ import annotations

import math

import numpy as np

from prohibit_jax.types import InputError


def class_balanced(labels: np.ndarray, *, steps: int, batch: int, positive_fraction: float, seed: int) -> np.ndarray:
    """int64 [steps * batch]: row numbers into `labels`, every batch with its share of positives.

    Negatives are 0, positives 1, or where there are several classes 1 to the last, which take turns; rows with another
    value are never drawn. Each class is gone through permutation by permutation, so that no photo is used twice before
    every other of its class has been used once. More steps only make the stream longer.

    Args:
        labels: integers [m].
        steps: batches in all.
        batch: photos per batch.
        positive_fraction: share of positives, above 0 and below 1; where it makes no whole number, batches take turns.
        seed: of the permutations.
    """
    n = steps * batch
    classes = int(labels.max(initial=1))
    positive = np.diff(np.floor(np.arange(n + 1) * positive_fraction + 0.5)) > 0
    wants = np.where(positive, (np.cumsum(positive) - 1) % classes + 1, 0)
    rows = np.empty(n, np.int64)
    for value in (*range(1, classes + 1), 0):
        members, places = np.flatnonzero(labels == value), wants == value
        if not members.size:
            raise InputError(f"data.source: no {'positive' if value else 'negative'} photo to train on")
        rows[places] = _rounds(members, int(places.sum()), np.random.default_rng([seed, value]))
    return rows


def _rounds(members: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The first `count` of an endless run of permutations of `members`."""
    permutations = [rng.permutation(members) for _ in range(math.ceil(count / len(members)))]
    return np.concatenate(permutations or [members])[:count]
