"""Which heads run together: those of one function and one input become a group, their variables one stack.

A `Plan` is all that decides what is compiled, and `Weights` all that does not: a head is replaced by other weights
under the same plan. Every compiler takes the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from prohibit_jax.bundle.card import Card
from prohibit_jax.bundle.fold import fold
from prohibit_jax.bundle.store import Head
from prohibit_jax.models.efficientnet import Architecture
from prohibit_jax.models.network import Network
from prohibit_jax.types import Preprocessing, Variables


@dataclass(frozen=True)
class Folded:
    """A head, or a trunk, without batch norm."""

    network: Network
    variables: Variables


@dataclass(frozen=True)
class Group:
    """Heads of one network on one input, after one trunk if they have any; `columns` are their places in the scores."""

    preprocessing: Preprocessing
    trunk: Network | None
    head: Network
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """The groups of a bundle, in the order in which their first heads come."""

    groups: tuple[Group, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The edge lengths of the square inputs, ascending, pixels."""
        return tuple(sorted({group.preprocessing.size for group in self.groups}))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GroupWeights:
    """A group's arrays: the trunk's as they are (none without a trunk), the heads' with a leading axis k."""

    trunk: Variables
    heads: Variables


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Weights:
    """A plan's arrays, a JAX tree: a group's each, and the calibrations, float32 [k] in the order of the columns."""

    groups: tuple[GroupWeights, ...]
    scale: Any
    offset: Any


def fold_head(head: Head) -> Folded:
    """The head as it is stacked."""
    return _fold(head.card.network(), head.variables)


def fold_trunk(card: Card, variables: Variables) -> Folded:
    """The trunk of the card's head as it is run."""
    network = card.trunk_network()
    assert network is not None
    return _fold(network, variables)


def stack(cards: Sequence[Card], heads: Sequence[Folded], trunks: Mapping[str, Folded]) -> tuple[Plan, Weights]:
    """Groups the heads and stacks their variables, onto the default device.

    Args:
        cards: of the heads, in the order of the columns.
        heads: the heads themselves, in the same order.
        trunks: SHA-256 -> trunk, at least those that the cards name.
    """
    members: dict[tuple[Network, Preprocessing, str], list[int]] = {}
    for column, (card, head) in enumerate(zip(cards, heads, strict=True)):
        trunk = card.trunk.sha256 if card.trunk else ""
        members.setdefault((head.network, card.preprocessing, trunk), []).append(column)
    groups, weights = [], []
    for (network, preprocessing, sha256), columns in members.items():
        trunk_of = trunks[sha256] if sha256 else None
        groups.append(Group(preprocessing, trunk_of.network if trunk_of else None, network, tuple(columns)))
        stacked = {
            name: np.stack([heads[column].variables[name] for column in columns])
            for name in heads[columns[0]].variables
        }
        weights.append(GroupWeights(dict(trunk_of.variables) if trunk_of else {}, stacked))
    scale = np.array([card.calibration.scale for card in cards], np.float32)
    offset = np.array([card.calibration.offset for card in cards], np.float32)
    return Plan(tuple(groups)), jax.device_put(Weights(tuple(weights), scale, offset))


def _fold(network: Network, variables: Variables) -> Folded:
    folded, arrays = fold(network, variables)
    return Folded(replace(folded, arch=_function(folded.arch)), arrays)


def _function(arch: Architecture) -> Architecture:
    """`arch` without what only training and batch norm read, so that it keeps no two folded heads apart."""
    neutral = Architecture()
    return replace(arch, norm_epsilon=neutral.norm_epsilon, norm_momentum=neutral.norm_momentum, dropout=0.0)
