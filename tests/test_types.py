"""A head's name is read whole or refused in one line."""

from __future__ import annotations

import pytest

from prohibit_jax.types import HeadRef, InputError


def test_a_head_is_read_and_written_the_same() -> None:
    for text, ref in (("weapon", HeadRef("weapon")), ("weapon@3", HeadRef("weapon", 3))):
        assert HeadRef.parse(text) == ref
        assert str(ref) == text


@pytest.mark.parametrize("version", ["", "0", "-1", "1.0", "\u0663", "1\n", "1" * 10, "1" * 5000])
def test_a_version_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(InputError, match="whole number from 1") as caught:
        HeadRef.parse(f"weapon@{version}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
