"""The next round: what is labelled makes a head, the head scores the pool, and the pool's best questions make a queue.

Everything that a round reads is there already but the labels, so that it takes seconds: the embeddings stand in the
score table, and only the classifier is fitted (`heads/quick.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os.path import abspath
from time import perf_counter

import numpy as np
from etils import epath

from prohibit_jax.active import estimate, stopping
from prohibit_jax.active.curve import curve, expected_gain
from prohibit_jax.active.mixture import mixture
from prohibit_jax.active.pool import unit
from prohibit_jax.active.query import Chosen, Examples, Scored, embedded, query
from prohibit_jax.active.rounds import Round, Rounds, Settings
from prohibit_jax.active.stopping import Change
from prohibit_jax.active.strategies import FIRST_DAY
from prohibit_jax.bundle.store import Store, open_store
from prohibit_jax.config import Config, load_config, redacted
from prohibit_jax.data.label_store import Resolved, Rule, open_label_store
from prohibit_jax.data.sources import open_source
from prohibit_jax.evaluate.metrics import Interval
from prohibit_jax.heads.quick import (
    LEAST,
    Labelled,
    Quick,
    classifier_of,
    gather,
    logits_of,
    make_quick,
    pool_embedder,
    publish,
    rows_of,
    spread_of,
)
from prohibit_jax.models.network import POOLED
from prohibit_jax.score.embed import Embedder
from prohibit_jax.score.table import ScoreTable, open_scores
from prohibit_jax.types import Calibration, InputError, Line, check_name, silent

BUDGET = 200
STRATEGY = "positives=0.45,uncertainty=0.45,random=0.1"
NEAR_EXAMPLES = "neighbours=0.6,k_center=0.2,random=0.2"
"""Without a head, where photos of the thing are known."""

ANY = "k_center=0.5,random=0.5"
"""Without a head, where none is."""

OPEN = 0.5
"""Part of the last round's photos that wait for an answer, from which on another round is worth a warning."""


HIDDEN = ":***@"
"""What stands in a remembered address for its password."""


@dataclass(frozen=True)
class Made:
    """A round that was made.

    Attributes:
        round: as it was published; it asks nothing where nothing is left but a head of new labels was.
        queue: where what it asks is.
        strategies: how many photos each chose.
        head: its head, None on a first day.
        gain: of average precision on the honest sample, expected of this round's photos.
        seconds: of each phase.
    """

    round: Round
    queue: epath.Path
    strategies: dict[str, int]
    head: Quick | None
    gain: Interval | None
    seconds: dict[str, float]


@dataclass(frozen=True)
class Ground:
    """What the rounds of a class stand on: its config, its pool, and the labels so far."""

    settings: Settings
    config: Config
    pool: ScoreTable
    embedder: Embedder
    answers: Sequence[Resolved]
    labelled: Labelled


