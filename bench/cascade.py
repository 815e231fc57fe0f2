"""A gate before the heads, which clears photos that no head would flag: what it saves, and what it gives up.

    python -m bench.cascade --data folder:../shared/data/caltech101 --store cascade --out bench/results/cascade.json

A gate is a part of the imported network on photos of some size, its output averaged over the positions, and a linear
classifier for each class on that. It clears a photo if no class's score reaches that class's gate threshold; only the
others go on to the heads. A linear head on the whole network's features stands for a head of any kind: `whole` heads
cost a network each, heads on a `trunk` through top cost one network together, and so does a merged network.

Each class's gate threshold is set on the fit side, out of fold, such that at most `GIVEN_UP` of the positives that its
head flags lie below it. On the test side it is counted what that gives up, and what part of other photos is cleared.
All gates meet four classes; the two that clear most also meet the largest folders as classes, 60 of them.
Features are kept in the store. What is in the file is not made again, and the tables are printed from it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from scipy.stats import beta

from launch.console import bar
from prohibit_jax.bundle.fold import fold
from prohibit_jax.config import load_config
from prohibit_jax.data.index import index
from prohibit_jax.data.loader import decoded
from prohibit_jax.data.sources import open_source
from prohibit_jax.data.splits import clusters
from prohibit_jax.evaluate import calibration, thresholds
from prohibit_jax.models.efficientnet import STAGES
from prohibit_jax.models.network import Network, shapes
from prohibit_jax.score.engine import padded
from prohibit_jax.score.openvino import Piece, Runner
from prohibit_jax.score.stack import Folded
from prohibit_jax.train.classifier import Spread, fit_classifier, out_of_fold
from prohibit_jax.types import Advance, Line
from prohibit_jax.weights.imported import Weights, load, with_fresh_classifier

CLASSES = ("weapon", "cash", "wildlife", "blade")
CLUTTER = "BACKGROUND_Google"
SIZE = 160  # of the heads' photos, pixels
TEST = 0.4
FOLDS = 5
GIVEN_UP = 0.01  # of a class's positives that its head flags: what the gate may clear of those it was set on
BATCH = 5
CHUNK = 64  # photos that are decoded at once
ROUNDS = 150
BUNDLES = (("whole", 4), ("whole", 20), ("whole", 60), ("trunk", 20), ("trunk", 60))

MANY = (4, 20, 60)  # classes

Results = dict[str, Any]


@dataclass(frozen=True)
class Gate:
    """The network on photos of `size` pixels, through stage `through`."""

    size: int
    through: str

    @property
    def name(self) -> str:
        """Its name in the results."""
        return f"{self.through} at {self.size} px"

    @property
    def stages(self) -> tuple[str, ...]:
        """What it runs."""
        return STAGES[: STAGES.index(self.through) + 1]

    @property
    def rest(self) -> tuple[str, ...]:
        """What is left of a trunk through `top`, if the gate is a part of it."""
        return STAGES[len(self.stages) : -1] if self.size == SIZE else ()


GATES = (*(Gate(size, "top") for size in (32, 48, 64, 96)), *(Gate(SIZE, through) for through in ("s2", "s3", "s4")))
HEADS = Gate(SIZE, "top")
"""Whose features the heads take."""

BEST = (Gate(96, "top"), Gate(SIZE, "s4"))


@dataclass(frozen=True)
class Photos:
    """The pool: features float32 [n, f] by gate, each photo's folder, and its group of near-identical ones."""

    features: Mapping[str, np.ndarray]
    folders: np.ndarray
    groups: np.ndarray

    def of(self, folders: Sequence[str]) -> np.ndarray:
        """int8 [n]: 1 for the photos of these folders."""
        return np.isin(self.folders, folders).astype(np.int8)

    def largest(self, count: int) -> list[str]:
        """The names of the largest folders, falling."""
        folders = Counter(self.folders.tolist())
        del folders[CLUTTER]
        return [name for name, _ in folders.most_common(count)]

    def places(self, seed: int) -> np.ndarray:
        """[n], uniform from 0 to 1, the same for the photos of a group: those below `TEST` are held out."""
        names, member = np.unique(self.groups, return_inverse=True)
        return np.asarray(np.random.default_rng(seed).random(len(names))[member])


