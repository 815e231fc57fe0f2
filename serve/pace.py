"""How long things take here, learned from what they took: the ground of every promise about time."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from statistics import median

MEMORY = 0.1
"""Weight of the newest measurement."""
OUTLIER = 4.0
"""Times the mean above which a measurement counts for no more: one huge photo must not turn others away."""
BRIEF = 0.001
"""Seconds that no measurement is too long for."""
WORTH = 1.05
"""Times more photos a second that a larger batch must get done."""
CAUTION = 2.0
"""Mean deviations by which a promise is later than what is expected."""


class Duration:
    """Seconds that something takes, or a ratio of them: a moving mean and mean deviation."""

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
    """Of one device and its batch sizes, and of decoding.

    What a batch takes when nothing else goes on is measured once, for each size; how much more it takes while other
    things do is learned from every batch, for all sizes alike, so that none is misjudged for not having been tried.
    """

    def __init__(self, batch_sizes: Sequence[int], workers: int) -> None:
        self.decode = Duration()
        self._workers = workers
        self._alone = dict.fromkeys(sorted(batch_sizes), 0.0)
        self._largest = max(batch_sizes)
        self._drains = [0.0] * (self._largest + 1)
        self._load = Duration()  # seconds that a batch takes for each that it takes alone
        self._load.observe(1.0)

    def rehearsed(self, photos: int, seconds: Sequence[float]) -> None:
        """Learns what a batch of this size took, several times over, when nothing else went on."""
        self._alone[photos] = median(seconds)
        for count in range(1, self._largest + 1):
            batch = self.choose(count, inf)
            self._drains[count] = self._alone[self._holding(batch)] + self._drains[count - batch]

    def observe(self, photos: int, seconds: float) -> None:
        """Learns what a batch took."""
        self._load.observe(seconds / self._alone[self._holding(photos)])

    def batch(self, photos: int) -> float:
        """Seconds for a batch of so many photos."""
        return self._load.promised * self._alone[self._holding(photos)]

    def choose(self, waiting: int, seconds: float) -> int:
        """How many of the waiting photos to score next: the size that gets most of them done a second, among those
        that take at most `seconds`, or the smallest where none does. A larger one has to be worth its latency."""
        best, rate = min(next(iter(self._alone)), waiting), 0.0
        for size, alone in self._alone.items():
            photos = min(size, waiting)
            if self._load.mean * alone <= seconds and photos > WORTH * rate * alone:
                best, rate = photos, photos / max(alone, 1e-9)
        return best

    def drain(self, photos: int) -> float:
        """Seconds for so many photos on the device, one batch after the other."""
        whole, rest = divmod(photos, self._largest)
        return self._load.promised * (whole * self._drains[-1] + self._drains[rest])

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
        return next(size for size in self._alone if size >= photos)
