"""Photos that Parquet files list or hold, millions of rows: what is known of them stays in Arrow's columns.

A file has either a column `path`, files relative to its own folder, or `image`, the photos themselves: binary, or the
Hugging Face struct {bytes, path}; a `path` beside it is then the photo's name. Columns `label`, `group` and `split` are
those of a manifest.
"""

from __future__ import annotations

import glob
import os
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from etils import epath

from prohibit_jax.data.sources import COLUMNS, LARGEST, SIDES, Item
from prohibit_jax.files import read_photo
from prohibit_jax.types import InputError

AT_ONCE, KEPT = 32, 8
"""Photos that are read at once from a file that holds them, and how many such batches are kept: decoding threads ask
for about a hundred photos in nearly the file's order."""


@dataclass(frozen=True)
class Part:
    """A file's rows without the photos that it may hold: `path`, `label`, `group` and `split`, as text or null."""

    file: str
    rows: pa.Table
    has_images: bool

    def item(self, row: int, path: str | None, label: str | None, group: str | None, split: str | None) -> Item:
        """The row as an item; a photo that has no name is called by its file and row."""
        if path is None:
            path = f"{self.file}#{row}"
        elif not self.has_images:
            path = os.path.join(os.path.dirname(self.file), path)
        return Item(path, (label or "").strip(), (group or "").strip(), split or "")


class Items(Sequence[Item]):
    """The rows of all parts, made into items as they are asked for."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self.starts = [0]
        for part in self.parts:
            self.starts.append(self.starts[-1] + part.rows.num_rows)

    def __len__(self) -> int:
        return self.starts[-1]

    @overload
    def __getitem__(self, i: int) -> Item: ...

    @overload
    def __getitem__(self, i: slice) -> tuple[Item, ...]: ...

    def __getitem__(self, i: int | slice) -> Item | tuple[Item, ...]:
        if isinstance(i, slice):
            return tuple(self[row] for row in range(*i.indices(len(self))))
        part, row = self.place(range(len(self))[i])
        return part.item(row, *(column[row].as_py() for column in part.rows.columns))

    def __iter__(self) -> Iterator[Item]:
        for part in self.parts:
            row = 0
            for batch in part.rows.to_batches(max_chunksize=4096):
                for fields in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield part.item(row, *fields)
                    row += 1

    def place(self, i: int) -> tuple[Part, int]:
        """The part that holds item `i`, and the item's row there."""
        number = bisect_right(self.starts, i) - 1
        return self.parts[number], i - self.starts[number]


@dataclass(frozen=True)
class Parquet:
    """Photos of Parquet files. Those that the files hold are read fast only in about their order."""

    items: Items

    def read(self, i: int) -> bytes:
        part, row = self.items.place(i)
        if not part.has_images:
            return read_photo(epath.Path(self.items[i].path), LARGEST)
        data, path = self._images(part.file, row)
        if data is not None:
            return data
        if path is None:
            raise OSError("no photo in this row")
        return read_photo(epath.Path(part.file).parent / path, LARGEST)

    @cached_property
    def _images(self) -> Images:
        return Images()

    def __reduce__(self) -> tuple[Any, ...]:
        return Parquet, (self.items,)


Photo = tuple[bytes | None, str | None]
"""A photo's bytes, or its file."""


@dataclass(frozen=True)
class Batch:
    """Consecutive photos of a file, from row `first` on."""

    file: str
    first: int
    photos: list[Photo]

    def holds(self, file: str, row: int) -> bool:
        """Whether the photo in that row is among them."""
        return self.file == file and self.first <= row < self.first + len(self.photos)


class Images:
    """The photos in Parquet files, some at a time: a row group is read from its beginning to the row asked for, and on
    from there when the next ones are asked for. Safe to call from several threads."""

    def __init__(self) -> None:
        """Opens nothing yet."""
        self._lock = Lock()
        self._kept: deque[Batch] = deque(maxlen=KEPT)
        self._stream: Iterator[list[Photo]] = iter(())
        self._file, self._row, self._stop = "", 0, 0  # what the stream gives next, and where its row group ends

    def __call__(self, file: str, row: int) -> Photo:
        """The photo in a row of a file. Raises OSError where it cannot be read."""
        with self._lock:
            while not (batch := next((batch for batch in self._kept if batch.holds(file, row)), None)):
                try:
                    self._advance(file, row)
                except (pa.ArrowException, StopIteration) as error:
                    raise OSError(f"{file}: damaged or changed ({error})") from None
            return batch.photos[row - batch.first]

    def _advance(self, file: str, row: int) -> None:
        if file != self._file or not self._row <= row < self._stop:
            self._stream, self._row, self._stop = _row_group(file, row)
            self._file = file
        photos = next(self._stream)
        self._kept.append(Batch(file, self._row, photos))
        self._row += len(photos)


