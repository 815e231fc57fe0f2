"""`launch bundle`: which head versions serve together."""

from __future__ import annotations

from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, remark, table


def bundle(
    out: Annotated[str, typer.Option("--out", help="The bundle's name, as in `prod`.")],
    heads: Annotated[
        str, typer.Option("--heads", help="As in weapon,cash@2; a class alone means its latest version, nothing all.")
    ] = "",
    over_budget: Annotated[
        bool, typer.Option("--over-budget", help="Take what breaks the budget of the bundle's launch plan.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Pin head versions in a lock file. The former file is kept: a rollback is its line again.

    Where launch plan gave the bundle a budget, heads that break it are refused.
    """
    from prohibit_jax.bundle.store import Store
    from prohibit_jax.plan.budget import make_planned_bundle
    from prohibit_jax.types import HeadRef

    refs = [HeadRef.parse(text.strip()) for text in heads.split(",")] if heads else None
    made, verdict = make_planned_bundle(Store(store), out, refs, over_budget=over_budget)
    lines = [pin.line() for pin in made.pins]
    columns = ["class", "version", "sha256"]
    rows = [[str(line[column])[:16] for column in columns] for line in lines]
    answer({"bundle": out, "heads": lines}, as_json, table(f"bundle {out}", columns, rows))
    if verdict and (verdict.predicted_ms is None or not verdict.fits):
        remark(verdict.line)
