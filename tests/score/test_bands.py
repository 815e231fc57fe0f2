"""A threshold that is reached counts, and nothing passes unseen."""

from __future__ import annotations

import pytest

from prohibit_jax.score.bands import band
from prohibit_jax.types import Thresholds


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.0, "pass"), (0.249, "pass"), (0.25, "review"), (0.749, "review"), (0.75, "block"), (1.0, "block")],
)
def test_a_band_starts_at_its_threshold(probability: float, expected: str) -> None:
    assert band(probability, Thresholds(0.25, 0.75)) == expected


def test_equal_thresholds_leave_nothing_to_review_and_above_one_is_never() -> None:
    assert [band(p, Thresholds(0.5, 0.5)) for p in (0.4, 0.5)] == ["pass", "block"]
    assert band(1.0, Thresholds(0.5, 2.0)) == "review"


def test_no_number_goes_to_a_person() -> None:
    assert band(float("nan"), Thresholds(0.25, 0.75)) == "review"
