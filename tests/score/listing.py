"""Photo files for the tests of scoring: sound ones that differ, and broken ones."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

BROKEN = {"empty": b"", "text": b"no photo at all", "truncated": b"\xff\xd8\xff\xe0"}


def png(seed: int, width: int = 48, height: int = 36) -> bytes:
    """A generated photo, smooth enough that resizing leaves something of it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Item:
    """As `data.sources.Item`, as far as scoring reads it."""

    path: str


@dataclass(frozen=True)
class Listing:
    """A source in memory: bytes, or the error that reading raises."""

    contents: tuple[bytes | OSError, ...]

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(Item(f"{i}.png") for i in range(len(self.contents)))

    def read(self, i: int) -> bytes:
        content = self.contents[i]
        if isinstance(content, OSError):
            raise OSError(*content.args)  # one raised again would keep all that its former traces refer to
        return content
