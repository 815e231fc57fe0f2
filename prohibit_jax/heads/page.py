"""The demo's story as one HTML page beside its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from os.path import relpath

from etils import epath

from prohibit_jax.files import publish_file
from prohibit_jax.heads.demo import REPORT, Story
from prohibit_jax.heads.make import Made

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1f2937 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .3rem .8rem; border-bottom: 1px solid #e5e7eb }
th { text-align: left } td:not(:first-child) { text-align: right; font-variant-numeric: tabular-nums }
img { max-width: 100% } figure { margin: 1rem 0 } figcaption { color: #6b7280 } .pair { display: flex; gap: 1rem }
.pair figure { flex: 1 }
"""

INTRODUCTION = """
Generated listing photographs. Each class was trained by itself, then all were bundled and scored {photos} photos that
none of them had seen.
"""


def write_page(story: Story) -> epath.Path:
    """Writes the report into the story's folder and returns its path."""
    path = story.folder / REPORT
    publish_file(path, _page(story).encode())
    return path


def _page(story: Story) -> str:
    heads = [*story.heads.values(), story.again]
    parts = [
        "<h1>One small network per category, all in one call</h1>",
        f"<p>{INTRODUCTION.format(photos=story.summary.photos)}</p>",
        _figure(story, story.folder / "finds.png", "What each class scores highest among the unseen photos."),
        "<h2>Quality on each class's own test photos</h2>",
        _table(
            ["head", "average precision", "95% interval", "recall at precision 0.95", "test photos", "positives"],
            [_quality(made) for made in heads],
        ),
        "<h2>What happens to the unseen photos</h2>",
        _table(
            ["class", "pass", "review", "block"],
            [[name, *map(str, bands.values())] for name, bands in story.summary.bands.items()],
        ),
        f"<h2>{escape(story.again.ref.name)} was trained again; nothing else moved</h2>",
        _table(
            ["class", "file and scores identical to the last bit"],
            [[name, "yes" if same else "NO"] for name, same in story.unchanged.items()],
        ),
        *(_head(story, made) for made in heads),
        "<h2>Time</h2>",
        _table(["step", "seconds"], [[step, f"{seconds:.1f}"] for step, seconds in story.seconds.items()]),
    ]
    return f"<!doctype html><meta charset=utf-8><title>prohibit_jax</title><style>{STYLE}</style>{''.join(parts)}"


def _quality(made: Made) -> list[str]:
    metrics = made.card.metrics
    area, recall = metrics["average_precision"], metrics["recall_at_precision"]
    photos = metrics["positives"] + metrics["negatives"]
    interval = f"{area['low']:.3f} to {area['high']:.3f}"
    return [
        str(made.ref),
        f"{area['value']:.3f}",
        interval,
        f"{recall['value']:.2f}",
        str(photos),
        str(metrics["positives"]),
    ]


def _head(story: Story, made: Made) -> str:
    curve = _figure(story, made.run / "precision_recall.png", "Precision and recall, with the two thresholds.")
    history = _figure(story, made.run / "history.png", "Training.")
    mistakes = _figure(story, made.run / "mistakes.png", "The worst mistakes on the test photos.")
    return f"<h2>{escape(str(made.ref))}</h2><div class=pair>{curve}{history}</div>{mistakes}"


def _figure(story: Story, picture: epath.Path, caption: str) -> str:
    source = escape(relpath(picture, story.folder))
    return f"<figure><img src='{source}'><figcaption>{escape(caption)}</figcaption></figure>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
