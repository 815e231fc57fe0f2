"""How many labels each strategy needs, beside random asking, on real photographs: every table of docs/labelling.md.

    python -m bench.labels --data folder:photos --store store --out bench/results/labels.json

Three classes, every positive known or five of them, right answers or a tenth of them wrong; random asking, the two
readings of the published rule (nearest to 0.5, above 0.5), the mixture that `launch loop` asks by, and DIRECT's. The
peer is random asking, with the same classifier on the same photos in the same run. Finished runs are kept in the store.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from prohibit_jax.active.experiment import experiment
from prohibit_jax.active.loop import STRATEGY
from prohibit_jax.active.plots import savings_plot
from prohibit_jax.active.savings import summarise
from prohibit_jax.active.simulate import Protocol
from prohibit_jax.active.world import load_world
from prohibit_jax.bundle.store import open_store
from prohibit_jax.config import load_config

STRATEGIES = ("uncertainty", "positives", STRATEGY, "direct", "positives=0.2,direct=0.7,random=0.1")
BATCHES = {"weapon": 20, "cash": 20, "wildlife": 40}
SHARES = {"weapon": 30, "cash": 30, "wildlife": 10}
"""The claim: within a point of all negatives with a thirtieth of them, or a tenth."""

NOISE = 0.1


def main() -> None:
    """Runs everything and prints a line for each strategy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", default="store")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plots", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name, batch in BATCHES.items():
        config = load_config(name, overrides={"data.source": options.data})
        world = load_world(config, options.store)
        folder = open_store(options.store).runs / name / "simulations"
        protocols = {
            "known": Protocol(batch, 10 * batch, "known"),
            "known, a tenth wrong": Protocol(batch, 20 * batch, "known", NOISE),
            "few": Protocol(batch, 20 * batch, "few"),
            "few, a tenth wrong": Protocol(batch, 20 * batch, "few", NOISE),
        }
        for title, protocol in protocols.items():
            curves = experiment(world, STRATEGIES, protocol, range(options.seeds), folder, progress=_tell)
            found = summarise(curves)
            results.setdefault(name, {})[title] = found
            _print(name, title, found)
            if options.plots:
                file = options.plots / f"labels_{name}_{protocol.start}{'_noisy' if protocol.noise else ''}.png"
                savings_plot(file, found, f"{name}: {title}, {options.seeds} seeds")
    if options.out:
        options.out.write_text(json.dumps({"seeds": options.seeds, "classes": results}) + "\n")


def _tell(done: int, total: int) -> None:
    print(f"\r{done} of {total} runs", end="" if done < total else "\n", file=sys.stderr)


def _print(name: str, title: str, found: dict[str, Any]) -> None:
    every = found["all"]
    share = every["labels"] // SHARES[name]
    print(f"\n{name}, {title}: {every['labels']} labels give {_pair(every)}; with {share} at most:")
    for strategy, figures in found["strategies"].items():
        within = [point for point in figures["curve"] if point["labels"] <= share]
        kinds = ("labels_to_full", "ratio_to_random", "ratio_at_equal", "positives_to_random")
        print(
            f"  {strategy:45}",
            _pair(within[-1]) if within else "-",
            *(f"| {kind} {_interval(figures[kind])}" for kind in kinds),
        )


def _pair(point: dict[str, float]) -> str:
    return f"AP {point['average_precision']:.3f}, P@R90 {point['precision_at_recall']:.2f}"


def _interval(figure: dict[str, float | None] | None) -> str:
    if figure is None:
        return "never"
    low, high = ("inf" if figure[end] is None else f"{figure[end]:.1f}" for end in ("low", "high"))
    return f"{figure['value']:.1f} ({low} to {high})"


if __name__ == "__main__":
    main()
