"""`launch compare`: two versions of a head, or two bundles, on the same photos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, bar, remark, table

if TYPE_CHECKING:
    from prohibit_jax.release.result import ClassComparison, Comparison

LISTED = 5  # changed photos of a class named on the terminal


def compare(
    old: Annotated[str, typer.Argument(help="A head with its version, as in weapon@3, or a bundle, as in prod.")],
    new: Annotated[str, typer.Argument(help="The same, to compare with it.")],
    data: Annotated[str, typer.Option("--data", help="Labelled photos: folder:PATH, manifest:FILE, labels:, …")],
    side: Annotated[str, typer.Option("--side", help="test: photos unseen in both trainings; all photos.")] = "test",
    out: Annotated[Path | None, typer.Option("--out", help="Folder for comparison.json and sheets of photos.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Photos a call that latency is measured with.")] = 5,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Compare two heads or bundles: quality with paired intervals, photos that change sides, reviews, time, size."""
    from etils import epath

    from prohibit_jax.files import publish_file
    from prohibit_jax.release import compare as library

    with bar() as line:
        found = library.compare(old, new, data, store, side=side, batch=batch, sheets=out, progress=line, warn=remark)
    result = {"data": data, "side": side, **found.to_dict()}
    if out is not None:
        folder = epath.Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        publish_file(folder / "comparison.json", json.dumps(result, indent=1, allow_nan=False).encode())
    answer(result, as_json, _table(found), *_notes(found, out))


def _table(found: Comparison) -> Table:
    columns = ("class", "old", "new", "difference", "verdict", "reviews a day", "changed")
    rows = [
        (
            f"{one.name}\n{one.positives} of {one.positives + one.negatives}",
            f"{one.old_ap.value:.3f}",
            f"{one.new_ap.value:.3f}",
            f"{one.difference.value:+.3f}\n[{one.difference.low:+.3f}, {one.difference.high:+.3f}]",
            one.verdict,
            f"{_count(one.reviews_per_day_old)} → {_count(one.reviews_per_day_new)}",
            str(len(one.changed)),
        )
        for one in found.classes
    ]
    return table(f"{found.old.name} → {found.new.name}, average precision on {found.photos} photos", columns, rows)


def _notes(found: Comparison, out: Path | None) -> list[str]:
    old, new = found.old, found.new
    notes = [line for one in found.classes for line in _changed(one)]
    if any(one.matched for one in found.classes):
        notes.append(
            "bands: a network of several classes has none; it is taken to flag as many photos as the other side"
        )
    if any(None in (one.reviews_per_day_old, one.reviews_per_day_new) for one in found.classes):
        notes.append("reviews ?: no photo here lies above that review threshold; the class is not in the sum")
    for side, names in ((old, found.only_old), (new, found.only_new)):
        if names:
            notes.append(f"only in {side.name}, not compared: {', '.join(names)}")
    before, after = found.reviews_per_day
    notes += [
        f"reviews a day in all: {_count(before)} → {_count(after)}",
        f"latency of {found.batch} photos: {old.latency_ms:.1f} → {new.latency_ms:.1f} ms",
        f"size: {old.size_mb:.1f} → {new.size_mb:.1f} MB",
    ]
    return [*notes, f"written to {out}"] if out else notes


def _changed(one: ClassComparison) -> list[str]:
    """The first photos that changed sides, and how many more there are."""
    lines = [
        f"{one.name}: {photo.old_band} → {photo.new_band}, {photo.old:.3f} → {photo.new:.3f}, "
        f"{'positive' if photo.label else 'negative'}: {photo.path}"
        for photo in one.changed[:LISTED]
    ]
    more = len(one.changed) - LISTED
    return [*lines, f"{one.name}: and {more} more"] if more > 0 else lines


def _count(reviews: float | None) -> str:
    return "?" if reviews is None else f"{reviews:,.0f}" if reviews >= 10 else f"{reviews:.2g}"
