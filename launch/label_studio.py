"""`launch labels push` and `launch labels pull`: annotators who work in Label Studio."""

from __future__ import annotations

from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, LabelsOption, StoreOption, answer, bar, remark

LONGEST = 1024
"""Pixels of the longer edge of a photo that is uploaded."""

ClassOption = Annotated[str, typer.Option("--class", help="The class that is labelled, as in `weapon`.")]
UrlOption = Annotated[
    str, typer.Option("--url", help="The server, as in http://127.0.0.1:8080; its token is in LABEL_STUDIO_API_KEY.")
]
ProjectOption = Annotated[
    str | None, typer.Option("--project", help="A project's number or title; `prohibit_jax CLASS` if not given.")
]


def push(
    name: ClassOption,
    queue: Annotated[str, typer.Option("--queue", help="What to ask: the Parquet file of launch query.")],
    url: UrlOption,
    project: ProjectOption = None,
    photos: Annotated[
        str | None,
        typer.Option(
            "--photos", help="Where browsers find the photos, to which the path is added, instead of uploads."
        ),
    ] = None,
    root: Annotated[
        str, typer.Option("--root", help="The folder that --photos stands for, left out of the paths.")
    ] = "",
    data: Annotated[
        str | None, typer.Option("--data", help="The source of photos that are no files: tfds:NAME, parquet:PATH, …")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask in Label Studio: a task for each photo of a queue, in its order, with the model's prediction.

    A photo that the project has already is passed over. Without --photos, photos are uploaded, scaled down.
    """
    from prohibit_jax.active.label_studio_client import push, served
    from prohibit_jax.active.queue import Ask, read_queue
    from prohibit_jax.data.sources import open_source
    from serve.labelling.photos import reader, screen

    asks = read_queue(queue)
    if photos:
        picture = served(photos, root)
    else:
        read = reader(open_source(data) if data else None, {ask.path for ask in asks})

        def picture(ask: Ask) -> bytes:
            return screen(read(ask.path), ask.sha256, LONGEST)

    with bar() as line:
        pushed = push(url, name, asks, picture, project, line)
    answer(
        {
            "project": pushed.project,
            "title": pushed.title,
            "tasks": pushed.tasks,
            "known": pushed.known,
            "missing": len(pushed.missing),
        },
        as_json,
        f"{pushed.tasks} tasks in project {pushed.project} ({pushed.title}), which had {pushed.known} of the photos",
    )
    if pushed.missing:
        remark(f"{len(pushed.missing)} photos cannot be shown; the first: {pushed.missing[0]}")


def pull(
    name: ClassOption,
    url: UrlOption,
    project: ProjectOption = None,
    labels: LabelsOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Fetch what annotators answered in Label Studio into the label store; what is there already stays."""
    from prohibit_jax.active.label_studio_client import pull
    from prohibit_jax.data.label_store import open_label_store

    answers = pull(url, name, project)
    new = open_label_store(labels, store).append(answers)
    answer(
        {"answers": len(answers), "new": new},
        as_json,
        f"{len(answers)} answers in Label Studio, {new} of them new here",
    )
