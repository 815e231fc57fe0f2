"""The scoring path starts without what only training needs: an accelerator machine may not even have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("grain", "orbax", "pydantic", "pyarrow", "tensorflow_datasets", "tensorflow", "matplotlib", "scipy")
# Flax itself imports optax and rich, which is why they are not among them.


def test_scoring_imports_nothing_heavy() -> None:
    code = (
        "import sys, prohibit_jax as pj\n"
        "assert 'jax' not in sys.modules, 'prohibit_jax is lazy'\n"
        "pj.load_scorer, pj.load_pipeline\n"
        f"print(*(set({HEAVY!r}) & sys.modules.keys()))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
