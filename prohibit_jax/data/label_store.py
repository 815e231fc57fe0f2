"""Labels and who gave them: SQLite by default, PostgreSQL by address. Nothing in it is changed or removed.

Of each annotator the latest answer on a photo counts; a `skip` takes back the one before. Where annotators disagree, a
`Rule` decides. Labels are in order of time, and at one time in the order in which they were given.
"""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from etils import epath
from sqlalchemy import URL, Engine, Select, Subquery, and_, case, create_engine, event, func, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from prohibit_jax.config import check_class, redacted
from prohibit_jax.data import label_schema
from prohibit_jax.data.label_schema import ANSWERS, photos
from prohibit_jax.data.label_schema import labels as given
from prohibit_jax.types import HeadRef, InputError, check_name

VARIABLE = "PROHIBIT_LABELS"
"""The environment's address of the label store, where a command names none."""

FILE = "labels.db"
"""In the store's folder, where neither names any."""

HONEST = ("random", "imported")
"""Strategies that follow no score, so that their photos may judge a head; all others choose photos for training."""

PATIENCE = 60.0
"""Seconds that a writer waits for others."""

MAGIC = b"SQLite format 3\0"
EMPTY = "no labels there yet; give some with launch label or launch labels import"

CHUNK = 5_000
"""Labels in one statement."""

# No text holds a NUL, which PostgreSQL refuses, or half a character, which is no UTF-8.
TEXTS = {
    "sha256": (re.compile("[0-9a-f]{64}"), "64 of 0-9 and a-f"),
    "path": (re.compile(r"[^\0\ud800-\udfff]{1,4096}"), "1 to 4096 characters, no NUL"),
    "reason": (re.compile(r"[^\0\ud800-\udfff]{0,2000}"), "at most 2000 characters, no NUL"),
}
ANNOTATOR = re.compile(r"[^\0-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")

EPOCH, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LAST = (END - EPOCH) // MICROSECOND - 1
MOST_ROUNDS = 2**31 - 1
COUNTED = {"preserve_rowcount": True}
INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass(frozen=True)
class Label:
    """One answer.

    Attributes:
        sha256: of the photo's bytes, 64 hex digits.
        path: where the photo is. A store returns where it was last seen.
        name: the class.
        answer: one of `ANSWERS`; `skip` takes back what the annotator answered before.
        annotator: who, 1 to 200 characters, none of them a control character.
        time: when, from 1970 to 2999 in UTC, with its zone; a store returns UTC.
        round: of the loop, from 0; None outside of one.
        head: which scored the photo when it was asked, as in `weapon@3`.
        score: what that head gave it, 0 to 1.
        strategy: which chose the photo, `random` or `uncertainty`, say; `imported` if none did.
        reason: why it was chosen, one sentence.
    """

    sha256: str
    path: str
    name: str
    answer: str
    annotator: str
    time: datetime
    round: int | None = None
    head: str | None = None
    score: float | None = None
    strategy: str = "imported"
    reason: str = ""


class Votes(NamedTuple):
    """How many annotators' latest answer is which."""

    yes: int
    no: int
    unsure: int


@dataclass(frozen=True)
class Resolved:
    """What the annotators of one photo say together.

    Attributes:
        sha256, path: the photo, and where it was last seen.
        answer: `yes`, `no`, `disputed` (as many yes as no), or `unsure` (nobody says either, or too few do).
        votes: the latest answers, an adjudicator's among them.
        strategy, round: of the label that was the photo's first in this class.
    """

    sha256: str
    path: str
    answer: str
    votes: Votes
    strategy: str
    round: int | None


@dataclass(frozen=True)
class Dispute:
    """A photo on which annotators disagree: where it was last seen, and who says what, those who answered first first.

    `unsure` votes are no part of it.
    """

    name: str
    sha256: str
    path: str
    yes: tuple[str, ...]
    no: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """How several answers make one: the latest of an adjudicator wins, else the majority of yes and no.

    Attributes:
        adjudicators: annotators whose word is final.
        votes: yes and no together that a majority needs; with fewer a photo is `unsure`. A tie is always `disputed`.
    """

    adjudicators: tuple[str, ...] = ()
    votes: int = 1


