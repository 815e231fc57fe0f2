"""Augmentation: deterministic, varied, and never so strong that the label is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prohibit_jax.images.augment import augment


def photo(size: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] / size
    return (255 * np.stack([x, y, (x + y) / 2], -1)).astype(np.uint8)


@given(size=st.integers(8, 80), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_same_generator_same_photo(size: int, seed: int) -> None:
    original = photo(size)
    kept = original.copy()
    one, two = (augment(original, np.random.default_rng(seed)) for _ in range(2))
    assert one.shape == original.shape
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(original, kept)


def test_seeds_differ_and_mirror_about_half() -> None:
    many = np.stack([augment(photo(32), np.random.default_rng(seed)) for seed in range(200)]).astype(int)
    assert len({one.tobytes() for one in many}) == 200
    mirrored = (many[:, :, :16, 0].mean((1, 2)) > many[:, :, 16:, 0].mean((1, 2))).mean()
    assert 0.35 < mirrored < 0.65


@pytest.mark.parametrize("value", [20, 128, 235])
def test_colour_stays_near(value: int) -> None:
    flat = np.full((32, 32, 3), value, np.uint8)
    means = [augment(flat, np.random.default_rng(seed)).mean() for seed in range(50)]
    assert 0.7 * value < min(means)
    assert max(means) < 1.3 * value


def test_upright_stays_upright() -> None:
    """Green grows downwards in the photo; no change may turn it over."""
    for seed in range(100):
        changed = augment(photo(48), np.random.default_rng(seed)).astype(int)
        assert changed[32:, 8:-8, 1].mean() > changed[:16, 8:-8, 1].mean()


def test_the_middle_stays_in_view() -> None:
    marked = np.zeros((64, 64, 3), np.uint8)
    marked[26:38, 26:38] = 255
    hidden = sum(augment(marked, np.random.default_rng(seed)).max() < 120 for seed in range(200))
    assert hidden <= 6  # only where a patch is painted over it
