"""One side of a comparison, a bundle's heads, a head alone or one network of several classes: scores, time, size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from prohibit_jax.bundle.lock import read_bundle
from prohibit_jax.bundle.store import Head, Store
from prohibit_jax.data.loader import decoded
from prohibit_jax.data.sources import Source
from prohibit_jax.heads.several import class_scorer
from prohibit_jax.images.decode import Limits
from prohibit_jax.score.scorer import read_trunks, scorer_of
from prohibit_jax.types import Advance, HeadRef, Images, InputError, Variables

BATCH = 32  # photos scored at once
ROUNDS = 9  # timed calls of each side

Run = Callable[[Mapping[int, Images]], np.ndarray]
"""Photos {size: uint8 [b, size, size, 3]} to raw outputs [b, classes]."""


@dataclass(frozen=True)
class Scored:
    """A class's photos by one head.

    Attributes:
        ranking: [n], what average precision is told by: logits, which do not round to 1 as probabilities do.
        probability: [n], calibrated; of a network of several classes its softmax, and so is the ranking.
    """

    ranking: np.ndarray
    probability: np.ndarray


@dataclass(frozen=True)
class Contender:
    """Heads that score together, or one head of several classes."""

    name: str
    heads: tuple[Head, ...]
    trunks: Mapping[str, Variables]

    @property
    def several(self) -> bool:
        """Whether it is one network of several classes."""
        return bool(self.heads and self.heads[0].card.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """The order of its outputs."""
        return self.heads[0].card.classes if self.several else tuple(head.ref.name for head in self.heads)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Edge lengths that its heads want, ascending, pixels."""
        return tuple(sorted({head.card.preprocessing.size for head in self.heads}))

    @property
    def megabytes(self) -> float:
        """Of distinct parameters: a trunk counts once, however many heads follow it."""
        parts = {head.card.params_sha256: head.variables for head in self.heads} | dict(self.trunks)
        return sum(int(array.nbytes) for part in parts.values() for array in part.values()) / 1e6

    def head(self, name: str) -> Head:
        """The head that scores the class."""
        return self.heads[0 if self.several else self.classes.index(name)]

    def only(self, names: Collection[str]) -> Contender:
        """The same without heads of other classes; a network of several stays whole, unless no class is left."""
        if self.several:
            return self if names else replace(self, heads=())
        return replace(self, heads=tuple(head for head in self.heads if head.ref.name in names))

    def run(self, batch: int) -> Run:
        """What scores up to `batch` photos in one call, compiled at the first."""
        if not self.heads:
            return lambda photos: np.empty((len(next(iter(photos.values()))), 0), np.float32)
        if self.several:
            score = class_scorer(self.heads[0], self.trunks, batch)
            return lambda photos: score(photos[self.sizes[0]])
        scorer = scorer_of(self.heads, self.trunks, (batch,))
        return lambda photos: scorer.logits({size: photos[size] for size in scorer.sizes})

    def scored(self, name: str, outputs: np.ndarray) -> Scored:
        """One class of the outputs [n, classes]."""
        column = outputs[:, self.classes.index(name)]
        return Scored(column, column if self.several else self.head(name).card.calibration(column))


def contender(text: str, store: Store) -> Contender:
    """The head `weapon@3`, or else the bundle of that name. Raises InputError in one line where there is none."""
    if "@" in text:
        return contender_of(HeadRef.parse(text), store)
    if not (store.bundles / f"{text}.json").exists() and text in store.classes():
        latest = f"{text}@{store.versions(text)[-1]}"
        raise InputError(f"{text}: no such bundle; a head is written with its version, as in {latest}")
    pins = read_bundle(store, text).pins
    heads = tuple(store.read_head(pin.ref, sha256=pin.sha256, card_sha256=pin.card_sha256) for pin in pins)
    return Contender(text, heads, read_trunks(store, [head.card for head in heads]))


def contender_of(ref: HeadRef, store: Store) -> Contender:
    """A head alone."""
    head = store.read_head(ref)
    return Contender(str(head.ref), (head,), read_trunks(store, [head.card]))


def outputs(
    sides: Sequence[Contender], source: Source, rows: np.ndarray, limits: Limits, advance: Advance
) -> list[np.ndarray]:
    """Each side's raw outputs [n, classes] of the photos `rows`, each of which is decoded once at every size wanted."""
    runs = [side.run(BATCH) for side in sides]
    sizes = sorted({size for side in sides for size in side.sizes})
    streams = [
        decoded(source, rows, size, progress=None if i else advance, chunk=BATCH, limits=limits)
        for i, size in enumerate(sizes)
    ]
    parts: list[list[np.ndarray]] = [[] for _ in sides]
    for chunks in zip(*streams, strict=True):
        photos = {size: images for size, (_, images) in zip(sizes, chunks, strict=True)}
        for part, run in zip(parts, runs, strict=True):
            part.append(run(photos))
    return [np.concatenate(part) for part in parts]


def latencies(sides: Sequence[Contender], batch: int) -> list[float]:
    """Milliseconds of one call with `batch` photos of noise: the median of `ROUNDS` calls, the sides called in turn."""
    rng = np.random.default_rng(0)
    sizes = {size for side in sides for size in side.sizes}
    photos = {size: rng.integers(0, 256, (batch, size, size, 3), np.uint8) for size in sizes}
    runs = [side.run(batch) for side in sides]
    for run in (*runs, *runs):  # the first call compiles
        run(photos)
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for run, taken in zip(runs, times, strict=True):
            begun = perf_counter()
            run(photos)
            taken.append(perf_counter() - begun)
    return [1000 * float(np.median(taken)) for taken in times]
