"""`launch label`: the page on which annotators answer a queue."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, LabelsOption, StoreOption, answer

GUIDE_LIMIT = 64 * 2**10  # bytes


def label(
    name: Annotated[str, typer.Option("--class", help="The class that is labelled, as in `weapon`.")],
    queue: Annotated[str, typer.Option("--queue", help="What to ask: the Parquet file of launch query.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 is any free one.")] = 8080,
    host: Annotated[
        str, typer.Option("--host", help="0.0.0.0 lets other machines in, with PROHIBIT_LABEL_KEY.")
    ] = "127.0.0.1",
    labels: LabelsOption = None,
    votes: Annotated[
        int | None,
        typer.Option("--votes", min=1, help="Annotators that each photo is asked of; labels.votes if not given."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="The source of photos that are no files: tfds:NAME, parquet:PATH, …")
    ] = None,
    guide: Annotated[
        Path | None, typer.Option("--guide", help="A text that annotators can read: what is a yes, what is not.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="A TOML file; configs/CLASS.toml where that exists.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Open a page for annotators: keys, swipes or a grid; several people at once; every answer is stored at once.

    Listens on this machine only, unless --host says otherwise: then annotators need the key in PROHIBIT_LABEL_KEY.
    """
    from prohibit_jax.types import InputError

    try:
        from serve.labelling.server import KEY, serve_labelling
        from serve.listening import address
    except ModuleNotFoundError as error:
        raise InputError(f"launch label: {error.name} is not installed; pip install 'prohibit-jax[serve]'") from None
    from prohibit_jax.config import load_config
    from prohibit_jax.data.label_store import Rule, open_label_store
    from prohibit_jax.data.sources import open_source
    from serve.labelling.photos import reader
    from serve.labelling.session import Session, open_queue

    asks = open_queue(queue, name)
    settings = load_config(name, config).labels
    rule = Rule(settings.adjudicators, votes or settings.votes)
    text = _text(guide) if guide else ""
    session = Session(name, asks, open_label_store(labels, store), rule, text)
    read = reader(open_source(data) if data else None, {ask.path for ask in asks})

    def listening(host: str, port: int) -> None:
        url = address(host, port)
        key = f", with #key=… of {KEY} behind it" if os.environ.get(KEY) else ""
        progress = session.desk.progress()
        answer(
            {"url": url, "pid": os.getpid()},
            as_json,
            f"labelling {name}, {progress.total} photos, {progress.open} to answer: open {url}{key}; Ctrl-C ends it",
        )

    serve_labelling(session, read, host, port, listening)
    summary = session.summary()
    answer(summary, as_json, ", ".join(f"{count} {what}" for what, count in summary.items()))


def _text(file: Path) -> str:
    from prohibit_jax.types import InputError

    try:
        data = file.read_bytes()
        if len(data) > GUIDE_LIMIT:
            raise InputError(f"--guide {file}: over {GUIDE_LIMIT} bytes; annotators read a page, not a book")
        return data.decode()
    except UnicodeDecodeError:
        raise InputError(f"--guide {file}: not UTF-8 text") from None