def next_round(
    name: str,
    store: Store | epath.PathLike,
    *,
    pool: str | None = None,
    budget: int | None = None,
    strategy: str | None = None,
    labels: str | None = None,
    examples: str | None = None,
    config: str | None = None,
    stop: str | None = None,
    again: bool = False,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> Made:
    """Makes a class's next round: a head from all labels, published, and the queue to ask next.

    A setting that is None is that of the round before. Without a yes and a no there is no head yet: then the
    neighbours of what is known of the thing are asked, and others far from one another and at random.

    Args:
        name: the class.
        store: where heads, weights and rounds are.
        pool: a score table with embeddings.
        budget: photos to ask about.
        strategy: one, or a mixture, for rounds with a head.
        labels: address of the label store.
        examples: a data source of photos of the thing, for the first day.
        config: the class's TOML file.
        stop: the rules by which to stop (`stopping.parse`).
        again: photos that earlier rounds asked about and nobody answered may be asked again.
        progress: opens a progress bar.
        warn: told in one line what is worth knowing; nothing of it ends the round.

    Raises:
        InputError: bad input, another that makes a round, or nothing left to ask and nothing new to learn, in one line.
    """
    store = open_store(store)
    given: dict[str, str | int | None] = {"pool": pool, "budget": budget, "strategy": strategy, "labels": labels}
    given |= {"examples": examples, "config": config, "stop": stop}
    rounds = Rounds(store, name)
    with rounds.locked():
        return _next(name, store, rounds, given, again, progress, warn)


def _next(
    name: str,
    store: Store,
    rounds: Rounds,
    given: Mapping[str, str | int | None],
    again: bool,
    progress: Line,
    warn: Callable[[str], None],
) -> Made:
    """`next_round`, alone. The head is published when all that can be refused has been done."""
    clock, before = _Clock(), rounds.all()
    settings = settle(before, given)
    ground = stand(name, store, settings, progress=progress, warn=warn)
    table, labelled = ground.pool, ground.labelled
    same = [one for one in before if one.embedding == table.embedding]
    if before and before[-1] not in same:
        made_with = before[-1].embedding
        warn(f"the pool's embeddings are other than those of round {before[-1].number}, by {made_with.weights} at "
             f"{made_with.size} px: earlier heads are not compared with this one's")  # fmt: skip
    queued = set() if again else _waiting(rounds, ground.answers, warn)
    clock.lap("reading")

    quick = logits = scale = None
    earlier = _reference([one for one in same if one.ref(store)], len(labelled.labels))
    if len(np.unique(labelled.labels)) == 2:
        quick = make_quick(ground.config, labelled, spread_of(table), ground.embedder.embedding, store)
        clock.lap("retraining")
        heads = [quick.classifier]
        if earlier and (ref := earlier.ref(store)):
            scale = store.read_card(ref).calibration
            heads.append(classifier_of(ref, store))
        logits = logits_of(heads, table)
        clock.lap("scoring")

    chosen = _ask(ground, quick, logits, queued, len(before), progress, warn)
    if not chosen.asks and (quick is None or not _new(labelled, before, store)):
        raise InputError(f"{settings.pool}: nothing left to ask: each of its photos is answered or waits for an answer")
    clock.lap("query")

    expected, left = _outlook(ground, quick, logits, chosen)
    change = _change(rounds, earlier, labelled, quick, logits, scale, table)
    if quick is not None:
        quick = publish(quick, store)
    head = str(quick.ref) if quick else None
    draft = Round(
        name=name,
        number=0,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        settings=replace(settings, labels=redacted(settings.labels) if settings.labels else None),
        embedding=ground.embedder.embedding,
        head=head,
        held_out=quick.held_out if quick else False,
        answers=dict(Counter(answer.answer for answer in ground.answers)),
        found=int(labelled.labels[labelled.rows >= 0].sum()),
        candidates=len(chosen.pool.rows),
        again=again,
        asked=len(chosen.asks),
        expected=expected,
        left=left,
        labels=len(labelled.labels),
        change=change,
    )
    published = rounds.publish(draft, [replace(ask, head=head) for ask in chosen.asks], _unseen(labelled, quick))
    made = (*before, published)
    course = curve(made, rounds, labelled, store, table, ground.config)
    gain = expected_gain(made, course.quality, len(chosen.asks))
    clock.lap("looking ahead")
    return Made(published, rounds.queue_path(published.number), chosen.strategies, quick, gain, clock.seconds)


def settle(before: Sequence[Round], given: Mapping[str, str | int | None]) -> Settings:
    """The settings of a round: those given, else those of the last round, else the defaults."""
    defaults = Settings("", BUDGET, STRATEGY, None, None, None, stopping.DEFAULT)
    said = {key: value for key, value in given.items() if value is not None}
    for key in ("pool", "labels", "config"):
        if said.get(key) and "://" not in str(said[key]):
            said[key] = abspath(str(said[key]))  # the next round may be made from another folder
    settings = replace(before[-1].settings if before else defaults, **said)  # type: ignore[arg-type]
    if not settings.pool:
        raise InputError("--pool: name the score table of the photos, made by launch score --embedding lite0:160")
    if settings.budget < 1:
        raise InputError(f"--budget {settings.budget}: ask about one photo at least")
    mixture(settings.strategy)
    stopping.parse(settings.stop)
    return settings


def stand(
    name: str,
    store: Store,
    settings: Settings,
    *,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> Ground:
    """Opens the pool and reads the labels. Raises InputError in one line."""
    pool = open_scores(settings.pool)
    embedder = pool_embedder(pool, store, settings.pool)
    address = settings.labels or ""
    if HIDDEN in address:
        raise InputError(f"--labels: the password of {address} is not kept; give the address again")
    made = {"model.weights": embedder.embedding.weights, "model.trunk_through": POOLED}
    config = load_config(
        check_name(name),
        settings.config,
        (f"model.size={embedder.size}",),
        {"data.source": f"labels:{address}", **made},
    )
    rule = Rule(config.labels.adjudicators, config.labels.votes)
    answers = open_label_store(address or None, store).resolved(name, rule)
    labelled = gather(answers, pool, embedder, config, store, progress=progress, warn=warn)
    return Ground(settings, config, pool, embedder, answers, labelled)


def _waiting(rounds: Rounds, answers: Sequence[Resolved], warn: Callable[[str], None]) -> set[str]:
    """The photos that rounds asked about and that wait for an answer, by SHA-256."""
    answered, waiting = {answer.sha256 for answer in answers}, set[str]()
    for number in rounds.numbers():
        asked = {ask.sha256 for ask in rounds.queue(number)}
        left = asked - answered
        waiting |= left
    if rounds.numbers() and len(left) >= OPEN * len(asked) > 0:
        warn(
            f"{len(left)} of the {len(asked)} photos of round {number} wait for an answer: answer them with "
            f"launch label --class {rounds.name} --queue {rounds.queue_path(number)}, or ask them anew with --again"
        )
    return waiting


def _new(labelled: Labelled, before: Sequence[Round], store: Store) -> bool:
    """Whether the labels are others than those that made the last round's head."""
    ref = before[-1].ref(store) if before else None
    return ref is None or store.read_card(ref).data.get("fingerprint") != labelled.data


def _reference(earlier: Sequence[Round], labels: int) -> Round | None:
    """The round whose head the new one is compared with."""
    place = stopping.reference([*(one.labels for one in earlier), labels])
    return None if place is None else earlier[place]


def _ask(
    ground: Ground,
    quick: Quick | None,
    logits: np.ndarray | None,
    queued: set[str],
    turn: int,
    progress: Line,
    warn: Callable[[str], None],
) -> Chosen:
    """What to ask: by the head, or before there is one, by what is known of the thing."""
    settings, labels = ground.settings, ground.labelled.labels
    quotas, known, scored = mixture(settings.strategy), _outside(ground.labelled), None
    if quick is not None and logits is not None:
        card = quick.card
        scored = Scored("", card.calibration(logits[0]), card.thresholds.review)  # no version of it is published yet
    else:
        if settings.examples:
            shown = embedded(open_source(settings.examples), ground.embedder)
            known = Examples(*map(np.concatenate, zip(_fields(known), _fields(shown), strict=True)))
        if not set(quotas) <= set(FIRST_DAY):
            text = NEAR_EXAMPLES if len(known.phash) or labels.any() else ANY
            said = (
                f"all answers so far are {'yes' if labels[0] else 'no'}" if len(labels) else "nothing is answered yet"
            )
            warn(f"no head yet, since {said}: {text} chooses this round")
            quotas = mixture(text)
    return query(
        ground.pool,
        ground.config.class_.name,
        quotas,
        settings.budget,
        scored=scored,
        answers=ground.answers,
        queued=queued,
        examples=known,
        seed=turn,
        progress=progress("reading embeddings"),
    )


def _outside(labelled: Labelled) -> Examples:
    """The known positives that are not in the pool."""
    rows = np.flatnonzero((labelled.rows < 0) & (labelled.labels == 1))
    return Examples(unit(labelled.features[rows]), labelled.phash[rows])


def _fields(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    return examples.embeddings, examples.phash


def _outlook(
    ground: Ground, quick: Quick | None, logits: np.ndarray | None, chosen: Chosen
) -> tuple[Interval | None, Interval | None]:
    """How many positives the queue and the whole rest of the pool are expected to hold, where that can be said."""
    if quick is None or logits is None:
        return None, None
    labels, told = ground.labelled.labels, np.isfinite(quick.unseen)
    asked = told & (ground.labelled.strategies != "imported")
    chosen_by = asked if min(labels[asked].sum(), (1 - labels[asked]).sum()) >= LEAST else told
    if len(np.unique(labels[chosen_by])) < 2:
        return None, None
    scales = estimate.calibrations(labels[chosen_by], quick.unseen[chosen_by], seed=0)
    queue = rows_of(ground.pool, [ask.sha256 for ask in chosen.asks])
    return (
        estimate.expected_positives(scales, logits[0][queue], seed=0),
        estimate.expected_positives(scales, logits[0][chosen.pool.rows], seed=0),
    )


def _change(
    rounds: Rounds,
    earlier: Round | None,
    labelled: Labelled,
    quick: Quick | None,
    logits: np.ndarray | None,
    before: Calibration | None,
    pool: ScoreTable,
) -> Change | None:
    """What the new head's ranking of the pool has over the earlier one's, by what is known of the pool today."""
    if earlier is None or earlier.head is None or quick is None or logits is None or before is None:
        return None
    own, others = labelled.rows >= 0, rounds.unseen(earlier.number)
    now, then = _without_training(logits[0], labelled.rows[own], quick.unseen[own]), logits[1]
    then = _without_training(then, rows_of(pool, list(others)), np.array(list(others.values()), np.float32))
    sound = np.isfinite(now) & np.isfinite(then)
    scale = quick.card.calibration
    labels = (scale(logits[0]) >= 0.5).astype(np.int8)  # of photos without an answer
    labels[labelled.rows[own]] = labelled.labels[own]
    if len(np.unique(labels[sound])) < 2:
        return None
    return Change(
        earlier.head,
        len(labelled.labels) - earlier.labels,
        stopping.gain(labels[sound], then[sound], now[sound]),
        stopping.agreement(before(logits[1][sound]), scale(logits[0][sound])),
    )


def _without_training(logits: np.ndarray, rows: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """The pool's logits, in the rows of labelled photos those of classifiers that have not seen the photo."""
    told = np.isfinite(unseen) & (rows >= 0)
    replaced = logits.copy()
    replaced[rows[told]] = unseen[told]
    return replaced


def _unseen(labelled: Labelled, quick: Quick | None) -> dict[str, float]:
    if quick is None:
        return {}
    return dict(zip(labelled.sha256, quick.unseen.tolist(), strict=True))


class _Clock:
    """Seconds of each phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, phase: str) -> None:
        """Ends a phase."""
        now = perf_counter()
        self.seconds[phase] = round(now - self._last, 3)
        self._last = now
