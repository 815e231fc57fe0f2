"""Plots: each is a PNG with something on it, published whole, and none touches pyplot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prohibit_jax.evaluate import plots
from prohibit_jax.evaluate.calibration import fit
from prohibit_jax.evaluate.report import evaluate
from prohibit_jax.evaluate.thresholds import NEVER, Settings, choose
from prohibit_jax.types import Calibration, Thresholds


def judged() -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    labels = np.repeat(np.array([1, 0], np.int8), [40, 600])
    logits = np.random.default_rng(0).normal(size=640) + 3.0 * labels
    calibration, settings = fit(labels, logits), Settings(bootstrap=20)
    p = calibration(logits)
    thresholds = choose(settings, labels, p)
    return (
        labels,
        p,
        evaluate(labels, logits, calibration=calibration, settings=settings, thresholds=thresholds, seed=0),
    )


def seen(path: Path) -> np.ndarray:
    """The picture, which must be alone in its folder."""
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def shows(picture: np.ndarray, colour: str) -> bool:
    return bool((picture == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(-1).any())


@pytest.mark.parametrize("draw", [plots.precision_recall_plot, plots.reliability_plot])
def test_curves(tmp_path: Path, draw: Any) -> None:
    draw(tmp_path / "plot.png", *judged(), "weapon")
    picture = seen(tmp_path / "plot.png")
    assert min(picture.shape[:2]) > 500
    assert shows(picture, plots.CURVE)
    if draw is plots.precision_recall_plot:
        assert shows(picture, plots.REVIEW)
        assert shows(picture, plots.BLOCK)


@pytest.mark.parametrize("draw", [plots.precision_recall_plot, plots.reliability_plot])
@pytest.mark.parametrize("scores", [[9.0, -9.0], [0.0, 0.0], [-9.0, 9.0]])
def test_curves_of_two_photos(tmp_path: Path, draw: Any, scores: list[float]) -> None:
    labels, logits = np.array([1, 0], np.int8), np.array(scores, np.float32)
    calibration, settings = fit(labels, logits), Settings(bootstrap=5)
    report = evaluate(
        labels, logits, calibration=calibration, settings=settings, thresholds=Thresholds(0.999, 1.0), seed=0
    )
    draw(tmp_path / "plot.png", labels, calibration(logits), report, "two photos")
    assert shows(seen(tmp_path / "plot.png"), plots.CURVE)


def test_a_band_that_nothing_reaches_is_drawn_at_recall_0(tmp_path: Path) -> None:
    labels, logits = np.array([1, 0], np.int8), np.array([99.0, -99.0], np.float32)
    calibration, settings = Calibration(), Settings(bootstrap=5)
    report = evaluate(
        labels, logits, calibration=calibration, settings=settings, thresholds=Thresholds(1.0, NEVER), seed=0
    )
    assert report["bands"]["block"]["recall"]["value"] == 0
    plots.precision_recall_plot(tmp_path / "plot.png", labels, calibration(logits), report, "never")
    assert shows(seen(tmp_path / "plot.png"), plots.BLOCK)


@pytest.mark.parametrize(
    "rows",
    [
        [{"epoch": i + 1, "loss": 1 / (i + 1), "average_precision": i / 10} for i in range(10)],
        [{"step": i, "loss": 1.0} for i in range(100)],
        [{"step": 1, "loss": 1.0}, {"step": 2, "loss": None, "average_precision": float("nan")}],
        [],
    ],
)
def test_history(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    plots.history_plot(tmp_path / "history.png", rows)
    assert shows(seen(tmp_path / "history.png"), plots.BLOCK) == (len(rows) == 10)


def test_sheet_shows_each_photo_in_its_frame(tmp_path: Path) -> None:
    wide, tall = np.full((50, 400, 3), (0, 0, 255), np.uint8), np.full((400, 30, 3), (0, 255, 0), np.uint8)
    tiles: list[Any] = [
        (wide, "0.9712\nθήκη_" + "long" * 30 + ".jpg", "false alarm"),
        (tall, "0.0123\nb.jpg", "missed"),
        (tall, "0.0123", "missed"),
    ]
    plots.sheet(tmp_path / "sheet.png", tiles, columns=2)
    picture = seen(tmp_path / "sheet.png")
    for colour in ("#0000ff", "#00ff00", plots.REVIEW, plots.BLOCK):
        assert shows(picture, colour)
    assert picture.shape[1] == 2 * plots.MARGIN + 2 * plots.THUMBNAIL + plots.GAP
    plots.sheet(tmp_path / "sheet.png", [], columns=2)
    assert shows(seen(tmp_path / "sheet.png"), plots.INK)


def test_worst_are_the_surest_mistakes_first() -> None:
    labels = np.array([1, 0, 1, 0, 0, 1])
    false_alarms, missed = plots.worst(labels, np.array([0.9, 0.8, 0.1, 0.2, 0.95, 0.3]), count=2)
    assert false_alarms.tolist() == [4, 1]
    assert missed.tolist() == [2, 5]


def test_a_failed_write_leaves_the_former_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plots.history_plot(tmp_path / "history.png", [])
    before = seen(tmp_path / "history.png")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        plots.history_plot(tmp_path / "history.png", [{"epoch": 1, "loss": 1.0}])
    assert (seen(tmp_path / "history.png") == before).all()


def test_no_global_figure_state() -> None:
    assert "matplotlib.pyplot" not in sys.modules
