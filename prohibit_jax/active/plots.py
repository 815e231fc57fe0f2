"""Quality against labels: a line a strategy, random beside them, the quality of all labels above."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from prohibit_jax.active.mixture import RANDOM
from prohibit_jax.active.savings import WITHIN
from prohibit_jax.evaluate.plots import FAINT, INK, STYLE, save

COLOURS = ("#2563a8", "#b3261e", "#2e7d4f", "#d98200", "#7b3fa0", "#00798c", "#a0522d", "#c2185b")


def savings_plot(path: epath.PathLike, summary: Mapping[str, Any], title: str) -> None:
    """Draws what `simulate.summarise` found; the band is the 95% interval of the mean over seeds."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 5.2), layout="constrained")
        draw_savings(figure.add_subplot(), summary, title)
        save(figure, path)


def draw_savings(axes: Axes, summary: Mapping[str, Any], title: str) -> None:
    """The same, on axes of the caller's."""
    every = summary["all"]
    others = [name for name in summary["strategies"] if name != RANDOM]
    colours = dict(zip(others, COLOURS * len(others), strict=False)) | {RANDOM: FAINT}
    for name, figures in summary["strategies"].items():
        curve = figures["curve"]
        labels = [point["labels"] for point in curve]
        low, high = ([point[end] for point in curve] for end in ("low", "high"))
        axes.fill_between(labels, low, high, color=colours[name], alpha=0.10, linewidth=0)
        ratio = figures["ratio_to_random"]
        says = f": {ratio['value']:.1f} times fewer" if ratio and name != RANDOM else ""
        axes.plot(labels, [point["average_precision"] for point in curve], color=colours[name], label=name + says)
    full = every["average_precision"]
    axes.axhline(full, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=f"all {every['labels']:,} labels")
    axes.axhspan(full - WITHIN, full, color=INK, alpha=0.07, linewidth=0)
    axes.set(ylabel="average precision", title=title)
    labels_axis(axes)
    lowest = min(point["average_precision"] for figures in summary["strategies"].values() for point in figures["curve"])
    axes.set_ylim(max(lowest - 0.02, 0), min(full + 0.04, 1.005))
    axes.legend(loc="lower right", fontsize=9)


def labels_axis(axes: Axes) -> None:
    """Labels asked for, on a logarithmic scale with plain numbers."""
    axes.set(xscale="log", xlabel="labels asked for")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
