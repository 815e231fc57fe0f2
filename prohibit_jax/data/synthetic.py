"""`synthetic:`: generated listing photographs, so that the demo and the tests need no network.

Item i is a pure function of (seed, i), whatever the count and the order of reading, so more photos keep the old ones.
A photo is a background, oddments, the goods that its label names, at times something in front of them, then a
camera's doings: light, blur, noise, JPEG. Look-alikes among the goods and the oddments keep a network from perfection.
"""

from __future__ import annotations

import hashlib
import io
import platform
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from prohibit_jax.data.scenes import GOODS, ODDMENTS, Thing, fingers, lit, mirrored, paint, wooden
from prohibit_jax.data.sources import Item
from prohibit_jax.types import InputError

FREQUENCIES = {
    "gun": 0.08, "knife": 0.08, "cash": 0.08, "cigarettes": 0.08,
    "bottle": 0.09, "phone": 0.1, "shoe": 0.09, "book": 0.1, "cup": 0.08, "tool": 0.12, "clutter": 0.1,
}  # fmt: skip
"""The share of each label: prohibited things are the rarer ones."""

KEPT = 1024
"""Photos, about 13 KB each, that a source remembers: most jobs look at theirs more than once."""

ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""
UPRIGHT_TO_STORED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


class SyntheticSource:
    """`count` generated JPEG listing photographs; seed and number alone decide what each shows. A Source."""

    def __init__(self, count: int, seed: int) -> None:
        if count < 1 or seed < 0:
            raise InputError(f"synthetic source: count {count} and seed {seed} must be at least 1 and 0")
        self.seed = seed
        self._kept: dict[int, bytes] = {}
        # One stream of draws: a longer source begins with the shorter one's labels.
        labels = np.random.default_rng(seed).choice(list(FREQUENCIES), size=count, p=list(FREQUENCIES.values()))
        self.items = tuple(Item(f"synthetic/{seed}/{i}.jpg", str(label)) for i, label in enumerate(labels))

    @cached_property
    def recipe(self) -> str:
        """The seed, our code and what it draws with: together with a number they decide the photo, to the byte."""
        code = [Path(__file__).with_name(name).read_bytes() for name in ("synthetic.py", "scenes.py")]
        versions = (platform.machine(), platform.python_version(), np.__version__, PIL.__version__)
        return hashlib.sha256(repr((self.seed, code, versions)).encode()).hexdigest()

    def read(self, i: int) -> bytes:
        """Returns photo `i`, a JPEG file; a sixth of them lie on their side and say so in EXIF."""
        photo = self._kept.get(i) or self._make(i)
        if len(self._kept) < KEPT:
            self._kept[i] = photo
        return photo

    def _make(self, i: int) -> bytes:
        r = Random(f"synthetic/{self.seed}/{i}")
        photo, exif = camera(r, scene(r, self.items[i].label)), Image.Exif()
        if r.random() < 0.16:
            exif[ORIENTATION] = r.choice(list(UPRIGHT_TO_STORED))
            photo = photo.transpose(UPRIGHT_TO_STORED[exif[ORIENTATION]])
        file = io.BytesIO()
        photo.save(file, "JPEG", quality=r.randint(40, 93), exif=exif)
        return file.getvalue()

    def __reduce__(self) -> tuple[Any, ...]:
        return SyntheticSource, (len(self.items), self.seed)


# Backgrounds: a grey field, then two colours for its dark and its light


def noise(r: Random, columns: int, rows: int) -> Image.Image:
    """A grey image of independent pixels."""
    return Image.frombytes("L", (columns, rows), r.randbytes(columns * rows))


def plain(r: Random, w: int, h: int) -> Image.Image:
    """A table or a wall: soft stains only."""
    return noise(r, r.randint(2, 6), r.randint(2, 6)).resize((w, h), Image.Resampling.BICUBIC)


