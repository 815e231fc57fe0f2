"""A frozen trunk's features, computed once a photo and kept: a head on the trunk is then retrained in seconds.

A cache folder holds shards: an array, float32 [m, h, w, f], beside a list of the m photos' SHA-256. A shard is
published by renaming, its list last, so a killed run loses one shard at most.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from etils import epath

from prohibit_jax.files import publish_file, replacing
from prohibit_jax.types import Features, Images

SHARD = 512  # photos; 100 to 250 MB through s5 at 300 px


class FeatureCache:
    """Features by a photo's SHA-256, memory-mapped: reading a batch reads no more than the batch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: list[np.ndarray] = []
        self._where: dict[str, tuple[int, int]] = {}
        for listed in sorted(folder.glob("*.json")):
            self._open(listed)

    def missing(self, photos: Iterable[str]) -> list[str]:
        """Those of `photos`, by SHA-256, that have no features yet, each once and in order."""
        return [photo for photo in dict.fromkeys(photos) if photo not in self._where]

    def read(self, photos: Sequence[str]) -> Features:
        """The features of `photos`, by SHA-256: float32 [b, h, w, f]. Raises KeyError for a missing one."""
        places = [self._where[photo] for photo in photos]
        return np.stack([self._shards[shard][row] for shard, row in places])

    def write(self, photos: Sequence[str], features: Features) -> None:
        """Adds a shard, named by its photos, so that two runs that fill one cache never mix theirs."""
        content = json.dumps(list(photos)).encode()
        listed = self._folder / f"{hashlib.sha256(content).hexdigest()}.json"
        with replacing(epath.Path(listed.with_suffix(".npy"))) as file:
            np.save(file, features)
        publish_file(epath.Path(listed), content)
        self._open(listed)

    def _open(self, listed: Path) -> None:
        try:
            photos = json.loads(listed.read_text(encoding="utf-8"))
            array = np.load(listed.with_suffix(".npy"), mmap_mode="r")
        except (OSError, ValueError):
            return  # a damaged shard is computed again
        if len(photos) != len(array):
            return
        self._where |= {photo: (len(self._shards), row) for row, photo in enumerate(photos)}
        self._shards.append(array)


def fill(
    cache: FeatureCache,
    photos: Sequence[str],
    rows: np.ndarray,
    decode: Callable[[np.ndarray], Iterator[tuple[np.ndarray, Images]]],
    trunk: Callable[[Images], Features],
    progress: Callable[[int, int], None],
) -> None:
    """Computes what the cache lacks of some rows.

    Args:
        cache: where features are kept.
        photos: SHA-256 by row.
        rows: the rows wanted.
        decode: yields (rows, their photos as uint8 [b, h, w, 3]) for the rows it is given.
        trunk: photos to features.
        progress: called with (done, in all).
    """
    row_of = {photos[row]: row for row in rows}
    lacking = np.array([row_of[photo] for photo in cache.missing(row_of)], np.int64)
    done = 0
    for begin in range(0, len(lacking), SHARD):
        names: list[str] = []
        parts: list[Features] = []
        for chunk, images in decode(lacking[begin : begin + SHARD]):
            names += [photos[row] for row in chunk]
            parts.append(trunk(images))
            done += len(chunk)
            progress(done, len(lacking))
        cache.write(names, np.concatenate(parts))
