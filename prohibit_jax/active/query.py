"""From a score table and the answers so far to the photos to ask about next, each with the reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from etils import epath

from prohibit_jax.active.mixture import Narrowed, mixture, picks
from prohibit_jax.active.near import NOTHING, Seen
from prohibit_jax.active.neighbours import nearest_rows
from prohibit_jax.active.pool import Askable, Known, Stored, askable, unit
from prohibit_jax.active.queue import Ask, check_out, read_queue, write_queue
from prohibit_jax.active.reasons import reasons
from prohibit_jax.active.view import View
from prohibit_jax.bundle.store import Store, open_store
from prohibit_jax.config import load_config
from prohibit_jax.data.label_store import FILE, VARIABLE, Resolved, Rule, open_label_store
from prohibit_jax.data.sources import Source, open_source
from prohibit_jax.score.bulk import score_items
from prohibit_jax.score.embed import Embedder, load_embedder
from prohibit_jax.score.table import ScoreTable, open_scores
from prohibit_jax.types import HeadRef, InputError, check_name


@dataclass(frozen=True)
class Scored:
    """What one head says of every photo of a pool."""

    head: str  # "weapon@3"
    scores: np.ndarray  # float32 [rows], calibrated; of photos with an error, anything
    threshold: float  # of review


@dataclass(frozen=True)
class Examples:
    """Photos of the thing from outside the pool."""

    embeddings: np.ndarray  # float32 [e, f], unit length, by the pool's embedder
    phash: np.ndarray  # uint64 [e]


@dataclass(frozen=True)
class Chosen:
    """What to ask, and from what it was chosen."""

    asks: tuple[Ask, ...]  # best first
    pool: Askable
    candidates: int  # photos that the strategies other than random looked at; random drew from all of `pool.rows`
    seconds: dict[str, float]  # that it took to sort the pool out, to find the candidates and to choose

    @property
    def strategies(self) -> dict[str, int]:
        """How many photos each strategy chose."""
        return dict(Counter(ask.strategy for ask in self.asks))


def make_queue(
    out: epath.PathLike,
    name: str,
    scores: epath.PathLike,
    strategy: str,
    budget: int,
    store: Store | epath.PathLike,
    *,
    labels: str | None = None,
    queues: Sequence[epath.PathLike] = (),
    examples: str = "",
    versions: Sequence[epath.PathLike] = (),
    near: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Chosen:
    """Chooses what to ask next and writes the queue to `out`.

    Args:
        name: the class.
        scores: the pool, a score table.
        strategy: one, or a mixture.
        budget: photos to choose.
        store: where the head's card, the embedder's weights and, unless `labels` says otherwise, the labels are.
        labels: address of the label store.
        queues: files of queues whose photos are left out.
        examples: a data source of photos of the thing.
        versions: score tables of the same photos by other versions of the head.
        near: all strategies but random look only at so many nearest neighbours of each known positive.
        seed: of what chance decides.
        progress: told how far a pass over all embeddings is.
        warn: told, in one line, what is worth knowing.

    Raises:
        InputError: any of these cannot be used, or a strategy needs what is not there.
    """
    check_out(out)
    quotas, settings, store = mixture(strategy), load_config(check_name(name)).labels, open_store(store)
    table, others = open_scores(scores), [open_scores(path) for path in versions]
    queued = {ask.sha256 for path in queues for ask in read_queue(path)}
    answers = _answers(labels, store, name, Rule(settings.adjudicators, settings.votes))
    chosen = query(
        table,
        name,
        quotas,
        budget,
        scored=scored_by(table, name, store),
        answers=answers,
        queued=queued,
        examples=_examples(table, examples, store) if examples else None,
        versions=others,
        near=near,
        turn=1 + max((answer.round for answer in answers if answer.round is not None), default=-1),
        seed=seed,
        progress=progress,
        warn=warn,
    )
    write_queue(out, chosen.asks)
    return chosen


def scored_by(table: ScoreTable, name: str, store: Store) -> Scored | None:
    """The table's column of a class, with its head's threshold, 0.5 where the store has no such head; or None."""
    if name not in table.classes:
        return None
    (line,) = (line for line in table.bundle["heads"] if line["class"] == name)
    ref = HeadRef(name, line["version"])
    known = ref.version in store.versions(name)
    return Scored(str(ref), table.column(name), store.read_card(ref).thresholds.review if known else 0.5)


def embedded(source: Source, embedder: Embedder) -> Examples:
    """Reads examples. Raises InputError that names a photo which cannot be read."""
    records = list(score_items(None, source, embedder=embedder))
    for record in records:
        if record.error is not None:
            raise InputError(f"photo {record.path!r}: {record.error}")
    embeddings = np.stack([record.embedding for record in records if record.embedding is not None])
    return Examples(unit(embeddings.astype(np.float32)), np.array([record.phash for record in records], np.uint64))


def query(
    table: ScoreTable,
    name: str,
    quotas: Mapping[str, float],
    budget: int,
    *,
    scored: Scored | None,
    answers: Sequence[Resolved] = (),
    queued: Collection[str] = (),
    examples: Examples | None = None,
    versions: Sequence[ScoreTable] = (),
    near: int | None = None,
    turn: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Chosen:
    """Chooses the photos to ask about next.

    Photos with an error, answered ones and `queued` ones are left out, and of identical files the first is meant.

    Args:
        table: the pool.
        name: the class.
        quotas: each strategy's share (`mixture.mixture`).
        budget: photos to choose.
        scored: the pool's scores; None on a first day, when only neighbours, k_center and random can choose.
        answers: what annotators have said so far of this class.
        queued: SHA-256 of photos that are asked about elsewhere.
        examples: of the thing, which count as known positives.
        versions: score tables of the same photos by other versions of the head, for `disagreement`.
        near: all strategies but random look only at so many nearest neighbours of each known positive.
        turn: the round, for the queue.
        seed: of what chance decides.
        progress: told how far a pass over all embeddings is.
        warn: told, in one line, what is worth knowing.

    Raises:
        InputError: a strategy needs what is not there, or `versions` are of other photos or of other classes.
    """
    if table.embedding is None and (near is not None or examples is not None):
        raise InputError("scores: the table has no embeddings; run launch score again with --embedding")
    if table.embedding is None and scored is None:
        raise InputError(f"scores: the table has neither scores of {name} nor embeddings; score it with --embedding")
    begun = perf_counter()
    verdicts = {answer.sha256: answer.answer for answer in answers}
    pool = askable(table, verdicts, queued)
    known = _known(table, pool, verdicts, scored, examples)
    hashes = table.phash() if table.embedding else None
    seen = NOTHING if hashes is None else _seen(table, pool, hashes, examples)
    sorted_out = perf_counter()
    if not known.labels.any() and (near is not None or set(quotas) == {"neighbours"}):
        raise InputError(f"neighbours: no photo of {name} is known yet; give some with --examples")
    rows = pool.rows
    view = View(
        scores=None if scored is None else scored.scores[rows],
        embeddings=Stored(table, rows, progress) if table.embedding else None,
        labels=known.labels,
        label_scores=known.scores,
        label_embeddings=known.embeddings,
        versions=_versions(table, name, rows, scored, versions, warn) if scored is not None and versions else None,
        threshold=0.5 if scored is None else scored.threshold,
    )
    part = None
    if near is not None and view.embeddings is not None and known.embeddings is not None:
        positives = known.embeddings[np.flatnonzero(known.labels == 1)]
        nearest = nearest_rows(view.embeddings, positives, near)
        part = _part(view, Stored(table, rows[nearest], progress), nearest)
    narrowed = perf_counter()
    rng = np.random.default_rng(seed)
    chosen = picks(view, quotas, budget, rng, None if hashes is None else hashes[rows], seen, part)
    places = pa.array([rows[row] for row, _ in chosen], pa.int64())
    paths, contents = (column.to_pylist() for column in table.read(["path", "sha256"]).take(places))
    said = reasons(view, chosen, part)
    asks = tuple(
        Ask(
            path,
            content,
            name,
            None if view.scores is None else float(view.scores[row]),
            None if scored is None else scored.head,
            strategy,
            reason,
            turn,
        )
        for path, content, (row, strategy), reason in zip(paths, contents, chosen, said, strict=True)
    )
    seconds = {"sorting": sorted_out - begun, "narrowing": narrowed - sorted_out, "choosing": perf_counter() - narrowed}
    return Chosen(asks, pool, len(rows) if part is None else len(part.rows), seconds)


@dataclass(frozen=True)
class _Known:
    """The photos that are answered yes or no, and the examples after them, as a view has them."""

    labels: np.ndarray
    scores: np.ndarray | None
    embeddings: Known | None


def _known(
    table: ScoreTable, pool: Askable, verdicts: Mapping[str, str], scored: Scored | None, examples: Examples | None
) -> _Known:
    """Of the answered photos those of the pool: the others have neither scores nor embeddings."""
    said = {row: verdicts[content] for content, row in pool.answered.items() if verdicts[content] in ("yes", "no")}
    rows = np.array(list(said), np.int64)
    shown = np.zeros((0, 0), np.float32) if examples is None else examples.embeddings
    unscored = np.full(len(shown), np.nan, np.float32)
    return _Known(
        np.array([*(answer == "yes" for answer in said.values()), *(True for _ in shown)], np.int8),
        None if scored is None else np.concatenate([scored.scores[rows], unscored]),
        Known(Stored(table, rows), shown) if table.embedding else None,
    )


def _seen(table: ScoreTable, pool: Askable, hashes: np.ndarray, examples: Examples | None) -> Seen:
    """What is answered, whatever the answer, what is queued, and the examples."""
    rows = np.concatenate([np.array(list(pool.answered.values()), np.int64), pool.queued])
    shown = Examples(np.zeros((0, 0), np.float32), hashes[:0]) if examples is None else examples
    return Seen(np.concatenate([hashes[rows], shown.phash]), Known(Stored(table, rows), shown.embeddings))


def _part(view: View, embeddings: Stored, rows: np.ndarray) -> Narrowed:
    """Of the view only `rows`, rising, whose embeddings these are."""
    part = replace(
        view,
        scores=None if view.scores is None else view.scores[rows],
        embeddings=embeddings,
        versions=None if view.versions is None else view.versions[rows],
    )
    return Narrowed(part, rows)


def _versions(
    table: ScoreTable,
    name: str,
    rows: np.ndarray,
    scored: Scored,
    versions: Sequence[ScoreTable],
    warn: Callable[[str], None],
) -> np.ndarray:
    """float32 [rows, v]: the head's own scores, and the others'; where one has not scored a photo, the head's."""
    contents, own = table.texts("sha256").take(pa.array(rows)), scored.scores[rows]
    columns = [own]
    for other in versions:
        if name not in other.classes:
            raise InputError(f"versions: a table of {', '.join(other.classes) or 'no class'} has no scores of {name}")
        found = pc.index_in(contents, value_set=other.texts("sha256").combine_chunks()).to_numpy()
        theirs = np.append(other.column(name), np.float32(np.nan))[np.nan_to_num(found, nan=-1).astype(np.int64)]
        missing = int(np.isnan(theirs).sum())
        if 0 < missing == len(rows):
            raise InputError(
                f"versions: a table has scored none of the {missing:,} photos; give one of the same photos"
            )
        if missing:
            warn(f"versions: a table lacks {missing:,} of {len(rows):,} photos; there the head's own scores stand in")
        columns.append(np.where(np.isnan(theirs), own, theirs))
    return np.stack(columns, 1)


def _answers(labels: str | None, store: Store, name: str, rule: Rule) -> Sequence[Resolved]:
    if not (labels or os.environ.get(VARIABLE) or (store.root / FILE).exists()):
        return ()  # a first day
    return open_label_store(labels, store, create=False).resolved(name, rule)


def _examples(table: ScoreTable, spec: str, store: Store) -> Examples:
    if table.embedding is None:
        raise InputError("--examples: the table has no embeddings; run launch score again with --embedding")
    embedder = load_embedder(store, f"{table.embedding.weights}:{table.embedding.size}")
    if embedder.embedding != table.embedding:
        raise InputError(f"--examples: {table.embedding.weights} are other weights than the table was made with")
    return embedded(open_source(spec), embedder)
