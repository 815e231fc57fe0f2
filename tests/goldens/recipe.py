"""Inputs, random weights and sampled positions of the parity goldens, from NumPy alone: the tests make them again."""

from __future__ import annotations

from zlib import crc32

import numpy as np

SIZES = ((224, 224), (300, 300), (225, 193))
INCEPTION_SIZES = ((299, 299), (107, 91))
SAMPLES = 64


def photos(size: tuple[int, int]) -> np.ndarray:
    """Two photos of smooth noise, uint8 [2, h, w, 3]; one where they are large."""
    h, w = size
    rng = np.random.default_rng([h, w])
    coarse = rng.integers(0, 256, (1 if h == 300 else 2, h // 8 + 1, w // 8 + 1, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)[:, :h, :w]


def normalise(images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """(pixel / 255 - mean) / std, float32."""
    normal: np.ndarray = (images / 255.0 - np.array(mean)) / np.array(std)
    return normal.astype(np.float32)


def random_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A PyTorch tensor by its name: weights that keep activations of order 1, statistics that are not the identity."""
    rng = np.random.default_rng(crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if name.endswith(("running_mean", "bias")):
        return rng.normal(0, 0.2, shape).astype(np.float32)
    if len(shape) == 1:
        return rng.uniform(0.7, 1.3, shape).astype(np.float32)
    return rng.normal(0, (1.75 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)


def sample(layer: str, activations: np.ndarray) -> np.ndarray:
    """Values at fixed positions of a layer's output [b, ...], the same ones for the same shape."""
    where = np.random.default_rng(crc32(layer.encode())).integers(0, activations.size, SAMPLES)
    return activations.reshape(-1)[where].astype(np.float32)


def moments(activations: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and largest absolute value of a layer's output."""
    x = activations.astype(np.float64)
    return np.array([x.mean(), x.std(), np.abs(x).max()])


def tensors() -> dict[str, np.ndarray]:
    """What tensors_*.pth hold, half precision widened."""
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    return {
        "float32": matrix,
        "transposed": matrix.T,
        "slice": matrix[1:, ::2],
        "float16": matrix / 8,
        "bfloat16": matrix / 8,
        "float64": matrix.astype(np.float64),
        "int64": np.array(7),
        "bool": matrix > 5,
        "empty": np.zeros((0, 3), np.float32),
        "parameter": matrix.reshape(-1),
    }
