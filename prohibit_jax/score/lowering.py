"""How XLA runs the networks' operations on each kind of device; docs/speed.md has the measurements behind it."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from prohibit_jax.models.ops import Ops, pads, taps

PHOTO_CHANNELS = 4  # inputs this thin make a convolution library slow, and their patches are small


@dataclass(frozen=True)
class CpuOps(Ops):
    """Few passes over memory, none of them twice.

    The barriers keep XLA from computing a sum of taps once for each of its uses, which it does without them. With
    `half`, matrix products take bfloat16 and give float32; all else stays float32, since a CPU is slower in bfloat16.
    """

    half: bool = False

    def convolve(self, x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
        """On photos, a matrix product of their patches; else XLA's own."""
        if x.shape[-1] > PHOTO_CHANNELS:
            return super().convolve(x, kernel, stride, padding)
        return self.pointwise(_patches(x, kernel.shape[0], stride, padding), kernel.reshape(-1, kernel.shape[-1]))

    def pointwise(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """As a matrix product."""
        if not self.half:
            return super().pointwise(x, kernel)
        return _product(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))

    def depthwise(self, x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
        """As shifted products of an input that is padded once."""
        window = pads(x.shape[1], x.shape[2], kernel.shape[0], stride, padding)
        padded = lax.optimization_barrier(jnp.pad(x, ((0, 0), *window, (0, 0))))
        outputs = (-(-x.shape[1] // stride), -(-x.shape[2] // stride))
        return sum(part * kernel[i, j] for i, j, part in taps(padded, kernel.shape[0], stride, outputs))  # type: ignore[return-value]

    def activate(self, x: jax.Array, name: str) -> jax.Array:
        """In one pass of its own."""
        return super().activate(lax.optimization_barrier(x), name)


@dataclass(frozen=True)
class HalfOps(Ops):
    """For an accelerator: activations in bfloat16, sums in float32. Half the bytes, which are what bounds it."""

    def enter(self, x: jax.Array) -> jax.Array:
        """Photos in bfloat16."""
        return x.astype(jnp.bfloat16)

    def convolve(self, x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
        """XLA's own, which accumulates in float32."""
        return (
            super().convolve(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), stride, padding).astype(jnp.float32)
        )

    def pointwise(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """As a matrix product with float32 results."""
        return _product(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))

    def depthwise(self, x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
        """As shifted products, summed in float32."""
        return super().depthwise(x.astype(jnp.float32), kernel.astype(jnp.float32), stride, padding)

    def scale(self, x: jax.Array, gate: jax.Array) -> jax.Array:
        """In float32."""
        return super().scale(x.astype(jnp.float32), gate)

    def mean(self, x: jax.Array) -> jax.Array:
        """In float32."""
        return super().mean(x.astype(jnp.float32))

    def activate(self, x: jax.Array, name: str) -> jax.Array:
        """Computed in float32, kept in bfloat16 where it is an activation [b, h, w, c]."""
        y = super().activate(x, name)
        return y.astype(jnp.bfloat16) if y.ndim == 4 else y

    def join(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Summed in float32, kept in bfloat16."""
        return (x.astype(jnp.float32) + y.astype(jnp.float32)).astype(jnp.bfloat16)


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.einsum("bhwc,cd->bhwd", x, kernel, preferred_element_type=jnp.float32)


def _patches(x: jax.Array, size: int, stride: int, padding: str) -> jax.Array:
    """[b, h, w, c] to what each of the kernel's positions meets, [b, rows, columns, size * size * c]."""
    window = pads(x.shape[1], x.shape[2], size, stride, padding)
    rows, columns = ((n + sum(zeros) - size) // stride + 1 for n, zeros in zip(x.shape[1:3], window, strict=True))
    padded = jnp.pad(x, ((0, 0), *window, (0, 0)))
    return jnp.concatenate([part for _, _, part in taps(padded, size, stride, (rows, columns))], axis=-1)
