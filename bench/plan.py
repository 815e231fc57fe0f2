"""How far the predictions of `launch plan` are off, for bundles of many heads, whole and on trunks.

    python -m bench.plan --out bench/results/plan.json

Heads are EfficientNet-B0's. For each trunk the two points that a plan measures and all bundles, loaded from a store,
take turns, every one in a process of its own; the bundles are then predicted from the two points.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.console import bar
from prohibit_jax.bench.jax_engines import heads_of
from prohibit_jax.bench.race import look
from prohibit_jax.bench.report import about
from prohibit_jax.bench.report import publish as publish_report
from prohibit_jax.bench.work import Work
from prohibit_jax.bench.worker import Device
from prohibit_jax.bundle.card import Trunk
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.models.efficientnet import B0
from prohibit_jax.plan.measure import costs_of, measure, points_of, serving_point
from prohibit_jax.plan.predict import Form, Part, latency, memory
from prohibit_jax.types import HeadRef

HEADS = (1, 5, 12, 20, 40)
TRUNKS = ("", "s2", "s5")


def main() -> None:
    """Parses, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, nargs="+", default=HEADS)
    parser.add_argument("--trunks", nargs="+", default=TRUNKS, help="'' is whole heads")
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="for the timed calls of each trunk")
    parser.add_argument("--out", default=None)
    arguments = parser.parse_args()
    device, rows = look(), list[dict[str, Any]]()
    report = about(device) | {"model": B0.name, "batch": arguments.batch, "size": arguments.size, "rows": rows}
    for trunk in arguments.trunks:
        form = Form(B0, arguments.size, trunk)
        rows += bundles(form, arguments.heads, arguments.batch, arguments.seconds, device)
        report["worst_off"] = max(abs(row["off"]) for row in rows)
        publish_report(report, arguments.out)
    print("| heads | trunk | predicted, ms | measured, ms | off | predicted, MB | measured, MB |\n|" + 7 * "---|")
    for row in rows:
        figures = f"{row['predicted_ms']:.1f} | {row['measured_ms']:.1f} | {row['off']:+.1%}"
        print(
            f"| {row['heads']} | {row['trunk'] or 'none'} | {figures} | {row['predicted_mb']:.0f} "
            f"| {row['measured_mb']:.0f} |"
        )


def bundles(form: Form, counts: Sequence[int], batch: int, seconds: float, device: Device) -> list[dict[str, Any]]:
    """A row for each number of heads of this form: what was predicted, and what was measured in turn with that."""
    points = points_of(form, batch, "float32")
    with tempfile.TemporaryDirectory() as folder, bar() as line:
        store = Store(folder)
        names = publish(Work(max(counts), batch, form.size, form.trunk, form.arch), store)
        for count in counts:
            make_bundle(store, f"of-{count}", names[:count])
        served = [serving_point(f"of-{count}", folder, batch, "float32") for count in counts]
        os.environ["PROHIBIT_CACHE"] = str(Path(folder) / "programs")  # a head is compiled once for all bundles
        figures = measure([*points, *served], device, seconds=seconds, progress=line)
    costs = costs_of([form], points, figures[:2])
    rows = []
    for count, found in zip(counts, figures[2:], strict=True):
        parts = (Part(form, count),)
        ms = latency(costs, parts)
        rows.append(
            {
                "heads": count,
                "trunk": form.trunk,
                "predicted_ms": ms,
                "measured_ms": found.ms,
                "off": ms / found.ms - 1,
                "predicted_mb": memory(costs, parts),
                "measured_mb": found.mb,
            }
        )
    return rows


def publish(work: Work, store: Store) -> list[HeadRef]:
    """The work's heads in the store."""
    heads, trunks = heads_of(work)
    trunk = Trunk(store.publish_trunk(*trunks.values()), work.trunk) if trunks else None
    return [store.publish_head(replace(head.card, trunk=trunk), head.variables) for head in heads]


if __name__ == "__main__":
    main()
