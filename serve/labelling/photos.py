"""A photo as an annotator's screen gets it: the one that was asked about, upright, no larger than needed, and new.

What is sent is always our own JPEG of the decoded pixels: nothing that came with the file, a camera's notes or a script
in disguise, reaches a browser.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection
from threading import Lock

from etils import epath
from PIL import Image

from prohibit_jax.data.sources import Source
from prohibit_jax.files import read_photo
from prohibit_jax.images.decode import Limits, upright
from prohibit_jax.types import InputError

EDGES = (480, 1600, 3200)
"""Pixels of the longer edge at most: in a grid, alone on a screen, looked at closely."""

LIMITS = Limits()
QUALITY = 88

Read = Callable[[str], bytes]
"""A photo's bytes by its path. Raises OSError or InputError where there are none."""


def reader(source: Source | None, paths: Collection[str]) -> Read:
    """Reads those of `paths` that a source's items have from it, and any other path as a file."""
    items = enumerate(source.items) if source else ()
    numbers = {item.path: number for number, item in items if item.path in paths}
    one = Lock()  # a source is promised to processes, not to threads

    def read(path: str) -> bytes:
        if source is None or path not in numbers:
            return read_photo(epath.Path(path), LIMITS.bytes)
        with one:
            return source.read(numbers[path])

    return read


def screen(data: bytes, sha256: str, edge: int, limits: Limits = LIMITS) -> bytes:
    """A JPEG of the photo, upright, its longer edge at most `edge` pixels.

    Raises InputError where the bytes are not those with that SHA-256, ImageError where they are no photo.
    """
    if len(data) <= limits.bytes and hashlib.sha256(data).hexdigest() != sha256:
        raise InputError("the file has changed since it was chosen")
    photo = upright(data, limits, target=-(-edge // 2))
    photo.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    photo.info.clear()  # else a comment would be written again
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
