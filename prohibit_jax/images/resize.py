"""The one way from a photo's bytes to the pixels that a network sees, in training, evaluation, scoring and serving."""

from __future__ import annotations

import numpy as np
from PIL import Image

from prohibit_jax.images.decode import Limits, upright
from prohibit_jax.types import Photo


def resize(photo: Photo, size: int) -> np.ndarray:
    """Squashes the whole photo to uint8 [size, size, 3]: nothing is cropped, a prohibited item may be at the edge.

    Pillow's bicubic filter widens with the reduction (no aliasing) and works in integers: the same on every machine.
    """
    return _squash(Image.fromarray(photo), size)


def load(data: bytes, size: int, limits: Limits = Limits()) -> np.ndarray:  # noqa: B008 - frozen
    """Returns a file's photo as uint8 [size, size, 3], the pixels of `resize(decode(…))`; raises ImageError.

    Pillow alone: where another decoder gives the same pixels it is hardly faster (bench/decode.py, docs/speed.md).
    """
    return _squash(upright(data, limits, target=size), size)


def _squash(image: Image.Image, size: int) -> np.ndarray:
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
