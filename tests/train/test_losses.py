"""Losses against their formulas."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prohibit_jax.config import TrainConfig
from prohibit_jax.train.losses import loss_of
from tests.tolerances import ONE_LAYER

LOGITS = np.array([-3.0, -0.5, 0.2, 4.0], np.float32)
LABELS = np.array([0.0, 1.0, 0.0, 1.0], np.float32)


def by_hand(weight: float, smoothing: float, gamma: float) -> float:
    probability = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    soft = LABELS * (1 - smoothing) + smoothing / 2
    each = -soft * np.log(probability) - (1 - soft) * np.log(1 - probability)
    right = probability * soft + (1 - probability) * (1 - soft)
    weights = np.where(LABELS > 0, weight, 1.0)
    return float((each * (1 - right) ** gamma * weights).sum() / weights.sum())


@pytest.mark.parametrize("weight", [1.0, 7.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("loss", ["bce", "focal"])
def test_the_loss_is_its_formula(loss: str, smoothing: float, weight: float) -> None:
    config = TrainConfig(loss=loss, positive_weight=weight, label_smoothing=smoothing, focal_gamma=2.0)  # type: ignore[arg-type]
    value = float(loss_of(config)(jnp.asarray(LOGITS), jnp.asarray(LABELS)))
    assert value == pytest.approx(by_hand(weight, smoothing, 2.0 if loss == "focal" else 0.0), rel=ONE_LAYER * 10)


@pytest.mark.parametrize("weight", [1.0, 7.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_softmax_of_several_classes_is_its_formula(smoothing: float, weight: float) -> None:
    logits = np.random.default_rng(0).normal(0, 2, (5, 3))
    labels = np.array([0, 2, 1, 0, 2])
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    soft = np.eye(3)[labels] * (1 - smoothing) + smoothing / 3
    weights = np.where(labels > 0, weight, 1.0)
    expected = -((soft * np.log(shares)).sum(1) * weights).sum() / weights.sum()
    config = TrainConfig(loss="softmax", positive_weight=weight, label_smoothing=smoothing)
    value = float(loss_of(config)(jnp.asarray(logits, jnp.float32), jnp.asarray(labels, jnp.float32)))
    assert value == pytest.approx(expected, rel=ONE_LAYER * 10)


def test_the_loss_and_its_gradient_stay_finite_on_extreme_logits() -> None:
    logits = jnp.asarray([-1e4, 1e4, 1e4, -1e4], jnp.float32)
    for loss in ("bce", "focal"):
        value, gradient = jax.value_and_grad(loss_of(TrainConfig(loss=loss)))(logits, jnp.asarray(LABELS))  # type: ignore[arg-type]
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
