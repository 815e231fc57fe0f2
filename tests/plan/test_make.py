"""A plan is made, kept, and compared with the one before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.plan import make
from prohibit_jax.plan.make import make_plan
from prohibit_jax.plan.measure import Figure
from prohibit_jax.plan.record import Record, read_plan, write_plan
from prohibit_jax.types import InputError
from tests.plan.plans import publish, take_round_figures


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Two whole heads and one on a trunk, on a device of round figures."""
    store = Store(tmp_path)
    publish(store, 2, 1)
    take_round_figures(monkeypatch, 33.0)
    return store


def plan(store: Store, batch: int = 5) -> Record:
    return make_plan(store, "prod", 40.0, batch)


def test_it_says_and_keeps_what_it_found(store: Store) -> None:
    made = plan(store)
    assert (made.now.ms, made.measured_ms, made.budget_ms, made.batch) == (30.0, 33.0, 40.0, 5)
    assert (made.device, made.compiler) == ("a processor, 2 cores", "openvino")
    assert [(option.ms, option.more) for option in made.predictions[:1]] == [(40.0, 1)]
    assert made.recommendation.startswith("add a whole head: 30 ms become 40")
    assert made.now.heads == {
        "efficientnet_b0 at 32 px": 2,
        "efficientnet_b0 at 32 px on a trunk through s5": 1,
    }
    (past,) = made.history
    assert (past.predicted_ms, past.foretold_ms, past.measured_ms) == (30.0, None, 33.0)
    assert read_plan(store, "prod") == made


def test_the_plan_before_is_held_to_what_it_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan(store)
    make_bundle(store, "prod", ["w0", "t0"])  # of forms that it knew
    take_round_figures(monkeypatch, 25.0)
    first, second = plan(store).history
    assert first.measured_ms == 33.0
    assert (second.foretold_ms, second.measured_ms) == (20.0, 25.0)


def test_a_bundle_that_changes_meanwhile_is_not_planned(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = make.measure

    def slowly(*points: Any, **named: Any) -> list[Figure]:
        make_bundle(store, "prod", ["w0"])
        return measure(*points, **named)

    monkeypatch.setattr(make, "measure", slowly)
    with pytest.raises(InputError, match=r"^bundle prod: it was changed while it was measured; plan it again"):
        plan(store)
    assert read_plan(store, "prod") is None


@pytest.mark.parametrize("change", [{"device": "another"}, {"batch": 1}, {"forms": ()}])
def test_a_plan_of_something_else_foretold_nothing(store: Store, change: dict[str, Any]) -> None:
    write_plan(store, replace(plan(store), **change))
    assert plan(store).history[-1].foretold_ms is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "not JSON"),
        (b'{"schema": 2}', "schema is 2"),
        (b'{"schema": 1}', "bundle is missing"),
    ],
)
def test_a_damaged_plan_is_named(store: Store, text: bytes, words: str) -> None:
    path = write_plan(store, plan(store))
    path.write_bytes(text)
    with pytest.raises(InputError, match=words) as refused:
        read_plan(store, "prod")
    assert str(path) in str(refused.value)
    assert "launch plan --bundle prod" in str(refused.value)


def test_another_bundles_plan_is_refused(store: Store) -> None:
    write_plan(store, replace(plan(store), bundle="other")).replace(store.root / "plans" / "prod.json")
    with pytest.raises(InputError, match="is the plan of other"):
        read_plan(store, "prod")


def test_no_plan_is_no_error(store: Store) -> None:
    assert read_plan(store, "prod") is None


def test_an_unknown_bundle_is_refused_before_anything_is_measured(store: Store) -> None:
    with pytest.raises(InputError, match="no such bundle"):
        make_plan(store, "none", 40.0)
