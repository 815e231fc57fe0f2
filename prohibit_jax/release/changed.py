"""The photos that another version treats otherwise: whose band differs, and a sheet of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from etils import epath

from prohibit_jax.data.dataset import Dataset
from prohibit_jax.evaluate import plots
from prohibit_jax.evaluate.thresholds import NEVER, threshold_for_recall
from prohibit_jax.images.decode import decode
from prohibit_jax.release.photos import ClassPhotos
from prohibit_jax.score.bands import Band, band
from prohibit_jax.types import Photo, Thresholds

EDGE = 160  # pixels that a photo on the sheet has at least, where it has them
MOST = 24  # photos on a sheet


@dataclass(frozen=True)
class Changed:
    """A photo whose band differs."""

    row: int  # in the source
    path: str
    label: int  # 1 for a photo of the class
    old: float  # calibrated probabilities
    new: float
    old_band: Band
    new_band: Band

    @property
    def wrong(self) -> bool:
        """Whether the new side misses it, or flags it without reason."""
        return (self.new_band == "pass") == bool(self.label)

    @property
    def within(self) -> bool:
        """Whether both sides flag it, one for review and one to be blocked."""
        return "pass" not in (self.old_band, self.new_band)


def bands_of(
    labels: np.ndarray, probabilities: Sequence[np.ndarray], own: Sequence[Thresholds | None], recall: float
) -> list[Thresholds]:
    """The thresholds of both sides. One without its own, a network of several classes, flags as many of these photos as
    the other's review threshold; of two such, the old one's is that which keeps `recall` of the photos here."""
    if None not in own:
        return [chosen for chosen in own if chosen]
    known = 1 if own[0] is None and own[1] is not None else 0
    chosen = own[known]
    review = chosen.review if chosen else threshold_for_recall(labels, probabilities[known], recall)
    flagged = int((probabilities[known] >= review).sum())
    other = probabilities[1 - known]
    matched = float(np.sort(other)[-flagged]) if flagged else NEVER
    reviews = [matched, matched]
    reviews[known] = review
    return [Thresholds(value, NEVER) for value in reviews]


def changed_photos(
    photos: ClassPhotos, probabilities: Sequence[np.ndarray], chosen: Sequence[Thresholds]
) -> tuple[Changed, ...]:
    """The photos whose band differs: those that the new side gets wrong first, then by how far they moved."""
    columns = [p.tolist() for p in probabilities]
    bands = [[band(p, limits) for p in column] for column, limits in zip(columns, chosen, strict=True)]
    found = [
        Changed(int(row), photos.dataset.source.items[row].path, int(label), *values)
        for row, label, *values in zip(photos.rows, photos.labels, *columns, *bands, strict=True)
        if values[2] != values[3]
    ]
    return tuple(sorted(found, key=lambda one: (not one.wrong, -abs(one.new - one.old))))


def changed_sheet(path: epath.Path, dataset: Dataset, changed: Sequence[Changed]) -> None:
    """Draws the first `MOST` of them; where there are none, a sheet of an earlier comparison goes.

    A tile is named by the mistake that came, `now`, or went, `no longer`; a photo of the class that both flag is found.
    """
    if not changed:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.sheet(path, [_tile(dataset, one) for one in changed[:MOST]])


def _tile(dataset: Dataset, one: Changed) -> tuple[Photo, str, plots.Kind]:
    mistake: plots.Kind = "missed" if one.label else "false alarm"
    moved = f"{one.old_band} → {one.new_band}"
    item = dataset.source.items[one.row]
    lines = (
        moved if one.within else f"{'now' if one.wrong else 'no longer'}, {moved}",
        f"{one.old:.3f} → {one.new:.3f}",
        f"{item.label}/{PurePath(one.path).name}",
    )
    photo = decode(dataset.source.read(one.row), dataset.limits, EDGE)
    return photo, "\n".join(lines), "found" if one.label and one.within else mistake
