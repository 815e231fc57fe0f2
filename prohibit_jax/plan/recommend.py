"""What to do with the next class, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prohibit_jax.plan.predict import Option


@dataclass(frozen=True)
class Advice:
    """What to do, and the numbers behind it."""

    kind: str  # an option's, or "device"
    line: str


def recommend(now_ms: float, options: Sequence[Option], budget_ms: float) -> Advice:
    """The first of the options that fits, or a second device: what shares least comes first, since it learns best, and
    merging last, since it takes the bundle's own heads.

    Args:
        now_ms: the bundle as it is.
        options: as `predict.options` orders them.
    """
    budget = f"the budget of {budget_ms:g} ms"
    for option in options:
        if option.ms <= budget_ms:
            numbers = f"{now_ms:.0f} ms become {option.ms:.0f} of {budget}, with room for {room(option)}"
            return Advice(option.kind, f"{_action(option)}: {numbers}{_instead_of(option, options)}")
    least = min(options, key=lambda option: option.ms)
    numbers = f"the least, {least.label}, takes {least.ms:.0f} ms of {budget}, and the bundle alone {now_ms:.0f}"
    return Advice("device", f"move classes to a second device: {numbers}")


def room(option: Option) -> str:
    """How many classes of this kind fit, in words."""
    return "any number of them" if option.more is None else f"{option.more} of them"


def _action(option: Option) -> str:
    if option.kind == "whole":
        return "add a whole head"
    if option.kind == "trunk":
        return f"share a trunk: add {option.label}"
    return f"merge: the new class {option.label} that no longer change much"


def _instead_of(option: Option, options: Sequence[Option]) -> str:
    whole = options[0]
    return "" if option is whole else f"; a whole head would make it {whole.ms:.0f} ms"
