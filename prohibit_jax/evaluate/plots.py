"""What there is to look at after a training run: three plots and a sheet of the worst mistakes, as PNG files.

Figures are drawn on their own Agg canvas, without pyplot: no global state, no display, safe in any thread.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from prohibit_jax.evaluate.calibration import reliability
from prohibit_jax.evaluate.metrics import Floats, Labels, counts, resample
from prohibit_jax.evaluate.thresholds import wilson
from prohibit_jax.files import publish_file

Kind = Literal["found", "false alarm", "missed"]

CURVE = "#2563a8"
FOUND = "#2e7d4f"
REVIEW = "#d98200"
BLOCK = "#b3261e"
INK = "#22272e"
FAINT = "#8b949e"

KIND_COLOURS: Mapping[str, str] = {"found": FOUND, "false alarm": REVIEW, "missed": BLOCK}

STYLE: Any = {
    "font.size": 11.0,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": "#e4e7eb",
    "axes.axisbelow": True,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.9,
    "lines.linewidth": 2.0,
}

THUMBNAIL = 176
GAP = 14
MARGIN = 20


def precision_recall_plot(
    path: epath.PathLike, labels: Labels, probabilities: Floats, report: Mapping[str, Any], title: str
) -> None:
    """Precision against recall with its 95% band and the two thresholds of `report` (`report.evaluate`)."""
    at = counts(labels, probabilities)
    grid = np.linspace(0.01, 1.0, 100)
    low, high = np.quantile(resample(_precision_on(grid), labels, probabilities, seed=0, n=300), (0.025, 0.975), axis=0)
    area = report["average_precision"]

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 5.4), layout="constrained")
        axes = figure.add_subplot()
        axes.fill_between(grid, low, high, color=CURVE, alpha=0.16, linewidth=0, label="95% interval")
        name = f"average precision {area['value']:.3f} [{area['low']:.3f}, {area['high']:.3f}]"
        last = int(at.recall.argmax()) + 1  # beyond full recall, precision only falls
        recall, precision = np.append(0.0, at.recall[:last]), np.append(at.precision[:1], at.precision[:last])
        axes.plot(recall, precision, color=CURVE, label=name, solid_joinstyle="round")
        axes.axhline(report["prevalence"], color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)), label="chance")
        for band, colour, marker in (("review", REVIEW, "o"), ("block", BLOCK, "s")):
            point = report["bands"][band]
            flagged = np.flatnonzero(at.thresholds >= point["threshold"])
            x, y = (at.recall[flagged[-1]], at.precision[flagged[-1]]) if len(flagged) else (0.0, 1.0)
            axes.plot(
                x, y, marker, color=colour, markersize=10, markeredgecolor="white", markeredgewidth=1.5, clip_on=False,
                zorder=5, linestyle="none", label=f"{band} {_from(point['threshold'])}: recall {x:.0%}",
            )  # fmt: skip
        axes.set(xlabel="recall", ylabel="precision on these photos", title=title, xlim=(0, 1.005), ylim=(0, 1.02))
        _percent(axes)
        axes.legend(loc="lower left")
        photos = f"{report['positives']:,} photos of the class, {report['negatives']:,} others"
        online = f"online, {report['online']['prevalence'] * 1e6:g} in a million are of the class"
        figure.supxlabel(f"{photos}; {online}", fontsize=9, color=FAINT)
        save(figure, path)


def reliability_plot(
    path: epath.PathLike, labels: Labels, probabilities: Floats, report: Mapping[str, Any], title: str
) -> None:
    """How often photos of a probability are of the class, with Wilson intervals, over how many photos there are."""
    mean, rate, photos = reliability(labels, probabilities, np.linspace(0.1, 0.9, 9))
    bounds = wilson(rate * photos, photos)

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 6.4), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)), label="perfect")
        name = f"photos by tenths; calibration error {report['calibration_error']:.3f}"
        reach = (np.maximum(rate - bounds.low, 0), np.maximum(bounds.high - rate, 0))
        axes.errorbar(
            mean, rate, reach, color=CURVE, marker="o", markersize=7, markeredgecolor="white", capsize=3,
            elinewidth=1.4, linestyle="none", label=name, clip_on=False, zorder=4,
        )  # fmt: skip
        axes.set(ylabel="part that is of the class", title=title, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        axes.legend(loc="lower right")
        _percent(axes)
        bins = np.linspace(0, 1, 31)
        for label, colour, name in ((0, FAINT, "others"), (1, CURVE, "of the class")):
            p = probabilities[labels == label]
            below.hist(p, bins.tolist(), color=colour, alpha=0.75, label=name, log=True, rwidth=0.92)
        below.set(xlabel="probability", ylabel="photos")
        below.legend(loc="upper center", ncols=2)
        save(figure, path)


def history_plot(path: epath.PathLike, rows: Sequence[Mapping[str, Any]], title: str = "Training") -> None:
    """Loss and validation average precision over training; rows hold `step` or `epoch` and any of the two."""
    key = "step" if rows and "step" in rows[0] else "epoch"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 6.0), layout="constrained")
        panels = figure.subplots(2, 1, sharex=True)
        for axes, name, colour in zip(panels, ("loss", "average_precision"), (FAINT, CURVE), strict=True):
            points = np.array([(row[key], row.get(name)) for row in rows], np.float64).reshape(-1, 2)
            x, y = points[np.isfinite(points[:, 1])].T
            axes.plot(x, y, color=colour, marker="o" if len(x) <= 60 else None, markersize=5, markeredgecolor="white")
            axes.set(ylabel=name.replace("_", " "))
        loss, precision = panels
        loss.set(title=title)
        loss.set_ylim(bottom=0)
        if len(x):
            best = int(y.argmax())
            precision.plot(x[best], y[best], "*", color=BLOCK, markersize=15, markeredgecolor="white", zorder=5)
            name = f"best {y[best]:.3f} at {key} {x[best]:g}"
            precision.text(0.99, 0.05, name, color=BLOCK, ha="right", transform=precision.transAxes)
        precision.set(xlabel=key)
        precision.xaxis.set_major_locator(MaxNLocator(integer=True))
        save(figure, path)


def worst(labels: Labels, probabilities: Floats, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the `count` highest photos of the rest and of the `count` lowest of the class, worst first."""
    order = np.argsort(-probabilities, kind="stable")
    false_alarms, found = order[labels[order] == 0], order[labels[order] == 1]
    return false_alarms[:count], found[::-1][:count]


