"""The training step on a tiny network: what it changes, what it leaves, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prohibit_jax.config import TrainConfig
from prohibit_jax.models.efficientnet import B0
from prohibit_jax.models.network import Network, apply, init, statistics
from prohibit_jax.train.optimiser import optimiser_of
from prohibit_jax.train.state import TrainState, start, step_of
from prohibit_jax.types import Preprocessing

# So narrow that all stages have 8 channels and some can be left out: one with a residual block is left.
TINY = Network(replace(B0, width=0.025, dropout=0.2), ("stem", "s2", "top", "classifier"))
TRUNK, HEAD = TINY.split("stem")
PREPROCESSING = Preprocessing(24, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CONFIG = TrainConfig(learning_rate=3e-3, average=0.9, batch=8)


def batch() -> tuple[jax.Array, jax.Array]:
    """Dark photos are negative, light ones positive."""
    labels = np.arange(8) % 2
    noise = np.random.default_rng(0).integers(0, 60, (8, 24, 24, 3))
    return jnp.asarray((noise + 180 * labels[:, None, None, None]).astype(np.uint8)), jnp.asarray(labels, jnp.float32)


@pytest.fixture(scope="module")
def variables() -> dict[str, jax.Array]:
    return init(TINY, seed=0)


def features(labels: np.ndarray) -> jax.Array:
    """What a trunk may say of photos with these labels."""
    channels = jax.eval_shape(lambda x: apply(TRUNK, init(TRUNK, 0), x)[0], jnp.zeros((1, 24, 24, 3))).shape[-1]
    noise = np.random.default_rng(0).normal(size=(len(labels), 2, 2, channels))
    return jnp.asarray(noise + labels[:, None, None, None], jnp.float32)


def run(
    network: Network, x: jax.Array, labels: jax.Array, steps: int, *, batch_statistics: bool
) -> tuple[TrainState, list[float]]:
    optimiser = optimiser_of(CONFIG, 30)
    step = step_of(network, PREPROCESSING, CONFIG, optimiser, batch_statistics=batch_statistics)
    state, losses = start(network, init(network, seed=0), optimiser), []
    for _ in range(steps):
        state, loss = step(state, x, labels)
        losses.append(float(loss))
    return state, losses


def test_it_learns_and_repeats_itself_to_the_bit() -> None:
    state, losses = run(TINY, *batch(), 25, batch_statistics=True)
    again, _ = run(TINY, *batch(), 25, batch_statistics=True)
    assert losses[-1] < 0.3 * losses[0]
    assert int(state.step) == 25
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True))


def test_it_learns_several_classes() -> None:
    """On a trunk's features."""
    network = replace(HEAD, arch=replace(HEAD.arch, outputs=3))
    config = CONFIG.model_copy(update={"loss": "softmax"})
    optimiser = optimiser_of(config, 30)
    step = step_of(network, PREPROCESSING, config, optimiser, batch_statistics=True)
    state, losses, labels = start(network, init(network, 0), optimiser), [], np.arange(9) % 3
    x = features(labels)
    for _ in range(25):
        state, loss = step(state, x, jnp.asarray(labels, jnp.float32))
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


@pytest.fixture(scope="module")
def frozen() -> TrainState:
    """After a few steps with the statistics that it came with."""
    labels = np.arange(8) % 2
    return run(HEAD, features(labels), jnp.asarray(labels, jnp.float32), 3, batch_statistics=False)[0]


def test_frozen_statistics_stay_and_parameters_move(frozen: TrainState) -> None:
    before, moving = init(HEAD, seed=0), statistics(HEAD)
    assert set(frozen.statistics) == moving
    assert all(np.array_equal(frozen.statistics[name], before[name]) for name in moving)
    assert any(not np.array_equal(frozen.params[name], before[name]) for name in frozen.params)


def test_batch_statistics_move() -> None:
    before = init(TINY, seed=0)
    state, _ = run(TINY, *batch(), 3, batch_statistics=True)
    assert all(not np.array_equal(state.statistics[name], before[name]) for name in statistics(TINY))


def test_the_average_lags_behind_the_weights(frozen: TrainState) -> None:
    name = "top.classifier.kernel"
    before = init(HEAD, seed=0)[name]
    moved, lag = frozen.params[name] - before, frozen.average[name] - before
    assert 0 < float(jnp.abs(lag).sum()) < float(jnp.abs(moved).sum())


def test_the_step_keeps_every_shape_and_type(variables: dict[str, jax.Array]) -> None:
    """The whole step, traced only."""
    optimiser = optimiser_of(CONFIG, 30)
    step = step_of(TINY, PREPROCESSING, CONFIG, optimiser, batch_statistics=True)
    state = start(TINY, variables, optimiser)
    after, loss = jax.eval_shape(step, state, *batch())

    def kind(tree: Any) -> list[tuple[tuple[int, ...], Any]]:
        return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]

    assert kind(after) == kind(state)
    assert (loss.shape, loss.dtype) == ((), jnp.float32)


def test_only_kernels_decay() -> None:
    config = TrainConfig(weight_decay=0.5, learning_rate=1.0, warmup=0.0)
    params = {"a.kernel": jnp.ones(2), "a.bias": jnp.ones(2), "a.norm.scale": jnp.ones(2)}
    optimiser = optimiser_of(config, 10)
    state = optimiser.init(params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    for _ in range(2):  # the first step of the warm-up has rate 0
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimiser.update(zeros, state, params)
    assert float(updates["a.kernel"][0]) < 0
    assert float(updates["a.bias"][0]) == float(updates["a.norm.scale"][0]) == 0
