"""The queue file: what is written is read, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prohibit_jax.active.queue import FIELDS, Ask, read_queue, write_queue
from prohibit_jax.types import InputError

ASKS = (
    Ask("a b.jpg", "d" * 64, "weapon", float(np.float32(0.52)), "weapon@3", "uncertainty", "scores 0.52, near 0.5", 4),
    Ask("ü.png", "e" * 64, "weapon", None, None, "random", "drawn at random from 3 photos", 4),
)


def test_a_queue_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "queue.parquet"
    write_queue(path, ASKS)
    assert read_queue(path) == ASKS
    assert pq.read_table(path).column_names == list(FIELDS)


def test_an_empty_queue_is_one(tmp_path: Path) -> None:
    write_queue(tmp_path / "queue.parquet", [])
    assert read_queue(tmp_path / "queue.parquet") == ()


def test_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder; name the Parquet file"):
        write_queue(tmp_path, ASKS)


def test_what_is_no_queue_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing; make it with launch query"):
        read_queue(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(InputError, match="not a Parquet file that can be read"):
        read_queue(tmp_path / "text.parquet")
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="not a queue; make it with launch query"):
        read_queue(tmp_path / "other.parquet")
    columns = {name: pa.nulls(1, kind) for name, kind in FIELDS.items()}
    pq.write_table(pa.table(columns), tmp_path / "nulls.parquet")
    with pytest.raises(InputError, match="not a queue"):
        read_queue(tmp_path / "nulls.parquet")
