"""The table of contents against a dictionary."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prohibit_jax.score.contents import Contents


@given(st.lists(st.integers(0, 20), max_size=60), st.booleans())
def test_a_content_is_found_in_its_first_row(contents: list[int], collide: bool) -> None:
    def digest(content: int) -> str:
        text = sha256(bytes([content])).hexdigest()
        return f"{'0' * 16}{text[16:]}" if collide else text  # all want one place

    table, expected = Contents(len(contents)), dict[int, int]()
    for row, content in enumerate(contents):
        assert table.find(digest(content)) == expected.get(content, -1)
        table.add(digest(content), row)
        expected.setdefault(content, row)
    assert len(table) == len(expected)
    assert [table.find(digest(content)) for content in range(21)] == [
        expected.get(content, -1) for content in range(21)
    ]


def test_it_takes_less_than_a_hundred_bytes_a_photo() -> None:
    table = Contents(100_000)
    assert sum(array.nbytes for array in vars(table).values() if isinstance(array, np.ndarray)) < 100 * 100_000
