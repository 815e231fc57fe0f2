"""From logits to probabilities that mean what they say, on the mix of photos that they were fitted on. NumPy only.

`thresholds.shift_prior` carries such a probability over to another mix.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prohibit_jax.evaluate.metrics import Floats, Labels, check
from prohibit_jax.types import Calibration, InputError, sigmoid

Method = Literal["platt", "temperature"]

FLATTEST = 1e-3
"""The least slope per standard deviation of the logits: order survives even where the logits tell nothing."""


def fit(labels: Labels, logits: Floats, method: Method = "platt") -> Calibration:
    """Fits scale and offset (`platt`), or the scale alone (`temperature`), by maximum likelihood.

    The targets are Platt's, (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), so that perfectly separated photos still have a
    finite answer (Platt 1999; Newton's method with halved steps as in Lin, Lin and Weng 2007; one scale as in Guo et
    al. 2017). Few photos thus flatten the slope, which errs on the side of doubt.

    Raises InputError for an unknown method, for logits that are not finite and for labels of one kind only.
    """
    if method not in ("platt", "temperature"):
        raise InputError(f"evaluate.calibration {method!r}: use 'platt' or 'temperature'")
    check(labels, logits)
    x = logits.astype(np.float64)
    positives = int(labels.sum())
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (len(x) - positives + 2))
    # In units of their own spread, logits of any size are equally easy for Newton's method.
    spread = float(x.std() if method == "platt" else np.sqrt(np.mean(x**2))) or 1.0
    centre = float(x.mean()) if method == "platt" else 0.0
    z = (x - centre) / spread
    if method == "temperature":
        return Calibration(max(_newton(z[:, None], targets)[0], FLATTEST) / spread)
    slope, level = _newton(np.stack([z, np.ones_like(z)], 1), targets)
    if slope < FLATTEST:
        slope, level = FLATTEST, float(np.log(targets.mean() / (1 - targets.mean())))
    return Calibration(slope / spread, level - slope * centre / spread)


def _newton(features: NDArray[np.float64], targets: NDArray[np.float64]) -> list[float]:
    """Logistic regression of soft targets [n] on features [n, d]; a tiny ridge settles directions that say nothing."""
    ridge = 1e-9 * len(targets)
    weights = np.zeros(features.shape[1])
    for _ in range(100):
        p = sigmoid(features @ weights)
        gradient = features.T @ (p - targets) + ridge * weights
        if np.abs(gradient).max() < 1e-9 * len(targets):
            break
        curvature = features.T @ (features * (p * (1 - p))[:, None]) + ridge * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        here, size = _loss(weights, features, targets, ridge), 1.0
        while _loss(weights - size * step, features, targets, ridge) > here and size > 1e-9:
            size /= 2
        weights = weights - size * step
    return [float(w) for w in weights]


def _loss(
    weights: NDArray[np.float64], features: NDArray[np.float64], targets: NDArray[np.float64], ridge: float
) -> float:
    """The cross-entropy that `_newton` makes least, summed over photos, with its ridge."""
    x = features @ weights
    return float(np.sum(np.logaddexp(0, x) - targets * x) + ridge / 2 * weights @ weights)


def reliability(labels: Labels, probabilities: Floats, edges: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Mean probability, part of the class and number of photos of each bin that holds any, lowest first.

    Args:
        edges: [bins - 1], rising; a photo on an edge falls into the bin above it.
    """
    check(labels, probabilities)
    p = probabilities.astype(np.float64)
    bin_of = np.searchsorted(edges, p, side="right")
    photos = np.bincount(bin_of)
    filled = photos > 0
    mean, rate = (np.bincount(bin_of, weights)[filled] / photos[filled] for weights in (p, labels))
    return mean, rate, photos[filled]


def calibration_error(labels: Labels, probabilities: Floats, bins: int = 15) -> float:
    """Expected calibration error: mean |mean probability - part of the class| over bins of equal mass, by photos.

    Photos of one probability share a bin, so that the error does not depend on the order of photos.
    """
    p = np.sort(probabilities.astype(np.float64))
    edges = np.unique(p[np.arange(1, bins) * len(p) // bins])
    mean, rate, photos = reliability(labels, probabilities, edges)
    return float(np.average(np.abs(mean - rate), weights=photos))


def brier(labels: Labels, probabilities: Floats) -> float:
    """The mean squared difference of probability and label (Brier 1950)."""
    check(labels, probabilities)
    return float(np.mean((probabilities.astype(np.float64) - labels) ** 2))


def log_loss(labels: Labels, probabilities: Floats) -> float:
    """The mean negative log likelihood, in nats; 0 and 1 count as one step of their width inside."""
    check(labels, probabilities)
    tiny = float(np.finfo(probabilities.dtype).eps)
    p = np.clip(probabilities.astype(np.float64), tiny, 1 - tiny)
    return float(-np.mean(np.where(labels == 1, np.log(p), np.log1p(-p))))
