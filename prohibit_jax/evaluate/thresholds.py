"""The two thresholds of a class, for the photos met online rather than those of the evaluated set. NumPy only.

The set tells two rates of a threshold t: TPR(t), the part of the class at or above it, and FPR(t), that of the rest.
They do not depend on how common the class is, so at the online prevalence pi (a few in a million)

    precision(t) = pi TPR / (pi TPR + (1 - pi) FPR)
    flagged a day(t) = photos a day x (pi TPR + (1 - pi) FPR)

What matters online is an FPR of 1e-4 to 1e-7, and a set of n negatives cannot show a rate much below 1 / n: that none
of 2,000 lies above t only bounds FPR(t) by about 4 / 2,000. So FPR is never taken for 0. It is given in two ways:

- *Bounds*: Wilson's 95% interval of the count (1927). At 0 of n its upper end is 3.84 / (n + 3.84), a little wider than
  the exact 3.69 / n, and for rare photos it never falls short of the exact one, which is the side that matters here
  (its lower end is too high at counts of 1 to 3: 0.18 / n at 1, exactly 0.025 / n). Bounds of precision join the low
  end of one rate with the high end of the other.
- *An expectation*, from the calibrated probabilities p of all photos of the set:

      FPR(t) = sum over photos with p >= t of (1 - p) / number of negatives

  A photo of probability p stands for 1 - p negatives. Above the highest negative it is the photos of the class that
  tell how fast the negatives thin out: where they are 1,000 times denser than negatives, each stands for 0.001 of one.
  This holds as far as the calibration does (that log odds are linear in the logit, which Platt scaling assumes), so
  it is kept within the bounds: where the counts contradict it, the counts win. Before use, one constant is added to
  all log odds so that the probabilities sum to the number of positives: p may have been calibrated on another mix.

Thresholds are chosen by the expectation. `measurable` in a report says whether any negative of the set lies above the
threshold; where none does, the expectation is an extrapolation and only the bounds are facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prohibit_jax.evaluate.metrics import Floats, Interval, Labels, check
from prohibit_jax.types import InputError, Thresholds, sigmoid

Z = 1.959964
"""The normal quantile of a two-sided 95% interval."""

NEVER = float(np.nextafter(np.float32(1), np.float32(2)))
"""A threshold that no probability reaches."""


@dataclass(frozen=True)
class Settings:
    """What a class is evaluated for; `config.py` mirrors it as the section [evaluate]."""

    calibration: Literal["platt", "temperature"] = "platt"
    precision: float = 0.95  # asked of the block threshold, online
    recall: float = 0.95  # asked of the review threshold
    prevalence: float = 5e-6  # part of the photos met online that are of the class
    photos_per_day: int = 1_000_000
    reviews_per_day: int = 500  # flagged photos that reviewers can look at
    bootstrap: int = 1000  # resamples behind each interval


@dataclass(frozen=True)
class Point:
    """What one threshold does: the expected value of each rate with its bounds, for the photos at or above it.

    Where no photo of the set lies so high, all values but the recall are nan, and only the bounds are known.
    """

    threshold: float
    recall: Interval
    false_positive_rate: Interval
    precision: Interval  # online
    per_day: Interval  # flagged photos online
    measurable: bool  # some negative of the set is flagged too


class Span(NamedTuple):
    """`Interval` for arrays."""

    value: Floats
    low: Floats
    high: Floats


class Rates(NamedTuple):
    """The two rates of each threshold, [t] throughout."""

    thresholds: Floats
    recall: Span
    false: Span
    measurable: NDArray[np.bool_]


def shift_prior(probability: Any, from_prevalence: float, to_prevalence: float) -> Any:
    """The probability that the same photo gets where the class is as common as `to_prevalence`.

    Only the prior odds change, p' / (1 - p') = p / (1 - p) x [to / (1 - to)] / [from / (1 - from)]
    (Elkan 2001, theorem 2; Saerens, Latinne and Decaestecker 2002, equation 4).
    """
    _check_fractions(from_prevalence=from_prevalence, to_prevalence=to_prevalence)
    yes = probability * (to_prevalence / from_prevalence)
    no = (1 - probability) * ((1 - to_prevalence) / (1 - from_prevalence))
    return yes / (yes + no)


def threshold_for_recall(labels: Labels, probabilities: Floats, recall: float) -> float:
    """The highest threshold that keeps at least `recall` of fresh photos of the class, on average over sets like this.

    That is the k-th lowest of the n positives with k = floor((n + 1) (1 - recall)): a fresh one is equally likely to
    fall into each of the n + 1 gaps between them (the quantile of split conformal prediction). With fewer positives
    than recall / (1 - recall), 19 for 0.95, no threshold of the set promises so much; the lowest positive is returned.
    """
    check(labels, probabilities)
    _check_fractions(recall=recall)
    positives = np.sort(probabilities[labels == 1])
    missed = int((len(positives) + 1) * (1 - recall) + 1e-9)
    return float(positives[max(missed, 1) - 1])


def threshold_for_precision(labels: Labels, probabilities: Floats, precision: float, prevalence: float) -> float:
    """The lowest probability of the set from which on the expected online precision reaches `precision`.

    Where none does, it lies above all of them, at the probability of a photo that is itself `precision` sure online;
    where float32 has no such probability below 1, it is `NEVER`: a 1.0 may be anything that was rounded to it.
    """
    _check_fractions(precision=precision, prevalence=prevalence)
    at = _rates(labels, probabilities)
    enough = np.flatnonzero(_precision(at.recall.value, at.false.value, prevalence) >= precision)
    if len(enough):
        return float(at.thresholds[enough[0]])
    rates = np.array([precision, prevalence, labels.mean()])
    log_odds = np.log(rates) - np.log1p(-rates)
    sure = log_odds[:1] - log_odds[1] + log_odds[2]  # `shift_prior`, which would round to 1
    needed = float(sigmoid(sure - _offset(labels, probabilities))[0])
    last = float(np.nextafter(np.float32(1), np.float32(0)))
    return NEVER if needed > last else max(_above(probabilities), needed)


def threshold_for_reviews(
    labels: Labels, probabilities: Floats, photos_per_day: int, reviews_per_day: int, prevalence: float
) -> float:
    """The lowest probability of the set from which on at most `reviews_per_day` photos a day are expected.

    Where even the highest flags more, it lies just above all of them.
    """
    _check_fractions(prevalence=prevalence)
    if not (photos_per_day > 0 and reviews_per_day > 0):
        raise InputError("evaluate.photos_per_day, evaluate.reviews_per_day: both must be above 0")
    at = _rates(labels, probabilities)
    fits = np.flatnonzero(photos_per_day * _flagged(at.recall.value, at.false.value, prevalence) <= reviews_per_day)
    return float(at.thresholds[fits[0]]) if len(fits) else _above(probabilities)


def choose(settings: Settings, labels: Labels, probabilities: Floats) -> Thresholds:
    """The thresholds of a class, from photos that it was not trained on: labels [n] and calibrated probabilities [n].

    Review starts where the recall asked for is reached, or higher where reviewers could not look at so many photos.
    Block starts where the precision asked for is expected online, and never below review.
    """
    budget = (settings.photos_per_day, settings.reviews_per_day, settings.prevalence)
    review = max(
        threshold_for_recall(labels, probabilities, settings.recall),
        threshold_for_reviews(labels, probabilities, *budget),
    )
    block = threshold_for_precision(labels, probabilities, settings.precision, settings.prevalence)
    return Thresholds(review, max(review, block))


def operate(
    labels: Labels, probabilities: Floats, threshold: float, *, prevalence: float, photos_per_day: int
) -> Point:
    """What `threshold` does on the set and is expected to do online."""
    _check_fractions(prevalence=prevalence)
    at = _rates(labels, probabilities, np.asarray([threshold], np.float64))
    precision = Span(
        _precision(at.recall.value, at.false.value, prevalence),
        _precision(at.recall.low, at.false.high, prevalence),
        _precision(at.recall.high, at.false.low, prevalence),
    )
    per_day = Span(*(photos_per_day * _flagged(r, f, prevalence) for r, f in zip(at.recall, at.false, strict=True)))
    spans = (at.recall, at.false, precision, per_day)
    recall, false, precise, daily = (Interval(*(float(x[0]) for x in span)) for span in spans)
    return Point(threshold, recall, false, precise, daily, bool(at.measurable[0]))


def wilson(count: Any, total: Any) -> Span:
    """The rate count / total, for counts of any shape, with Wilson's 95% interval (1927)."""
    rate = count / total
    middle, reach = count + Z**2 / 2, Z * np.sqrt(count * (1 - rate) + Z**2 / 4)
    low, high = (middle - reach) / (total + Z**2), (middle + reach) / (total + Z**2)
    return Span(rate, np.clip(low, 0, rate), np.clip(high, rate, 1))


