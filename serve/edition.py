"""What serves at a moment: a scorer, and who of its heads decides.

It is immutable: a swap makes the next one, and a request is scored by one edition whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from prohibit_jax.bundle.card import Card
from prohibit_jax.bundle.lock import Bundle
from prohibit_jax.bundle.store import Head
from prohibit_jax.score.scorer import Scorer
from prohibit_jax.types import HeadRef
from serve.metrics import Head as Label

SHADOW = "@shadow"
"""Ends the name of a shadow's column, which no class can have: a candidate sits beside the head that decides."""


@dataclass(frozen=True, eq=False)
class Edition:
    """A scorer, whose columns are classes that decide and shadows that do not."""

    number: int
    """Counts up with every swap."""
    scorer: Scorer

    @cached_property
    def cards(self) -> Mapping[str, Card]:
        """class -> the card of the head that decides; sorted, as an answer's columns are whatever was swapped."""
        return {card.name: card for card in sorted(self.scorer.cards, key=_name) if not is_shadow(card.name)}

    @cached_property
    def shadows(self) -> Mapping[str, Card]:
        """class -> the card of the candidate that scores with it."""
        return {card.name.removesuffix(SHADOW): card for card in self.scorer.cards if is_shadow(card.name)}

    @property
    def classes(self) -> tuple[str, ...]:
        """That decide."""
        return tuple(self.cards)

    @cached_property
    def columns(self) -> np.ndarray:
        """Where the scorer has the classes that decide, int64 [k]."""
        return np.array([self.scorer.classes.index(name) for name in self.cards])

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """Class, version and role of each of the scorer's columns, as metrics name them."""
        return tuple(
            (card.name.removesuffix(SHADOW), str(card.version), "shadow" if is_shadow(card.name) else "decides")
            for card in self.scorer.cards
        )

    @property
    def bundle(self) -> str:
        """The name of the bundle that it began with."""
        return self.scorer.bundle.name

    @cached_property
    def bundle_sha256(self) -> str:
        """Of a lock file with the heads that decide, sorted: equal replicas have equal ones."""
        pins = {pin.ref.name: pin for pin in self.scorer.bundle.pins}
        return Bundle(self.bundle, tuple(pins[name] for name in self.cards)).sha256

    def next(self, scorer: Scorer) -> Edition:
        """The edition that follows with this scorer."""
        return Edition(self.number + 1, scorer)


def _name(card: Card) -> str:
    return card.name


def is_shadow(name: str) -> bool:
    """Whether a column of a scorer is a shadow's."""
    return name.endswith(SHADOW)


def as_shadow(head: Head) -> Head:
    """The head under the name of its class's shadow."""
    name = head.card.name + SHADOW
    return replace(head, ref=HeadRef(name, head.ref.version), card=replace(head.card, name=name))
