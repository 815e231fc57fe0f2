"""A source made ready for one network: what each photo is, its label, and its side of the split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath

from prohibit_jax.config import Config
from prohibit_jax.data.index import Index, index
from prohibit_jax.data.label_source import KIND, Answered, answered, drained
from prohibit_jax.data.label_store import Rule
from prohibit_jax.data.labels import assign, fingerprint
from prohibit_jax.data.sources import SIDES, Source, open_source
from prohibit_jax.data.splits import leaks, split
from prohibit_jax.images.decode import Limits
from prohibit_jax.types import InputError


@dataclass(frozen=True)
class Dataset:
    """Photos by row.

    Attributes:
        source: reads them.
        index: what is known of each.
        labels: [n], 1 positive, 0 negative, -1 left out; of several classes the number, from 1.
        sides: [n], `train`, `validation` or `test`.
        limits: on the bytes and pixels of a photo.
        names: of what the labels 0, 1, … mean, for messages.
    """

    source: Source
    index: Index
    labels: np.ndarray
    sides: np.ndarray
    limits: Limits
    names: tuple[str, ...] = ("negative", "positive")

    def rows(self, side: str) -> np.ndarray:
        """int64, the usable rows of a side that have a label; `all` means every side."""
        chosen = (self.labels >= 0) & self.index.usable
        return np.flatnonzero(chosen & (self.sides == side) if side != "all" else chosen)

    def summary(self) -> dict[str, Any]:
        """The fingerprint and the counts that a card records."""
        counts = {
            side: {"positives": int((self.labels[self.rows(side)] > 0).sum()), "photos": len(self.rows(side))}
            for side in SIDES
        }
        return {"fingerprint": fingerprint(self.index, self.labels), **counts}


def load_dataset(
    config: Config,
    cache: epath.Path,
    *,
    every_label: bool = True,
    progress: Callable[[int, int], None],
    warn: Callable[[str], None],
) -> Dataset:
    """Opens the configured source, looks at every photo, labels and splits them.

    Args:
        config: names the source, the labels of the class or classes and the shares of the sides.
        cache: the store's folder that remembers what photos already seen look like; `labels:` lie beside it.
        every_label: whether each label of the config must be there, as in training, where a missing one is a slip; a
            set that only judges a head may lack some.
        progress: told how many photos have been looked at.
        warn: told in one line what is left out or leaks; nothing of it ends the job.

    Raises:
        InputError: the source cannot be opened, or a label of the config is not in it.
    """
    source, labels = labelled(config, cache.parent, every_label=every_label)
    limits = Limits(config.data.max_bytes, config.data.max_pixels)
    seen = index(source, cache, max(2, config.data.workers), progress=progress, limits=limits)
    broken = [f"{item.path}: {error}" for item, error in zip(source.items, seen.error, strict=True) if error]
    if broken:
        warn(f"{len(broken)} of {len(seen.error)} photos cannot be used; the first: {broken[0]}")
    for leak in leaks(seen, source.items):
        warn(leak)
    if isinstance(source, Answered) and (loss := drained(seen, source.items)):
        warn(loss)
    sides = split(seen, source.items, validation=config.data.validation, test=config.data.test)
    names = ("negative", *config.class_.classes) if config.class_.classes else Dataset.names
    return Dataset(source, seen, labels, np.asarray(sides), limits, names)


def labelled(config: Config, store: epath.Path, *, every_label: bool = True) -> tuple[Source, np.ndarray]:
    """The configured photos, unread, and the label of each, as in `Dataset`. Raises InputError as `load_dataset`."""
    asked, address = config.class_, config.data.source
    if not address:
        raise InputError("data.source: name the photos, as in --data folder:PATH or --data synthetic:2000")
    if address.startswith(KIND):
        if asked.classes:
            raise InputError("class.classes: the labels of data.source labels: are of one class; train each by itself")
        settings = config.labels
        rule = Rule(settings.adjudicators, settings.votes)
        photos = answered(address.removeprefix(KIND), store, asked.name, rule, settings.photos)
        return photos, photos.labels()
    source = open_source(address)
    present = {item.label for item in source.items}

    def there(names: Sequence[str]) -> list[str]:
        return [label for label in names if every_label or label in present]

    classes = {key: there(names) or names for key, names in asked.labels.items()}
    return source, assign(source.items, classes, there(asked.ignore))


def require_all(dataset: Dataset, side: str) -> None:
    """Raises InputError unless the side has a negative photo and one that is positive, of every class."""
    counts = Counter(dataset.labels[dataset.rows(side)].tolist())
    share = f", or raise data.{side}" if side in ("validation", "test") else ""
    if share and isinstance(dataset.source, Answered):
        share = " that are chosen at random, or imported: what a strategy chose only trains"
    for value, name in reversed(list(enumerate(dataset.names))):
        if not counts[value]:
            raise InputError(f"data.source: no usable {name} photo on side {side!r}; add photos{share}")
