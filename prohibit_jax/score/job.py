"""A bulk job: every photo of a source through a bundle, into one Parquet file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from etils import epath

from prohibit_jax.bundle.store import Store
from prohibit_jax.score.bands import Band, band
from prohibit_jax.score.bulk import Clock, Record, Source, score_items
from prohibit_jax.score.scorer import BATCH_SIZES, load_scorer
from prohibit_jax.score.table import write_scores

BANDS: tuple[Band, ...] = ("pass", "review", "block")


@dataclass(frozen=True)
class Summary:
    """What became of a job's photos: how many, how many with errors, and by class how many in each band."""

    photos: int
    errors: int
    bands: dict[str, dict[Band, int]]
    clock: Clock

    @property
    def waited(self) -> float:
        """The share of its time, 0 to 1, that the scorer had nothing to score: photos were read and decoded."""
        return self.clock.waiting / max(self.clock.waiting + self.clock.scoring, 1e-9)


def score_source(
    bundle: str,
    source: Source,
    out: epath.PathLike,
    store: Store | epath.PathLike,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Scores a source's photos and writes a row for each to `out`, which appears when it is whole.

    Args:
        bundle: name of the bundle that scores.
        source: photos, labelled or not.
        out: the Parquet file.
        store: where the bundle is.
        progress: told how many photos are done.

    Raises:
        InputError: the bundle cannot be used; a broken photo is a row with its error.
    """
    scorer = load_scorer(bundle, store, BATCH_SIZES[-1:])
    thresholds = list(scorer.thresholds.items())
    counts: dict[str, Counter[Band]] = {name: Counter() for name, _ in thresholds}
    seen: Counter[str] = Counter()
    clock = Clock()

    def counted() -> Iterator[Record]:
        for record in score_items(scorer, source, clock=clock):
            seen["photos"] += 1
            if record.scores is None:
                seen["errors"] += 1
            else:
                for (name, limits), score in zip(thresholds, record.scores.tolist(), strict=True):
                    counts[name][band(score, limits)] += 1
            progress(seen["photos"], len(source.items))
            yield record

    write_scores(out, counted(), scorer.bundle)
    bands = {name: {kind: found[kind] for kind in BANDS} for name, found in counts.items()}
    return Summary(seen["photos"], seen["errors"], bands, clock)
