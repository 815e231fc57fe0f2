"""Scores as a Parquet file, a row per photo, written in row groups as they come, and published whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from prohibit_jax.bundle.lock import Bundle
from prohibit_jax.files import replacing
from prohibit_jax.score.bulk import Record
from prohibit_jax.types import COLUMNS, InputError

ROWS = 4096  # a row group: what is held in memory
KEY_NAME, KEY_BUNDLE = b"prohibit_jax.name", b"prohibit_jax.bundle"
TYPES = dict(zip(COLUMNS, (pa.string(), pa.string(), pa.int32(), pa.int32(), pa.string()), strict=True))


@dataclass(frozen=True)
class ScoreTable:
    """What a score file holds."""

    table: pa.Table  # path, sha256, width, height, error, and a float32 column a class, null where there is an error
    classes: tuple[str, ...]
    name: str  # of the bundle that scored
    bundle: dict[str, Any]  # its lock file

    def column(self, name: str) -> np.ndarray:
        """The scores of a class, float32 [n], NaN for a photo with an error."""
        return np.asarray(self.table.column(name).to_numpy(), np.float32)


def write_scores(path: epath.PathLike, records: Iterable[Record], bundle: Bundle) -> int:
    """Writes the records as they come and returns their number; until the last is written, nothing is at `path`.

    Args:
        path: of the Parquet file; its folder is made if need be.
        records: with scores in the order of `bundle.classes`.
        bundle: what scored them (`Scorer.bundle`); its name and lock file go into the file's metadata.

    Raises InputError, before the first record is asked for, where `path` is a folder.
    """
    path = epath.Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder; name the Parquet file to write")
    metadata = {KEY_NAME: bundle.name.encode(), KEY_BUNDLE: bundle.to_json().encode()}
    classes = [pa.field(name, pa.float32()) for name in bundle.classes]
    schema = pa.schema([*(pa.field(name, kind) for name, kind in TYPES.items()), *classes], metadata)
    rows, count = iter(records), 0
    with replacing(path) as file, pq.ParquetWriter(file, schema) as writer:
        while part := list(islice(rows, ROWS)):
            writer.write_table(_table(part, schema, len(classes)))
            count += len(part)
    return count


def read_scores(path: epath.PathLike) -> ScoreTable:
    """Reads a score file. Raises InputError in one line where there is none or it is not one."""
    try:
        with epath.Path(path).open("rb") as file:
            table = pq.read_table(file)
    except FileNotFoundError:
        raise InputError(f"{path}: missing; make it with launch score") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a Parquet file that can be read ({str(error).splitlines()[0]})") from None
    metadata = table.schema.metadata or {}
    if KEY_BUNDLE not in metadata or table.column_names[: len(TYPES)] != list(TYPES):
        raise InputError(f"{path}: not a score table; make it with launch score")
    classes = tuple(table.column_names[len(TYPES) :])
    return ScoreTable(table, classes, metadata[KEY_NAME].decode(), json.loads(metadata[KEY_BUNDLE]))


def _table(records: Sequence[Record], schema: pa.Schema, classes: int) -> pa.Table:
    absent = np.array([record.scores is None for record in records])
    scores = np.zeros((len(records), classes), np.float32)
    for row, record in enumerate(records):
        if record.scores is not None:
            scores[row] = record.scores
    columns = [pa.array([getattr(record, name) for record in records], kind) for name, kind in TYPES.items()]
    columns += [pa.array(scores[:, column], pa.float32(), mask=absent) for column in range(classes)]
    return pa.table(columns, schema=schema)
