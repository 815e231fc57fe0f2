"""The scorer's compiler for every device that JAX knows: one jitted function a bundle, `jax.vmap` over each group."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from prohibit_jax.models.network import apply, normalise
from prohibit_jax.score.stack import Group, GroupWeights, Plan, Weights

Run = Callable[[Weights, Mapping[int, np.ndarray]], tuple[jax.Array, jax.Array]]
"""(weights, {size: uint8 [b, size, size, 3]}) -> (logits, calibrated probabilities), both float32 [b, k]."""


def compile_plan(plan: Plan) -> Run:
    """The plan as one function, compiled once for each number of photos. Weights are arguments, never constants."""
    places = np.argsort([column for group in plan.groups for column in group.columns])

    def run(weights: Weights, images: Mapping[int, jax.Array]) -> tuple[jax.Array, jax.Array]:
        groups = zip(plan.groups, weights.groups, strict=True)
        columns = [_logits(group, arrays, images[group.preprocessing.size]) for group, arrays in groups]
        logits = jnp.concatenate(columns, axis=1)[:, places]
        return logits, jax.nn.sigmoid(logits * weights.scale + weights.offset)

    return jax.jit(run)


def _logits(group: Group, weights: GroupWeights, images: jax.Array) -> jax.Array:
    """float32 [b, heads of the group]."""
    x = normalise(images, group.preprocessing)
    if group.trunk:
        x, _ = apply(group.trunk, weights.trunk, x)

    def head(variables: Mapping[str, jax.Array]) -> jax.Array:
        return apply(group.head, variables, x)[0][:, 0]

    return jax.vmap(head, out_axes=1)(weights.heads)
