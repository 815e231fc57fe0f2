"""Where training starts: fresh weights, imported ones, or a head's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from prohibit_jax.bundle.store import Head, Store
from prohibit_jax.config import Config
from prohibit_jax.models.efficientnet import B0, LITE0
from prohibit_jax.models.network import Network, init
from prohibit_jax.types import HeadRef, InputError, Preprocessing, Variables
from prohibit_jax.weights.imported import load, with_fresh_classifier

LAST = "last"  # the class's last version


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
    """Follows `model.weights`: nothing (from scratch), `last`, a head, a name in the store, or hf:OWNER/NAME.

    A head brings its whole network, trunk included, which is then cut anew as `model.trunk_through` says: a head that
    was trained on a trunk goes on as a whole network where that is "".

    Raises:
        InputError: there are no such weights, or a trunk is asked of fresh ones.
    """
    model = config.model
    if model.weights == LAST or "@" in model.weights:
        ref = HeadRef(config.class_.name) if model.weights == LAST else HeadRef.parse(model.weights)
        return _continue(store.read_head(ref), config, store)
    if model.weights:
        weights = with_fresh_classifier(load(store.root, model.weights), seed=config.train.seed)
        preprocessing = replace(weights.preprocessing, size=model.size)
        return Beginning(Network(weights.arch), preprocessing, weights.variables, model.trunk_through, pretrained=True)
    if model.trunk_through:
        raise InputError("model.trunk_through: a trunk is frozen, so it needs weights: add --weights lite0")
    base = B0 if model.architecture == B0.name else LITE0
    # TensorFlow's 0.99 takes a thousand steps to settle; training on a few thousand photos has only hundreds.
    network = Network(replace(base, width=model.width, depth=model.depth, norm_momentum=0.9))
    preprocessing = Preprocessing(model.size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    fresh = {name: np.asarray(array) for name, array in init(network, config.train.seed).items()}
    return Beginning(network, preprocessing, fresh, "", pretrained=False)


def _continue(head: Head, config: Config, store: Store) -> Beginning:
    card = head.card
    trunk = store.read_trunk(card.trunk.sha256, card.trunk_network()) if card.trunk else {}
    preprocessing = replace(card.preprocessing, size=config.model.size)
    whole = {**trunk, **head.variables}
    return Beginning(Network(card.arch), preprocessing, whole, config.model.trunk_through, pretrained=True)