def main() -> None:
    """Computes features, measures, counts, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", default="lite0")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    weights = with_fresh_classifier(load(arguments.store, arguments.weights), seed=0)
    results: Results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    with bar() as line:
        photos = read(arguments.data, arguments.store, weights, line)
        four = {name: photos.of(load_config(name).class_.positive) for name in CLASSES}
        many = {name: photos.of((name,)) for name in photos.largest(max(MANY))}
        advance = line("fitting")

        def judged(labels: Mapping[str, np.ndarray], gates: Sequence[Gate], seeds: int) -> Results:
            found = [one_seed(photos, labels, gates, seed, advance) for seed in range(seeds)]
            return {gate.name: [one[gate.name] for one in found] for gate in gates}

        results |= {"photos": len(photos.folders), "given_up": GIVEN_UP, "batch": BATCH}
        results["ms"] = results.get("ms") or measure(weights)
        results["gates"] = results.get("gates") or judged(four, GATES, arguments.seeds)
        results["many"] = results.get("many") or judged(many, BEST, 1)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print_tables(results)


def read(data: str, store: Path, weights: Weights, progress: Line) -> Photos:
    """Runs every gate, and what the heads take, over every photo; a size is decoded once."""
    source = open_source(data)
    seen = index(source, store / "cache", progress=progress("looking at photos"))
    rows = np.flatnonzero(seen.usable)
    folder = store / "cascade"
    folder.mkdir(exist_ok=True)
    files = {gate: folder / f"{gate.name.replace(' ', '_')}.npy" for gate in (*GATES, HEADS)}
    for size in sorted({gate.size for gate, file in files.items() if not file.exists()}):
        gates = [gate for gate in files if gate.size == size]
        runners = [pooled(weights, gate, CHUNK) for gate in gates]
        parts: list[list[np.ndarray]] = [[] for _ in gates]
        for _, images in decoded(source, rows, size, progress=progress(f"features at {size} px"), chunk=CHUNK):
            for part, run in zip(parts, runners, strict=True):
                part.append(run(padded(images, CHUNK))[: len(images)])
        for gate, part in zip(gates, parts, strict=True):
            np.save(files[gate], np.concatenate(part))
    features = {gate.name: np.load(file) for gate, file in files.items()}
    folders = np.array([source.items[row].label for row in rows.tolist()])
    return Photos(features, folders, clusters(seen, source.items)[rows])


def pooled(weights: Weights, gate: Gate, batch: int) -> Callable[[np.ndarray], np.ndarray]:
    """From photos uint8 [batch, size, size, 3] to features [batch, f]: the means over the positions."""
    run = program(weights, gate.stages, gate.size, batch)

    def features(images: np.ndarray) -> np.ndarray:
        x = run(images)
        return x.mean((1, 2)) if x.ndim == 4 else x

    return features


def program(
    weights: Weights, stages: Sequence[str], size: int, batch: int, inputs: tuple[int, ...] | None = None
) -> Runner:
    """Some stages of the network as the scorer compiles them, for photos, or for `inputs` of the stage before."""
    network = Network(weights.arch, tuple(stages))
    folded = Folded(*fold(network, {name: weights.variables[name] for name in shapes(network)}))
    photos = None if inputs else replace(weights.preprocessing, size=size)
    tile = batch if inputs and len(inputs) == 1 else 1  # as the scorer cuts float32
    piece = Piece(folded.network, photos, (tile, *(inputs or (size, size, 3))))
    return Runner({batch: piece}, folded, "float32", keep=False)


def measure(weights: Weights) -> dict[str, dict[str, float]]:
    """ms for `BATCH` photos of each gate, of what follows it in a trunk, and of the heads; all take turns.

    The median, and what the fastest tenth of calls stay within: on a shared machine the small programs wait the most.
    """
    rng = np.random.default_rng(0)
    calls: dict[str, Callable[[], Any]] = {}

    def add(name: str, run: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
        calls[name] = lambda: run(x)
        return run(x)

    def images(size: int) -> np.ndarray:
        return rng.integers(0, 256, (BATCH, size, size, 3), np.uint8)

    for gate in GATES:
        add(gate.name, pooled(weights, gate, BATCH), images(gate.size))
        if gate.rest:
            x = program(weights, gate.stages, SIZE, BATCH)(images(SIZE))
            add(f"after {gate.name}", program(weights, gate.rest, SIZE, BATCH, x.shape[1:]), x)
    features = add("trunk", program(weights, HEADS.stages, SIZE, BATCH), images(SIZE))
    add("head on the trunk", program(weights, ("classifier",), SIZE, BATCH, features.shape[1:]), features)
    add("whole head", program(weights, STAGES, SIZE, BATCH), images(SIZE))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            taken[name].append(1000 * (time.perf_counter() - begun))
    return {
        kind: {name: round(float(np.quantile(values, part)), 3) for name, values in taken.items()}
        for kind, part in (("median", 0.5), ("fastest_tenth", 0.1))
    }


def one_seed(
    photos: Photos, labels: Mapping[str, np.ndarray], gates: Sequence[Gate], seed: int, advance: Advance
) -> dict[str, Results]:
    """What each gate clears and gives up on one split, with classes of which each photo has one at most."""
    places = photos.places(seed)
    test = places < TEST
    advance(0, len(gates) + 1, f"seed {seed}: heads")
    flags = {name: flagged(own, scores(photos.features[HEADS.name], own, places), test) for name, own in labels.items()}
    found = {name: flags[name] & (own == 1) for name, own in labels.items()}  # what a gate must let through
    others = test & ~np.any([own == 1 for own in labels.values()], 0)
    results = {}
    for done, gate in enumerate(gates, 1):
        advance(done, len(gates) + 1, f"seed {seed}: {gate.name}")
        passing = []
        for name, own in labels.items():
            logits = scores(photos.features[gate.name], own, places)
            passing.append(logits >= gate_threshold(logits[found[name] & ~test], GIVEN_UP))
        cleared = ~np.any(passing, 0)
        by_first = {count: ~np.any(passing[:count], 0) for count in MANY if count <= len(labels)}
        results[gate.name] = {
            "cleared": {str(count): float(first[others].mean()) for count, first in by_first.items()},
            "cleared_clutter": float(cleared[others & (photos.folders == CLUTTER)].mean()),
            "classes": {
                name: {
                    "set_on": int((one & ~test).sum()),
                    "flagged": int((one & test).sum()),
                    "lost": int((one & test & cleared).sum()),
                    "lost_by_own": int((one & test & ~own).sum()),
                }
                for (name, one), own in zip(found.items(), passing, strict=True)
            },
        }
    return results


def scores(features: np.ndarray, labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Logits of linear classifiers that have not seen the photo, float32 [n]: out of fold on the fit side."""
    fit = places >= TEST
    folds = ((places - TEST) / (1 - TEST) * FOLDS).astype(int)
    spread = Spread.of(features[fit])
    logits = fit_classifier(features[fit], labels[fit], spread)(features)
    logits[fit] = out_of_fold(features[fit], labels[fit], spread, folds[fit])
    return logits


