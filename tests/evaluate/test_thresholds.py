"""Thresholds on photos whose rates are known: both kinds score normally, so TPR and FPR are exact at any depth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from prohibit_jax.evaluate.calibration import fit
from prohibit_jax.evaluate.thresholds import (
    NEVER,
    Settings,
    choose,
    operate,
    shift_prior,
    threshold_for_precision,
    threshold_for_recall,
    threshold_for_reviews,
    wilson,
)
from prohibit_jax.types import Calibration, InputError
from tests.tolerances import COVERAGE, ORACLE

ONLINE = 5e-6


def drawn(rng: np.random.Generator, positives: int, negatives: int, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and logits normal around `gap` for the class and around 0 for the rest: log odds are linear in them."""
    labels = np.repeat(np.array([1, 0], np.int8), [positives, negatives])
    return labels, rng.normal(size=len(labels)) + gap * labels


def rates(threshold: float, calibration: Calibration, gap: float) -> tuple[float, float]:
    """The exact TPR and FPR of a threshold in probability."""
    p = min(max(threshold, 2**-25), 1 - 2**-25)
    logit = (math.log(p) - math.log1p(-p) - calibration.offset) / calibration.scale
    return float(stats.norm.sf(logit - gap)), float(stats.norm.sf(logit))


def online_precision(tpr: float, fpr: float, prevalence: float) -> float:
    return prevalence * tpr / (prevalence * tpr + (1 - prevalence) * fpr)


@pytest.mark.parametrize(("positives", "negatives", "gap"), [(60, 1500, 3.5), (200, 1500, 5.0), (60, 20_000, 5.0)])
def test_far_beyond_the_data_targets_are_met_on_the_true_distribution(
    positives: int, negatives: int, gap: float
) -> None:
    """Precision 0.95 at five in a million asks for an FPR of about 1e-7, from at most 20,000 negatives."""
    rng = np.random.default_rng(0)
    precisions, flagged, recalls = [], [], []
    for _ in range(20):
        labels, logits = drawn(rng, positives, negatives, gap)
        calibration = fit(labels, logits)
        p = calibration(logits)
        block = threshold_for_precision(labels, p, 0.95, ONLINE)
        precisions.append(online_precision(*rates(block, calibration, gap), ONLINE))
        review = threshold_for_reviews(labels, p, 1_000_000, 500, ONLINE)
        tpr, fpr = rates(review, calibration, gap)
        flagged.append(1e6 * (ONLINE * tpr + (1 - ONLINE) * fpr))
        recalls.append(tpr)
    assert np.median(precisions) >= 0.95
    assert np.quantile(precisions, 0.1) >= 0.9
    assert np.median(flagged) <= 500
    assert np.quantile(flagged, 0.9) <= 800
    # and not by flagging nothing: at least 3/4 of the recall that knowing the true distribution would allow
    best = stats.norm.sf(stats.norm.isf(500 / 1e6) - gap)
    assert np.median(recalls) >= 0.75 * best


def test_within_the_data_targets_are_met_on_fresh_photos() -> None:
    """At a prevalence and a budget that the negatives can show, targets are hit closely from both sides."""
    rng = np.random.default_rng(1)
    calibration = Calibration(2.5, 0.5 * -(2.5**2) + math.log(400 / 8000))
    precisions, flagged = [], []
    for _ in range(20):
        labels, logits = drawn(rng, 400, 8000, 2.5)
        p = calibration(logits)
        at = threshold_for_precision(labels, p, 0.8, 0.05)
        precisions.append(online_precision(*rates(at, calibration, 2.5), 0.05))
        tpr, fpr = rates(threshold_for_reviews(labels, p, 10_000, 100, 1e-3), calibration, 2.5)
        flagged.append(10_000 * (1e-3 * tpr + (1 - 1e-3) * fpr))
    assert np.mean(precisions) == pytest.approx(0.8, abs=0.03)
    assert np.mean(flagged) == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("positives", [19, 40, 300])
