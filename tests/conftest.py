"""What every test runs under: the CPU, strict dtypes, and annotations that are checked at every call."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before jax starts; subprocesses inherit it

# Shapes, dtypes and types in signatures are checked from here on, since no test file is imported before this one.
install_import_hook("prohibit_jax", "beartype.beartype")

import jax  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and weights beside the checkout."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip("real photographs and weights: ../shared is absent")
    return folder
