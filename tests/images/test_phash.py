"""Copies of a picture are near, other pictures are not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from prohibit_jax.images import phash as module
from prohibit_jax.images.decode import decode
from prohibit_jax.images.phash import NEAR_BITS, NEAR_THUMBS, phash, thumbnail, thumbnail_distance


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def near(a: np.ndarray, b: np.ndarray) -> bool:
    bits = int(np.bitwise_count(phash(a) ^ phash(b)))
    return bits <= NEAR_BITS and bool(thumbnail_distance(thumbnail(a), thumbnail(b)) <= NEAR_THUMBS)


def test_cosines_are_the_discrete_cosine_transform() -> None:
    expected = scipy.fft.dct(np.eye(32), axis=0, norm="ortho")[:8]
    np.testing.assert_allclose(module._COSINES, expected, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 70), width=st.integers(1, 70))
@settings(max_examples=40)
def test_types_and_shapes(seed: int, height: int, width: int) -> None:
    photo = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert isinstance(phash(photo), np.uint64)
    assert thumbnail(photo).shape == (16, 16)
    assert thumbnail(photo).dtype == np.uint8
    assert near(photo, photo)


def test_flat_pictures() -> None:
    white, grey = np.full((40, 40, 3), 255, np.uint8), np.full((40, 40, 3), 128, np.uint8)
    ramp = np.tile(np.arange(40, dtype=np.uint8)[:, None] * 6, (40, 1, 3))
    assert thumbnail_distance(thumbnail(white), thumbnail(grey)) < NEAR_THUMBS
    assert thumbnail_distance(thumbnail(white), thumbnail(ramp)) > 0.5
    assert thumbnail_distance(thumbnail(ramp), thumbnail(ramp[:, ::-1])) > 1


def test_distance_takes_many_at_once() -> None:
    thumbs = np.random.default_rng(0).integers(0, 256, (5, 16, 16), np.uint8)
    one = [float(thumbnail_distance(a, b)) for a, b in zip(thumbs, thumbs[::-1], strict=True)]
    np.testing.assert_allclose(thumbnail_distance(thumbs, thumbs[::-1]), one, rtol=1e-5)


def test_copies_of_photographs_are_near_and_others_are_not(shared: Path) -> None:
    folders = ("Leopards", "BACKGROUND_Google", "revolver", "dollar_bill", "accordion")
    files = [file for name in folders for file in sorted((shared / "data" / "caltech101" / name).glob("*.jpg"))[:12]]
    images = [Image.open(file).convert("RGB") for file in files]
    photos = [np.asarray(image) for image in images]
    changes = (
        lambda image: jpeg(image, 30),
        lambda image: jpeg(image.resize((image.width // 2, image.height // 2))),
        lambda image: jpeg(image.resize((image.width * 2, image.height * 2))),
        lambda image: jpeg(ImageEnhance.Brightness(image).enhance(0.85)),
        lambda image: jpeg(ImageEnhance.Contrast(image).enhance(1.2)),
        lambda image: jpeg(image.convert("L")),
    )
    found = [
        near(photo, decode(change(image))) for image, photo in zip(images, photos, strict=True) for change in changes
    ]
    assert np.mean(found) > 0.98
    hashes, thumbs = np.array([phash(photo) for photo in photos]), np.array([thumbnail(photo) for photo in photos])
    bits = np.bitwise_count(hashes[:, None] ^ hashes)
    alike = (bits <= NEAR_BITS) & (thumbnail_distance(thumbs[:, None], thumbs) <= NEAR_THUMBS)
    assert np.triu(alike, 1).sum() <= 2  # Caltech-101 itself holds copies
