"""Sixty classes: what a trunk, or one merged network, gives up in average precision beside sixty whole networks.

    python -m bench.classes --data folder:../shared/data/caltech101 --store classes --out bench/results/classes.json

Each of the largest folders is a class of its own, every other photo a negative. For each seed the photos are split anew
(near-identical ones on one side), and three kinds of heads are made from the same imported weights:

- whole: a network of its own. It begins with the classifier of `top`, and then everything is trained.
- top: a classifier on the imported network, which is frozen and shared.
- merged: a classifier on one network that was distilled from all the whole ones, by their scores of the training
  photos; no label is looked at.

Ten of the whole ones are merged too, as `launch merge` is meant for. A head that is in the file already is not made
again; logits are kept in the store, for the merging.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from bench.kept import keep, kept
from launch.console import bar
from prohibit_jax.bundle.card import Card, library_versions
from prohibit_jax.bundle.store import Head
from prohibit_jax.config import TrainConfig
from prohibit_jax.data.index import index
from prohibit_jax.data.loader import decoded
from prohibit_jax.data.sources import open_source
from prohibit_jax.data.splits import clusters
from prohibit_jax.data.stream import class_balanced
from prohibit_jax.evaluate.metrics import average_precision
from prohibit_jax.models.network import CLASSIFIER, Network
from prohibit_jax.score.embed import load_embedder
from prohibit_jax.score.scorer import scorer_of
from prohibit_jax.train.classifier import Classifier, Spread, fit_classifier
from prohibit_jax.train.distil import DistilConfig, distil
from prohibit_jax.train.examples import at_batch
from prohibit_jax.train.optimiser import optimiser_of
from prohibit_jax.train.state import Step, predict_of, start, step_of
from prohibit_jax.types import Calibration, HeadRef, Preprocessing, Thresholds, Variables
from prohibit_jax.weights.imported import Weights, load, with_fresh_classifier

WEIGHTS = "lite0"
TEST = 0.4
STEPS = 16
BATCH = 64  # photos that are scored at once
EPOCHS = 6  # of merging
TEN = 10
CLUTTER = "BACKGROUND_Google"
KINDS = ("whole", "top", "merged", "merged_10")
TRAIN = TrainConfig(batch=32, learning_rate=2e-4, average=0.9, warmup=0.2)

Results = dict[str, Any]


@dataclass(frozen=True)
class Photos:
    """What heads are made from: pixels uint8 [n, h, w, 3], the imported network's features, labels and groups."""

    images: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    weights: Weights

    def classes(self, count: int) -> list[str]:
        """The names of the largest folders."""
        folders = Counter(self.labels.tolist())
        del folders[CLUTTER]
        return sorted(name for name, _ in folders.most_common(count))

    def test(self, seed: int) -> np.ndarray:
        """bool [n]: which photos are held out; those of one group together."""
        rng = np.random.default_rng(seed)
        names, member = np.unique(self.groups, return_inverse=True)
        return np.asarray((rng.random(len(names)) < TEST)[member])


def main() -> None:
    """Makes what is missing, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--classes", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=96)
    arguments = parser.parse_args()
    photos = read(arguments.data, arguments.store, arguments.size)
    names = photos.classes(arguments.classes)
    settings = {"photos": len(photos.labels), "size": arguments.size, "classes": names, "steps": STEPS}
    results = kept(arguments.out, settings)
    step = whole_step(photos)
    with bar() as line:
        advance = line("heads")
        for seed in range(arguments.seeds):
            found = results.setdefault("seeds", {}).setdefault(str(seed), {})
            for done, name in enumerate(names):
                advance(seed * len(names) + done, arguments.seeds * len(names), f"seed {seed}: {name}")
                if name not in found:
                    found[name] = one_class(photos, name, seed, step, arguments.store)
                    keep(arguments.out, results)
            for kind, merging in (("merged", names), ("merged_10", names[:: max(1, len(names) // TEN)][:TEN])):
                if kind not in found[merging[0]]:
                    for name, value in merged(photos, merging, seed, arguments.store).items():
                        found[name][kind] = value
                    keep(arguments.out, results)
    print_table(results)


def read(data: str, store: Path, size: int) -> Photos:
    """Decodes every photo once, and runs the imported network over them."""
    source = open_source(data)
    with bar() as line:
        seen = index(source, store / "cache", progress=line("looking at photos"))
        rows = np.flatnonzero(seen.usable)
        chunks = decoded(source, rows, size, progress=line("decoding"), chunk=BATCH)
        images = np.concatenate([images for _, images in chunks])
        embedder = load_embedder(store, f"{WEIGHTS}:{size}", BATCH)
        features = embedder(images)
    labels = np.array([source.items[row].label for row in rows.tolist()])
    return Photos(images, features, labels, clusters(seen, source.items)[rows], load(store, WEIGHTS))


def one_class(photos: Photos, name: str, seed: int, step: Step, store: Path) -> dict[str, float]:
    """The average precisions of a class's heads on the test photos, and the seconds that the whole one took."""
    test, labels = photos.test(seed), np.asarray(photos.labels == name, np.int8)
    fitted = fit_classifier(photos.features[~test], labels[~test], Spread.of(photos.features[~test]))
    begun = time.perf_counter()
    logits = {"top": fitted(photos.features), "whole": whole(photos, labels, test, fitted, seed, step)}
    seconds = time.perf_counter() - begun
    folder = logits_folder(photos, seed, store)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{name}.npz", top=logits["top"], whole=logits["whole"])
    values = {kind: float(average_precision(labels[test], found[test])) for kind, found in logits.items()}
    return {**values, "positives": int(labels[test].sum()), "seconds": round(seconds, 1)}


