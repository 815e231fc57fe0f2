"""`launch train`: a new version of one class's head, or of one network of several classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, bar, remark
from launch.figures import metrics_table


def train(
    class_name: Annotated[
        str, typer.Option("--class", help="The class to train, as in `weapon`; by default the one that --config names.")
    ] = "",
    data: Annotated[
        str,
        typer.Option("--data", help="folder:PATH, manifest:FILE, parquet:PATH, tfds:NAME, labels: or synthetic:COUNT."),
    ] = "",
    weights: Annotated[
        str,
        typer.Option(
            "--weights", help="What to start from: imported weights, hf:OWNER/NAME, a head as in weapon@3, or last."
        ),
    ] = "",
    config: Annotated[
        Path | None, typer.Option("--config", help="A TOML file; configs/CLASS.toml where that exists.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Changes one value of the config.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the class's unfinished run.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Train a head: a new version of a class, its card and its plots. No other class is touched.

    A config with class.classes trains one network of several classes.
    """
    from prohibit_jax.config import load_config
    from prohibit_jax.heads.make import train_head

    loaded = load_config(class_name, config, settings or (), {"data.source": data, "model.weights": weights})
    with bar() as line:
        made = train_head(loaded, store, resume=resume, progress=line, warn=remark)
    answer(
        {"head": str(made.ref), "folder": str(made.folder), "run": str(made.run), "metrics": made.card.metrics},
        as_json,
        metrics_table(str(made.ref), made.card.metrics),
        f"{made.ref} is in {made.folder}; curves and mistakes are in {made.run}",
    )
