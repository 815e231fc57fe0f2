"""From a score table and the answers to asks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prohibit_jax.active.mixture import mixture
from prohibit_jax.active.query import Chosen, Examples, Scored, query, scored_by
from prohibit_jax.active.strategies import FIRST_DAY, STRATEGIES
from prohibit_jax.bundle.store import Store
from prohibit_jax.score.table import ScoreTable
from prohibit_jax.types import InputError
from tests.active.pools import FEATURES, answers, records, sha256, table_of


@pytest.fixture
def pool(tmp_path: Path) -> ScoreTable:
    return table_of(tmp_path / "scores.parquet", records(60))


def head(table: ScoreTable, name: str = "weapon") -> Scored:
    return Scored(f"{name}@3", table.column(name), 0.3)


def ask(table: ScoreTable, strategy: str, budget: int, **more: object) -> Chosen:
    return query(table, "weapon", mixture(strategy), budget, **({"scored": head(table)} | more))  # type: ignore[arg-type]


def test_a_row_says_what_was_asked_and_why(pool: ScoreTable) -> None:
    scores = pool.column("weapon")
    best = int(np.argmin(np.abs(scores - 0.5)))
    first, *rest = ask(pool, "uncertainty", 5, turn=7).asks
    assert (first.path, first.sha256, first.name) == (f"{best}.jpg", sha256(best), "weapon")
    assert (first.score, first.head, first.strategy, first.round) == (scores[best], "weapon@3", "uncertainty", 7)
    assert first.reason == f"scores {scores[best]:.3g}, near 0.5"
    assert len(rest) == 4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_works_on_a_table_and_gives_a_reason(pool: ScoreTable, tmp_path: Path, strategy: str) -> None:
    other = table_of(tmp_path / "other.parquet", records(60, seed=5))
    known = answers(p0="yes", p1="no", p2="no")
    chosen = ask(pool, strategy, 8, answers=known, versions=[other])
    assert chosen.strategies == {strategy: 8}
    assert len({one.sha256 for one in chosen.asks}) == 8
    for one in chosen.asks:
        assert len(one.reason) > len(strategy)
        assert any(letter.isdigit() for letter in one.reason)


def test_nothing_is_asked_twice(pool: ScoreTable) -> None:
    first = ask(pool, "uncertainty=0.5,random=0.5", 20)
    said = answers(**{f"p{one.path[:-4]}": "unsure" for one in first.asks[:10]})
    queued = {one.sha256 for one in first.asks[10:]}
    second = ask(pool, "uncertainty=0.5,random=0.5", 60, answers=said, queued=queued)
    assert {one.sha256 for one in first.asks} & {one.sha256 for one in second.asks} == set()
    assert len(second.asks) == 40
    assert (len(second.pool.answered), len(second.pool.queued)) == (10, 10)


def test_neighbours_are_those_of_the_known_positives(pool: ScoreTable) -> None:
    rows = np.concatenate([values for _, values in pool.embeddings()])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    order = [i for i in np.argsort(-(rows @ rows[9])) if i not in (9, 17)]
    known = answers(p9="yes", p17="no")
    chosen = ask(pool, "neighbours", 5, answers=known, scored=None)
    assert [one.path for one in chosen.asks] == [f"{i}.jpg" for i in order[:5]]
    assert chosen.asks[0].reason == f"{rows[order[0]] @ rows[9]:.2f} alike to a known positive"
    assert chosen.asks[0].score is chosen.asks[0].head is None


def test_near_looks_at_the_neighbours_alone(pool: ScoreTable) -> None:
    known = answers(p9="yes", p17="no")
    nearest = {one.path: one.reason for one in ask(pool, "neighbours", 12, answers=known).asks}
    chosen = ask(pool, "uncertainty", 60, answers=known, near=12)
    assert chosen.candidates == 12
    assert {one.path for one in chosen.asks} == nearest.keys()
    again = ask(pool, "neighbours", 12, answers=known, near=12)
    assert {one.path: one.reason for one in again.asks} == nearest
    every = ask(pool, "uncertainty", 60, answers=known, near=10**12)
    assert every.candidates == len(every.asks) == 58


def test_random_draws_from_all_photos_whatever_is_near(pool: ScoreTable) -> None:
    """Else an estimate from its photos were one of the neighbours alone."""
    known = answers(p9="yes", p17="no")
    nearest = {one.path for one in ask(pool, "neighbours", 6, answers=known).asks}
    drawn: Counter[str] = Counter()
    for seed in range(100):
        chosen = ask(pool, "uncertainty=0.3,random=0.7", 20, answers=known, near=6, seed=seed)
        honest = [one for one in chosen.asks if one.strategy == "random"]
        assert {one.path for one in chosen.asks if one.strategy == "uncertainty"} <= nearest
        assert len(honest) >= 14
        assert {one.reason for one in honest} == {"drawn at random from 58 photos"}
        assert all(one.score == pool.column("weapon")[int(one.path[:-4])] for one in chosen.asks)
        drawn.update(one.path for one in honest)
    assert len(chosen.pool.rows) == len(drawn) == 58
    assert abs(np.mean([drawn[path] for path in nearest]) / (drawn.total() / 58) - 1) < 0.25


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_works_near_the_positives(pool: ScoreTable, tmp_path: Path, strategy: str) -> None:
    other = table_of(tmp_path / "other.parquet", records(60, seed=5))
    known = answers(p0="yes", p1="no")
    chosen = ask(pool, strategy, 4, answers=known, versions=[other], near=20)
    assert chosen.strategies == {strategy: 4}
    near = {one.path for one in ask(pool, "neighbours", 20, answers=known).asks}
    assert strategy == "random" or {one.path for one in chosen.asks} <= near


def test_examples_are_known_positives(pool: ScoreTable) -> None:
    axis = np.eye(FEATURES, dtype=np.float32)[:1]
    example = Examples(axis, np.zeros(1, np.uint64))
    by_example = ask(pool, "neighbours", 4, scored=None, examples=example)
    rows = np.concatenate([values for _, values in pool.embeddings()])
    order = np.argsort(-rows[:, 0] / np.linalg.norm(rows, axis=1))
    assert [one.path for one in by_example.asks] == [f"{i}.jpg" for i in order[:4]]
    for strategy in STRATEGIES.keys() - {"disagreement"}:
        assert len(ask(pool, strategy, 4, examples=example, answers=answers(p3="no")).asks) == 4


def test_near_identical_photos_are_asked_once_and_not_if_answered_or_queued(tmp_path: Path) -> None:
    rows = records(10)
    for copy, original in ((4, 3), (6, 5)):
        assert rows[original].phash is not None
        rows[copy] = replace(rows[original], path=f"{copy}.jpg", sha256=sha256(copy), phash=rows[original].phash ^ 3)  # type: ignore[operator]
    table = table_of(tmp_path / "scores.parquet", rows)
    paths = {one.path for one in ask(table, "uncertainty", 10, answers=answers(p3="unsure")).asks}
    assert "4.jpg" not in paths
    assert len(paths & {"5.jpg", "6.jpg"}) == 1
    assert len(paths) == 7
    queued = {one.path for one in ask(table, "uncertainty", 10, queued={sha256(3), sha256(5)}).asks}
    assert not queued & {"3.jpg", "4.jpg", "5.jpg", "6.jpg"}


def test_random_draws_copies_of_answered_photos_too(tmp_path: Path) -> None:
    """Else 40 copies of one positive would not be in the sample, nor in what is estimated to be left."""
    rows = records(100)
    assert rows[0].phash is not None
    for copy in range(1, 41):
        rows[copy] = replace(rows[0], path=f"{copy}.jpg", sha256=sha256(copy), phash=rows[0].phash ^ 3)
    table = table_of(tmp_path / "scores.parquet", rows)
    drawn = [
        int(one.path[:-4])
        for seed in range(20)
        for one in ask(table, "random", 25, answers=answers(p0="yes"), seed=seed).asks
    ]
    assert len(drawn) == 500
    assert abs(np.mean(np.array(drawn) <= 40) - 40 / 99) < 0.07
    asks = ask(table, "positives=0.5,random=0.5", 40, answers=answers(p0="yes")).asks
    copies = [one.strategy for one in asks if int(one.path[:-4]) <= 40]
    assert set(copies) == {"random"}


def test_other_versions_are_matched_by_content(pool: ScoreTable, tmp_path: Path) -> None:
    moved = [records(60)[i] for i in np.random.default_rng(0).permutation(60)[:50]]
    moved[0] = replace(moved[0], scores=np.array([0.0 if (moved[0].scores or [0])[0] > 0.5 else 1.0], np.float32))
    other = table_of(tmp_path / "other.parquet", moved, version=2)
    chosen = ask(pool, "disagreement", 1, versions=[other])
    assert chosen.asks[0].sha256 == moved[0].sha256
    said: list[str] = []
    ask(pool, "disagreement", 1, versions=[other], warn=said.append)
    assert said == ["versions: a table lacks 10 of 60 photos; there the head's own scores stand in"]
    strangers = [replace(one, sha256=sha256(f"other {one.path}")) for one in moved]
    with pytest.raises(InputError, match="versions: a table has scored none of the 60 photos"):
        ask(pool, "disagreement", 1, versions=[table_of(tmp_path / "strangers.parquet", strangers)])
    with pytest.raises(InputError, match="versions: a table of cash has no scores of weapon"):
        ask(pool, "disagreement", 1, versions=[table_of(tmp_path / "cash.parquet", moved, ["cash"])])


def test_a_first_day(pool: ScoreTable) -> None:
    for strategy in FIRST_DAY:
        assert len(ask(pool, strategy, 6, scored=None, answers=answers(p0="yes")).asks) == 6
    for strategy in STRATEGIES.keys() - set(FIRST_DAY):
        with pytest.raises(InputError, match=f"strategy {strategy}: it needs"):
            ask(pool, strategy, 6, scored=None)


def test_what_cannot_be_is_refused_in_one_line(pool: ScoreTable, tmp_path: Path) -> None:
    bare = table_of(tmp_path / "bare.parquet", records(5, embedded=False), embedded=False)
    with pytest.raises(InputError, match="strategy k_center: it needs embeddings; score the pool with --embedding"):
        ask(bare, "k_center", 2)
    with pytest.raises(InputError, match="the table has no embeddings; run launch score again with --embedding"):
        ask(bare, "uncertainty", 2, near=5)
    with pytest.raises(InputError, match="no photo of weapon is known yet; give some with --examples"):
        ask(pool, "neighbours", 2, answers=answers(p0="no"))
    assert len(ask(bare, "uncertainty", 2, answers=answers(p0="no")).asks) == 2


def test_an_exhausted_pool_asks_nothing(pool: ScoreTable) -> None:
    said = answers(**{f"p{i}": "no" for i in range(60)})
    for strategy in STRATEGIES.keys() - {"neighbours"}:
        assert ask(pool, strategy, 5, answers=said, versions=[pool]).asks == ()


def test_the_head_and_its_threshold_come_from_the_table_and_the_store(pool: ScoreTable, tmp_path: Path) -> None:
    found = scored_by(pool, "weapon", Store(tmp_path))
    assert found is not None
    assert (found.head, found.threshold) == ("weapon@3", 0.5)
    assert scored_by(pool, "cash", Store(tmp_path)) is None
