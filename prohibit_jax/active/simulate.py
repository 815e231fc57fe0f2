"""What a query strategy would have saved: labelled photos play pool and annotator, and the curve of each is compared.

A run holds 40% of the photos back, starts with what a team would have, and then asks, a batch a round: fit the
classifier on the embeddings of all that is answered, score the rest, choose, answer. After each round the classifier is
judged on the photos held back. Random asking goes on until every photo is answered, since the question is how long it
would take; its rounds grow, so that it costs no more.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from prohibit_jax.active.mixture import RANDOM, mixture, picks
from prohibit_jax.active.pool import unit
from prohibit_jax.active.view import View
from prohibit_jax.bundle.card import parse_json, read_record
from prohibit_jax.evaluate.metrics import average_precision, precision_at_recall
from prohibit_jax.train.classifier import Spread, fit_classifier
from prohibit_jax.types import InputError, sigmoid

HELD_BACK = 0.4
RECALL = 0.9
FEW = 5
"""Positives that are at hand on a first day where they are not all known."""

GROWTH = 1.3
"""By which each round of random asking exceeds the one before."""


Start = Literal["known", "few"]


@dataclass(frozen=True)
class World:
    """The labelled photos of one class.

    Attributes:
        features: float32 [n, f], embeddings.
        labels: int8 [n], 1 and 0.
        phash: uint64 [n], perceptual hashes.
        clusters: [n], equal for near-identical photos, which stay together on one side.
    """

    features: np.ndarray
    labels: np.ndarray
    phash: np.ndarray
    clusters: np.ndarray


@dataclass(frozen=True)
class Protocol:
    """How every run goes.

    Attributes:
        batch: photos asked about in a round.
        budget: photos asked about in all, but for random asking, which has no end.
        start: `known`: every positive is at hand and labels are spent on negatives, as in the published comparison;
            `few`: five positives are, and the others must be found. Either begins with a random batch.
        noise: share of the answers that are wrong, 0 to 0.5; the photos held back keep their labels.
    """

    batch: int = 20
    budget: int = 400
    start: Start = "known"
    noise: float = 0.0


@dataclass(frozen=True)
class Curve:
    """One run: a value a round, after it.

    Attributes:
        strategy: as `active.mixture` reads it.
        seed: of the photos held back, the first batch, the noise and what the strategy draws.
        labels: photos asked about so far.
        positives: of these, by their true labels.
        average_precision, precision_at_recall: on the photos held back.
        all: average precision and precision at recall with every label, all of them right.
        everything: labels that there are to ask for.
    """

    strategy: str
    seed: int
    labels: tuple[int, ...]
    positives: tuple[int, ...]
    average_precision: tuple[float, ...]
    precision_at_recall: tuple[float, ...]
    all: tuple[float, float]
    everything: int

    def to_json(self) -> bytes:
        """As a file keeps it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes, source: str) -> Curve:
        """What `to_json` wrote. Raises InputError, naming `source`, on anything else."""
        return read_record(cls, parse_json(text, source), source)


def run(world: World, strategy: str, protocol: Protocol, seed: int) -> Curve:
    """One run of one strategy, the same for the same arguments.

    Raises InputError where the strategy is unknown, or either side would lack a kind of label.
    """
    quotas = mixture(strategy)
    train, test = _sides(world, seed)
    labels, features = world.labels[train], world.features[train]
    rng = np.random.default_rng([seed, 1])
    known = np.zeros(len(train), bool)
    positives = rng.permutation(np.flatnonzero(labels > 0))
    known[positives if protocol.start == "known" else positives[:FEW]] = True
    order = rng.permutation(np.flatnonzero(~known))
    wrong = rng.random(len(train)) < protocol.noise
    answers = np.where(wrong & ~known, 1 - labels, labels)
    spread = Spread.of(features)
    directions = unit(features.copy())

    def judge(rows: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
        """The scores of all training photos after learning the answers in `rows`, and what those held back say."""
        classifier = fit_classifier(features[rows], answers[rows], spread)
        held, truth = classifier(world.features[test]), world.labels[test]
        figures = float(average_precision(truth, held)), float(precision_at_recall(truth, held, RECALL))
        return sigmoid(classifier(features)).astype(np.float32), figures

    def chosen(scores: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
        open_ = np.setdiff1d(np.arange(len(train)), rows)
        view = View(scores[open_], directions[open_], answers[rows], scores[rows], directions[rows])
        return open_[[row for row, _ in picks(view, quotas, count, rng, world.phash[train][open_])]]

    counts: list[tuple[int, int]] = []
    figures: list[tuple[float, float]] = []
    asked = order[: protocol.batch]
    while True:
        rows = np.union1d(np.flatnonzero(known), asked)
        scores, judged = judge(rows, answers)
        counts.append((len(asked), int(labels[asked].sum())))
        figures.append(judged)
        if strategy == RANDOM:  # every photo is as likely, whatever was asked: the next of the order
            more = order[len(asked) :][: max(protocol.batch, round((GROWTH - 1) * len(asked)))]
        else:
            more = chosen(scores, rows, min(protocol.batch, protocol.budget - len(asked)))
        if not len(more):
            break
        asked = np.concatenate([asked, more])
    _, everything = judge(np.arange(len(train)), labels)
    (asked_for, found), (precision, at_recall) = zip(*counts, strict=True), zip(*figures, strict=True)
    return Curve(strategy, seed, asked_for, found, precision, at_recall, everything, len(order))


def _sides(world: World, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows held back, each with both kinds of label; near-identical photos on one side."""
    names, cluster = np.unique(world.clusters, return_inverse=True)
    held = np.random.default_rng([seed, 0]).permutation(len(names))[cluster] < HELD_BACK * len(names)
    for side in (held, ~held):
        if len(np.unique(world.labels[side])) < 2:
            raise InputError("data.source: too few photos of the class to hold 40% back; add some")
    return np.flatnonzero(~held), np.flatnonzero(held)
