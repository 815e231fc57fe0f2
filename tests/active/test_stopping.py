"""The rules by which to stop: paired gains, agreement, verdicts with their numbers, and how rules are joined."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from prohibit_jax.active.stopping import (
    RULES,
    Change,
    Verdict,
    agreement,
    days_spent,
    decide,
    few,
    gain,
    labels_spent,
    parse,
    plateau,
    reference,
    stable,
)
from prohibit_jax.evaluate.metrics import Interval, average_precision, resample
from prohibit_jax.types import InputError


def pool(seed: int, skill: float, count: int = 500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels, a score, and one that differs from it a little and is better by `skill`)."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.1).astype(np.int8)
    before = rng.normal(size=count) + 2 * labels
    return labels, before, before + skill * labels + 0.1 * rng.normal(size=count)


def change(value: float, agree: float = 0.9) -> Change:
    return Change("weapon@3", 200, Interval(value, value - 0.01, value + 0.01), agree)


def test_the_gain_is_the_difference_of_average_precisions() -> None:
    labels, before, after = pool(0, 1.0)
    found = gain(labels, before, after)
    assert found.value == pytest.approx(average_precision(labels, after) - average_precision(labels, before))
    assert 0 < found.low <= found.value <= found.high
    assert gain(labels, after, before).value == -found.value
    nothing = gain(labels, before, before)
    assert (nothing.low, nothing.value, nothing.high) == (0, 0, 0)
    ones = np.ones(3, np.int8)
    assert gain(ones, before[:3], after[:3]).value == 0


def test_pairing_narrows_the_interval() -> None:
    labels, before, after = pool(1, 0.2, 2000)
    found = gain(labels, before, after)
    apart = [resample(average_precision, labels, one, seed, 200) for seed, one in enumerate((before, after))]
    low, high = np.quantile(apart[1] - apart[0], (0.025, 0.975))
    assert found.high - found.low < (high - low) / 2


def test_the_interval_covers_the_gain_of_fresh_photos() -> None:
    covered = []
    truth = np.mean([gain(*pool(seed, 0.3, 5000)).value for seed in range(100, 110)])
    for seed in range(60):
        found = gain(*pool(seed, 0.3))
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) >= 0.85


def test_agreement_is_of_the_photos_in_the_class() -> None:
    before, after = np.array([0.9, 0.8, 0.2, 0.1]), np.array([0.9, 0.3, 0.7, 0.1])
    assert agreement(before, after) == pytest.approx(1 / 3)
    assert agreement(before, before) == 1
    assert agreement(before[3:], after[3:]) == 1


def test_the_reference_is_far_enough_back() -> None:
    assert reference([10, 210, 410], 200) == 1
    assert reference([10, 250, 410], 200) == 0
    assert reference([300, 410], 200) is None
    assert reference([410], 200) is None


@pytest.mark.parametrize(("value", "stop"), [(0.004, True), (-0.02, True), (0.02, False)])
def test_the_plateau_says_its_number(value: float, stop: bool) -> None:
    verdict = plateau(change(value))
    assert verdict.stop == stop
    assert f"the last 200 labels changed average precision on the pool by {value:+.3f}" in verdict.reason
    assert verdict.reason.endswith("no more than 0.01" if stop else ", more than 0.01")


@pytest.mark.parametrize("rule", [plateau, stable])
def test_without_an_earlier_head_nothing_stands_still(rule: object) -> None:
    verdict = rule(None)  # type: ignore[operator]
    assert not verdict.stop
    assert "200 labels old" in verdict.reason


def test_stable_predictions() -> None:
    assert stable(change(0.0, 0.95)).stop
    verdict = stable(change(0.0, 0.5))
    assert not verdict.stop
    assert "weapon@3" in verdict.reason
    assert "50%, less than 87%" in verdict.reason


def test_few_are_left_by_the_upper_end() -> None:
    assert few(95, Interval(2.0, 1.0, 5.0)).stop
    verdict = few(95, Interval(2.0, 1.0, 50.0))
    assert not verdict.stop
    assert "95 are found and at most 50 left by the scores: 66% of all or more, less than 90%" in verdict.reason
    assert not few(0, Interval(0.0, 0.0, 0.0)).stop
    assert not few(95, None).stop


def test_draws_that_contradict_the_scores_win() -> None:
    assert few(95, Interval(2.0, 1.0, 5.0), Interval(40.0, 4.0, 300.0)).stop
    verdict = few(95, Interval(2.0, 1.0, 5.0), Interval(40.0, 12.0, 300.0))
    assert not verdict.stop
    assert "at least 12 are left, the scores at most 5" in verdict.reason


def test_budgets() -> None:
    assert labels_spent(2000, 2000).stop
    assert not labels_spent(1999, 2000).stop
    now = datetime(2026, 3, 10, tzinfo=UTC)
    assert days_spent(now - timedelta(days=7), now, 7).stop
    verdict = days_spent(now - timedelta(days=3.5), now, 7)
    assert (verdict.stop, verdict.reason) == (False, "3.5 days have gone by since the first label, of 7")
    assert not days_spent(None, now, 7).stop


def test_rules_are_joined() -> None:
    assert parse("plateau+few,labels=2000") == ((("plateau", None), ("few", None)), (("labels", 2000),))
    verdicts = {name: Verdict(name, name in ("plateau", "labels"), f"why {name}") for name in RULES}
    assert decide("plateau", verdicts) == Verdict("plateau", True, "why plateau")
    assert decide("plateau+few", verdicts) == Verdict("plateau+few", False, "why few")
    both = decide("plateau+few,labels=2000", verdicts)
    assert (both.stop, both.reason) == (True, "why labels")
    assert decide("few,stable", verdicts).reason == "why few; why stable"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("boredom", "--stop 'boredom': no such rule; use plateau, stable, few, labels, days"),
        ("", "--stop '': no such rule"),
        ("labels", "--stop 'labels': labels and days take a number"),
        ("few=3", "--stop 'few=3': labels and days take a number"),
        ("labels=0", "--stop 'labels=0': the number must be whole"),
        ("days=1.5", "--stop 'days=1.5': the number must be whole"),
        ("labels=²", "the number must be whole"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=re.escape(reason)):
        parse(text)
