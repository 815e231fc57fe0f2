"""How well a class's scores separate its photos, with bootstrap intervals. NumPy only.

A photo is flagged when its score is at least the threshold, so photos with one score are flagged together: every
metric looks only at the distinct scores, which is how scikit-learn treats ties.

Each metric takes `weights` [..., n], how often every photo counts. The bootstrap is nothing but such weights: a
resample never has to be sorted again, and a thousand of them are one cumulative sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prohibit_jax.types import InputError

Labels = NDArray[np.integer[Any]]
"""[n], 1 for a photo of the class and 0 for any other."""

Floats = NDArray[np.floating[Any]]
"""Scores, probabilities or rates of any width; the functions say which shape."""

Metric = Callable[..., Any]
"""(labels [n], scores [n], weights=[..., n] or None) -> values [...]."""

CELLS = 1 << 22
"""Resamples times photos held at once by the bootstrap: about 100 MB."""


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Counts:
    """What is flagged at each of the t distinct scores, from the highest down."""

    thresholds: Floats  # [t]
    true: Floats  # [..., t] flagged photos of the class
    false: Floats  # [..., t] flagged photos of none

    @property
    def recall(self) -> Floats:
        """The part of the class that is flagged [..., t]."""
        return self.true / self.true[..., -1:]

    @property
    def precision(self) -> Floats:
        """The part of the flagged that is of the class [..., t]; 0 where nothing is flagged."""
        return self.true / np.maximum(self.true + self.false, 1)


def check(labels: Labels, scores: Floats) -> None:
    """Raises InputError unless labels [n] are 0 and 1, each at least once, and scores [n] are finite."""
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise InputError(f"labels {labels.shape} and scores {scores.shape}: need one of each for every photo")
    if not np.isin(labels, (0, 1)).all():
        raise InputError("labels: use 1 for the class and 0 for the rest; leave other photos out")
    if not np.isfinite(scores).all():
        raise InputError(f"scores: {np.count_nonzero(~np.isfinite(scores))} of {len(scores)} are not finite numbers")
    for label, name in ((1, "positive"), (0, "negative")):
        if not (labels == label).any():
            raise InputError(f"labels: no {name} among {len(labels)} photos; add at least one to the evaluated set")


def counts(labels: Labels, scores: Floats, weights: Any = None) -> Counts:
    """Counts what each distinct score flags, each photo `weights` [..., n] times. Raises InputError as `check` does."""
    check(labels, scores)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    weights = np.ones(len(order)) if weights is None else np.asarray(weights, np.float64)[..., order]
    every = np.cumsum(weights, -1)[..., ends]
    true = np.cumsum(weights * labels[order], -1)[..., ends]
    return Counts(scores[order][ends], true, every - true)


def average_precision(labels: Labels, scores: Floats, weights: Any = None) -> Any:
    """The mean precision over the photos of the class, each at its own score: sum of precision x gain in recall."""
    at = counts(labels, scores, weights)
    return (np.diff(at.recall, prepend=0.0) * at.precision).sum(-1)


def roc_area(labels: Labels, scores: Floats, weights: Any = None) -> Any:
    """The chance that a photo of the class scores above one of none, ties counted half."""
    at = counts(labels, scores, weights)
    before = at.true - np.diff(at.true, prepend=0.0)
    pairs = np.diff(at.false, prepend=0.0) * (before + at.true) / 2
    return pairs.sum(-1) / (at.true[..., -1] * at.false[..., -1])


def precision_recall_curve(labels: Labels, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Returns precision [t + 1], recall [t + 1] and rising thresholds [t]; it ends in precision 1 at recall 0."""
    at = counts(labels, scores)
    return np.append(at.precision[::-1], 1.0), np.append(at.recall[::-1], 0.0), at.thresholds[::-1]


def recall_at_precision(labels: Labels, scores: Floats, precision: float, weights: Any = None) -> Any:
    """The highest recall of any threshold with at least this precision, 0 where none has it."""
    at = counts(labels, scores, weights)
    return np.where(at.precision >= precision, at.recall, 0.0).max(-1)


def precision_at_recall(labels: Labels, scores: Floats, recall: float, weights: Any = None) -> Any:
    """The highest precision of any threshold with at least this recall."""
    at = counts(labels, scores, weights)
    return np.where(at.recall >= recall, at.precision, 0.0).max(-1)


def resample(metric: Metric, labels: Labels, scores: Floats, seed: int, n: int = 1000) -> Floats:
    """The metric on `n` resamples of the photos: [n, ...].

    Positives and negatives, or the photos of each of several classes, are drawn apart, so that the few positives never
    vanish and prevalence stays the set's.
    """
    rng = np.random.default_rng(seed)
    step = max(1, CELLS // len(labels))
    draws = (_draw(rng, labels, min(step, n - i)) for i in range(0, n, step))
    return np.concatenate([metric(labels, scores, weights=weights) for weights in draws])


def bootstrap(metric: Metric, labels: Labels, scores: Floats, seed: int, n: int = 1000) -> Interval:
    """The metric with the 2.5% and 97.5% percentiles of `n` stratified resamples (Efron and Tibshirani 1993)."""
    return interval_of(float(metric(labels, scores)), resample(metric, labels, scores, seed, n))


def interval_of(value: float, draws: Floats) -> Interval:
    """A value with the 2.5% and 97.5% percentiles of its resamples, which it lies between."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(value, min(float(low), value), max(float(high), value))


def _draw(rng: np.random.Generator, labels: Labels, resamples: int) -> NDArray[np.float64]:
    """How often each photo is drawn in each of the resamples: [resamples, n]."""
    weights = np.empty((resamples, len(labels)))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        draws = rng.integers(len(rows), size=(resamples, len(rows))) + np.arange(resamples)[:, None] * len(rows)
        weights[:, rows] = np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape)
    return weights
