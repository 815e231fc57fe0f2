"""`launch bundle`: which head versions serve together."""

from __future__ import annotations

from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, table


def bundle(
    out: Annotated[str, typer.Option("--out", help="The bundle's name, as in `prod`.")],
    heads: Annotated[
        str, typer.Option("--heads", help="As in weapon,cash@2; a class alone means its latest version, nothing all.")
    ] = "",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Pin head versions in a lock file. The former file is kept: a rollback is its line again."""
    from prohibit_jax.bundle.lock import make_bundle
    from prohibit_jax.bundle.store import Store
    from prohibit_jax.types import HeadRef

    refs = [HeadRef.parse(text.strip()) for text in heads.split(",")] if heads else None
    made = make_bundle(Store(store), out, refs)
    lines = [pin.line() for pin in made.pins]
    columns = ["class", "version", "sha256"]
    rows = [[str(line[column])[:16] for column in columns] for line in lines]
    answer({"bundle": out, "heads": lines}, as_json, table(f"bundle {out}", columns, rows))
