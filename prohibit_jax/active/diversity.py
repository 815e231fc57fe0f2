"""Photos that differ from what is answered and from one another."""

from __future__ import annotations

import numpy as np

from prohibit_jax.active.view import View, blocks, highest

CANDIDATES = 2000
"""Of a larger pool only so many are looked at, or ten times what is asked for: the nearest to 0.5, or without scores,
any."""


def k_center(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Each next photo is the one farthest, by cosine, from all that are answered or taken already.

    The greedy k-center of Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach",
    arXiv 1708.00489, among the most informative candidates. Where nothing is answered, the first of these begins.
    """
    embeddings = view.needed_embeddings("k_center")
    rows = _candidates(view, max(CANDIDATES, 10 * budget), rng)
    points = embeddings[rows]
    taken: list[int] = []
    nearest = np.full(len(rows), -np.inf, np.float32)  # cosine to the nearest centre
    if view.label_embeddings is not None:
        for _, answered in blocks(view.label_embeddings):
            nearest = np.maximum(nearest, (points @ answered.T).max(1))
    while len(taken) < min(budget, len(rows)):
        taken.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, points @ points[taken[-1]])
        nearest[taken[-1]] = np.inf
    return rows[taken]


def _candidates(view: View, count: int, rng: np.random.Generator) -> np.ndarray:
    if view.scores is None:
        return rng.permutation(view.size)[:count]
    return highest(-np.abs(view.scores - np.float32(0.5)), count)
