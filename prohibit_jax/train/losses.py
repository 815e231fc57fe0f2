"""Losses of a batch, one number: from a binary head's logits [b] and labels [b], 0 or 1, or from several classes'."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from prohibit_jax.config import TrainConfig

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def loss_of(config: TrainConfig) -> Loss:
    """The configured loss, a mean over the batch.

    `bce` is binary cross-entropy, `focal` multiplies it by (1 - p)^gamma, p the probability given to the right label
    (Lin et al., arXiv 1708.02002). Either softens labels to `smoothing / 2` and `1 - smoothing / 2`. `softmax` is the
    cross-entropy of logits [b, outputs] and labels [b] that number them, softened by `smoothing / outputs` for each
    output. All weigh positives, whose label is not 0, by `positive_weight`.
    """

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        smooth = labels * (1 - config.label_smoothing) + config.label_smoothing / 2
        if config.loss == "softmax":
            right = jax.nn.one_hot(labels.astype(jnp.int32), logits.shape[1])
            each = optax.softmax_cross_entropy(logits, optax.smooth_labels(right, config.label_smoothing))
        elif config.loss == "focal":
            each = optax.sigmoid_focal_loss(logits, smooth, alpha=None, gamma=config.focal_gamma)
        else:
            each = optax.sigmoid_binary_cross_entropy(logits, smooth)
        weights = jnp.where(labels > 0.5, config.positive_weight, 1.0)
        return jnp.sum(each * weights) / jnp.sum(weights)

    return loss
