"""What is known of each photo before training: content hash, perceptual hash, size, and whether it can be decoded.

Every photo is read and hashed each time, and decoded only when its content is new to the cache. Generated photos, which
cannot change, are made once.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from etils import epath

from prohibit_jax.data.sources import Generated, Source
from prohibit_jax.files import publish_file, replacing
from prohibit_jax.images.decode import Limits, decode, probe
from prohibit_jax.images.phash import phash, thumbnail

SCHEMA = 1
"""Raise it when the perceptual hash or the thumbnail changes: old caches are then passed over."""

CHUNK = 512
"""Photos between two calls of `progress`."""

EDGE = 64
"""Both hashes look at 32 x 32 pixels at most, so large JPEGs are decoded at reduced scale, to at least twice this."""

Progress = Callable[[int, int], None]
"""Called with (photos done, photos in all)."""


@dataclass(frozen=True)
class Index:
    """A row per item of a source.

    Attributes:
        sha256: hex digest of the photo's bytes, "" where they cannot be read.
        phash: uint64 [n], a 64-bit perceptual hash.
        thumbs: uint8 [n, 16, 16], grey thumbnails.
        width, height: int32 [n], pixels of the upright photo.
        error: why the photo cannot be used, one line; "" where it can. Its numbers are then 0.
    """

    sha256: tuple[str, ...]
    phash: np.ndarray
    thumbs: np.ndarray
    width: np.ndarray
    height: np.ndarray
    error: tuple[str, ...]

    @property
    def usable(self) -> np.ndarray:
        """bool [n]: the photos that can be decoded."""
        return np.array([not error for error in self.error], bool)


_Facts = tuple[Any, Any, Any, Any]
"""What the cache keeps of one photo: hash, thumbnail, width, height."""

_FACTS = {"phash": np.uint64, "thumbs": np.uint8, "width": np.int32, "height": np.int32}

_NOTHING: _Facts = (0, np.zeros((16, 16), np.uint8), 0, 0)


def index(
    source: Source,
    cache: epath.Path | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Index:
    """Reads, hashes and decodes every photo of `source`, each content once.

    Args:
        source: the photos.
        cache: folder of the cache; None keeps none. A damaged or missing cache is built anew.
        workers: threads that read and decode.
        progress: told how far it is.
        limits: on the bytes and pixels of a photo.
    """
    n = len(source.items)
    file = cache / _cache_name(limits) if cache is not None else None
    known = _load(file)
    before = len(known)
    made_file = cache / f"made-{source.recipe[:16]}" if cache is not None and isinstance(source, Generated) else None
    made = _load_made(made_file)
    hashes, errors = [""] * n, [""] * n
    facts = [_NOTHING] * n

    def look(i: int) -> None:
        if i < len(made) and made[i] in known:
            hashes[i], facts[i] = made[i], known[made[i]]
            return
        try:
            data = source.read(i)
            hashes[i] = hashlib.sha256(data).hexdigest()
            facts[i] = known[hashes[i]] = known.get(hashes[i]) or _facts(data, limits)
        except OSError as error:
            errors[i] = f"cannot be read: {error.strerror or error}"
        except ValueError as error:  # InputError among them, and a NUL in the path
            errors[i] = str(error)

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for start in range(0, n, CHUNK):
            stop = min(start + CHUNK, n)
            list(pool.map(look, range(start, stop)))
            if progress:
                progress(stop, n)
    if file is not None and len(known) > before:
        _save(file, known)
    if made_file is not None and hashes != made[:n] and all(hashes):
        with contextlib.suppress(OSError):
            publish_file(made_file, bytes.fromhex("".join(hashes)))
    return Index(tuple(hashes), error=tuple(errors), **_columns(facts))


def _columns(facts: Collection[_Facts]) -> dict[str, Any]:
    return {name: np.array([fact[i] for fact in facts], kind) for i, (name, kind) in enumerate(_FACTS.items())}


def _facts(data: bytes, limits: Limits) -> _Facts:
    width, height = probe(data, limits)
    photo = decode(data, limits, target=EDGE)
    return phash(photo), thumbnail(photo), width, height


def _cache_name(limits: Limits) -> str:
    """Pixels depend on the decoder and its limits, so each set of them has a cache of its own."""
    key = hashlib.sha256(repr((SCHEMA, PIL.__version__, limits)).encode()).hexdigest()
    return f"index-{key[:16]}.npz"


def _load(file: epath.Path | None) -> dict[str, _Facts]:
    if file is None or not file.exists():
        return {}
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            hashes = [row.tobytes().hex() for row in arrays["sha256"]]
            facts = zip(*(arrays[name] for name in _FACTS), strict=True)
            return dict(zip(hashes, facts, strict=True))
    except Exception:  # a cache: whatever is wrong with it, the photos themselves are still there
        return {}


def _load_made(file: epath.Path | None) -> list[str]:
    """Hashes of the first photos that a generator makes. Where one is damaged, no photo is known by it."""
    try:
        data = file.read_bytes() if file is not None else b""
    except OSError:
        return []
    return [data[at : at + 32].hex() for at in range(0, len(data), 32)]


def _save(file: epath.Path, known: dict[str, _Facts]) -> None:
    hashes = np.array([list(bytes.fromhex(name)) for name in known], np.uint8)
    # A full or read-only disk costs time at the next run, not this run.
    with contextlib.suppress(OSError), replacing(file) as stream:
        np.savez(stream, allow_pickle=False, sha256=hashes, **_columns(known.values()))
