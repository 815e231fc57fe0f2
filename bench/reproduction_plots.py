"""The plots of docs/reproduction.md."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.reproduction_page import (
    KINDS,
    MIXTURE,
    PUBLISHED_LARGE_MS,
    PUBLISHED_MS,
    Found,
    Results,
    complete,
    row_of_large,
    rows_of_heads,
)
from prohibit_jax.active.mixture import RANDOM
from prohibit_jax.evaluate.plots import BLOCK, CURVE, FAINT, FOUND, REVIEW, STYLE, save

COLOURS = (CURVE, REVIEW, FOUND)


def draw(results: Results, folder: Path) -> None:
    """Those of what was measured, as `reproduction_NAME.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = {"latency": ("cpu_heads", latency), "labels": ("labels", labels), "classes": ("classes", classes)}
    for title, (name, plot) in plots.items():
        with mpl.rc_context(STYLE):
            if name in results and (figure := plot(results[name])):
                save(figure, folder / f"reproduction_{title}.png")


def latency(found: Found) -> Figure:
    """Time as a multiple of the large network's, published and ours, against the number of heads."""
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    published = [ms / PUBLISHED_LARGE_MS for ms in PUBLISHED_MS.values()]
    axes.plot(list(PUBLISHED_MS), published, color=FAINT, marker="s", label="published, whole heads")
    large, ours = row_of_large(found)["p50_ms"], rows_of_heads(found)
    for trunk, colour in zip(dict.fromkeys(row["trunk"] for row in ours), COLOURS, strict=False):
        rows = [row for row in ours if row["trunk"] == trunk]
        label = f"here, trunk through {trunk}" if trunk else "here, whole heads"
        times = [row["p50_ms"] / large for row in rows]
        axes.plot([row["heads"] for row in rows], times, color=colour, marker="o", label=label)
    axes.axhline(1, color=FAINT, linestyle=(0, (4, 3)), linewidth=1.2, label="one Inception-ResNet-v2")
    axes.set(xlabel="heads", ylabel="times one Inception-ResNet-v2", title="Five photos of 300 px")
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.legend()
    return figure


def labels(found: Found) -> Figure:
    """Average precision against labelled negatives: random, the mixture, and the level of all of them."""
    protocols = {name: one["known"] for name, one in found["classes"].items()}
    figure = Figure(figsize=(4.2 * len(protocols), 4.2), layout="constrained")
    panels = figure.subplots(1, len(protocols), squeeze=False)[0]
    for axes, (name, known) in zip(panels, protocols.items(), strict=True):
        for strategy, label, colour in ((RANDOM, "random", REVIEW), (MIXTURE, "asked", CURVE)):
            points = known["strategies"][strategy]["curve"]
            x, y, low, high = (
                [point[key] for point in points] for key in ("labels", "average_precision", "low", "high")
            )
            axes.plot(x, y, color=colour, label=label)
            axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
        every = known["all"]
        axes.axhline(every["average_precision"], color=FAINT, linestyle=(0, (4, 3)), linewidth=1.4, label="all")
        axes.axvline(every["labels"] / 10, color=BLOCK, linestyle=(0, (1, 2)), linewidth=1.4, label="a tenth of all")
        axes.set(title=name, xlabel="labelled negatives", xscale="log")
    panels[0].set_ylabel("average precision")
    panels[0].legend(loc="lower right", fontsize=9)
    return figure


def classes(found: Found) -> Figure | None:
    """Each class's average precision by kind of head, the hardest first; None while there is only one kind."""
    seeds, names, kinds = complete(found)
    if len(kinds) < 2:
        return None
    values = {kind: {name: mean(one[name][kind] for one in seeds) for name in names} for kind in kinds}
    order = sorted(names, key=values[kinds[0]].__getitem__)
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for kind, colour, marker in zip(kinds, COLOURS, "osD", strict=False):
        own = values[kind]
        label = f"{KINDS[kind]}, mean {mean(own.values()):.3f}"
        axes.plot([own[name] for name in order], marker, color=colour, markersize=5, label=label)
    axes.set_xticks(range(len(order)), order, rotation=90, fontsize=7)
    axes.set(ylabel="average precision", title=f"{len(names)} classes")
    axes.legend(loc="lower right")
    return figure