def _row_group(file: str, row: int) -> tuple[Iterator[list[Photo]], int, int]:
    """The photos of the row group that holds the row; its first row and the row after its last."""
    parquet = pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False)  # else it would read the whole row group
    start = stop = number = 0
    for number in range(parquet.num_row_groups):
        start, stop = stop, stop + parquet.metadata.row_group(number).num_rows
        if row < stop:
            break
    if row >= stop:
        raise OSError(f"{file}: damaged or changed: it has fewer rows now")
    batches = parquet.iter_batches(AT_ONCE, row_groups=[number], columns=["image"], use_threads=False)
    return ([_photo(value) for value in batch.column(0).to_pylist()] for batch in batches), start, stop


def _photo(value: Any) -> Photo:
    return (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)


def open_parquet(address: str) -> Parquet:
    """The photos of a Parquet file, of all in a folder at any depth, or of those that a pattern (`*`, `**`) matches,
    sorted by path. What is there by that very name is no pattern. Raises InputError in one line where there are none or
    they cannot be used."""
    files = _files(address)
    if not files:
        raise InputError(f"parquet {address!r}: no Parquet file there")
    items = Items([_part(file) for file in files])
    if not len(items):
        raise InputError(f"parquet {address!r}: no photos in it")
    _check_names(address, items.parts)
    return Parquet(items)


def _files(address: str) -> list[str]:
    if Path(address).is_dir():
        found = Path(address).rglob("*.parquet")
        return sorted(path.as_posix() for path in found if path.is_file() and not path.name.startswith("."))
    if Path(address).is_file() or not glob.has_magic(address):
        return [address]
    return sorted(glob.glob(address, recursive=True))


def _part(file: str) -> Part:
    try:
        parquet = pq.ParquetFile(file)
        schema, count = parquet.schema_arrow, parquet.metadata.num_rows
        rows = parquet.read([name for name in COLUMNS if name in schema.names])
        texts = [
            rows[name].cast(pa.string()) if name in schema.names else pa.nulls(count, pa.string()) for name in COLUMNS
        ]
    except (pa.ArrowException, OSError) as error:
        reason = (str(error) or type(error).__name__).partition("\n")[0]
        raise InputError(f"parquet {file!r}: cannot be read, or not text in {', '.join(COLUMNS)} ({reason})") from None
    has_images = "image" in schema.names
    if not has_images and "path" not in schema.names:
        raise InputError(f"parquet {file!r}: needs a column path or image, and has only: {', '.join(schema.names)}")
    if has_images and not _is_image(schema.field("image").type):
        raise InputError(f"parquet {file!r}: its column image must be binary or a struct of bytes and path")
    part = Part(file, pa.table(texts, names=COLUMNS), has_images)
    _check_rows(part)
    return part


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _check_rows(part: Part) -> None:
    paths, splits = part.rows["path"], part.rows["split"]
    blank = pc.or_kleene(pc.is_null(paths), pc.equal(pc.utf8_trim_whitespace(paths), ""))
    nul = pc.fill_null(pc.match_substring(paths, "\0"), False)
    odd = pc.invert(pc.is_in(pc.fill_null(splits, ""), pa.array(["", *SIDES])))
    checks = {"its path is empty": None if part.has_images else blank, "its path holds a NUL": nul}
    checks[f"its split is none of {', '.join(SIDES)}"] = odd
    for what, wrong in checks.items():
        row = -1 if wrong is None else pc.index(wrong, True).as_py()
        if row >= 0:
            raise InputError(f"parquet {part.file!r} row {row + 1}: {what}")


def _check_names(address: str, parts: Sequence[Part]) -> None:
    """A table of scores has a row per path."""
    folders: dict[str, list[pa.ChunkedArray]] = {}
    for part in parts:
        folders.setdefault("" if part.has_images else os.path.dirname(part.file), []).append(part.rows["path"])
    for columns in folders.values():
        names = pc.drop_null(pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string()))
        if pc.count_distinct(names).as_py() < len(names):
            counted = names.value_counts()
            name = counted.field(0)[pc.index(pc.greater(counted.field(1), 1), True).as_py()]
            raise InputError(f"parquet {address!r}: {name.as_py()!r} is listed twice")
