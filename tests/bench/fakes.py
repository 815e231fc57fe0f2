"""Engines that behave badly, imported by the processes that run them, and a work that takes no time."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np

from prohibit_jax.bench.engines import Engine, Running
from prohibit_jax.bench.work import B0, Work
from prohibit_jax.score.engine import Precision
from prohibit_jax.types import Images

TWIN = replace(B0, width=0.25, depth=0.3)


def tiny(trunk: str = "") -> Work:
    """Two heads on two photos."""
    return Work(heads=2, batch=2, size=32, trunk=trunk, arch=TWIN)


def fake(name: str) -> Engine:
    """The engine of this file's function."""
    return Engine(name, f"{__name__}:{name}")


def raising(work: Work, precision: Precision) -> Running:
    """Does not load."""
    raise RuntimeError(f"no kernel for\n{work.size} px in {precision}")


def dying(work: Work, precision: Precision) -> Running:
    """Is killed as where memory runs out, in its fourth call, which is a timed one however few warm it."""
    from prohibit_jax.bench.jax_engines import looped

    running = looped(work, precision)
    calls = []

    def call(images: Images) -> np.ndarray:
        calls.append(images)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return running.logits(images)

    return replace(running, call=call)
