"""Made-up pools for the tests of this room."""

from __future__ import annotations

import numpy as np

from prohibit_jax.active.view import View


def units(rng: np.random.Generator, n: int, f: int = 8) -> np.ndarray:
    """float32 [n, f] of unit length."""
    rows = rng.standard_normal((n, f)).astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows


def view(
    scores: np.ndarray | None,
    labels: list[int] | np.ndarray = (),  # type: ignore[assignment]
    label_scores: list[float] | np.ndarray | None = None,
    *,
    seed: int = 0,
    n: int = 0,
    versions: int = 0,
    threshold: float = 0.5,
) -> View:
    """A view with embeddings drawn by the seed, of `n` photos where there are no scores."""
    rng = np.random.default_rng(seed)
    answered = np.array(labels, np.int8)
    n = n if scores is None else len(scores)
    return View(
        None if scores is None else np.asarray(scores, np.float32),
        units(rng, n),
        answered,
        None if label_scores is None else np.asarray(label_scores, np.float32),
        units(rng, len(answered)),
        rng.random((n, versions), np.float32) if versions else None,
        threshold,
    )
