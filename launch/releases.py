"""`launch releases`: who released what into a bundle, when and why."""

from __future__ import annotations

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, table
from launch.promote import BundleOption


def releases(bundle: BundleOption = "", store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List a bundle's releases, newest first."""
    from prohibit_jax.bundle.lock import only_bundle, read_bundle
    from prohibit_jax.bundle.store import Store
    from prohibit_jax.release.history import History

    bundle = bundle or only_bundle(Store(store))
    history = History(Store(store), bundle)
    entries = history.entries()[::-1]
    if not entries:
        read_bundle(history.store, bundle)  # says what bundles there are
    columns = ["release", "when (UTC)", "what", "from", "to", "who", "why", "overridden"]
    rows = [
        [
            *(str(entry.number), entry.when[:19].replace("T", " "), entry.action),
            *(entry.old or "nothing", entry.new or "nothing", entry.who, entry.why, ", ".join(entry.overridden)),
        ]
        for entry in entries
    ]
    listed = [{"release": entry.number, "overridden": list(entry.overridden), **entry.to_json()} for entry in entries]
    answer({"bundle": bundle, "releases": listed}, as_json, table(f"releases of bundle {bundle}", columns, rows))
