"""Predictions are straight lines in the number of heads, and count how many more classes fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prohibit_jax.bench.jax_engines import numbers
from prohibit_jax.models.network import Network
from prohibit_jax.plan.predict import (
    TRUNKS,
    Form,
    Part,
    classes_that_fit,
    forms_to_measure,
    latency,
    memory,
    missing,
    options,
    parts_of,
    weights,
)
from tests.bundle.twin import card
from tests.plan.plans import cards_of, costs, form

HEADS = st.integers(1, 200)


def test_parts_are_the_scorers_groups() -> None:
    assert parts_of(cards_of(2, 3)) == (Part(form(), 2), Part(form("s5"), 3))
    assert parts_of([*cards_of(1), card("large", size=64)])[1].form.size == 64


@given(HEADS, HEADS, HEADS)
def test_latency_is_linear_in_heads(whole: int, on_trunk: int, more: int) -> None:
    before = (Part(form(), whole), Part(form("s5"), on_trunk))
    after = (Part(form(), whole + more), Part(form("s5"), on_trunk))
    assert latency(costs(), after) - latency(costs(), before) == pytest.approx(10.0 * more)
    assert latency(costs(), before) == pytest.approx(10.0 * whole + 6.0 + 4.0 * on_trunk)


def test_the_process_is_counted_once() -> None:
    assert memory(costs(), (Part(form(), 2), Part(form("s5"), 3))) == 300 + 2 * 50 + 3 * 20


def test_weights_are_those_of_the_files() -> None:
    whole, (trunk, head) = Network(form().arch), form("s5").networks
    assert trunk is not None
    found = weights((Part(form(), 2), Part(form("s5"), 3)))
    assert found == pytest.approx(4e-6 * (2 * numbers(whole) + numbers(trunk) + 3 * numbers(head)))
    assert numbers(trunk) + numbers(head) == numbers(whole)


@given(st.floats(0.1, 1e3), st.floats(0.01, 100), st.floats(0.1, 1e3))
def test_as_many_fit_as_the_budget_holds(first: float, each: float, budget: float) -> None:
    count = classes_that_fit(first, each, budget)
    assert count is not None
    slack = 1e-6 * budget
    assert count == 0 or first + (count - 1) * each <= budget + slack
    assert first + count * each > budget - slack


def test_what_costs_nothing_has_no_end() -> None:
    assert classes_that_fit(5.0, 0.0, 5.0) is None
    assert classes_that_fit(5.1, 0.0, 5.0) == 0


def test_every_way_to_add_a_class_is_priced() -> None:
    found = {option.label: option for option in options(costs(), parts_of(cards_of(3, 1)), 60.0)}
    assert list(found) == [
        "a whole head",
        *(f"a head on {'its' if trunk == 's5' else 'a'} trunk through {trunk}" for trunk in TRUNKS),
        "merged with 3 whole heads",
    ]
    now = 3 * 10 + 6 + 4
    assert found["a whole head"].ms == now + 10
    assert found["a whole head"].more == 2
    assert found["a head on a trunk through s2"].ms == now + 2 + 8  # a trunk of its own
    assert found["a head on its trunk through s5"].ms == now + 4
    assert found["a head on its trunk through s5"].more == 5
    merged = found["merged with 3 whole heads"]
    assert merged.ms == 6 + 4 + 9.75 + 4 * 0.25
    assert merged.parts == (Part(form("s5"), 1), Part(form("top"), 4))
    assert merged.weights_mb < found["a whole head"].weights_mb


def test_one_whole_head_is_not_merged() -> None:
    assert all(option.kind != "merge" for option in options(costs(), parts_of(cards_of(1, 4)), 60.0))


def test_all_trunks_of_the_commonest_and_whatever_else_there_is() -> None:
    parts = (*parts_of(cards_of(2)), Part(Form(form().arch, 64, "s1"), 1))
    assert forms_to_measure(parts) == (form(), *map(form, TRUNKS), Form(form().arch, 64, "s1"))
    assert missing(costs(), parts) == (Form(form().arch, 64, "s1"),)
