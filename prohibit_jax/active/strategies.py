"""Which photos to ask about next: each strategy is a plain function on arrays.

    strategy(view, budget, rng) -> rows of the view, int64, at most `budget`, best first, none twice

Equal photos come in the order of the pool. The number of photos asked for does not change which are best: a larger
budget begins with the same ones, but for `k_center` beyond its candidates, `galaxy`, `direct` and `random`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from prohibit_jax.active.balanced import direct, galaxy
from prohibit_jax.active.diversity import k_center
from prohibit_jax.active.neighbours import neighbours
from prohibit_jax.active.view import TINY, Strategy, View, highest
from prohibit_jax.types import InputError

__all__ = ["FIRST_DAY", "STRATEGIES", "Strategy", "View", "divergence", "logit"]


def uncertainty(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Nearest to 0.5: the first reading of the article's rule. Lewis and Gale, 1994, arXiv cmp-lg/9407020."""
    return highest(-np.abs(view.needed_scores("uncertainty") - np.float32(0.5)), budget)


def threshold(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Nearest to the threshold of review in log odds: where that is 0.001, 0.01 is far above it."""
    wanted = logit(np.array(view.threshold))
    return highest(-np.abs(logit(view.needed_scores("threshold")) - wanted), budget)


def entropy(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Highest entropy of the prediction, or with versions, of their mean. Without versions it ranks as `uncertainty`.

    Entropy is flat around 0.5: what single precision cannot tell apart there comes in the order of the pool.
    """
    return highest(_entropy(_mean(view, "entropy")), budget)


def margin(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Smallest margin |2p - 1| between yes and no, with versions in their mean.

    For one binary head `uncertainty`, `entropy` and `margin` rank alike; with versions `entropy` and `margin` do.
    """
    return highest(-np.abs(2 * _mean(view, "margin") - 1), budget)


def positives(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Above 0.5, highest first: photos of the class and confident false alarms, the second reading of the article's.

    Where fewer than the budget lie above 0.5 these are all: a mixture gives the rest to its other strategies.
    """
    return _above_half(view.needed_scores("positives"), budget, np.float32(1))


def doubtful(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Above 0.5, nearest to it first: the most ambiguous of the predicted positives (PF-MA, arXiv 2603.24480).

    The third reading that the article's words allow. Where few lie above 0.5 these are all, as for `positives`.
    """
    return _above_half(view.needed_scores("doubtful"), budget, np.float32(-1))


def disagreement(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Where versions or seeds of the head differ most, by the Jensen-Shannon divergence of their predictions.

    McCallum and Nigam, 1998; with seeds it is BALD (Houlsby et al., arXiv 1112.5745). Raises InputError without
    versions.
    """
    if view.versions is None:
        raise InputError("strategy disagreement: it needs the scores of two or more versions of the head")
    return highest(divergence(view.versions), budget)


def random(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Any photo as likely as any other: what estimates and comparisons rest on."""
    return rng.permutation(view.size)[: max(budget, 0)]


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "uncertainty": uncertainty,
        "threshold": threshold,
        "entropy": entropy,
        "margin": margin,
        "positives": positives,
        "doubtful": doubtful,
        "disagreement": disagreement,
        "k_center": k_center,
        "neighbours": neighbours,
        "galaxy": galaxy,
        "direct": direct,
        "random": random,
    }
)

FIRST_DAY = ("neighbours", "k_center", "random")
"""The strategies that need no scores, hence no head."""


def logit(p: np.ndarray) -> np.ndarray:
    """Log odds, float64, finite at 0 and 1 too."""
    p = np.clip(p.astype(np.float64), TINY, 1 - TINY)
    return np.asarray(np.log(p) - np.log1p(-p))


def divergence(versions: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence of the predictions of v versions, [n, v] to float64 [n]: 0 to ln 2 nats."""
    p = versions.astype(np.float64)
    return np.asarray(np.maximum(_entropy(p.mean(1)) - _entropy(p).mean(1), 0))


def _entropy(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, TINY, 1 - TINY)
    return np.asarray(-p * np.log(p) - (1 - p) * np.log1p(-p))


def _mean(view: View, strategy: str) -> np.ndarray:
    """float64 [n]: the prediction, or the mean of the versions'."""
    if view.versions is not None:
        return np.asarray(view.versions.mean(1, dtype=np.float64))
    return view.needed_scores(strategy).astype(np.float64)


def _above_half(scores: np.ndarray, budget: int, sign: np.float32) -> np.ndarray:
    rows = np.flatnonzero(scores > 0.5)
    return np.asarray(rows[highest(sign * scores[rows], budget)])
