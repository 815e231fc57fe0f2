"""Labels in files, CSV, Parquet and Label Studio's JSON, and the labels that a data source brings along.

What is written to CSV and Parquet comes back the same, to the byte when it is written again. The columns are the fields
of a `Label`, with `class` for its name. Text is left as it is: a spreadsheet may take one that begins with `=` for a
formula.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from prohibit_jax.bundle.store import Store, open_store
from prohibit_jax.config import Config
from prohibit_jax.data.dataset import labelled
from prohibit_jax.data.index import index
from prohibit_jax.data.label_source import KIND
from prohibit_jax.data.label_store import MAGIC, Label, LabelStore, check_label
from prohibit_jax.files import read_file, replacing
from prohibit_jax.images.decode import Limits
from prohibit_jax.types import InputError, Line, silent

CHUNK = 10_000
"""Labels in memory at once."""

LARGEST = 2**30
"""Bytes of a Label Studio export, which is read whole."""

SCHEMA = pa.schema(
    {
        "sha256": pa.string(),
        "path": pa.string(),
        "class": pa.string(),
        "answer": pa.string(),
        "annotator": pa.string(),
        "time": pa.timestamp("us", "UTC"),
        "round": pa.int32(),
        "head": pa.string(),
        "score": pa.float64(),
        "strategy": pa.string(),
        "reason": pa.string(),
    }
)
"""The columns of a file, in the order of `Label`'s fields."""

OPTIONAL = {"class", *(field.name for field in fields(Label) if field.default is not MISSING)}
"""Columns that a file may go without."""

NULLABLE = ("round", "head", "score")
"""Columns in which a label may have nothing."""


@dataclass(frozen=True)
class Transfer:
    """How many labels there were, and how many of them the store did not have."""

    labels: int
    new: int


Row = tuple[str, dict[str, Any]]
"""Where a label stands in its file, and its fields; those that are not there are left out."""


def read_labels(kind: str, file: Path, name: str) -> Iterator[Label]:
    """The labels of a file, in its order; of CSV and Parquet a few at a time.

    Args:
        kind: csv, parquet or label-studio.
        file: what to read.
        name: the class. A file may go without a column for it, but not name another.

    Raises:
        InputError: one line that names the file, and the line or row of the first that cannot be a label.
    """
    if kind == "label-studio":
        from prohibit_jax.active.label_studio import read_tasks

        yield from read_tasks(read_file(epath.Path(file), LARGEST), name, str(file))
        return
    for place, row in _csv_rows(file) if kind == "csv" else _parquet_rows(file):
        try:
            if (found := row.pop("class", name)) != name:
                raise InputError(f"class {found[:80]!r}, not {name!r}")
            label = Label(name=name, **row)
            check_label(label)
        except InputError as error:
            raise InputError(f"{file} {place}: {error}") from None
        yield label


def import_file(labels: LabelStore, kind: str, file: Path, name: str) -> Transfer:
    """Adds the labels of a file, all or none; raises InputError as `read_labels`."""
    read = Counted(read_labels(kind, file, name))
    return Transfer(new=labels.append(read), labels=read.count)


def import_source(
    labels: LabelStore,
    config: Config,
    store: Store | epath.PathLike,
    annotator: str,
    *,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> Transfer:
    """Adds what the class's config makes of the labels of the configured source, as answers of `annotator`, given now.

    An answer that is the annotator's latest on the photo already is not given again.

    Args:
        labels: where they go.
        config: names the source, and which of its labels are a yes, a no, or left out.
        store: remembers what photos already seen look like.
        annotator: whose answers they are.
        progress: opens a progress bar.
        warn: told in one line what is left out: photos that cannot be used, and those that are there as yes and as no.
    """
    if config.class_.classes:
        raise InputError("class.classes: labels are of one class; import each by a config of its own")
    if config.data.source.startswith(KIND):
        raise InputError("--from labels: would lose who answered; use launch labels export, and import the file")
    answers = _source_answers(config, open_store(store), progress, warn)
    name, now = config.class_.name, datetime.now(UTC)
    before = {label.sha256: label.answer for label in labels.current(name) if label.annotator == annotator}
    new = [
        Label(sha256, path, name, answer, annotator, now)
        for sha256, (path, answer) in answers.items()
        if before.get(sha256) != answer
    ]
    return Transfer(new=labels.append(new), labels=len(answers))


def write_labels(kind: str, file: Path, labels: Iterable[Label]) -> int:
    """Writes a file whole, in place of what was there, and returns how many labels it holds.

    Raises InputError where a database is there: it may be the store itself, which has no copy.
    """
    if file.is_file():
        with _opened(file) as there:
            if there.read(len(MAGIC)) == MAGIC:
                raise InputError(f"{file}: a database, which no file of labels replaces; name another file")
    written = Counted(labels)
    with replacing(epath.Path(file)) as stream:
        if kind == "csv":
            _write_csv(stream, written)
        elif kind == "parquet":
            _write_parquet(stream, written)
        else:
            from prohibit_jax.active.label_studio import write_tasks

            stream.write(write_tasks(list(written)))
    return written.count


class Counted:
    """Labels, counted as they go by."""

    def __init__(self, labels: Iterable[Label]) -> None:
        self.labels = labels
        self.count = 0

    def __iter__(self) -> Iterator[Label]:
        for label in self.labels:
            self.count += 1
            yield label


def _source_answers(
    config: Config, store: Store, progress: Line, warn: Callable[[str], None]
) -> dict[str, tuple[str, str]]:
    """(path, answer) by sha256."""
    source, values = labelled(config, store.root)
    limits = Limits(config.data.max_bytes, config.data.max_pixels)
    advance = progress("looking at photos")
    seen = index(source, store.cache, max(2, config.data.workers), progress=advance, limits=limits)
    broken = [f"{item.path}: {error}" for item, error in zip(source.items, seen.error, strict=True) if error]
    if broken:
        warn(f"{len(broken)} of {len(seen.error)} photos cannot be used; the first: {broken[0]}")
    answers: dict[str, tuple[str, str]] = {}
    both: dict[str, str] = {}
    for i in np.flatnonzero(seen.usable & (values >= 0)).tolist():
        found = source.items[i].path, "yes" if values[i] else "no"
        sha256 = seen.sha256[i]
        if answers.setdefault(sha256, found)[1] != found[1]:
            both[sha256] = found[0]
    if both:
        warn(f"{len(both)} photos are there as yes and as no, and left out; the first: {next(iter(both.values()))}")
    return {sha256: found for sha256, found in answers.items() if sha256 not in both}


def _values(label: Label) -> dict[str, Any]:
    return {"class" if field == "name" else field: value for field, value in vars(label).items()}


def _write_csv(stream: BinaryIO, labels: Iterable[Label]) -> None:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text)  # its lines end in \r\n, so that it quotes text with either of them
    writer.writerow(SCHEMA.names)
    for label in labels:
        time = label.time.astimezone(UTC).isoformat(timespec="microseconds")
        writer.writerow((_values(label) | {"time": time}).values())
    text.detach()


