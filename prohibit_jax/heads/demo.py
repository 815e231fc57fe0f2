"""The whole story on generated photographs: three classes trained, bundled, scored, one of them trained again."""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.config import Config, parse_config
from prohibit_jax.data.sources import open_source
from prohibit_jax.evaluate import plots
from prohibit_jax.heads.make import Made, train_head
from prohibit_jax.images.decode import decode
from prohibit_jax.score.job import Summary, score_source
from prohibit_jax.score.table import ScoreTable, open_scores
from prohibit_jax.types import Advance, Line, silent
from prohibit_jax.weights.imported import LITE0_PACKAGE

BUNDLE = "demo"
REPORT = "report.html"
POOL = "synthetic:400:1"  # photos that no head is trained or tested on
Recipe = Mapping[str, Mapping[str, Any]]
ON_TRUNK: Recipe = {
    "model": {"weights": "lite0", "trunk_through": "s7", "size": 128},
    "train": {"epochs": 8, "batch": 64},
}
FROM_SCRATCH: Recipe = {
    "data": {"workers": 0},
    "model": {"architecture": "efficientnet_lite0", "width": 0.5, "depth": 0.5, "size": 64},
    "train": {"epochs": 20, "batch": 32, "learning_rate": 3e-3, "average": 0.98, "patience": 20},
}
CLASSES = {  # class: (its label among the generated photos, how it is trained)
    "weapon": ("gun", ON_TRUNK),
    "tobacco": ("cigarettes", ON_TRUNK),
    "cash": ("cash", FROM_SCRATCH),
}


@dataclass(frozen=True)
class Story:
    """What the demo did.

    Attributes:
        folder: where its files are.
        heads: first versions by class.
        again: the class that was trained again, on more photos.
        before, after: scores of the same pool before and after.
        summary: of the pool, after.
        unchanged: for every other class, whether its file and its column are the same to the bit.
        seconds: by step.
    """

    folder: epath.Path
    heads: dict[str, Made]
    again: Made
    before: ScoreTable
    after: ScoreTable
    summary: Summary
    unchanged: dict[str, bool]
    seconds: dict[str, float]


def tell_story(
    folder: epath.PathLike, photos: int = 1500, *, progress: Line = silent, warn: Callable[[str], None] = lambda _: None
) -> Story:
    """Runs the demo in `folder`, which need not exist.

    Args:
        folder: becomes a store, with the scores and the pictures beside.
        photos: generated for training, validation and test together; the second training has half as many more.
        progress: opens a progress bar.
        warn: told in one line what was left out.
    """
    root = epath.Path(folder)
    store = Store(root / "store")
    seconds: dict[str, float] = {}

    def trained(name: str) -> Made:
        with _timed(seconds, f"train {name}"):
            return train_head(_config(name, root / "photos"), store, progress=progress, warn=warn)

    def scored(file: str) -> tuple[ScoreTable, Summary]:
        with _timed(seconds, f"score {file}"):
            make_bundle(store, BUNDLE)
            summary = score_source(BUNDLE, open_source(POOL), root / file, store, progress("scoring unseen photos"))
        return open_scores(root / file), summary

    if (root / REPORT).exists():  # a former demo's, whose photos are more than this one begins with
        (root / "photos").rmtree(missing_ok=True)
    with _timed(seconds, f"generate {photos} photos"):
        _generate(root / "photos", range(photos), progress("generating photos"))
    heads = {name: trained(name) for name in CLASSES}
    before, _ = scored("scores.parquet")
    files = {name: _sha256(made.folder / "params.safetensors") for name, made in heads.items()}
    with _timed(seconds, f"generate {photos // 2} more"):
        _generate(root / "photos", range(photos, photos + photos // 2), progress("generating more photos"))
    again = trained("weapon")
    after, summary = scored("scores_again.parquet")
    unchanged = {
        name: files[name] == _sha256(made.folder / "params.safetensors")
        and np.array_equal(before.column(name), after.column(name))
        for name, made in heads.items()
        if name != again.ref.name
    }
    _draw_finds(root / "finds.png", after)
    return Story(root, heads, again, before, after, summary, unchanged, seconds)


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[step if step not in seconds else f"{step} again"] = time.perf_counter() - begun


def _generate(folder: epath.Path, numbers: range, advance: Advance) -> None:
    """Writes generated photos, in folders named by what they show."""
    source = open_source(f"synthetic:{numbers.stop}")
    for done, number in enumerate(numbers, start=1):
        path = folder / source.items[number].label / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read(number))
        advance(done, len(numbers))


def _config(name: str, photos: epath.Path) -> Config:
    label, recipe = CLASSES[name]
    if recipe is ON_TRUNK and importlib.util.find_spec(LITE0_PACKAGE) is None:
        recipe = FROM_SCRATCH
    data: Mapping[str, Any] = recipe.get("data", {})
    return parse_config(
        {
            **recipe,
            "class": {"name": name, "positive": [label]},
            "data": {**data, "source": f"folder:{photos}"},
            # The demo's pool is far richer in finds than a marketplace, and its bands are set for it.
            "evaluate": {"prevalence": 0.08, "precision": 0.95, "recall": 0.95, "reviews_per_day": 100_000},
        },
        "demo",
    )


def _sha256(path: epath.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _draw_finds(path: epath.Path, scores: ScoreTable, count: int = 6) -> None:
    """A sheet with the photos of the pool that each class scores highest: what reviewers would see first."""
    pool = open_source(POOL)
    tiles: list[tuple[np.ndarray, str, plots.Kind]] = []
    for name in scores.classes:
        column = scores.column(name)
        wanted = CLASSES[name][0]
        for row in np.argsort(-column, kind="stable")[:count]:
            label = pool.items[row].label
            kind: plots.Kind = "found" if label == wanted else "false alarm"
            tiles.append((decode(pool.read(int(row))), f"{name} {column[row]:.3f}\nis: {label}", kind))
    plots.sheet(path, tiles, columns=count)
