"""The folded network computes what the network does."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from prohibit_jax.bundle.fold import fold
from prohibit_jax.models.efficientnet import STAGES
from prohibit_jax.models.inception_resnet_v2 import INCEPTION_RESNET_V2
from prohibit_jax.models.network import Network, apply, shapes
from prohibit_jax.types import Variables
from tests.bundle.twin import TWIN, variables

FOLDING = 1e-5  # of the largest output: float32 rounding, the products in another order

LITE = replace(TWIN, name="efficientnet_lite0", squeeze_excite=False, activation="relu6", norm_epsilon=1e-5)
NETWORKS = {
    "start": Network(TWIN, STAGES[:3]),
    "end": Network(TWIN, STAGES[-3:]),
    "lite": Network(LITE, STAGES[:3]),
    "inception": Network(replace(INCEPTION_RESNET_V2, width=0.25, depth=0.1), STAGES[:3]),
}


@partial(jax.jit, static_argnums=0)
def run(network: Network, arrays: Variables, x: jax.Array) -> jax.Array:
    return apply(network, arrays, x)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_folded_network_computes_the_same(name: str) -> None:
    network, arrays = NETWORKS[name], variables(NETWORKS[name], 3)
    channels = 3 if "stem" in network.stages else TWIN.channels(192)
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, channels))
    expected = np.asarray(run(network, arrays, x))
    folded, folded_arrays = fold(network, arrays)
    found = np.asarray(run(folded, folded_arrays, x))
    assert np.abs(found - expected).max() <= FOLDING * np.abs(expected).max()
    assert {name: array.shape for name, array in folded_arrays.items()} == shapes(folded)
    assert all(array.dtype == np.float32 for array in folded_arrays.values())
