"""A whole benchmark: which works there are, the rows of all of them, and what they were measured on."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from etils import epath

from prohibit_jax.bench.engines import OURS, Engine
from prohibit_jax.bench.race import LIMIT, Row, race
from prohibit_jax.bench.work import Work
from prohibit_jax.bench.worker import Device
from prohibit_jax.bundle.card import library_versions
from prohibit_jax.files import publish_file
from prohibit_jax.models.efficientnet import STAGES
from prohibit_jax.models.inception_resnet_v2 import INCEPTION_RESNET_V2
from prohibit_jax.types import InputError, Line, silent

HEADS = (12, 20, 30, 40)  # the published table's, beside one InceptionResNetV2
MORE_HEADS = (100, 1000)  # where there is a GPU
WHOLE = ("",)
TRUNKS = ("", "s2", "s5")
STATISTICS = Path("/proc/stat")
PEERS = ("torch", "onnxruntime", "openvino")  # whose versions decide what was measured


def counts_of(text: str) -> tuple[int, ...]:
    """Reads `1,20`; nothing in, nothing out. Raises InputError on anything else."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(re.fullmatch("[1-9][0-9]{0,4}", part) for part in parts):
        raise InputError(f"--heads {text!r}: give numbers from 1 to 99999 with commas between them, as in 1,20")
    return tuple(dict.fromkeys(map(int, parts)))


def trunks_of(text: str) -> tuple[str, ...]:
    """Reads `none,s5`, where whole heads, `none`, become an empty text. Raises InputError on an unknown stage."""
    known = ("none", *STAGES[:-1])
    parts = [part.strip() for part in text.split(",")] if text else []
    for part in parts:
        if part not in known:
            raise InputError(f"--trunk {part!r}: use some of {', '.join(known)}")
    return tuple(dict.fromkeys("" if part == "none" else part for part in parts))


def works_of(heads: Sequence[int], trunks: Sequence[str], batch: int, size: int, device: Device) -> list[Work]:
    """A work for each number of heads on each trunk; without heads, those of the published table."""
    if heads:
        return [Work(count, batch, size, trunk) for trunk in trunks or WHOLE for count in heads]
    counts = HEADS + (MORE_HEADS if device.kind == "gpu" else ())
    return [
        Work(1, batch, size, arch=INCEPTION_RESNET_V2),
        *(Work(count, batch, size, trunk) for trunk in trunks or TRUNKS for count in counts),
    ]


def run_bench(
    works: Iterable[Work],
    peers: Sequence[Engine],
    device: Device,
    *,
    seconds: float = 10.0,
    limit: float = LIMIT,
    out: epath.PathLike | None = None,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The rows of all works, ours first, and what they were measured on.

    Args:
        peers: what ours is compared with.
        device: as `race.look` finds it.
        seconds: what the timed calls of an engine at one work may take together.
        limit: seconds that an engine may take to load, to compile, and for one call.
        out: a JSON file that holds what is done so far, from the beginning on.
        warn: is told what makes the figures doubtful.
    """
    rows: list[Row] = []
    report = {**about(device), "rows": rows}
    if report["busy_cores"] > device.cores / 10:
        warn(f"other processes keep {report['busy_cores']:.1f} of {device.cores} cores busy: figures will be too high")
    publish(report, out)
    for work in works:
        # Only what needs no library of its own knows every architecture.
        engines = [peer for peer in peers if work.arch is not INCEPTION_RESNET_V2 or not peer.needs]
        rows += race(work, (OURS, *engines), device, seconds=seconds, limit=limit, progress=progress)
        publish(report, out)
    return report


def about(device: Device) -> dict[str, Any]:
    """What was measured on: the device, how busy others keep it, and the libraries' versions."""
    versions = library_versions()
    for name in PEERS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "device": device.name,
        "cores": device.cores,
        "memory_mb": device.memory / 1e6,
        "busy_cores": busy_cores(),
        "versions": versions,
    }


def busy_cores(seconds: float = 1.0) -> float:
    """How many cores are at work while this process waits; 0 where the system does not tell."""
    if not STATISTICS.exists():
        return 0.0
    before = _jiffies()
    time.sleep(seconds)
    busy, whole = (after - former for after, former in zip(_jiffies(), before, strict=True))
    return busy / max(whole, 1) * (os.cpu_count() or 1)


def _jiffies() -> tuple[int, int]:
    """Ticks of all cores together that went to processes, and all, since the system started."""
    user, nice, system, idle, waiting, *others = map(int, STATISTICS.read_text().splitlines()[0].split()[1:9])
    busy = user + nice + system + sum(others)
    return busy, busy + idle + waiting


def publish(report: dict[str, Any], out: epath.PathLike | None) -> None:
    """Writes the report to `out`, if it is given."""
    if out:
        publish_file(epath.Path(out), (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
