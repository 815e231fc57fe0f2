"""Runs notebooks from top to bottom and keeps what they show: `python notebooks/execute.py [NAME …]`, all by default.

Each runs in a kernel and an empty folder of its own, on the CPU. What is saved says nothing of the machine or the day,
and holds the hash of the sources that it came from, so that the tests see when somebody changed a cell and not ran it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from math import ceil
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
NAMES = ("asked", "savings", "review_load")

SECONDS = 240
"""That a cell may take."""

OWN = {"JAX_PLATFORMS": "cpu", "MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONHASHSEED": "0"}
NOT_OURS = ("PROHIBIT_STORE", "PROHIBIT_LABELS")

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def path_of(name: str) -> Path:
    """The file of a notebook."""
    return HERE / f"{name}.ipynb"


def execute(notebook: Any, folder: Path, seconds: float = SECONDS) -> Any:
    """Runs a notebook in a fresh kernel whose working folder is `folder`, and returns it with its outputs.

    Raises nbclient's CellExecutionError where a cell fails, with its traceback, and CellTimeoutError where one takes
    longer than `seconds`.
    """
    environment = {name: value for name, value in os.environ.items() if name not in NOT_OURS} | OWN
    environment |= {"IPYTHONDIR": str(folder / ".ipython")}  # no profile, startup file or history of the user's
    # A socket in the folder rather than ports that anybody on the machine may open.
    sockets = Config({"KernelManager": {"transport": "ipc", "ip": str(folder / ".kernel")}})
    place = {"metadata": {"path": str(folder)}}
    # By default, what a cell shows is lost where it comes four seconds after the cell's end.
    patience = dict.fromkeys(("timeout", "startup_timeout", "iopub_timeout"), ceil(seconds))
    client = NotebookClient(notebook, **patience, kernel_name="python3", resources=place, config=sockets)
    client.execute(env=environment)
    return notebook


def cleaned(notebook: Any) -> Any:
    """A notebook without what depends on who ran it and when: only sources, outputs and the hash of the sources."""
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number:02}", {}
    notebook.metadata = METADATA | {"prohibit_jax": {"sources": digest(notebook)}}
    return notebook


def digest(notebook: Any) -> str:
    """SHA-256 of the kinds and sources of all cells."""
    cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def main(names: list[str]) -> None:
    """Runs those notebooks and saves each in its place."""
    for name in names or NAMES:
        notebook: Any = nbformat.read(path_of(name), as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, Path(folder))
        nbformat.write(cleaned(notebook), path_of(name))


if __name__ == "__main__":
    main(sys.argv[1:])
