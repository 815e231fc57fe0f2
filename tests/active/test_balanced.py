"""GALAXY and DIRECT: where the classes part in the order of the scores."""

from __future__ import annotations

import numpy as np
import pytest

from prohibit_jax.active.balanced import direct, galaxy
from prohibit_jax.active.view import View
from tests.active.views import view


def falling(n: int) -> np.ndarray:
    """Scores of which the row is the place."""
    return np.linspace(0.9, 0.01, n, dtype=np.float32)


def pick(strategy: str, seen: View, budget: int, seed: int = 0) -> list[int]:
    chosen = {"galaxy": galaxy, "direct": direct}[strategy](seen, budget, np.random.default_rng(seed))
    return [int(row) for row in chosen]


def between(scores: np.ndarray, row: int) -> float:
    """A score just above that of a row."""
    return float(scores[row]) + 1e-4


def test_galaxy_bisects_between_yes_and_no() -> None:
    scores = falling(40)
    seen = view(scores, [1, 0], [between(scores, 8), between(scores, 23)])  # rows 8 to 22 lie between
    assert pick("galaxy", seen, 3) == [15, 11, 19]
    assert sorted(pick("galaxy", seen, 15)) == list(range(8, 23))


def test_galaxy_takes_the_shortest_stretch_first() -> None:
    scores = falling(60)
    answers = [(1, 10), (0, 30), (1, 36)]  # places 10 to 29, and 30 to 35, as a wrong answer may have it
    seen = view(scores, [y for y, _ in answers], [between(scores, row) for _, row in answers])
    first, second = pick("galaxy", seen, 2)
    assert 30 <= first < 36
    assert 10 <= second < 30


def test_galaxy_goes_on_around_the_cuts_nearest_first() -> None:
    scores = falling(40)
    seen = view(scores, [1, 0], [between(scores, 20), between(scores, 20) - 5e-5])
    assert sorted(pick("galaxy", seen, 6)) == [17, 18, 19, 20, 21, 22]


def test_galaxy_without_positives_searches_the_top() -> None:
    scores = falling(40)
    seen = view(scores, [0, 0], [between(scores, 9), between(scores, 30)])
    assert all(row < 9 for row in pick("galaxy", seen, 5))


def test_galaxy_without_answers_bisects_everything() -> None:
    assert pick("galaxy", view(falling(31)), 3) == [15, 7, 23]


def test_direct_asks_on_both_sides_of_the_threshold_with_the_fewest_errors() -> None:
    scores = falling(100)
    answers = [(1, 5), (1, 20), (1, 40), (0, 41), (0, 60), (1, 80)]  # the last is wrong
    seen = view(scores, [y for y, _ in answers], [between(scores, row) for _, row in answers])
    assert set(range(36, 45)) <= set(pick("direct", seen, 20))


def test_direct_draws_the_rest_from_where_the_threshold_may_lie() -> None:
    scores = falling(200)
    seen = view(scores, [1, 0], [between(scores, 20), between(scores, 120)])
    drawn = [row for seed in range(20) for row in pick("direct", seen, 30, seed)[1::2]]
    assert min(drawn) >= 20
    assert max(drawn) < 120
    assert len(set(drawn)) > 80  # of 100, drawn evenly


def test_of_equal_thresholds_direct_takes_the_nearest_to_a_half() -> None:
    scores = falling(100)
    half = int((scores > 0.5).sum())
    chosen = pick("direct", view(scores), 10)
    assert {half - 1, half} <= set(chosen)
    separable = view(scores, [1, 0], [between(scores, 5), between(scores, 20)])  # all above 0.5
    assert {18, 19} <= set(pick("direct", separable, 10))


@pytest.mark.parametrize("strategy", ["galaxy", "direct"])
def test_answers_that_no_head_has_scored_are_passed_over(strategy: str) -> None:
    scores = falling(50)
    known = view(scores, [1, 0], [between(scores, 10), between(scores, 30)])
    more = view(scores, [0, 1, 0], [np.nan, between(scores, 10), between(scores, 30)])
    assert pick(strategy, known, 9) == pick(strategy, more, 9)


@pytest.mark.parametrize("strategy", ["galaxy", "direct"])
@pytest.mark.parametrize("answers", [[], [0, 0], [1, 1], [1, 0]])
def test_constant_scores_are_no_trouble(strategy: str, answers: list[int]) -> None:
    seen = view(np.full(30, 0.2, np.float32), answers, [0.2] * len(answers))
    assert len(set(pick(strategy, seen, 12))) == 12


@pytest.mark.parametrize("strategy", ["galaxy", "direct"])
def test_both_find_the_rare_class_where_the_model_is_biased(strategy: str) -> None:
    """One in 500, all scored below 0.5, as a model trained on few positives does: 0.5 finds none of the boundary."""
    rng = np.random.default_rng(0)
    truth = np.arange(5000) < 40
    scores = np.where(truth, rng.normal(0.25, 0.05, 5000), rng.normal(0.05, 0.03, 5000)).clip(0, 0.45)
    known = rng.permutation(5000)[:40]
    answers = np.concatenate([known, [0, 1, 2]])
    seen = view(scores.astype(np.float32), truth[answers], scores[answers].astype(np.float32))
    chosen = pick(strategy, seen, 60)
    assert truth[chosen].sum() >= 15
    assert (~truth[chosen]).sum() >= 15  # balanced, where the highest scores give positives alone
