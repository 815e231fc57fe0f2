"""Which side a photo is on, train, validation or test: decided by hash, so that data can be added.

A photo that is added moves nothing, except possibly the cluster that it joins, which goes by its smallest hash.
Exact copies, near-identical photos and photos of one group form a cluster, and a cluster lies on one side.
Near-identical means: perceptual hashes at most `NEAR_BITS` apart, and thumbnails that agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from prohibit_jax.data.index import Index
from prohibit_jax.data.sources import SIDES, Item
from prohibit_jax.images.phash import NEAR_BITS, NEAR_THUMBS, thumbnail_distance

BANDS = 8
"""A hash is cut into 8 bands of 8 bits: two that differ in at most 6 bits agree on at least 2 whole bands."""

WINDOW = 64
"""Photos that agree on two bands are compared with so many neighbours. Only flat or templated pictures fill such a
bucket; sorted by the whole hash, those still meet their nearest.
"""

SALT = "prohibit_jax split 1 "


def split(index: Index, items: Sequence[Item], *, validation: float = 0.2, test: float = 0.2) -> np.ndarray:
    """The side of each photo: [n] of "train", "validation", "test", and "" for photos that cannot be used.

    A side that the manifest asks for wins, and takes the rest of the photo's cluster with it. Any other cluster goes by
    the hash of its smallest group name, or where it has none, of its smallest content hash; the expected shares are
    `validation` and `test`, and the rest is training. So a photo that is added can move the cluster that it joins, when
    its hash is the new smallest or it brings a group or a side, and no other.
    """
    sides = np.array([item.split for item in items], dtype="<U10")
    for members in _members(clusters(index, items)):
        asked = [side for side in SIDES if side in set(sides[members])]
        side = asked[0] if asked else _hashed(_key(index, items, members), validation, test)
        sides[[i for i in members if not sides[i]]] = side
    sides[~index.usable] = ""
    return sides


def leaks(index: Index, items: Sequence[Item]) -> list[str]:
    """A line for each cluster whose photos a manifest puts on several sides: worth a warning, the manifest wins."""
    found = []
    for members in _members(clusters(index, items)):
        first = {items[i].split: items[i].path for i in reversed(members) if items[i].split and not index.error[i]}
        if len(first) > 1:
            found.append(", ".join(f"{path} ({side})" for side, path in sorted(first.items())))
    return [f"the manifest puts photos of one group, or near-identical ones, on several sides: {one}" for one in found]


def _members(cluster: np.ndarray) -> Iterator[list[int]]:
    order = np.argsort(cluster, kind="stable")
    edges = np.flatnonzero(np.diff(cluster[order])) + 1
    return (part.tolist() for part in np.split(order, edges) if len(part))


def _key(index: Index, items: Sequence[Item], members: list[int]) -> str:
    groups = [items[i].group for i in members if items[i].group]
    return f"group {min(groups)}" if groups else min(index.sha256[i] for i in members)


def _hashed(key: str, validation: float, test: float) -> str:
    u = int.from_bytes(hashlib.sha256((SALT + key).encode()).digest()[:8]) / 2**64
    return "test" if u < test else "validation" if u < test + validation else "train"


def clusters(index: Index, items: Sequence[Item]) -> np.ndarray:
    """int64 [n]: the number of the first photo of each photo's cluster. The order of the photos has no influence."""
    sets = _Sets(len(items))
    first: dict[tuple[str, str], int] = {}
    for i, item in enumerate(items):
        for key in (("content", index.sha256[i]), ("group", item.group)):
            if key[1]:
                sets.join(first.setdefault(key, i), i)
    distinct = {sha: i for i, sha in enumerate(index.sha256) if not index.error[i]}
    rows = np.array([distinct[sha] for sha in sorted(distinct)], np.int64)
    _join_near(sets, rows, index.phash[rows], index.thumbs[rows])
    return sets.roots()


def _join_near(sets: _Sets, rows: np.ndarray, phash: np.ndarray, thumbs: np.ndarray) -> None:
    """Joins near-identical photos: `rows` are their numbers, in an order that does not depend on the source's.

    For each two of the bands, photos that agree on both are brought side by side by sorting, and each is compared with
    those after it: 28 times about n * n / 2**17 comparisons.
    """
    roots = sets.roots()[rows]
    for one, two in combinations(range(BANDS), 2):
        agree = phash & np.uint64(0xFF << 8 * one | 0xFF << 8 * two)
        order = np.lexsort((phash, agree))
        agree = agree[order]
        left = np.arange(len(order))
        for distance in range(1, WINDOW + 1):
            left = left[left + distance < len(order)]
            left = left[agree[left] == agree[left + distance]]
            if not left.size:
                break
            a, b = order[left], order[left + distance]
            open_ = (roots[a] != roots[b]) & (np.bitwise_count(phash[a] ^ phash[b]) <= NEAR_BITS)
            a, b = a[open_], b[open_]
            near = thumbnail_distance(thumbs[a], thumbs[b]) <= NEAR_THUMBS
            for i, j in zip(rows[a[near]].tolist(), rows[b[near]].tolist(), strict=True):
                sets.join(i, j)
            if near.any():
                roots = sets.roots()[rows]


class _Sets:
    """Disjoint sets of the numbers below n; each is known by its smallest member."""

    def __init__(self, n: int) -> None:
        self.parent = np.arange(n)

    def find(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = i = int(self.parent[self.parent[i]])
        return i

    def join(self, i: int, j: int) -> None:
        i, j = sorted((self.find(i), self.find(j)))
        self.parent[j] = i

    def roots(self) -> np.ndarray:
        while (self.parent != (above := self.parent[self.parent])).any():
            self.parent = above
        return self.parent.copy()
