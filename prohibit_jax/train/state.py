"""What a training run carries from step to step, and the step itself: a pure function of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import optax

from prohibit_jax.config import TrainConfig
from prohibit_jax.models.network import Network, apply, normalise, statistics
from prohibit_jax.train.losses import loss_of
from prohibit_jax.types import Preprocessing, Variables

Arrays = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that the next step depends on, beside its batch; a tree of arrays, so that Orbax can keep it."""

    # Leaves are arrays, or what JAX and Orbax put in their place: tracers, shapes, checkpoints' entries.
    step: Any  # int32, steps taken
    params: dict[str, Any]  # what gradients train
    statistics: dict[str, Any]  # batch-norm means and variances
    average: dict[str, Any]  # moving average of both: what is evaluated and published
    optimiser: Any  # optax.OptState, whose own alias cannot be resolved at run time


Step = Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, jax.Array]]


def start(network: Network, variables: Variables, optimiser: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    moving = statistics(network)
    params = {name: jnp.asarray(array) for name, array in variables.items() if name not in moving}
    running = {name: jnp.asarray(array) for name, array in variables.items() if name in moving}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        statistics=running,
        average={**params, **running},
        optimiser=optimiser.init(params),
    )


def step_of(
    network: Network,
    preprocessing: Preprocessing,
    config: TrainConfig,
    optimiser: optax.GradientTransformation,
    *,
    batch_statistics: bool,
) -> Step:
    """The compiled training step, (state, inputs [b, h, w, c], labels float32 [b]) -> (state, loss).

    Inputs are uint8 photos where the network has its stem, else the trunk's features. Dropout's key follows from the
    seed and the step's number, so a resumed run repeats the one that was cut off.
    """
    loss_function = loss_of(config)

    def loss_and_statistics(
        params: Arrays, state: TrainState, x: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, Arrays]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        logits, moved = apply(
            network, {**params, **state.statistics}, x, batch_statistics=batch_statistics, dropout_key=key
        )
        return loss_function(logits[:, 0] if logits.shape[1] == 1 else logits, labels), moved

    @jax.jit
    def step(state: TrainState, x: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
        x = normalise(x, preprocessing) if "stem" in network.stages else x
        grad = jax.value_and_grad(loss_and_statistics, has_aux=True)
        (loss, moved), gradient = grad(state.params, state, x, labels)
        with jax.numpy_dtype_promotion("standard"):  # Optax raises a decay to the power of an integer
            updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        params: Arrays = optax.apply_updates(state.params, updates)
        average = averaged(state, {**params, **moved}, config.average)
        return TrainState(state.step + 1, params, moved, average, optimiser_state), loss

    return step


def averaged(state: TrainState, variables: Arrays, decay: float) -> Arrays:
    """The moving average after a step that led to these variables.

    An average that starts at the first weights forgets them slowly, so its decay is warmed up (tf.train's rule).
    """
    taken = state.step.astype(jnp.float32)
    warmed = jnp.minimum(decay, (1.0 + taken) / (10.0 + taken))
    average: Arrays = optax.incremental_update(variables, state.average, 1 - warmed)
    return average


@cache
def predict_of(network: Network, preprocessing: Preprocessing) -> Callable[[Arrays, jax.Array], jax.Array]:
    """The forward pass, (variables, inputs [b, h, w, c]) -> the network's output; compiled once in a process."""

    @jax.jit
    def predict(variables: Arrays, x: jax.Array) -> jax.Array:
        x = normalise(x, preprocessing) if "stem" in network.stages else x
        return apply(network, variables, x)[0]

    return predict
