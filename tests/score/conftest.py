"""One small scorer for the tests that are about what surrounds it."""

from __future__ import annotations

import pytest

from prohibit_jax.score.scorer import Scorer, scorer_of
from tests.bundle.twin import head


@pytest.fixture(scope="session")
def pair() -> Scorer:
    """Two heads, batches of four."""
    return scorer_of([head("weapon", 0), head("cash", 1)], {}, (4,))