def flagged(labels: np.ndarray, logits: np.ndarray, test: np.ndarray) -> np.ndarray:
    """bool [n]: which photos reach the head's review threshold, calibrated and chosen on the fit side."""
    scale = calibration.fit(labels[~test], logits[~test])
    review = thresholds.choose(thresholds.Settings(), labels[~test], scale(logits[~test])).review
    return np.asarray(scale(logits) >= review)


def gate_threshold(logits: np.ndarray, given_up: float) -> float:
    """The highest threshold below which at most that part of the logits [n] lies; n at least 1."""
    return float(np.sort(logits)[int(len(logits) * given_up + 1e-9)])


def upper_bound(lost: int, total: int) -> float:
    """The rate that `lost` of `total` rules out, 95% sure, exactly (Clopper and Pearson 1934); about 3 / n for none."""
    return 1.0 if lost >= total else float(beta.ppf(0.95, lost + 1, total - lost))


def photos_needed(rate: float) -> int:
    """How many photos, none of them lost, rule out that rate, 95% sure."""
    return math.ceil(math.log(0.05) / math.log1p(-rate))


def cost(ms: Mapping[str, float], gate: Gate | None, cleared: float, kind: str, heads: int) -> float:
    """Mean ms for a batch of a bundle behind a gate that clears that part of the photos; None is no gate.

    A gate that is a part of the trunk is not run twice.
    """
    after = heads * ms["whole head"] if kind == "whole" else ms["trunk"] + heads * ms["head on the trunk"]
    if gate is None:
        return after
    if kind == "trunk" and gate.rest:
        after = ms[f"after {gate.name}"] + heads * ms["head on the trunk"]
    return ms[gate.name] + (1 - cleared) * after


