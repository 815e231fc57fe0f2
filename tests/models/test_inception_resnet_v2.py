"""Inception-ResNet-v2: its size, its shapes, its cuts, and that gradients train it. Parity is in tests/weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prohibit_jax.models import efficientnet
from prohibit_jax.models.inception_resnet_v2 import INCEPTION_RESNET_V2, SMALLEST, STAGES, TABLE
from prohibit_jax.models.network import Network, apply, init, shapes, statistics
from tests.tolerances import ONE_LAYER

TINY = replace(INCEPTION_RESNET_V2, outputs=3, width=0.125, depth=0.1, norm_momentum=0.9, dropout=0.0)
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def abstract(network: Network) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes(network).items()}


def test_the_parameters_are_as_many_as_published() -> None:
    network = Network(replace(INCEPTION_RESNET_V2, outputs=1000))
    trained = shapes(network).keys() - statistics(network)
    assert sum(prod(shape) for name, shape in shapes(network).items() if name in trained) == 55_843_464


def test_every_stage_puts_out_what_the_paper_says() -> None:
    x = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    found = []
    for stage in STAGES:
        network = Network(INCEPTION_RESNET_V2, (stage,))
        x, _ = jax.eval_shape(partial(apply, network), abstract(network), x)
        found.append(x.shape[1:])
    assert found[0] == (35, 35, 192)
    assert found[1] == found[2] == (35, 35, 320)
    assert found[3] == found[4] == (17, 17, 1088)
    assert found[5] == found[6] == found[7] == (8, 8, 2080)
    assert found[8:] == [(1536,), (1,)]


def test_the_smallest_input_leaves_one_position() -> None:
    trunk, _ = Network(TINY).split("s5")
    for size, left in ((SMALLEST, 1), (SMALLEST - 1, 0)):
        features, _ = jax.eval_shape(partial(apply, trunk), abstract(trunk), jnp.zeros((1, size, size, 3)))
        assert features.shape[1:3] == (left, left)


def test_its_stages_are_named_like_efficientnet_s() -> None:
    assert STAGES == efficientnet.STAGES


def test_width_and_depth_scale_what_repeats() -> None:
    narrow = shapes(Network(TINY))
    assert narrow["stem.0.kernel"] == (3, 3, 3, 8)
    assert narrow["top.conv.kernel"][1] == 192
    blocks = {stage: {name.split(".")[1] for name in narrow if name.startswith(stage)} for stage in TABLE}
    assert [len(found) for found in blocks.values()] == [1, 1, 1, 2, 1, 1, 1]
    deep = shapes(Network(replace(TINY, depth=2.0), ("s2", "s3", "s7")))
    assert max(int(name.split(".")[1]) for name in deep if name.startswith("s2.")) == 19
    assert {name.split(".")[1] for name in deep if not name.startswith("s2.")} == {"0"}


@pytest.mark.parametrize("through", ["stem", "s4"])
def test_trunk_and_head_in_turn_are_the_whole(through: str) -> None:
    network = Network(TINY)
    variables, x = init(network, 0), jax.random.normal(jax.random.key(1), (2, 79, 83, 3))
    parts = network.split(through)
    trunk, head = ({name: variables[name] for name in shapes(part)} for part in parts)
    assert {**trunk, **head}.keys() == variables.keys()
    cut = quick(lambda x: apply(parts[1], head, apply(parts[0], trunk, x)[0])[0])(x)
    whole = quick(lambda x: apply(network, variables, x)[0])(x)
    np.testing.assert_allclose(cut, whole, 0, ONE_LAYER * float(jnp.abs(whole).max()))


def test_gradients_lower_the_loss_and_reach_every_parameter() -> None:
    network = Network(TINY)
    moving = statistics(network)
    x, labels = jax.random.normal(jax.random.key(2), (6, SMALLEST, SMALLEST, 3)), jnp.arange(6) % 3

    def loss(params: dict[str, jax.Array], running: dict[str, jax.Array]) -> jax.Array:
        logits, _ = apply(network, {**params, **running}, x, batch_statistics=True)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))

    variables = init(network, 0)
    running = {name: array for name, array in variables.items() if name in moving}
    params = {name: array for name, array in variables.items() if name not in moving}
    step = quick(jax.value_and_grad(loss))
    losses = []
    for _ in range(4):
        value, gradient = step(params, running)
        losses.append(float(value))
        params = {name: array - 0.02 * gradient[name] for name, array in params.items()}
    assert losses[-1] < 0.8 * losses[0]
    still = [name for name, array in gradient.items() if not np.any(array)]
    assert not still
