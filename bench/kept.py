"""A results file that a script goes on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etils import epath

from prohibit_jax.files import publish_file


def kept(out: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the file holds already, and the settings. Ends the script where it was made with others."""
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    for key, value in settings.items() if found else ():
        if found.get(key) != value:
            before = found.get(key, "unknown")
            raise SystemExit(f"{out}: made with {key} {before}, now {value}; name another file, or remove this one")
    return found | dict(settings)


def keep(out: Path, results: Mapping[str, Any]) -> None:
    """Writes the file, whole or not at all."""
    publish_file(epath.Path(out), (json.dumps(results, indent=1) + "\n").encode())
