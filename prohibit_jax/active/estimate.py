"""How many photos of the class the pool still hides: counted from the random draws, and beside it from the scores.

The two numbers rest on different things, so neither replaces the other. The draws need no model, but a class of one in
a thousand is met once in a thousand of them: their interval is wide until many were drawn. The scores know every photo
of the pool, but only as far as their calibration goes; that number is a model's, and marked so wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import lgamma

import numpy as np
from numpy.typing import NDArray

from prohibit_jax.evaluate import calibration
from prohibit_jax.evaluate.metrics import Floats, Interval, Labels
from prohibit_jax.types import Calibration, sigmoid

OUTSIDE = 0.025
"""The chance on either side of a 95% interval."""

STUDENT = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Two-sided 95% quantiles of Student's distribution with 1, 2, … degrees of freedom; the last for more."""

BINS = 4096
"""Logits of a pool of any size are summed up in so many steps."""

RESAMPLES = 100


@dataclass(frozen=True)
class Draw:
    """The random draws of one round, as far as they were answered yes or no.

    Attributes:
        population: photos that they were drawn from, each as likely as any other, whatever it is like.
        drawn: how many.
        positives: of those drawn.
        known: photos of the class, as known today, that were in the pool but not in this population: they were
            answered, or waited for an answer, when the round was made.
    """

    population: int
    drawn: int
    positives: int
    known: int


def left_by_draws(draws: Sequence[Draw], found: int, unanswered: int) -> Interval | None:
    """Photos of the class among the pool's unanswered ones, with an exact interval; None before any draw.

    Each round draws from what earlier rounds left, so the rounds' shares differ, but they share one unknown: the number
    T of photos of the class in the whole pool. A round's population holds T - known of them, and what it draws of them
    is hypergeometric. The sum over rounds is a sum of such counts. Its interval is Clopper and Pearson's (1934): every
    T under which neither as many nor as few as were seen is rarer than 2.5%.

    Args:
        draws: those of each round.
        found: photos of the class known in the pool.
        unanswered: photos of the pool without a yes or no.
    """
    draws = [draw for draw in draws if draw.drawn]
    if not draws:
        return None
    seen = sum(draw.positives for draw in draws)

    def tail(total: int, least: bool) -> float:
        chances = _sum_of_draws(draws, total)
        return float(chances[seen:].sum() if least else chances[: seen + 1].sum())

    low = _first(lambda total: tail(total, least=True) > OUTSIDE, found, found + unanswered)
    high = _first(lambda total: tail(total, least=False) <= OUTSIDE, found, found + unanswered + 1) - 1
    rate = sum(draw.drawn / draw.population for draw in draws)
    expected = (seen + sum(draw.known * draw.drawn / draw.population for draw in draws)) / rate
    value = float(np.clip(expected - found, 0, unanswered))
    return Interval(value, min(float(low - found), value), max(float(high - found), value))


def calibrations(labels: Labels, logits: Floats, seed: int) -> tuple[Calibration, ...]:
    """The calibration of photos, and after it those of resamples of them, which show what chance does to it.

    Args:
        labels: [n], of photos that were asked about without regard to their label.
        logits: [n], by classifiers that have not seen the photo.
        seed: of the resamples.

    Raises:
        InputError: labels of one kind only.
    """
    scales, rng = [calibration.fit(labels, logits)], np.random.default_rng(seed)
    while len(scales) <= RESAMPLES:
        rows = rng.integers(len(labels), size=len(labels))
        if len(np.unique(labels[rows])) == 2:  # else nothing can be fitted
            scales.append(calibration.fit(labels[rows], logits[rows]))
    return tuple(scales)


def expected_positives(scales: Sequence[Calibration], logits: Floats, seed: int) -> Interval:
    """How many of the photos with these logits, any number, are of the class; a model's number.

    The interval holds what chance does to the calibration and to the photos. It does not hold what is wrong with the
    model: that log odds are a straight line in the logit, and Platt's targets, which err on the side of too many. In
    1,000 simulated rounds on Caltech-101 its upper end was above the truth in 99%, its lower end below it in 56%.

    Args:
        scales: as `calibrations` gives them.
        logits: of the photos in question.
        seed: of the chance.
    """
    steps, photos = _steps(logits)
    rng = np.random.default_rng(seed)
    chances = [sigmoid(scale.scale * steps + scale.offset) for scale in scales]
    sums = [photos @ p + rng.normal() * np.sqrt(photos @ (p * (1 - p))) for p in chances[1:]]
    value = float(photos @ chances[0])
    low, high = np.clip(np.quantile(sums, (OUTSIDE, 1 - OUTSIDE)), 0, len(logits))
    return Interval(value, min(float(low), value), max(float(high), value))


def next_gain(labels: Sequence[int], quality: Sequence[float], more: int) -> Interval | None:
    """What `more` labels are expected to add to a quality, by its course so far; None with fewer than three points.

    The quality is taken for a - b / sqrt(labels), the usual course of an error that labels wear down; a and b are those
    of least squares, and the interval is Student's for b. All points are judged by the same photos, so that what these
    make of the quality's level is the same for all and does not blur its change.
    """
    if len(set(labels)) < 3:
        return None
    x, y = 1 / np.sqrt(np.array(labels, np.float64)), np.array(quality, np.float64)
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float((x - x.mean()) @ (y - y.mean())) / spread
    rest = y - y.mean() - slope * (x - x.mean())
    free = len(x) - 2
    reach = STUDENT[min(free, len(STUDENT)) - 1] * float(np.sqrt(rest @ rest / free / spread))
    step = float(1 / np.sqrt(max(labels) + more) - 1 / np.sqrt(max(labels)))
    return Interval(slope * step, (slope + reach) * step, (slope - reach) * step)


def _steps(logits: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(the middle of each step of the logits, the photos in it)."""
    if not len(logits):
        return np.zeros(1), np.zeros(1)
    photos, edges = np.histogram(logits.astype(np.float64), BINS)
    return (edges[:-1] + edges[1:]) / 2, photos.astype(np.float64)


def _sum_of_draws(draws: Sequence[Draw], total: int) -> NDArray[np.float64]:
    """The chance of each number of positives among all draws, where the pool holds `total`."""
    chances = np.ones(1)
    for draw in draws:
        inside = min(max(total - draw.known, 0), draw.population)
        chances = np.convolve(chances, _hypergeometric(draw.population, inside, draw.drawn))
    return chances


def _hypergeometric(population: int, positives: int, drawn: int) -> NDArray[np.float64]:
    """The chance of 0, 1, … `drawn` positives among `drawn` of a population that holds `positives`."""
    chances = np.zeros(drawn + 1)
    every = _log_ways(population, drawn)
    for count in range(max(0, drawn - population + positives), min(drawn, positives) + 1):
        ways = _log_ways(positives, count) + _log_ways(population - positives, drawn - count)
        chances[count] = np.exp(ways - every)
    return chances


def _log_ways(n: int, k: int) -> float:
    """The logarithm of the number of ways to choose k of n."""
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _first(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The least whole number from `low` on that fits, or `high`; from it on, all do."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low
