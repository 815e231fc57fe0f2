"""The score table: its columns, its nulls, its bundle, and never half of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prohibit_jax.bundle.lock import Bundle, Pin
from prohibit_jax.score.bulk import Record
from prohibit_jax.score.table import ROWS, read_scores, write_scores
from prohibit_jax.types import HeadRef, InputError

BUNDLE = Bundle("prod", (Pin(HeadRef("weapon", 3), "a" * 64, "b" * 64), Pin(HeadRef("cash", 1), "c" * 64)))
RECORDS = [
    Record("a.jpg", "d" * 64, 640, 480, None, np.array([0.1, 0.9], np.float32)),
    Record("b.jpg", None, None, None, "the file is empty", None),
]


def test_columns_and_metadata_are_as_designed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.parquet"
    assert write_scores(path, RECORDS, BUNDLE) == 2
    read = read_scores(path)
    assert read.table.column_names == ["path", "sha256", "width", "height", "error", "weapon", "cash"]
    assert read.classes == BUNDLE.classes
    assert (read.name, read.bundle["heads"][0]["version"]) == ("prod", 3)
    assert read.table.schema.field("cash").type == pa.float32()
    assert read.table.to_pylist() == [
        {"path": "a.jpg", "sha256": "d" * 64, "width": 640, "height": 480, "error": None}
        | {"weapon": float(np.float32(0.1)), "cash": float(np.float32(0.9))},
        {"path": "b.jpg", "sha256": None, "width": None, "height": None, "error": "the file is empty"}
        | {"weapon": None, "cash": None},
    ]
    assert read_scores(path).table.equals(pq.read_table(path))


def test_rows_are_written_in_groups_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    assert write_scores(path, (RECORDS[0] for _ in range(ROWS + 1)), BUNDLE) == ROWS + 1
    with pq.ParquetFile(path) as file:
        assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [ROWS, 1]


def test_no_photos_make_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    assert write_scores(path, [], BUNDLE) == 0
    assert read_scores(path).table.num_rows == 0


def test_a_run_that_fails_leaves_the_former_table(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    write_scores(path, RECORDS, BUNDLE)

    def failing() -> Iterator[Record]:
        yield RECORDS[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_scores(path, failing(), BUNDLE)
    assert read_scores(path).table.num_rows == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.parquet"]


def test_a_folder_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    records = iter(RECORDS)
    with pytest.raises(InputError, match=f"{tmp_path}: a folder"):
        write_scores(tmp_path, records, BUNDLE)
    assert next(records) is RECORDS[0]
    assert not list(tmp_path.iterdir())


def test_what_is_no_score_table_is_refused_in_one_line(tmp_path: Path) -> None:
    text, other = tmp_path / "text.parquet", tmp_path / "other.parquet"
    text.write_bytes(b"no parquet\n")
    pq.write_table(pa.table({"a": [1]}), other)
    cases = {tmp_path / "missing": "missing", text: "not a Parquet file", other: "not a score table", tmp_path: "not a"}
    for path, message in cases.items():
        with pytest.raises(InputError, match=message) as raised:
            read_scores(path)
        assert "\n" not in str(raised.value)
