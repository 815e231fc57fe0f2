"""Random changes to a training photo that leave its label true: what sellers' cameras and hands vary anyway."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from prohibit_jax.types import Photo

# Rec. 601 weights of red, green and blue in brightness, as in Pillow's "L".
LUMA = np.array((0.299, 0.587, 0.114))


def augment(photo: Photo, rng: np.random.Generator) -> Photo:
    """Returns another photo of the same thing, uint8 [s, s, 3] like `photo`; it depends on `photo` and `rng` alone.

    - mirror: an item lies either way round; upside down is rare, and a person's face would be odd
    - zoom, shift, stretch, small turn: framing by hand, and photos of every aspect squashed to one square. Mild,
      since a small item at the edge must stay in view; what comes into view has the photo's mean colour
    - brightness, contrast, saturation: lamps at home, cheap cameras, filters
    - grey now and then: the shape must count, not the colour of a bank note or a pack
    - blur now and then: shaken, out of focus, or a small picture enlarged
    - a patch painted over now and then (cutout, arXiv:1708.04552): hands, stickers and other things hide a part
    """
    image = Image.fromarray(photo)
    mean = np.asarray(image.resize((1, 1), Image.Resampling.BOX))[0, 0]
    fill = tuple(mean.tolist())
    image = _recolour(_move(image, fill, rng), float(mean @ LUMA), rng)
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2) * image.width / 128))
    if rng.random() < 0.25:
        _cut(image, fill, rng)
    return np.asarray(image)


def _move(image: Image.Image, fill: tuple[int, ...], rng: np.random.Generator) -> Image.Image:
    """Mirror, zoom, stretch, turn and shift in one resampling."""
    size = image.width
    zoom, stretch = rng.uniform(0.8, 1.1), math.exp(rng.uniform(-0.15, 0.15))
    angle = math.radians(rng.uniform(-12, 12))
    mirror = rng.choice((-1, 1))
    across, down = zoom * stretch * mirror, zoom / stretch
    # From a place in the result to its place in the original, both measured from the middle.
    a, b = across * math.cos(angle), -down * math.sin(angle)
    d, e = across * math.sin(angle), down * math.cos(angle)
    middle, (x, y) = size / 2, rng.uniform(-0.08, 0.08, 2) * size
    matrix = (a, b, middle + x - (a + b) * middle, d, e, middle + y - (d + e) * middle)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)


def _recolour(image: Image.Image, light: float, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast about `light` and saturation as one matrix with offsets; one photo in twenty turns grey."""
    brightness, contrast = rng.uniform(0.75, 1.25, 2)
    saturation = rng.uniform(0.6, 1.4) if rng.random() < 0.95 else 0.0
    mix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * LUMA)
    offsets = np.full((3, 1), brightness * (1 - contrast) * light)
    return image.convert("RGB", tuple(np.hstack([mix, offsets]).ravel().tolist()))


def _cut(image: Image.Image, fill: tuple[int, ...], rng: np.random.Generator) -> None:
    """Paints a rectangle of 10% to 35% of each edge over, in place."""
    width, height = (rng.uniform(0.10, 0.35, 2) * image.width).astype(int).tolist()
    left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    image.paste(fill, (int(left), int(top), int(left) + width, int(top) + height))
