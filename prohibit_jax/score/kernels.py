"""The form for NVIDIA cards: two kernels in Pallas where XLA is bound by instructions and passes over memory.

Each kernel reads its input from the device's memory once and writes its output once, in bfloat16; sums are float32. On
other devices they run in Pallas' interpreter, which is how they are tested. docs/speed.md has their measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from prohibit_jax.models.ops import Pads, pads
from prohibit_jax.score.lowering import HalfOps

ROWS, COLUMNS = 128, 64  # of an expansion's tile
NUMBERS, HEIGHT = 1024, 4  # of a filter's tile: positions times channels, and output rows that a position stands for
CHANNELS = 64  # of a filter's tile at most, else the next power of two
WARPS = 4
INNER = (16, 256)  # of a product's inner dimension: the least that a tensor core takes, the most that a tile holds
PARAMS = triton.CompilerParams(num_warps=WARPS, num_stages=1)

# XLA takes bfloat16 as float32 between operations that it fuses, and then stores float32, unless told not to.
OPTIONS = (("xla_allow_excess_precision", False),)


@dataclass(frozen=True)
class KernelOps(HalfOps):
    """Runs a block's first two layers as kernels, and multiplies its gate into activations or weights, whichever are
    fewer numbers."""

    def expand(self, x: jax.Array, kernel: jax.Array, bias: jax.Array, activation: str) -> jax.Array:
        """Runs the kernel `expand`."""
        return expand(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), bias, activation)

    def filter(
        self, x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int, padding: str, activation: str
    ) -> tuple[jax.Array, jax.Array]:
        """Runs the kernel `depthwise`."""
        window = pads(x.shape[1], x.shape[2], kernel.shape[0], stride, padding)
        return depthwise(x.astype(jnp.bfloat16), kernel.astype(jnp.float32), bias, stride, window, activation)

    def project(
        self, x: jax.Array, gate: jax.Array | None, kernel: jax.Array, bias: jax.Array, residual: jax.Array | None
    ) -> jax.Array:
        """One matrix product over all heads and photos, which adds bias and residual before it writes."""
        b, h, w, c = x.shape
        d = kernel.shape[-1]
        kernels = jnp.broadcast_to(kernel, (b, c, d))
        if gate is not None and d < h * w:
            kernels = kernels.astype(jnp.float32) * gate[:, :, None]
        elif gate is not None:
            x = self.scale(x, gate)
        # The barrier keeps XLA from adding one bias to all photos in a pass of its own.
        biases = lax.optimization_barrier(jnp.broadcast_to(bias, (b, d)))
        rest = jnp.zeros((b, 0, d), jnp.bfloat16) if residual is None else residual.reshape(b, h * w, d)
        flat = x.astype(jnp.bfloat16).reshape(b, h * w, c)
        y: jax.Array = _product(flat, kernels.astype(jnp.bfloat16), biases, rest)
        return y.reshape(b, h, w, d)


@custom_vmap
def _product(x: jax.Array, kernels: jax.Array, biases: jax.Array, residual: jax.Array) -> jax.Array:
    """[b, p, c] by [b, c, d], and [b, d] and [b, p, d] added; a residual of size zero stands for none. bfloat16."""
    y = jnp.einsum("bpc,bcd->bpd", x, kernels, preferred_element_type=jnp.float32) + biases[:, None]
    return y.astype(jnp.bfloat16) + residual.astype(jnp.bfloat16) if residual.size else y.astype(jnp.bfloat16)


@_product.def_vmap
def _of_all_heads(size: int, batched: list[bool], *arguments: jax.Array) -> tuple[jax.Array, bool]:
    """Heads and photos are one axis, as a product with one batch axis is faster than one with two."""
    each = [a if own else jnp.broadcast_to(a, (size, *a.shape)) for a, own in zip(arguments, batched, strict=True)]
    y = _product(*(a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]) for a in each))
    return y.reshape(size, -1, *y.shape[1:]), True


def expand(x: jax.Array, kernel: jax.Array, bias: jax.Array, activation: str) -> jax.Array:
    """A 1x1 convolution, its bias and its activation in one pass.

    Args:
        x: bfloat16 [b, h, w, c].
        kernel: bfloat16 [c, d].
        bias: float32 [d].
        activation: `silu` or `relu6`.

    Returns:
        bfloat16 [b, h, w, d].
    """
    (*positions, c), d = x.shape, kernel.shape[-1]
    flat = x.reshape(-1, c)
    body = partial(_expand, activation=_activation(activation))
    grid = (pl.cdiv(len(flat), ROWS), pl.cdiv(d, COLUMNS))
    y: jax.Array = _call(body, grid, jax.ShapeDtypeStruct((len(flat), d), jnp.bfloat16), flat, kernel, bias)
    return y.reshape(*positions, d)


def depthwise(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int, window: Pads, activation: str
) -> tuple[jax.Array, jax.Array]:
    """A depthwise convolution, its bias, its activation and the mean of its output in one pass.

    Args:
        x: bfloat16 [b, h, w, c].
        kernel: float32 [k, k, c].
        bias: float32 [c].
        stride: of both axes.
        window: zeros around the input, as `ops.pads` gives them.
        activation: `silu` or `relu6`.

    Returns:
        bfloat16 [b, rows, columns, c], and its mean over positions, float32 [b, c].
    """
    b, h, w, c = x.shape
    k = kernel.shape[0]
    rows, columns = -(-h // stride), -(-w // stride)
    channels = min(CHANNELS, pl.next_power_of_2(c))
    positions, tall = NUMBERS // channels, min(HEIGHT, rows)
    tiles = pl.cdiv(pl.cdiv(rows, tall) * columns, positions)
    start = (window[0][0], window[1][0])
    layer = _Layer(k, stride, (h, w), (rows, columns), start, (positions, tall, channels))
    body = partial(_depthwise, layer=layer, activation=_activation(activation))
    out = (
        jax.ShapeDtypeStruct((b, rows * columns, c), jnp.bfloat16),
        jax.ShapeDtypeStruct((b, tiles, c), jnp.float32),
    )
    flat = (x.reshape(b, h * w, c), kernel.reshape(k * k, c), bias)
    y, sums = _call(body, (b, tiles, pl.cdiv(c, channels)), out, *flat)
    return y.reshape(b, rows, columns, c), sums.sum(1) / (rows * columns)


def _call(body: Callable[..., None], grid: tuple[int, ...], out: Any, *arguments: jax.Array) -> Any:
    call = pl.pallas_call(body, grid=grid, out_shape=out, compiler_params=PARAMS, interpret=_interpreted())
    return call(*arguments)


def _interpreted() -> bool:
    return jax.default_backend() == "cpu"


def _expand(x: Any, kernel: Any, bias: Any, y: Any, *, activation: Callable[[jax.Array], jax.Array]) -> None:
    """A tile of ROWS positions and COLUMNS channels."""
    (n, c), d = x.shape, kernel.shape[-1]
    rows = pl.program_id(0) * ROWS + jnp.arange(ROWS)
    columns = pl.program_id(1) * COLUMNS + jnp.arange(COLUMNS)
    row, column = rows < n, columns < d
    least, most = INNER
    total = jnp.zeros((ROWS, COLUMNS), jnp.float32)
    for first in range(0, c, most):
        inner = first + jnp.arange(min(max(least, pl.next_power_of_2(c)), most))
        depth = inner < c
        left = triton.load(x.at[rows[:, None], inner[None]], mask=row[:, None] & depth[None], other=0.0)
        right = triton.load(kernel.at[inner[:, None], columns[None]], mask=depth[:, None] & column[None], other=0.0)
        total = total + jnp.dot(left, right, preferred_element_type=jnp.float32)
    total = total + triton.load(bias.at[columns], mask=column, other=0.0)[None]
    triton.store(
        y.at[rows[:, None], columns[None]], activation(total).astype(y.dtype), mask=row[:, None] & column[None]
    )


@dataclass(frozen=True)
class _Layer:
    """The numbers that fix a depthwise layer and the tile in which a program computes it."""

    size: int  # of the kernel
    stride: int
    inputs: tuple[int, int]  # rows, columns
    outputs: tuple[int, int]  # rows, columns
    start: tuple[int, int]  # zeros above and to the left
    tile: tuple[int, int, int]  # positions, output rows that each stands for, channels


def _depthwise(
    x: Any,
    kernel: Any,
    bias: Any,
    y: Any,
    sums: Any,
    *,
    layer: _Layer,
    activation: Callable[[jax.Array], jax.Array],
) -> None:
    """A tile of positions, each some output rows of one column, and of some channels.

    An input that is loaded meets all output rows of the tile that want it: at stride 1, a 5x5 kernel costs 10 loads an
    output where each tap alone would cost 25.
    """
    size, stride, (height, width), (rows, columns) = layer.size, layer.stride, layer.inputs, layer.outputs
    positions, tall, channels = layer.tile
    photo, number = pl.program_id(0), pl.program_id(1)
    here = number * positions + jnp.arange(positions)
    lanes = pl.program_id(2) * channels + jnp.arange(channels)
    lane = lanes < x.shape[-1]
    first, column = lax.div(here, jnp.int32(columns)) * tall, lax.rem(here, jnp.int32(columns))
    totals = [jnp.zeros((positions, channels), jnp.float32)] * tall
    for j in range(size):
        left = column * stride + j - layer.start[1]
        inside = (left >= 0) & (left < width)
        taps = [triton.load(kernel.at[i * size + j, lanes], mask=lane, other=0.0)[None] for i in range(size)]
        for step in range((tall - 1) * stride + size):
            top = first * stride + step - layer.start[0]
            valid = inside & (top >= 0) & (top < height)
            where = jnp.where(valid, top * width + left, 0)
            part = triton.load(x.at[photo, where[:, None], lanes[None]], mask=valid[:, None] & lane[None], other=0.0)
            for i, tap in enumerate(taps):
                row, remainder = divmod(step - i, stride)
                if remainder == 0 and 0 <= row < tall:
                    totals[row] = _multiply_add(part.astype(jnp.float32), tap, totals[row])
    offset = triton.load(bias.at[lanes], mask=lane, other=0.0)[None]
    pooled = jnp.zeros((positions, channels), jnp.float32)
    for row, total in enumerate(totals):
        real = first + row < rows
        found = jnp.where(real[:, None], activation(total + offset), 0.0)
        where = (first + row) * columns + column
        triton.store(y.at[photo, where[:, None], lanes[None]], found.astype(y.dtype), mask=real[:, None] & lane[None])
        pooled = pooled + found
    triton.store(sums.at[photo, number, lanes], pooled.sum(0), mask=lane)


def _multiply_add(x: jax.Array, y: jax.Array, total: jax.Array) -> jax.Array:
    """x * y + total in one instruction, which the compiler does not make of two."""
    if _interpreted():
        return x * y + total
    arguments = [x, jnp.broadcast_to(y, x.shape), total]
    return _instruction("fma.rn.f32 $0, $1, $2, $3;", arguments)


def _activation(name: str) -> Callable[[jax.Array], jax.Array]:
    return _silu if name == "silu" else lambda x: jnp.clip(x, 0.0, 6.0)


def _silu(x: jax.Array) -> jax.Array:
    """x * sigmoid(x) by one special function, accurate to 2^-11, instead of two and a division."""
    half = 0.5 * x
    if _interpreted():
        return half * jnp.tanh(half) + half
    return _multiply_add(half, _instruction("tanh.approx.f32 $0, $1;", [half]), half)


def _instruction(text: str, arguments: list[jax.Array]) -> jax.Array:
    constraints = ",".join(["=f", *["f"] * len(arguments)])
    out = jax.ShapeDtypeStruct(arguments[0].shape, jnp.float32)
    (found,) = triton.elementwise_inline_asm(
        text, args=arguments, constraints=constraints, pack=1, result_shape_dtypes=[out]
    )
    return found
