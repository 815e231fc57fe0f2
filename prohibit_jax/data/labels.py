"""From the labels that annotators gave to one class's yes, no, or left out, or to one of several classes."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from prohibit_jax.data.index import Index
from prohibit_jax.data.sources import Item
from prohibit_jax.types import InputError


def assign(items: Sequence[Item], classes: Mapping[str, Sequence[str]], ignore: Sequence[str] = ()) -> np.ndarray:
    """int8 [n], int16 for over 127 classes: the number of each item's class, from 1, 0 for every other label.

    Args:
        items: -1 goes to those without a label.
        classes: the labels of each class, by the field of the config that names them.
        ignore: labels that get -1.

    Raises:
        InputError: a label named that no item has, or named on two lists; a class without a label, or no photo that is
            of none.
    """
    lists = {**classes, "class.ignore": ignore}
    owners: dict[str, str] = {}
    for field, names in lists.items():
        if field in classes and not names:
            raise InputError(f"{field}: name at least one label")
        for name in names:
            if owners.setdefault(name, field) != field:
                raise InputError(f"{field}: {name!r} is in {owners[name]} too")
    existing = {item.label for item in items} - {""}
    for name, field in owners.items():
        if name not in existing:
            raise InputError(f"{field}: no photo has the label {name!r}; {_suggestion(name, existing)}")
    value = {name: i for i, names in enumerate(classes.values(), 1) for name in names}
    value |= dict.fromkeys(("", *ignore), -1)
    labels = np.array([value.get(item.label, 0) for item in items], np.min_scalar_type(-len(classes) - 1))
    if not (labels == 0).any():
        raise InputError(f"{next(iter(classes))}: no photo is left as a negative")
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
    """SHA-256 hex of the class of each usable content, in any order and under any name."""
    rows = np.flatnonzero(index.usable & (labels >= 0)).tolist()
    pairs = sorted({f"{index.sha256[i]} {labels[i]}\n" for i in rows})
    return hashlib.sha256("".join(pairs).encode()).hexdigest()
