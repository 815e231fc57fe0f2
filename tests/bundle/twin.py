"""A tiny twin of the real thing: heads of a narrow, shallow EfficientNet, made from a number in no time."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from prohibit_jax.bundle.card import Card, Trunk
from prohibit_jax.bundle.store import Head
from prohibit_jax.models.efficientnet import Architecture
from prohibit_jax.models.network import Network, shapes
from prohibit_jax.types import Calibration, HeadRef, Preprocessing, Thresholds, Variables

TWIN = Architecture(width=0.25, depth=0.3)
SIZE = 32


def variables(network: Network, seed: int) -> dict[str, np.ndarray]:
    """Random variables with batch-norm statistics that are far from neutral."""
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name.endswith((".norm.var", ".norm.scale")):
            return rng.uniform(0.5, 2.0, shape).astype(np.float32)
        if name.endswith("kernel"):
            fan_in = np.prod(shape[:2]) if "depthwise" in name else np.prod(shape[:-1])
            return (rng.standard_normal(shape) * (2.0 / fan_in) ** 0.5).astype(np.float32)
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)

    return {name: draw(name, shape) for name, shape in _shapes(network).items()}


def card(name: str = "weapon", trunk: Trunk | None = None, arch: Architecture = TWIN, size: int = SIZE) -> Card:
    """A card as training hands it to the store."""
    return Card(
        name=name,
        arch=arch,
        preprocessing=Preprocessing(size, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        trunk=trunk,
        calibration=Calibration(scale=1.5, offset=-0.25),
        thresholds=Thresholds(review=0.25, block=0.75),
        metrics={"average_precision": {"value": 0.97, "low": 0.95, "high": 0.99}},
        data={"sha256": "0" * 64, "positives": 12},
        seed=7,
        config={"train": {"epochs": 3}},
        versions={"jax": "0.10.2"},
    )


def head(name: str, seed: int, version: int = 1, *, of: Card | None = None) -> Head:
    """A head that no store knows."""
    made = replace(of or card(name), name=name, version=version)
    return Head(HeadRef(name, version), made, variables(made.network(), seed))


def trunk(seed: int, through: str = "s3") -> Variables:
    """A trunk's variables."""
    return variables(Network(TWIN).split(through)[0], seed)


def photos(count: int, seed: int = 0, size: int = SIZE) -> np.ndarray:
    """Noise, uint8 [count, size, size, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


_shapes = cache(shapes)
