"""Two sets of scores on the same photos: how far apart they are, with an interval that does not count the photos twice.

Which photos happen to be in the set moves both in the same way. So both meet the same resamples, and the interval is
that of the difference: much narrower than what two separate intervals would add up to. NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

from prohibit_jax.evaluate.metrics import Floats, Interval, Labels, Metric, interval_of, resample


@dataclass(frozen=True)
class Pair:
    """A metric of the old scores, of the new ones, and new - old, each with its 95% interval."""

    old: Interval
    new: Interval
    difference: Interval


def pair(metric: Metric, labels: Labels, old: Floats, new: Floats, seed: int, n: int = 1000) -> Pair:
    """The metric of both on the same photos.

    Args:
        metric: one of `evaluate.metrics`.
        labels: [n], 1 for the class and 0 for the rest.
        old, new: scores [n].
        seed: of the resamples, which depend on it and the labels alone, and so are the same for both.
        n: resamples, stratified.

    Raises:
        InputError: no positive, no negative, or a score that is not finite.
    """
    values = [float(metric(labels, scores)) for scores in (old, new)]
    draws = [resample(metric, labels, scores, seed, n) for scores in (old, new)]
    difference = interval_of(values[1] - values[0], draws[1] - draws[0])
    return Pair(interval_of(values[0], draws[0]), interval_of(values[1], draws[1]), difference)


def paired(metric: Metric, labels: Labels, old: Floats, new: Floats, seed: int, n: int = 1000) -> Interval:
    """metric(new) - metric(old) on the same photos, with the 95% interval of a stratified bootstrap in which both meet
    the same resamples (Efron and Tibshirani 1993). The arguments and errors are those of `pair`."""
    return pair(metric, labels, old, new, seed, n).difference