@dataclass(frozen=True)
class Counts:
    """Of one class: labels in all, annotators, and the photos by their resolved answer."""

    labels: int
    annotators: int
    yes: int
    no: int
    unsure: int
    disputed: int


def open_label_store(address: str | None, store: Any, *, create: bool = True) -> LabelStore:
    """Opens a label store, and makes one where there is none.

    Args:
        address: a file, or `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`; None or "" means what PROHIBIT_LABELS
            says, and without that `labels.db` in the store.
        store: the folder that holds everything that lasts, or the `Store` of it.
        create: whether one may be made; else a missing one is refused.

    Raises:
        InputError: it cannot be reached, is no label store, damaged, or of a newer schema. One line, no password.
    """
    root = epath.Path(store) if isinstance(store, str | os.PathLike) else store.root
    address = address or os.environ.get(VARIABLE) or os.fspath(root / FILE)
    name = redacted(address)
    engine = _server(address, name) if _is_server(address) else _file(address, create)
    with _explained(name), engine.connect() as connection:
        made = label_schema.is_made(connection, name)
    if not made and not create:
        raise InputError(f"{name}: {EMPTY}")
    with _explained(name):
        if not made:
            with engine.begin() as connection:
                label_schema.make(connection, name)
        if engine.dialect.name == "sqlite":
            with engine.connect() as connection:  # so that readers and a writer do not wait for each other
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    return LabelStore(engine, name)


