"""Strategies: what each prefers, and what holds for all of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prohibit_jax.active.strategies import FIRST_DAY, STRATEGIES, View, divergence, logit
from prohibit_jax.types import InputError
from tests.active.views import view

SCORES = arrays(np.float32, st.integers(0, 40), elements=st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.5, 1.0]))
ANSWERS = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1, width=32)), max_size=12)
ORDERED = sorted(STRATEGIES.keys() - {"random", "direct"})  # chance decides in the others


def rows(name: str, seen: View, budget: int, seed: int = 0) -> list[int]:
    return STRATEGIES[name](seen, budget, np.random.default_rng(seed)).tolist()


@pytest.mark.parametrize("name", STRATEGIES)
@given(scores=SCORES, answers=ANSWERS, budget=st.integers(0, 50), seed=st.integers(0, 9))
def test_any_pool_gives_distinct_rows_within_the_budget(
    name: str, scores: np.ndarray, answers: list[tuple[int, float]], budget: int, seed: int
) -> None:
    seen = view(scores, [y for y, _ in answers], [p for _, p in answers], seed=seed, versions=2)
    found = STRATEGIES[name](seen, budget, np.random.default_rng(seed))
    assert found.dtype == np.int64
    assert len(set(found.tolist())) == len(found) <= budget
    assert set(found.tolist()) <= set(range(len(scores)))
    short = name in ("positives", "doubtful") or (name == "neighbours" and not any(y for y, _ in answers))
    assert short or len(found) == min(budget, len(scores))


@pytest.mark.parametrize("name", ORDERED)
@given(n=st.integers(0, 30), answers=ANSWERS, budget=st.integers(0, 40), seed=st.integers(0, 9))
def test_the_order_of_the_pool_does_not_matter(
    name: str, n: int, answers: list[tuple[int, float]], budget: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.permutation(60)[:n] / 61 + 0.003).astype(np.float32)  # distinct, also in distance from 0.5
    seen = view(scores, [y for y, _ in answers], [p - 1e-3 for _, p in answers], seed=seed, versions=2)
    assert isinstance(seen.embeddings, np.ndarray)
    assert seen.versions is not None
    order = rng.permutation(n)
    moved = dataclasses.replace(
        seen, scores=scores[order], embeddings=seen.embeddings[order], versions=seen.versions[order]
    )
    assert order[rows(name, moved, budget)].tolist() == rows(name, seen, budget)


@pytest.mark.parametrize("name", ["uncertainty", "threshold", "positives", "doubtful", "neighbours", "disagreement"])
@given(scores=SCORES, budget=st.integers(0, 20))
def test_a_larger_budget_begins_with_the_same_photos(name: str, scores: np.ndarray, budget: int) -> None:
    seen = view(scores, [1, 0], [0.9, 0.1], versions=3)
    assert rows(name, seen, budget + 9)[: len(rows(name, seen, budget))] == rows(name, seen, budget)


def test_each_prefers_what_it_says() -> None:
    seen = view(np.array([0.02, 0.49, 0.6, 0.97, 0.3], np.float32), threshold=0.04)
    assert rows("uncertainty", seen, 3) == [1, 2, 4]
    assert rows("margin", seen, 3) == rows("entropy", seen, 3) == rows("uncertainty", seen, 3)
    assert rows("threshold", seen, 2) == [0, 4]
    assert rows("positives", seen, 5) == [3, 2]
    assert rows("doubtful", seen, 5) == [2, 3]


def test_versions_count_where_they_are_given() -> None:
    seen = dataclasses.replace(
        view(np.array([0.5, 0.5, 0.5], np.float32)),
        versions=np.array([[0.5, 0.5], [0.1, 0.9], [0.2, 0.1]], np.float32),
    )
    assert rows("disagreement", seen, 3) == [1, 2, 0]
    assert rows("entropy", seen, 2) == [0, 1]  # both are 0.5 on average
    assert rows("margin", seen, 3)[-1] == 2


def test_divergence_is_bounded_and_nothing_where_all_agree() -> None:
    found = divergence(np.array([[0.0, 1.0], [0.3, 0.3], [1.0, 1.0]], np.float32))
    np.testing.assert_allclose(found, [np.log(2), 0, 0], atol=1e-9)


def test_thresholds_and_scores_at_the_ends_are_finite() -> None:
    ends = np.array([0.0, 1.0, 0.5], np.float32)
    assert np.isfinite(logit(ends)).all()
    assert rows("threshold", view(ends, threshold=1.5), 1) == [1]


def test_random_is_even() -> None:
    seen, rng = view(np.zeros(5, np.float32)), np.random.default_rng(0)
    counts = np.bincount([int(STRATEGIES["random"](seen, 1, rng)[0]) for _ in range(5000)], minlength=5)
    assert abs(counts - 1000).max() < 120  # four standard deviations


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_first_day_without_scores(name: str) -> None:
    seen = view(None, [1], None, n=6)
    if name in FIRST_DAY:
        assert len(rows(name, seen, 4)) == 4
    else:
        with pytest.raises(InputError, match=f"^strategy {name}: it needs .*scores"):
            rows(name, seen, 4)
