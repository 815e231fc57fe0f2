"""Bundles of tiny heads, and a device on which everything takes round figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from prohibit_jax.bench.worker import Device
from prohibit_jax.bundle.card import Card, Trunk
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.plan import make
from prohibit_jax.plan.measure import Figure, Point, Serving
from prohibit_jax.plan.predict import Cost, Costs, Form, parts_of
from tests.bundle.twin import SIZE, card, trunk, variables

DEVICE = Device("cpu", "a processor, 2 cores", 2, 2**33)
EACH_MS = {"": 10.0, "s2": 8.0, "s3": 7.0, "s4": 6.0, "s5": 4.0, "s6": 2.0, "s7": 1.0, "top": 0.25}
ARCH = parts_of([card()])[0].form.arch  # as programs have it


def form(through: str = "") -> Form:
    """A form of tiny heads."""
    return Form(ARCH, SIZE, through)


def cost(of: Form) -> Cost:
    """A whole head takes 10 ms; one on a trunk less, and the trunk the rest."""
    each = EACH_MS[of.trunk]
    return Cost(of, 10.0 - each, each, 300.0, 5 * each)


def costs() -> Costs:
    """Of all forms of tiny heads."""
    return {form(through): cost(form(through)) for through in EACH_MS}


def cards_of(whole: int, on_trunk: int = 0, through: str = "s5") -> list[Card]:
    """The cards of so many heads."""
    shared = Trunk("0" * 64, through)
    return [*(card(f"w{n}") for n in range(whole)), *(card(f"t{n}", shared) for n in range(on_trunk))]


def publish(store: Store, whole: int, on_trunk: int = 0, name: str = "prod") -> None:
    """A bundle of so many heads in the store."""
    shared = Trunk(store.publish_trunk(trunk(0, "s5")), "s5")
    refs = []
    for number, made in enumerate(cards_of(whole, on_trunk)):
        made = replace(made, trunk=shared) if made.trunk else made
        refs.append(store.publish_head(made, variables(made.network(), number)))
    make_bundle(store, name, refs)


def take_round_figures(monkeypatch: pytest.MonkeyPatch, served_ms: float) -> None:
    """Nothing is timed: forms cost as `costs` says, and the bundle takes `served_ms`."""

    def measure(points: Sequence[Point], device: Device, **_: Any) -> list[Figure]:
        return [figure(point) for point in points]

    def figure(point: Point) -> Figure:
        work = point.work
        if isinstance(work, Serving):
            return Figure(served_ms, 400.0, "openvino")
        found = cost(form(work.trunk))
        mb = found.fixed_mb + work.heads * found.each_mb
        return Figure(found.fixed_ms + work.heads * found.each_ms, mb, "openvino")

    monkeypatch.setattr(make, "look", lambda: DEVICE)
    monkeypatch.setattr(make, "measure", measure)
