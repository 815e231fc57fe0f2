"""What a run of the suite says of the tests that it skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def in_words(reasons: Sequence[str]) -> str:
    """One line: how many tests were skipped, and what would run them, which is what each gives as its reason."""
    if not reasons:
        return "No test was skipped."
    counts = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    each = "; ".join(f"{count} ({reason})" for reason, count in counts.most_common())
    return f"{len(reasons)} skipped: {each}."
