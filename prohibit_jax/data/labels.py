"""From the labels that annotators gave to one class's yes, no, or left out."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Sequence

import numpy as np

from prohibit_jax.data.index import Index
from prohibit_jax.data.sources import Item
from prohibit_jax.types import InputError


def assign(items: Sequence[Item], positive: Sequence[str], ignore: Sequence[str] = ()) -> np.ndarray:
    """int8 [n]: 1 where the label is in `positive`, -1 where it is in `ignore` or there is none, else 0.

    Raises:
        InputError: a label named that no item has, or named on both lists; no positive or no negative photo.
    """
    if not positive:
        raise InputError("class.positive: name at least one label")
    if both := set(positive) & set(ignore):
        raise InputError(f"class.ignore: {min(both)!r} is in class.positive too")
    existing = {item.label for item in items} - {""}
    for field, names in (("class.positive", positive), ("class.ignore", ignore)):
        for name in names:
            if name not in existing:
                raise InputError(f"{field}: no photo has the label {name!r}; {_suggestion(name, existing)}")
    value = dict.fromkeys(positive, 1) | dict.fromkeys(("", *ignore), -1)
    labels = np.array([value.get(item.label, 0) for item in items], np.int8)
    if not (labels == 0).any():
        raise InputError("class.positive: no photo is left as a negative")
    return labels


def _suggestion(name: str, existing: Collection[str]) -> str:
    """The labels closest to `name`, whatever their case, or else the first few of all there are."""
    folded = {label.casefold(): label for label in sorted(existing, reverse=True)}
    if near := difflib.get_close_matches(name.casefold(), folded, n=3):
        return f"did you mean {', '.join(repr(folded[label]) for label in near)}?"
    some = sorted(existing)[:12]
    more = f" and {len(existing) - len(some)} more" if len(existing) > len(some) else ""
    return f"there are: {', '.join(some)}{more}" if some else "no photo has any label"


def fingerprint(index: Index, labels: np.ndarray) -> str:
    """SHA-256 hex of which usable contents are positive and which negative, in any order and under any name."""
    rows = np.flatnonzero(index.usable & (labels >= 0)).tolist()
    pairs = sorted({f"{index.sha256[i]} {labels[i]}\n" for i in rows})
    return hashlib.sha256("".join(pairs).encode()).hexdigest()
