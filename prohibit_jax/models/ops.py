"""The primitive operations that every network here is made of: one definition of a network, one lowering a compiler.

`Ops` is the reference, in the form that XLA runs fast. `jax.vmap` turns a convolution with batched kernels into a
grouped one, which XLA's CPU back end runs 10 to 40 times slower than the same arithmetic written as matrix products
and shifted multiply-adds (docs/speed.md has the table). So 1x1 convolutions are matrix products and depthwise ones sums
of shifted products, with a gradient of our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

Pads = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Ops:
    """The operations on activations [b, h, w, c]; another compiler's lowering overrides what it wants otherwise.

    Only these methods know the layout: whatever a subclass makes of `enter`, its other methods take and return.
    """

    def enter(self, x: jax.Array) -> jax.Array:
        """Normalised photos [b, h, w, 3] in the layout of the activations."""
        return x

    def convolve(self, x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
        """A dense convolution by [kh, kw, c, d]."""
        return convolve(x, kernel, stride, padding)

    def pointwise(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """A 1x1 convolution by [c, d]."""
        return pointwise(x, kernel)

    def depthwise(self, x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
        """A depthwise convolution by [k, k, c]."""
        return depthwise(x, kernel, stride, padding)

    def add(self, x: jax.Array, bias: jax.Array) -> jax.Array:
        """Adds [c] to every position."""
        return x + bias

    def scale(self, x: jax.Array, gate: jax.Array) -> jax.Array:
        """Multiplies every position by [b, c]."""
        return x * gate[:, None, None, :]

    def join(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """A residual sum."""
        return x + y

    def mean(self, x: jax.Array) -> jax.Array:
        """The mean over positions, [b, c]."""
        return x.mean((1, 2))

    def max_pool(self, x: jax.Array, size: int, stride: int) -> jax.Array:
        """The maximum of every `size` x `size` window that lies within the input."""
        window = ((1, size, size, 1), (1, stride, stride, 1), "VALID")
        largest: jax.Array = lax.reduce_window(x, -jnp.inf, lax.max, *window)
        return largest

    def mean_pool(self, x: jax.Array, size: int) -> jax.Array:
        """The mean of the `size` x `size` window around each position, of what there is of it at the edges."""
        window = ((1, size, size, 1), (1, 1, 1, 1), "SAME")
        total: jax.Array = lax.reduce_window(x, 0.0, lax.add, *window)
        count: jax.Array = lax.reduce_window(jnp.ones((1, *x.shape[1:3], 1), x.dtype), 0.0, lax.add, *window)
        return total / count

    def concat(self, parts: Sequence[jax.Array]) -> jax.Array:
        """The channels of all parts, in order."""
        return jnp.concatenate(parts, axis=-1)

    def sigmoid(self, x: jax.Array) -> jax.Array:
        """1 / (1 + exp(-x))."""
        return jax.nn.sigmoid(x)

    def activate(self, x: jax.Array, name: str) -> jax.Array:
        """SiLU, x * sigmoid(x), ReLU, max(x, 0), or ReLU6, min(max(x, 0), 6)."""
        if name == "silu":
            return x * self.sigmoid(x)
        return jax.nn.relu(x) if name == "relu" else jnp.clip(x, 0.0, 6.0)

    # The three layers of a folded MBConv block, which a compiler may run in fewer passes than their parts.

    def expand(self, x: jax.Array, kernel: jax.Array, bias: jax.Array, activation: str) -> jax.Array:
        """The first: a 1x1 convolution by [c, d], its bias and its activation."""
        return self.activate(self.add(self.pointwise(x, kernel), bias), activation)

    def filter(
        self, x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int, padding: str, activation: str
    ) -> tuple[jax.Array, jax.Array]:
        """The second: a depthwise convolution by [k, k, c], its bias and its activation; and the mean of the result
        over positions, [b, c]."""
        y = self.activate(self.add(self.depthwise(x, kernel, stride, padding), bias), activation)
        return y, self.mean(y)

    def project(
        self, x: jax.Array, gate: jax.Array | None, kernel: jax.Array, bias: jax.Array, residual: jax.Array | None
    ) -> jax.Array:
        """The third: channels scaled by a gate [b, c], a 1x1 convolution by [c, d], its bias and the residual sum."""
        scaled = x if gate is None else self.scale(x, gate)
        y = self.add(self.pointwise(scaled, kernel), bias)
        return y if residual is None else self.join(residual, y)


OPS = Ops()


def pads(height: int, width: int, kernel: int, stride: int, padding: str) -> Pads:
    """Zeros around a `height` x `width` input of a square kernel: ((top, bottom), (left, right)), as `pad` says."""
    return pad(height, kernel, stride, padding), pad(width, kernel, stride, padding)


def pad(n: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Zeros before and after an axis of `n`; the output is ceil(n / stride) long, but for `valid`, which adds none.

    `same` is TensorFlow's rule, which puts the odd zero last; `torch` puts `kernel // 2` first. They differ only where
    the stride is 2 and the input even.
    """
    if padding == "valid":
        return 0, 0
    total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
    before = kernel // 2 if padding == "torch" else total // 2
    return before, max(total - before, 0)


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
    """A dense convolution, [b, h, w, c] by [kh, kw, c, d]; under `vmap` with a shared `x` it stays a dense one."""
    window = [pad(n, size, stride, padding) for n, size in zip(x.shape[1:3], kernel.shape[:2], strict=True)]
    return lax.conv_general_dilated(x, kernel, (stride, stride), window, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 1x1 convolution as one matrix product: [b, h, w, c] by [c, d]."""
    return jnp.einsum("bhwc,cd->bhwd", x, kernel)


def depthwise(x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
    """A depthwise convolution as a sum of shifted products: [b, h, w, c] by [k, k, c]."""
    return _depthwise(x, kernel, stride, pads(x.shape[1], x.shape[2], kernel.shape[0], stride, padding))


def taps(padded: jax.Array, size: int, stride: int, outputs: tuple[int, int]) -> Iterator[tuple[int, int, jax.Array]]:
    """Yields (i, j, the part of [b, h, w, c] that kernel row i and column j meet) for every tap of a square kernel.

    Args:
        padded: the input with its zeros.
        size: of the kernel.
        outputs: height and width of the output, and of each part.
    """
    h, w = outputs
    for i in range(size):
        for j in range(size):
            yield i, j, padded[:, i : i + (h - 1) * stride + 1 : stride, j : j + (w - 1) * stride + 1 : stride]


def _shifted(x: jax.Array, size: int, stride: int, window: Pads) -> Iterator[tuple[int, int, jax.Array]]:
    outputs = (-(-x.shape[1] // stride), -(-x.shape[2] // stride))
    return taps(jnp.pad(x, ((0, 0), *window, (0, 0))), size, stride, outputs)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: jax.Array, kernel: jax.Array, stride: int, window: Pads) -> jax.Array:
    return sum(part * kernel[i, j] for i, j, part in _shifted(x, kernel.shape[0], stride, window))  # type: ignore[return-value]


def _depthwise_forward(x: jax.Array, kernel: jax.Array, stride: int, window: Pads):  # type: ignore[no-untyped-def]
    return _depthwise(x, kernel, stride, window), (x, kernel)


def _depthwise_backward(stride: int, window: Pads, saved, grad):  # type: ignore[no-untyped-def]
    x, kernel = saved
    input_gradient = _input_gradient(grad, kernel, x.shape, stride, window)
    return input_gradient, _kernel_gradient(x, kernel.shape[0], grad, stride, window)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _kernel_gradient(x: jax.Array, size: int, grad: jax.Array, stride: int, window: Pads) -> jax.Array:
    """All k*k sums in one pass over `x` and `grad`: one variadic reduction, 4 to 8 times faster than k*k plain ones."""
    products = [part * grad for _, _, part in _shifted(x, size, stride, window)]
    zeros = [jnp.zeros((), x.dtype)] * len(products)
    sums = lax.reduce(products, zeros, lambda a, b: [p + q for p, q in zip(a, b, strict=True)], (0, 1, 2))
    return jnp.stack(sums).reshape(size, size, -1)


def _input_gradient(grad: jax.Array, kernel: jax.Array, shape: tuple[int, ...], stride: int, window: Pads) -> jax.Array:
    """The transposed convolution, one phase of the stride at a time, so that no product meets a dilation zero."""
    size = kernel.shape[0]
    b, h, w, c = shape
    (top, _), (left, _) = window
    reach = (size - 1) // stride
    rows, columns = grad.shape[1] + reach, grad.shape[2] + reach
    grad = jnp.pad(grad, ((0, 0), (reach, reach), (reach, reach), (0, 0)))

    def phase(a: int, d: int) -> jax.Array:
        return sum(  # type: ignore[return-value]
            grad[:, reach - s : reach - s + rows, reach - t : reach - t + columns]
            * kernel[a + stride * s, d + stride * t]
            for s in range((size - 1 - a) // stride + 1)
            for t in range((size - 1 - d) // stride + 1)
        )

    phases = jnp.stack([jnp.stack([phase(a, d) for d in range(stride)], 3) for a in range(stride)], 2)
    whole = phases.reshape(b, rows * stride, columns * stride, c)
    below, right = max(top + h - whole.shape[1], 0), max(left + w - whole.shape[2], 0)
    whole = jnp.pad(whole, ((0, 0), (0, below), (0, right), (0, 0)))
    return whole[:, top : top + h, left : left + w]
