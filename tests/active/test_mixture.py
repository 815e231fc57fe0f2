"""Mixtures: their shares, nothing twice, and who gets what another cannot fill."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prohibit_jax.active import mixture as m
from prohibit_jax.active.diversity import k_center
from prohibit_jax.active.mixture import Narrowed, mixture, picks, rounded
from prohibit_jax.active.near import Seen
from prohibit_jax.active.strategies import STRATEGIES, View
from prohibit_jax.types import InputError
from tests.active.views import view


def pool(n: int, seed: int = 0, above: float | None = None) -> View:
    """A pool of which so large a part scores above 0.5."""
    rng = np.random.default_rng(seed)
    scores = rng.random(n, np.float32)
    if above is not None:
        scores = np.where(np.arange(n) < above * n, 0.51 + 0.49 * scores, 0.49 * scores).astype(np.float32)
    return view(scores, [1, 0, 0], [0.9, 0.1, 0.2], seed=seed, versions=2)


def pick(asked: View, text: str, budget: int, seed: int = 0, **hashes: Any) -> list[tuple[int, str]]:
    return picks(asked, mixture(text), budget, np.random.default_rng(seed), **hashes)


def test_a_mixture_is_read() -> None:
    assert mixture("uncertainty") == {"uncertainty": 1.0}
    assert mixture("positives=0.6, uncertainty = 0.3,random=.1") == {
        "positives": 0.6,
        "uncertainty": 0.3,
        "random": 0.1,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no such strategy; use uncertainty, threshold"),
        ("certainty", "strategy 'certainty': no such strategy"),
        ("random=0.5,random=0.5", "'random': it is named twice"),
        ("random=half", "its share 'half' is not a number"),
        ("random=0,uncertainty=1", "its share 0 is not a part of 1"),
        ("random=nan", "its share nan is not a part of 1"),
        ("random=0.5,uncertainty=0.4", "the shares add up to 0.9, not to 1"),
        ("random,uncertainty", "the shares add up to 2, not to 1"),
    ],
)
def test_a_wrong_mixture_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        mixture(text)
    assert "\n" not in str(refused.value)


@given(st.dictionaries(st.sampled_from(sorted(STRATEGIES)), st.floats(0.01, 1), min_size=1), st.integers(0, 300))
def test_rounding_is_by_largest_remainder(quotas: dict[str, float], budget: int) -> None:
    counts = rounded(quotas, budget)
    assert sum(counts.values()) == budget
    for name, share in quotas.items():
        assert abs(counts[name] - budget * share / sum(quotas.values())) < 1


def test_each_strategy_gets_its_share() -> None:
    chosen = pick(pool(2000), "positives=0.6,uncertainty=0.3,random=0.1", 200)
    assert Counter(strategy for _, strategy in chosen) == {"positives": 120, "uncertainty": 60, "random": 20}
    half = Counter(strategy for _, strategy in chosen[:100])
    assert abs(half["positives"] - 60) <= 1  # whoever stops early has had about the same shares
    assert abs(half["random"] - 10) <= 1


def test_each_strategy_asks_its_best_first() -> None:
    seen = pool(500)
    chosen = pick(seen, "positives=0.5,uncertainty=0.5", 40)
    assert seen.scores is not None
    scores = seen.scores[[row for row, strategy in chosen if strategy == "positives"]]
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert scores[0] == seen.scores.max()


@given(
    quotas=st.dictionaries(st.sampled_from(sorted(STRATEGIES)), st.floats(0.1, 1), min_size=1),
    n=st.integers(0, 40),
    budget=st.integers(0, 60),
    seed=st.integers(0, 5),
)
def test_no_photo_is_asked_twice_and_none_is_left_unless_all_ran_out(
    quotas: dict[str, float], n: int, budget: int, seed: int
) -> None:
    seen = pool(n, seed)
    chosen = picks(seen, quotas, budget, np.random.default_rng(seed))
    rows = [row for row, _ in chosen]
    assert len(set(rows)) == len(rows) <= budget
    assert {strategy for _, strategy in chosen} <= set(quotas)
    if quotas.keys() - {"positives", "doubtful"}:
        assert len(rows) == min(n, budget)


def test_what_one_cannot_fill_goes_to_the_others_before_random() -> None:
    seen = pool(1000, above=0.03)
    chosen = Counter(strategy for _, strategy in pick(seen, "positives=0.6,uncertainty=0.3,random=0.1", 200))
    assert chosen["random"] == 20
    assert chosen["positives"] <= 30
    assert chosen.total() == 200


def test_random_fills_what_nobody_else_can() -> None:
    seen = pool(1000, above=0.03)
    chosen = Counter(strategy for _, strategy in pick(seen, "positives=0.9,random=0.1", 200))
    assert chosen.total() == 200
    assert chosen["positives"] <= 30
    assert Counter(strategy for _, strategy in pick(seen, "positives", 200)) == {"positives": 30}


def test_the_share_of_random_is_an_even_sample_of_all_photos() -> None:
    """Also of those that another strategy would have chosen: else an estimate from it were blind to positives."""
    seen = pool(200, above=0.1)
    drawn = Counter(
        row
        for seed in range(600)
        for row, strategy in pick(seen, "positives=0.5,random=0.5", 40, seed)
        if strategy == "random"
    )
    top, rest = (np.mean([drawn[row] for row in rows]) for rows in (range(20), range(20, 200)))
    assert abs(top / rest - 1) < 0.1


def test_near_identical_photos_are_asked_once() -> None:
    seen = pool(60)
    phash = np.repeat(np.random.default_rng(0).integers(0, 2**63, 20).astype(np.uint64), 3)  # three of each
    blind = dataclasses.replace(seen, embeddings=None, label_embeddings=None)
    for text in ("uncertainty", "positives=0.5,uncertainty=0.5"):
        chosen = [row // 3 for row, _ in pick(blind, text, 60, phash=phash)]
        assert len(set(chosen)) == len(chosen)
        assert len(chosen) == 20
    seen_already = Seen(phash[[0, 3]], None)
    rest = {row // 3 for row, _ in pick(blind, "uncertainty", 60, phash=phash, seen=seen_already)}
    assert rest == set(range(2, 20))


def test_random_is_even_among_near_identical_photos_too() -> None:
    """The others still pass over what is near-identical to a photo that random drew."""
    seen = dataclasses.replace(pool(60), embeddings=None, label_embeddings=None)
    phash = np.arange(60).astype(np.uint64) << np.uint64(40)
    phash[:40] = 0  # copies of one photo, which is answered
    phash[40:] = np.random.default_rng(0).integers(2**62, 2**63, 20).astype(np.uint64)
    drawn: Counter[int] = Counter()
    for seed in range(300):
        chosen = pick(seen, "uncertainty=0.5,random=0.5", 12, seed, phash=phash, seen=Seen(phash[:1], None))
        honest = [row for row, strategy in chosen if strategy == "random"]
        assert len(honest) == 6
        assert all(row >= 40 for row, strategy in chosen if strategy == "uncertainty")
        assert pick(seen, "random", 6, seed) == pick(seen, "random", 6, seed, phash=phash)
        drawn.update(honest)
    assert abs(sum(drawn[row] for row in range(40)) / drawn.total() - 40 / 60) < 0.05
    pairs = np.repeat(np.random.default_rng(1).integers(0, 2**63, 30).astype(np.uint64), 2)
    for seed in range(20):
        both = Counter(row // 2 for row, strategy in pick(seen, "random=0.5,uncertainty=0.5", 20, seed, phash=pairs))
        honest = Counter(row // 2 for row, _ in pick(seen, "random", 10, seed))
        assert all(count == max(honest[pair], 1) for pair, count in both.items())


def test_only_random_looks_beyond_a_narrowed_view() -> None:
    seen = pool(100)
    assert seen.scores is not None
    rows = np.array([3, 5, 8, 13, 21])
    part = Narrowed(
        dataclasses.replace(seen, scores=seen.scores[rows], embeddings=np.asarray(seen.embeddings)[rows]), rows
    )
    chosen = pick(seen, "uncertainty=0.4,random=0.6", 10, narrowed=part)
    assert Counter(strategy for _, strategy in chosen) == {"uncertainty": 4, "random": 6}
    assert {row for row, strategy in chosen if strategy == "uncertainty"} <= set(rows.tolist())
    assert {row for row, strategy in chosen if strategy == "random"} - set(rows.tolist())
    filled = pick(seen, "uncertainty=0.4,random=0.6", 50, narrowed=part)
    assert len(filled) == len({row for row, _ in filled}) == 50
    assert {row for row, _ in filled} >= set(rows.tolist())


def test_a_budget_beyond_the_pool_costs_no_more_than_the_pool() -> None:
    for text in ("uncertainty", "positives=0.6,uncertainty=0.3,random=0.1"):
        assert pick(pool(50), text, 10**30) == pick(pool(50), text, 50)


def test_a_small_share_of_k_center_is_little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
        asked.append(budget)
        return k_center(view, budget, rng)

    monkeypatch.setattr(m, "STRATEGIES", {**STRATEGIES, "k_center": counted})
    seen = pool(300)
    chosen = pick(seen, "k_center=0.1,uncertainty=0.9", 100)
    assert asked == [20]
    whole = k_center(seen, 100, np.random.default_rng(0)).tolist()
    mine = [row for row, strategy in chosen if strategy == "k_center"]
    assert len(mine) == 10
    assert sorted(mine, key=whole.index) == mine
    asked.clear()
    few = pick(pool(300, above=0.01), "k_center=0.1,positives=0.9", 100)
    assert Counter(strategy for _, strategy in few)["k_center"] >= 97
    assert asked == [20, 80, 320]


def test_what_k_center_is_asked_for_later_goes_on_from_what_it_chose() -> None:
    """Also on a first day, when chance decides which photos it looks at."""
    seen, few = view(None, [1], n=3000), np.random.default_rng(0)
    ranking = m._Ranking(k_center, Narrowed(seen, np.arange(3000)), 3, few)
    assert list(islice(ranking, 12)) == k_center(seen, 12, np.random.default_rng(0)).tolist()


def test_chance_is_by_the_seed() -> None:
    seen = pool(300)
    text = "direct=0.5,random=0.5"
    assert pick(seen, text, 50, 1) == pick(seen, text, 50, 1)
    assert pick(seen, text, 50, 1) != pick(seen, text, 50, 2)
