"""The feature cache: what it returns, what it computes, what a kill or damage leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from prohibit_jax.train import features
from prohibit_jax.train.features import FeatureCache, fill

PHOTOS = [f"{number:064x}" for number in range(10)]


def made_of(rows: np.ndarray) -> np.ndarray:
    return np.stack([np.full((2, 2, 3), row, np.float32) for row in rows])


def decode(rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for chunk in np.array_split(rows, 2):
        if len(chunk):
            yield chunk, np.stack([np.full((4, 4, 3), row, np.uint8) for row in chunk])


def trunk(images: np.ndarray) -> np.ndarray:
    return made_of(images[:, 0, 0, 0])


def filled(folder: Path, rows: list[int]) -> list[int]:
    """Fills the cache for the rows and returns how many were computed at each call of `progress`."""
    seen: list[int] = []
    fill(FeatureCache(folder), PHOTOS, np.array(rows), decode, trunk, lambda done, total: seen.append(done))
    return seen


def test_each_content_is_computed_once_and_read_in_any_order(tmp_path: Path) -> None:
    assert filled(tmp_path, [1, 3, 5, 7])[-1] == 4
    assert filled(tmp_path, [7, 8, 1])[-1] == 1
    assert filled(tmp_path, [1, 3, 5, 7, 8]) == []
    cache = FeatureCache(tmp_path)
    np.testing.assert_array_equal(cache.read([PHOTOS[row] for row in (8, 1, 1, 5)]), made_of(np.array([8, 1, 1, 5])))
    assert cache.missing(PHOTOS) == [PHOTOS[row] for row in (0, 2, 4, 6, 9)]


def test_equal_photos_are_computed_once(tmp_path: Path) -> None:
    photos = [PHOTOS[0]] * 4
    seen: list[int] = []
    fill(FeatureCache(tmp_path), photos, np.arange(4), decode, trunk, lambda done, total: seen.append(total))
    assert seen == [1]


def test_shards_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "SHARD", 4)
    filled(tmp_path, list(range(10)))
    assert sorted(len(json.loads(path.read_text())) for path in tmp_path.glob("*.json")) == [2, 4, 4]


@pytest.mark.parametrize("damage", ["truncate", "foreign", "lose"])
def test_a_damaged_shard_is_computed_again(tmp_path: Path, damage: str) -> None:
    filled(tmp_path, [1, 2])
    array = next(tmp_path.glob("*.npy"))
    if damage == "truncate":
        array.write_bytes(array.read_bytes()[:-8])
    elif damage == "foreign":
        array.write_bytes(b"\x80\x04 a pickle, say")
    else:
        array.unlink()
    assert filled(tmp_path, [1, 2])[-1] == 2
    np.testing.assert_array_equal(FeatureCache(tmp_path).read([PHOTOS[2]]), made_of(np.array([2])))


def test_a_killed_writer_leaves_nothing_that_is_read(tmp_path: Path) -> None:
    """The array without its list, and temporary files, are what a kill can leave."""
    filled(tmp_path, [1, 2])
    listed = next(tmp_path.glob("*.json"))
    listed.rename(listed.with_suffix(".77.list.tmp"))
    assert FeatureCache(tmp_path).missing([PHOTOS[1]]) == [PHOTOS[1]]
