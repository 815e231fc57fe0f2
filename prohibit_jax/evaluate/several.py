"""One network of several classes: its probabilities, and each class judged against all the rest. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from prohibit_jax.evaluate.metrics import Floats, Labels, Metric, average_precision, bootstrap, roc_area


def probabilities(logits: Floats) -> Floats:
    """The softmax of logits [n, 1 + classes] without its first column, everything else: float64 [n, classes]."""
    x = logits.astype(np.float64)
    raised = np.exp(x - x.max(1, keepdims=True))
    shares: Floats = raised[:, 1:] / raised.sum(1, keepdims=True)
    return shares


def mean_average_precision(labels: Labels, scores: Floats, weights: Any = None) -> Any:
    """The mean over the classes of each one's average precision, its photos against all others.

    Args:
        labels: [n], 0 or the number of the class, from 1.
        scores: [n, classes].
        weights: [..., n], how often every photo counts.
    """
    each = [average_precision(_of(labels, column), scores[:, column], weights) for column in range(scores.shape[1])]
    return np.mean(each, axis=0)


def evaluate(labels: Labels, scores: Floats, *, classes: Sequence[str], seed: int, resamples: int) -> dict[str, Any]:
    """Judges a network of several classes by photos that it was not trained on.

    Args:
        labels: [n], 0 or the number of the class, from 1.
        scores: [n, classes], its probabilities.
        classes: their names.
        seed: of the resamples.
        resamples: behind each interval.

    Returns:
        Plain dicts, floats and ints; each {value, low, high} is a 95% interval of a stratified bootstrap.

    Raises:
        InputError: a class without a photo, or a score that is not finite.
    """

    def interval(metric: Metric, labels: Labels, scores: Floats) -> dict[str, float]:
        return asdict(bootstrap(metric, labels, scores, seed, resamples))

    def judged(column: int) -> dict[str, Any]:
        own = _of(labels, column)
        metrics = {"average_precision": average_precision, "roc_area": roc_area}
        intervals = {name: interval(metric, own, scores[:, column]) for name, metric in metrics.items()}
        return {**intervals, "positives": int(own.sum()), "negatives": int((1 - own).sum())}

    return {
        "mean_average_precision": interval(mean_average_precision, labels, scores),
        "classes": {name: judged(column) for column, name in enumerate(classes)},
        "photos": len(labels),
    }


def _of(labels: Labels, column: int) -> Labels:
    """1 for the photos of the column's class, else 0."""
    return np.asarray(labels == column + 1, np.int8)
