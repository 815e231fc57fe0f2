"""The queue file: what is written is read, and nothing else is."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from etils import epath

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


def test_a_queue_is_overwritten_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "queue.parquet"
    write_queue(path, ASKS)
    write_queue(path, ASKS[:1])
    assert read_queue(path) == ASKS[:1]
    shard = tmp_path / "part-00001.parquet"
    pq.write_table(pa.table({"path": ["a"]}), shard)
    text = tmp_path / "notes.txt"
    text.write_text("mine")
    for other in (shard, text):
        before = other.read_bytes()
        with pytest.raises(InputError, match=f"{other.name}: there is a file that is not a queue") as refused:
            write_queue(other, ASKS)
        assert "\n" not in str(refused.value)
        assert other.read_bytes() == before


def test_no_thread_reads_on_when_a_queue_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's end would abort the process."""
    readers: set[int] = set()

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            readers.add(threading.get_ident())
            return super().read(size)

    path = epath.Path(tmp_path / "other.parquet")
    pq.write_table(pa.table({name: list(range(1000)) for name in "abcdef"}), path)
    data = path.read_bytes()
    monkeypatch.setattr(type(path), "open", lambda self, mode: Watched(data))
    with pytest.raises(InputError, match="not a queue"):
        read_queue(path)
    assert readers == {threading.get_ident()}


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
