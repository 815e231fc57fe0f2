from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from prohibit_jax.train import classifier as c
from prohibit_jax.types import InputError
from tests import tolerances


def photos(n: int, f: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of which two tell the classes apart, and labels, a quarter of them 1."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 4 == 0).astype(np.int8)
    features = rng.normal(3.0, 2.0, (n, f))
    features[:, :2] += 2.5 * labels[:, None]
    return features.astype(np.float32), labels


def test_it_is_scikit_learns_optimum() -> None:
    """The same objective there: C is one over the penalty, and the bias is a feature of its own, held back less."""
    features, labels = photos(90)
    spread = c.Spread.of(features)
    found = c.fit_classifier(features, labels, spread)
    z = (features - spread.mean) / (spread.deviation + c.LEAST_SPREAD)
    bias = np.full((len(z), 1), 10**0.5)  # a tenth of the penalty on what is multiplied by the root of ten
    weight = np.where(labels > 0, c.POSITIVE_FRACTION / labels.sum(), (1 - c.POSITIVE_FRACTION) / (labels == 0).sum())
    oracle = LogisticRegression(C=1 / c.PENALTY, fit_intercept=False, tol=1e-10, max_iter=10_000)
    oracle.fit(np.hstack([z, bias]), labels, sample_weight=weight * len(labels))
    expected = np.hstack([z, bias]) @ oracle.coef_[0]
    assert np.abs(found(features) - expected).max() < tolerances.CLASSIFIER


def test_labels_without_weight_do_not_count() -> None:
    features, labels = photos(80)
    spread = c.Spread.of(features)
    weights = (np.arange(80) < 60).astype(np.float64)
    some = c.fit_classifier(features, labels, spread, weights)
    alone = c.fit_classifier(features[:60], labels[:60], spread)
    assert np.abs(some(features) - alone(features)).max() < tolerances.CLASSIFIER


def test_folds_are_each_fitted_without_themselves() -> None:
    features, labels = photos(60)
    spread, folds = c.Spread.of(features), np.arange(60) // 4 % 3 + 5
    found = c.out_of_fold(features, labels, spread, folds)
    for fold in np.unique(folds):
        inside = folds == fold
        alone = c.fit_classifier(features[~inside], labels[~inside], spread)
        assert np.abs(found[inside] - alone(features[inside])).max() < tolerances.CLASSIFIER


@settings(max_examples=20)
@given(st.integers(2, 64), st.integers(0, 5), st.booleans())
def test_any_labels_give_finite_logits(n: int, seed: int, flat: bool) -> None:
    features, labels = photos(n, seed=seed)
    labels[:2] = 1, 0
    if flat:
        features[:] = 7.0
    found = c.fit_classifier(features, labels, c.Spread.of(features))
    assert np.isfinite(found(features)).all()
    assert found.kernel.dtype == np.float32


def test_it_is_the_same_every_time() -> None:
    features, labels = photos(50)
    one, other = (c.fit_classifier(features, labels, c.Spread.of(features)) for _ in range(2))
    assert np.array_equal(one.kernel, other.kernel)
    assert one.bias == other.bias


def test_photos_told_apart_at_once_settle() -> None:
    features, labels = photos(40)
    features[:, 0] = 100.0 * labels
    logits = c.fit_classifier(features, labels, c.Spread.of(features))(features)
    assert logits[labels > 0].min() > logits[labels == 0].max()


@pytest.mark.parametrize("label", [0, 1])
def test_one_kind_of_label_is_refused(label: int) -> None:
    features, _ = photos(10)
    with pytest.raises(InputError, match="at least one yes and one no"):
        c.fit_classifier(features, np.full(10, label, np.int8), c.Spread.of(features))


def test_few_sizes_are_compiled() -> None:
    before = c._solve._cache_size()
    for n in range(70, 250, 25):
        features, labels = photos(n, f=5)
        c.fit_classifier(features, labels, c.Spread.of(features))
    assert c._solve._cache_size() - before <= 1
