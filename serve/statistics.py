"""What each model was asked and how long it took, as Triton's statistics extension puts it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serve.service import Timing

STAGES = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass
class Total:
    """How often something happened, and how long it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        """Counts one more."""
        self.count += 1
        self.ns += round(seconds * 1e9)


@dataclass
class _Model:
    photos: int = 0
    last_ms: int = 0  # since 1970
    success: Total = field(default_factory=Total)
    fail: Total = field(default_factory=Total)
    stages: dict[str, Total] = field(default_factory=lambda: {stage: Total() for stage in STAGES})


class Statistics:
    """Counts by model and version since the start of the process. For the event loop only."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], _Model] = {}

    def record(
        self, model: str, version: str, photos: int, timing: Timing | None, ok: bool, seconds: float = 0.0
    ) -> None:
        """Counts a request to a model that serves.

        Args:
            model: a class, or `ensemble`.
            version: of the class's head, or the ensemble's.
            photos: of the request; counted where it succeeded.
            timing: of its slowest photo by stage; None where it failed before.
            ok: whether it was answered with scores.
            seconds: all that the request took here since its body was read, if more than the stages.
        """
        entry = self._models.setdefault((model, version), _Model())
        if not ok or timing is None:
            entry.fail.add(seconds)
            return
        stages = timing.decode + timing.queue + timing.device
        entry.success.add(max(seconds, stages))
        entry.photos += photos
        entry.last_ms = time.time_ns() // 1_000_000
        rest = max(seconds - stages, 0.0)
        for stage, spent in zip(STAGES, (timing.queue, timing.decode, timing.device, rest), strict=True):
            entry.stages[stage].add(spent)

    def report(self, models: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Triton's JSON for these models and versions.

        A request counts as one execution, for one batch may hold photos of several; `compute_output` is what remained
        of its time beside the other stages.
        """
        return {"model_stats": [_report(*key, self._models.get(key, _Model())) for key in models]}


def _report(model: str, version: str, entry: _Model) -> dict[str, Any]:
    durations = {"success": entry.success, "fail": entry.fail, **entry.stages}
    return {
        "name": model,
        "version": version,
        "last_inference": entry.last_ms,
        "inference_count": entry.photos,
        "execution_count": entry.success.count,
        "inference_stats": {name: {"count": spent.count, "ns": spent.ns} for name, spent in durations.items()},
        "batch_stats": [],
    }
