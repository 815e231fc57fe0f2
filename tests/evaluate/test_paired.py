"""Paired intervals: nothing where nothing differs, the mirror image when swapped, and what a plain loop finds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as oracle

from prohibit_jax.evaluate.metrics import Interval, Metric, _draw, average_precision, bootstrap, roc_area
from prohibit_jax.evaluate.paired import pair, paired
from prohibit_jax.types import InputError
from tests.tolerances import ORACLE


def photos(seed: int, n: int = 200, positives: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and two scores of them that mostly agree."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) < positives).astype(np.int8)
    seen = labels * 1.5 + rng.standard_normal(n)
    return labels, seen, seen + 0.5 * rng.standard_normal(n)


@pytest.mark.parametrize("metric", [average_precision, roc_area])
def test_the_same_order_differs_by_nothing(metric: Metric) -> None:
    labels, scores, _ = photos(0)
    for same in (scores.copy(), 3 * scores + 1):
        assert paired(metric, labels, scores, same, seed=1) == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_swapped_it_is_the_mirror_image(seed: int) -> None:
    labels, old, new = photos(seed)
    there = paired(average_precision, labels, old, new, seed, n=200)
    back = paired(average_precision, labels, new, old, seed, n=200)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=ORACLE)
    assert there.low <= there.value <= there.high


def test_a_loop_over_resampled_photos_finds_the_same() -> None:
    labels, old, new = photos(7)
    found = paired(average_precision, labels, old, new, seed=3, n=100)
    draws = []
    for weights in _draw(np.random.default_rng(3), labels, 100):
        rows = np.repeat(np.arange(len(labels)), weights.astype(int))
        one, other = (oracle.average_precision_score(labels[rows], scores[rows]) for scores in (old, new))
        draws.append(other - one)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, (0.025, 0.975))), abs=ORACLE)


def test_each_side_has_the_interval_that_it_has_alone() -> None:
    labels, old, new = photos(2)
    both = pair(average_precision, labels, old, new, seed=5, n=150)
    assert both.old == bootstrap(average_precision, labels, old, 5, 150)
    assert both.new == bootstrap(average_precision, labels, new, 5, 150)
    assert both.difference == paired(average_precision, labels, old, new, 5, 150)


def test_it_is_narrower_than_the_intervals_of_both() -> None:
    labels, old, _ = photos(4)
    new = old + 0.1 * np.random.default_rng(0).standard_normal(len(old))
    both = pair(average_precision, labels, old, new, seed=0)
    widths = [interval.high - interval.low for interval in (both.old, both.new, both.difference)]
    assert widths[2] < min(widths[:2]) / 2


def test_a_plain_improvement_shows() -> None:
    labels, old, _ = photos(4)
    assert paired(average_precision, labels, old, old + labels, seed=0).low > 0
    assert paired(average_precision, labels, old + labels, old, seed=0).high < 0


def test_one_kind_of_photo_alone_is_refused() -> None:
    labels, old, new = photos(0)
    with pytest.raises(InputError, match=r"^labels: no positive"):
        paired(average_precision, 0 * labels, old, new, seed=0)
