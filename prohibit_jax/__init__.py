"""Finds prohibited items in photographs: one small binary classifier a category, one call for all of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prohibit_jax.score.pipeline import Pipeline as Pipeline
    from prohibit_jax.score.pipeline import load_pipeline as load_pipeline
    from prohibit_jax.score.scorer import Scorer as Scorer
    from prohibit_jax.score.scorer import load_scorer as load_scorer
    from prohibit_jax.types import InputError as InputError

_HOMES = {
    "InputError": "prohibit_jax.types",
    "Pipeline": "prohibit_jax.score.pipeline",
    "Scorer": "prohibit_jax.score.scorer",
    "load_pipeline": "prohibit_jax.score.pipeline",
    "load_scorer": "prohibit_jax.score.scorer",
}
__all__ = ["InputError", "Pipeline", "Scorer", "load_pipeline", "load_scorer"]


def __getattr__(name: str) -> Any:
    """Imports a public name where it is first used, so that `import prohibit_jax` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
