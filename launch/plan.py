"""`launch plan`: what the bundle and one more class cost on this device, and what to do with the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, bar, table

if TYPE_CHECKING:
    from prohibit_jax.plan.record import Prediction, Record


def plan(
    bundle: Annotated[str, typer.Option("--bundle", help="The bundle to plan for, as in `prod`.")],
    budget_ms: Annotated[float, typer.Option("--budget-ms", min=0.1, help="What a call may take.")] = 200.0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Photos in a call.")] = 5,
    precision: Annotated[
        Literal["float32", "bfloat16"], typer.Option("--precision", help="As service.precision has it.")
    ] = "float32",
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="For all timed calls together.")] = 60.0,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Measure this device and say what one more class costs: its own network, on a trunk, or merged with others.

    The figures are kept as plans/NAME.json, and launch bundle refuses from then on what breaks the budget.
    """
    from prohibit_jax.bundle.store import Store
    from prohibit_jax.plan.make import make_plan

    with bar() as line:
        made = make_plan(Store(store), bundle, budget_ms, batch, precision=precision, seconds=seconds, progress=line)
    answer(
        made.to_json(),
        as_json,
        _table(f"bundle {bundle}: {batch} photos in {budget_ms:g} ms on {made.device}", made),
        f"measured: {made.measured_ms:.1f} ms, {made.measured_mb:.0f} MB; {_rightness(made)}",
        f"recommended: {made.recommendation}",
    )


def _table(title: str, made: Record) -> Table:
    more = ["no end" if prediction.more is None else str(prediction.more) for prediction in made.predictions]
    rows = [[*_figures(made.predictions[row]), text] for row, text in enumerate(more)]
    columns = ["one class more as", "ms", "memory MB", "weights MB", "so many fit"]
    built = table(title, columns, [[*_figures(made.now), ""], *rows])
    built.columns[0].no_wrap = True
    return built


def _figures(prediction: Prediction) -> list[str]:
    return [prediction.label, f"{prediction.ms:.1f}", f"{prediction.mb:.0f}", f"{prediction.weights_mb:.1f}"]


def _rightness(made: Record) -> str:
    """How far predictions were off, this plan's and the one's before."""
    past = made.history[-1]
    said = f"predicted {_beside(past.predicted_ms, past.measured_ms)}"
    if past.foretold_ms is None:
        return f"{said}; no plan before this one to compare with"
    return f"{said}; the plan of {made.history[-2].date[:10]} says {_beside(past.foretold_ms, past.measured_ms)}"


def _beside(predicted: float, measured: float) -> str:
    return f"{predicted:.1f} ms, {predicted / measured - 1:+.0%}"
