"""What the subcommands share: their common options, progress bars, tables, and `--json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from prohibit_jax.types import Advance

StoreOption = Annotated[
    str, typer.Option("--store", envvar="PROHIBIT_STORE", help="Folder that holds heads, bundles and weights.")
]
LabelsOption = Annotated[
    str | None,
    typer.Option("--labels", envvar="PROHIBIT_LABELS", help="The label store: a file, or postgresql+psycopg://…"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
DEFAULT_STORE = "store"

stdout = Console(markup=False)  # paths may have brackets
stderr = Console(stderr=True, markup=False)  # progress and remarks, so that standard output stays the result


def answer(result: dict[str, Any], as_json: bool, *shown: Table | str) -> None:
    """Prints `result` as JSON, or what is `shown` to a person."""
    if as_json:
        print(json.dumps(result, allow_nan=False))
        return
    for part in shown:
        stdout.print(part, highlight=False, soft_wrap=isinstance(part, str))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table for the terminal; the first column to the left, the others to the right."""
    built = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        built.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        built.add_row(*row)
    return built


def remark(text: str) -> None:
    """Says something beside the result, in one line."""
    stderr.print(f"! {text}", highlight=False, soft_wrap=True)


@contextmanager
def bar() -> Iterator[Callable[[str], Advance]]:
    """Progress bars on standard error: `with bar() as line: advance = line("decoding")`, then `advance(done, in_all)`.

    A bar appears with its first advance, so that work which is refused at once shows none.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=stderr)

    def line(title: str) -> Advance:
        tasks: list[TaskID] = []

        def advance(done: int, total: int, text: str = title, /) -> None:
            if not tasks:
                progress.start()
                tasks.append(progress.add_task(text, total=total))
            progress.update(tasks[0], completed=done, total=total, description=text)

        return advance

    try:
        yield line
    finally:
        if progress.tasks:  # else it would leave an empty line
            progress.stop()
