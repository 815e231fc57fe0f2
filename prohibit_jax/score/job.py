"""A bulk job: every photo of a source through a bundle, an embedder or both, into a score table.

A job may be killed at any moment: the next one goes on after the last whole shard. What is there already is kept, to
the bit: a replaced head has only its own column computed again, and each content is scored once, whoever shows it. A
row is known by its photo's path; that a file has another content now is noticed only where its row is computed. The
error of a content is final; a file that could not be read is tried again by the next job.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from etils import epath

from prohibit_jax.bundle.store import Store
from prohibit_jax.score.bands import Band
from prohibit_jax.score.bulk import Clock, Record, Source
from prohibit_jax.score.contents import Contents
from prohibit_jax.score.embed import load_embedder
from prohibit_jax.score.fill import Counts, Filler, Networks
from prohibit_jax.score.scorer import BATCH_SIZES, Scorer, load_scorer
from prohibit_jax.score.shards import Piece, Shards
from prohibit_jax.score.table import ROWS, ScoreTable, open_scores, write_scores
from prohibit_jax.types import InputError

BANDS: tuple[Band, ...] = ("pass", "review", "block")
RECENT = 1000
"""Photos over which the rate of errors is watched: a folder that is no longer there is noticed soon."""


@dataclass(frozen=True)
class Summary:
    """What became of a job's photos."""

    photos: int
    errors: int
    contents: int
    """Different ones among the photos that could be read."""
    counts: Counts
    bands: dict[str, dict[Band, int]]
    """By class, how many photos are in each band."""
    clock: Clock

    @property
    def waited(self) -> float:
        """The share of its time, 0 to 1, that the scorer had nothing to score: photos were read and decoded."""
        return self.clock.waiting / max(self.clock.waiting + self.clock.scoring, 1e-9)


def score_source(
    bundle: str | None,
    source: Source,
    out: epath.PathLike,
    store: Store | epath.PathLike,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    embedding: str | None = None,
    max_failure_rate: float = 0.5,
    shard_rows: int = ROWS,
) -> Summary:
    """Scores a source's photos into a table with a row for each, or goes on with one, or renews it.

    Args:
        bundle: name of the bundle that scores; None for embeddings alone.
        source: photos, labelled or not. Those that a table has already must be its first, as they were.
        out: one file, which appears when it is whole, where the name ends in .parquet; else a folder of shards, which
            `open_scores` refuses until it is whole.
        store: where the bundle and the weights are.
        progress: told how many photos are done, those of earlier jobs included.
        embedding: weights that embed, `NAME` or `NAME:SIZE`.
        max_failure_rate: the share of photos, of the last `RECENT` or of all at the end, that may have errors.
        shard_rows: photos that are lost at most when a job is killed.

    Raises:
        InputError: the bundle or the weights cannot be used, `out` has other photos or would lose columns, or too many
            photos have errors; a broken photo is a row with its error.
    """
    if not (bundle or embedding):
        raise InputError("nothing to compute: give --bundle, --embedding or both")
    scorer = load_scorer(bundle, store, BATCH_SIZES[-1:]) if bundle else None
    embedder = load_embedder(store, embedding, BATCH_SIZES[-1]) if embedding else None
    networks, shards = Networks.all(scorer, embedder), Shards.at(out, shard_rows)
    watch = _Watch(len(source.items), max_failure_rate, progress)
    filler = Filler(source, shard_rows, networks, Contents(len(source.items)), watch.looked, Clock())
    with shards.locked():
        left = shards.found(source)
        _check_columns(shards.out, networks, left.values())
        pieces = {number: piece for number, piece in left.items() if filler.is_whole(number, piece)}
        for number, piece in pieces.items():
            filler.add(number, piece)
        filler.counts.resumed = sum(map(len, pieces.values()))
        watch.reach(filler.counts.resumed)
        numbers = range(max(1, -(-len(source.items) // shard_rows)))
        if len(pieces) < len(numbers):
            shards.begin()
        for number in (number for number in numbers if number not in pieces):
            records = filler.fill(number, left.get(number))
            write_scores(shards.path(number), records, networks.bundle, networks.embedding)
            pieces[number] = shards.piece(number)
            filler.add(number, pieces[number])
            watch.reach(sum(map(len, pieces.values())))
        if shards.begun():
            watch.end(sum(piece.errors for piece in pieces.values()))
        shards.finish([pieces[number] for number in numbers], networks.bundle, networks.embedding)
        return _summary(open_scores(shards.out), filler, scorer)


def _check_columns(out: epath.Path, networks: Networks, pieces: Iterable[Piece]) -> None:
    """Hours of work are not thrown away because an option was left out, or another bundle named."""
    for table in (piece.table for piece in pieces):
        if table.classes and not networks.scorer:
            raise InputError(f"{out}: has scores of bundle {table.name}; give --bundle too, or another --out")
        lost = [name for name in table.classes if name not in networks.bundle.classes]
        if lost and table.rows:
            file = table.groups[0].file
            what = f"{out}: has scores of {', '.join(lost)}, which bundle {networks.bundle.name} does not have"
            raise InputError(f"{what}; give another --out, or remove {file if file == out else file.parent}")
        if table.embedding and not networks.embedder:
            made = f"{table.embedding.weights}:{table.embedding.size}"
            raise InputError(f"{out}: has embeddings; give --embedding {made} too, or another --out")


class _Watch:
    """Counts the photos that were looked at, and stops the job where too many have errors."""

    def __init__(self, photos: int, most: float, progress: Callable[[int, int], None]) -> None:
        self._photos, self._most, self._progress = photos, most, progress
        self._done = 0
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._last = ""

    def reach(self, done: int) -> None:
        """So many photos are done, also such that needed no look."""
        if done > self._done:
            self._done = done
            self._progress(done, self._photos)

    def looked(self, record: Record, first_time: bool) -> None:
        """A photo that had an error before may have it again, whatever their rate."""
        if not first_time:
            return
        self.reach(self._done + 1)
        self._recent.append(record.error is not None)
        self._last = f"{record.path}: {record.error}" if record.error else self._last
        if len(self._recent) == RECENT:
            self._judge(sum(self._recent), RECENT, f"of the last {RECENT:,} photos")

    def end(self, errors: int) -> None:
        """When all is done."""
        self._judge(errors, self._photos, f"of {self._photos:,} photos")

    def _judge(self, errors: int, photos: int, of: str) -> None:
        if errors > self._most * photos:
            last = f" (the last: {self._last})" if self._last else ""
            raise InputError(
                f"{errors:,} {of} have errors{last}, more than --max-failure-rate {self._most:g} allows; what is "
                "finished is kept, and the same command goes on"
            )


def _summary(table: ScoreTable, filler: Filler, scorer: Scorer | None) -> Summary:
    bands = {}
    for name, limits in scorer.thresholds.items() if scorer else ():
        scores = table.column(name).astype(np.float64)  # as `bands.band` compares
        scores = scores[~np.isnan(scores)]
        block = scores >= limits.block
        passed = ~block & (scores < limits.review)
        counts = {"pass": passed, "review": ~block & ~passed, "block": block}
        bands[name] = {kind: int(counts[kind].sum()) for kind in BANDS}
    errors = table.rows - table.texts("error").null_count
    return Summary(table.rows, errors, len(filler.contents), filler.counts, bands, filler.clock)
