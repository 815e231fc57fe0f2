"""Compares two heads or bundles on the same photos: quality, what changes for users and reviewers, time and size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from etils import epath

from prohibit_jax.bundle.store import Head, Store, open_store
from prohibit_jax.evaluate.calibration import calibration_error
from prohibit_jax.evaluate.metrics import average_precision
from prohibit_jax.evaluate.paired import pair
from prohibit_jax.evaluate.thresholds import operate
from prohibit_jax.release.changed import bands_of, changed_photos, changed_sheet
from prohibit_jax.release.photos import ClassPhotos, Photos
from prohibit_jax.release.result import ClassComparison, Comparison, Side
from prohibit_jax.release.sides import Contender, Scored, contender, contender_of, latencies, outputs
from prohibit_jax.types import HeadRef, InputError, Line, silent


def compare(
    old: str,
    new: str,
    source: str,
    store: Store | epath.PathLike,
    *,
    side: str = "test",
    batch: int = 5,
    sheets: epath.PathLike | None = None,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Compares two versions of a head, two bundles, or a bundle and one network of several classes.

    Args:
        old, new: a head with its version, as `weapon@3`, or the name of a bundle.
        source: labelled photos, as in `folder:PATH`.
        store: where heads and bundles are.
        side: `test` compares on the photos that both trainings held out of this source; `all` on every photo.
        batch: photos a call that latency is measured with.
        sheets: folder for `changed_CLASS.png`, the photos whose band differs; none are drawn without it.
        progress: opens a progress bar.
        warn: told in one line what was left out.

    Raises:
        InputError: no such head or bundle, no class on both sides, or no photos to compare on.
    """
    store = open_store(store)
    sides = contender(old, store), contender(new, store)
    names = _common(*sides)
    folder = None if sheets is None else epath.Path(sheets)
    photos = Photos(source, store, progress, warn)
    shared, left_out = _shared(photos, *sides, names, side)
    classes = _classes(*sides, shared, folder, progress)
    took = latencies(sides, batch)
    before, after = (Side(one.name, ms, one.megabytes) for one, ms in zip(sides, took, strict=True))
    return Comparison(
        before,
        after,
        classes=classes,
        photos=len({one.dataset.index.sha256[row] for one in shared.values() for row in one.rows}),
        batch=batch,
        only_old=tuple(name for name in sides[0].classes if name not in names),
        only_new=tuple(name for name in sides[1].classes if name not in names),
        left_out=left_out,
    )


def compare_heads(
    old: HeadRef,
    new: HeadRef,
    source: str,
    store: Store | epath.PathLike,
    *,
    side: str = "test",
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> ClassComparison:
    """Compares two heads of a class, without time and size; arguments and errors are those of `compare`."""
    store = open_store(store)
    sides = contender_of(old, store), contender_of(new, store)
    shared, _ = _shared(Photos(source, store, progress, warn), *sides, _common(*sides), side)
    return _classes(*sides, shared, None, progress)[0]


def _common(old: Contender, new: Contender) -> tuple[str, ...]:
    """The classes of both, in the new side's order."""
    names = tuple(name for name in new.classes if name in old.classes)
    if not names:
        have = [f"{one.name} has {', '.join(one.classes)}" for one in (old, new)]
        raise InputError(f"{old.name} and {new.name}: no class in common ({'; '.join(have)})")
    return names


def _shared(
    photos: Photos, old: Contender, new: Contender, names: Sequence[str], side: str
) -> tuple[dict[str, ClassPhotos], dict[str, str]]:
    """The photos of each class, and of those that cannot be compared the reason; InputError where none can."""
    if side not in ("test", "all"):
        raise InputError(f"side {side!r}: use test or all")
    shared: dict[str, ClassPhotos] = {}
    left_out: dict[str, str] = {}
    for name in names:
        try:
            shared[name] = photos.shared(name, old.head(name), new.head(name), side)
        except InputError as error:
            left_out[name] = str(error)
    if not shared:
        raise InputError(next(iter(left_out.values())))
    for name, reason in left_out.items():
        photos.warn(f"{name} is not compared: {reason}")
    if side == "all":
        photos.warn_of_trained(one.head(name) for one in (old, new) for name in shared)
    return shared, left_out


def _classes(
    old: Contender, new: Contender, shared: Mapping[str, ClassPhotos], folder: epath.Path | None, progress: Line
) -> tuple[ClassComparison, ...]:
    """Each class's comparison. A photo is decoded once for all classes of its source, and scored once by a head that
    is on both sides."""
    sources = {id(one.dataset.source): one.dataset for one in shared.values()}
    found: dict[str, ClassComparison] = {}
    for key, dataset in sources.items():
        group = {name: one for name, one in shared.items() if id(one.dataset.source) == key}
        fresh = [name for name in group if old.head(name).ref != new.head(name).ref]
        sides = old.only(group), new.only(fresh)
        rows = np.unique(np.concatenate([one.rows for one in group.values()]))
        scores = outputs(sides, dataset.source, rows, dataset.limits, progress("scoring"))
        for name, one in group.items():
            places = np.searchsorted(rows, one.rows)
            scored = [
                each.scored(name, raw[places]) for each, raw in zip(sides, scores, strict=True) if name in each.classes
            ]
            heads = old.head(name), new.head(name)
            try:
                found[name] = _class(name, heads, one, scored[0], scored[-1])
            except InputError as error:
                raise InputError(f"class {name}, {' and '.join(str(head.ref) for head in heads)}: {error}") from None
            if folder is not None:
                changed_sheet(folder / f"changed_{name}.png", dataset, found[name].changed)
    return tuple(found[name] for name in shared)


def _class(name: str, heads: Sequence[Head], photos: ClassPhotos, old: Scored, new: Scored) -> ClassComparison:
    labels, settings, seed = photos.labels, photos.config.evaluate, photos.config.train.seed
    both = pair(average_precision, labels, old.ranking, new.ranking, seed, settings.bootstrap)
    own = [None if head.card.classes else head.card.thresholds for head in heads]
    probabilities = (old.probability, new.probability)
    chosen = bands_of(labels, probabilities, own, settings.recall)
    before, after = (
        operate(
            labels, p, bands.review, prevalence=settings.prevalence, photos_per_day=settings.photos_per_day
        ).per_day.value
        for p, bands in zip(probabilities, chosen, strict=True)
    )
    return ClassComparison(
        name,
        old=heads[0].ref,
        new=heads[1].ref,
        old_ap=both.old,
        new_ap=both.new,
        difference=both.difference,
        positives=int(labels.sum()),
        negatives=int((1 - labels).sum()),
        calibration_error=calibration_error(labels, new.probability),
        reviews_per_day_old=None if math.isnan(before) else before,
        reviews_per_day_new=None if math.isnan(after) else after,
        changed=changed_photos(photos, probabilities, chosen),
        matched=None in own,
    )
