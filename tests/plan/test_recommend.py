"""What shares least and fits is recommended, with numbers; where nothing fits, a second device."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prohibit_jax.plan.predict import latency, options, parts_of
from prohibit_jax.plan.recommend import Advice, recommend
from tests.plan.plans import cards_of, costs


def advice(whole: int, on_trunk: int, budget: float) -> Advice:
    parts = parts_of(cards_of(whole, on_trunk))
    return recommend(latency(costs(), parts), options(costs(), parts, budget), budget)


@pytest.mark.parametrize(
    ("heads", "budget", "kind", "words"),
    [
        ((3, 0), 40.0, "whole", ["add a whole head: 30 ms become 40", "1 of them"]),
        ((3, 1), 44.0, "trunk", ["its trunk through s5: 40 ms become 44", "a whole head would make it 50 ms"]),
        ((3, 0), 39.0, "merge", ["merged with 3 whole heads", "30 ms become 11"]),
        ((0, 2), 3.0, "device", ["second device", "of the budget of 3 ms", "the bundle alone 14"]),
    ],
)
def test_the_first_that_fits(heads: tuple[int, int], budget: float, kind: str, words: list[str]) -> None:
    found = advice(*heads, budget)
    assert found.kind == kind
    assert all(word in found.line for word in words), found.line
    assert "\n" not in found.line


@given(st.integers(0, 5), st.integers(1, 5), st.floats(1, 200))
def test_what_is_recommended_fits(whole: int, on_trunk: int, budget: float) -> None:
    parts = parts_of(cards_of(whole, on_trunk))
    found, ways = advice(whole, on_trunk, budget), options(costs(), parts, budget)
    if found.kind == "device":
        assert all(option.ms > budget for option in ways)
    else:
        assert min(option.ms for option in ways if option.kind == found.kind) <= budget
