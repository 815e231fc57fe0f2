"""The primitive operations against XLA's own convolution: values and gradients, under `vmap` too."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from prohibit_jax.models.ops import OPS, convolve, depthwise, pads, pointwise
from tests.tolerances import CONVOLUTION

PADDINGS = ("same", "torch")
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles in half the time


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def reference(x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
    """XLA's grouped convolution, with TensorFlow's padding by its name and PyTorch's by its definition."""
    size = kernel.shape[0]
    window: Any = "SAME" if padding == "same" else [(size // 2, size // 2)] * 2
    names = ("NHWC", "HWIO", "NHWC")
    kernel = kernel.reshape(size, size, 1, -1) if kernel.ndim == 3 else kernel
    groups = x.shape[-1] // kernel.shape[2]
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), window, dimension_numbers=names, feature_group_count=groups
    )


def close(ours: Any, theirs: Any) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, 0, CONVOLUTION * max(1.0, float(np.abs(b).max())))


@settings(max_examples=3)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    size=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    padding=st.sampled_from(PADDINGS),
)
@example(height=8, width=9, size=3, stride=2, padding="same")
@example(height=8, width=9, size=3, stride=2, padding="torch")
@example(height=7, width=6, size=5, stride=2, padding="same")
@example(height=1, width=2, size=5, stride=2, padding="torch")
@example(height=5, width=4, size=5, stride=1, padding="same")
def test_depthwise_and_its_gradients_are_those_of_a_grouped_convolution(
    height: int, width: int, size: int, stride: int, padding: str
) -> None:
    x, kernel = normal(0, 2, height, width, 4), normal(1, size, size, 4)
    grad = normal(2, 2, -(-height // stride), -(-width // stride), 4)

    @quick
    def both(x: jax.Array, kernel: jax.Array, grad: jax.Array) -> Any:
        ours, our_pullback = jax.vjp(lambda x, k: depthwise(x, k, stride, padding), x, kernel)
        theirs, their_pullback = jax.vjp(lambda x, k: reference(x, k, stride, padding), x, kernel)
        return (ours, our_pullback(grad)), (theirs, their_pullback(grad))

    close(*both(x, kernel, grad))


@given(n=st.integers(1, 600), size=st.sampled_from([3, 5, 7]), stride=st.sampled_from([1, 2]))
def test_pads_are_those_of_tensorflow_and_pytorch(n: int, size: int, stride: int) -> None:
    length = -(-n // stride)
    same, torch = (pads(n, n, size, stride, padding)[0] for padding in PADDINGS)
    assert same == tuple(lax.padtype_to_pads((n,), (size,), (stride,), "SAME")[0])
    assert torch[0] == size // 2
    assert 0 <= torch[1] <= size // 2  # PyTorch pads as much behind, but its last window may not reach so far
    for before, after in (same, torch):
        assert (n + before + after - size) // stride + 1 == length


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(8, 8), (9, 6), (1, 1)])
def test_the_dense_convolution(size: tuple[int, int], padding: str) -> None:
    x, kernel = normal(6, 2, *size, 3), normal(7, 3, 3, 3, 5)
    close(convolve(x, kernel, 2, padding), reference(x, kernel, 2, padding))


@pytest.mark.parametrize("kernel", [(1, 7), (7, 1), (3, 3)])
def test_convolutions_that_are_not_square_or_not_padded(kernel: tuple[int, int]) -> None:
    x, weights = normal(15, 2, 9, 8, 3), normal(16, *kernel, 3, 5)
    names = ("NHWC", "HWIO", "NHWC")
    for stride, padding in ((1, "same"), (1, "valid"), (2, "valid")):
        expected = lax.conv_general_dilated(x, weights, (stride, stride), padding.upper(), dimension_numbers=names)
        close(convolve(x, weights, stride, padding), expected)


@pytest.mark.parametrize("size", [(9, 8), (3, 3)])
def test_pools_see_nothing_outside_of_the_picture(size: tuple[int, int]) -> None:
    x = np.asarray(normal(17, 2, *size, 4))
    h, w = size
    largest = [[x[:, i : i + 3, j : j + 3].max((1, 2)) for j in range(0, w - 2, 2)] for i in range(0, h - 2, 2)]
    close(OPS.max_pool(jnp.asarray(x), 3, 2), np.stack([np.stack(row, 1) for row in largest], 1))
    around = [[x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].mean((1, 2)) for j in range(w)] for i in range(h)]
    close(OPS.mean_pool(jnp.asarray(x), 3), np.stack([np.stack(row, 1) for row in around], 1))


def test_pointwise_is_a_1x1_convolution() -> None:
    x, kernel = normal(8, 2, 5, 4, 3), normal(9, 3, 6)
    close(pointwise(x, kernel), reference(x, kernel[None, None], 1, "same"))


@pytest.mark.parametrize("shared", [True, False])
def test_heads_in_one_call_are_heads_one_by_one(shared: bool) -> None:
    kernels, x = normal(10, 3, 3, 3, 4), normal(11, 3, 2, 9, 9, 4)
    gradient = jax.grad(lambda x, k: jnp.sum(depthwise(x, k, 2, "same") ** 2), (0, 1))
    together = quick(jax.vmap(gradient, (None if shared else 0, 0)))(x[0] if shared else x, kernels)
    one = quick(gradient)
    alone = [one(x[0] if shared else x[i], kernel) for i, kernel in enumerate(kernels)]
    close(together, jax.tree.map(lambda *parts: np.stack(parts), *alone))


def test_no_grouped_convolution_under_vmap() -> None:
    """XLA's CPU back end runs those 10 to 40 times slower: only the stem's dense convolution may be one."""
    x, kernels = normal(12, 1, 8, 8, 4), normal(13, 2, 3, 3, 4)
    step = jax.vmap(lambda k: jax.grad(lambda k: jnp.sum(depthwise(x, k, 1, "same")))(k))
    assert "convolution" not in jax.jit(step).lower(kernels).as_text()
    dense = jax.vmap(lambda k: convolve(x, k, 2, "same"))
    text = jax.jit(dense).lower(normal(14, 2, 3, 3, 4, 5)).as_text()
    assert text.count("stablehlo.convolution") == 1
    assert "feature_group_count = 1" in text
