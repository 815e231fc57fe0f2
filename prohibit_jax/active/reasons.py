"""Why a photo is asked about: one plain sentence with the number behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prohibit_jax.active.mixture import RANDOM, Narrowed
from prohibit_jax.active.strategies import divergence
from prohibit_jax.active.view import View, likeness


def reasons(view: View, picks: Sequence[tuple[int, str]], narrowed: Narrowed | None = None) -> list[str]:
    """A sentence for each of `picks`, as `mixture.picks` chose them of the same view and its part."""
    part = Narrowed(view, np.arange(view.size)) if narrowed is None else narrowed
    rows = [row for row, strategy in picks if strategy != RANDOM]
    places = dict(zip(rows, np.searchsorted(part.rows, rows).tolist(), strict=True))
    unlike = _unlike(part.view, [places[row] for row, strategy in picks if strategy == "k_center"])
    return [
        f"drawn at random from {view.size:,} photos"
        if strategy == RANDOM
        else _reason(part.view, places[row], strategy, unlike.get(places[row], 0.0))
        for row, strategy in picks
    ]


def _reason(view: View, row: int, strategy: str, unlike: float) -> str:
    score = "" if view.scores is None else f"scores {view.scores[row]:.3g}"
    match strategy:
        case "uncertainty":
            return f"{score}, near 0.5"
        case "threshold":
            return f"{score}, near the threshold of review, {view.threshold:.3g}"
        case "entropy" | "margin" if view.versions is not None:
            return f"its versions score {view.versions[row].mean():.3g} on average, near 0.5"
        case "entropy" | "margin":
            return f"{score}, where yes and no are nearly as likely"
        case "positives":
            return f"{score}: of the class, or a confident false alarm"
        case "doubtful":
            return f"{score}, just above 0.5"
        case "disagreement" if view.versions is not None:
            low, high = view.versions[row].min(), view.versions[row].max()
            apart = divergence(view.versions[row : row + 1])[0]
            return f"versions score it {low:.3g} to {high:.3g}, a divergence of {apart:.2g} nats"
        case "neighbours":
            return f"{view.likeness[row]:.2f} alike to a known positive"
        case "k_center":
            return f"at most {unlike:.2f} alike to any photo that is known or asked for variety before it"
        case "galaxy" | "direct":
            return f"{score}, where the line between yes and no may lie"
    return strategy


def _unlike(view: View, rows: Sequence[int]) -> dict[int, float]:
    if not rows or view.embeddings is None:
        return {}
    points = view.embeddings[np.array(rows)]
    among = np.tril(points @ points.T, -1)
    known = view.label_embeddings
    nearest = likeness(points, known[:]) if known is not None and known.shape[0] else np.zeros(len(rows), np.float32)
    return dict(zip(rows, np.maximum(nearest, among.max(1)).tolist(), strict=True))