def sheet(path: epath.PathLike, tiles: Sequence[tuple[NDArray[np.uint8], str, Kind]], columns: int = 6) -> None:
    """A contact sheet: each photo [h, w, 3], of any size, framed in its kind's colour above its caption's lines."""
    font, bold = _font("DejaVuSans.ttf", 13), _font("DejaVuSans-Bold.ttf", 13)
    lines = max((caption.count("\n") + 1 for _, caption, _ in tiles), default=1) + 1
    cell = (THUMBNAIL + GAP, THUMBNAIL + 8 + 18 * lines + GAP)
    columns = max(1, min(columns, len(tiles)))
    size = (2 * MARGIN - GAP + columns * cell[0], 2 * MARGIN - GAP + max(1, -(-len(tiles) // columns)) * cell[1])
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    if not tiles:
        draw.text((MARGIN, MARGIN), "no mistakes", INK, bold)
    for i, (photo, caption, kind) in enumerate(tiles):
        x, y = MARGIN + i % columns * cell[0], MARGIN + i // columns * cell[1]
        thumbnail = ImageOps.contain(Image.fromarray(photo), (THUMBNAIL - 8, THUMBNAIL - 8), Image.Resampling.LANCZOS)
        draw.rounded_rectangle((x, y, x + THUMBNAIL - 1, y + THUMBNAIL - 1), 6, "#f3f4f6", KIND_COLOURS[kind], 3)
        page.paste(thumbnail, (x + (THUMBNAIL - thumbnail.width) // 2, y + (THUMBNAIL - thumbnail.height) // 2))
        draw.text((x + 2, y + THUMBNAIL + 6), kind, KIND_COLOURS[kind], bold)
        for j, line in enumerate(caption.split("\n")):
            draw.text((x + 2, y + THUMBNAIL + 24 + 18 * j), _fitted(line, font), INK, font)
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    publish_file(epath.Path(path), buffer.getvalue())


def _precision_on(grid: NDArray[np.float64]) -> Any:
    """The metric "precision at the first threshold that reaches each recall of `grid`": [..., recalls]."""

    def metric(labels: Labels, scores: Floats, weights: Any = None) -> Any:
        at = counts(labels, scores, weights)
        recall, precision = np.atleast_2d(at.recall), np.atleast_2d(at.precision)
        return np.stack([p[np.searchsorted(r, grid - 1e-9)] for r, p in zip(recall, precision, strict=True)])

    return metric


def _from(p: float) -> str:
    """Where a band begins: few digits, but as many nines as there are."""
    if p > 1:
        return "never"
    return f"at {p:.3g}" if p < 0.99 else f"at {p:.{min(2 + int(-np.log10(max(1 - p, 1e-8))), 8)}f}"


def _percent(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own fonts, which know more alphabets than Pillow's."""
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), size)


def _fitted(line: str, font: ImageFont.FreeTypeFont) -> str:
    """The line, its middle left out as far as needed: the ends tell files apart."""
    kept = len(line)
    short = line
    while font.getlength(short) > THUMBNAIL - 4 and kept > 2:
        kept -= 1
        short = line[: (kept + 1) // 2] + "…" + line[len(line) - kept // 2 :]
    return short


def save(figure: Figure, path: epath.PathLike) -> None:
    """Publishes a figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    publish_file(epath.Path(path), buffer.getvalue())
