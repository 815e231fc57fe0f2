"""What a bundle will cost: a call takes a fixed time and a time a head for each of its groups, and so does memory.

On a CPU heads run one after another, so both are straight lines in the number of heads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, inf

from prohibit_jax.bench.jax_engines import numbers
from prohibit_jax.bundle.card import Card
from prohibit_jax.models.network import POOLED, Architecture, Network
from prohibit_jax.score.stack import arrange

TRUNKS = ("s2", "s3", "s4", "s5", "s6", "s7", "top")


@dataclass(frozen=True)
class Form:
    """What decides the cost of a head: its architecture, the photos' edge in pixels, and the trunk's last stage."""

    arch: Architecture
    size: int
    trunk: str = ""  # "", a whole head

    def __str__(self) -> str:
        return f"{self.arch.name} at {self.size} px" + (f" on a trunk through {self.trunk}" if self.trunk else "")

    @property
    def networks(self) -> tuple[Network | None, Network]:
        """The trunk, if there is one, and the head."""
        whole = Network(self.arch)
        return whole.split(self.trunk) if self.trunk else (None, whole)


@dataclass(frozen=True)
class Part:
    """A group of a bundle: heads of one form, on one trunk if they have any."""

    form: Form
    heads: int


Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Cost:
    """What heads of a form cost on a device: `fixed + heads * each`."""

    form: Form
    fixed_ms: float
    each_ms: float
    fixed_mb: float
    """Of the whole process, which is there once for all groups."""
    each_mb: float


Costs = Mapping[Form, Cost]


@dataclass(frozen=True)
class Option:
    """A bundle as it may become, with one class more."""

    kind: str  # "whole", "trunk" or "merge"
    trunk: str  # through which the class gets a head; "", a whole one
    label: str
    parts: Parts
    ms: float
    mb: float
    weights_mb: float
    more: int | None
    """How many such classes fit into the budget, this one included; None where there is no end to them."""


def parts_of(cards: Sequence[Card]) -> Parts:
    """The groups that the scorer would make of these heads."""
    plan = arrange(cards)
    return tuple(
        Part(Form(group.head.arch, group.preprocessing.size, group.trunk.stages[-1] if group.trunk else ""), len(heads))
        for group, heads in zip(plan.groups, plan.columns, strict=True)
    )


def commonest(parts: Parts) -> Form:
    """A whole head of the architecture and size that most heads have."""
    counts: Counter[Form] = Counter()
    for part in parts:
        counts[Form(part.form.arch, part.form.size)] += part.heads
    return counts.most_common(1)[0][0]


def forms_to_measure(parts: Parts) -> tuple[Form, ...]:
    """Whole heads and heads on every trunk, of the bundle's commonest architecture, and what else it has."""
    usual = commonest(parts)
    forms = [Form(usual.arch, usual.size, trunk) for trunk in ("", *TRUNKS)]
    return tuple(dict.fromkeys([*forms, *(part.form for part in parts)]))


def missing(costs: Costs, parts: Parts) -> tuple[Form, ...]:
    """The forms among the parts that no cost is known of."""
    return tuple(dict.fromkeys(part.form for part in parts if part.form not in costs))


def latency(costs: Costs, parts: Parts) -> float:
    """Milliseconds of a call."""
    return sum((costs[part.form].fixed_ms + part.heads * costs[part.form].each_ms for part in parts), 0.0)


def memory(costs: Costs, parts: Parts) -> float:
    """The most MB that a process takes which loads these heads and scores with them."""
    process = max(costs[part.form].fixed_mb for part in parts)
    trunks = sorted((4e-6 * numbers(trunk) for part in parts if (trunk := part.form.networks[0])), reverse=True)
    return process + sum(trunks[1:]) + sum(part.heads * costs[part.form].each_mb for part in parts)


def weights(parts: Parts) -> float:
    """MB of the heads' and trunks' parameters in float32, as they are published."""
    total = 0
    for part in parts:
        trunk, head = part.form.networks
        total += part.heads * numbers(head) + (numbers(trunk) if trunk else 0)
    return 4e-6 * total


def options(costs: Costs, parts: Parts, budget_ms: float) -> tuple[Option, ...]:
    """What the bundle may become with one class more, from the class's own network to one that all share.

    Merged are the bundle's whole heads of its commonest architecture, where there are two or more.
    """
    usual = commonest(parts)
    found = [_option("whole", "", "a whole head", costs, _with(parts, usual), usual, budget_ms)]
    for trunk in TRUNKS:
        form = Form(usual.arch, usual.size, trunk)
        label = f"a head on {'its' if any(part.form == form for part in parts) else 'a'} trunk through {trunk}"
        found.append(_option("trunk", trunk, label, costs, _with(parts, form), form, budget_ms))
    whole = sum(part.heads for part in parts if part.form == usual)
    if whole > 1:
        form = Form(usual.arch, usual.size, POOLED)
        merged = (*(part for part in parts if part.form != usual), Part(form, whole + 1))
        label = f"merged with {whole} whole heads"
        found.append(_option("merge", POOLED, label, costs, merged, form, budget_ms))
    return tuple(found)


def _option(kind: str, trunk: str, label: str, costs: Costs, parts: Parts, form: Form, budget_ms: float) -> Option:
    ms = latency(costs, parts)
    more = classes_that_fit(ms, costs[form].each_ms, budget_ms)
    return Option(kind, trunk, label, parts, ms, memory(costs, parts), weights(parts), more)


def classes_that_fit(first_ms: float, each_ms: float, budget_ms: float) -> int | None:
    """How many classes fit where the bundle takes `first_ms` with one of them and each further one `each_ms` more."""
    if first_ms > budget_ms:
        return 0
    room = (budget_ms - first_ms) / each_ms if each_ms else inf
    return 1 + floor(room) if room < inf else None


def _with(parts: Parts, form: Form) -> Parts:
    """The parts with one head more, in the first group of its form or in a group of its own."""
    for place, part in enumerate(parts):
        if part.form == form:
            return (*parts[:place], Part(form, part.heads + 1), *parts[place + 1 :])
    return (*parts, Part(form, 1))
