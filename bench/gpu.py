"""Everything that is worth knowing of the scorer on a GPU, in one command of a few minutes.

    python -m bench.gpu --minutes 8 --out bench/results/NAME.json

Engines are processes of their own with the same weights; what they put out is compared with float32 before anything is
timed, and ours is timed again beside each peer. Steps come in the order of their worth, and the file is written after
each, so that a cut-off loses only what was not reached. It needs JAX for the card, flax, optax, numpy, pillow,
safetensors, jaxtyping, etils and rich; peers whose libraries are missing say so.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from prohibit_jax.bench.engines import OURS, PEERS, Engine
from prohibit_jax.bench.race import look, race, title
from prohibit_jax.bench.report import about, publish
from prohibit_jax.bench.work import Work
from prohibit_jax.bench.worker import Worker, WorkerError
from prohibit_jax.models.inception_resnet_v2 import INCEPTION_RESNET_V2

ENGINES = {engine.name: engine for engine in (OURS, *PEERS)}
HALF, PLAIN = ENGINES["prohibit_jax bf16"], ENGINES["prohibit_jax bf16 without kernels"]
WHOLE = (
    PLAIN.name, "torch graph bf16", "jax.vmap bf16", "torch.compile bf16",
    "torch channels-last bf16", "torch.func.vmap", "jax loop", "prohibit_jax",
)  # fmt: skip
SHARED = (PLAIN.name, "torch graph bf16", "jax.vmap bf16")
NUMBERS = ((100, "s5"), (1000, "s5"), (40, ""), (100, ""), (40, "s5"), (12, ""), (12, "s5"), (1000, ""))
SIDE_BY_SIDE = 4  # programs that compile: each keeps several cores busy
SECONDS = 2.0  # of timed calls of an engine
LIMIT = 120.0  # seconds that an engine may take to answer
PROFILED = 5  # calls


def main() -> None:
    """Parses, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="no step begins after that")
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--out", type=Path, help="a JSON file that keeps the result")
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as programs:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", programs)
        report = measure(arguments.heads, arguments.batch, arguments.size, until, arguments.out)
    print(json.dumps(report["skipped"]))


def measure(heads: int, batch: int, size: int, until: float, out: Path | None) -> dict[str, Any]:
    """All steps that begin before `until`, in seconds of `time.monotonic`."""
    device = look(LIMIT)
    report: dict[str, Any] = {**about(device), "rows": [], "profiles": [], "compiled": {}, "skipped": []}
    publish(report, out)

    def timed(work: Work, *peers: str) -> None:
        for row in race(work, (HALF, *(ENGINES[peer] for peer in peers)), device, seconds=SECONDS, limit=LIMIT):
            report["rows"].append(row)
            print(line_of(row), flush=True)

    def profiled(work: Work, engine: Engine) -> None:
        with ready(work, engine) as worker:
            kernels = worker.ask("profile", PROFILED)
        report["profiles"].append({"engine": engine.name, "work": title(work), **kernels})
        print(f"{title(work)}, {engine.name}: {kernels['ms']:.3f} ms in {kernels['kernels']:.0f} kernels", flush=True)

    whole, shared = Work(heads, batch, size), Work(heads, batch, size, "s5")
    inception = Work(1, batch, size, arch=INCEPTION_RESNET_V2)
    numbers = [Work(count, batch, size, trunk) for count, trunk in NUMBERS]
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("whole heads", lambda: timed(whole)),
        ("heads on a trunk", lambda: timed(shared)),
        ("profile of whole heads", lambda: profiled(whole, HALF)),
        ("profile on a trunk", lambda: profiled(shared, HALF)),
        *((peer, partial(timed, whole, peer)) for peer in WHOLE),
        ("programs for other numbers of heads", lambda: report["compiled"].update(compiled(numbers, HALF))),
        *((title(work), partial(timed, work)) for work in numbers),
        *((f"{peer} on a trunk", partial(timed, shared, peer)) for peer in SHARED),
        ("profile without kernels", lambda: profiled(whole, PLAIN)),
        ("InceptionResNetV2", lambda: timed(inception, PLAIN.name)),
    )
    for name, step in steps:
        try:
            if time.monotonic() > until:
                report["skipped"].append(name)
            else:
                step()
        except WorkerError as error:
            report["skipped"].append(f"{name}: {error}")
        publish(report, out)
    return report


@contextmanager
def ready(work: Work, engine: Engine) -> Iterator[Worker]:
    """A process that has compiled the engine for the work."""
    with Worker(LIMIT) as worker:
        worker.ask("load", engine, work)
        worker.ask("logits", work, 1)
        yield worker


def compiled(works: Sequence[Work], engine: Engine) -> dict[str, float | str]:
    """Seconds to load and compile each work, several at a time, or why there are none; the cache on disk keeps the
    programs."""

    def once(work: Work) -> float | str:
        begun = time.monotonic()
        try:
            with ready(work, engine):
                return time.monotonic() - begun
        except WorkerError as error:
            return str(error)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        return {title(work): seconds for work, seconds in zip(works, threads.map(once, works), strict=True)}


def line_of(row: dict[str, Any]) -> str:
    """A row in words."""
    name = f"{row['heads']} x {row['batch']}" + (f" on {row['trunk']}" if row["trunk"] else "") + f", {row['engine']}"
    if "error" in row:
        return f"{name}: {row['error']}"
    return f"{name}: {row['p50_ms']:.2f} ms, p95 {row['p95_ms']:.2f}, off by {row['difference']:.2g}"


if __name__ == "__main__":
    main()
