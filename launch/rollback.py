"""`launch rollback`: what served before, back in a bundle."""

from __future__ import annotations

from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, remark
from launch.promote import FOLLOW, UNSAID, BundleOption, ByOption, WhyOption


def rollback(
    classes: Annotated[list[str], typer.Argument(help="As in weapon, or several: weapon cash.")],
    bundle: BundleOption = "",
    why: WhyOption = UNSAID,
    by: ByOption = "",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Put back what served before the latest release of each class; given again, before the one before that.

    All in one change of the lock file. A class that this release added is taken out.
    """
    from prohibit_jax.bundle.lock import only_bundle
    from prohibit_jax.bundle.store import Store
    from prohibit_jax.release.rollback import rollback as roll_back

    bundle = bundle or only_bundle(Store(store))
    entries = roll_back(classes, bundle, store, why=why, who=by)
    steps = [{"class": entry.name, "from": entry.old, "to": entry.new, "release": entry.number} for entry in entries]
    said = [f"{entry.old} -> {entry.new or 'nothing'}, release {entry.number} of {bundle}" for entry in entries]
    answer({"bundle": bundle, "classes": steps, "bundle_sha256": entries[0].bundle_sha256}, as_json, *said)
    remark(FOLLOW)
