"""The report: plain JSON that agrees with the functions it is made of."""

from __future__ import annotations

import json

import numpy as np
import pytest

from prohibit_jax.evaluate.calibration import fit
from prohibit_jax.evaluate.metrics import average_precision
from prohibit_jax.evaluate.report import evaluate
from prohibit_jax.evaluate.thresholds import Settings, choose
from prohibit_jax.types import Calibration, InputError, Thresholds

SETTINGS = Settings(bootstrap=50)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.array([1, 0], np.int8), [40, 600])
    logits = np.random.default_rng(seed).normal(size=640) + 3.0 * labels
    return labels, logits.astype(np.float32)


def test_report_is_plain_json_and_follows_its_seed() -> None:
    labels, logits = drawn(0)
    calibration = fit(labels, logits)
    thresholds = choose(SETTINGS, labels, calibration(logits))
    labels, logits = drawn(1)
    report, again = (
        evaluate(labels, logits, calibration=calibration, settings=SETTINGS, thresholds=thresholds, seed=7)
        for _ in "ab"
    )
    assert json.loads(json.dumps(report, allow_nan=False)) == report == again
    assert report["average_precision"]["value"] == average_precision(labels, logits)
    assert (report["positives"], report["negatives"], report["prevalence"]) == (40, 600, 40 / 640)
    for name in ("average_precision", "roc_area", "recall_at_precision", "precision_at_recall"):
        assert 0 <= report[name]["low"] <= report[name]["value"] <= report[name]["high"] <= 1
    assert report["bands"]["review"]["threshold"] == thresholds.review
    assert report["bands"]["review"]["recall"]["value"] >= report["bands"]["block"]["recall"]["value"]
    assert report["bands"]["block"]["measurable"] is False


def test_reported_thresholds_do_what_they_are_reported_for() -> None:
    labels, logits = drawn(2)
    calibration = fit(labels, logits)
    report = evaluate(
        labels, logits, calibration=calibration, settings=SETTINGS, thresholds=Thresholds(0.5, 0.9), seed=0
    )
    p = calibration(logits)
    for name in ("recall_at_precision", "precision_at_recall"):
        flagged = p >= np.float32(report[name]["threshold"])
        found = {"precision": labels[flagged].mean(), "recall": labels[flagged].sum() / labels.sum()}
        reported, target = name.split("_at_")
        assert found[reported] == pytest.approx(report[name]["value"])
        assert found[target] >= report[name]["target"]


def test_what_is_undefined_is_none() -> None:
    labels, logits = np.array([0, 1, 0], np.int8), np.array([2.0, 1.0, 0.0], np.float32)
    report = evaluate(
        labels, logits, calibration=Calibration(), settings=SETTINGS, thresholds=Thresholds(0.99, 0.999), seed=0
    )
    assert report["recall_at_precision"]["value"] == 0
    assert report["recall_at_precision"]["threshold"] is None
    assert report["bands"]["block"]["precision"]["value"] is None
    json.dumps(report, allow_nan=False)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="no negative"):
        evaluate(
            np.ones(3, np.int8),
            np.zeros(3, np.float32),
            calibration=Calibration(),
            settings=SETTINGS,
            thresholds=Thresholds(0.5, 0.5),
            seed=0,
        )
