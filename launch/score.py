"""`launch score`: every photo of a source through a bundle, into Parquet."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, bar, remark, table

WAITED = 0.1
"""A scorer that waits for photos for a larger share of its time has a bottleneck before it."""


def score(
    data: Annotated[str, typer.Option("--data", help="Photos, labelled or not: folder:PATH, parquet:PATH, …")],
    out: Annotated[Path, typer.Option("--out", help="NAME.parquet for one file, else a folder of shards.")],
    bundle: Annotated[str | None, typer.Option("--bundle", help="The bundle that scores, as in `prod`.")] = None,
    embedding: Annotated[
        str | None, typer.Option("--embedding", help="Weights whose features to keep: lite0, or lite0:160 for 160 px.")
    ] = None,
    max_failure_rate: Annotated[
        float, typer.Option("--max-failure-rate", min=0, max=1, help="Stop when a larger share of photos has errors.")
    ] = 0.5,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Score photos: a row each, with a column per class; a broken photo's row says what is wrong with it.

    Given again, the command goes on where it was stopped, scores photos added at the end, and computes only the columns
    of heads that were replaced.
    """
    from prohibit_jax.data.sources import open_source
    from prohibit_jax.score.job import score_source

    with bar() as line:
        summary = score_source(
            bundle,
            open_source(data),
            out,
            store,
            line("scoring"),
            embedding=embedding,
            max_failure_rate=max_failure_rate,
        )
    counts = asdict(summary.counts)
    rows = [[name, *(str(count) for count in found.values())] for name, found in summary.bands.items()]
    title = f"{summary.photos} photos, {summary.errors} with errors"
    did = ", ".join(f"{count} {what}" for what, count in {"contents": summary.contents, **counts}.items() if count)
    answer(
        {
            "out": str(out),
            "photos": summary.photos,
            "contents": summary.contents,
            "errors": summary.errors,
            **counts,
            "bands": summary.bands,
            "seconds": {"waiting": round(summary.clock.waiting, 3), "scoring": round(summary.clock.scoring, 3)},
        },
        as_json,
        table(title, ["class", "pass", "review", "block"], rows) if rows else title,
        f"scores are in {out} ({did})",
    )
    if summary.waited > WAITED:
        remark(
            f"the scorer waited for photos {summary.waited:.0%} of the time: reading and decoding them is the "
            "bottleneck; more cores or smaller photos would help"
        )
