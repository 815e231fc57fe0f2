"""Releases a new version of a class into a bundle, if it passes the gates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from etils import epath

from prohibit_jax.bundle.lock import Bundle, Pin, read_bundle
from prohibit_jax.bundle.store import Head, Store, open_store
from prohibit_jax.release.gates import fit, judge, photos_of
from prohibit_jax.release.history import Entry, Gate, History, author, now, reason, with_pin
from prohibit_jax.score.scorer import load_scorer
from prohibit_jax.types import HeadRef, InputError, Line, silent

BATCH = 8


@dataclass(frozen=True)
class Promotion:
    """What came of `promote`; without an entry nothing was written."""

    bundle: str
    old: HeadRef | None
    new: HeadRef
    gates: tuple[Gate, ...]
    entry: Entry | None

    @property
    def failed(self) -> tuple[str, ...]:
        """The gates that were not passed."""
        return tuple(gate.gate for gate in self.gates if not gate.passed)


def promote(
    ref: HeadRef | str,
    bundle: str,
    source: str,
    store: Store | epath.PathLike,
    *,
    why: str,
    who: str = "",
    force: bool = False,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> Promotion:
    """Holds a head to the gates of its class and, where it passes them all, puts it into the bundle.

    It takes its class's place, or the last one where the bundle has no such class. Whatever other releases do
    meanwhile, `budget` and `isolation` are of the bundle that it comes into.

    Args:
        ref: the head; without a version the latest.
        bundle: its name.
        source: labelled photos, as in `folder:PATH`; "" for those that the head was trained on, of which its test side
            counts.
        store: where all of it is.
        why: in words; kept in the history.
        who: releases it; by default the user's login name.
        force: whatever the gates say, which the history keeps.
        progress: opens a progress bar.
        warn: told in one line what was left out.

    Raises:
        InputError: no such head or bundle, the head is damaged or serves already, or no such photos.
    """
    store, who, why = open_store(store), author(who), reason(why)
    history, head = History(store, bundle), _whole(store, ref)
    name, source = head.card.name, source or _own_source(head)
    old = _serving(read_bundle(store, bundle), name)
    if old == head.ref:
        raise InputError(f"head {head.ref}: serves in bundle {bundle} already")
    photos = photos_of(head, source, store)
    sound = Gate("head", True, f"{head.ref}, intact", "intact", {"sha256": head.card.params_sha256})
    judged = judge(old, head, source, store, progress=progress, warn=warn)
    while True:
        scorer = load_scorer(bundle, store, (BATCH,), spare=1)
        if _serving(scorer.bundle, name) != old:
            raise InputError(f"head {head.ref}: another version of {name} was released meanwhile; promote it again")
        gates = (sound, *judged, *fit(scorer, head, photos, store))
        if not force and not all(gate.passed for gate in gates):
            return Promotion(bundle, old, head.ref, gates, None)
        with history.locked():
            if read_bundle(store, bundle) == scorer.bundle:  # else another release came between: gates on that bundle
                former = None if old is None else str(old)
                draft = Entry("promote", bundle, name, former, str(head.ref), who, now(), why, gates)
                (entry,) = history.release(with_pin(scorer.bundle, name, Pin.of(head)), [draft])
                return Promotion(bundle, old, head.ref, gates, entry)


def _own_source(head: Head) -> str:
    source = str(head.card.config.get("data", {}).get("source", ""))
    if not source:
        raise InputError(f"--data: name labelled photos to judge {head.ref} on; its card names none")
    return source


def _whole(store: Store, ref: HeadRef | str) -> Head:
    """The head, verified with its trunk."""
    head = store.read_whole(ref)
    Pin.of(head)
    return head


def _serving(bundle: Bundle, name: str) -> HeadRef | None:
    return next((pin.ref for pin in bundle.pins if pin.ref.name == name), None)