def whole_step(photos: Photos) -> Step:
    """The training step of a whole network, which all share, so that it compiles once."""
    arch = with_fresh_classifier(photos.weights, seed=0).arch
    preprocessing = preprocessing_of(photos)
    return step_of(Network(arch), preprocessing, TRAIN, optimiser_of(TRAIN, STEPS), batch_statistics=False)


def whole(photos: Photos, labels: np.ndarray, test: np.ndarray, first: Classifier, seed: int, step: Step) -> np.ndarray:
    """The logits of all photos, float32 [n], by a network that was trained on those not held out."""
    rows = np.flatnonzero(~test)
    fraction = TRAIN.positive_fraction
    order = rows[
        class_balanced(labels[rows], steps=STEPS, batch=TRAIN.batch, positive_fraction=fraction, seed=seed)
    ].reshape(STEPS, TRAIN.batch)
    network = Network(with_fresh_classifier(photos.weights, seed=0).arch)
    own = dict(zip(CLASSIFIER, (first.kernel[:, None], np.array([first.bias], np.float32)), strict=True))
    variables = {name: jnp.asarray(array) for name, array in {**photos.weights.variables, **own}.items()}
    state = start(network, variables, optimiser_of(TRAIN, STEPS))
    for chosen in order:
        state, _ = step(state, jnp.asarray(photos.images[chosen]), jnp.asarray(labels[chosen], jnp.float32))
    return scored(photos, jax.device_get(state.average))


def scored(photos: Photos, variables: Variables) -> np.ndarray:
    """The logits of all photos, float32 [n], by a whole network, through the scorer."""
    scorer = scorer_of([_head(photos, variables)], {}, (BATCH,))
    return scorer.logits(photos.images)[:, 0]


@dataclass(frozen=True)
class Chosen:
    """Some of the photos, as examples to learn from."""

    images: np.ndarray
    batch: int

    def stream(self, rows: np.ndarray, start: int) -> Generator[tuple[np.ndarray, np.ndarray]]:
        """See train.examples.Examples."""
        yield from self.read(rows[start * self.batch :])

    def read(self, rows: np.ndarray) -> Generator[tuple[np.ndarray, np.ndarray]]:
        """See train.examples.Examples."""
        for begin in range(0, len(rows), self.batch):
            chunk = rows[begin : begin + self.batch]
            yield self.images[chunk], chunk


def merged(photos: Photos, names: Sequence[str], seed: int, store: Path) -> dict[str, float]:
    """Each class's average precision on the test photos, by one network that the whole heads taught."""
    test = photos.test(seed)
    logits = [np.load(logits_folder(photos, seed, store) / f"{name}.npz")["whole"] for name in names]
    network = Network(with_fresh_classifier(photos.weights, outputs=len(names), seed=0).arch)
    config = DistilConfig(epochs=EPOCHS, seed=seed)
    with bar() as line, tempfile.TemporaryDirectory() as folder:
        taught = distil(
            network, preprocessing_of(photos), photos.weights.variables, Chosen(photos.images[~test], config.batch),
            np.stack(logits, 1)[~test], config, epath.Path(folder), line,
        )  # fmt: skip
    predict = at_batch(partial(predict_of(network, preprocessing_of(photos)), jax.device_put(taught)), BATCH)
    tested = photos.images[test]
    found = np.concatenate([predict(tested[begin : begin + BATCH]) for begin in range(0, len(tested), BATCH)])
    labels = photos.labels[test]
    return {
        name: float(average_precision(np.asarray(labels == name, np.int8), found[:, column]))
        for column, name in enumerate(names)
    }


def logits_folder(photos: Photos, seed: int, store: Path) -> Path:
    """Where those of photos of this size are kept."""
    return store / "logits" / str(photos.images.shape[1]) / str(seed)


def preprocessing_of(photos: Photos) -> Preprocessing:
    """That of the weights, at the photos' size."""
    return replace(photos.weights.preprocessing, size=photos.images.shape[1])


def _head(photos: Photos, variables: Variables) -> Head:
    arch = with_fresh_classifier(photos.weights, seed=0).arch
    card = Card(
        "one", arch, preprocessing_of(photos), None, Calibration(), Thresholds(), {}, {}, 0, {}, library_versions(), 1
    )
    return Head(HeadRef("one", 1), card, variables)


def print_table(results: Results) -> None:
    """For each seed the means over the classes, and what the classes lose beside their whole heads."""
    print("| seed | heads | classes | average precision | beside whole | classes down more than a point |")
    print("|---|---|---|---|---|---|")
    for seed, found in results["seeds"].items():
        for kind in KINDS:
            rows = [row for row in found.values() if kind in row]
            if rows:
                losses = [row[kind] - row["whole"] for row in rows]
                down = sum(loss < -0.01 for loss in losses)
                value = mean(row[kind] for row in rows)
                print(f"| {seed} | {kind} | {len(rows)} | {value:.4f} | {mean(losses):+.4f} | {down} |")


if __name__ == "__main__":
    main()
