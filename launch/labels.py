"""`launch labels`: answers in and out of the label store, and what there is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from launch import label_studio
from launch.console import DEFAULT_STORE, JsonOption, LabelsOption, StoreOption, answer, bar, remark, table

app = typer.Typer(
    help="Labels that annotators gave: in and out of the label store, and what there is.", no_args_is_help=True
)

ClassOption = Annotated[str, typer.Option("--class", help="The class that is labelled, as in `weapon`.")]


class Kind(StrEnum):
    """What kind of file labels are in."""

    csv = "csv"
    parquet = "parquet"
    label_studio = "label-studio"


@app.command("import")
def import_labels(
    name: ClassOption,
    origin: Annotated[
        str,
        typer.Option("--from", help="csv, parquet or label-studio, with FILE; or labelled photos, as in folder:PATH."),
    ],
    file: Annotated[Path | None, typer.Argument(help="The file of labels.")] = None,
    annotator: Annotated[
        str, typer.Option("--annotator", help="Whose answers the labels of folder:PATH and the like are.")
    ] = "imported",
    config: Annotated[
        Path | None,
        typer.Option("--config", help="What is a yes in folder:PATH; configs/CLASS.toml where that exists."),
    ] = None,
    labels: LabelsOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Add labels, all or none. Those that are there already, by the same annotator and time, are passed over."""
    from prohibit_jax.active.transfer import import_file, import_source
    from prohibit_jax.config import load_config
    from prohibit_jax.data.label_store import open_label_store
    from prohibit_jax.types import InputError, check_name

    check_name(name)
    if origin in list(Kind):
        if file is None:
            raise InputError(f"--from {origin}: name the file after it")
        done = import_file(open_label_store(labels, store), origin, file, name)
    elif file is not None or ":" not in origin:
        raise InputError(f"--from {origin}: use {', '.join(Kind)} and a FILE, or a source such as folder:PATH alone")
    else:
        loaded = load_config(name, config, (), {"data.source": origin})
        with bar() as line:
            done = import_source(open_label_store(labels, store), loaded, store, annotator, progress=line, warn=remark)
    answer({"labels": done.labels, "new": done.new}, as_json, f"{done.labels} labels of {name}, {done.new} of them new")


@app.command("export")
def export_labels(
    name: ClassOption,
    kind: Annotated[Kind, typer.Option("--to", help="What kind of file.")],
    file: Annotated[Path, typer.Argument(help="The file to write, in place of any but a database.")],
    labels: LabelsOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Write every label of a class, oldest first."""
    from prohibit_jax.active.transfer import write_labels
    from prohibit_jax.data.label_store import open_label_store
    from prohibit_jax.types import InputError, check_name

    check_name(name)
    opened = open_label_store(labels, store, create=False)
    if name not in (there := opened.classes()):
        raise InputError(f"{opened.name}: no labels of class {name} (it has {', '.join(there) or 'none'})")
    count = write_labels(kind.value, file, opened.stream(name))
    answer({"file": str(file), "labels": count}, as_json, f"{file}: {count} labels of {name}")


@app.command("list")
def list_labels(
    name: Annotated[str, typer.Option("--class", help="Of this class only.")] = "",
    disputed: Annotated[
        bool, typer.Option("--disputed", help="The photos on which as many annotators say yes as no.")
    ] = False,
    labels: LabelsOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """What there is of each class, by the rule in its config (labels.adjudicators, labels.votes)."""
    from prohibit_jax.config import load_config
    from prohibit_jax.data.label_store import Rule, open_label_store
    from prohibit_jax.types import check_name

    opened = open_label_store(labels, store, create=False)
    settings = {one: load_config(one).labels for one in ([check_name(name)] if name else opened.classes())}
    rules = {one: Rule(asked.adjudicators, asked.votes) for one, asked in settings.items()}
    if disputed:
        photos = [one for listed, rule in rules.items() for one in opened.disputes(listed, rule)]
        found = [
            {"class": one.name, "path": one.path, "sha256": one.sha256, "yes": one.yes, "no": one.no} for one in photos
        ]
        rows = [[one.path, one.name, ", ".join(one.yes), ", ".join(one.no)] for one in photos]
        answer({"disputed": found}, as_json, table("disputed", ("path", "class", "yes", "no"), rows))
        return
    counts = {one: vars(opened.counts(one, rule)) for one, rule in rules.items()}
    columns = ("class", "labels", "annotators", "yes", "no", "unsure", "disputed")
    rows = [[one, *map(str, found.values())] for one, found in counts.items()]
    answer({"labels": opened.name, "classes": counts}, as_json, table(opened.name, columns, rows))


app.command("push")(label_studio.push)
app.command("pull")(label_studio.pull)
