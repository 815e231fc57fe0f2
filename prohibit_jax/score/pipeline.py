"""From a photo's path or bytes to a decision for every class."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from etils import epath

from prohibit_jax.bundle.store import Store
from prohibit_jax.files import read_photo
from prohibit_jax.images.decode import Limits
from prohibit_jax.score.bands import Band, band
from prohibit_jax.score.bulk import score_stream
from prohibit_jax.score.scorer import BATCH_SIZES, Scorer, load_scorer


@dataclass(frozen=True)
class Decision:
    """What a bundle says of one photo; with an `error`, one line, there are no scores and no bands."""

    path: str  # "" for a photo given as bytes
    error: str | None
    scores: dict[str, float]  # class -> calibrated probability
    bands: dict[str, Band]  # class -> pass, review or block


@dataclass(frozen=True)
class Pipeline:
    """Decodes, resizes, batches, scores and decides."""

    scorer: Scorer
    limits: Limits = Limits()  # noqa: RUF009 (frozen)

    def __call__(self, photos: Iterable[epath.PathLike | bytes]) -> Iterator[Decision]:
        """Yields a decision for each photo, in order, reading a few batches ahead; a broken one gets its error."""
        thresholds = self.scorer.thresholds
        for record in score_stream(self.scorer, map(self._named, photos), limits=self.limits):
            values = [] if record.scores is None else record.scores.tolist()
            scores = dict(zip(self.scorer.classes, values, strict=record.error is None))
            bands = {name: band(score, thresholds[name]) for name, score in scores.items()}
            yield Decision(record.path, record.error, scores, bands)

    def _named(self, photo: epath.PathLike | bytes) -> tuple[str, Callable[[], bytes]]:
        if isinstance(photo, bytes):
            return "", lambda: photo
        return os.fspath(photo), partial(read_photo, epath.Path(photo), self.limits.bytes)


def load_pipeline(
    name: str,
    store: Store | epath.PathLike = "store",
    batch_sizes: Sequence[int] = BATCH_SIZES,
    limits: Limits | None = None,
) -> Pipeline:
    """The pipeline of the bundle `name`; arguments and errors are those of `load_scorer`."""
    return Pipeline(load_scorer(name, store, batch_sizes), limits or Limits())
