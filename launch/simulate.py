"""`launch simulate`: what each query strategy would have saved on photos whose labels are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, bar, remark, table

DEFAULT = ["uncertainty", "positives", "positives=0.45,uncertainty=0.45,random=0.1"]


def simulate(
    class_name: Annotated[
        str, typer.Option("--class", help="The class, as in `weapon`; by default the one that --config names.")
    ] = "",
    data: Annotated[str, typer.Option("--data", help="Labelled photos: folder:PATH, manifest:FILE, labels:, …")] = "",
    strategies: Annotated[
        list[str] | None,
        typer.Option(
            "--strategies",
            help="Names, as in uncertainty,positives, or one mixture, as in positives=0.6,random=0.4; can be repeated.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each strategy.")] = 3,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Photos asked about in a round.")] = 20,
    budget: Annotated[int, typer.Option("--budget", min=1, help="Photos asked about in all.")] = 400,
    start: Annotated[
        Literal["known", "few"], typer.Option("--start", help="Every positive is known, or five of them.")
    ] = "known",
    noise: Annotated[float, typer.Option("--noise", min=0, max=0.5, help="Share of wrong answers.")] = 0.0,
    weights: Annotated[str, typer.Option("--weights", help="What embeds the photos, as in lite0.")] = "",
    config: Annotated[
        Path | None, typer.Option("--config", help="A TOML file; configs/CLASS.toml where that exists.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Changes one value of the config.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="A PNG of quality against labels.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; one a core.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Simulate the labelling of a class: labelled photos play pool and annotator. Random asking is always beside.

    Finished runs are kept in the store: the same command goes on where it was stopped.
    """
    from prohibit_jax.active.experiment import experiment
    from prohibit_jax.active.savings import summarise
    from prohibit_jax.active.simulate import Protocol
    from prohibit_jax.active.world import load_world
    from prohibit_jax.bundle.store import open_store
    from prohibit_jax.config import load_config

    loaded = load_config(class_name, config, settings or (), {"data.source": data, "model.weights": weights})
    folder = open_store(store).runs / loaded.class_.name / "simulations"
    asked = [name for text in strategies or DEFAULT for name in ([text] if "=" in text else text.split(","))]
    with bar() as line:
        world = load_world(loaded, store, progress=line, warn=remark)
        curves = experiment(
            world,
            asked,
            Protocol(batch, budget, start, noise),
            range(seeds),
            folder,
            workers=workers,
            progress=line("simulating"),
        )
    found = summarise(curves)
    if plot:
        from prohibit_jax.active.plots import savings_plot

        given = "every positive is known" if start == "known" else "five positives are known"
        savings_plot(plot, found, f"{loaded.class_.name}: {given}, {seeds} seeds")
    every = found["all"]
    answer(
        {"class": loaded.class_.name, "start": start, "batch": batch, "noise": noise, **found},
        as_json,
        table(
            f"{loaded.class_.name}: average precision (AP) of all {every['labels']} labels "
            f"{every['average_precision']:.3f}, precision at recall 0.9 (P) {every['precision_at_recall']:.2f}; "
            "labels to within 0.01 of that AP, and how many times as many random needs",
            ["strategy", "labels", "AP", "P", "to 0.01", "random's"],
            [_row(name, figures) for name, figures in found["strategies"].items()],
        ),
        *([f"the curves are in {plot}"] if plot else []),
    )


def _row(name: str, figures: dict[str, Any]) -> list[str]:
    last = figures["curve"][-1]
    return [
        name,
        str(last["labels"]),
        f"{last['average_precision']:.3f}",
        f"{last['precision_at_recall']:.2f}",
        _interval(figures["labels_to_full"], 0),
        _interval(figures["ratio_to_random"], 1),
    ]


def _interval(figure: dict[str, float | None] | None, digits: int) -> str:
    if figure is None:
        return "not reached"
    low, high = ("∞" if figure[end] is None else f"{figure[end]:.{digits}f}" for end in ("low", "high"))
    return f"{figure['value']:.{digits}f} ({low} to {high})"
