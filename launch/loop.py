"""`launch loop`: rounds of a class: the next one, and where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from launch.console import DEFAULT_STORE, JsonOption, LabelsOption, StoreOption, answer, bar, remark, table

if TYPE_CHECKING:
    from prohibit_jax.active.standing import Standing, Yield
    from prohibit_jax.evaluate.metrics import Interval

app = typer.Typer(help="Rounds of asking, labelling and retraining.", no_args_is_help=True, rich_markup_mode=None)

ClassOption = Annotated[str, typer.Option("--class", help="The class that is improved.")]
StopOption = Annotated[
    str | None,
    typer.Option("--stop", help="When to stop, as in plateau+few,labels=2000: , is or, + is and; the last round's."),
]


@app.command("next")
def next_round(
    class_name: ClassOption,
    pool: Annotated[
        str | None, typer.Option("--pool", help="Scores with embeddings, by launch score; the last round's.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Photos to ask about; the last round's.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="One, or a mixture; the last round's, positives=0.45,uncertainty=…")
    ] = None,
    labels: LabelsOption = None,
    examples: Annotated[
        str | None, typer.Option("--examples", help="Photos of the thing, for a first day: folder:PATH, …")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="A TOML file; configs/CLASS.toml where that exists.")
    ] = None,
    stop: StopOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Ask again what earlier rounds asked and nobody answered.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Make the next round: a head from all labels, and the photos to ask about next."""
    from dataclasses import asdict

    from prohibit_jax.active import loop

    with bar() as line:
        made = loop.next_round(
            class_name,
            store,
            pool=pool,
            budget=budget,
            strategy=strategy,
            labels=labels,
            examples=examples,
            config=None if config is None else str(config),
            stop=stop,
            again=again,
            progress=line,
            warn=remark,
        )
    number, expected, asked = made.round.number, made.round.expected, made.round.asked
    answer(
        {
            "class": class_name,
            "round": number,
            "queue": str(made.queue),
            "head": made.round.head,
            "labels": made.round.labels,
            "asks": asked,
            "strategies": made.strategies,
            "expected_positives": expected and asdict(expected),
            "expected_gain": made.gain and asdict(made.gain),
            "metrics": made.head and made.head.card.metrics,
            "seconds": made.seconds,
        },
        as_json,
        f"round {number} of {class_name}: {made.round.head or 'no head yet'}, from {made.round.labels} labels; "
        f"{asked or 'no'} photos to ask about",
        table("chosen by", ["strategy", "photos"], [[name, str(count)] for name, count in made.strategies.items()]),
        f"photos of the class expected among them: {_shown(expected, '.0f', 'nothing can be said yet')}",
        f"expected change of average precision: {_shown(made.gain, '+.3f', 'not enough rounds')}",
        f"ask them with launch label --class {class_name} --queue {made.queue}"
        if asked
        else "nothing left to ask: each photo of the pool is answered or waits for an answer",
    )
    if 0 < asked < made.round.settings.budget:
        remark(f"{made.round.settings.budget - asked} fewer than asked for: the strategies found no more")


@app.command("status")
def status(
    class_name: ClassOption,
    labels: LabelsOption = None,
    stop: StopOption = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="A PNG file: found photos, and quality.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show where a class stands: rounds, quality, what is left to find, and whether to go on."""
    from prohibit_jax.active import standing
    from prohibit_jax.types import InputError

    if plot and plot.is_dir():
        raise InputError(f"--plot {plot}: a folder; name the PNG file to write")
    with bar() as line:
        found = standing.look(class_name, store, labels=labels, stop=stop, progress=line, warn=remark)
    if plot:
        standing.standing_plot(plot, found)
    random = found.strategies.get("random")
    answer(
        standing.as_json(found) | ({"plot": str(plot)} if plot else {}),
        as_json,
        _rounds_table(found),
        table(
            "found by strategy",
            ["strategy", "asked", "answered", "of the class", "per 100", "x random"],
            [[name, *_cells(one, random)] for name, one in found.strategies.items()],
        ),
        f"in the pool: {found.found} photos of the class found, {found.unanswered:,} photos without an answer",
        table(
            "of the class still among them",
            ["", "photos"],
            [
                ["by the random draws", _shown(found.drawn, ",.0f", "none drawn yet")],
                ["by the scores, a model's number", _shown(found.scored, ",.0f", "nothing can be said yet")],
            ],
        ),
        f"expected change of average precision in the next round: {_shown(found.gain, '+.3f', 'not enough rounds')}",
        *(f"{'stop' if one.stop else 'go on'}, {one.rule}: {one.reason}" for one in found.verdicts),
        found.advice,
    )


def _rounds_table(found: Standing) -> Table:
    rows = [
        [
            str(point.round.number),
            str(point.round.labels),
            f"{point.round.answers.get('yes', 0)}/{point.round.answers.get('no', 0)}",
            (point.round.head or "-").rpartition("@")[2],
            _shown(point.quality, ".3f", "-"),
            f"{point.chosen.answered + point.random.answered}/{point.round.asked}",
            _number(point.chosen.per_hundred),
            _number(point.random.per_hundred),
        ]
        for point in found.points
    ]
    sample = f"{found.sample[0]} photos of the class and {found.sample[1]} others held out"
    title = f"{found.name}: average precision on {sample}; of the class in 100 answered photos"
    columns = ["round", "labels", "yes/no", "head", "average precision", "answered", "chosen", "random"]
    return table(title, columns, rows)


def _cells(one: Yield, random: Yield | None) -> list[str]:
    base = random.per_hundred if random else None
    times = one.per_hundred / base if one.per_hundred is not None and base else None
    return [str(one.asked), str(one.answered), str(one.positives), _number(one.per_hundred), _number(times)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _shown(found: Interval | None, form: str, nothing: str) -> str:
    return nothing if found is None else f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})"
