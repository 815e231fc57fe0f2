"""`launch merge`: several heads taught to one network."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer, bar, remark, table

if TYPE_CHECKING:
    from prohibit_jax.evaluate.metrics import Interval
    from prohibit_jax.heads.merge import Merged, MergedClass

FEW = 30  # positives, below which one photo more or less decides


def merge(
    classes: Annotated[
        str, typer.Option("--classes", help="As in weapon,cash@2,blade; a class alone means its latest version.")
    ],
    pool: Annotated[
        str, typer.Option("--pool", help="Photos that teach, labelled or not: folder:PATH, parquet:PATH, …")
    ],
    data: Annotated[
        str, typer.Option("--data", help="Labelled photos to judge all classes on; by default each class's own.")
    ] = "",
    weights: Annotated[
        str, typer.Option("--weights", help="What the network starts from, as lite0; by default what all heads did.")
    ] = "",
    size: Annotated[
        int, typer.Option("--size", min=0, help="Edge of its input in pixels; by default the heads' own.")
    ] = 0,
    photos: Annotated[int, typer.Option("--photos", min=1, help="Of the pool at most, evenly over it.")] = 20_000,
    max_loss: Annotated[
        float, typer.Option("--max-loss", min=0, max=1, help="Average precision that no class may lose more of.")
    ] = 0.01,
    partly: Annotated[
        bool, typer.Option("--partly", help="Publish the classes that hold, where others do not.")
    ] = False,
    bundle: Annotated[str, typer.Option("--bundle", help="Pin the merged versions in this bundle, as `prod`.")] = "",
    config: Annotated[Path | None, typer.Option("--config", help="A TOML file with a section train.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="As in train.epochs=0.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Merge heads that no longer change much into one network, taught by their scores on a pool of photos.

    Each class gets its next version, all on one trunk; the former stay. Where a class loses more average precision on
    its own test photos than --max-loss, nothing is published and the exit code is 1.
    """
    from prohibit_jax.config import load_settings
    from prohibit_jax.heads.merge import MergeConfig, merge_heads
    from prohibit_jax.release.merging import merge_into
    from prohibit_jax.types import HeadRef

    run = partial(merge_into, bundle) if bundle else merge_heads
    with bar() as line:
        merged = run(
            [HeadRef.parse(text.strip()) for text in classes.split(",")],
            pool,
            store,
            load_settings(MergeConfig, config, settings or ()),
            data=data,
            weights=weights,
            size=size,
            photos=photos,
            max_loss=max_loss,
            partly=partly,
            progress=line,
            warn=remark,
        )
    title = f"taught by {merged.photos} photos at {merged.size} pixels"
    columns = ["class", "positives", "old", "merged", "difference", "accepted", "published"]
    shown = table(title, columns, [_row(one) for one in merged.classes])
    answer(_result(merged), as_json, shown, *_lines(merged, bundle))
    if few := [one.old.name for one in merged.classes if one.positives < FEW]:
        remark(
            f"fewer than {FEW} positives on the test side, so the interval says more than the value: {', '.join(few)}"
        )
    if not merged.trunk:
        raise typer.Exit(1)


def _row(one: MergedClass) -> list[str]:
    quality = one.quality
    return [
        one.old.name,
        str(one.positives),
        f"{quality.old.value:.3f}",
        f"{quality.new.value:.3f}",
        _interval(quality.difference),
        "yes" if one.accepted else "no",
        str(one.new or "-"),
    ]


def _interval(of: Interval) -> str:
    return f"{of.value:+.3f}  ({of.low:+.3f} to {of.high:+.3f})"


def _lines(merged: Merged, bundle: str) -> list[str]:
    before, after = merged.before, merged.after
    cost = (
        f"networks and trunks {before.networks} -> {after.networks}, parameters {before.megabytes:.1f} -> "
        f"{after.megabytes:.1f} MB"
    )
    if not merged.trunk:
        lost = ", ".join(one.old.name for one in merged.classes if not one.accepted)
        held = sum(one.accepted for one in merged.classes)
        hint = "; --partly publishes the others" if held > 1 else ""
        return [f"nothing is published: {lost} would lose too much{hint} ({cost})"]
    new = [str(one.new) for one in merged.classes if one.new]
    old = [str(one.old) for one in merged.classes if one.new]
    serve = (
        f"bundle {bundle} serves them" if bundle else f"serve them: launch bundle --out NAME --heads {','.join(new)}"
    )
    return [cost, f"{serve}; the former are {', '.join(old)}"]


def _result(merged: Merged) -> dict[str, Any]:
    return {
        "published": bool(merged.trunk),
        "trunk": merged.trunk,
        "photos": merged.photos,
        "size": merged.size,
        "classes": [
            {
                "class": one.old.name,
                "old": str(one.old),
                "new": str(one.new) if one.new else None,
                "positives": one.positives,
                "negatives": one.negatives,
                "old_average_precision": asdict(one.quality.old),
                "new_average_precision": asdict(one.quality.new),
                "difference": asdict(one.quality.difference),
                "accepted": one.accepted,
            }
            for one in merged.classes
        ],
        "before": asdict(merged.before),
        "after": asdict(merged.after),
    }
