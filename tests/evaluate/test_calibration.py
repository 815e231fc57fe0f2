"""Calibration: known scale and offset come back, hard cases stay finite and monotone, errors match scikit-learn's."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from sklearn.linear_model import LogisticRegression

from prohibit_jax.evaluate.calibration import (
    Calibration,
    brier,
    calibration_error,
    fit,
    log_loss,
    reliability,
    sigmoid,
)
from prohibit_jax.types import InputError
from tests.tolerances import ORACLE, PLATT

Method = Literal["platt", "temperature"]


def drawn(scale: float, offset: float, n: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Photos whose probability is sigmoid(scale x logit + offset)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=n)
    return (rng.random(n) < sigmoid(scale * logits + offset)).astype(np.int8), logits


@pytest.mark.parametrize(("scale", "offset"), [(0.4, 0.0), (1.0, -3.0), (2.5, 1.0), (0.02, -1.0)])
def test_platt_recovers_scale_and_offset(scale: float, offset: float) -> None:
    found = fit(*drawn(scale, offset), "platt")
    np.testing.assert_allclose([found.scale, found.offset], [scale, offset], rtol=PLATT, atol=PLATT)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_temperature_recovers_the_scale(scale: float) -> None:
    found = fit(*drawn(scale, 0.0), "temperature")
    assert found.scale == pytest.approx(scale, rel=PLATT)
    assert found.offset == 0


def test_platt_is_the_maximum_of_the_likelihood() -> None:
    labels, logits = drawn(0.7, -1.0)
    found, peer = fit(labels, logits), LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, None], labels)
    np.testing.assert_allclose([found.scale, found.offset], [peer.coef_[0, 0], peer.intercept_[0]], atol=5e-3)


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_units_of_the_logits_do_not_matter(size: float) -> None:
    labels, logits = drawn(0.7, -1.0, n=500)
    np.testing.assert_allclose(fit(labels, logits * size)(logits * size), fit(labels, logits)(logits), atol=1e-6)


@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.sampled_from([-5.0, 0.0, 1.0, 1e3]),
    st.sampled_from([0.0, 1e-3, 1.0, 1e4]),
    st.sampled_from(["platt", "temperature"]),
)
@settings(max_examples=60)
def test_any_logits_give_a_finite_rising_map(
    positives: int, negatives: int, gap: float, noise: float, method: Method
) -> None:
    """Separated, upside down, constant, huge: order is kept and probabilities stay within [0, 1]."""
    labels = np.repeat(np.array([1, 0], np.int8), [positives, negatives])
    logits = gap * labels + noise * np.random.default_rng(0).normal(size=len(labels))
    found = fit(labels, logits.astype(np.float32), method)
    assert found.scale > 0
    assert np.isfinite([found.scale, found.offset]).all()
    p = found(np.sort(logits))
    assert (np.diff(p) >= 0).all()
    assert p.min() >= 0
    assert p.max() <= 1


def test_separated_photos_are_not_called_certain() -> None:
    labels = np.repeat(np.array([1, 0], np.int8), [10, 200])
    p = fit(labels, np.where(labels == 1, 8.0, -8.0).astype(np.float32))(np.array([8.0, -8.0]))
    np.testing.assert_allclose(p, [11 / 12, 1 / 202], atol=1e-4)


def test_constant_logits_give_the_part_of_the_class() -> None:
    labels = np.repeat(np.array([1, 0], np.int8), [100, 900])
    assert fit(labels, np.full(1000, 2.0))(np.array([2.0]))[0] == pytest.approx(0.1, abs=2e-3)


def test_calibration_lowers_the_error() -> None:
    labels, logits = drawn(0.3, -2.0)
    before, after = Calibration()(logits), fit(labels, logits)(logits)
    assert calibration_error(labels, before) > 0.1
    assert calibration_error(labels, after) < 0.02
    assert after.dtype == np.float32


@given(st.integers(2, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_brier_and_log_loss_are_those_of_scikit_learn(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    p = np.round(rng.random(n), 1)
    assert brier(labels, p) == pytest.approx(oracle.brier_score_loss(labels, p), abs=ORACLE)
    assert log_loss(labels, p) == pytest.approx(oracle.log_loss(labels, p), abs=ORACLE)


def test_calibration_error_by_hand() -> None:
    labels = np.array([0, 0, 1, 1, 0, 1])
    p = np.array([0.1, 0.1, 0.1, 0.8, 0.8, 0.8])
    assert calibration_error(labels, p, bins=2) == pytest.approx((abs(1 / 3 - 0.1) + abs(2 / 3 - 0.8)) / 2)
    mean, rate, photos = reliability(labels, p, np.array([0.5]))
    np.testing.assert_allclose(mean, [0.1, 0.8])
    np.testing.assert_allclose(rate, [1 / 3, 2 / 3])
    assert photos.tolist() == [3, 3]


def test_calibration_error_does_not_depend_on_the_order_of_photos() -> None:
    rng = np.random.default_rng(0)
    labels, p = np.arange(100) % 2, np.round(rng.random(100), 1)
    order = rng.permutation(100)
    assert calibration_error(labels[order], p[order]) == pytest.approx(calibration_error(labels, p), abs=ORACLE)
    assert calibration_error(labels, np.full(100, 0.3)) == pytest.approx(0.2)


def test_bad_input_is_named() -> None:
    labels, logits = np.array([0, 1]), np.array([0.0, np.nan])
    with pytest.raises(InputError, match="not finite"):
        fit(labels, logits)
    with pytest.raises(InputError, match="no positive"):
        fit(np.zeros(2, np.int8), np.zeros(2))
