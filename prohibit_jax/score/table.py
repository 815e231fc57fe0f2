"""The score table: a row per photo in Parquet, one file or a folder of shards, each published whole or not at all.

An embedding is float16, little-endian, in fixed-size binary, uncompressed. For 1,280 numbers pyarrow 26 reads that at
6 GB/s a core and writes it at 0.9; the same as a fixed-size list at 0.6 and 0.13.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import groupby, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from prohibit_jax.bundle.lock import Bundle
from prohibit_jax.files import is_local, replacing
from prohibit_jax.score.bulk import Record
from prohibit_jax.score.embed import Embedding
from prohibit_jax.types import InputError

ROWS = 4096  # a row group: what is held in memory
SHARD = re.compile(r"part-[0-9]{5,}\.parquet")
UNFINISHED = "unfinished"
"""A file in a folder of shards from the start of a job until its end, by which the job locks the folder."""

KEY_NAME, KEY_BUNDLE, KEY_EMBEDDING = b"prohibit_jax.name", b"prohibit_jax.bundle", b"prohibit_jax.embedding"
FACTS = {"path": pa.string(), "sha256": pa.string(), "width": pa.int32(), "height": pa.int32(), "error": pa.string()}
HALF = np.dtype("<f2")


@dataclass(frozen=True)
class Group:
    """A row group on disk."""

    file: epath.Path
    number: int  # in the file
    start: int  # its first row in the table
    stop: int


@dataclass(frozen=True)
class ScoreTable:
    """A score table of which only the footers were read; the columns come when they are asked for."""

    classes: tuple[str, ...]
    """Those that have a column."""
    name: str
    """Of the bundle that scored, "" without one."""
    bundle: dict[str, Any]
    """The bundle's lock file."""
    embedding: Embedding | None
    """What the embeddings were made with, where there are any."""
    groups: tuple[Group, ...]

    @property
    def rows(self) -> int:
        """The number of photos."""
        return self.groups[-1].stop if self.groups else 0

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        names: list[str] = _schema(self.classes, self.embedding).names
        return names

    def texts(self, column: str) -> pa.ChunkedArray:
        """The column `path`, `sha256` or `error`, null where there is none."""
        return self.read([column]).column(0)

    def column(self, name: str) -> np.ndarray:
        """The scores of a class, float32 [n], NaN for a photo with an error."""
        return np.asarray(self.read([name]).column(0).to_numpy(), np.float32)

    def phash(self) -> np.ndarray:
        """The perceptual hashes, uint64 [n], 0 for a photo with an error; they are there where embeddings are."""
        return np.asarray(self.read(["phash"]).column(0).fill_null(0).to_numpy(), np.uint64)

    def embeddings(self, rows: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (row numbers int64 [m], their embeddings float32 [m, f]) a row group at a time, in flat memory.

        Args:
            rows: those that are wanted, rising; all by default. A photo with an error has no embedding and is left out.
        """
        for group, table in self._tables(["embedding"], self._groups_of(rows)):
            found, halves = _halves(table.column(0))
            found += group.start
            if rows is not None:
                kept = np.isin(found, rows[slice(*np.searchsorted(rows, (group.start, group.stop)))])
                found, halves = found[kept], halves[kept]
            yield found, halves.astype(np.float32)

    def read(self, columns: Sequence[str], start: int = 0, stop: int | None = None) -> pa.Table:
        """Those columns of the rows from `start` to before `stop`, all by default, as Arrow keeps them."""
        stop = self.rows if stop is None else stop
        groups = [group for group in self.groups if group.start < stop and group.stop > start]
        parts = [
            table.slice(max(start - group.start, 0), stop - max(start, group.start))
            for group, table in self._tables(columns, groups)
        ]
        empty = _schema(self.classes, self.embedding).empty_table().select(columns)
        return pa.concat_tables([empty, *parts])

    def records(self, rows: np.ndarray | None = None) -> Iterator[Record]:
        """The rows, all or those given, rising, as they were written: scores and embeddings to the bit."""
        for group, table in self._tables(self.columns, self._groups_of(rows)):
            inside = slice(None) if rows is None else slice(*np.searchsorted(rows, (group.start, group.stop)))
            yield from _records(table if rows is None else table.take(rows[inside] - group.start), self.classes)

    def _groups_of(self, rows: np.ndarray | None) -> Sequence[Group]:
        if rows is None:
            return self.groups
        limits = np.array([(group.start, group.stop) for group in self.groups], np.int64).reshape(-1, 2)
        first, last = np.searchsorted(rows, limits).T
        return [self.groups[i] for i in np.flatnonzero(last > first)]

    def _tables(self, columns: Sequence[str], groups: Iterable[Group]) -> Iterator[tuple[Group, pa.Table]]:
        for file, inside in groupby(groups, key=lambda group: group.file):
            with _opened(file) as parquet:
                for group in inside:
                    yield group, parquet.read_row_group(group.number, columns).select(columns)


def write_scores(
    path: epath.PathLike, records: Iterable[Record], bundle: Bundle, embedding: Embedding | None = None
) -> int:
    """Writes the records as they come and returns their number; until the last is written, nothing is at `path`.

    Args:
        path: of the Parquet file; its folder is made if need be.
        records: with scores in the order of `bundle.classes`.
        bundle: what scored them (`Scorer.bundle`); its name and lock file go into the file's metadata.
        embedding: what made their embeddings, if they have any.

    Raises InputError, before the first record is asked for, where `path` is a folder.
    """
    rows, schema, classes = iter(records), _schema(bundle.classes, embedding), len(bundle.classes)
    parts = iter(lambda: list(islice(rows, ROWS)), [])
    return write_tables(path, (_table(part, schema, classes) for part in parts), bundle, embedding)


def write_tables(
    path: epath.PathLike, tables: Iterable[pa.Table], bundle: Bundle, embedding: Embedding | None = None
) -> int:
    """As `write_scores`, of rows that Arrow has already: a row group or more for each table."""
    path = epath.Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder; name the Parquet file to write")
    metadata = {KEY_NAME: bundle.name.encode(), KEY_BUNDLE: bundle.to_json().encode()}
    if embedding:
        metadata[KEY_EMBEDDING] = json.dumps(asdict(embedding)).encode()
    schema = _schema(bundle.classes, embedding).with_metadata(metadata)
    others = [name for name in schema.names if name != "embedding"]  # whose bytes are as good as random
    options = {"compression": dict.fromkeys(others, "zstd") | {"embedding": "none"}, "write_statistics": others}
    count = 0
    with replacing(path) as file, pq.ParquetWriter(file, schema, use_dictionary=["error"], **options) as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(metadata), ROWS)
            count += table.num_rows
    return count


def open_scores(path: epath.PathLike) -> ScoreTable:
    """Opens a score file or a folder of shards. Raises InputError in one line where it is none, or not finished."""
    path = epath.Path(path)
    if not path.is_dir():
        return _open(path)
    if (path / UNFINISHED).exists():
        raise InputError(f"{path}: not finished, or being written; run the same launch score again, which goes on")
    tables = [_open(file) for file in shards_of(path)]
    if not tables:
        raise InputError(f"{path}: a folder without shards of scores; make them with launch score")
    if len({(table.name, json.dumps(table.bundle), table.embedding) for table in tables}) > 1:
        raise InputError(f"{path}: its shards are of several jobs; run launch score again")
    return replace(tables[0], groups=tuple(_counted(group for table in tables for group in table.groups)))


def shards_of(folder: epath.Path) -> list[epath.Path]:
    """The folder's shards in order. Raises InputError where one is missing."""
    found = sorted(
        (path for path in folder.iterdir() if SHARD.fullmatch(path.name)), key=lambda path: int(path.stem[5:])
    )
    for number, path in enumerate(found):
        if path != shard_of(folder, number):
            raise InputError(f"{shard_of(folder, number)}: missing; run launch score again")
    return found


def shard_of(folder: epath.PathLike, number: int) -> epath.Path:
    """The shard's path, published or not."""
    return epath.Path(folder) / f"part-{number:05}.parquet"


def _open(path: epath.Path) -> ScoreTable:
    try:
        with _opened(path) as parquet:
            metadata, names = parquet.schema_arrow.metadata or {}, parquet.schema_arrow.names
            counts = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    except FileNotFoundError:
        raise InputError(f"{path}: missing; make it with launch score") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a Parquet file that can be read ({str(error).splitlines()[0]})") from None
    refusal = InputError(f"{path}: not a score table; make it with launch score")
    if KEY_BUNDLE not in metadata:
        raise refusal
    bundle = json.loads(metadata[KEY_BUNDLE])
    embedding = Embedding(**json.loads(metadata[KEY_EMBEDDING])) if KEY_EMBEDDING in metadata else None
    classes = tuple(line["class"] for line in bundle["heads"])
    if names != _schema(classes, embedding).names:
        raise refusal
    groups = _counted(Group(path, number, 0, count) for number, count in enumerate(counts))
    return ScoreTable(classes, metadata[KEY_NAME].decode(), bundle, embedding, tuple(groups))


def _counted(groups: Iterable[Group]) -> Iterator[Group]:
    """The groups with their rows counted through."""
    start = 0
    for group in groups:
        stop = start + group.stop - group.start
        yield replace(group, start=start, stop=stop)
        start = stop


@contextmanager
def _opened(path: epath.Path) -> Iterator[pq.ParquetFile]:
    with pa.OSFile(os.fspath(path)) if is_local(path) else path.open("rb") as file:
        yield pq.ParquetFile(file)


def _schema(classes: Sequence[str], embedding: Embedding | None) -> pa.Schema:
    columns = FACTS | dict.fromkeys(classes, pa.float32())
    if embedding:
        columns |= {"phash": pa.uint64(), "embedding": pa.binary(embedding.features * HALF.itemsize)}
    return pa.schema(columns)


def _table(records: Sequence[Record], schema: pa.Schema, classes: int) -> pa.Table:
    absent = np.array([record.error is not None for record in records])
    scores = np.zeros((len(records), classes), np.float32)
    for row, record in enumerate(records):
        if record.scores is not None:
            scores[row] = record.scores
    columns = [pa.array([getattr(record, name) for record in records], kind) for name, kind in FACTS.items()]
    columns += [pa.array(scores[:, column], pa.float32(), mask=absent) for column in range(classes)]
    if "embedding" in schema.names:
        columns.append(pa.array([record.phash for record in records], pa.uint64()))
        halves = [
            None if record.embedding is None else record.embedding.astype(HALF, copy=False).tobytes()
            for record in records
        ]
        columns.append(pa.array(halves, schema.field("embedding").type))
    return pa.table(columns, schema=schema)


def _records(table: pa.Table, classes: Sequence[str]) -> Iterator[Record]:
    facts = [table.column(name).to_pylist() for name in FACTS]
    scores = [np.asarray(table.column(name).to_numpy(), np.float32) for name in classes]
    stacked = np.stack(scores, axis=1) if scores else np.empty((table.num_rows, 0), np.float32)
    embedded = "embedding" in table.column_names
    hashes = table.column("phash").to_pylist() if embedded else [None] * table.num_rows
    embeddings = np.empty(table.num_rows, object)
    if embedded:
        rows, halves = _halves(table.column("embedding"))
        for row, half in zip(rows, halves, strict=True):
            embeddings[row] = half
    for row, (path, sha256, width, height, error) in enumerate(zip(*facts, strict=True)):
        yield Record(
            path,
            sha256,
            width,
            height,
            error,
            None if error is not None else stacked[row],
            hashes[row],
            embeddings[row],
        )


def _halves(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(the rows that have an embedding, int64 [m]; their embeddings, float16 [m, f])."""
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    features = array.type.byte_width // HALF.itemsize
    values = np.frombuffer(array.buffers()[1], HALF).reshape(-1, features)[array.offset : array.offset + len(array)]
    if not array.null_count:
        return np.arange(len(array)), values
    rows = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
    return rows, values[rows]
