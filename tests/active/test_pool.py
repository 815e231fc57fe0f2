"""A score table as a pool: who may be asked about, and embeddings as they were written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prohibit_jax.active.pool import Known, Stored, askable, unit
from prohibit_jax.score import table as tables
from tests.active.pools import FEATURES, records, sha256, table_of
from tests.tolerances import COSINES


def test_only_photos_that_can_be_and_need_be_asked_about(tmp_path: Path) -> None:
    rows = records(8)
    rows[1] = replace(rows[1], error="broken", scores=None, phash=None, embedding=None)
    rows[4] = replace(rows[4], sha256=rows[2].sha256)  # the same file under another path
    rows[6] = replace(rows[6], sha256=None, error="cannot be read", scores=None, phash=None, embedding=None)
    pool = askable(table_of(tmp_path / "scores.parquet", rows), {sha256(3), sha256("else")}, {sha256(0), sha256(3)})
    assert pool.rows.tolist() == [2, 5, 7]
    assert pool.answered == {sha256(3): 3}
    assert pool.queued.tolist() == [0]
    assert (pool.photos, pool.errors, pool.copies) == (8, 2, 1)


def test_an_empty_table_is_a_pool(tmp_path: Path) -> None:
    pool = askable(table_of(tmp_path / "scores.parquet", []), set(), set())
    assert pool.rows.tolist() == pool.queued.tolist() == []
    assert pool.answered == {}


@pytest.mark.parametrize("group", [3, 4096])
def test_embeddings_are_read_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(tables, "ROWS", group)
    rows = records(20)
    rows[5] = replace(rows[5], error="broken", scores=None, phash=None, embedding=None)
    table = table_of(tmp_path / "scores.parquet", rows)
    numbers = np.array([i for i in range(20) if i != 5])
    halves = np.stack([rows[i].embedding for i in numbers if rows[i].embedding is not None])
    written = unit(halves.astype(np.float32))
    stored = Stored(table, numbers)
    assert stored.shape == (19, FEATURES)
    np.testing.assert_allclose(stored[:], written, atol=COSINES)
    np.testing.assert_allclose(stored[7:11], written[7:11], atol=COSINES)
    wanted = np.array([18, 0, 3, 3, 11])
    np.testing.assert_allclose(stored[wanted], written[wanted], atol=COSINES)
    assert stored[wanted[:0]].shape == (0, FEATURES)
    assert stored[:].dtype == np.float32


def test_known_photos_are_those_of_the_pool_and_then_the_others(tmp_path: Path) -> None:
    stored = Stored(table_of(tmp_path / "scores.parquet", records(6)), np.array([1, 4]))
    others = np.eye(FEATURES, dtype=np.float32)[:3]
    known = Known(stored, others)
    assert known.shape == (5, FEATURES)
    np.testing.assert_array_equal(known[:], np.concatenate([stored[:], others]))
    np.testing.assert_array_equal(known[np.array([4, 0, 2])], np.stack([others[2], stored[:][0], others[0]]))


def test_a_row_of_zeros_stays() -> None:
    assert unit(np.zeros((2, 3), np.float32)).tolist() == [[0, 0, 0]] * 2
