"""Ours, and what one would write in JAX instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from prohibit_jax.bench.engines import Running
from prohibit_jax.bench.work import Work
from prohibit_jax.bundle.card import Card, Trunk
from prohibit_jax.bundle.fold import fold
from prohibit_jax.bundle.store import Head
from prohibit_jax.models.network import Network, apply, normalise, shapes
from prohibit_jax.models.ops import OPS, Ops, pads
from prohibit_jax.score.engine import Compiler, Precision
from prohibit_jax.score.lowering import HalfOps
from prohibit_jax.score.scorer import Scorer, scorer_of
from prohibit_jax.score.xla import XlaEngine
from prohibit_jax.types import Calibration, HeadRef, Images, Thresholds, Variables


def ours(work: Work, precision: Precision) -> Running:
    """The scorer as `load_scorer` gives it: the compiler is its own choice."""
    return _scorer(work, precision, "auto")


def ours_xla(work: Work, precision: Precision) -> Running:
    """The scorer where no other compiler is installed."""
    return _scorer(work, precision, "xla")


def ours_without_kernels(work: Work, precision: Precision) -> Running:
    """The scorer in XLA's form for an accelerator on which our kernels do not run."""
    scorer = scorer_of(*heads_of(work), (work.batch,), compiler="xla", precision=precision)
    assert isinstance(scorer.engine, XlaEngine)
    form = replace(scorer.engine._program.form, ops=HalfOps(), options=())
    engine = XlaEngine.in_form(
        form, scorer.plan, scorer._heads, scorer._trunks, (work.batch,), scorer.engine._program.mesh
    )
    return _running(replace(scorer, engine=engine), work, precision)


def _scorer(work: Work, precision: Precision, compiler: Compiler) -> Running:
    return _running(scorer_of(*heads_of(work), (work.batch,), compiler=compiler, precision=precision), work, precision)


def _running(scorer: Scorer, work: Work, precision: Precision) -> Running:
    scorer.warm()
    if isinstance(scorer.engine, XlaEngine):
        weights = sum(array.nbytes for array in jax.tree.leaves(scorer.engine._weights))
        return Running(scorer, scorer.logits, weights, precision, "xla", device_peak)
    trunk, head = work.networks
    count = work.heads * numbers(replace(head, folded=True)) + (numbers(replace(trunk, folded=True)) if trunk else 0)
    return Running(scorer, scorer.logits, count * jnp.dtype(precision).itemsize, precision, "openvino")


def heads_of(work: Work) -> tuple[list[Head], dict[str, Variables]]:
    """The work's heads and their trunk, if any, by SHA-256, as a store holds them."""
    trunk = Trunk(sha256="0" * 64, through=work.trunk) if work.trunk else None
    card = Card(
        name="class0",
        arch=work.arch,
        preprocessing=work.preprocessing,
        trunk=trunk,
        calibration=Calibration(),
        thresholds=Thresholds(),
        metrics={},
        data={},
        seed=work.seed,
        config={},
        versions={},
        version=1,
    )
    heads = [
        Head(HeadRef(f"class{number}", 1), replace(card, name=f"class{number}"), variables)
        for number, variables in enumerate(work.draw_heads())
    ]
    return heads, {trunk.sha256: work.draw_trunk()} if trunk else {}


def numbers(network: Network) -> int:
    """How many numbers the network's variables are."""
    return sum(prod(shape) for shape in shapes(network).values())


def reference(work: Work, precision: Precision) -> Running:
    """Every head alone, as it was trained, with batch norm, and no product rounded: what is right."""
    return _loop(work, _drawn(work), precision, "highest")


def looped(work: Work, precision: Precision) -> Running:
    """A loop over one jitted head: our operations, one head at a time."""
    return _loop(work, _folded(work, precision), precision, "default")


def vmapped(work: Work, precision: Precision) -> Running:
    """`jax.vmap` over a network of convolutions, as one writes it first."""
    parts = _folded(work, precision)
    ops = Convolutions()

    @jax.jit
    def run(shared: Variables, heads: Variables, images: jax.Array) -> jax.Array:
        x = _begin(work, parts, precision, ops, shared, images)

        def head(variables: Variables) -> jax.Array:
            return apply(parts.head, variables, x, ops=ops)[0][:, 0].astype(jnp.float32)

        return jax.vmap(head, out_axes=1)(heads)

    shared, heads = jax.device_put((parts.shared, jax.tree.map(lambda *arrays: np.stack(arrays), *parts.heads)))
    parts = replace(parts, shared={}, heads=[])
    return _peer(lambda images: np.asarray(run(shared, heads, images)), (shared, heads), precision)


@dataclass(frozen=True)
class Convolutions(Ops):
    """Every convolution as `lax.conv_general_dilated`."""

    def pointwise(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return self.convolve(x, kernel[None, None], 1, "same")

    def depthwise(self, x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
        window = pads(x.shape[1], x.shape[2], kernel.shape[0], stride, padding)
        layout, channels = ("NHWC", "HWIO", "NHWC"), x.shape[-1]
        return lax.conv_general_dilated(
            x, kernel[:, :, None], (stride, stride), window, dimension_numbers=layout, feature_group_count=channels
        )


@dataclass(frozen=True)
class Parts:
    """A work's networks and their arrays."""

    trunk: Network | None
    head: Network
    shared: Variables
    heads: list[Variables]


def _drawn(work: Work) -> Parts:
    return Parts(*work.networks, work.draw_trunk(), list(work.draw_heads()))


def _folded(work: Work, precision: Precision) -> Parts:
    trunk, head = work.networks
    cast = partial(jax.tree.map, lambda array: np.asarray(array, jnp.dtype(precision)))
    heads = [fold(head, variables) for variables in work.draw_heads()]
    shared = fold(trunk, work.draw_trunk()) if trunk else (None, {})
    return Parts(shared[0], heads[0][0], cast(shared[1]), [cast(variables) for _, variables in heads])


def _begin(work: Work, parts: Parts, precision: Precision, ops: Ops, shared: Variables, images: jax.Array) -> jax.Array:
    """What the heads take in: normalised photos, through the trunk if there is one."""
    x = normalise(images, work.preprocessing).astype(precision)
    return apply(parts.trunk, shared, x, ops=ops)[0] if parts.trunk else x


def _loop(work: Work, parts: Parts, precision: Precision, products: str) -> Running:
    @jax.jit
    def first(shared: Variables, images: jax.Array) -> jax.Array:
        with jax.default_matmul_precision(products):
            return _begin(work, parts, precision, OPS, shared, images)

    @jax.jit
    def each(variables: Variables, x: jax.Array) -> jax.Array:
        with jax.default_matmul_precision(products):
            return apply(parts.head, variables, x)[0][:, 0].astype(jnp.float32)

    shared, heads = jax.device_put((parts.shared, parts.heads))
    parts = replace(parts, shared={}, heads=[])

    def logits(images: Images) -> np.ndarray:
        x = first(shared, images)
        return np.stack(jax.device_get([each(variables, x) for variables in heads]), axis=1)

    return _peer(logits, (shared, heads), precision)


def _peer(logits: Callable[[Images], np.ndarray], arrays: Any, precision: Precision) -> Running:
    weights = sum(array.nbytes for array in jax.tree.leaves(arrays))
    return Running(logits, logits, weights, precision, "xla", device_peak)


def device_peak() -> int:
    """The most bytes that were taken of the device's memory."""
    return int(jax.devices()[0].memory_stats()["peak_bytes_in_use"])
