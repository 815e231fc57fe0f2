"""Several classes at once against scikit-learn, and what the report of them holds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as oracle

from prohibit_jax.evaluate.metrics import average_precision, bootstrap
from prohibit_jax.evaluate.several import evaluate, mean_average_precision, probabilities
from prohibit_jax.types import InputError
from tests.tolerances import ORACLE

RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.repeat([0, 1, 2, 3], [60, 10, 20, 5])).astype(np.int8)
LOGITS = (RNG.normal(size=(95, 4)) + 1.5 * np.eye(4)[LABELS]).astype(np.float32)
CLASSES = ("weapon", "cash", "cup")


def test_probabilities_are_a_softmax_that_does_not_overflow() -> None:
    x = np.array([[0.0, 0.0, np.log(2.0)], [-1e4, 1e4, 1e4]], np.float32)
    np.testing.assert_allclose(probabilities(x), [[0.25, 0.5], [0.5, 0.5]], atol=1e-7)


def test_the_mean_is_that_of_scikit_learn() -> None:
    scores = probabilities(LOGITS)
    indicators = LABELS[:, None] == [1, 2, 3]
    expected = oracle.average_precision_score(indicators, scores, average="macro")
    assert mean_average_precision(LABELS, scores) == pytest.approx(expected, abs=ORACLE)
    weights = np.random.default_rng(1).integers(1, 3, (4, len(LABELS)))
    found = mean_average_precision(LABELS, scores, weights)
    for row, value in zip(weights, found, strict=True):
        expected = oracle.average_precision_score(np.repeat(indicators, row, 0), np.repeat(scores, row, 0))
        assert value == pytest.approx(expected, abs=ORACLE)


def test_the_report_judges_each_class_against_the_rest() -> None:
    scores = probabilities(LOGITS)
    report = evaluate(LABELS, scores, classes=CLASSES, seed=3, resamples=100)
    assert json.loads(json.dumps(report)) == report
    assert (report["photos"], tuple(report["classes"])) == (95, CLASSES)
    cash = report["classes"]["cash"]
    assert (cash["positives"], cash["negatives"]) == (20, 75)
    own = (LABELS == 2).astype(np.int8)
    interval = bootstrap(average_precision, own, scores[:, 1], 3, 100)
    assert cash["average_precision"] == {"value": interval.value, "low": interval.low, "high": interval.high}
    assert cash["roc_area"]["value"] == pytest.approx(oracle.roc_auc_score(own, scores[:, 1]), abs=ORACLE)
    mean = report["mean_average_precision"]
    each = [report["classes"][name]["average_precision"]["value"] for name in CLASSES]
    assert mean["value"] == pytest.approx(np.mean(each))
    assert mean["low"] < mean["value"] < mean["high"]


def test_a_class_without_a_photo_is_refused() -> None:
    with pytest.raises(InputError, match="no positive among 95 photos"):
        evaluate(
            LABELS, probabilities(np.pad(LOGITS, ((0, 0), (0, 1)))), classes=(*CLASSES, "tool"), seed=0, resamples=9
        )
