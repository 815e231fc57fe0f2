"""The queue: what annotators are asked next, best first, each photo with the reason, as a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from prohibit_jax.files import replacing
from prohibit_jax.types import InputError

FIELDS = {
    "path": pa.string(),
    "sha256": pa.string(),
    "class": pa.string(),
    "score": pa.float32(),
    "head": pa.string(),
    "strategy": pa.string(),
    "reason": pa.string(),
    "round": pa.int32(),
}
NULLABLE = ("score", "head")


@dataclass(frozen=True)
class Ask:
    """One photo to ask about."""

    path: str
    sha256: str
    name: str  # the class; "class" in the file
    score: float | None  # calibrated, by `head`; a float32's value
    head: str | None  # "weapon@3"; None where no head has scored it
    strategy: str  # that chose it
    reason: str  # why, one plain sentence with the number
    round: int


def check_out(path: epath.PathLike) -> None:
    """Raises InputError where `path` is a folder or a file other than a queue, which a queue would replace."""
    path = epath.Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder; name the Parquet file to write")
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            schema = pq.read_schema(file)
    except (OSError, pa.ArrowException):
        schema = pa.schema([])
    if _kinds(schema) != FIELDS:
        raise InputError(f"{path}: there is a file that is not a queue; write the queue to another one")


def write_queue(path: epath.PathLike, asks: Sequence[Ask]) -> None:
    """Publishes the asks in their order as a Parquet file, whole or not at all.

    Raises InputError where `check_out` does.
    """
    check_out(path)
    schema = pa.schema([pa.field(name, kind, nullable=name in NULLABLE) for name, kind in FIELDS.items()])
    columns = [
        pa.array([getattr(ask, "name" if name == "class" else name) for ask in asks], kind)
        for name, kind in FIELDS.items()
    ]
    with replacing(epath.Path(path)) as file:
        pq.write_table(pa.table(columns, schema=schema), file)


def read_queue(path: epath.PathLike) -> tuple[Ask, ...]:
    """The asks of a queue file, best first. Raises InputError in one line where there is none or it is not one."""
    try:
        with epath.Path(path).open("rb") as file:
            # Not pq.read_table, whose threads still hold the file when the interpreter ends, and abort it.
            table = pq.ParquetFile(file, pre_buffer=False).read(use_threads=False)
    except FileNotFoundError:
        raise InputError(f"{path}: missing; make it with launch query") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a Parquet file that can be read ({str(error).splitlines()[0]})") from None
    if _kinds(table.schema) != FIELDS or any(table.column(name).null_count for name in FIELDS if name not in NULLABLE):
        raise InputError(f"{path}: not a queue; make it with launch query")
    columns = [table.column(name).to_pylist() for name in FIELDS]
    return tuple(Ask(*row) for row in zip(*columns, strict=True))


def _kinds(schema: pa.Schema) -> dict[str, pa.DataType]:
    return dict(zip(schema.names, schema.types, strict=True))