def test_recall_is_kept_on_fresh_photos(positives: int) -> None:
    rng = np.random.default_rng(2)
    kept = []
    for _ in range(400):
        labels, logits = drawn(rng, positives, 20, 3.0)
        at = threshold_for_recall(labels, Calibration()(logits), 0.95)
        kept.append(rates(at, Calibration(), 3.0)[0])
    assert 0.95 - COVERAGE <= np.mean(kept) <= 0.95 + 1 / (positives + 1) + COVERAGE


def test_recall_from_too_few_positives_keeps_them_all() -> None:
    labels, p = np.array([1, 1, 0]), np.array([0.9, 0.3, 0.5], np.float32)
    assert threshold_for_recall(labels, p, 0.95) == pytest.approx(0.3)


def test_calibration_on_another_mix_is_put_right() -> None:
    """The same photos with all log odds moved by a constant: thresholds move along and flag the same photos."""
    labels, logits = drawn(np.random.default_rng(3), 100, 3000, 4.0)
    calibration = fit(labels, logits)
    moved = Calibration(calibration.scale, calibration.offset + 3.0)
    p, q = calibration(logits).astype(np.float64), moved(logits).astype(np.float64)
    for at, moved_at in (
        (threshold_for_precision(labels, p, 0.5, 1e-3), threshold_for_precision(labels, q, 0.5, 1e-3)),
        (threshold_for_reviews(labels, p, 10**6, 500, ONLINE), threshold_for_reviews(labels, q, 10**6, 500, ONLINE)),
    ):
        assert (p >= at).tolist() == (q >= moved_at).tolist()


def test_counts_win_over_a_calibration_that_they_contradict() -> None:
    """Thirty look-alikes of the class among 3,000 others, as sure as the class itself."""
    labels = np.repeat(np.array([1, 0, 0], np.int8), [100, 30, 2970])
    p = np.repeat(np.array([0.9999, 0.9999, 0.001], np.float32), [100, 30, 2970])
    point = operate(labels, p, 0.5, prevalence=ONLINE, photos_per_day=1_000_000)
    assert point.measurable
    assert point.false_positive_rate.low <= point.false_positive_rate.value <= 0.0101
    assert point.false_positive_rate.value > 0.006
    assert point.precision.high < 0.001
    assert threshold_for_precision(labels, p, 0.95, ONLINE) > 0.9999
    assert threshold_for_reviews(labels, p, 1_000_000, 500, ONLINE) > 0.9999


def test_no_false_positive_rate_is_taken_for_zero() -> None:
    labels = np.repeat(np.array([1, 0], np.int8), [50, 1000])
    logits = np.where(labels == 1, 6.0, -6.0) + np.random.default_rng(0).normal(size=1050)
    p = fit(labels, logits)(logits)
    point = operate(labels, p, float(np.sort(p)[-50]), prevalence=ONLINE, photos_per_day=1_000_000)
    assert not point.measurable
    assert point.recall.value == 1
    assert point.false_positive_rate.value > 0
    assert point.false_positive_rate.high >= 1 - 0.025 ** (1 / 1000)  # the exact bound at no false positive
    assert point.per_day.low < point.per_day.value < point.per_day.high
    assert point.precision.low < 0.01 < point.precision.high


def test_above_all_photos_only_bounds_are_known() -> None:
    labels, p = np.array([1, 1, 0, 0]), np.array([0.9, 0.8, 0.2, 0.1], np.float32)
    point = operate(labels, p, 0.95, prevalence=ONLINE, photos_per_day=1000)
    assert point.recall.value == 0
    assert math.isnan(point.false_positive_rate.value)
    assert math.isnan(point.precision.value)
    assert point.false_positive_rate.high > 0.5


@pytest.mark.parametrize(
    ("rate", "total"), [(1e-4, 1000), (1e-3, 1000), (5e-3, 1000), (0.05, 300), (0.5, 100), (0.95, 60)]
)
def test_wilson_bounds_cover_every_rate(rate: float, total: int) -> None:
    """Summed over all counts exactly; the upper bound, which matters for rare false positives, never falls short."""
    count = np.arange(total + 1)
    span, chance = wilson(count, total), stats.binom.pmf(count, total, rate)
    if rate > 0.001:
        assert chance[(span.low <= rate) & (rate <= span.high)].sum() >= 0.95 - COVERAGE
    assert chance[rate <= span.high].sum() >= 0.975 - COVERAGE
    exact = stats.beta.ppf(0.975, count[:30] + 1, total - count[:30])
    if rate < 0.01:
        np.testing.assert_array_less(exact, span.high[:30] * (1 + 2e-3))


