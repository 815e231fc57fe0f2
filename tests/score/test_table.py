"""The score table: its columns, its nulls, its bundle, and never half of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prohibit_jax.bundle.lock import Bundle, Pin
from prohibit_jax.score.bulk import Record
from prohibit_jax.score.embed import Embedding
from prohibit_jax.score.table import ROWS, UNFINISHED, ScoreTable, open_scores, shard_of, write_scores
from prohibit_jax.types import HeadRef, InputError

BUNDLE = Bundle("prod", (Pin(HeadRef("weapon", 3), "a" * 64, "b" * 64), Pin(HeadRef("cash", 1), "c" * 64)))
RECORDS = [
    Record("a.jpg", "d" * 64, 640, 480, None, np.array([0.1, 0.9], np.float32)),
    Record("b.jpg", None, None, None, "the file is empty", None),
]
EMBEDDING = Embedding("lite0", 160, "e" * 64, 3)


def embedded(count: int, first: int = 0) -> list[Record]:
    """Records with embeddings, every seventh with an error."""
    numbers = np.arange(first, first + count)
    vectors = np.stack([numbers % 2000, -numbers / 7, numbers * 1e-7], axis=1).astype(np.float16)
    return [
        Record(f"{i}.jpg", "d" * 64, 4, 3, None, np.array([i, -i], np.float32), i * 2**50, vector)
        if i % 7
        else Record(f"{i}.jpg", error="broken")
        for i, vector in zip(numbers.tolist(), vectors, strict=True)
    ]


def assert_same(found: Iterable[Record], expected: Sequence[Record]) -> None:
    """To the bit."""
    pairs = list(zip(found, expected, strict=True))
    assert pairs
    for one, other in pairs:
        assert replace(one, scores=None, embedding=None) == replace(other, scores=None, embedding=None)
        for a, b in ((one.scores, other.scores), (one.embedding, other.embedding)):
            assert (a is None) == (b is None)
            assert a is None or b is None or (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())


def test_columns_and_metadata_are_as_designed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.parquet"
    assert write_scores(path, RECORDS, BUNDLE) == 2
    read = open_scores(path)
    assert (read.rows, read.classes, read.embedding) == (2, BUNDLE.classes, None)
    assert (read.name, read.bundle["heads"][0]["version"]) == ("prod", 3)
    table = pq.read_table(path)
    assert table.column_names == ["path", "sha256", "width", "height", "error", "weapon", "cash"] == read.columns
    assert table.schema.field("cash").type == pa.float32()
    assert table.to_pylist() == [
        {"path": "a.jpg", "sha256": "d" * 64, "width": 640, "height": 480, "error": None}
        | {"weapon": float(np.float32(0.1)), "cash": float(np.float32(0.9))},
        {"path": "b.jpg", "sha256": None, "width": None, "height": None, "error": "the file is empty"}
        | {"weapon": None, "cash": None},
    ]
    assert read.read(read.columns).equals(table)
    np.testing.assert_array_equal(read.column("cash"), np.array([0.9, np.nan], np.float32))
    assert read.texts("error").to_pylist() == [None, "the file is empty"]
    assert_same(read.records(), RECORDS)


def test_rows_are_written_in_groups_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    assert write_scores(path, (RECORDS[0] for _ in range(ROWS + 1)), BUNDLE) == ROWS + 1
    with pq.ParquetFile(path) as file:
        assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [ROWS, 1]


def test_no_photos_make_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    assert write_scores(path, [], BUNDLE) == 0
    assert open_scores(path).rows == 0


def test_a_run_that_fails_leaves_the_former_table(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    write_scores(path, RECORDS, BUNDLE)

    def failing() -> Iterator[Record]:
        yield RECORDS[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_scores(path, failing(), BUNDLE)
    assert open_scores(path).rows == 2
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
    cases = {
        tmp_path / "missing": "missing",
        text: "not a Parquet file",
        other: "not a score table",
        tmp_path: "without shards",
    }
    for path, message in cases.items():
        with pytest.raises(InputError, match=message) as raised:
            open_scores(path)
        assert "\n" not in str(raised.value)


# Embeddings


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> ScoreTable:
    """Two shards of one and a bit row groups each."""
    folder = tmp_path_factory.mktemp("scores")
    records = embedded(2 * ROWS + 100)
    write_scores(shard_of(folder, 0), records[: ROWS + 50], BUNDLE, EMBEDDING)
    write_scores(shard_of(folder, 1), records[ROWS + 50 :], BUNDLE, EMBEDDING)
    return open_scores(folder)


def test_embeddings_come_as_written_without_the_rows_that_have_none(big: ScoreTable) -> None:
    records = embedded(big.rows)
    assert (big.rows, big.embedding) == (2 * ROWS + 100, EMBEDDING)
    parts = list(big.embeddings())
    assert [rows.dtype for rows, _ in parts] == [np.int64] * 4
    numbers = np.concatenate([rows for rows, _ in parts])
    np.testing.assert_array_equal(numbers, [i for i in range(big.rows) if i % 7])
    found = np.concatenate([features for _, features in parts])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.stack([records[i].embedding for i in numbers]).astype(np.float32))
    np.testing.assert_array_equal(big.phash(), [record.phash or 0 for record in records])
    assert big.phash().dtype == np.uint64


@settings(max_examples=30)
@given(st.data())
def test_any_rows_can_be_picked(big: ScoreTable, data: st.DataObject) -> None:
    picked = data.draw(st.lists(st.integers(0, 2 * ROWS + 99), max_size=20, unique=True).map(sorted))
    rows, records = np.array(picked, np.int64), embedded(big.rows)
    found = {
        int(i): vector for numbers, vectors in big.embeddings(rows) for i, vector in zip(numbers, vectors, strict=True)
    }
    assert list(found) == [i for i in picked if i % 7]
    for i, vector in found.items():
        expected = records[i].embedding
        assert expected is not None
        np.testing.assert_array_equal(vector, expected.astype(np.float32))
    if picked:
        assert_same(big.records(rows), [records[i] for i in picked])
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, big.rows)] * 2)))
    assert big.read(["path"], start, stop).column(0).to_pylist() == [f"{i}.jpg" for i in range(start, stop)]


def test_rows_survive_being_read_and_written_again(big: ScoreTable, tmp_path: Path) -> None:
    write_scores(tmp_path / "again.parquet", big.records(), BUNDLE, EMBEDDING)
    assert_same(open_scores(tmp_path / "again.parquet").records(), embedded(big.rows))


def test_a_folder_that_is_no_whole_table_is_refused(tmp_path: Path) -> None:
    write_scores(shard_of(tmp_path, 0), RECORDS, BUNDLE)
    write_scores(shard_of(tmp_path, 1), RECORDS, BUNDLE)
    assert open_scores(tmp_path).rows == 4
    (tmp_path / UNFINISHED).touch()
    with pytest.raises(InputError, match="not finished"):
        open_scores(tmp_path)
    (tmp_path / UNFINISHED).unlink()
    write_scores(shard_of(tmp_path, 3), RECORDS, BUNDLE)
    with pytest.raises(InputError, match=r"part-00002\.parquet: missing"):
        open_scores(tmp_path)
    write_scores(shard_of(tmp_path, 2), RECORDS, replace(BUNDLE, name="other"))
    with pytest.raises(InputError, match="several jobs"):
        open_scores(tmp_path)
