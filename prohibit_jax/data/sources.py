"""Where photos come from: a folder, a manifest, Parquet, TFDS or the generator, all as numbered items with bytes.

A source is read lazily, item by item, and can be pickled: the loader's worker processes each get a copy. A broken or
missing file is an item like any other until somebody reads it.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from etils import epath

from prohibit_jax.config import redacted
from prohibit_jax.files import read_photo
from prohibit_jax.types import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
COLUMNS = ("path", "label", "group", "split")
SIDES = ("train", "validation", "test")

LARGEST = 2**30
"""Bytes of a file that are read at most; the limits that decoding sets are far below."""

MOST = 10_000_000
"""Generated photos: each item takes memory, though its pixels wait until they are read."""


@dataclass(frozen=True, slots=True)
class Item:
    """One photo: `label` "" is unlabelled; items of one `group` (a seller, a burst) stay on one side of the split;
    `split` is "", or the side that its manifest asks for.
    """

    path: str
    label: str
    group: str = ""
    split: str = ""


@runtime_checkable
class Source(Protocol):
    """Photos by number. `read(i)` returns the encoded bytes of `items[i]`, or raises OSError."""

    @property
    def items(self) -> Sequence[Item]: ...

    def read(self, i: int) -> bytes: ...


@runtime_checkable
class Generated(Source, Protocol):
    """A source whose `recipe` and a number decide each photo, to the byte, however many there are."""

    @property
    def recipe(self) -> str: ...


def open_source(spec: str) -> Source:
    """Opens `folder:PATH`, `manifest:FILE`, `parquet:PATH`, `tfds:NAME`, or generated photos, `synthetic:COUNT[:SEED]`.

    Raises:
        InputError: unknown kind, nothing there, or a manifest that does not hold together.
    """
    kind, colon, address = spec.partition(":")
    match kind if colon else "":
        case "folder":
            return folder(address)
        case "manifest":
            return manifest(address)
        case "parquet":
            return parquet(address)
        case "tfds":
            return tfds(address)
        case "synthetic":
            return synthetic(address)
    kinds = "folder:PATH, manifest:FILE, parquet:PATH, tfds:NAME or synthetic:COUNT"
    raise InputError(f"data source {redacted(spec)!r}: use {kinds}")


@dataclass(frozen=True)
class Files:
    """Photos that are files, each at its item's path."""

    items: tuple[Item, ...]

    def read(self, i: int) -> bytes:
        return read_photo(epath.Path(self.items[i].path), LARGEST)


def folder(root: str) -> Files:
    """Every photo below `root` at any depth, sorted by path; the folder that holds a photo is its label."""
    top = Path(root)
    if not root or not top.is_dir():
        raise InputError(f"folder {root!r}: no such folder")
    prefix = top.as_posix().rstrip("/") + "/"
    paths = sorted(_photos(prefix))
    if not paths:
        raise InputError(f"folder {root!r}: no photos in it ({', '.join(suffix[1:] for suffix in SUFFIXES)})")
    own_name, start = top.resolve().name, len(prefix) if prefix == "./" else 0

    def label(path: str) -> str:
        parent = path[len(prefix) :].rpartition("/")[0]
        return sys.intern(parent.rpartition("/")[2] or own_name)

    return Files(tuple(Item(path[start:], label(path)) for path in paths))


def _photos(folder: str) -> Iterator[str]:
    """Every photo in the folder, whose path ends in "/", and below it."""
    try:
        with os.scandir(folder) as entries:
            there = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"folder {error.filename!r}: cannot be listed ({error.strerror})") from None
    for entry in there:
        if entry.is_dir(follow_symlinks=False):
            yield from _photos(f"{entry.path}/")
        elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
            try:
                entry.path.encode()
            except UnicodeEncodeError as error:
                raise InputError(f"photo {entry.path!r}: its name is not UTF-8; rename it") from error
            yield entry.path


def manifest(file: str) -> Files:
    """The photos that a CSV or Parquet file lists: columns `path`, `label` and optional `group`, `split`.

    Without a label column every photo is unlabelled. Relative paths start at the manifest's folder. Columns of other
    names are left alone, unless they look like one of ours misspelled.
    """
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"manifest {file!r}: cannot be read ({error.strerror})") from error
    header, rows = _parquet_rows(file, data) if data[:4] == b"PAR1" else _csv_rows(file, data)
    _check_header(file, header)
    items: list[Item] = []
    first: dict[str, int] = {}
    for unit, number, row in rows:
        item = _item(f"manifest {file!r} {unit} {number}", Path(file).parent, row)
        if (before := first.setdefault(item.path, number)) != number:
            raise InputError(f"manifest {file!r} {unit} {number}: {item.path!r} is listed on {unit} {before} already")
        items.append(item)
    if not items:
        raise InputError(f"manifest {file!r}: it lists no photos")
    return Files(tuple(items))


Row = tuple[str, int, Mapping[str, str]]
"""What a row is called and its number, as a message names it, and its fields by column."""


def _csv_rows(file: str, data: bytes) -> tuple[Sequence[str], Iterator[Row]]:
    try:
        text = data.decode("utf-8-sig")  # spreadsheets write a byte-order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"manifest {file!r} line {line}: not UTF-8; save it as a UTF-8 CSV") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)

    def rows() -> Iterator[Row]:
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise InputError(f"manifest {file!r} line {reader.line_num}: not CSV ({error})") from error
            if row is None:
                return
            if None in row or None in row.values():
                place = f"line {reader.line_num}"
                raise InputError(f"manifest {file!r} {place}: it needs {len(header)} fields, like the header")
            yield "line", reader.line_num, row

    try:
        header = list(reader.fieldnames or ())
    except csv.Error as error:
        raise InputError(f"manifest {file!r} line 1: not CSV ({error})") from error
    return header, rows()


