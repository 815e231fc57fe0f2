"""A plan: this device measured in a bundle's own forms, and what the bundle and one more class will cost on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import inf

from prohibit_jax.bench.race import look
from prohibit_jax.bundle.card import library_versions
from prohibit_jax.bundle.lock import read_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.plan.measure import SECONDS, costs_of, measure, points_of, serving_point
from prohibit_jax.plan.predict import (
    Option,
    Parts,
    forms_to_measure,
    latency,
    memory,
    missing,
    options,
    parts_of,
    weights,
)
from prohibit_jax.plan.recommend import recommend
from prohibit_jax.plan.record import Past, Prediction, Record, read_plan, tally, write_plan
from prohibit_jax.score.engine import Precision
from prohibit_jax.types import InputError, Line, silent


def make_plan(
    store: Store,
    name: str,
    budget_ms: float,
    batch: int = 5,
    *,
    precision: Precision = "float32",
    seconds: float = SECONDS,
    progress: Line = silent,
) -> Record:
    """Measures, predicts and recommends, and keeps it all as plans/NAME.json.

    Args:
        name: of the bundle.
        budget_ms: what a call of `batch` photos may take, milliseconds.
        precision: in which the bundle serves.
        seconds: what the timed calls may take together.

    Raises InputError if the bundle or its last plan cannot be read, the bundle is changed meanwhile, or the device
    cannot be measured.
    """
    for option, value in (("--budget-ms", budget_ms), ("--seconds", seconds)):
        if not 0 < value < inf:
            raise InputError(f"{option} {value}: give a number above 0")
    bundle = read_bundle(store, name)
    cards = [store.read_card(pin.ref) for pin in bundle.pins]
    former, parts, device = read_plan(store, name), parts_of(cards), look()
    forms = forms_to_measure(parts)
    points = [point for form in forms for point in points_of(form, batch, precision)]
    served, *figures = measure(
        [serving_point(name, str(store.root), batch, precision), *points], device, seconds=seconds, progress=progress
    )
    if read_bundle(store, name) != bundle:
        raise InputError(f"bundle {name}: it was changed while it was measured; plan it again")
    costs = costs_of(forms, points, figures)
    found, now = options(costs, parts, budget_ms), latency(costs, parts)
    record = Record(
        bundle=name,
        budget_ms=budget_ms,
        batch=batch,
        device=device.name,
        compiler=served.compiler,
        precision=precision,
        versions=library_versions(),
        planned=datetime.now(UTC).isoformat(timespec="seconds"),
        forms=tuple(costs.values()),
        now=Prediction("as it is", tally(parts), now, memory(costs, parts), weights(parts), None),
        predictions=tuple(map(_prediction, found)),
        measured_ms=served.ms,
        measured_mb=served.mb,
        recommendation=recommend(now, found, budget_ms).line,
        history=(),
    )
    past = Past(record.planned, tally(parts), now, _foretold(former, record, parts), served.ms)
    record = replace(record, history=(*(former.history if former else ()), past))
    write_plan(store, record)
    return record


def _prediction(option: Option) -> Prediction:
    return Prediction(option.label, tally(option.parts), option.ms, option.mb, option.weights_mb, option.more)


def _foretold(former: Record | None, record: Record, parts: Parts) -> float | None:
    """What the plan before says of these parts, if it is of the same calls on the same device and knows their forms."""
    if former is None or _setting(former) != _setting(record) or missing(former.costs, parts):
        return None
    return latency(former.costs, parts)


def _setting(record: Record) -> tuple[object, ...]:
    return record.device, record.batch, record.compiler, record.precision
