"""What the subcommands share: their common options, progress bars, tables, and `--json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

StoreOption = Annotated[
    Path, typer.Option("--store", envvar="PROHIBIT_STORE", help="Folder that holds heads, bundles and weights.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
DEFAULT_STORE = Path("store")

stdout = Console()
stderr = Console(stderr=True)  # progress and remarks, so that standard output stays the result

Advance = Callable[[int, int], None]
"""Called with (done, in all)."""


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
        built.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        built.add_row(*row)
    return built


@contextmanager
def bar() -> Iterator[Callable[[str], Advance]]:
    """Progress bars on standard error: `with bar() as line: advance = line("decoding")`, then `advance(done, in_all)`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr) as progress:

        def line(text: str) -> Advance:
            task = progress.add_task(text, total=None)

            def advance(done: int, total: int, text: str = text, /) -> None:
                progress.update(task, completed=done, total=total, description=text)

            return advance

        yield line
