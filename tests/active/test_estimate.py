"""Estimates against the truth of simulated pools, and against the exact distributions of SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from prohibit_jax.active.estimate import (
    STUDENT,
    Draw,
    calibrations,
    expected_positives,
    left_by_draws,
    next_gain,
)
from prohibit_jax.types import InputError, sigmoid

RUNS = 200
COVERED = 0.93
"""Of 95% intervals, at 200 runs: two standard errors are 0.03, and a discrete count's exact interval covers more."""


def test_the_interval_covers_whatever_the_rounds_chose() -> None:
    """Pools of many sizes and prevalences, where each round also asks the highest of a better or worse score."""
    covered = []
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        size = int(rng.integers(200, 2000))
        labels = (np.arange(size) < rng.integers(0, size // int(rng.integers(3, 40)))).astype(int)
        scores = labels * rng.uniform(0, 3) + rng.normal(size=size)
        open_, draws = np.ones(size, bool), []
        for _ in range(int(rng.integers(1, 6))):
            rows = np.flatnonzero(open_)
            drawn = rng.choice(rows, min(int(rng.integers(1, 20)), len(rows)), replace=False)
            draws.append(Draw(len(rows), len(drawn), int(labels[drawn].sum()), int(labels[~open_].sum())))
            open_[drawn] = False
            rest = np.flatnonzero(open_)
            open_[rest[np.argsort(-scores[rest])][: int(rng.integers(0, 60))]] = False
        left = left_by_draws(draws, int(labels[~open_].sum()), int(open_.sum()))
        assert left is not None
        assert 0 <= left.low <= left.value <= left.high <= open_.sum()
        covered.append(left.low <= labels[open_].sum() <= left.high)
    assert np.mean(covered) >= COVERED


@pytest.mark.parametrize(("population", "drawn", "positives"), [(500, 40, 3), (500, 40, 0), (60, 60, 7), (30, 10, 10)])
def test_one_round_is_the_exact_interval_of_the_hypergeometric(population: int, drawn: int, positives: int) -> None:
    left = left_by_draws([Draw(population, drawn, positives, 0)], positives, population - drawn)
    assert left is not None
    totals = np.arange(positives, population - drawn + positives + 1)
    above = stats.hypergeom.sf(positives - 1, population, totals, drawn)
    below = stats.hypergeom.cdf(positives, population, totals, drawn)
    inside = totals[(above > 0.025) & (below > 0.025)]
    value = min(positives * population / drawn - positives, population - drawn)
    assert (left.low, left.high) == (min(inside[0] - positives, value), max(inside[-1] - positives, value))
    assert left.value == pytest.approx(value)


def test_found_photos_count_against_what_is_left() -> None:
    few, many = (left_by_draws([Draw(1000, 100, 5, 0)], found, 900) for found in (5, 40))
    assert few is not None
    assert many is not None
    assert (many.value, many.high) == (few.value - 35, few.high - 35)


def test_without_draws_nothing_is_said() -> None:
    assert left_by_draws([], 3, 100) is None
    assert left_by_draws([Draw(100, 0, 0, 3)], 3, 97) is None


def test_expected_positives_cover_a_calibrated_pool() -> None:
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        logits = rng.normal(-4, 2, 3000)
        labels = (rng.random(3000) < sigmoid(1.3 * logits + 0.5)).astype(np.int8)
        asked = np.argsort(np.abs(logits + 1) + rng.gumbel(size=3000))[:400]  # chosen by score, not by label
        rest = np.setdiff1d(np.arange(3000), asked)
        found = expected_positives(calibrations(labels[asked], logits[asked], seed), logits[rest], seed)
        assert 0 <= found.low <= found.value <= found.high <= len(rest)
        covered.append(found.low <= labels[rest].sum() <= found.high)
    assert np.mean(covered) >= 0.88  # 0.935 of 200 runs


def test_expected_positives_of_none_is_nothing() -> None:
    labels, logits = np.array([0, 1, 0, 1], np.int8), np.array([-1.0, 1, 0, 2])
    scales = calibrations(labels, logits, 0)
    assert expected_positives(scales, np.zeros(0, np.float32), 0).value == 0
    with pytest.raises(InputError, match="no positive"):
        calibrations(labels[:1], logits[:1], 0)


def test_the_next_gain_follows_the_course() -> None:
    labels = [100, 200, 400, 800]
    gain = next_gain(labels, [0.9 - 2 / n**0.5 for n in labels], 200)
    assert gain is not None
    expected = 2 / 800**0.5 - 2 / 1000**0.5
    assert (gain.low, gain.value, gain.high) == pytest.approx((expected,) * 3)
    noisy = next_gain(labels, [0.70, 0.77, 0.79, 0.84], 200)
    assert noisy is not None
    assert noisy.low < noisy.value < noisy.high
    line = stats.linregress(1 / np.sqrt(labels), [0.70, 0.77, 0.79, 0.84])
    step = 1 / 1000**0.5 - 1 / 800**0.5
    reach = abs(step) * line.stderr * stats.t.ppf(0.975, 2)
    assert (noisy.low, noisy.value) == pytest.approx((line.slope * step - reach, line.slope * step), rel=1e-3)


def test_two_points_are_no_course() -> None:
    assert next_gain([100, 200], [0.5, 0.6], 100) is None
    assert next_gain([100, 100, 200], [0.5, 0.5, 0.6], 100) is None


def test_students_quantiles_are_those_of_scipy() -> None:
    assert stats.t.ppf(0.975, np.arange(1, len(STUDENT) + 1)) == pytest.approx(STUDENT, rel=5e-4)
