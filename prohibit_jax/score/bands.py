"""What happens to a photo by a class's score: nothing, a look by a person, or removal."""

from __future__ import annotations

from typing import Literal

from prohibit_jax.types import Thresholds

Band = Literal["pass", "review", "block"]


def band(probability: float, thresholds: Thresholds) -> Band:
    """The band of a calibrated probability; one that is on a threshold has reached it.

    A probability that is no number, which no sound head puts out, goes to a person: it never passes unseen.
    """
    if probability >= thresholds.block:
        return "block"
    return "pass" if probability < thresholds.review else "review"
