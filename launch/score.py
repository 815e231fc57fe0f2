"""`launch score`: every photo of a source through a bundle, into Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, bar, remark, table

WAITED = 0.1
"""A scorer that waits for photos for a larger share of its time has a bottleneck before it."""


def score(
    bundle: Annotated[str, typer.Option("--bundle", help="The bundle that scores, as in `prod`.")],
    data: Annotated[str, typer.Option("--data", help="Photos, labelled or not: folder:PATH, manifest:FILE, …")],
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Score photos: a row each, with a column per class; a broken photo's row says what is wrong with it."""
    from prohibit_jax.data.sources import open_source
    from prohibit_jax.score.job import score_source

    with bar() as line:
        summary = score_source(bundle, open_source(data), out, store, line("scoring"))
    rows = [[name, *(str(count) for count in counts.values())] for name, counts in summary.bands.items()]
    answer(
        {
            "out": str(out),
            "photos": summary.photos,
            "errors": summary.errors,
            "bands": summary.bands,
            "seconds": {"waiting": round(summary.clock.waiting, 3), "scoring": round(summary.clock.scoring, 3)},
        },
        as_json,
        table(f"{summary.photos} photos, {summary.errors} with errors", ["class", "pass", "review", "block"], rows),
        f"scores are in {out}",
    )
    if summary.waited > WAITED:
        remark(
            f"the scorer waited for photos {summary.waited:.0%} of the time: reading and decoding them is the "
            "bottleneck; more cores or smaller photos would help"
        )
