"""Heads are held to the budget of the plan of the bundle that they are to serve in, and to nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from prohibit_jax.bundle.card import library_versions
from prohibit_jax.bundle.lock import read_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.plan import budget
from prohibit_jax.plan.budget import check_budget, make_planned_bundle
from prohibit_jax.plan.make import make_plan
from prohibit_jax.types import InputError
from tests.bundle.twin import card
from tests.plan.plans import cards_of, publish, take_round_figures


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Three whole heads and one on a trunk, 40 ms, with a plan for 35 ms of a bundle of the first three."""
    store = Store(tmp_path)
    publish(store, 3, 1, "all")
    make_planned_bundle(store, "prod", ["w0", "w1", "w2"])
    take_round_figures(monkeypatch, 31.0)
    make_plan(store, "prod", 35.0)
    return store


def test_a_verdict_says_it_all(store: Store) -> None:
    verdict = check_budget(store, "prod", cards_of(3))
    assert verdict is not None
    assert (verdict.predicted_ms, verdict.budget_ms, verdict.batch, verdict.fits) == (30.0, 35.0, 5, True)
    verdict = check_budget(store, "prod", cards_of(4))
    assert verdict is not None
    assert (verdict.predicted_ms, verdict.fits) == (40.0, False)
    words = (
        "bundle prod: 40 ms predicted, 35 ms is its budget",
        "5 photos on a processor, 2 cores",
        verdict.planned[:10],
    )
    assert all(word in verdict.line for word in words)


def test_what_no_plan_knows_is_not_refused(store: Store) -> None:
    verdict = check_budget(store, "prod", [card("large", size=64)])
    assert verdict is not None
    assert (verdict.predicted_ms, verdict.fits) == (None, True)
    assert "no figure for efficientnet_b0 at 64 px" in verdict.line
    assert "run launch plan --bundle prod --budget-ms 35 again" in verdict.line


def test_a_bundle_over_its_budget_is_refused_unless_told_otherwise(store: Store) -> None:
    before = read_bundle(store, "prod")
    for refs in (None, ["w0", "w1", "w2", "t0"]):
        with pytest.raises(InputError, match=r"bundle prod: 40 ms predicted, 35 ms is its budget .*--over-budget"):
            make_planned_bundle(store, "prod", refs)
    assert read_bundle(store, "prod") == before
    made, verdict = make_planned_bundle(store, "prod", over_budget=True)
    assert made.classes == ("t0", "w0", "w1", "w2")
    assert verdict is not None
    assert not verdict.fits


def test_a_bundle_without_a_plan_is_made(store: Store) -> None:
    assert check_budget(store, "other", cards_of(9)) is None
    made, verdict = make_planned_bundle(store, "other")
    assert (len(made.pins), verdict) == (4, None)


def test_what_is_known_is_held_to_the_budget_beside_what_is_not(store: Store) -> None:
    verdict = check_budget(store, "prod", [*cards_of(4), card("large", size=64)])
    assert verdict is not None
    assert (verdict.predicted_ms, verdict.fits) == (None, False)


def test_a_bundle_over_its_budget_may_change_but_not_get_slower(store: Store) -> None:
    over = cards_of(4)
    for cards, fits in ((over, True), (cards_of(3), True), ([*over, *cards_of(1)], False)):
        verdict = check_budget(store, "prod", cards, serving=over)
        assert verdict is not None
        assert verdict.fits == fits


def test_a_plan_of_other_libraries_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "library_versions", lambda: {**library_versions(), "jax": "99.0"})
    verdict = check_budget(store, "prod", cards_of(3))
    assert verdict is not None
    assert "with another version of jax" in verdict.line


def test_the_same_heads_again_are_not_refused(store: Store) -> None:
    make_planned_bundle(store, "prod", over_budget=True)
    made, verdict = make_planned_bundle(store, "prod", ["w2", "w1", "w0", "t0"])
    assert made.classes == ("w2", "w1", "w0", "t0")
    assert verdict is not None
    assert (verdict.predicted_ms, verdict.budget_ms) == (40.0, 35.0)
