"""`launch query`: which photos of a score table annotators are asked about next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, LabelsOption, StoreOption, answer, bar, remark, table

SHOWN = 5
"""The first photos of the queue are printed with their reasons."""


def query(
    class_name: Annotated[str, typer.Option("--class", help="The class to ask about.")],
    scores: Annotated[str, typer.Option("--scores", help="The pool: what launch score wrote.")],
    strategy: Annotated[
        str, typer.Option("--strategy", help="One, or a mixture as in positives=0.6,uncertainty=0.3,random=0.1.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The queue to write, a Parquet file.")],
    budget: Annotated[int, typer.Option("--budget", min=1, help="Photos to ask about.")] = 200,
    labels: LabelsOption = None,
    not_in: Annotated[
        list[str] | None, typer.Option("--not-in", metavar="QUEUE", help="Leaves out what this queue asks about.")
    ] = None,
    near: Annotated[
        int | None,
        typer.Option("--near", min=1, help="All but random look only at so many neighbours of each known positive."),
    ] = None,
    examples: Annotated[
        str, typer.Option("--examples", help="Photos of the thing, for a first day: folder:PATH, manifest:FILE, …")
    ] = "",
    versions: Annotated[
        list[str] | None,
        typer.Option("--versions", metavar="SCORES", help="The same photos scored by another version of the head."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what chance decides.")] = 0,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Choose what to label next: the photos of a pool that help most, best first, each with the reason.

    Answered photos are never asked again. Of near-identical ones one is, but for what random draws, evenly from all.
    """
    from prohibit_jax.active.query import make_queue

    with bar() as line:
        chosen = make_queue(
            out,
            class_name,
            scores,
            strategy,
            budget,
            store,
            labels=labels,
            queues=not_in or (),
            examples=examples,
            versions=versions or (),
            near=near,
            seed=seed,
            progress=line("reading embeddings"),
            warn=remark,
        )
    pool = chosen.pool
    left_out = {
        "errors": pool.errors,
        "copies": pool.copies,
        "answered": len(pool.answered),
        "queued": len(pool.queued),
    }
    answer(
        {
            "out": str(out),
            "asks": len(chosen.asks),
            "strategies": chosen.strategies,
            "photos": pool.photos,
            "candidates": chosen.candidates,
            "left_out": left_out,
            "seconds": {phase: round(seconds, 3) for phase, seconds in chosen.seconds.items()},
        },
        as_json,
        table(
            f"{len(chosen.asks)} to ask",
            ["strategy", "photos"],
            [[name, str(count)] for name, count in chosen.strategies.items()],
        ),
        f"of {chosen.candidates:,} photos; left out: "
        + ", ".join(f"{count:,} {why}" for why, count in left_out.items()),
        *(f"{ask.path}: {ask.reason}" for ask in chosen.asks[:SHOWN]),
        f"the queue is in {out}; ask it with launch label --class {class_name} --queue {out}",
    )
    if len(chosen.asks) < budget:
        remark(f"{budget - len(chosen.asks)} fewer than asked for: the strategies found no more")
