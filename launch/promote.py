"""`launch promote`: a new version of a class into a bundle, if it passes the gates of its class."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, bar, remark, table

BundleOption = Annotated[str, typer.Option("--bundle", help="The bundle that serves, as in `prod`; the only one.")]
WhyOption = Annotated[str, typer.Option("--why", help="In words; kept in the history.")]
UNSAID = "not said"
ByOption = Annotated[str, typer.Option("--by", help="Who does it, for the history; the login name.")]
FOLLOW = "running services that see this store follow within service.watch_seconds, or at once on SIGHUP"


def promote(
    head: Annotated[str, typer.Argument(help="The new version, as in weapon@4; a class alone means its latest.")],
    bundle: BundleOption = "",
    data: Annotated[
        str,
        typer.Option("--data", help="Labelled photos to judge it on: folder:PATH, labels:, …; those of its training."),
    ] = "",
    why: WhyOption = UNSAID,
    by: ByOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote it whatever the gates say; the history keeps what they said.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Put a new version of a class into a bundle, if it passes the gates in section [release] of the class's config.

    Exit code 1 and nothing changed where it does not.
    """
    from prohibit_jax.bundle.lock import only_bundle
    from prohibit_jax.bundle.store import Store
    from prohibit_jax.release.promote import promote as promote_head

    bundle = bundle or only_bundle(Store(store))
    with bar() as line:
        made = promote_head(head, bundle, data, store, why=why, who=by, force=force, progress=line, warn=remark)
    step = f"{made.old or 'nothing'} -> {made.new}"
    rows = [[gate.gate, gate.found, gate.demanded, "yes" if gate.passed else "NO"] for gate in made.gates]
    answer(
        {
            "bundle": bundle,
            "class": made.new.name,
            "from": str(made.old) if made.old else None,
            "to": str(made.new),
            "promoted": made.entry is not None,
            "failed": list(made.failed),
            "gates": [asdict(gate) for gate in made.gates],
            "release": made.entry.number if made.entry else None,
            "bundle_sha256": made.entry.bundle_sha256 if made.entry else None,
        },
        as_json,
        table(f"{step} in bundle {bundle}", ["gate", "found", "demanded", "passed"], rows),
        f"promoted: {step}, release {made.entry.number} of {bundle}" if made.entry else "nothing was changed",
    )
    if made.entry is None:
        remark(f"{made.new} is not promoted: {', '.join(made.failed)} failed; --force promotes it all the same")
        raise typer.Exit(1)
    if made.failed:
        remark(f"overridden: {', '.join(made.failed)}; launch rollback {made.new.name} --bundle {bundle} takes it back")
    remark(FOLLOW)
