"""Where training starts: fresh weights, imported ones, or a head's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from prohibit_jax.bundle.store import Head, Store
from prohibit_jax.config import Config
from prohibit_jax.models import inception_resnet_v2
from prohibit_jax.models.network import ARCHITECTURES, Network, init
from prohibit_jax.types import HeadRef, InputError, Preprocessing, Variables
from prohibit_jax.weights.imported import Weights, load, with_fresh_classifier

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

    @property
    def sha256(self) -> str:
        """Of the variables, by which a run that goes on knows them again."""
        digest = hashlib.sha256()
        for name in sorted(self.variables):
            digest.update(name.encode() + np.asarray(self.variables[name]).tobytes())
        return digest.hexdigest()


def begin(config: Config, store: Store) -> Beginning:
    """Follows `model.weights`: nothing (from scratch), `last`, a head, a name in the store, or hf:OWNER/NAME.

    A head brings its whole network, trunk included, which is then cut anew as `model.trunk_through` says: a head that
    was trained on a trunk goes on as a whole network where that is "". Its classifier is a fresh one where its classes
    are not those of the config.

    Raises:
        InputError: there are no such weights, a trunk is asked of fresh ones, or photos are too small for the network.
    """
    beginning = _begin(config, store)
    name, size = beginning.network.arch.name, beginning.preprocessing.size
    if name == inception_resnet_v2.INCEPTION_RESNET_V2.name and size < inception_resnet_v2.SMALLEST:
        raise InputError(f"model.size: {size} is too small; {name} takes {inception_resnet_v2.SMALLEST} and more")
    return beginning


def _begin(config: Config, store: Store) -> Beginning:
    model = config.model
    if model.weights == LAST or "@" in model.weights:
        ref = HeadRef(config.class_.name) if model.weights == LAST else HeadRef.parse(model.weights)
        return _continue(store.read_head(ref), config, store)
    if model.weights:
        weights = _with_outputs(load(store.root, model.weights), config)
        preprocessing = replace(weights.preprocessing, size=model.size)
        return Beginning(Network(weights.arch), preprocessing, weights.variables, model.trunk_through, pretrained=True)
    if model.trunk_through:
        raise InputError("model.trunk_through: a trunk is frozen, so it needs weights: add --weights lite0")
    base = replace(ARCHITECTURES[model.architecture], outputs=config.class_.outputs)
    # TensorFlow's 0.99 takes a thousand steps to settle; training on a few thousand photos has only hundreds.
    network = Network(replace(base, width=model.width, depth=model.depth, norm_momentum=0.9))
    preprocessing = Preprocessing(model.size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    fresh = {name: np.asarray(array) for name, array in init(network, config.train.seed).items()}
    return Beginning(network, preprocessing, fresh, "", pretrained=False)


def _continue(head: Head, config: Config, store: Store) -> Beginning:
    card = head.card
    trunk = store.read_trunk(card.trunk.sha256, card.trunk_network()) if card.trunk else {}
    preprocessing = replace(card.preprocessing, size=config.model.size)
    weights = Weights(card.arch, preprocessing, {**trunk, **head.variables}, str(head.ref))
    if card.classes != tuple(config.class_.classes):
        weights = _with_outputs(weights, config)
    return Beginning(
        Network(weights.arch), preprocessing, weights.variables, config.model.trunk_through, pretrained=True
    )


def _with_outputs(weights: Weights, config: Config) -> Weights:
    return with_fresh_classifier(weights, outputs=config.class_.outputs, seed=config.train.seed)
