"""What the curves of simulated runs say: how many labels each strategy needs, and how many random asking would have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from prohibit_jax.active.mixture import RANDOM
from prohibit_jax.active.simulate import Curve
from prohibit_jax.evaluate.metrics import Interval

WITHIN = 0.01
"""Quality this near to that of all labels counts as theirs."""

RESAMPLES = 2000
"""Of the seeds, behind each interval."""


def summarise(curves: Iterable[Curve]) -> dict[str, Any]:
    """What `launch simulate --json` says: by strategy, its curve, and the labels it needs beside those of random.

    Returns:
        `{"strategies": {NAME: {"labels_to_full", "ratio_to_random", …, "curve": […]}}, "all": …}`. `labels_to_full` are
        the labels until the mean average precision over the seeds is within `WITHIN` of that of all labels,
        `ratio_to_random` how many times that random needs, and `ratio_at_equal` the same at the highest average
        precision that both reach. `low` and `high` are the ends of the 95% interval over resampled seeds, of the mean
        curve and of each figure; None stands for never.
    """
    by_strategy: dict[str, list[Curve]] = {}
    for curve in curves:
        by_strategy.setdefault(curve.strategy, []).append(curve)
    random = by_strategy.get(RANDOM)
    return {
        "strategies": {name: _figures(found, random) for name, found in by_strategy.items()},
        "all": _all([curve for found in by_strategy.values() for curve in found]),
    }


def _figures(curves: Sequence[Curve], random: Sequence[Curve] | None) -> dict[str, Any]:
    grid = _grid(curves)
    precision = _on(grid, curves, "average_precision")
    drawn = np.random.default_rng(0).integers(len(curves), size=(RESAMPLES, len(curves)))
    low, high = np.quantile(precision[drawn].mean(1), (0.025, 0.975), axis=0)
    columns = {
        "positives": _on(grid, curves, "positives").mean(0),
        "average_precision": precision.mean(0),
        "low": low,
        "high": high,
        "precision_at_recall": _on(grid, curves, "precision_at_recall").mean(0),
    }
    figures: dict[str, Figure] = {
        "labels_to_full": lambda own, _: _labels_to_full(own),
        "ratio_to_random": _ratio_to_full,
        "ratio_at_equal": _ratio_at_equal,
        "positives_to_random": _positives_ratio,
    }
    points = zip(grid.tolist(), *(np.round(column, 5).tolist() for column in columns.values()), strict=True)
    return {
        "seeds": len(curves),
        **{name: _over_seeds(curves, random or (), figure) for name, figure in figures.items()},
        "curve": [dict(zip(("labels", *columns), point, strict=True)) for point in points],
    }


Figure = Callable[[Sequence[Curve], Sequence[Curve]], float | None]


def _over_seeds(curves: Sequence[Curve], random: Sequence[Curve], figure: Figure) -> dict[str, Any] | None:
    """A figure of the mean curves, None where there is none, with that of the same figure over resampled seeds."""
    value = figure(curves, random)
    if value is None:
        return None
    rng, own = np.random.default_rng(0), {curve.seed: curve for curve in curves}
    others = {curve.seed: curve for curve in random}
    seeds = sorted(own)
    found = []
    for _ in range(RESAMPLES if len(seeds) > 1 else 0):
        drawn = rng.choice(seeds, len(seeds)).tolist()
        again = figure([own[seed] for seed in drawn], [others[seed] for seed in drawn if seed in others])
        found.append(np.inf if again is None else again)
    low, high = np.quantile(found, (0.025, 0.975), method="nearest") if found else (value, value)
    ends = asdict(Interval(value, float(low), float(high)))
    return {key: round(number, 2) if np.isfinite(number) else None for key, number in ends.items()}


def _labels_to_full(curves: Sequence[Curve]) -> float | None:
    return _labels_for(curves, float(np.mean([curve.all[0] for curve in curves])) - WITHIN)


def _ratio_to_full(own: Sequence[Curve], random: Sequence[Curve]) -> float | None:
    wanted = float(np.mean([curve.all[0] for curve in own])) - WITHIN
    mine, theirs = _labels_for(own, wanted), _labels_for(random, wanted)
    return theirs / mine if mine and theirs else None


def _ratio_at_equal(own: Sequence[Curve], random: Sequence[Curve]) -> float | None:
    """At the highest quality that both reach."""
    if not random:
        return None
    wanted = min(float(_on(_grid(runs), runs, "average_precision").mean(0).max()) for runs in (own, random))
    mine, theirs = _labels_for(own, wanted), _labels_for(random, wanted)
    return theirs / mine if mine and theirs else None


def _positives_ratio(own: Sequence[Curve], random: Sequence[Curve]) -> float | None:
    """Positives in the first three rounds after the first batch, over what random finds among as many on average."""
    rounds = [(curve, min(3, len(curve.labels) - 1)) for curve in own]
    asked = sum(curve.labels[last] - curve.labels[0] for curve, last in rounds)
    found = sum(curve.positives[last] - curve.positives[0] for curve, last in rounds)
    share = float(np.mean([curve.positives[-1] / curve.labels[-1] for curve in random])) if random else 0.0
    return found / (share * asked) if share and asked else None


def _labels_for(curves: Sequence[Curve], wanted: float) -> float | None:
    """Labels with which the mean curve first is that good, between rounds by interpolation."""
    if not curves:
        return None
    labels = _grid(curves)
    reached = _on(labels, curves, "average_precision").mean(0)
    enough = np.flatnonzero(reached >= wanted)
    if not enough.size:
        return None
    at = int(enough[0])
    if at == 0:
        return float(labels[0])
    part = (wanted - reached[at - 1]) / (reached[at] - reached[at - 1])
    return float(labels[at - 1] + part * (labels[at] - labels[at - 1]))


def _grid(curves: Sequence[Curve]) -> np.ndarray:
    """The labels at which the mean curve stands: those of the longest run."""
    return np.array(max((curve.labels for curve in curves), key=len))


def _on(grid: np.ndarray, curves: Sequence[Curve], what: str) -> np.ndarray:
    """A column of each run at these labels, float64 [runs, points]; a run that ended keeps its last value."""
    return np.stack([np.interp(grid, curve.labels, getattr(curve, what)) for curve in curves])


def _all(curves: Sequence[Curve]) -> dict[str, Any]:
    by_seed: Mapping[int, Curve] = {curve.seed: curve for curve in curves}
    ap, precision = np.mean([curve.all for curve in by_seed.values()], 0).tolist()
    labels = int(np.mean([curve.everything for curve in by_seed.values()]))
    return {"labels": labels, "average_precision": round(ap, 5), "precision_at_recall": round(precision, 5)}
