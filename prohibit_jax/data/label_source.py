"""Photos that annotators have answered, as a data source: `labels:`, or `labels:ADDRESS` for another store."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from etils import epath

from prohibit_jax.data.index import Index
from prohibit_jax.data.label_store import HONEST, Resolved, Rule, open_label_store
from prohibit_jax.data.sources import LARGEST, Item, Source, open_source
from prohibit_jax.data.splits import clusters
from prohibit_jax.files import read_photo
from prohibit_jax.types import InputError

KIND = "labels:"

DRAINED = 0.2
"""Share of the honest photos that may be lost to training before it is worth a warning."""


@dataclass(frozen=True)
class Answered:
    """Photos that annotators answered.

    Attributes:
        items: with the label `yes` or `no`.
        sha256: what the photos were when they were answered; they still must be.
        source, numbers: a source that has some of the photos, and their numbers there by path. Others are files.
    """

    items: tuple[Item, ...]
    sha256: tuple[str, ...]
    source: Source | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)

    def read(self, i: int) -> bytes:
        path = self.items[i].path
        if self.source is not None and path in self.numbers:
            data = self.source.read(self.numbers[path])
        else:
            data = read_photo(epath.Path(path), LARGEST)
        if hashlib.sha256(data).hexdigest() != self.sha256[i]:
            raise InputError("its content changed since it was labelled")
        return data

    def labels(self) -> np.ndarray:
        """int8 [n], 1 where annotators say yes, 0 where no."""
        return np.array([item.label == "yes" for item in self.items], np.int8)


def answered(address: str, store: epath.PathLike, name: str, rule: Rule, photos: str = "") -> Answered:
    """The photos of a class to which annotators say yes or no, in the order in which they were first asked.

    A photo that a strategy chose is for training: it says nothing of how photos are in general. Those chosen at random,
    or imported, are split by their hash.

    Args:
        address: of the labels, as `open_label_store` takes it; "" is the store's own.
        store: the folder that holds everything that lasts.
        name: the class.
        rule: how several answers make one.
        photos: the source of photos that are no files.

    Raises:
        InputError: no such store of labels, or it answers no photo of the class.
    """
    labels = open_label_store(address, store, create=False)
    found = labels.resolved(name, rule)
    chosen = [photo for photo in found if photo.answer in ("yes", "no")]
    if not chosen:
        counts = Counter(photo.answer for photo in found)
        rest = ", ".join(f"{count} {answer}" for answer, count in sorted(counts.items())) or "nothing"
        raise InputError(f"{labels.name}: no photo is answered yes or no for class {name} ({rest}); label some first")
    items = tuple(Item(photo.path, photo.answer, split=_side(photo)) for photo in chosen)
    sha256 = tuple(photo.sha256 for photo in chosen)
    if not photos:
        return Answered(items, sha256)
    source, paths = open_source(photos), {item.path for item in items}
    numbers = {item.path: i for i, item in enumerate(source.items) if item.path in paths}
    return Answered(items, sha256, source, numbers)


def _side(photo: Resolved) -> str:
    """The side that a photo is asked onto, "" for the one of its hash."""
    return "" if photo.strategy in HONEST else "train"


def drained(index: Index, items: Sequence[Item]) -> str:
    """A line where so many honest photos train, because a near-identical one was chosen to, that few are left to judge.

    "" where it is fewer than `DRAINED` of them.
    """
    asked = np.array([bool(item.split) for item in items])
    cluster = clusters(index, items)
    honest = index.usable & ~asked
    lost = int((honest & np.isin(cluster, cluster[asked])).sum())
    if lost <= DRAINED * honest.sum():
        return ""
    return (
        f"{lost} of {honest.sum()} photos chosen at random only train, since they are near-identical to photos that a "
        f"strategy chose; have more labelled at random"
    )
