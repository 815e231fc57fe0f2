"""Which heads run together: those of one network on one input, after one trunk if they have any, are a group.

A `Plan` is all that decides what is compiled, and the heads' variables all that does not: a head is replaced by other
variables under the same plan, and a class is added in a slot that was kept free for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from prohibit_jax.bundle.card import Card
from prohibit_jax.bundle.fold import fold
from prohibit_jax.bundle.store import Head
from prohibit_jax.models.efficientnet import Architecture
from prohibit_jax.models.network import Network
from prohibit_jax.types import InputError, Preprocessing, Variables


@dataclass(frozen=True, eq=False)
class Folded:
    """A head, or a trunk, without batch norm. Two are the same only if they are one object."""

    network: Network
    variables: Variables


@dataclass(frozen=True)
class Group:
    """What is compiled for a group: room for `slots` heads of one network, on photos or on one trunk's output."""

    preprocessing: Preprocessing
    trunk: Network | None
    head: Network
    slots: int


@dataclass(frozen=True)
class Plan:
    """The groups of a bundle, in the order in which their first heads come, and who is where in them."""

    groups: tuple[Group, ...]
    columns: tuple[tuple[int, ...], ...]
    """Of each group, its heads' places among the classes."""
    trunks: tuple[str, ...]
    """Of each group, its trunk's SHA-256, or ""."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The edge lengths of the square inputs, ascending, pixels."""
        return tuple(sorted({group.preprocessing.size for group in self.groups}))

    @cached_property
    def places(self) -> np.ndarray:
        """Of each class, its slot, where the slots of all groups are counted through; int64 [k]."""
        first, places = 0, {}
        for group, columns in zip(self.groups, self.columns, strict=True):
            places.update({column: first + slot for slot, column in enumerate(columns)})
            first += group.slots
        return np.array([places[column] for column in range(len(places))])


def fold_head(head: Head) -> Folded:
    """The head as it is stacked."""
    return _fold(head.card.network(), head.variables)


def fold_trunk(card: Card, variables: Variables) -> Folded:
    """The trunk of the card's head as it is run."""
    network = card.trunk_network()
    assert network is not None
    return _fold(network, variables)


def arrange(cards: Sequence[Card], spare: int = 0, former: Plan | None = None) -> Plan:
    """Groups the heads of these cards.

    Args:
        cards: in the order of the classes.
        spare: slots that a group is given beyond its heads.
        former: the plan that this one follows; its groups keep their order, and their slots while these hold their
            heads.

    Raises:
        InputError: heads on one trunk whose cards fold it differently.
    """
    _check_trunks(cards)
    members: dict[tuple[Preprocessing, Network | None, Network, str], list[int]] = {}
    for column, card in enumerate(cards):
        trunk = card.trunk_network()
        key = (card.preprocessing, _program(trunk) if trunk else None, _program(card.network()), _sha256(card))
        members.setdefault(key, []).append(column)
    before = {} if former is None else _slots(former)
    order = {key: number for number, key in enumerate(before)}
    members = dict(sorted(members.items(), key=lambda item: order.get(item[0], len(order))))
    groups = []
    for (preprocessing, trunk, head, sha256), columns in members.items():
        slots = before.get((preprocessing, trunk, head, sha256), 0)
        groups.append(
            Group(preprocessing, trunk, head, slots if slots >= len(columns) else len(columns) + spare),
        )
    return Plan(tuple(groups), tuple(map(tuple, members.values())), tuple(key[3] for key in members))


def _check_trunks(cards: Sequence[Card]) -> None:
    epsilons: dict[str, float] = {}
    for card in cards:
        if card.trunk and epsilons.setdefault(card.trunk.sha256, card.arch.norm_epsilon) != card.arch.norm_epsilon:
            raise InputError(f"head {card.name}: its norm_epsilon differs from others' on trunk {card.trunk.sha256}")


def _slots(plan: Plan) -> dict[tuple[Preprocessing, Network | None, Network, str], int]:
    return {
        (group.preprocessing, group.trunk, group.head, sha256): group.slots
        for group, sha256 in zip(plan.groups, plan.trunks, strict=True)
    }


def _sha256(card: Card) -> str:
    return card.trunk.sha256 if card.trunk else ""


def _fold(network: Network, variables: Variables) -> Folded:
    return Folded(_program(network), fold(network, variables)[1])


def _program(network: Network) -> Network:
    """`network` folded, without what only training and batch norm read, so that it keeps no two heads apart."""
    neutral = Architecture()
    arch = replace(
        network.arch,
        norm_epsilon=neutral.norm_epsilon,
        norm_momentum=neutral.norm_momentum,
        dropout=0.0,
    )
    return replace(network, arch=arch, folded=True)