def _csv_rows(file: Path) -> Iterator[Row]:
    with _opened(file) as stream:
        reader = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), strict=True)
        end = 0
        try:
            header = next(reader, [])
            _check_columns(file, header)
            while True:
                end = reader.line_num
                row = next(reader, None)
                if row is None:
                    return
                place = f"line {end + 1}"
                if len(row) != len(header):
                    raise InputError(f"{file} {place}: {len(row)} fields, and its header has {len(header)}")
                values = zip(header, row, strict=True)
                yield place, {column: _parse(file, place, column, text) for column, text in values}
        except UnicodeDecodeError:
            raise InputError(f"{file} line {end + 1} or soon after: not UTF-8; save it as a UTF-8 CSV") from None
        except csv.Error as error:
            raise InputError(f"{file} line {end + 1}: not CSV ({error})") from None


def _parse(file: Path, place: str, column: str, text: str) -> Any:
    """A CSV field as what a `Label` holds; empty is None where a label may be without."""
    if column not in PARSERS:
        return text
    if not text and column in NULLABLE:
        return None
    parse, wanted = PARSERS[column]
    try:
        return parse(text)
    except ValueError:
        raise InputError(f"{file} {place}: {column} {text[:80]!r}: {wanted}") from None


PARSERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "time": (datetime.fromisoformat, "a time with its zone, as in 2026-01-31T12:00:00+00:00"),
    "round": (int, "a whole number"),
    "score": (float, "a number from 0 to 1"),
    "head": (str, "a head as in weapon@3"),
}


def _write_parquet(stream: BinaryIO, labels: Iterable[Label]) -> None:
    rest = iter(labels)
    with pq.ParquetWriter(stream, SCHEMA, compression="zstd") as writer:
        while chunk := [_values(label) for label in islice(rest, CHUNK)]:
            writer.write_table(pa.Table.from_pylist(chunk, SCHEMA))


def _parquet_rows(file: Path) -> Iterator[Row]:
    with _opened(file) as stream:
        number = 0
        try:
            parquet = pq.ParquetFile(stream)
            header = parquet.schema_arrow.names
            _check_columns(file, header)
            for batch in parquet.iter_batches(CHUNK):
                columns = [_cast(file, name, batch.column(name)).to_pylist() for name in header]
                for values in zip(*columns, strict=True):
                    number += 1
                    row = dict(zip(header, values, strict=True))
                    if empty := [name for name, value in row.items() if value is None and name not in NULLABLE]:
                        raise InputError(f"{file} row {number}: {empty[0]} is empty")
                    yield f"row {number}", row
        except (pa.ArrowException, OSError, OverflowError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"{file}: not a Parquet file that can be read ({reason})") from None


def _cast(file: Path, name: str, column: pa.Array) -> pa.Array:
    wanted = SCHEMA.field(name).type
    try:
        if name == "time" and not (pa.types.is_timestamp(column.type) and column.type.tz):
            raise pa.ArrowInvalid("no zone")  # a cast would take it for UTC
        return column.cast(wanted)
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{file} column {name}: {column.type}, not {wanted} ({reason})") from None


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        stream = file.open("rb")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    with stream:
        yield stream


def _check_columns(file: Path, header: Sequence[str]) -> None:
    """Every column is known, for one that is not would be lost."""
    for name in header:
        if name not in SCHEMA.names:
            near = difflib.get_close_matches(name, SCHEMA.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(SCHEMA.names)}"
            raise InputError(f"{file}: column {name[:80]!r} is unknown; {hint}")
        if header.count(name) > 1:
            raise InputError(f"{file}: column {name!r} is there twice")
    for name in SCHEMA.names:
        if name not in header and name not in OPTIONAL:
            raise InputError(f"{file}: column {name!r} is missing")
