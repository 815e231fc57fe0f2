"""Neighbours of known positives, against a plain search and faiss."""

from __future__ import annotations

import numpy as np
import pytest

from prohibit_jax.active import view as views
from prohibit_jax.active.neighbours import nearest_rows, neighbours
from prohibit_jax.active.view import likeness
from tests.active.views import units, view
from tests.tolerances import COSINES

N, KNOWN = 500, 7


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "BLOCK", 64)


def test_likeness_is_the_cosine_to_the_nearest() -> None:
    rng = np.random.default_rng(0)
    pool, known = units(rng, N), units(rng, KNOWN)
    np.testing.assert_allclose(likeness(pool, known), (pool @ known.T).max(1), atol=COSINES)


@pytest.mark.parametrize("count", [1, 10, 64, 499, 600])
def test_nearest_rows_are_exact(count: int) -> None:
    rng = np.random.default_rng(count)
    pool, known = units(rng, N), units(rng, KNOWN)
    expected = np.argsort(-(known @ pool.T), axis=1)[:, :count]
    assert nearest_rows(pool, known, count).tolist() == sorted(set(expected.ravel().tolist()))


def test_more_neighbours_than_photos_are_all_of_them() -> None:
    rng = np.random.default_rng(0)
    pool, known = units(rng, 50), units(rng, KNOWN)
    assert nearest_rows(pool, known, 10**12).tolist() == list(range(50))


def test_nearest_rows_agree_with_faiss() -> None:
    faiss = pytest.importorskip("faiss", reason="needs faiss: make peers")
    rng = np.random.default_rng(3)
    pool, known = units(rng, N, 32), units(rng, KNOWN, 32)
    index = faiss.IndexFlatIP(32)
    index.add(pool)
    assert nearest_rows(pool, known, 20).tolist() == sorted(set(index.search(known, 20)[1].ravel().tolist()))


def test_an_empty_pool_has_no_neighbours() -> None:
    known = units(np.random.default_rng(0), KNOWN)
    assert nearest_rows(known[:0], known, 5).tolist() == []
    assert likeness(known[:0], known).shape == (0,)


def test_only_positives_attract() -> None:
    seen = view(None, [0, 1, 0], None, n=100)
    pool, known = np.asarray(seen.embeddings), np.asarray(seen.label_embeddings)
    rng = np.random.default_rng(0)
    assert neighbours(seen, 100, rng).tolist() == np.argsort(-(pool @ known[1]), kind="stable").tolist()
    assert neighbours(view(None, [0, 0], None, n=100), 10, rng).tolist() == []
