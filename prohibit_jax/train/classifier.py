"""The last layer alone, fitted to convergence on embeddings: logistic regression, a convex problem, in milliseconds.

An embedding is what a frozen network's classifier takes (`score/embed.py`), so what is fitted here is that classifier.
A frozen network and a shallow classifier are also what finds rare classes with the fewest labels (arXiv 2202.00390).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from prohibit_jax.types import InputError

# Chosen for few labels, on Caltech-101 (Lite0 at 160 px, held-out 40%, 3 seeds). Average precision of weapon and cash
# with every positive and 20 random negatives, and of wildlife with 60, by penalty and fraction:
#
#                     1, 0.25              10, 0.25             100, 0.5             300, 0.5
#     few             0.91  0.67  0.86     0.91  0.71  0.86     0.94  0.88  0.87     0.95  0.93  0.87
#     all negatives   0.99  1.00  0.96     0.99  1.00  0.96     0.99  1.00  0.96     0.98  1.00  0.95
#
# Features as they are, without standardising, lose up to 0.03 with few. Whitening them by the pool's covariance gains
# much with 20 labels (0.98, 0.99, 0.87) and nothing with more: chosen labels then add hardly anything to it, and a
# class that is not rare in the pool (wildlife, 8%) is whitened away with it (0.49 against 0.69 at the start).
PENALTY = 300.0
"""Of half the squared norm of the kernel on standardised features, beside the sum of the losses."""

POSITIVE_FRACTION = 0.5
"""Of the weight of all labels that the positives get together, however few they are."""

LEAST_SPREAD = 0.05
"""Added to every feature's standard deviation, so that one that hardly ever moves is not blown up."""

STEPS = 200
TOLERANCE = 1e-4  # of the gradient's norm, for each unit of the labels' weight


@dataclass(frozen=True)
class Spread:
    """Each feature's mean and standard deviation, float32 [f], of any photos: better the pool than only its labels."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Spread:
        """Of features [n, f], n at least 1."""
        return cls(features.mean(0, dtype=np.float64).astype(np.float32), features.std(0).astype(np.float32))


@dataclass(frozen=True)
class Classifier:
    """logit = features @ kernel + bias, on features as they are."""

    kernel: np.ndarray  # float32 [f]
    bias: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The logits of features [n, f], float32 [n]."""
        logits: np.ndarray = features.astype(np.float32, copy=False) @ self.kernel + np.float32(self.bias)
        return logits


def fit_classifier(
    features: np.ndarray, labels: np.ndarray, spread: Spread, weights: np.ndarray | None = None
) -> Classifier:
    """The classifier with the least penalised cross-entropy; the same input always gives the same one.

    Args:
        features: float32 [n, f].
        labels: [n], 1 and 0, each at least once.
        spread: by which features are standardised.
        weights: [n], how much each label counts beside the others of its kind; 1 by default, 0 leaves one out.

    Raises:
        InputError: only one kind of label.
    """
    every = np.ones(len(labels)) if weights is None else weights
    kernel, bias = fit_folds(features, labels, spread, every[None])
    return Classifier(kernel[0], float(bias[0]))


def out_of_fold(features: np.ndarray, labels: np.ndarray, spread: Spread, folds: np.ndarray) -> np.ndarray:
    """The logit of each photo from a classifier that was fitted without its fold, float32 [n].

    Args:
        features, labels, spread: as `fit_classifier` takes them.
        folds: integers [n], the fold of each photo; outside each fold both kinds of label remain.
    """
    names = np.unique(folds)
    kernels, biases = fit_folds(features, labels, spread, (folds != names[:, None]).astype(np.float64))
    logits = features @ kernels.T + biases
    return np.asarray(logits[np.arange(len(labels)), np.searchsorted(names, folds)], np.float32)


def fit_folds(
    features: np.ndarray, labels: np.ndarray, spread: Spread, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As `fit_classifier`, once for each row of weights [m, n], all at once: kernels float32 [m, f], biases [m]."""
    balanced = np.stack([_balanced(labels, row) for row in weights]).astype(np.float32)
    scale = spread.deviation + np.float32(LEAST_SPREAD)
    n, room = len(labels), _room(len(labels))
    x = np.zeros((room, features.shape[1]), np.float32)
    x[:n] = (features - spread.mean) / scale
    signs = np.where(np.pad(labels, (0, room - n)) > 0, np.float32(1), np.float32(-1))
    kernels, biases = jax.device_get(_solve(x, signs, np.pad(balanced, ((0, 0), (0, room - n)))))
    kernels = kernels / scale
    return kernels, biases - kernels @ spread.mean


def _balanced(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights by which the positives have their fraction of the sum, and the average label counts one."""
    positive = labels > 0
    sums = {True: weights[positive].sum(), False: weights[~positive].sum()}
    if not (sums[True] > 0 and sums[False] > 0):
        raise InputError("labels: a classifier needs at least one yes and one no")
    shares = np.where(positive, POSITIVE_FRACTION / sums[True], (1 - POSITIVE_FRACTION) / sums[False])
    return np.asarray(weights * shares * np.count_nonzero(weights))


def _room(n: int) -> int:
    """The next of 64, 256, 1,024, …: photos are padded to it, since compiling takes longer than fitting."""
    return 64 << 2 * max(0, math.ceil(math.log(n / 64, 4)))


@jax.jit
def _solve(x: jax.Array, signs: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """L-BFGS (Liu and Nocedal 1989) on standardised features [n, f], signs [n], for each row of weights [m, n]."""

    def one(weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        def loss(at: tuple[jax.Array, jax.Array]) -> jax.Array:
            kernel, bias = at
            # The bias is hardly held back: enough to stay finite where the classes are easily told apart.
            penalty = PENALTY / 2 * (kernel @ kernel) + PENALTY / 20 * bias**2
            return (weight * jax.nn.softplus(-signs * (x @ kernel + bias))).sum() + penalty

        optimiser = optax.lbfgs()
        value_and_grad = optax.value_and_grad_from_state(loss)

        def step(carry: tuple) -> tuple:  # type: ignore[type-arg]
            at, state, count, _ = carry
            value, gradient = value_and_grad(at, state=state)
            updates, state = optimiser.update(gradient, state, at, value=value, grad=gradient, value_fn=loss)
            return optax.apply_updates(at, updates), state, count + 1, optax.tree.norm(gradient)

        def unsettled(carry: tuple) -> jax.Array:  # type: ignore[type-arg]
            *_, count, slope = carry
            return jnp.asarray((count < STEPS) & (slope > TOLERANCE * weight.sum()))

        start = (jnp.zeros(x.shape[1]), jnp.zeros(()))
        at, *_ = jax.lax.while_loop(unsettled, step, (start, optimiser.init(start), 0, jnp.inf))
        kernel, bias = at
        return kernel, bias

    kernels, biases = jax.lax.map(one, weights)
    return kernels, biases
