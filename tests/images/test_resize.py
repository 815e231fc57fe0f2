"""One resize, the whole photo."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from prohibit_jax.images.decode import ImageError, Limits, decode
from prohibit_jax.images.resize import load, resize


@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 90), value=st.integers(0, 255))
@settings(max_examples=60)
def test_any_shape_becomes_a_square_and_a_flat_photo_stays_flat(width: int, height: int, size: int, value: int) -> None:
    square = resize(np.full((height, width, 3), value, np.uint8), size)
    np.testing.assert_array_equal(square, np.full((size, size, 3), value, np.uint8))


def test_same_size_changes_nothing() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (31, 31, 3), np.uint8)
    np.testing.assert_array_equal(resize(photo, 31), photo)


def test_nothing_is_cropped() -> None:
    photo = np.zeros((100, 400, 3), np.uint8)
    photo[:, :40] = photo[:, -40:] = 255
    square = resize(photo, 50)
    assert square[:, 0].min() > 250
    assert square[:, -1].min() > 250
    assert square[:, 10:-10].max() < 5


def test_reduction_is_antialiased() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize(stripes, 32)[:, 2:-2].astype(int) - 127).max() <= 2


def test_load_is_decode_then_resize() -> None:
    stream = io.BytesIO()
    Image.effect_mandelbrot((640, 480), (-3, -2.5, 2, 2.5), 100).convert("RGB").save(stream, "JPEG")
    data = stream.getvalue()
    np.testing.assert_array_equal(load(data, 64), resize(decode(data, target=64), 64))
    with pytest.raises(ImageError):
        load(data, 64, Limits(pixels=1000))
