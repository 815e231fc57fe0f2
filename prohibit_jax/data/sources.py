"""Where photos come from: a folder, a manifest, a TFDS dataset or the generator, all as numbered items with bytes.

A source is read lazily, item by item, and can be pickled: the loader's worker processes each get a copy. A broken or
missing file is an item like any other until somebody reads it.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from prohibit_jax.types import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
COLUMNS = ("path", "label", "group", "split")
SIDES = ("train", "validation", "test")


@dataclass(frozen=True)
class Item:
    """One photo: `label` "" is unlabelled; items of one `group` (a seller, a burst) stay on one side of the split;
    `split` is "", or the side that its manifest asks for.
    """

    path: str
    label: str
    group: str = ""
    split: str = ""


class Source(Protocol):
    """Photos by number. `read(i)` returns the encoded bytes of `items[i]`, or raises OSError."""

    @property
    def items(self) -> tuple[Item, ...]: ...

    def read(self, i: int) -> bytes: ...


def open_source(spec: str, *, seed: int = 0) -> Source:
    """Opens `folder:PATH`, `manifest:FILE`, `tfds:NAME`, `synthetic:` or `synthetic:COUNT`.

    Args:
        spec: kind and address.
        seed: of the generated photos; the other kinds have no use for it.

    Raises:
        InputError: unknown kind, nothing there, or a manifest that does not hold together.
    """
    kind, colon, address = spec.partition(":")
    match kind if colon else "":
        case "folder":
            return folder(address)
        case "manifest":
            return manifest(address)
        case "tfds":
            return tfds(address)
        case "synthetic":
            return synthetic(address, seed)
    raise InputError(f"data source {spec!r}: use folder:PATH, manifest:FILE, tfds:NAME or synthetic:COUNT")


@dataclass(frozen=True)
class Files:
    """Photos that are files, each at its item's path."""

    items: tuple[Item, ...]

    def read(self, i: int) -> bytes:
        return Path(self.items[i].path).read_bytes()


def folder(root: str) -> Files:
    """Every photo below `root` at any depth, sorted by path; the folder that holds a photo is its label."""
    top = Path(root)
    if not root or not top.is_dir():
        raise InputError(f"folder {root!r}: no such folder")
    paths = sorted(_photos(top), key=PurePath.as_posix)
    if not paths:
        raise InputError(f"folder {root!r}: no photos in it ({', '.join(suffix[1:] for suffix in SUFFIXES)})")
    own_name = top.resolve().name
    return Files(tuple(Item(path.as_posix(), own_name if path.parent == top else path.parent.name) for path in paths))


def _photos(top: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"folder {error.filename!r}: cannot be listed ({error.strerror})")

    for parent, folders, names in os.walk(top, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES or not path.is_file():
                continue
            try:
                str(path).encode()
            except UnicodeEncodeError as error:
                raise InputError(f"photo {str(path)!r}: its name is not UTF-8; rename it") from error
            yield path


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
    first: dict[str, str] = {}
    for place, row in rows:
        item = _item(f"manifest {file!r} {place}", Path(file).parent, row)
        if item.path in first:
            raise InputError(f"manifest {file!r} {place}: {item.path!r} is listed on {first[item.path]} already")
        first[item.path] = place
        items.append(item)
    if not items:
        raise InputError(f"manifest {file!r}: it lists no photos")
    return Files(tuple(items))


Row = Mapping[str, str]


def _csv_rows(file: str, data: bytes) -> tuple[Sequence[str], Iterator[tuple[str, Row]]]:
    try:
        text = data.decode("utf-8-sig")  # spreadsheets write a byte-order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"manifest {file!r} line {line}: not UTF-8; save it as a UTF-8 CSV") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)

    def rows() -> Iterator[tuple[str, Row]]:
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise InputError(f"manifest {file!r} line {reader.line_num}: not CSV ({error})") from error
            if row is None:
                return
            place = f"line {reader.line_num}"
            if None in row or None in row.values():
                raise InputError(f"manifest {file!r} {place}: it needs {len(header)} fields, like the header")
            yield place, row

    try:
        header = list(reader.fieldnames or ())
    except csv.Error as error:
        raise InputError(f"manifest {file!r} line 1: not CSV ({error})") from error
    return header, rows()


def _parquet_rows(file: str, data: bytes) -> tuple[Sequence[str], Iterator[tuple[str, Row]]]:
    try:
        parquet = pq.ParquetFile(pa.BufferReader(data))
        header = parquet.schema_arrow.names
        known = [name for name in dict.fromkeys(header) if name in COLUMNS]
        columns = {name: parquet.read([name]).column(0).cast(pa.string()).to_pylist() for name in known}
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"manifest {file!r}: not a Parquet file of text columns ({reason})") from error
    values = zip(*columns.values(), strict=True)
    rows = ((f"row {i}", dict(zip(known, (v or "" for v in row), strict=True))) for i, row in enumerate(values, 1))
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


def _item(place: str, parent: Path, row: Row) -> Item:
    path, split = row["path"].strip(), (row.get("split") or "").strip()
    if not path:
        raise InputError(f"{place}: its path is empty")
    if split and split not in SIDES:
        raise InputError(f"{place}: split {split!r}; use {', '.join(SIDES)} or leave it empty")
    label, group = (row.get("label") or "").strip(), (row.get("group") or "").strip()
    return Item((parent / path).as_posix(), label, group, split)


@dataclass(frozen=True)
class Tfds:
    """Photos of a TFDS dataset in its array_record files, all its splits one after the other, bytes as stored."""

    items: tuple[Item, ...]
    parts: tuple[Any, ...]
    """One data source per TFDS split."""

    def read(self, i: int) -> bytes:
        for part in self.parts:
            if i < len(part):
                return _stored(part, i)
            i -= len(part)
        raise IndexError(i)


def tfds(name: str) -> Tfds:
    """Opens a TFDS dataset, which needs the features `image` and `label`; TensorFlow is not needed.

    The data is looked for where TFDS puts it (TFDS_DATA_DIR), and downloaded there if need be. TFDS's own splits are
    joined: sides come from our hash rule, which also keeps near-identical photos together.
    """
    try:
        import tensorflow_datasets
    except ModuleNotFoundError as error:
        raise InputError(f"data source 'tfds:{name}': it needs the extra 'tfds': install prohibit-jax[tfds]") from error
    as_stored = {"image": tensorflow_datasets.decode.SkipDecoding()}
    try:
        splits = tensorflow_datasets.data_source(name, decoders=as_stored)
        items = tuple(
            Item(f"tfds:{name}/{split}/{i}", part.dataset_info.features["label"].int2str(int(part[i]["label"])))
            for split, part in splits.items()
            for i in range(len(part))
        )
    except Exception as error:  # builders are code of many authors: no list of errors covers them
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"data source 'tfds:{name}': cannot be opened ({type(error).__name__}: {reason})") from error
    return Tfds(items, tuple(splits.values()))


def _stored(part: Any, i: int) -> bytes:
    try:
        return bytes(part[i]["image"])
    except Exception as error:  # a damaged record raises what Riegeli, protobuf or the feature think of
        raise OSError(f"record {i}: {error}") from error


def synthetic(count: str, seed: int) -> Source:
    """`count` generated listing photographs, 2,000 where it is ""."""
    from prohibit_jax.data.synthetic import SyntheticSource

    if count and (not count.isascii() or not count.isdigit() or int(count) < 1):
        raise InputError(f"data source 'synthetic:{count}': the count is a whole number from 1")
    return SyntheticSource(int(count or 2000), seed)
