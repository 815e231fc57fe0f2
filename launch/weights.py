"""`launch weights`: published weights as starting points."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer

app = typer.Typer(help="Published weights as starting points for training.", no_args_is_help=True)


class Publisher(StrEnum):
    """Whose names the file's tensors carry."""

    timm = "timm"
    torchvision = "torchvision"


@app.command("import")
def import_weights(
    file: Annotated[Path, typer.Argument(help="A .safetensors or .pth file; no code in it is ever run.")],
    publisher: Annotated[Publisher, typer.Option("--from", help="Whose names the file's tensors carry.")],
    name: Annotated[str, typer.Option("--name", help="The name that `launch train --weights` will know it by.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Keep published weights as weights/NAME.safetensors, with their architecture and preprocessing."""
    from etils import epath

    from prohibit_jax.types import check_name
    from prohibit_jax.weights.imported import import_file, save

    weights = import_file(publisher.value, file)
    path = save(epath.Path(store), check_name(name, "weights"), weights)
    tensors = len(weights.variables)
    answer(
        {"path": str(path), "architecture": weights.arch.name, "outputs": weights.arch.outputs, "tensors": tensors},
        as_json,
        f"{path}: {weights.arch.name}, {weights.arch.outputs} outputs, {tensors} tensors",
    )


@app.callback()
def _group() -> None:
    """Published weights as starting points for training."""
