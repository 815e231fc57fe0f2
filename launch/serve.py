"""`launch serve`: a bundle behind HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from launch.console import DEFAULT_STORE, JsonOption, StoreOption, answer


def serve(
    bundle: Annotated[str, typer.Option("--bundle", help="The bundle that scores, as in `prod`.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 is any free one.")] = 8000,
    host: Annotated[str, typer.Option("--host", help="0.0.0.0 lets other machines in.")] = "127.0.0.1",
    config: Annotated[
        Path | None, typer.Option("--config", help="A TOML file; configs/serve.toml has every key.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, as in service.budget_ms=150; can be repeated.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Serve a bundle over HTTP: its own routes, the Open Inference Protocol, metrics, and a page to try it.

    Keys are read from PROHIBIT_KEYS and PROHIBIT_ADMIN_KEYS, comma-separated. Logs are JSON lines on standard error.
    """
    try:
        from serve.server import serve as run
    except ModuleNotFoundError as error:
        from prohibit_jax.types import InputError

        raise InputError(f"launch serve: {error.name} is not installed; pip install 'prohibit-jax[serve]'") from None
    from prohibit_jax.bundle.store import Store
    from serve.listening import address
    from serve.settings import load_serve_config

    def listening(host: str, port: int) -> None:
        url = address(host, port)
        answer(
            {"url": url, "pid": os.getpid()},
            as_json,
            f"serving {bundle} at {url} once its heads are loaded; documents are at {url}/docs, Ctrl-C ends it",
        )

    run(bundle, Store(store), host, port, load_serve_config(config, set_ or ()), listening)
