"""Merged heads in a bundle: the new versions in place of the old ones, as one release that can be rolled back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from etils import epath

from prohibit_jax.bundle.lock import Bundle, Pin, read_bundle
from prohibit_jax.bundle.store import Store, open_store
from prohibit_jax.heads.merge import Merged, MergedClass, merge_heads
from prohibit_jax.plan.budget import check_budget
from prohibit_jax.release.history import Entry, Gate, History, author, now, with_pin
from prohibit_jax.types import HeadRef, InputError


def merge_into(
    bundle: str,
    refs: Sequence[HeadRef | str],
    pool: str,
    store: Store | epath.PathLike,
    *options: Any,
    warn: Callable[[str], None] = lambda _: None,
    **named: Any,
) -> Merged:
    """As `merge_heads`; and where the merged versions are published, the bundle serves them.

    Args:
        bundle: has all these classes.
        refs, pool, store, options, named: as `merge_heads` takes them.
        warn: told in one line what was left out.

    Raises:
        InputError: as `merge_heads` does, and where the bundle serves other versions than those merged. Published, but
            not in the bundle, are the merged heads where it would break its budget by them and get slower than it is,
            or another release came between.
    """
    store = open_store(store)
    resolved = [store.resolve(ref) for ref in refs]
    _check_served(resolved, read_bundle(store, bundle))
    who = author("")  # now, since teaching takes its time
    merged = merge_heads(resolved, pool, store, *options, warn=warn, **named)
    done = [one for one in merged.classes if one.new]
    if done:
        try:
            _release(bundle, done, store, who)
        except InputError as error:
            new = ",".join(str(one.new) for one in done)
            raise InputError(f"{error}; the merged heads {new} are published, and the bundle stays as it was") from None
    return merged


def _check_served(refs: Sequence[HeadRef], bundle: Bundle) -> None:
    serves = {pin.ref.name: pin.ref for pin in bundle.pins}
    for ref in refs:
        if ref.name not in serves:
            raise InputError(
                f"--bundle {bundle.name}: it has no class {ref.name}; add it with launch bundle, or leave out"
            )
        if serves[ref.name] != ref:
            raise InputError(f"--bundle {bundle.name}: it serves {serves[ref.name]}, not {ref}; merge what serves")


def _release(bundle: str, done: Sequence[MergedClass], store: Store, who: str) -> None:
    history = History(store, bundle)
    why = f"merged, {len(done)} classes"
    with history.locked():
        serving = left = read_bundle(store, bundle)
        _check_served([one.old for one in done], serving)
        drafts = []
        for one in done:
            assert one.new is not None
            drafts.append(
                Entry("merge", bundle, one.new.name, str(one.old), str(one.new), who, now(), why, (_gate(one),))
            )
            left = Bundle(bundle, with_pin(left, one.new.name, Pin.of(store.read_head(one.new))))
        cards = [[store.read_card(pin.ref) for pin in each.pins] for each in (left, serving)]
        verdict = check_budget(store, bundle, *cards)
        if verdict and not verdict.fits:
            heads = ",".join(str(pin.ref) for pin in left.pins)
            raise InputError(
                f"{verdict.line}: launch bundle --out {bundle} --over-budget --heads {heads} serves them all the same"
            )
        history.release(left.pins, drafts)


def _gate(one: MergedClass) -> Gate:
    difference = one.quality.difference
    found = f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
    return Gate("quality", one.accepted, found, "the loss accepted by launch merge", {"difference": asdict(difference)})
