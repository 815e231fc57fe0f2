"""k-center: what it covers, against the plain definition."""

from __future__ import annotations

import dataclasses

import numpy as np

from prohibit_jax.active import diversity
from prohibit_jax.active.diversity import k_center
from tests.active.views import units, view


def plain(points: np.ndarray, centres: list[np.ndarray], budget: int, first: int) -> list[int]:
    """Farthest first, by the definition."""
    taken = [] if centres else [first]
    while len(taken) < budget:
        nearest = [
            max((float(point @ centre) for centre in [*centres, *points[taken]]), default=-1.0) for point in points
        ]
        taken.append(min((i for i in range(len(points)) if i not in taken), key=lambda i: nearest[i]))
    return taken[:budget]


def test_each_is_the_farthest_from_all_before() -> None:
    rng = np.random.default_rng(1)
    for answered in (0, 3):
        seen = view(rng.random(25, np.float32), [0] * answered, [0.1] * answered, seed=answered)
        points = np.asarray(seen.embeddings)
        assert seen.scores is not None
        order = np.argsort(np.abs(seen.scores - 0.5), kind="stable")
        expected = plain(points[order], list(np.asarray(seen.label_embeddings)), 7, 0)
        assert k_center(seen, 7, rng).tolist() == order[expected].tolist()


def test_of_a_large_pool_only_the_most_informative_are_looked_at(monkeypatch: object) -> None:
    rng = np.random.default_rng(0)
    n = diversity.CANDIDATES + 500
    seen = view(rng.random(n, np.float32))
    assert seen.scores is not None
    distance = np.abs(seen.scores - 0.5)
    assert distance[k_center(seen, 20, rng)].max() <= np.sort(distance)[diversity.CANDIDATES]


def test_every_cluster_is_visited_before_any_twice() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(6, dtype=np.float32)
    points = np.repeat(centres, 10, 0) + 0.01 * units(rng, 60, 6)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    seen = dataclasses.replace(view(None, n=60), embeddings=points, label_embeddings=points[:0])
    assert sorted(k_center(seen, 6, rng) // 10) == list(range(6))
