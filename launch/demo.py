"""`launch demo`: the whole story on generated photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launch.console import JsonOption, answer, bar, remark, table


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the demo's store, scores and report.")] = Path("demo"),
    photos: Annotated[int, typer.Option("--photos", min=300, help="Generated photos to train and test on.")] = 1500,
    as_json: JsonOption = False,
) -> None:
    """Train three classes on generated photos, bundle them, score unseen photos, train one again; then a report."""
    from prohibit_jax.heads.demo import tell_story
    from prohibit_jax.heads.page import write_page

    with bar() as line:
        story = tell_story(out, photos, progress=line, warn=remark)
    report = write_page(story)
    heads = [*story.heads.values(), story.again]
    areas = {str(made.ref): made.card.metrics["average_precision"] for made in heads}
    answer(
        {"report": str(report), "average_precision": areas, "unchanged": story.unchanged, "seconds": story.seconds},
        as_json,
        table(
            "average precision on each class's own test photos",
            ["head", "value", "95% interval"],
            [[ref, f"{area['value']:.3f}", f"{area['low']:.3f} to {area['high']:.3f}"] for ref, area in areas.items()],
        ),
        table(
            f"{story.again.ref} replaced the first version",
            ["class", "file and scores identical to the bit"],
            [[name, "yes" if same else "NO"] for name, same in story.unchanged.items()],
        ),
        f"look at {report}",
    )