def _parquet_rows(file: str, data: bytes) -> tuple[Sequence[str], Iterator[Row]]:
    import pyarrow as pa  # only here: scoring a folder must do without it
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(pa.BufferReader(data))
        header = parquet.schema_arrow.names
        known = [name for name in dict.fromkeys(header) if name in COLUMNS]
        columns = {name: parquet.read([name]).column(0).cast(pa.string()).to_pylist() for name in known}
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"manifest {file!r}: not a Parquet file of text columns ({reason})") from error
    values = zip(*columns.values(), strict=True)
    rows = (("row", i, dict(zip(known, (v or "" for v in row), strict=True))) for i, row in enumerate(values, 1))
    return header, rows


def _check_header(file: str, header: Sequence[str]) -> None:
    found = ", ".join(header)
    if twice := [name for name, count in Counter(header).items() if count > 1 and name in COLUMNS]:
        raise InputError(f"manifest {file!r}: column {twice[0]!r} is there twice in its header ({found})")
    for name in header:
        close = difflib.get_close_matches(name.strip().lower(), COLUMNS, n=1, cutoff=0.75)
        if close and name not in COLUMNS and close[0] not in header:
            raise InputError(f"manifest {file!r}: column {name!r} in its header should be called {close[0]!r}")
    if "path" not in header:
        raise InputError(f"manifest {file!r}: its header needs the column 'path', and has only: {found}")


def _item(place: str, parent: Path, row: Mapping[str, str]) -> Item:
    path, split = row["path"].strip(), (row.get("split") or "").strip()
    if not path:
        raise InputError(f"{place}: its path is empty")
    if "\0" in path:
        raise InputError(f"{place}: its path {path!r} holds a NUL, which no file name can")
    if split and split not in SIDES:
        raise InputError(f"{place}: split {split!r}; use {', '.join(SIDES)} or leave it empty")
    label, group = (row.get("label") or "").strip(), (row.get("group") or "").strip()
    return Item((parent / path).as_posix(), sys.intern(label), group, sys.intern(split))


@dataclass(frozen=True)
class Tfds:
    """Photos of a prepared TFDS dataset, all its splits one after the other, bytes as stored."""

    items: tuple[Item, ...]
    directory: str

    @cached_property
    def parts(self) -> tuple[Any, ...]:
        """A data source per split; each process opens its own, since a builder's class may not be picklable."""
        return tuple(_tfds_parts(self.directory).values())

    def read(self, i: int) -> bytes:
        for part in self.parts:
            if i < len(part):
                return _stored(part, i)
            i -= len(part)
        raise IndexError(i)

    def __reduce__(self) -> tuple[Any, ...]:
        return Tfds, (self.items, self.directory)


def tfds(name: str) -> Tfds:
    """Opens a TFDS dataset, which needs the features `image` and `label`; TensorFlow is not needed.

    The data is looked for where TFDS puts it (TFDS_DATA_DIR), and downloaded there if need be. TFDS's own splits are
    joined: sides come from our hash rule, which also keeps near-identical photos together.
    """
    try:
        import tensorflow_datasets
    except ModuleNotFoundError as error:
        raise InputError(f"data source 'tfds:{name}': it needs the extra 'tfds': install prohibit-jax[tfds]") from error
    try:
        first = next(iter(tensorflow_datasets.data_source(name).values()))
        directory = os.fspath(first.dataset_info.data_dir)
        items = tuple(
            Item(f"tfds:{name}/{split}/{i}", part.dataset_info.features["label"].int2str(int(part[i]["label"])))
            for split, part in _tfds_parts(directory).items()
            for i in range(len(part))
        )
    except Exception as error:  # builders are code of many authors: no list of errors covers them
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"data source 'tfds:{name}': cannot be opened ({type(error).__name__}: {reason})") from error
    return Tfds(items, directory)


def _tfds_parts(directory: str) -> dict[str, Any]:
    import tensorflow_datasets

    builder = tensorflow_datasets.builder_from_directory(directory)
    parts: dict[str, Any] = builder.as_data_source(decoders={"image": tensorflow_datasets.decode.SkipDecoding()})
    return parts


def _stored(part: Any, i: int) -> bytes:
    try:
        return bytes(part[i]["image"])
    except Exception as error:  # a damaged record raises what Riegeli, protobuf or the feature think of
        raise OSError(f"record {i}: {error}") from error


def parquet(address: str) -> Source:
    """The rows of Parquet files, each a photo's path or the photo itself (`data/parquet.py`)."""
    from prohibit_jax.data.parquet import open_parquet  # only here: scoring a folder must do without pyarrow

    return open_parquet(address)


def synthetic(address: str) -> Source:
    """`COUNT:SEED` generated listing photographs; 2,000 of them, and seed 0, where those are left out."""
    from prohibit_jax.data.synthetic import SyntheticSource

    count, _, seed = address.partition(":")
    count, seed = count or "2000", seed or "0"
    numbers = all(part.isascii() and part.isdigit() and len(part) < 19 for part in (count, seed))
    if not numbers or not 1 <= int(count) <= MOST:
        wanted = f"write COUNT or COUNT:SEED, whole numbers, COUNT from 1 to {MOST:,}"
        raise InputError(f"data source {f'synthetic:{address}'[:60]!r}: {wanted}")
    return SyntheticSource(int(count), int(seed))