class LabelStore:
    """An open label store. It keeps no connection between calls, so threads and processes may share it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name  # for messages, without a password

    def append(self, labels: Iterable[Label]) -> int:
        """Adds labels, all or none, and returns how many were new.

        A label that is there already, by photo, class, annotator, time and answer, is passed over, but its path counts.
        If `labels` raises, nothing is added. Raises InputError on a label that cannot be.
        """
        new, rest = 0, iter(labels)
        with _explained(self.name), self.engine.begin() as connection:
            insert = INSERT[connection.dialect.name]
            connection.exec_driver_sql(label_schema.LOCK[connection.dialect.name])
            seen = insert(photos)
            seen = seen.on_conflict_do_update(
                index_elements=[photos.c.sha256],
                set_={"path": seen.excluded.path},
                where=photos.c.path != seen.excluded.path,
            )
            while rows := [_row(label) for label in islice(rest, CHUNK)]:
                paths = {row["sha256"]: row.pop("path") for row in rows}
                connection.execute(seen, [{"sha256": sha256, "path": path} for sha256, path in paths.items()])
                chosen = select(photos.c.sha256, photos.c.id).where(photos.c.sha256.in_(paths))
                number = dict(connection.execute(chosen).all())
                for row in rows:
                    row["photo"] = number[row.pop("sha256")]
                new += connection.execute(
                    insert(given).on_conflict_do_nothing(), rows, execution_options=COUNTED
                ).rowcount
        return new

    def labels(self, name: str) -> list[Label]:
        """Every label of a class, oldest first."""
        return list(self.stream(name))

    def stream(self, name: str) -> Iterator[Label]:
        """As `labels`, a few at a time, for stores that do not fit into memory."""
        return self._labels(select(given).where(given.c.name == name).subquery())

    def since(self, last: int, name: str) -> tuple[int, Iterator[Label]]:
        """The labels of a class that were added after label number `last`, oldest first, and the newest one's number.

        From 0 it is as `stream`; what was added later, with whatever time, comes from the number that this returned.
        """
        with _explained(self.name), self.engine.connect() as connection:
            newest = connection.execute(select(func.max(given.c.id))).scalar_one() or 0
        added = given.c.id > last, given.c.id <= newest
        labels = self._labels(select(given).where(given.c.name == name, *added).subquery())
        return newest, labels if newest > last else iter(())

    def current(self, name: str) -> list[Label]:
        """The latest label by each annotator of each photo, oldest first; none where that is a skip."""
        latest = _ranked(name).subquery()
        counting = select(latest).where(latest.c.recent == 1, latest.c.answer != "skip")
        return list(self._labels(counting.subquery()))

    def resolved(self, name: str, rule: Rule = Rule()) -> list[Resolved]:
        """What the annotators say of each photo that has an answer, in the order in which photos were first asked."""
        with _explained(self.name), self.engine.connect() as connection:
            rows = connection.execute(_resolution(name, rule))
            return [
                Resolved(sha256, path, answer, Votes(yes, no, unsure), strategy, turn)
                for sha256, path, answer, yes, no, unsure, strategy, turn in rows
            ]

    def disputes(self, name: str, rule: Rule = Rule()) -> list[Dispute]:
        """The photos whose answer is `disputed`, in the order in which they were first asked."""
        found = [photo for photo in self.resolved(name, rule) if photo.answer == "disputed"]
        said: dict[tuple[str, str], list[str]] = defaultdict(list)
        for label in self.current(name) if found else ():
            said[label.sha256, label.answer].append(label.annotator)
        return [
            Dispute(name, photo.sha256, photo.path, *(tuple(said[photo.sha256, answer]) for answer in ("yes", "no")))
            for photo in found
        ]

    def classes(self) -> dict[str, Counts]:
        """The classes that have labels, sorted, and what there is of each by the plain majority."""
        with _explained(self.name), self.engine.connect() as connection:
            names = connection.execute(select(given.c.name).distinct()).scalars().all()
        return {name: self.counts(name) for name in sorted(names)}

    def counts(self, name: str, rule: Rule = Rule()) -> Counts:
        """What there is of one class."""
        resolution = _resolution(name, rule).order_by(None).subquery()
        totals = select(func.count(), func.count(given.c.annotator.distinct())).where(given.c.name == name)
        with _explained(self.name), self.engine.connect() as connection:
            labels, annotators = connection.execute(totals).one()
            answers = connection.execute(select(resolution.c.answer, func.count()).group_by(resolution.c.answer))
            found: dict[str, int] = dict(answers.all())
        return Counts(labels, annotators, *(found.get(answer, 0) for answer in ("yes", "no", "unsure", "disputed")))

    def _labels(self, rows: Subquery) -> Iterator[Label]:
        """Rows of the table of labels as records, oldest first."""
        columns = [(photos if field in photos.c else rows).c[field] for field in Label.__dataclass_fields__]
        chosen = select(*columns).join_from(rows, photos).order_by(rows.c.time, rows.c.id)
        with _explained(self.name), self.engine.connect() as connection:
            for row in connection.execution_options(yield_per=CHUNK).execute(chosen):
                sha256, path, name, answer, annotator, microseconds, *rest = row
                time = EPOCH + min(max(microseconds, 0), LAST) * MICROSECOND  # one bad row must not bar all others
                yield Label(sha256, path, name, answer, annotator, time, *rest)


def _ranked(name: str) -> Select[Any]:
    """The labels of a class, with `recent` 1 for an annotator's latest on a photo and `asked` 1 for a photo's first."""
    newest, oldest = (given.c.time.desc(), given.c.id.desc()), (given.c.time, given.c.id)
    recent = func.row_number().over(partition_by=[given.c.photo, given.c.annotator], order_by=newest)
    asked = func.row_number().over(partition_by=given.c.photo, order_by=oldest)
    return select(given, recent.label("recent"), asked.label("asked")).where(given.c.name == name)


def _resolution(name: str, rule: Rule) -> Select[Any]:
    """A row a photo, in the order of `Resolved`: sha256, path, answer, yes, no, unsure, strategy, round."""
    ranked = _ranked(name).cte("ranked")
    final = ranked.c.annotator.in_(rule.adjudicators)
    newest = ranked.c.time.desc(), ranked.c.id.desc()
    turn = func.row_number().over(partition_by=[ranked.c.photo, final], order_by=newest)
    verdict = case((and_(final, turn == 1), ranked.c.answer)).label("verdict")
    counting = and_(ranked.c.recent == 1, ranked.c.answer != "skip")
    current = select(ranked.c.photo, ranked.c.answer, verdict).where(counting).subquery()
    votes = [func.sum(case((current.c.answer == answer, 1), else_=0)).label(answer) for answer in Votes._fields]
    verdict = func.max(current.c.verdict).label("verdict")  # there is one at most
    tally = select(current.c.photo, verdict, *votes).group_by(current.c.photo).subquery()
    yes, no, unsure = tally.c.yes, tally.c.no, tally.c.unsure
    answer = case(
        (tally.c.verdict.is_not(None), tally.c.verdict),
        (and_(yes == no, yes > 0), "disputed"),
        (yes + no < rule.votes, "unsure"),
        (yes > no, "yes"),
        else_="no",
    )
    first = select(ranked).where(ranked.c.asked == 1).subquery()
    columns = photos.c.sha256, photos.c.path, answer.label("answer"), yes, no, unsure, first.c.strategy, first.c.round
    joined = select(*columns).join_from(tally, first, first.c.photo == tally.c.photo)
    return joined.join(photos, photos.c.id == tally.c.photo).order_by(first.c.time, first.c.id)


def check_label(label: Label) -> None:
    """Raises InputError that names the field, if there is one that cannot be."""
    _check_words(label.name, label.annotator, label.strategy, label.head)
    for field, (pattern, wanted) in TEXTS.items():
        text = getattr(label, field)
        if not pattern.fullmatch(text):
            raise InputError(f"{field} {text[:80]!r}: {wanted}")
    if label.answer not in ANSWERS:
        raise InputError(f"answer {label.answer[:80]!r}: use {', '.join(ANSWERS)}")
    if label.time.utcoffset() is None:
        raise InputError(f"time {label.time.isoformat()}: needs its zone, as in 2026-01-31T12:00:00+00:00")
    if not EPOCH <= label.time < END:
        raise InputError(f"time {label.time.isoformat()}: not from 1970 to 2999 in UTC")
    if label.round is not None and not 0 <= label.round <= MOST_ROUNDS:
        raise InputError(f"round {label.round}: a whole number from 0 to {MOST_ROUNDS}")
    if label.score is not None and not 0 <= label.score <= 1:
        raise InputError(f"score {label.score}: a number from 0 to 1")


@lru_cache(maxsize=256)
def _check_words(name: str, annotator: str, strategy: str, head: str | None) -> None:
    """Checks what is the same for many labels."""
    check_class(name)
    check_name(strategy, "strategy")
    if not ANNOTATOR.fullmatch(annotator):
        raise InputError(f"annotator {annotator[:80]!r}: 1 to 200 characters, no control characters")
    if head is not None:
        HeadRef.parse(head)


def _row(label: Label) -> dict[str, Any]:
    """A label's values by column, checked."""
    check_label(label)
    row = dict(vars(label))
    row["time"] = (label.time - EPOCH) // MICROSECOND
    row["score"] = None if label.score is None else label.score + 0.0  # no -0.0, which SQLite would not keep
    return row


