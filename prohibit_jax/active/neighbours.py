"""Photos like the known positives: by one pass over the embeddings of a pool of any size, in flat memory, exact."""

from __future__ import annotations

import numpy as np

from prohibit_jax.active.view import Embeddings, View, blocks, highest


def neighbours(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Nearest, by cosine, to any known positive. Where no positive is known, none.

    What finds photos of a class before there is a head: Coleman et al., "Similarity Search for Efficient Active
    Learning and Search of Rare Concepts" (SEALS), arXiv 2007.00077.
    """
    view.needed_embeddings("neighbours")
    known = view.label_embeddings is not None and (view.labels == 1).any()
    return highest(view.likeness, budget) if known else np.zeros(0, np.int64)


def nearest_rows(embeddings: Embeddings, known: np.ndarray, count: int) -> np.ndarray:
    """int64, rising: the rows that are among the `count` nearest, by cosine, of any of `known` [p, f].

    Exact: a running top list for each of `known`. Of rows equally near, any may be taken.
    """
    if len(known) and count >= embeddings.shape[0]:
        return np.arange(embeddings.shape[0])
    top = np.full((len(known), count), -np.inf, np.float32)
    rows = np.full((len(known), count), -1, np.int64)
    for start, block in blocks(embeddings):
        cosines = known @ block.T  # [p, b]
        better = cosines.max(1) > top.min(1)
        for one in np.flatnonzero(better):
            found = np.flatnonzero(cosines[one] > top[one].min())
            values = np.concatenate([top[one], cosines[one, found]])
            best = np.argpartition(-values, count - 1)[:count]
            rows[one] = np.concatenate([rows[one], start + found])[best]
            top[one] = values[best]
    found = np.unique(rows)
    return found[found >= 0]
