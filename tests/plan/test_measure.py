"""Points become costs, and a real, tiny bundle is measured beside the forms that predict it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prohibit_jax.bench.worker import Device
from prohibit_jax.bundle.store import Store
from prohibit_jax.plan import measure as room
from prohibit_jax.plan.measure import (
    FEW,
    MANY,
    MOST,
    Figure,
    Point,
    cost_of,
    costs_of,
    measure,
    points_of,
    serving_point,
)
from prohibit_jax.types import Advance, InputError
from tests.bench.fakes import fake, tiny
from tests.plan.plans import DEVICE, form, publish

POSITIVE = st.floats(0.125, 100, width=32)


@given(POSITIVE, POSITIVE, st.integers(1, 5), st.integers(6, 32))
def test_the_line_goes_through_both_points(fixed: float, each: float, few: int, many: int) -> None:
    low, high = (Figure(fixed + n * each, 2 * (fixed + n * each), "xla") for n in (few, many))
    found = cost_of(form(), few, many, low, high)
    assert found.fixed_ms == pytest.approx(fixed, rel=1e-3, abs=1e-3)
    assert found.each_ms == pytest.approx(each, rel=1e-3)
    assert found.each_mb == pytest.approx(2 * each, rel=1e-3)


def test_nothing_costs_less_than_nothing() -> None:
    found = cost_of(form(), 2, 6, Figure(10.0, 300.0, "xla"), Figure(9.0, 299.0, "xla"))
    assert (found.fixed_ms, found.each_ms, found.fixed_mb, found.each_mb) == (10.0, 0.0, 300.0, 0.0)
    assert cost_of(form(), 2, 6, Figure(1.0, 0.0, "xla"), Figure(9.0, 0.0, "xla")).fixed_ms == 0


def test_small_heads_are_measured_in_larger_numbers() -> None:
    heads = {trunk: [point.work.heads for point in points_of(form(trunk), 2, "float32")] for trunk in ("", "s7", "top")}
    assert heads[""] == [FEW, MANY]
    assert MANY < heads["s7"][1] <= heads["top"][1] == MOST


def test_a_bundle_and_its_forms(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, 1, 1)
    forms = (form(), form("s5"))
    points = [
        Point(replace(point.work, heads=heads), point.engine)
        for of in forms
        for heads, point in zip((1, 2), points_of(of, 2, "float32"), strict=True)
    ]
    served, *figures = measure([serving_point("prod", str(tmp_path), 2, "float32"), *points], DEVICE, seconds=0.01)
    assert served.ms > 0
    assert served.mb > 0
    assert served.compiler == figures[0].compiler
    costs = costs_of(forms, points, figures)
    assert tuple(costs) == forms
    assert all(cost.fixed_ms + cost.each_ms > 0 for cost in costs.values())


def test_what_does_not_fit_side_by_side_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, take_turns = [], room._take_turns

    def counted(runners: Sequence[room._Runner], seconds: float, advance: Advance) -> None:
        rounds.append(len(runners))
        take_turns(runners, seconds, advance)

    monkeypatch.setattr(room, "_take_turns", counted)
    found = measure([Point(tiny()), Point(tiny("s5"))], Device("cpu", "small", 1, 2**20), seconds=0.01)
    assert rounds == [1, 1]
    assert len(found) == 2


def test_a_failure_is_one_line() -> None:
    with pytest.raises(InputError, match=r"efficientnet_b0 x2 cannot be measured: load: RuntimeError: no kernel"):
        measure([Point(tiny(), fake("raising"))], DEVICE, seconds=0.01)
