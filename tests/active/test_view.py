"""What strategies share: the best rows, and blocks of embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prohibit_jax.active import view as views
from prohibit_jax.active.view import blocks, highest
from tests.active.views import units, view


@given(arrays(np.float32, st.integers(0, 30), elements=st.sampled_from([0.0, 1.0, 2.0, 3.0])), st.integers(0, 40))
def test_highest_is_a_stable_sort_cut_off(keys: np.ndarray, budget: int) -> None:
    assert highest(keys, budget).tolist() == np.argsort(-keys, kind="stable")[:budget].tolist()


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 50])
def test_blocks_are_all_rows_in_their_order(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(views, "BLOCK", 8)
    rows = units(np.random.default_rng(n), n)
    found = list(blocks(rows))
    assert [start for start, _ in found] == list(range(0, n, 8))
    np.testing.assert_array_equal(np.concatenate([rows[:0], *(part for _, part in found)]), rows)


def test_the_size_is_that_of_what_is_there() -> None:
    assert view(np.zeros(3, np.float32)).size == view(None, n=3).size == 3
