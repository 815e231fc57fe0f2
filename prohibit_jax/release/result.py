"""What a comparison finds, as records and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from prohibit_jax.evaluate.metrics import Interval
from prohibit_jax.release.changed import Changed
from prohibit_jax.types import HeadRef

Verdict = Literal["better", "worse", "no difference shown", "unchanged"]


@dataclass(frozen=True)
class ClassComparison:
    """Two heads of a class on the same photos; a network of several classes may stand for either.

    Attributes:
        name: the class.
        old, new: the heads.
        old_ap, new_ap: average precision with 95% intervals.
        difference: new - old, paired: both meet the same resamples.
        positives, negatives: photos compared on.
        calibration_error: of the new one on these photos.
        reviews_per_day_old, reviews_per_day_new: photos a day expected at or above the review threshold, at the
            class's online prevalence; None where no photo here lies so high, so that nothing can be said.
        changed: the photos whose band differs, worst first.
        matched: whether bands are those of thresholds that flag equally many of these photos, since a network of
            several classes has none of its own.
    """

    name: str
    old: HeadRef
    new: HeadRef
    old_ap: Interval
    new_ap: Interval
    difference: Interval
    positives: int
    negatives: int
    calibration_error: float
    reviews_per_day_old: float | None
    reviews_per_day_new: float | None
    changed: tuple[Changed, ...]
    matched: bool = False

    @property
    def verdict(self) -> Verdict:
        """What the paired interval shows; the same head is unchanged."""
        if self.old == self.new:
            return "unchanged"
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "no difference shown"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "class": self.name,
            "old": str(self.old),
            "new": str(self.new),
            "old_average_precision": asdict(self.old_ap),
            "new_average_precision": asdict(self.new_ap),
            "difference": asdict(self.difference),
            "verdict": self.verdict,
            "positives": self.positives,
            "negatives": self.negatives,
            "calibration_error": self.calibration_error,
            "reviews_per_day": {"old": self.reviews_per_day_old, "new": self.reviews_per_day_new},
            "matched_thresholds": self.matched,
            "changed": [asdict(photo) for photo in self.changed],
        }


@dataclass(frozen=True)
class Side:
    """What a side costs: milliseconds of a batch, and MB of distinct parameters, trunks counted once."""

    name: str  # as weapon@3, or prod
    latency_ms: float | None
    size_mb: float


@dataclass(frozen=True)
class Comparison:
    """Two sides on the same photos.

    Attributes:
        old, new: the sides.
        classes: those of both, in the new side's order.
        photos: different photos scored.
        batch: photos a call that latency was measured with.
        only_old, only_new: classes that one side alone has; they are not compared.
        left_out: classes that these photos cannot compare, with the reason in one line.
    """

    old: Side
    new: Side
    classes: tuple[ClassComparison, ...]
    photos: int
    batch: int = 5
    only_old: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()
    left_out: Mapping[str, str] | None = None

    @property
    def reviews_per_day(self) -> tuple[float | None, float | None]:
        """Old and new, in all, of the classes of which both are known; None where there is no such class."""
        pairs = [(one.reviews_per_day_old, one.reviews_per_day_new) for one in self.classes]
        known = [(old, new) for old, new in pairs if old is not None and new is not None]
        return (sum(old for old, _ in known), sum(new for _, new in known)) if known else (None, None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, and `comparison.json`."""
        return {
            "old": asdict(self.old),
            "new": asdict(self.new),
            "photos": self.photos,
            "batch": self.batch,
            "classes": [one.to_dict() for one in self.classes],
            "reviews_per_day": dict(zip(("old", "new"), self.reviews_per_day, strict=True)),
            "only_old": list(self.only_old),
            "only_new": list(self.only_new),
            "left_out": dict(self.left_out or {}),
        }
