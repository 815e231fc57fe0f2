"""Keeps clients that do not wait from taking, by asking again and again, the time that would serve them."""

from __future__ import annotations

from math import exp
from time import monotonic

REFUSING = 0.0002
"""Seconds that turning a request away costs; so many of them each second add up to the wait."""


class Calm:
    """How long a request that is turned away waits for its answer: the longer, the more have been of late.

    Ten a second are answered at once. A crowd that asks again as soon as it is refused would else take all of the
    processor for refusals, and keep those out who could be served, long after what brought it about has passed.
    """

    def __init__(self, most: float) -> None:
        """
        Args:
            most: seconds to wait at most.
        """
        self._most = most
        self._rate = 0.0
        self._last = monotonic()

    def refused(self) -> float:
        """Counts one that is turned away; the seconds that it is to wait."""
        now = monotonic()
        self._rate = 1.0 + self._rate * exp(self._last - now)  # those of about the last second
        self._last = now
        return min(self._rate * REFUSING, self._most)