def _rates(labels: Labels, probabilities: Floats, thresholds: Floats | None = None) -> Rates:
    """The rates at each of the rising thresholds, by default every distinct probability of the set."""
    offset = _offset(labels, probabilities)
    p = np.sort(probabilities.astype(np.float64))
    thresholds = np.unique(p) if thresholds is None else thresholds

    positives, negatives = (np.sort(probabilities[labels == label].astype(np.float64)) for label in (1, 0))
    true = len(positives) - np.searchsorted(positives, thresholds)
    false = len(negatives) - np.searchsorted(negatives, thresholds)

    standing_for = np.append(np.cumsum(sigmoid(-_log_odds(p) - offset)[::-1])[::-1], np.nan)
    expected = standing_for[np.searchsorted(p, thresholds)] / len(negatives)
    bounds = wilson(false, len(negatives))
    held = Span(np.clip(expected, bounds.low, bounds.high), bounds.low, bounds.high)
    return Rates(thresholds, wilson(true, len(positives)), held, false > 0)


def _offset(labels: Labels, probabilities: Floats) -> float:
    """What to add to all log odds so that the probabilities sum to the number of positives, by bisection."""
    check(labels, probabilities)
    x, positives = _log_odds(probabilities.astype(np.float64)), labels.sum()
    low, high = -50.0, 50.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(x + middle).sum() < positives else (low, middle)
    return low


def _log_odds(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)); a float32 probability that rounded to 0 or 1 counts as half a step away from it."""
    p = np.clip(p, 2.0**-25, 1 - 2.0**-25)
    return np.log(p) - np.log1p(-p)


def _precision(recall: Floats, false: Floats, prevalence: float) -> Floats:
    return prevalence * recall / _flagged(recall, false, prevalence)


def _flagged(recall: Floats, false: Floats, prevalence: float) -> Floats:
    return np.asarray(prevalence * recall + (1 - prevalence) * false)


def _above(probabilities: Floats) -> float:
    """The least float32 above all probabilities: above 1, `NEVER`, where one of them is 1."""
    return float(np.nextafter(np.float32(probabilities.max()), np.float32(2)))


def _check_fractions(**fractions: float) -> None:
    for name, value in fractions.items():
        if not 0 < value < 1:
            raise InputError(f"evaluate.{name} {value}: must lie between 0 and 1")
