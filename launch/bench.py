"""`launch bench`: latency and size against the number of heads, beside what one might use instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from launch.console import JsonOption, answer, bar, remark, table


def bench(
    heads: Annotated[
        str, typer.Option("--heads", help="Numbers of heads, as in 1,20; those of the published table.")
    ] = "",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Photos in a call.")] = 5,
    size: Annotated[int, typer.Option("--size", min=32, help="Edge of the photos, pixels.")] = 300,
    trunk: Annotated[
        str, typer.Option("--trunk", help="Stages through which the heads share a trunk, as in none,s5; none.")
    ] = "",
    peers: Annotated[
        str, typer.Option("--peers", help="What to compare with: all, none, or names as in torch,jax.vmap.")
    ] = "none",
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="For all timed calls of an engine at one setting.")
    ] = 10.0,
    stages: Annotated[
        bool, typer.Option("--stages", help="Instead: each stage's bytes a second against the device's copy speed.")
    ] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="A PNG file: latency against heads.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="A JSON file that keeps the result.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Time the scorer and its peers in turn on this device: same weights, outputs compared first.

    Without --heads, the published table again: one InceptionResNetV2, and 12 to 40 heads (on a GPU, to 1000), whole and
    on trunks through s2 and s5.
    """
    from prohibit_jax.bench.engines import peers_of
    from prohibit_jax.bench.race import look
    from prohibit_jax.bench.report import counts_of, run_bench, trunks_of, works_of
    from prohibit_jax.bench.stages import run_stages
    from prohibit_jax.bench.work import Work

    counts, trunks, device = counts_of(heads), trunks_of(trunk), look()
    with bar() as line:
        if stages:
            work = Work((counts or (20,))[0], batch, size)
            result = run_stages(work, device, seconds=seconds, out=out, progress=line)
        else:
            works, engines = works_of(counts, trunks, batch, size, device), peers_of(peers, device.kind)
            result = run_bench(works, engines, device, seconds=seconds, out=out, progress=line, warn=remark)
    if plot and not stages:
        from prohibit_jax.bench.plots import latency_plot

        latency_plot(plot, result["rows"], device.name)
    if stages:
        answer(result, as_json, _stages_table(result))
    else:
        title = f"{batch} photos of {size} px on {device.name}; memory in MB"
        answer(result, as_json, _rows_table(title, result["rows"]), *_errors(result["rows"]))


FIGURES = {
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "photos_per_second": "photos/s",
    "weights_mb": "weights",
    "peak_mb": "peak",
    "ratio": "x ours",
}


def _rows_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = []
    for setting, group in groupby((row for row in rows if "error" not in row), key=_setting):
        engines = list(group)
        if len(engines) > 1:
            cells.append([setting, *[""] * len(FIGURES)])
        for row in engines:
            figures = [_figure(row.get(key)) for key in FIGURES]
            cells.append([f"  {row['engine']}" if len(engines) > 1 else setting, *figures])
    built = table(title, ["", *FIGURES.values()], cells)
    built.columns[0].no_wrap = True
    return built


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _errors(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{_setting(row)}, {row['engine']}: {row['error']}" for row in rows if "error" in row]


def _setting(row: Mapping[str, Any]) -> str:
    heads = f"{row['heads']} heads" if row["heads"] > 1 else f"one {row['model']}"
    return heads + (f" on trunk {row['trunk']}" if row["trunk"] else "")


def _stages_table(result: dict[str, Any]) -> Table:
    title = (
        f"{result['heads']} heads, {result['batch']} photos of {result['size']} px, {result['precision']}, on "
        f"{result['device']}, which copies {result['copy_gb_per_second']:.0f} GB/s"
    )
    keys = ("ms", "mb", "gb_per_second")
    rows = [[row["stage"], *(f"{row[key]:.4g}" for key in keys), f"{row['share']:.0%}"] for row in result["stages"]]
    return table(title, ["stage", "ms", "MB moved", "GB/s", "of the copy speed"], rows)
