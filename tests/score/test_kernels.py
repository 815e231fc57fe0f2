"""The kernels in Pallas' interpreter against plain operations, and the form that a device gets."""

from __future__ import annotations

from typing import Any
from unittest.mock import create_autospec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prohibit_jax.models.efficientnet import B0, LITE0, Architecture
from prohibit_jax.models.network import Network, apply, shapes
from prohibit_jax.models.ops import OPS, Ops, Pads
from prohibit_jax.score.kernels import OPTIONS, KernelOps, depthwise
from prohibit_jax.score.lowering import HalfOps
from prohibit_jax.score.xla import form_of
from tests.tolerances import HALF, ONE_LAYER, ROUNDED

KERNELS = KernelOps()


def drawn(seed: int, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """Numbers that bfloat16 holds exactly, so that only results are rounded."""
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape), jnp.bfloat16).astype(jnp.float32) for shape in shapes]


def near(found: jax.Array, expected: jax.Array) -> None:
    assert found.shape == expected.shape
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(found.astype(jnp.float32), expected, rtol=ROUNDED, atol=ROUNDED * scale)


@pytest.mark.parametrize(
    ("shape", "d", "activation"),
    [
        ((2, 9, 8, 20), 70, "silu"),
        ((1, 1, 1, 1), 1, "relu6"),
        ((1, 13, 10, 16), 64, "relu6"),
        ((1, 2, 3, 300), 8, "silu"),
    ],
)
def test_expansion_is_product_bias_and_activation(shape: tuple[int, ...], d: int, activation: str) -> None:
    x, kernel, bias = drawn(0, shape, (shape[-1], d), (d,))
    near(KERNELS.expand(x, kernel, bias, activation), OPS.expand(x, kernel, bias, activation))


@pytest.mark.parametrize(
    ("shape", "size", "stride", "padding", "activation"),
    [
        ((2, 11, 6, 24), 3, 1, "same", "silu"),
        ((1, 7, 10, 80), 3, 2, "same", "silu"),
        ((1, 4, 7, 32), 5, 2, "torch", "relu6"),
        ((1, 3, 9, 16), 5, 1, "same", "silu"),
        ((1, 1, 1, 1), 3, 1, "same", "relu6"),
        ((1, 2, 3, 8), 5, 2, "same", "silu"),
    ],
)
def test_filter_is_depthwise_bias_activation_and_mean(
    shape: tuple[int, ...], size: int, stride: int, padding: str, activation: str
) -> None:
    """Odd and even sizes, more and fewer rows than a tile has, channels that fill no tile."""
    x, kernel, bias = drawn(0, shape, (size, size, shape[-1]), (shape[-1],))
    found, means = KERNELS.filter(x, kernel, bias, stride, padding, activation)
    expected, expected_means = OPS.filter(x, kernel, bias, stride, padding, activation)
    near(found, expected)
    near(means, expected_means)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("h", "w", "d"), [(4, 3, 8), (2, 2, 8), (1, 1, 3)])
def test_projection_is_gate_product_bias_and_residual(h: int, w: int, d: int, gated: bool, residual: bool) -> None:
    """Whether the gate goes into the activations or the weights, and the same for each head under `vmap`."""
    x, gate, kernel, bias, rest = drawn(0, (2, 2, h, w, 6), (2, 2, 6), (2, 6, d), (2, d), (2, 2, h, w, d))

    def run(ops: Ops, dtype: Any) -> jax.Array:
        def head(x: jax.Array, gate: jax.Array, kernel: jax.Array, bias: jax.Array, rest: jax.Array) -> jax.Array:
            return ops.project(x, gate if gated else None, kernel, bias, rest.astype(dtype) if residual else None)

        found: jax.Array = jax.jit(jax.vmap(head))(x, gate, kernel, bias, rest)
        return found

    expected = run(OPS, jnp.float32)
    # What goes into the product is rounded, and so are the product and the residual sum.
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(run(KERNELS, jnp.bfloat16).astype(jnp.float32), expected, atol=4 * ROUNDED * scale)


@pytest.mark.parametrize("arch", [B0, LITE0], ids=["b0", "lite0"])
def test_a_stage_of_several_heads(arch: Architecture) -> None:
    """As the scorer runs it: under `vmap`, compiled with the form's options."""
    network = Network(arch, ("s2",), folded=True)
    rng = np.random.default_rng(0)
    drawn = {name: rng.standard_normal((2, *shape)) / shape[-1] for name, shape in shapes(network).items()}
    heads = {name: jnp.asarray(array, jnp.float32) for name, array in drawn.items()}
    x = jnp.asarray(rng.standard_normal((2, 6, 6, 16)), jnp.float32)

    def run(ops: Ops, x: jax.Array, options: dict[str, bool]) -> np.ndarray:
        every = jax.jit(jax.vmap(lambda head: apply(network, head, x, ops=ops)[0]), compiler_options=options)
        return np.asarray(every(heads).astype(jnp.float32))

    expected = run(OPS, x, {})
    found = run(KERNELS, x.astype(jnp.bfloat16), dict(OPTIONS))
    np.testing.assert_allclose(found, expected, atol=HALF * np.abs(expected).max())


def test_what_lies_outside_the_photo_counts_as_zero() -> None:
    """Also what lies beside it in memory: the row above, the next photo."""
    x = jnp.full((2, 3, 3, 16), jnp.nan, jnp.bfloat16).at[0].set(1.0)
    window: Pads = ((1, 1), (1, 1))
    found, means = depthwise(x, jnp.ones((3, 3, 16)), jnp.zeros(16), 1, window, "relu6")
    np.testing.assert_array_equal(found[0, :, :, 0], [[4, 6, 4], [6, 6, 6], [4, 6, 4]])
    assert np.isnan(found[1].astype(jnp.float32)).all()
    np.testing.assert_allclose(means[0], 46 / 9, rtol=ONE_LAYER)


@pytest.mark.parametrize(
    ("capability", "ops"), [("9.0", KernelOps), ("8.0", KernelOps), ("7.5", HalfOps), ("gfx90a", HalfOps)]
)
def test_cards_that_multiply_bfloat16_get_the_kernels(
    capability: str, ops: type[HalfOps], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    card = create_autospec(jax.Device, instance=True, platform="gpu", compute_capability=capability)
    card.memory_stats.return_value = {"bytes_limit": 2**30}
    form = form_of(card, "bfloat16")
    assert type(form.ops) is ops
    assert form.options == (OPTIONS if ops is KernelOps else ())
    assert form_of(card, "float32").ops == OPS
