"""Tells whether two photos are copies of one picture: re-encoded, resized, brightened, but not merely alike."""

from __future__ import annotations

import numpy as np
from PIL import Image

from prohibit_jax.types import Photo

# How near copies are, measured: 600 of 6,382 Caltech-101 photos, each altered in one way. Share that is found with at
# most NEAR_BITS bits and, among those, NEAR_THUMBS apart:
#
#     JPEG quality 30 or 60, twice as large, half as large, grey        1.00
#     contrast +20%, 15% darker                                         1.00
#     15% brighter (highlights clipped), a quarter as large             0.99
#     1% cut from each edge                                             0.94
#     3% cut from each edge                                             0.14
#
# Of the 20 million pairs of those photos, 80 are that near, among them at most a handful that are not the same picture
# or drawing: motorcycles photographed alike before one white wall. Bits alone up to 6 give 146 pairs. A mean absolute
# difference of the thumbnails instead of their correlation misses a quarter of the darker copies.
NEAR_BITS = 6
"""Hashes of copies differ in at most so many of 64 bits."""

NEAR_THUMBS = 0.03
"""Thumbnails of copies are at most so far apart by `thumbnail_distance`."""


def _cosines(n: int) -> np.ndarray:
    """The orthonormal DCT-II as a matrix, float64 [n, n]: row k holds the cosine of frequency k."""
    rows: np.ndarray = np.cos(np.pi / n * np.outer(np.arange(n), np.arange(n) + 0.5)) * np.sqrt(2 / n)
    rows[0] /= np.sqrt(2)
    return rows


_COSINES = _cosines(32)[:8]


def phash(photo: Photo) -> np.uint64:
    """The perceptual hash: which of the 8 x 8 lowest frequencies of the 32 x 32 grey photo exceed their median.

    Copies of one picture differ in few of the 64 bits. After Zauner, "Implementation and Benchmarking of Perceptual
    Image Hash Functions", 2010.
    """
    low = (_COSINES @ _grey(photo, 32) @ _COSINES.T).ravel()
    return np.uint64(int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big"))


def thumbnail(photo: Photo) -> np.ndarray:
    """The whole photo as 16 x 16 grey pixels, uint8."""
    return _grey(photo, 16)


def _grey(photo: Photo, size: int) -> np.ndarray:
    image = Image.fromarray(photo).convert("L")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def thumbnail_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One minus the correlation of thumbnails, [..., 16, 16] each, to [...]: 0 (alike) to 2; light and contrast apart.

    The variance of one grey level is added, so that two flat pictures are alike, and a flat one is like nothing else.
    """
    x, y = (t - t.mean((-2, -1), dtype=np.float32, keepdims=True) for t in (a, b))
    covariance, p, q = ((u * v).mean((-2, -1)) + 1 for u, v in ((x, y), (x, x), (y, y)))
    return np.asarray(1 - covariance / np.sqrt(p * q))
