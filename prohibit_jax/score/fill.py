"""Makes a shard's rows: those that are there are kept, what they lack is computed, each content once."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from threading import Lock

import numpy as np

from prohibit_jax.bundle.lock import Bundle
from prohibit_jax.score.bulk import Clock, Record, Source, score_items
from prohibit_jax.score.contents import Contents
from prohibit_jax.score.embed import Embedder, Embedding
from prohibit_jax.score.scorer import Scorer
from prohibit_jax.score.shards import Piece
from prohibit_jax.score.table import ScoreTable


@dataclass
class Counts:
    """Rows by what was done for them."""

    resumed: int = 0
    """Were there already, and stayed."""
    rescored: int = 0
    """Had some of their columns computed again."""
    copied: int = 0
    """Show what another row shows, whose scores they took."""


@dataclass(frozen=True)
class Networks:
    """What computes a table's columns, or some of them."""

    scorer: Scorer | None
    embedder: Embedder | None
    places: np.ndarray
    """Of the scorer's classes among the table's."""

    @classmethod
    def all(cls, scorer: Scorer | None, embedder: Embedder | None) -> Networks:
        """What computes them all."""
        return cls(scorer, embedder, np.arange(len(scorer.classes) if scorer else 0))

    @property
    def bundle(self) -> Bundle:
        """What scores, without heads where nothing does."""
        return self.scorer.bundle if self.scorer else Bundle("", ())

    @property
    def embedding(self) -> Embedding | None:
        """What embeds."""
        return self.embedder.embedding if self.embedder else None

    def __bool__(self) -> bool:
        return self.scorer is not None or self.embedder is not None

    def lacking(self, table: ScoreTable) -> Networks:
        """Those of them that did not make this table: other versions of heads, or another embedding, did, or none.

        A scorer that others were removed from gives the same bits for the rest, and compiles nothing.
        """
        lines = {line["class"]: line for line in table.bundle["heads"]}
        right = [pin.ref.name for pin in self.bundle.pins if lines.get(pin.ref.name) == pin.line()]
        places = [place for place, name in enumerate(self.bundle.classes) if name not in right]
        scorer = reduce(Scorer.remove, right, self.scorer) if self.scorer and places else None
        embedder = None if table.embedding == self.embedding else self.embedder
        return Networks(scorer, embedder, np.array(places, np.int64))

    def part(self, record: Record) -> Record:
        """A whole row's part that they compute."""
        scores = None if record.scores is None else record.scores[self.places]
        if self.embedder:
            return replace(record, scores=scores)
        return replace(record, scores=scores, phash=None, embedding=None)

    def renewed(self, old: Record, new: Record) -> Record:
        """The whole row `old` with the part that they computed in its place."""
        if new.error is not None or old.scores is None:
            return new
        scores = old.scores.copy()
        if new.scores is not None:
            scores[self.places] = new.scores
        return replace(new if self.embedder else old, scores=scores)


@dataclass
class Filler:
    """Makes shards of a source's rows, one after another."""

    source: Source
    size: int
    """Rows of every shard but the last."""
    networks: Networks
    contents: Contents
    """Of the finished shards."""
    looked: Callable[[Record, bool], None]
    """Told of every photo that was looked at, and whether for the first time."""
    clock: Clock
    counts: Counts = field(default_factory=Counts)
    _finished: dict[int, Piece] = field(default_factory=dict)

    def add(self, number: int, piece: Piece) -> None:
        """Takes in a finished shard, whose contents are not scored again."""
        self._finished[number] = piece
        for row, sha256 in enumerate(piece.texts("sha256"), number * self.size):
            if sha256 is not None:
                self.contents.add(sha256, row)

    def is_whole(self, number: int, piece: Piece) -> bool:
        """Whether a shard has nothing left to do."""
        networks, table = self.networks, piece.table
        as_wanted = (networks.bundle.name, json.loads(networks.bundle.to_json()), networks.embedding)
        complete = len(piece) == len(self._rows(number)) and None not in piece.texts("sha256")
        return complete and (table.name, table.bundle, table.embedding) == as_wanted

    def fill(self, number: int, piece: Piece | None) -> list[Record]:
        """The rows of a shard, of which `piece` is what an earlier job left."""
        rows = self._rows(number)
        lacking = self.networks.lacking(piece.table) if piece else self.networks
        records = self._arranged(piece) if piece else []
        part = [row for row, record in enumerate(records) if record.error is None] if lacking else []
        unread = [row for row, record in enumerate(records) if record.sha256 is None]
        self.counts.resumed += len(records) - len(part) - len(unread)

        broken = [record for record in records if record.error is not None]
        for row, new in zip(part, self._look(lacking, [rows[row] for row in part], broken), strict=True):
            if new.sha256 == records[row].sha256:
                records[row] = lacking.renewed(records[row], new)
                self.counts.rescored += 1
            else:  # the file was changed, or cannot be read now
                unread.append(row)
                records[row] = Record(new.path)
        again = self._look(self.networks, [rows[row] for row in unread], records, again=True)
        for row, new in zip(unread, again, strict=True):
            records[row] = new
        return records + self._look(self.networks, rows[len(records) :], records)

    def _rows(self, number: int) -> range:
        return range(number * self.size, min((number + 1) * self.size, len(self.source.items)))

    def _arranged(self, piece: Piece) -> list[Record]:
        """The piece's rows with scores in the order of the table's classes, those that it has not to be filled in."""
        names, before = self.networks.bundle.classes, piece.table.classes
        to = [place for place, name in enumerate(names) if name in before]
        of = [before.index(names[place]) for place in to]

        def arranged(record: Record) -> Record:
            if record.scores is None:
                return record
            scores = np.full(len(names), np.nan, np.float32)
            scores[to] = record.scores[of]
            return replace(record, scores=scores)

        return [arranged(record) for record in piece.records()]

    def _look(
        self, networks: Networks, rows: Sequence[int], known: Iterable[Record], again: bool = False
    ) -> list[Record]:
        """What the networks compute of photos, but of contents that `known` or a finished shard has already."""
        if not rows:
            return []
        there: dict[str | None, Record] = {
            record.sha256: networks.part(record) for record in known if record.sha256 is not None
        }
        claimed, lock = set(there), Lock()

        def fresh(sha256: str) -> bool:
            with lock:
                met = sha256 in claimed or self.contents.find(sha256) >= 0
                claimed.add(sha256)
                return not met

        found = []
        scorer, embedder = networks.scorer, networks.embedder
        for record in score_items(scorer, self.source, rows, embedder=embedder, fresh=fresh, clock=self.clock):
            self.looked(record, not again)
            found.append(record)
        there |= {record.sha256: record for record in found if not _is_copy(record)}
        copies = [record.sha256 for record in found if _is_copy(record)]
        there |= self._elsewhere(networks, {sha256 for sha256 in copies if sha256 and sha256 not in there})
        self.counts.copied += len(copies)
        return [replace(there[record.sha256], path=record.path) if _is_copy(record) else record for record in found]

    def _elsewhere(self, networks: Networks, contents: Collection[str]) -> dict[str | None, Record]:
        """The networks' part of contents that are in finished shards."""
        rows: dict[int, list[int]] = {}
        for row in sorted(map(self.contents.find, contents)):
            rows.setdefault(row // self.size, []).append(row % self.size)
        found = (record for number, inside in rows.items() for record in self._finished[number].records(inside))
        return {record.sha256: networks.part(record) for record in found}


def _is_copy(record: Record) -> bool:
    """Whether its content was not fresh, so that it has nothing yet."""
    return record.error is None and record.width is None