def wood(r: Random, w: int, h: int) -> Image.Image:
    """Planks: grain along them, a level of grey each, dark gaps."""
    plank, field = r.randint(40, 140), Image.new("L", (w, h))
    for y in range(0, h, plank):
        grain = noise(r, r.randint(2, 5), r.randint(12, 40)).resize((w, plank), Image.Resampling.BICUBIC)
        shade = r.randint(0, 120)
        field.paste(grain.point([shade + level // 2 for level in range(256)]), (0, y))
        field.paste(0, (0, y, w, y + 2))
    return field if r.random() < 0.5 else field.transpose(Image.Transpose.TRANSPOSE).resize((w, h))


def tiles(r: Random, w: int, h: int) -> Image.Image:
    """Tiles with grout, or a checked cloth."""
    side, gap = r.randint(30, 110), r.randint(2, 5)
    field = noise(r, 1 + w // side, 1 + h // side).point([120 + level // 2 for level in range(256)])
    field = field.resize(((1 + w // side) * side, (1 + h // side) * side), Image.Resampling.NEAREST).crop((0, 0, w, h))
    for x in range(0, w, side):
        field.paste(30, (x, 0, x + gap, h))
    for y in range(0, h, side):
        field.paste(30, (0, y, w, y + gap))
    return field


def fabric(r: Random, w: int, h: int) -> Image.Image:
    """Stripes or checks, with a weave."""
    x, y = np.arange(w), np.arange(h)[:, None]
    across, down = (np.sin(axis * r.uniform(0.08, 0.5) + r.random()) for axis in (x, y))
    weave = 20 * ((x + y) % r.randint(2, 4))
    level = 110 + r.choice((0, 50)) * across + r.choice((0, 50)) * down + weave
    return Image.fromarray(level.clip(0, 255).astype(np.uint8))


def carpet(r: Random, w: int, h: int) -> Image.Image:
    """Pile: coarse grain over stains, at times rows of diamonds."""
    grain = noise(r, w // 2, h // 2).resize((w, h), Image.Resampling.BILINEAR)
    field = Image.blend(grain, plain(r, w, h), r.uniform(0.4, 0.8))
    if r.random() < 0.5:
        draw, step = ImageDraw.Draw(field), r.randint(30, 70)
        for x in range(0, w, step):
            for y in range(0, h, step):
                draw.regular_polygon((x, y, step // 3), 4, fill=r.choice((40, 220)))
    return field


BACKGROUNDS = (plain, wood, wood, tiles, fabric, carpet)


def background(r: Random, w: int, h: int) -> Image.Image:
    """One of the surfaces that goods are photographed on, in two colours."""
    field = r.choice(BACKGROUNDS)(r, w, h)
    base = r.choice((wooden(r), paint(r, 0.25, 0.6), paint(r, 0.5, 0.5), (190, 186, 180)))
    dark, light = lit(base, r.uniform(0.4, 0.85)), lit(base, r.uniform(1.1, 2))
    ramp = [[a + (b - a) * level // 255 for level in range(256)] for a, b in zip(dark[:3], light[:3], strict=True)]
    return Image.merge("RGB", [field.point(table) for table in ramp])


# Scenes


def place(canvas: Image.Image, thing: Thing, *, at: complex, size: float, turn: float, r: Random, sun: complex) -> None:
    """Draws a thing, `size` pixels wide and turned by `turn` radians, as seen from somewhat aside, over its shadow."""
    z = (np.concatenate([points for points, _ in thing]) - (0.5 + 0.5j)) * complex(np.cos(turn), np.sin(turn))
    z = z.real * r.uniform(0.8, 1) + 1j * z.imag * r.uniform(0.8, 1)
    z = z * size / (1 + r.uniform(-0.25, 0.25) * z.real + r.uniform(-0.25, 0.25) * z.imag) + at
    ends = np.cumsum([len(points) for points, _ in thing])[:-1]

    margin, coarse = 0.06 * size, 6  # a shadow is soft, so it is drawn at a sixth of the size
    cast = z + sun * size
    left, top = max(int(cast.real.min() - margin), 0), max(int(cast.imag.min() - margin), 0)
    w = max(min(int(cast.real.max() + margin), canvas.width) - left, 1)
    h = max(min(int(cast.imag.max() + margin), canvas.height) - top, 1)
    shade, depth = Image.new("L", (1 + w // coarse, 1 + h // coarse)), r.randint(100, 150)
    draw = ImageDraw.Draw(shade)
    for part in np.split((cast - complex(left, top)) / coarse, ends):
        draw.polygon(part.view(np.float64).tolist(), fill=depth)
    shade = shade.filter(ImageFilter.BoxBlur(max(margin / coarse / 2, 1))).resize((w, h), Image.Resampling.BILINEAR)
    canvas.paste((12, 10, 14), (left, top), shade)

    draw = ImageDraw.Draw(canvas, "RGBA")
    for part, (_, colour) in zip(np.split(z, ends), thing, strict=True):
        draw.polygon(part.view(np.float64).tolist(), fill=colour)


def scene(r: Random, label: str) -> Image.Image:
    """A photo of what `label` names before the camera's doings, edges of 200 to 480 pixels, drawn at twice the size."""
    long = round(220 + 260 * r.random() ** 1.5)
    short = max(200, round(long * r.choice((1, 0.8, 0.75, 0.67))))
    w, h = (long, short) if r.random() < 0.5 else (short, long)
    canvas = background(r, w, h).resize((2 * w, 2 * h), Image.Resampling.NEAREST)
    sun = complex(r.uniform(-0.05, 0.05), r.uniform(0.01, 0.06))

    def scatter(count: int, reach: float) -> None:
        for _ in range(count):
            at = complex(w * (1 + r.uniform(-reach, reach)), h * (1 + r.uniform(-reach, reach)))
            size = short * r.uniform(0.35, 0.75)
            place(canvas, r.choice(ODDMENTS)(r), at=at, size=size, turn=r.uniform(0, 6.3), r=r, sun=sun)

    scatter(r.randint(0, 4), 1.0)
    size = 2 * short * r.uniform(0.65, 1.05)
    at = complex(w * (1 + r.uniform(-0.2, 0.2)), h * (1 + r.uniform(-0.2, 0.2)))
    turn = r.gauss(0, 0.3) if r.random() < 0.8 else r.uniform(0, 6.3)
    goods = r.choice(GOODS[label])(r)
    if label not in ("cash", "clutter") and r.random() < 0.5:  # print does not come mirrored
        goods = mirrored(goods)
    place(canvas, goods, at=at, size=size, turn=turn, r=r, sun=sun)
    if r.random() < 0.25:
        side = r.uniform(0, 6.3)
        tips = at + 0.65 * size * complex(np.cos(side), np.sin(side))
        place(canvas, fingers(r), at=tips, size=0.7 * size, turn=side, r=r, sun=sun)
    if r.random() < 0.3:
        scatter(1, 0.8)
    return canvas.reduce(2)


def camera(r: Random, photo: Image.Image) -> Image.Image:
    """What a phone's camera does to a scene: uneven warm or cold light, exposure, blur, sensor noise."""
    w, h = photo.size
    if (focus := r.random()) < 0.3:
        photo = photo.filter(ImageFilter.BoxBlur(2 * focus + 0.5))
    elif focus < 0.5:
        photo = photo.reduce(2).resize((w, h), Image.Resampling.BILINEAR)
    gain, warmth = r.uniform(0.85, 1.5), r.uniform(-0.12, 0.12)
    gains = (gain * (1 + warmth), gain, gain * (1 - warmth))
    photo = photo.point([min(round(factor * level), 255) for factor in gains for level in range(256)])
    dark = r.randint(110, 230)
    lamps = noise(r, 2, 2).point([dark + (255 - dark) * level // 255 for level in range(256)])
    photo = ImageChops.multiply(photo, lamps.resize((w, h), Image.Resampling.BICUBIC).convert("RGB"))
    grain = Image.frombytes("RGB", (w, h), r.randbytes(3 * w * h))
    strength = r.randint(2, 32)
    grain = grain.point([strength * level // 255 for level in range(256)] * 3)
    return ImageChops.add(photo, grain, offset=-strength // 2)
