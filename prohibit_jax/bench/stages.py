"""Where the time goes: each stage's bytes a second against the rate at which the device copies memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import lax

from prohibit_jax.bench.jax_engines import numbers
from prohibit_jax.bench.report import about, publish
from prohibit_jax.bench.work import Work
from prohibit_jax.bench.worker import Device
from prohibit_jax.bundle.fold import fold
from prohibit_jax.models.efficientnet import STAGES, STEM_CHANNELS, TABLE, TOP_CHANNELS, Architecture
from prohibit_jax.models.network import Network, normalise, shapes
from prohibit_jax.score.engine import Precision
from prohibit_jax.score.stack import Group
from prohibit_jax.score.xla import ONE_BY_ONE, form_of, forward, heads_at_once, kept
from prohibit_jax.types import Line, Variables, silent

COPIED = 2**27  # float32 numbers, far more than any cache holds
LEAST = 5  # calls of each prefix
ROWS = STAGES[:-1]  # the classifier, a thousandth of everything, counts as a part of the stage before it


def run_stages(
    work: Work,
    device: Device,
    *,
    seconds: float = 30.0,
    out: epath.PathLike | None = None,
    progress: Line = silent,
) -> dict[str, Any]:
    """A row for each stage of the scorer under XLA and for their total, and what they were measured on.

    A stage's time is that of the network through it, without what the network through the stage before takes. Its bytes
    are those of its weights and of `traffic`; `share` is its bytes a second over those that the device copies.

    Args:
        work: whole heads.
        device: as `race.look` finds it.
        seconds: for all timed calls together.
        out: a JSON file for the result.
    """
    precision: Precision = "float32" if device.kind == "cpu" else "bfloat16"
    setting = {"heads": work.heads, "batch": work.batch, "size": work.size, "precision": precision}
    report = about(device) | setting | {"copy_gb_per_second": _copy_rate(), "stages": []}
    publish(report, out)
    advance = progress("compiling")
    runs = []
    for number, stage in enumerate(ROWS):
        advance(number, len(ROWS), f"compiling through {stage}")
        through = STAGES if stage == ROWS[-1] else STAGES[: number + 1]
        runs.append(_prefix(work, replace(work.networks[1], stages=through, folded=True), precision))
    advance(len(ROWS), len(ROWS), "timing")
    report["stages"] = list(_rows(work, _fastest(runs, seconds), precision, report["copy_gb_per_second"]))
    publish(report, out)
    return report


def _rows(work: Work, through: Sequence[float], precision: Precision, copied: float) -> Iterator[dict[str, Any]]:
    assert isinstance(work.arch, Architecture)
    moved, itemsize = traffic(work.arch, work.size), jnp.dtype(precision).itemsize
    taken = dict(zip(ROWS, np.diff(through, prepend=0.0).tolist(), strict=True))
    weights = {stage: numbers(Network(work.arch, (stage,), True)) for stage in ROWS}
    weights[ROWS[-1]] += numbers(Network(work.arch, STAGES[-1:], True))
    sizes = {stage: itemsize * work.heads * (work.batch * moved[stage] + weights[stage]) for stage in ROWS}
    for stage in (*ROWS, "total"):
        seconds, size = (sum(of.values()) if stage == "total" else of[stage] for of in (taken, sizes))
        rate = size / seconds / 1e9
        yield {"stage": stage, "ms": 1e3 * seconds, "mb": size / 1e6, "gb_per_second": rate, "share": rate / copied}


def traffic(arch: Architecture, size: int) -> Counter[str]:
    """Numbers that each stage of one head moves for one photo of `size` x `size`.

    Every layer's input is read once and its output written once, and besides, the squeeze-excite pool and the residual
    each read an activation again; biases, activations and gates are part of the layers beside them.
    """
    moved: Counter[str] = Counter()
    inputs, n = arch.channels(STEM_CHANNELS), -(-size // 2)
    moved["stem"] = 3 * size**2 + inputs * n**2
    for name, stage in TABLE.items():
        for repeat in range(-int(-arch.depth * stage.repeats // 1)):
            stride = stage.stride if repeat == 0 else 1
            hidden, outputs, m = inputs * stage.expand, arch.channels(stage.channels), -(-n // stride)
            expand = (inputs + hidden) * n**2 if stage.expand > 1 else 0
            again = hidden * m**2 * arch.squeeze_excite + outputs * m**2 * (stride == 1 and inputs == outputs)
            moved[name] += expand + hidden * (n**2 + m**2) + (hidden + outputs) * m**2 + again
            inputs, n = outputs, m
    moved["top"] = (inputs + 2 * arch.channels(TOP_CHANNELS)) * n**2
    return moved


def _copy_rate() -> float:
    """GB a second, read and written together; in place, since a CPU takes longer to hand out memory than to fill it."""
    array = jnp.zeros(COPIED, jnp.float32)
    copy = jax.jit(lambda x: x + 1.0, donate_argnums=0)
    times = []
    for _ in range(LEAST):
        begun = time.perf_counter()
        array = jax.block_until_ready(copy(array))
        times.append(time.perf_counter() - begun)
    return 2 * array.nbytes / min(times) / 1e9


def _prefix(work: Work, network: Network, precision: Precision) -> Callable[[], jax.Array]:
    """All heads' stages so far on all photos, in the scorer's form."""
    form = form_of(jax.devices()[0], precision)
    at_once = heads_at_once(Group(work.preprocessing, None, network, work.heads), form, work.batch, work.heads)
    heads = [fold(work.networks[1], variables)[1] for variables in work.draw_heads()]
    stacked = {name: np.stack([head[name] for head in heads]).astype(kept(name, form)) for name in shapes(network)}

    # Between stages, activations stay in the cache where the form keeps them there, so none is put out here either.
    def mean(x: jax.Array) -> jax.Array:
        one: jax.Array = lax.optimization_barrier(x).mean(dtype=jnp.float32)
        return one

    def run(weights: Variables, images: jax.Array) -> jax.Array:
        x = normalise(images, work.preprocessing)
        alone = form.photo_by_photo and network.stages[-1] in ONE_BY_ONE
        parts = x[:, None] if alone else x[None]

        def head(variables: Variables) -> jax.Array:
            means: jax.Array = lax.map(lambda photos: mean(forward(network, form, variables, photos)), parts)
            return means

        means: jax.Array = lax.map(head, weights, batch_size=at_once if at_once > 1 else None)
        return means

    arguments = jax.device_put((stacked, work.photos()))
    compiled = jax.jit(run, compiler_options=dict(form.options)).lower(*arguments).compile()
    return lambda: compiled(*arguments)


def _fastest(runs: Sequence[Callable[[], jax.Array]], seconds: float) -> list[float]:
    """Seconds of each one's fastest call, all in turn: of differences, noise would leave little."""
    times = [[_seconds(run) for run in runs]]
    while len(times) < LEAST or sum(map(sum, times)) < seconds:
        times.append([_seconds(run) for run in runs])
    fastest: list[float] = np.min(times, axis=0).tolist()
    return fastest


def _seconds(run: Callable[[], jax.Array]) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - begun
