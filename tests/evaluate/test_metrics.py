"""Metrics against scikit-learn, ties included, and the bootstrap against the truth it stands for."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from prohibit_jax.evaluate.metrics import (
    Interval,
    average_precision,
    bootstrap,
    counts,
    precision_at_recall,
    precision_recall_curve,
    recall_at_precision,
    resample,
    roc_area,
)
from prohibit_jax.types import InputError
from tests.tolerances import ORACLE


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels with both kinds, and scores with many ties."""
    n = draw(st.integers(2, 40))
    labels = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda x: 0 < sum(x) < len(x)))
    grid = draw(st.sampled_from([1, 3, 1000]))
    scores = draw(st.lists(st.integers(-grid, grid), min_size=n, max_size=n))
    return np.array(labels, np.int8), np.array(scores, np.float32) / grid


@given(judged())
@settings(max_examples=150)
def test_areas_are_those_of_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = case
    assert average_precision(labels, scores) == pytest.approx(
        oracle.average_precision_score(labels, scores), abs=ORACLE
    )
    assert roc_area(labels, scores) == pytest.approx(oracle.roc_auc_score(labels, scores), abs=ORACLE)


@given(judged())
@settings(max_examples=100)
def test_curve_and_points_are_those_of_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = case
    precision, recall, thresholds = oracle.precision_recall_curve(labels, scores)
    for ours, theirs in zip(precision_recall_curve(labels, scores), (precision, recall, thresholds), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=ORACLE)
    for target in (0.25, 0.5, 0.9, 1.0):
        assert recall_at_precision(labels, scores, target) == pytest.approx(
            recall[precision >= target].max(), abs=ORACLE
        )
        assert precision_at_recall(labels, scores, target) == pytest.approx(
            precision[recall >= target].max(), abs=ORACLE
        )


@given(judged(), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_weights_mean_repeated_photos(case: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    labels, scores = case
    weights = np.random.default_rng(seed).integers(0, 3, len(labels)) + (np.arange(len(labels)) == labels.argmax())
    weights[labels.argmin()] += 1
    repeated = np.repeat(labels, weights), np.repeat(scores, weights)
    for metric in (average_precision, roc_area, partial(recall_at_precision, precision=0.5)):
        assert metric(labels, scores, weights=weights) == pytest.approx(metric(*repeated), abs=ORACLE)


def test_one_positive_and_constant_scores() -> None:
    labels, scores = np.array([0, 1, 0, 0]), np.array([0.1, 0.5, 0.5, 0.2])
    assert average_precision(labels, scores) == 0.5
    assert roc_area(labels, scores) == pytest.approx(2.5 / 3)
    assert recall_at_precision(labels, scores, 0.9) == 0
    flat = np.zeros(4)
    assert (average_precision(labels, flat), roc_area(labels, flat)) == (0.25, 0.5)
    assert bootstrap(average_precision, labels, flat, seed=0, n=50) == Interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0], [0.1, 0.2], "no positive among 2 photos"),
        ([1, 1], [0.1, 0.2], "no negative among 2 photos"),
        ([1, 0], [0.1, np.nan], "1 of 2 are not finite"),
        ([1, 0], [np.inf, -np.inf], "2 of 2 are not finite"),
        ([1, -1], [0.1, 0.2], "use 1 for the class and 0 for the rest"),
        ([1, 0, 0], [0.1, 0.2], "need one of each"),
        ([], [], "no positive among 0 photos"),
    ],
)
def test_bad_input_is_named(labels: list[int], scores: list[float], message: str) -> None:
    for call in (counts, average_precision, partial(bootstrap, roc_area, seed=0)):
        with pytest.raises(InputError, match=message):
            call(np.array(labels, np.int8), np.array(scores, np.float32))


def drawn(rng: np.random.Generator, positives: int, negatives: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([1, 0], [positives, negatives])
    return labels, rng.normal(size=len(labels)) + 1.5 * labels


def test_bootstrap_follows_its_seed_alone() -> None:
    labels, scores = drawn(np.random.default_rng(0), 20, 80)
    first = bootstrap(average_precision, labels, scores, seed=1, n=100)
    assert first == bootstrap(average_precision, labels, scores, seed=1, n=100)
    assert first != bootstrap(average_precision, labels, scores, seed=2, n=100)
    assert first.low < first.value < first.high


def test_resamples_are_stratified_and_resampling_in_parts_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores = drawn(np.random.default_rng(0), 3, 50)
    monkeypatch.setattr("prohibit_jax.evaluate.metrics.CELLS", 7 * 53)

    def drawn_of_each(labels: Any, scores: Any, weights: Any) -> Any:
        return np.stack([weights @ labels, weights @ (1 - labels)], -1)

    assert (resample(drawn_of_each, labels, scores, seed=0, n=20) == [[3, 50]] * 20).all()


def test_bootstrap_agrees_with_resampling_photos_themselves() -> None:
    labels, scores = drawn(np.random.default_rng(3), 30, 120)
    rng = np.random.default_rng(4)
    plain = []
    for _ in range(1000):
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(labels == label), (labels == label).sum()) for label in (0, 1)]
        )
        plain.append(roc_area(labels[rows], scores[rows]))
    interval = bootstrap(roc_area, labels, scores, seed=5, n=1000)
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(plain, (0.025, 0.975)), atol=0.015)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    truth = 0.8556  # the normal distribution function at 1.5 / sqrt(2)
    rng = np.random.default_rng(6)
    intervals = [bootstrap(roc_area, *drawn(rng, 40, 160), seed=i, n=300) for i in range(200)]
    covered = np.mean([i.low <= truth <= i.high for i in intervals])
    assert 0.89 <= covered <= 0.99