def print_tables(results: Results) -> None:
    """What a gate costs and saves with four classes and with many; then what it gives up."""
    ms = results["ms"]["fastest_tenth"]
    _head(("gate", "its ms", "cleared", "of clutter", *(_named(*bundle) for bundle in BUNDLES)))
    _print("none", "", "", "", *(f"{cost(ms, None, 0.0, *bundle):.1f}" for bundle in BUNDLES))
    for gate in GATES:
        found = results["gates"][gate.name]
        cleared = [one["cleared"]["4"] for one in found]
        clutter = mean(one["cleared_clutter"] for one in found)
        span = f"{mean(cleared):.0%} ({min(cleared):.0%} to {max(cleared):.0%})"
        costs = (f"{cost(ms, gate, mean(cleared), *bundle):.1f}" for bundle in BUNDLES)
        _print(gate.name, f"{ms[gate.name]:.1f}", span, f"{clutter:.0%}", *costs)
    _head(("gate", *CLASSES))
    for gate in GATES:
        _print(gate.name, *(_lost([one["classes"][name] for one in results["gates"][gate.name]]) for name in CLASSES))
    _head(("gate", "classes", "cleared", "whole, ms", "on a trunk, ms", "given up"))
    for gate in BEST:
        (found,) = results["many"][gate.name]
        for count in MANY:
            cleared = found["cleared"][str(count)]
            costs = (f"{cost(ms, gate, cleared, kind, count):.1f}" for kind in ("whole", "trunk"))
            given_up = _given_up(list(found["classes"].values())[:count])
            _print(gate.name, str(count), f"{cleared:.0%}", *costs, given_up)
    print(f"\n{photos_needed(results['given_up'])} photos, none lost, would certify {results['given_up']:.0%}")


def _head(columns: Sequence[str]) -> None:
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def _print(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


def _named(kind: str, heads: int) -> str:
    return f"{heads} {'whole' if kind == 'whole' else 'on a trunk'}"


def _lost(found: Sequence[Mapping[str, int]]) -> str:
    """The photos lost of those flagged, summed over the seeds, and the worst seed's bound."""
    bounds = [upper_bound(one["lost"], one["flagged"]) for one in found]
    lost, total = sum(one["lost"] for one in found), sum(one["flagged"] for one in found)
    return f"{lost} of {total}, up to {max(bounds):.0%}"


def _given_up(found: Sequence[Mapping[str, int]]) -> str:
    """By the classes' own gates: what the gates of other classes let through besides is luck."""
    lost, total = sum(one["lost_by_own"] for one in found), sum(one["flagged"] for one in found)
    over = sum(one["lost_by_own"] > GIVEN_UP * one["flagged"] for one in found)
    return f"{lost / total:.1%}, above {GIVEN_UP:.0%} in {over} classes"


if __name__ == "__main__":
    main()