@given(st.floats(0.0, 1.0), st.floats(1e-6, 0.9), st.floats(1e-6, 0.9))
def test_shift_of_the_prior_is_bayes_rule_and_goes_back(p: float, old: float, new: float) -> None:
    q = shift_prior(p, old, new)
    assert 0 <= q <= 1
    assert shift_prior(q, new, old) == pytest.approx(p, abs=1e-9)
    assert shift_prior(old, old, new) == pytest.approx(new, abs=ORACLE)


def test_review_is_the_scarcer_of_recall_and_budget() -> None:
    labels, logits = drawn(np.random.default_rng(4), 100, 3000, 4.0)
    p = fit(labels, logits)(logits)
    rich = choose(Settings(reviews_per_day=10**6), labels, p)
    poor = choose(Settings(reviews_per_day=100), labels, p)
    assert rich.review == threshold_for_recall(labels, p, 0.95)
    assert poor.review > rich.review
    for found in (rich, poor):
        assert 0 < found.review <= found.block <= 1


def test_block_never_lies_below_review() -> None:
    labels, logits = drawn(np.random.default_rng(5), 500, 500, 3.0)
    found = choose(Settings(precision=0.1, prevalence=0.5, reviews_per_day=1), labels, fit(labels, logits)(logits))
    assert found.review == found.block


def test_hard_cases_have_thresholds_too() -> None:
    for labels, p in (
        ([1, 0, 0], [0.5, 0.5, 0.5]),
        ([1, 0], [1.0, 0.0]),
        ([1, 0], [0.0, 1.0]),
        ([0, 1, 0], [0.2, 0.1, 0.0]),
    ):
        found = choose(Settings(), np.array(labels), np.array(p, np.float32))
        assert 0 <= found.review <= found.block <= NEVER


def test_the_rarer_the_class_the_surer_a_block_and_never_where_float32_is_too_coarse() -> None:
    labels, logits = drawn(np.random.default_rng(6), 100, 3000, 4.0)
    p = fit(labels, logits)(logits)
    blocks = [threshold_for_precision(labels, p, 0.99, prevalence) for prevalence in (1e-4, 1e-5, 1e-6, 1e-7)]
    assert blocks[0] < blocks[1] < blocks[2] < blocks[3]
    odds = [math.log(block) - math.log1p(-block) for block in blocks[1:3]]
    assert odds[1] - odds[0] == pytest.approx(math.log(10), abs=1e-3)
    assert blocks[3] == NEVER > np.float32(1)

    point = operate(labels, p, NEVER, prevalence=1e-7, photos_per_day=1000)
    assert (point.recall.value, point.measurable) == (0, False)
    found = choose(Settings(precision=0.99, prevalence=1e-7), labels, p)
    assert found.review < found.block == NEVER


def test_photos_all_at_one_that_exceed_the_budget_are_never_flagged() -> None:
    labels, p = np.array([1, 0, 0, 0]), np.array([1.0, 1.0, 1.0, 0.0], np.float32)
    found = choose(Settings(), labels, p)
    assert found.review == found.block == NEVER


def test_bad_targets_are_named() -> None:
    labels, p = np.array([1, 0]), np.array([0.9, 0.1])
    with pytest.raises(InputError, match=r"evaluate\.recall 1\.0"):
        threshold_for_recall(labels, p, 1.0)
    with pytest.raises(InputError, match=r"evaluate\.precision 0\.0"):
        threshold_for_precision(labels, p, 0.0, ONLINE)
    with pytest.raises(InputError, match=r"evaluate\.prevalence"):
        threshold_for_reviews(labels, p, 1000, 10, 0.0)
    with pytest.raises(InputError, match="reviews_per_day"):
        threshold_for_reviews(labels, p, 1000, 0, ONLINE)
    with pytest.raises(InputError, match="no positive"):
        choose(Settings(), np.zeros(2, np.int8), p)
