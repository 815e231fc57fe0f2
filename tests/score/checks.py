"""What the scorer is held against: a head computed alone, and XLA's own count of what it compiles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import jax
import numpy as np

from prohibit_jax.bundle.card import Card
from prohibit_jax.models.efficientnet import Architecture
from prohibit_jax.models.network import Network, apply, normalise
from prohibit_jax.types import Preprocessing, Variables

PARITY = 1e-5  # of the logits' scale: float32 rounding through folding and stacking


@contextmanager
def compiles() -> Iterator[list[str]]:
    """What XLA compiles inside the block."""
    events: list[str] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Asserts that two tables of logits or scores agree to `tolerance` of the largest."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def reference(given: Card, arrays: Variables, images: np.ndarray) -> np.ndarray:
    """A head's logits by the network that was trained, one head at a time."""
    return np.asarray(_run(given.arch, given.preprocessing, dict(arrays), images))


@partial(jax.jit, static_argnums=(0, 1))
def _run(arch: Architecture, preprocessing: Preprocessing, arrays: Variables, images: jax.Array) -> jax.Array:
    return apply(Network(arch), arrays, normalise(images, preprocessing))[0][:, 0]
