"""Whether heads keep a bundle's time, by what `launch plan` measured; nothing is measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prohibit_jax.bundle.card import Card, library_versions
from prohibit_jax.bundle.lock import Bundle, make_bundle, read_bundle, servable
from prohibit_jax.bundle.store import Store
from prohibit_jax.plan.predict import latency, missing, parts_of
from prohibit_jax.plan.record import read_plan
from prohibit_jax.types import HeadRef, InputError


@dataclass(frozen=True)
class Verdict:
    """What a plan says of heads that are to serve."""

    predicted_ms: float | None
    """None where the plan knows no figure for one of them; then `fits` is of the others alone."""
    budget_ms: float
    batch: int
    device: str
    planned: str  # ISO 8601
    fits: bool  # or at least no slower than what serves
    line: str  # for people


def check_budget(store: Store, name: str, cards: Sequence[Card], serving: Sequence[Card] = ()) -> Verdict | None:
    """Compares what these heads would take in the bundle `name` with its budget; None where it was never planned.

    A bundle that is over its budget already may change as long as it does not get slower than it is with the heads
    that are `serving`. Raises InputError if the plan is damaged.
    """
    plan = read_plan(store, name)
    if plan is None:
        return None
    parts, costs = parts_of(cards), plan.costs
    unknown, again = missing(costs, parts), f"run launch plan --bundle {name} --budget-ms {plan.budget_ms:g} again"
    where = f"{plan.batch} photos on {plan.device}, planned {plan.planned[:10]}"
    if changed := [library for library, number in library_versions().items() if plan.versions.get(library) != number]:
        where += f", with another version of {', '.join(changed)}"
    known = latency(costs, tuple(part for part in parts if part.form in costs))
    now = parts_of(serving) if serving else ()
    fits = known <= max(plan.budget_ms, 0.0 if not now or missing(costs, now) else latency(costs, now))
    if unknown:
        ms = None
        line = f"bundle {name}: its plan has no figure for {unknown[0]} ({where}); {again}"
    else:
        ms = known
        line = f"bundle {name}: {ms:.0f} ms predicted, {plan.budget_ms:g} ms is its budget ({where})"
    return Verdict(ms, plan.budget_ms, plan.batch, plan.device, plan.planned, fits, line)


def make_planned_bundle(
    store: Store, name: str, refs: Sequence[HeadRef | str] | None = None, *, over_budget: bool = False
) -> tuple[Bundle, Verdict | None]:
    """`make_bundle`, and what the bundle's plan says of it; what breaks the budget is refused unless `over_budget`.

    Raises InputError as `make_bundle` does, where the budget is broken, and if the plan is damaged.
    """
    plan = read_plan(store, name)
    if plan is None:
        return make_bundle(store, name, refs), None
    resolved = [store.resolve(ref) for ref in (servable(store) if refs is None else refs)]
    cards = [store.read_card(ref) for ref in resolved]
    verdict = check_budget(store, name, cards, _serving(store, name)) if cards else None
    if verdict and not verdict.fits and not over_budget:
        ways = f"take heads out, share trunks or merge (launch plan --bundle {name}), or give --over-budget"
        raise InputError(f"{verdict.line}: {ways}")
    return make_bundle(store, name, resolved), verdict


def _serving(store: Store, name: str) -> list[Card]:
    """The cards of the bundle as it is; none where there is no sound one, which is to be replaced then."""
    try:
        return [store.read_card(pin.ref) for pin in read_bundle(store, name).pins]
    except InputError:
        return []
