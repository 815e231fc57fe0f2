"""Quality on real photographs: each class, each way of training, several seeds; average precision with its interval.

    python -m bench.quality --data folder:../shared/data/caltech101 --store quality --out bench/results/quality.json

Every run is a `launch train` of its own on the same split; a run whose result is already in the file is not repeated.
The file is written after every run, and the tables are printed from it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from launch.console import bar
from prohibit_jax.config import load_config
from prohibit_jax.heads.make import train_head

CLASSES = ("weapon", "cash", "wildlife", "blade")
FROZEN = ("model.trunk_through=s7", "train.batch=64")
# The whole network goes on from the same seed's head on the trunk: a fresh classifier's gradients would spoil good
# features before it has learnt anything (Kumar et al., arXiv 2202.10054).
FINE_TUNE = (
    *("model.trunk_through=", "train.epochs=3", "train.steps_per_epoch=16", "train.batch=32"),
    *("train.learning_rate=1e-4", "train.average=0.9"),
)
RECIPES = {  # name: (weights or the recipe to go on from, settings, seeds)
    "lite0, trunk through s7": ("lite0", FROZEN, 3),
    "lite0, whole network": ("lite0, trunk through s7", FINE_TUNE, 3),
    "b0 of torchvision, trunk through s7": ("b0", FROZEN, 3),
    "b0 of torchvision, whole network": ("b0 of torchvision, trunk through s7", FINE_TUNE, 1),
    # What a trunk costs by where it ends: smaller photos, so that four easy classes leave something to lose.
    "96 px, trunk through s7": ("lite0", (*FROZEN, "model.size=96"), 3),
    **{
        f"96 px, trunk through s{cut}": (
            "96 px, trunk through s7",
            (*FINE_TUNE, "model.size=96", f"model.trunk_through=s{cut}"),
            3,
        )
        for cut in (6, 5, 4, 3, 2)
    },
    "96 px, whole network": ("96 px, trunk through s7", (*FINE_TUNE, "model.size=96"), 3),
}

Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """One training."""

    recipe: str
    class_name: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.recipe} / {self.class_name} / {self.seed}"


def main() -> None:
    """Runs what is missing, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="recipes whose name begins so")
    arguments = parser.parse_args()
    results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for run in runs(arguments.only):
        if run.key not in results:
            results[run.key] = train(run, results, arguments.data, arguments.store)
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print_tables(results)


def runs(only: str) -> Iterator[Run]:
    """Seed by seed, so that an interrupted job has compared every recipe once."""
    for recipe, (_, _, seeds) in RECIPES.items():
        if recipe.startswith(only):
            yield from (Run(recipe, name, seed) for seed in range(seeds) for name in CLASSES)


def train(run: Run, results: Results, data: str, store: Path) -> dict[str, Any]:
    """The figures of one training, and what it took."""
    weights, settings, _ = RECIPES[run.recipe]
    if weights in RECIPES:
        weights = results[replace(run, recipe=weights).key]["head"]
    overrides = {"data.source": data, "model.weights": weights}
    config = load_config(run.class_name, None, [*settings, f"train.seed={run.seed}"], overrides)
    begun = time.perf_counter()
    with bar() as line:
        made = train_head(config, store, progress=line)
    metrics = made.card.metrics
    names = (
        "average_precision",
        "recall_at_precision",
        "precision_at_recall",
        "calibration_error",
        "positives",
        "negatives",
    )
    return {name: metrics[name] for name in names} | {
        "head": str(made.ref), "run": made.run.name, "seconds": round(time.perf_counter() - begun, 1),
    }  # fmt: skip


def print_tables(results: Results) -> None:
    """A row for each class and recipe: means over the seeds, the range of the seeds, and the mean interval."""
    print("| class | recipe | seeds | average precision | seeds' range | 95% interval | recall at 0.95 | s a run |")
    print("|---|---|---|---|---|---|---|---|")
    for recipe in RECIPES:
        for name in CLASSES:
            found = [value for key, value in results.items() if key.startswith(f"{recipe} / {name} / ")]
            if found:
                print(_row(name, recipe, found))


def _row(name: str, recipe: str, found: list[dict[str, Any]]) -> str:
    areas = [value["average_precision"] for value in found]
    values = [area["value"] for area in areas]
    interval = [mean(area[end] for area in areas) for end in ("low", "high")]
    recall = mean(value["recall_at_precision"]["value"] for value in found)
    seconds = mean(value["seconds"] for value in found)
    return (
        f"| {name} | {recipe} | {len(found)} | {mean(values):.3f} | {min(values):.3f} to {max(values):.3f} | "
        f"{interval[0]:.3f} to {interval[1]:.3f} | {recall:.2f} | {seconds:.0f} |"
    )


if __name__ == "__main__":
    main()
