"""Everything that the card and `launch evaluate --json` say about a head, in one JSON-ready dict."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from prohibit_jax.evaluate.calibration import brier, calibration_error, log_loss
from prohibit_jax.evaluate.metrics import (
    Counts,
    Floats,
    Labels,
    Metric,
    average_precision,
    bootstrap,
    counts,
    precision_at_recall,
    recall_at_precision,
    roc_area,
)
from prohibit_jax.evaluate.thresholds import Settings, operate
from prohibit_jax.types import Calibration, Thresholds


def evaluate(
    labels: Labels, logits: Floats, *, calibration: Calibration, settings: Settings, thresholds: Thresholds, seed: int
) -> dict[str, Any]:
    """Judges a head by photos that it was neither trained on nor calibrated with.

    Args:
        labels: [n], 1 for the class and 0 for the rest.
        logits: [n], the head's raw outputs.
        calibration: turns them into the probabilities that the scorer returns.
        settings: the targets, the online mix of photos, and the number of resamples.
        thresholds: the class's bands, in probability.
        seed: of the resamples.

    Returns:
        Plain dicts, floats and ints, None where a value is undefined. Each {value, low, high} is a 95% interval:
        stratified bootstrap for the metrics, Wilson's for the rates of a band, and for its online precision and photos
        per day what the two rates' ends add up to. The values in `bands` are expectations, as `thresholds.py` explains;
        a band counts all photos at or above its threshold, so review includes block.

    Raises:
        InputError: no positive, no negative, or a logit that is not finite.
    """
    probabilities = calibration(logits)
    metrics: dict[str, Metric] = {
        "average_precision": average_precision,
        "roc_area": roc_area,
        "recall_at_precision": partial(recall_at_precision, precision=settings.precision),
        "precision_at_recall": partial(precision_at_recall, recall=settings.recall),
    }
    report: dict[str, Any] = {
        name: asdict(bootstrap(metric, labels, logits, seed, settings.bootstrap)) for name, metric in metrics.items()
    }
    at = counts(labels, probabilities)
    report["recall_at_precision"] |= {
        "target": settings.precision,
        "threshold": _lowest(at, at.precision >= settings.precision),
    }
    enough = at.recall >= settings.recall
    report["precision_at_recall"] |= {
        "target": settings.recall,
        "threshold": _lowest(at, enough & (at.precision == at.precision[enough].max())),
    }
    online: dict[str, Any] = {"prevalence": settings.prevalence, "photos_per_day": settings.photos_per_day}
    bands = {
        name: asdict(operate(labels, probabilities, threshold, **online))
        for name, threshold in asdict(thresholds).items()
    }
    positives = int(labels.sum())
    report |= {
        "calibration_error": calibration_error(labels, probabilities),
        "brier": brier(labels, probabilities),
        "log_loss": log_loss(labels, probabilities),
        "positives": positives,
        "negatives": len(labels) - positives,
        "prevalence": positives / len(labels),
        "online": online | {"reviews_per_day": settings.reviews_per_day},
        "bands": bands,
    }
    return _plain(report)  # type: ignore[no-any-return]


def _lowest(at: Counts, chosen: Any) -> float | None:
    """The lowest threshold of those chosen [t], None where none is."""
    return float(at.thresholds[np.flatnonzero(chosen)[-1]]) if chosen.any() else None


def _plain(value: Any) -> Any:
    """The same without what JSON has no word for: numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
