"""Generated photos are made once for a store: who looks again finds what was found, and makes none."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from prohibit_jax.data.index import Index, index
from prohibit_jax.data.sources import Generated, open_source
from prohibit_jax.data.synthetic import SyntheticSource
from prohibit_jax.images.decode import Limits


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by a photo's number whenever one is made."""
    numbers: list[int] = []
    read = SyntheticSource.read

    def counted(source: SyntheticSource, i: int) -> bytes:
        numbers.append(i)
        return read(source, i)

    monkeypatch.setattr(SyntheticSource, "read", counted)
    return numbers


def assert_same(a: Index, b: Index) -> None:
    for field in fields(Index):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_only_what_is_new_is_made(tmp_path: Path, made: list[int]) -> None:
    cache = epath.Path(tmp_path)
    six, eight = open_source("synthetic:6:3"), open_source("synthetic:8:3")
    first = index(six, cache)
    assert sorted(made) == [0, 1, 2, 3, 4, 5]
    made.clear()
    assert_same(index(six, cache), first)
    assert made == []
    grown = index(eight, cache)
    assert sorted(made) == [6, 7]
    made.clear()
    assert_same(index(six, cache), first)
    assert_same(index(eight, cache), grown)
    assert made == []
    assert_same(index(eight), grown)


def test_another_seed_other_code_and_other_limits_make_their_own(
    tmp_path: Path, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, source = epath.Path(tmp_path), open_source("synthetic:2:3")
    assert isinstance(source, Generated)
    first = index(source, cache)
    made.clear()
    assert index(open_source("synthetic:2:4"), cache).sha256 != first.sha256
    assert sorted(made) == [0, 1]
    made.clear()
    assert not index(source, cache, limits=Limits(pixels=10)).usable.any()
    assert sorted(made) == [0, 1]
    made.clear()
    monkeypatch.setattr("PIL.__version__", "0.0.1")
    assert_same(index(open_source("synthetic:2:3"), cache), first)
    assert sorted(made) == [0, 1]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "swapped for a folder"])
def test_what_is_damaged_is_made_again(tmp_path: Path, made: list[int], damage: str) -> None:
    cache, source = epath.Path(tmp_path), open_source("synthetic:3:3")
    first = index(source, cache)
    (file,) = tmp_path.glob("made-*")
    data = file.read_bytes()
    if damage == "swapped for a folder":
        file.unlink()
        file.mkdir()
    else:
        flipped = data[:40] + bytes([data[40] ^ 1]) + data[41:]
        file.write_bytes({"empty": b"", "cut": data[:50], "flipped": flipped}[damage])
    made.clear()
    assert_same(index(source, cache), first)
    assert sorted(made) == {"cut": [1, 2], "flipped": [1]}.get(damage, [0, 1, 2])
    made.clear()
    assert_same(index(source, cache), first)
    assert made == [] or damage == "swapped for a folder"


def test_photos_that_are_files_are_read_each_time(tmp_path: Path) -> None:
    source = open_source("synthetic:2:3")
    for i in range(2):
        (tmp_path / f"{i}.jpg").write_bytes(source.read(i))
    photos, cache = f"folder:{tmp_path}", epath.Path(tmp_path) / "cache"
    before = index(open_source(photos), cache)
    (tmp_path / "0.jpg").write_bytes(source.read(1))
    assert index(open_source(photos), cache).sha256 == (before.sha256[1], before.sha256[1])
