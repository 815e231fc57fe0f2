"""Takes releases back: what served before, in a bundle again. It needs no photos and scores nothing, so it is quick."""

from __future__ import annotations

from collections.abc import Sequence

from etils import epath

from prohibit_jax.bundle.lock import Bundle, read_bundle
from prohibit_jax.bundle.store import Store, open_store
from prohibit_jax.release.history import Entry, History, author, now, reason, with_pin
from prohibit_jax.types import InputError, check_name


def rollback(
    names: Sequence[str], bundle: str, store: Store | epath.PathLike, *, why: str, who: str = ""
) -> tuple[Entry, ...]:
    """Puts back what served before the latest release of each of these classes, in one change of the bundle.

    A class that this release added is taken out. Given again, it goes one release further back.

    Args:
        names: classes.
        bundle: its name.
        store: where all of it is.
        why: in words; kept in the history.
        who: does it; by default the user's login name.

    Raises:
        InputError: no such bundle or class in it, nothing is known to have served before, that head is damaged, or no
            class would be left.
    """
    store, who, why = open_store(store), author(who), reason(why)
    history = History(store, bundle)
    _check_names(names, read_bundle(store, bundle))
    with history.locked():
        left = read_bundle(store, bundle)
        _check_names(names, left)
        pins = {pin.ref.name: pin for pin in left.pins}
        drafts = []
        for name in names:
            former = history.before(pins[name])
            new = None if former is None else str(former.ref)
            drafts.append(Entry("rollback", bundle, name, str(pins[name].ref), new, who, now(), why))
            left = Bundle(bundle, with_pin(left, name, former))
        if not left.pins:
            raise InputError(f"bundle {bundle}: it would have no class left; put another in before")
        return history.release(left.pins, drafts)


def _check_names(names: Sequence[str], bundle: Bundle) -> None:
    for name in map(check_name, names):
        if name not in bundle.classes:
            raise InputError(f"class {name}: not in bundle {bundle.name}, which has {', '.join(bundle.classes)}")
        if names.count(name) > 1:
            raise InputError(f"class {name}: given twice; one rollback goes one release back")
