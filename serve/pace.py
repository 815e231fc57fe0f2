"""How long things take here, learned from what they took: the ground of every promise about time."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

MEMORY = 0.1
"""Weight of the newest measurement."""
OUTLIER = 4.0
"""Times the mean above which a measurement counts for no more: one huge photo must not turn others away."""
BRIEF = 0.001
"""Seconds that no measurement is too long for."""
CAUTION = 2.0
"""Mean deviations by which a promise is later than what is expected."""


class Duration:
    """Seconds that something takes: a moving mean and mean deviation."""

    def __init__(self) -> None:
        self.mean = 0.0
        self.deviation = 0.0
        self._known = False

    def observe(self, seconds: float) -> None:
        """Learns from a measurement."""
        if not self._known:
            self.mean, self._known = seconds, True
        seconds = min(seconds, max(OUTLIER * self.mean, BRIEF))
        self.deviation += MEMORY * (abs(seconds - self.mean) - self.deviation)
        self.mean += MEMORY * (seconds - self.mean)

    @property
    def promised(self) -> float:
        """What it hardly ever exceeds."""
        return self.mean + CAUTION * self.deviation


class Pace:
    """Of one device and its batch sizes, and of decoding."""

    def __init__(self, batch_sizes: Sequence[int], workers: int) -> None:
        self.batches = {size: Duration() for size in sorted(batch_sizes)}
        self.decode = Duration()
        self._workers = workers
        self._largest = max(batch_sizes)
        self._drains = [0.0] * (self._largest + 1)

    def observe(self, photos: int, seconds: float) -> None:
        """Learns what a batch took."""
        self.batches[self._holding(photos)].observe(seconds)
        for count in range(1, self._largest + 1):
            batch = self.choose(count, inf)
            self._drains[count] = self.batch(batch) + self._drains[count - batch]

    def batch(self, photos: int) -> float:
        """Seconds for a batch of so many photos."""
        return self.batches[self._holding(photos)].promised

    def choose(self, waiting: int, seconds: float) -> int:
        """How many of the waiting photos to score next: the size that gets most of them done a second, among those
        that take at most `seconds`, or the smallest where none does."""
        best, rate = min(next(iter(self.batches)), waiting), 0.0
        for size, took in self.batches.items():
            photos = min(size, waiting)
            if took.promised <= seconds and photos > rate * took.mean:
                best, rate = photos, photos / max(took.mean, 1e-9)
        return best

    def drain(self, photos: int) -> float:
        """Seconds for so many photos on the device, one batch after the other."""
        whole, rest = divmod(photos, self._largest)
        return whole * self._drains[-1] + self._drains[rest]

    def decoded(self, photos: int, seconds: float) -> None:
        """Learns how long a photo took to decode when it was the last of so many."""
        self.decode.observe(seconds / -(-photos // self._workers))

    def decoding(self, photos: int) -> float:
        """Seconds for so many photos in the decoding processes."""
        return -(-photos // self._workers) * self.decode.promised

    def gain(self, waiting: int, coming: int) -> float:
        """Seconds of the device that are saved by scoring those that wait together with those that come."""
        more = min(coming, self._largest - waiting)
        return self.drain(waiting) + self.drain(more) - self.drain(waiting + more) if more > 0 else 0.0

    def alone(self, photos: int) -> float:
        """Seconds for a request of so many photos where nothing else goes on."""
        return self.decoding(photos) + self.drain(photos)

    def _holding(self, photos: int) -> int:
        return next(size for size in self.batches if size >= photos)
