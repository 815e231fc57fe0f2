"""Where training starts: fresh weights, imported ones, or the class's last version."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from prohibit_jax.bundle.store import Store
from prohibit_jax.config import Config
from prohibit_jax.models.efficientnet import B0, LITE0
from prohibit_jax.models.network import Network, init
from prohibit_jax.types import InputError, Preprocessing, Variables
from prohibit_jax.weights.imported import load, with_fresh_classifier

LAST = "last"


@dataclass(frozen=True)
class Beginning:
    """A whole network before training.

    Attributes:
        network: all its stages.
        preprocessing: how photos become its input.
        variables: the whole network's, trunk included.
        trunk_through: the last stage of the frozen trunk; "" without one.
        pretrained: whether the batch-norm statistics mean anything yet.
    """

    network: Network
    preprocessing: Preprocessing
    variables: Variables
    trunk_through: str
    pretrained: bool


def begin(config: Config, store: Store) -> Beginning:
    """Follows `model.weights`: nothing (from scratch), `last`, a name in the store, or hf:OWNER/NAME.

    Raises:
        InputError: there are no such weights, a trunk is asked of fresh weights, or another trunk than the last
            version's.
    """
    model = config.model
    if model.weights == LAST:
        return _last(config, store)
    if model.weights:
        weights = with_fresh_classifier(load(store.root, model.weights), seed=config.train.seed)
        preprocessing = replace(weights.preprocessing, size=model.size)
        return Beginning(Network(weights.arch), preprocessing, weights.variables, model.trunk_through, pretrained=True)
    if model.trunk_through:
        raise InputError("model.trunk_through: a trunk is frozen, so it needs weights: add --weights lite0")
    base = B0 if model.architecture == B0.name else LITE0
    network = Network(replace(base, width=model.width, depth=model.depth))
    preprocessing = Preprocessing(model.size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    fresh = {name: np.asarray(array) for name, array in init(network, config.train.seed).items()}
    return Beginning(network, preprocessing, fresh, "", pretrained=False)


def _last(config: Config, store: Store) -> Beginning:
    head = store.read_head(config.class_.name)
    card, asked = head.card, config.model.trunk_through
    through = card.trunk.through if card.trunk else ""
    if asked not in ("", through):
        raise InputError(f"model.trunk_through: {head.ref} has its trunk through {through or 'no stage'}, not {asked}")
    trunk = store.read_trunk(card.trunk.sha256, card.trunk_network()) if card.trunk else {}
    preprocessing = replace(card.preprocessing, size=config.model.size)
    return Beginning(Network(card.arch), preprocessing, {**trunk, **head.variables}, through, pretrained=True)
