"""What Prometheus is told. The dashboard and the alerts in `deploy/` use these names; a test compares them.

Every label's values are few and ours: a route's template, never a path, a known reason, a head that was loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from threading import Lock

import jax
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from prohibit_jax.score.engine import COMPILED

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
PHOTOS = (1, 2, 3, 4, 5, 8, 16, 32, 64, 128, 256)
PROBABILITIES = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
COMPILATIONS = (COMPILED, "/jax/core/compile/backend_compile_duration")
Head = tuple[str, str, str]  # class, version, role


class Metrics:
    """The service's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"prohibit_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"prohibit_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(f"prohibit_{name}", text, labels, buckets=buckets, registry=registry)

        self.requests = counter("requests", "Requests by route and status code.", "route", "code")
        self.request_seconds = histogram(
            "request_seconds", "From a request's last byte to its answer.", SECONDS, "route"
        )
        self.stage_seconds = histogram(
            "stage_seconds", "A request's slowest photo's time in each stage.", SECONDS, "stage"
        )
        self.queue_photos = gauge("queue_photos", "Decoded photos that wait for the device.")
        self.decoding_photos = gauge("decoding_photos", "Photos that are decoded or wait to be.")
        self.batch_photos = histogram("batch_photos", "Photos in a batch.", PHOTOS)
        self.device_seconds = counter("device_seconds", "Seconds in which the device was at a batch.")
        self.photos = counter("photos", "Photos by what became of them.", "result")
        self.photo_errors = counter("photo_errors", "Photos that could not be decoded.", "reason")
        self.shed = counter("shed", "Photos that were turned away.", "cause")
        self.compilations = counter("compilations", "Programs compiled since the start.")
        self.bands = counter("bands", "Photos by band.", "class", "version", "role", "band")
        self.disagreements = counter("shadow_disagreements", "Photos in another band by shadow.", "class", "version")
        self.head_info = gauge("head_info", "1 for each head that scores.", "class", "version", "role", "sha256")
        self.bundle_info = gauge("bundle_info", "1 for what serves.", "bundle", "sha256")
        self.edition = gauge("edition", "Counts up with every swap.")
        self.swaps = counter("swaps", "Changes of heads, or attempts.", "class", "action", "result")
        self.swap_seconds = histogram("swap_seconds", "From asked to served.", SECONDS)
        self.workers = gauge("workers", "Decoding processes.")
        self.worker_deaths = counter("worker_deaths", "Decoding processes that were replaced.", "cause")
        self.ready = gauge("ready", "1 while requests are served.")
        self.scores = Scores()
        registry.register(self.scores)

    def refused(self, status: int) -> None:
        """Counts an answer that no route gave."""
        self.requests.labels("none", status).inc()
        if status == 503:
            self.shed.labels("connections").inc()
            self.photos.labels("shed").inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def listen(self) -> None:
        """Counts what is compiled from now on, until `unlisten`."""
        jax.monitoring.register_event_duration_secs_listener(self._compiled)

    def unlisten(self) -> None:
        """Stops counting."""
        jax.monitoring.unregister_event_duration_listener(self._compiled)

    def _compiled(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event in COMPILATIONS:
            self.compilations.inc()


class Scores(Collector):
    """A histogram of probabilities for each head; a batch of all heads is counted at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[Head, np.ndarray] = {}
        self._sums: dict[Head, float] = {}
        self._kept: frozenset[Head] | None = None

    def observe(self, heads: Sequence[Head], scores: np.ndarray) -> None:
        """Counts float32 [b, k], a column for each of `heads`; what is no number is left out."""
        bins = len(PROBABILITIES) + 1
        finite = np.isfinite(scores)
        places = np.searchsorted(PROBABILITIES, scores) + bins * np.arange(len(heads))
        counts = np.bincount(places[finite], minlength=bins * len(heads)).reshape(len(heads), bins)
        sums = np.where(finite, scores, 0).sum(axis=0, dtype=np.float64)
        with self._lock:
            for head, count, total in zip(heads, counts, sums.tolist(), strict=True):
                if self._kept is not None and head not in self._kept:
                    continue  # a batch that ended after its edition
                self._counts[head] = self._counts.get(head, 0) + count
                self._sums[head] = self._sums.get(head, 0.0) + total

    def keep(self, heads: Iterable[Head]) -> None:
        """Forgets all other heads."""
        with self._lock:
            self._kept = frozenset(heads)
            for gone in self._counts.keys() - self._kept:
                del self._counts[gone], self._sums[gone]

    def collect(self) -> Iterator[Metric]:
        """As Prometheus' client asks for it."""
        family = HistogramMetricFamily(
            "prohibit_score", "Calibrated probabilities.", labels=("class", "version", "role")
        )
        with self._lock:
            for head, counts in self._counts.items():
                cumulative = counts.cumsum().tolist()
                edges = [*map(str, PROBABILITIES), "+Inf"]
                family.add_metric(head, list(zip(edges, cumulative, strict=True)), self._sums[head])
        yield family
