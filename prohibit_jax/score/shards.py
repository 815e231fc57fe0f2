"""The folder of a bulk job's shards: who may write there, and what earlier jobs left.

Shard i holds the rows from i * size on, and appears whole. A table that is to be one file is gathered from shards in a
folder beside it, which then goes; once it is there, its rows serve a later job as shards would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from etils import epath

from prohibit_jax.bundle.lock import Bundle
from prohibit_jax.files import PREFIX, TEMPORARY, held, is_local
from prohibit_jax.score.bulk import Record, Source
from prohibit_jax.score.embed import Embedding
from prohibit_jax.score.table import SHARD, UNFINISHED, ScoreTable, open_scores, shard_of, write_tables
from prohibit_jax.types import InputError


@dataclass(frozen=True)
class Piece:
    """Rows of a table on disk, from `start` to before `stop`: a shard, or as good as one."""

    table: ScoreTable
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def texts(self, column: str) -> list[str | None]:
        """A column of text, None where there is none."""
        values: list[str | None] = self.table.read([column], self.start, self.stop).column(0).to_pylist()
        return values

    @property
    def errors(self) -> int:
        """The number of its photos with errors."""
        return sum(error is not None for error in self.texts("error"))

    def records(self, rows: Sequence[int] | None = None) -> list[Record]:
        """Its rows, all or those given, rising, counted from its first."""
        numbers = np.asarray(range(len(self)) if rows is None else rows, np.int64)
        return list(self.table.records(numbers + self.start))


@dataclass(frozen=True)
class Shards:
    """Where a job writes."""

    out: epath.Path
    """The table, one file or a folder."""
    folder: epath.Path
    """Of the shards."""
    size: int
    """Rows of every shard but the last."""

    @classmethod
    def at(cls, out: epath.PathLike, size: int) -> Shards:
        """A single file where the name ends in .parquet. Raises InputError where anything but scores is in the way."""
        out = epath.Path(out)
        single = out.suffix == ".parquet"
        if single and out.is_dir():
            raise InputError(f"{out}: a folder; name the Parquet file to write, or a folder without .parquet")
        if not single and out.exists() and not out.is_dir():
            raise InputError(f"{out}: a file; name a folder of shards, or one file whose name ends in .parquet")
        if single and out.exists():
            try:
                open_scores(out)
            except InputError:
                what = f"{out}: there already, and no score table"
                raise InputError(f"{what}; give another --out, or remove it") from None
        return cls(out, out.with_name(f"{out.name}.parts") if single else out, size)

    @property
    def single(self) -> bool:
        """Whether the table is to be one file."""
        return bool(self.folder != self.out)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder if need be and keeps every other job out. Raises InputError while there is one."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with held(self.folder, f"{self.folder}: another job is writing there; wait for it, or give another --out"):
            if is_local(self.folder):
                for left in Path(self.folder).glob(f"{PREFIX}*"):  # by jobs that were killed
                    if TEMPORARY.fullmatch(left.name):
                        left.unlink()
            yield

    def found(self, source: Source) -> dict[int, Piece]:
        """What earlier jobs left, by number of shard: the first rows of a shard, or all of them.

        A single file made from other photos is as good as none, for it is to be written anew. Raises InputError where
        a shard was made from other photos.
        """
        pieces = self._in_file(source)
        for path in self.folder.iterdir():
            if SHARD.fullmatch(path.name):
                number = int(path.stem.removeprefix("part-"))
                pieces[number] = self.piece(number)
                if not self._lists(source, number, pieces[number]):
                    what = f"{path}: made from other photos than --data has there"
                    raise InputError(f"{what}; give another --out, or remove {self.folder} to begin anew")
        return pieces

    def begin(self) -> None:
        """Says that the table is being written, until `finish`."""
        (self.folder / UNFINISHED).write_bytes(b"")

    def begun(self) -> bool:
        """Whether a job did not come to its end."""
        return bool((self.folder / UNFINISHED).exists())

    def path(self, number: int) -> epath.Path:
        """Of a shard."""
        return shard_of(self.folder, number)

    def piece(self, number: int) -> Piece:
        """A shard that was written."""
        table = open_scores(self.path(number))
        return Piece(table, 0, table.rows)

    def finish(self, pieces: Iterable[Piece], bundle: Bundle, embedding: Embedding | None) -> None:
        """Makes the table of its pieces, in order, where any was written, and takes away what only a job needs."""
        if self.single and self.begun():
            whole = self.folder / "whole.parquet"
            tables = (piece.table.read(piece.table.columns, piece.start, piece.stop) for piece in pieces)
            write_tables(whole, tables, bundle, embedding)
            whole.replace(self.out)
        if self.single:
            self.folder.rmtree()
        else:
            (self.folder / UNFINISHED).unlink(missing_ok=True)

    def _in_file(self, source: Source) -> dict[int, Piece]:
        if not self.single or not self.out.exists():
            return {}
        table = open_scores(self.out)
        starts = range(0, table.rows, self.size)
        pieces = {start // self.size: Piece(table, start, min(start + self.size, table.rows)) for start in starts}
        return pieces if all(self._lists(source, number, piece) for number, piece in pieces.items()) else {}

    def _lists(self, source: Source, number: int, piece: Piece) -> bool:
        """Whether the piece begins the shard of these photos."""
        items, first = source.items, number * self.size
        there = range(first, min(first + self.size, len(items)))[: len(piece)]
        return len(there) == len(piece) and piece.texts("path") == [items[i].path for i in there]
