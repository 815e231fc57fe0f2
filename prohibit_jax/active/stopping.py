"""When to stop asking: rules as plain functions, each with the number behind it, joined by `,` (any) and `+` (all).

    plateau+few,labels=2000

stops where quality stands still and few photos of the class are left, or where 2,000 photos are answered. No rule
sees the truth: each says in one sentence what it goes by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from prohibit_jax.evaluate.metrics import Floats, Interval, Labels, average_precision, resample
from prohibit_jax.types import InputError

# Simulated on Caltech-101 (five classes, Lite0 at 160 px, 20 to 30 runs each): the part of runs in which the rule fires
# within one round of the first from which the test's average precision stays within a point of its end.
#
#                                               rounds of 200 photos   100    50
#     gain of the last 200 labels up to 0.010                   0.80  0.60  0.25
#     gain of the last round up to 0.010                        0.80  0.60  0.15
#     gains of the last two rounds up to 0.010                  0.50  0.55  0.10
#     gain of the last 300 labels up to 0.010                   0.47  0.35  0.30
#     agreement with the last round from 0.87                   0.83     -     -
WINDOW = 200
"""Labels after which a gain is judged: fewer move average precision less than chance does."""

LEAST_GAIN = 0.01
"""Of average precision: what the last labels must add for the next to be worth asking."""

AGREEMENT = 0.87
RECALL = 0.9

RESAMPLES = 200
RULES = ("plateau", "stable", "few", "labels", "days")
DEFAULT = "plateau+few"


@dataclass(frozen=True)
class Verdict:
    """What a rule says: whether to stop, and why or why not yet, in one sentence with the number."""

    rule: str
    stop: bool
    reason: str


@dataclass(frozen=True)
class Change:
    """What one head's ranking of the pool has over an earlier one's.

    Attributes:
        since: the earlier head, `weapon@3`.
        labels: photos that were answered in between.
        gain: of average precision (`gain`).
        agreement: of the photos that either says are of the class, the part that both do (`agreement`).
    """

    since: str
    labels: int
    gain: Interval
    agreement: float


def gain(labels: Labels, before: Floats, after: Floats, seed: int = 0) -> Interval:
    """By how much `after` ranks the photos better than `before`: the difference of their average precisions.

    Both are judged by the same labels and the same resamples of the photos, so that what makes the pool hard cancels.

    Args:
        labels: [n], 1 for photos of the class as far as is known today.
        before, after: [n], scores by two heads of photos that neither has seen in training (out of fold where it has).
        seed: of the resamples.
    """
    # A photo of the rest below all of the class, in both orders, has no part in average precision.
    matters = (before >= before[labels == 1].min()) | (after >= after[labels == 1].min())
    labels, before, after = labels[matters], before[matters], after[matters]
    if (labels == 1).all():
        return Interval(0.0, 0.0, 0.0)
    value = float(average_precision(labels, after) - average_precision(labels, before))
    same = {"seed": seed, "n": RESAMPLES}  # the same labels and seed draw the same resamples
    differences = resample(average_precision, labels, after, **same) - resample(
        average_precision, labels, before, **same
    )
    low, high = np.quantile(differences, (0.025, 0.975))
    return Interval(value, min(float(low), value), max(float(high), value))


def agreement(before: Floats, after: Floats) -> float:
    """Of the photos that either probability [n] puts in the class, the part that both do; 1 where none is.

    What stands still in the sense of Bloodgood and Vijay-Shanker, arXiv 1409.5165, for a rare class, where agreement
    on all photos says nothing.
    """
    one, other = before >= 0.5, after >= 0.5
    either = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / either) if either else 1.0


def reference(counts: Sequence[int], window: int = WINDOW) -> int | None:
    """The latest earlier round, by its place in `counts`, with at least `window` labels fewer than the last one."""
    earlier = [place for place, count in enumerate(counts[:-1]) if counts[-1] - count >= window]
    return earlier[-1] if earlier else None


def plateau(change: Change | None, least: float = LEAST_GAIN) -> Verdict:
    """Quality stands still: the last labels have added no more than `least` to average precision."""
    if change is None:
        return Verdict("plateau", False, f"no head is {WINDOW} labels old yet, so that no gain can be told")
    found = change.gain
    still = found.value <= least
    return Verdict(
        "plateau",
        still,
        f"the last {change.labels} labels changed average precision on the pool by {found.value:+.3f} "
        f"({found.low:+.3f} to {found.high:+.3f}), {'no' if still else ''} more than {least:g}".replace("  ", " "),
    )


def stable(change: Change | None, least: float = AGREEMENT) -> Verdict:
    """Predictions stand still: two heads put the same photos of the pool in the class."""
    if change is None:
        return Verdict("stable", False, f"no head is {WINDOW} labels old yet, to compare with")
    still = change.agreement >= least
    return Verdict(
        "stable",
        still,
        f"of the pool's photos that this head or {change.since} puts in the class, both do so for "
        f"{change.agreement:.0%}, {'at least' if still else 'less than'} {least:.0%}",
    )


def few(found: int, left: Interval | None, drawn: Interval | None = None, recall: float = RECALL) -> Verdict:
    """Few are left: even if as many are as the interval allows, the found ones are at least `recall` of all.

    Args:
        found: photos of the class known in the pool.
        left: those still hidden, by the scores.
        drawn: the same by the random draws; where even its lower end is above `left`, the scores are not believed.
        recall: from which on.
    """
    if left is None:
        return Verdict("few", False, "nothing can be said yet of how many are left")
    if drawn is not None and drawn.low > left.high:
        reason = f"the random draws say that at least {drawn.low:.0f} are left, the scores at most {left.high:.0f}"
        return Verdict("few", False, f"{reason}: the scores are not to be believed")
    share = found / (found + left.high) if found else 0.0
    enough = share >= recall
    return Verdict(
        "few",
        enough,
        f"{found} are found and at most {left.high:.0f} left by the scores: {share:.0%} of all or more, "
        f"{'at least' if enough else 'less than'} {recall:.0%}",
    )


def labels_spent(answered: int, budget: int) -> Verdict:
    """The budget of labels is spent."""
    return Verdict("labels", answered >= budget, f"{answered} photos are answered of a budget of {budget}")


def days_spent(first: datetime | None, now: datetime, budget: int) -> Verdict:
    """The budget of days, from the first label on, is spent."""
    days = (now - first).total_seconds() / 86_400 if first else 0.0
    return Verdict("days", days >= budget, f"{days:.1f} days have gone by since the first label, of {budget}")


def parse(text: str) -> tuple[tuple[tuple[str, int | None], ...], ...]:
    """Reads `plateau+few,labels=2000`: any of these, each all of (rule, its budget). Raises InputError."""

    def one(part: str) -> tuple[str, int | None]:
        name, equals, budget = (piece.strip() for piece in part.partition("="))
        if name not in RULES:
            raise InputError(f"--stop {name!r}: no such rule; use {', '.join(RULES)}")
        if bool(equals) != (name in ("labels", "days")):
            raise InputError(f"--stop {part.strip()!r}: labels and days take a number, as in labels=2000, others none")
        if equals and not (budget.isascii() and budget.isdigit() and 0 < int(budget) < 10**9):
            raise InputError(f"--stop {part.strip()!r}: the number must be whole and above 0")
        return name, int(budget) if equals else None

    return tuple(tuple(one(part) for part in group.split("+")) for group in text.split(","))


def decide(text: str, verdicts: Mapping[str, Verdict]) -> Verdict:
    """The verdict of rules joined by `,` (any) and `+` (all), from those of the rules by name."""
    groups = [[verdicts[name] for name, _ in group] for group in parse(text)]
    for group in groups:
        if all(verdict.stop for verdict in group):
            return Verdict(text, True, "; ".join(verdict.reason for verdict in group))
    waiting = {verdict.rule: verdict.reason for group in groups for verdict in group if not verdict.stop}
    return Verdict(text, False, "; ".join(waiting.values()))