def _is_server(address: str) -> bool:
    return "://" in address and not address.startswith(("/", "."))


def _server(address: str, name: str) -> Engine:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise InputError(f"{name}: no address; write postgresql+psycopg://USER:PASSWORD@HOST/DATABASE") from None
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise InputError(f"{name}: labels are kept in a file or at postgresql+psycopg://…; set {VARIABLE} or --labels")
    if address.partition("?")[0].count("@") > 1:
        raise InputError(f"{name}: an @ in a name or password is written %40")  # else a part of it is the host
    options = {"connect_timeout": round(PATIENCE)}
    try:
        return create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool, connect_args=options)
    except ModuleNotFoundError:
        raise InputError(f"{name}: it needs the extra 'postgres': install prohibit-jax[postgres]") from None


def _file(address: str, create: bool) -> Engine:
    file = Path(address)
    if file.exists():
        if not stat.S_ISREG(file.stat().st_mode):
            raise InputError(f"{address}: not a file")  # a pipe would be waited for
        with file.open("rb") as stream:
            if stream.read(len(MAGIC)) not in (b"", MAGIC):  # SQLite takes a file of a few bytes for an empty one
                raise InputError(f"{address}: not a label store")
    elif not create:
        raise InputError(f"{address}: {EMPTY}")
    file.parent.mkdir(parents=True, exist_ok=True)
    url = URL.create("sqlite", database=str(file.absolute()))  # not from text, in which ? and % have a meaning
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": PATIENCE, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

    return engine


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns what a database says into one line that names the store."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise InputError(f"{name}: {redacted(reason)}") from None
