"""Array aliases, the shape vocabulary of the project, and its small frozen records.

Letters for shapes everywhere: `k` heads, `b` images, `h w c` height, width, channels, `f` features.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8
else:
    try:
        from jaxtyping import Float32, UInt8
    except ModuleNotFoundError:  # a bare accelerator machine: aliases stay readable, nothing checks them

        class Float32:
            """Stands in for jaxtyping's type where only the scoring path's libraries are installed."""

            def __class_getitem__(cls, item: Any) -> Any:
                return Any

        UInt8 = Float32

Photo = UInt8[np.ndarray, "h w 3"]
"""One upright RGB photo, values 0 to 255."""

Images = UInt8[np.ndarray, "b h w 3"]
"""Photos of one size on the host, RGB, values 0 to 255."""

Features = Float32[np.ndarray, "b *h f"]
"""A trunk's output on the host: [b, h, w, c], or of one through `top` [b, f]."""

Embeddings = Float32[np.ndarray, "b f"]
"""Photos as numbers on the host, a row each."""

Scores = Float32[np.ndarray, "b k"]
"""Calibrated probabilities, a column per head, 0 to 1."""

Variables = Mapping[str, Any]
"""A network's arrays by dotted name, `s2.0.depthwise.kernel`: parameters and batch-norm statistics alike."""


class InputError(ValueError):
    """Input that the user can correct: one line that names the file or the field and says what to do."""


RESERVED = ("path", "sha256", "width", "height", "error", "phash", "embedding")
"""What a table of scores has, the last two on request, beside a column per class: no class may be named so."""

CLASS_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def check_name(name: str, what: str = "class") -> str:
    """Returns `name` if it may name a class, a bundle or weights, of which files are made; else raises InputError."""
    if not CLASS_NAME.fullmatch(name):
        raise InputError(f"{what} {name!r}: use 1 to 64 of a-z, 0-9, '_' and '-', starting with a letter or digit")
    return name


@dataclass(frozen=True)
class HeadRef:
    """A head by class and version, written `weapon@3`; version None means the latest."""

    name: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> HeadRef:
        """Reads `weapon` or `weapon@3`. Raises InputError on anything else."""
        name, at, version = text.partition("@")
        check_name(name)
        if not at:
            return cls(name)
        if not re.fullmatch("[0-9]{1,9}", version) or int(version) < 1:
            raise InputError(f"head {text[:80]!r}: the version after '@' is a whole number from 1, of at most 9 digits")
        return cls(name, int(version))

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), float64, without overflow."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))


@dataclass(frozen=True)
class Calibration:
    """probability = sigmoid(scale * logit + offset), with scale above 0, so that the order of photos stays."""

    scale: float = 1.0
    offset: float = 0.0

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities of logits [n], in float32 as the scorer returns them."""
        return sigmoid(self.scale * logits.astype(np.float64) + self.offset).astype(np.float32)


@dataclass(frozen=True)
class Thresholds:
    """Calibrated probabilities from which on a photo is reviewed, and from which on it is blocked; above 1 is never."""

    review: float = 0.5
    block: float = 0.9


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes a network's input: resized whole to `size` x `size`, then `(pixel / 255 - mean) / std`."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Advance(Protocol):
    """Moves a progress bar to `done` of `total`, under a new title where one is given."""

    def __call__(self, done: int, total: int, title: str = ..., /) -> None: ...


Line = Callable[[str], Advance]
"""Opens a progress bar under a title: `advance = line("decoding")`, then `advance(done, in_all)`."""


def silent(title: str) -> Advance:
    """A progress bar that shows nothing."""
    return lambda done, total, title="": None
