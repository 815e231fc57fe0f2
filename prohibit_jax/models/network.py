"""Networks as pure functions over flat dictionaries of arrays: the only form in which the other rooms see them.

`s2.0.expand.kernel` names an array from training through the file on disk to the stacked scorer; a flat dictionary is
a JAX tree, so optimisers, averages and stacks of heads are ordinary tree work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from prohibit_jax.models import efficientnet, inception_resnet_v2
from prohibit_jax.models.arrays import Activations, Pixels
from prohibit_jax.models.efficientnet import B0, LITE0, STAGES, EfficientNet
from prohibit_jax.models.inception_resnet_v2 import INCEPTION_RESNET_V2, InceptionResNetV2
from prohibit_jax.models.ops import OPS, Ops
from prohibit_jax.types import InputError, Preprocessing, Variables

Architecture = efficientnet.Architecture | inception_resnet_v2.Architecture
"""Each family's own record. All have a name, outputs, width, depth, batch norm's two constants and a dropout."""

ARCHITECTURES: Mapping[str, Architecture] = {arch.name: arch for arch in (B0, LITE0, INCEPTION_RESNET_V2)}
"""The published architectures by name, which also tells the records apart."""


CLASSIFIER = ("top.classifier.kernel", "top.classifier.bias")
"""The variables of the last stage, in both families."""

POOLED = "top"
"""The stage before it, whose output, a photo's features, is all that the classifier sees."""


@dataclass(frozen=True)
class Network:
    """Some consecutive stages of an architecture, which all have the same names; `folded`, without batch norm."""

    arch: Architecture
    stages: tuple[str, ...] = STAGES
    folded: bool = False

    def split(self, through: str) -> tuple[Network, Network]:
        """The network through stage `through` (the trunk) and the rest of it (the head)."""
        if through not in self.stages[:-1]:
            raise InputError(f"model.trunk_through {through!r}: use one of {', '.join(self.stages[:-1])}")
        cut = self.stages.index(through) + 1
        return (
            Network(self.arch, self.stages[:cut], self.folded),
            Network(self.arch, self.stages[cut:], self.folded),
        )


def init(network: Network, seed: int) -> dict[str, jax.Array]:
    """Fresh variables, the same for the same seed: parameters and batch-norm statistics by dotted name.

    NumPy draws them, since XLA takes 20 seconds to compile the draws of so many shapes.
    """
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(_fresh(name, shape, rng), jnp.float32) for name, shape in shapes(network).items()}


def _fresh(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if not name.endswith(".kernel"):
        return np.ones(shape) if name.endswith((".scale", ".var")) else np.zeros(shape)
    if ".squeeze." in name or ".classifier." in name:
        return rng.normal(0.0, shape[0] ** -0.5, shape)
    # The paper's code draws convolutions from N(0, 2 / fan-out); a depthwise kernel's fan-out is its k * k taps.
    fan_out = shape[0] * shape[1] if len(shape) == 3 else prod(shape) // shape[-2]
    return rng.normal(0.0, (2.0 / fan_out) ** 0.5, shape)


def apply(
    network: Network,
    variables: Variables,
    x: jax.Array,
    *,
    batch_statistics: bool = False,
    dropout_key: jax.Array | None = None,
    ops: Ops = OPS,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Runs the network: (its output, the batch-norm statistics after it).

    Args:
        variables: exactly those of `shapes(network)`.
        x: normalised photos [b, h, w, 3], or the output of the stage before the network's first.
        batch_statistics: normalise by the batch's own statistics and move the running ones towards them, as in
            training from scratch; else by the running ones, which come back unchanged.
        dropout_key: drops features before the classifier; None, as outside training, drops none.
        ops: how the operations are lowered; between a trunk and its head, in one layout.
    """
    graph, abstract = _definition(network, ops)
    flat = [(path, leaf.replace(variables[".".join(map(str, path))])) for path, leaf in nnx.to_flat_state(abstract)]
    module = nnx.merge(graph, nnx.from_flat_state(flat), copy=True)
    output = module(x, batch_statistics=batch_statistics, dropout_key=dropout_key)
    return output, flatten(nnx.state(module, nnx.BatchStat))


def normalise(images: Pixels, preprocessing: Preprocessing) -> Activations:
    """Photos as networks take them: `(pixel / 255 - mean) / std`, a channel at a time."""
    mean, std = jnp.asarray(preprocessing.mean, jnp.float32), jnp.asarray(preprocessing.std, jnp.float32)
    return (images.astype(jnp.float32) / 255.0 - mean) / std


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """The shape of every variable by dotted name."""
    return {name: leaf.shape for name, leaf in flatten(_definition(network)[1]).items()}


def statistics(network: Network) -> frozenset[str]:
    """The names of the batch-norm statistics: variables that are not trained by gradients."""
    return frozenset(flatten(nnx.filter_state(_definition(network)[1], nnx.BatchStat)))


def check_variables(network: Network, variables: Variables, source: str) -> None:
    """Raises InputError, naming `source`, unless `variables` are exactly those of the network, in shape too."""
    expected = shapes(network)
    found = {name: tuple(np.shape(array)) for name, array in variables.items()}
    if found != expected:
        name = min(set(expected.items()) ^ set(found.items()))[0]
        raise InputError(
            f"{source}: {name} is {found.get(name, 'missing')}, {network.arch.name} wants {expected.get(name, 'none')}"
        )


def flatten(state: Any) -> dict[str, Any]:
    """The arrays of an NNX state by dotted name."""
    return {".".join(map(str, path)): leaf.get_raw_value() for path, leaf in nnx.to_flat_state(state)}


def _module(network: Network, ops: Ops, rngs: nnx.Rngs) -> EfficientNet | InceptionResNetV2:
    if isinstance(network.arch, efficientnet.Architecture):
        return EfficientNet(network.arch, network.stages, folded=network.folded, ops=ops, rngs=rngs)
    return InceptionResNetV2(network.arch, network.stages, folded=network.folded, ops=ops, rngs=rngs)


class _OneKey(nnx.Rngs):
    """Stands in for `nnx.Rngs` where only shapes are wanted: to draw a key for each variable takes 0.2 s."""

    def __init__(self) -> None:
        """Has no streams."""

    def params(self) -> jax.Array:
        return jax.random.key(0)


@cache
def _definition(network: Network, ops: Ops = OPS) -> tuple[nnx.GraphDef[Any], nnx.State[Any, Any]]:
    return nnx.split(nnx.eval_shape(lambda: _module(network, ops, _OneKey())))
