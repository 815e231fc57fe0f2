"""What the engines of a benchmark compute, drawn from a seed: every engine draws it for itself, so nothing travels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from PIL import Image

from prohibit_jax.models import efficientnet
from prohibit_jax.models.network import Architecture, Network, shapes
from prohibit_jax.types import Images, Preprocessing, Variables

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

DISTINCT = 64  # heads

# PyTorch knows no padding "same" at stride 2, so that all pad as it does.
B0 = efficientnet.Architecture(padding="torch")

# Mean and variance of silu(x) for x from N(0, 1), and the same behind a squeeze-excite gate of one half.
SILU, GATED = (0.2066, 0.3130), (0.1033, 0.0782)


@dataclass(frozen=True)
class Work:
    """`heads` networks on `batch` photos of `size` x `size` pixels; with a `trunk`, all share the stages through it."""

    heads: int
    batch: int = 5
    size: int = 300
    trunk: str = ""
    arch: Architecture = B0
    seed: int = 0

    @property
    def preprocessing(self) -> Preprocessing:
        """ImageNet's."""
        return Preprocessing(self.size, MEAN, STD)

    @property
    def networks(self) -> tuple[Network | None, Network]:
        """The trunk, if there is one, and what every head is."""
        return Network(self.arch).split(self.trunk) if self.trunk else (None, Network(self.arch))

    def draw_trunk(self) -> Variables:
        """The trunk's variables, none without one."""
        trunk, _ = self.networks
        return draw(trunk, np.random.default_rng(self.seed)) if trunk else {}

    def draw_heads(self) -> Iterator[Variables]:
        """The heads' variables, one at a time, for a thousand of them fill a memory.

        Beyond `DISTINCT` heads the first ones come again, since a thousand draws take minutes in every engine.
        """
        drawn = []
        for number in range(min(self.heads, DISTINCT)):
            drawn.append(draw(self.networks[1], np.random.default_rng([self.seed, number])))
            yield drawn[-1]
            if self.heads <= DISTINCT:
                drawn.clear()
        for number in range(DISTINCT, self.heads):
            yield drawn[number % DISTINCT]

    def photos(self, turn: int = 0) -> Images:
        """Smooth noise in colour, as different as photographs are, uint8 [batch, size, size, 3]; others every turn."""
        rng = np.random.default_rng([self.seed, self.size, turn])
        coarse = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)) for _ in range(self.batch)]
        smooth = [np.asarray(image.resize((self.size, self.size), Image.Resampling.BICUBIC)) for image in coarse]
        grain = rng.normal(0.0, 16.0, (self.batch, self.size, self.size, 3))
        return np.clip(np.stack(smooth) + grain, 0, 255).astype(np.uint8)


def draw(network: Network, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random variables, float32, under which rounding stays far below what sets photos apart, as in a trained network.

    Fully random layers are chaotic: they blow rounding up until no comparison means anything. So a depthwise kernel is
    mostly its middle tap, a gate is nearly constant, and batch norm takes away the mean that all photos have in common.
    """
    variables = {}
    for name, shape in shapes(network).items():
        variables[name] = _kernel(name, shape, rng) if name.endswith(".kernel") else _vector(name, shape, rng)
    for name in [name.removesuffix(".norm.mean") for name in variables if name.endswith(".norm.mean")]:
        kernel = variables[f"{name}.kernel"]
        mean, _ = _expected(name)
        variables[f"{name}.norm.mean"] += mean * kernel.reshape(-1, kernel.shape[-1]).sum(0)
        variables[f"{name}.norm.scale"] = np.sqrt(variables[f"{name}.norm.var"])
    return variables


def _kernel(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    kernel = rng.standard_normal(shape, np.float32)
    mean, variance = _expected(name)
    if ".depthwise" in name:
        middle = shape[0] // 2
        kernel *= np.float32(1 / shape[0])
        kernel[middle, middle] += 1
        return kernel * np.float32((2 * variance) ** -0.5)
    gain = 0.1 if ".squeeze." in name else 0.6 if ".project" in name else 1.0
    return kernel * np.float32(gain * (prod(shape[:-1]) * (mean**2 + variance)) ** -0.5)


def _vector(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if name.endswith(".var"):
        return rng.uniform(0.5, 2.0, shape).astype(np.float32)
    return np.float32(0.03) * rng.standard_normal(shape, np.float32)


def _expected(name: str) -> tuple[float, float]:
    """Mean and variance of what a convolution takes in: photos and sums of blocks, or what an activation put out."""
    if ".project" in name:
        return GATED
    return SILU if ".depthwise" in name or ".squeeze." in name else (0.0, 1.0)
