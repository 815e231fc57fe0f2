"""`launch evaluate`: a published head on labelled photos."""

from __future__ import annotations

from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, bar, remark
from launch.figures import metrics_table


def evaluate(
    class_name: Annotated[str, typer.Option("--class", help="The class whose head is judged.")],
    data: Annotated[str, typer.Option("--data", help="Labelled photos: folder:PATH, manifest:FILE, labels:, …")],
    version: Annotated[int | None, typer.Option("--version", min=1, help="The head's version; the latest.")] = None,
    side: Annotated[
        str, typer.Option("--side", help="train, validation or test: that side of the head's own split; all photos.")
    ] = "all",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Judge a head on labelled photos, through the scorer that serves it."""
    from prohibit_jax.heads.judge import evaluate_head
    from prohibit_jax.types import HeadRef, check_name

    ref = HeadRef(check_name(class_name), version)
    with bar() as line:
        judged = evaluate_head(ref, data, store, side=side, progress=line, warn=remark)
    answer({"head": str(judged.ref), **judged.metrics}, as_json, metrics_table(str(judged.ref), judged.metrics))
