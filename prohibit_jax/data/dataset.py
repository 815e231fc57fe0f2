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
        cache: folder that remembers what photos already seen look like.
        every_label: whether each label of the config must be there, as in training, where a missing one is a slip; a
            set that only judges a head may lack some.
        progress: told how many photos have been looked at.
        warn: told in one line what is left out or leaks; nothing of it ends the job.

    Raises:
        InputError: the source cannot be opened, or a label of the config is not in it.
    """
    if not config.data.source:
        raise InputError("data.source: name the photos, as in --data folder:PATH or --data synthetic:2000")
    source = open_source(config.data.source)
    limits = Limits(config.data.max_bytes, config.data.max_pixels)
    asked, present = config.class_, {item.label for item in source.items}

    def there(names: Sequence[str]) -> list[str]:
        return [label for label in names if every_label or label in present]

    classes = {key: there(names) or names for key, names in asked.labels.items()}
    labels = assign(source.items, classes, there(asked.ignore))
    seen = index(source, cache, max(2, config.data.workers), progress=progress, limits=limits)
    broken = [f"{item.path}: {error}" for item, error in zip(source.items, seen.error, strict=True) if error]
    if broken:
        warn(f"{len(broken)} of {len(seen.error)} photos cannot be used; the first: {broken[0]}")
    for leak in leaks(seen, source.items):
        warn(leak)
    sides = split(seen, source.items, validation=config.data.validation, test=config.data.test)
    names = ("negative", *asked.classes) if asked.classes else Dataset.names
    return Dataset(source, seen, labels, np.asarray(sides), limits, names)


def require_all(dataset: Dataset, side: str) -> None:
    """Raises InputError unless the side has a negative photo and one that is positive, of every class."""
    counts = Counter(dataset.labels[dataset.rows(side)].tolist())
    share = f", or raise data.{side}" if side in ("validation", "test") else ""
    for value, name in reversed(list(enumerate(dataset.names))):
        if not counts[value]:
            raise InputError(f"data.source: no usable {name} photo on side {side!r}; add photos{share}")
