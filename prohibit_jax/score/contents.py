"""Which contents a job has met, and in which row: about 50 bytes a photo, where a dictionary takes 200."""

from __future__ import annotations

import numpy as np


class Contents:
    """A hash table from SHA-256 to row, for a number of rows known beforehand; a content's first row counts."""

    def __init__(self, rows: int) -> None:
        """Room for rows 0 to `rows` - 1, of which memory is taken only as they come."""
        self._digests = np.zeros((rows, 32), np.uint8)
        self._slots = np.zeros(1 << (2 * rows).bit_length(), np.int64)  # row + 1 at its digest's place or after it
        self._count = 0

    def __len__(self) -> int:
        """The number of distinct contents."""
        return self._count

    def add(self, sha256: str, row: int) -> None:
        """Notes the content of a row."""
        digest = bytes.fromhex(sha256)
        slot = self._slot(digest)
        if not self._slots[slot]:
            self._digests[row] = np.frombuffer(digest, np.uint8)
            self._slots[slot] = row + 1
            self._count += 1

    def find(self, sha256: str) -> int:
        """The row that has this content, -1 where none has; may be asked by many threads while none adds."""
        return int(self._slots[self._slot(bytes.fromhex(sha256))]) - 1

    def _slot(self, digest: bytes) -> int:
        """Where the content is, or would be."""
        slot = int.from_bytes(digest[:8], "little") % len(self._slots)
        while (row := int(self._slots[slot]) - 1) >= 0 and self._digests[row].tobytes() != digest:
            slot = (slot + 1) % len(self._slots)
        return slot
