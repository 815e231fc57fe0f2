"""The sentence that says why a photo is asked about."""

from __future__ import annotations

import dataclasses

import numpy as np

from prohibit_jax.active.mixture import Narrowed
from prohibit_jax.active.reasons import reasons
from prohibit_jax.active.strategies import STRATEGIES
from tests.active.views import view


def test_each_names_its_number() -> None:
    seen = view(np.array([0.5231, 0.0004, 0.97], np.float32), threshold=0.02)
    assert reasons(seen, [(0, "uncertainty"), (1, "threshold"), (2, "positives"), (0, "doubtful"), (1, "random")]) == [
        "scores 0.523, near 0.5",
        "scores 0.0004, near the threshold of review, 0.02",
        "scores 0.97: of the class, or a confident false alarm",
        "scores 0.523, just above 0.5",
        "drawn at random from 3 photos",
    ]


def test_where_the_view_is_narrowed_the_numbers_are_still_of_the_photo() -> None:
    seen = view(np.array([0.1, 0.6, 0.7, 0.8], np.float32), [1], [0.9])
    assert seen.scores is not None
    rows = np.array([1, 3])
    part = dataclasses.replace(seen, scores=seen.scores[rows], embeddings=np.asarray(seen.embeddings)[rows])
    picks = [(3, "positives"), (2, "random"), (1, "neighbours"), (3, "k_center"), (1, "k_center")]
    said = reasons(seen, picks, Narrowed(part, rows))
    assert said == reasons(seen, picks)
    assert said[:2] == ["scores 0.8: of the class, or a confident false alarm", "drawn at random from 4 photos"]


def test_likeness_is_that_of_the_photo() -> None:
    rows = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    seen = dataclasses.replace(
        view(None, [1, 0], n=3),
        embeddings=rows,
        label_embeddings=np.array([[1, 0], [0, -1]], np.float32),
    )
    said = reasons(seen, [(1, "neighbours"), (2, "k_center"), (1, "k_center"), (0, "neighbours")])
    assert said[0] == "0.60 alike to a known positive"
    assert said[1].startswith("at most 0.00 alike")
    assert said[2].startswith("at most 0.80 alike")  # to the one asked for variety before it
    assert said[3] == "1.00 alike to a known positive"


def test_versions_are_named_where_they_decide() -> None:
    seen = dataclasses.replace(
        view(np.array([0.5], np.float32), [1], [0.9]), versions=np.array([[0.2, 0.9]], np.float32)
    )
    said = dict(zip(STRATEGIES, reasons(seen, [(0, name) for name in STRATEGIES]), strict=True))
    assert said["disagreement"] == "versions score it 0.2 to 0.9, a divergence of 0.28 nats"
    assert said["margin"] == said["entropy"] == "its versions score 0.55 on average, near 0.5"
    assert all(len(one) > 10 and not one.endswith(".") for one in said.values())
