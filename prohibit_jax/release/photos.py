"""The photos that two heads of a class are compared on: labelled as the class says, and unseen in both trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from prohibit_jax.bundle.store import Head, Store
from prohibit_jax.config import Config, redacted
from prohibit_jax.data.dataset import Dataset, labelled, load_dataset
from prohibit_jax.data.label_source import KIND
from prohibit_jax.heads.judge import config_on, own_sides
from prohibit_jax.types import InputError, Line


@dataclass(frozen=True)
class ClassPhotos:
    """The photos of one comparison: `rows` of the dataset, and the config that labels and evaluates them."""

    config: Config
    dataset: Dataset
    rows: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """int [n], 1 for the class."""
        return np.asarray(self.dataset.labels[self.rows], np.int64)


@dataclass(frozen=True)
class Photos:
    """A source's photos, looked at once for all heads that read them alike."""

    source: str
    store: Store
    progress: Line
    warn: Callable[[str], None]
    _seen: dict[object, Dataset] = field(default_factory=dict, repr=False)

    def shared(self, name: str, old: Head, new: Head, side: str) -> ClassPhotos:
        """The photos of the class `name` on the test side of both heads, or `all`.

        They are labelled and evaluated as the new head's config says; of a network of several classes, whose config is
        not the class's own, as the old head's.

        Raises:
            InputError: a head has no test side here, or there is no positive or no negative on both.
        """
        own = old if new.card.classes and not old.card.classes else new
        config = class_config(own, name, self.source)
        dataset = self._labelled(config)
        rows = dataset.rows("all")
        if side == "test":
            for head in (old, new):
                seen = self._looked_at(class_config(head, name, self.source))
                theirs = own_sides(head, seen, self.source, self.warn)
                unseen = {theirs.index.sha256[row] for row in np.flatnonzero(theirs.sides == "test")}
                rows = rows[[dataset.index.sha256[row] in unseen for row in rows]]
        for label, kind in ((1, "positive"), (0, "negative")):
            if not (dataset.labels[rows] == label).any():
                where = f"the test side of both {old.ref} and {new.ref}" if side == "test" else "any side"
                raise InputError(f"{redacted(self.source)}: no usable {kind} photo of {name} is on {where}; add photos")
        return ClassPhotos(config, dataset, rows)

    def warn_of_trained(self, heads: Iterable[Head]) -> None:
        """Warns of those heads that were trained on these photos."""
        trained = []
        for head in {head.ref: head for head in heads}.values():
            dataset = self._labelled(config_on(head, self.source))
            if dataset.summary()["fingerprint"] == head.card.data.get("fingerprint"):
                trained.append(str(head.ref))
        if trained:
            self.warn(f"trained on most of these photos: {', '.join(trained)}; --side test leaves those out")

    def _labelled(self, config: Config) -> Dataset:
        """The photos with the labels of the config's class or classes."""
        dataset = self._looked_at(config)
        if self.source.startswith(KIND):
            return dataset
        _, labels = labelled(config, self.store.root, every_label=False)
        return replace(dataset, labels=labels)

    def _looked_at(self, config: Config) -> Dataset:
        """The photos with their sides, and some class's labels; those of `labels:` are another set for each class."""
        data = config.data.model_copy(update={"workers": 0})  # how many decode changes nothing
        key = (data, (config.class_.name, config.labels) if self.source.startswith(KIND) else None)
        if key not in self._seen:
            advance = self.progress("looking at photos")
            self._seen[key] = load_dataset(
                config, self.store.cache, every_label=False, progress=advance, warn=self.warn
            )
        return self._seen[key]


def class_config(head: Head, name: str, source: str) -> Config:
    """The head's config on these photos; of a network of several classes, as if it were of this class alone."""
    config = config_on(head, source)
    if not head.card.classes:
        return config
    own = {"name": name, "positive": config.class_.classes[name], "classes": {}}
    return config.model_copy(update={"class_": config.class_.model_copy(update=own)})
