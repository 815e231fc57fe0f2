"""Latency against the number of heads, as a PNG file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from etils import epath
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from prohibit_jax.bench.engines import OURS
from prohibit_jax.bench.race import Row
from prohibit_jax.evaluate.plots import FAINT, STYLE
from prohibit_jax.files import publish_file
from prohibit_jax.models.inception_resnet_v2 import INCEPTION_RESNET_V2

DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
WIDE = 50  # the largest number of heads over the smallest from which on axes are logarithmic


def latency_plot(path: epath.PathLike, rows: Sequence[Row], device: str) -> None:
    """p50 with p95 above it, a line for each engine and trunk; the one large network is a level to compare with."""
    good = [row for row in rows if "error" not in row]
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in good:
        if row["model"] != INCEPTION_RESNET_V2.name:
            lines.setdefault((row["engine"], row["trunk"]), []).append(row)
    engines = list(dict.fromkeys(engine for engine, _ in lines))
    trunks = list(dict.fromkeys(trunk for _, trunk in lines))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.8), layout="constrained")
        axes = figure.add_subplot()
        for (engine, trunk), points in lines.items():
            points.sort(key=lambda row: row["heads"])
            heads, p50, p95 = ([row[key] for row in points] for key in ("heads", "p50_ms", "p95_ms"))
            colour: Any = mpl.colormaps["tab20"](engines.index(engine) % 20)
            ours = engine == OURS.name
            axes.plot(
                heads, p50, color=colour, linestyle=DASHES[trunks.index(trunk) % len(DASHES)], marker="o",
                linewidth=3.0 if ours else 1.6, markersize=5, markeredgecolor="white", zorder=4 if ours else 3,
                label=engine + (f", trunk through {trunk}" if trunk else ""),
            )  # fmt: skip
            axes.fill_between(heads, p50, p95, color=colour, alpha=0.12, linewidth=0)
        for row in good:
            if row["model"] == INCEPTION_RESNET_V2.name and row["engine"] == OURS.name:
                axes.axhline(row["p50_ms"], color=FAINT, linestyle=(0, (4, 3)), label=f"one {row['model']}")
        counts = [row["heads"] for points in lines.values() for row in points]
        if counts and max(counts) > WIDE * min(counts):
            axes.set(xscale="log", yscale="log")
        else:
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(bottom=0)
        setting = f"{rows[0]['batch']} photos of {rows[0]['size']} px" if rows else ""
        axes.set(xlabel="heads", ylabel="milliseconds a call, p50 to p95", title=f"{setting} on {device}")
        if lines:
            figure.legend(loc="outside right upper", fontsize=9)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
    publish_file(epath.Path(path), buffer.getvalue())
