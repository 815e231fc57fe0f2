"""Photos and cached features as a run reads them: the same from any batch on, and every row once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prohibit_jax.config import TrainConfig
from prohibit_jax.data.loader import read
from prohibit_jax.data.sources import open_source
from prohibit_jax.images.decode import Limits
from prohibit_jax.train.examples import Examples, FeatureExamples, PhotoExamples, at_batch, predict_all
from prohibit_jax.train.features import FeatureCache
from prohibit_jax.types import InputError

BATCH, SIZE = 3, 24
SOURCE = open_source("synthetic:10")
ORDER = np.array([4, 1, 7, 4, 9, 0, 2, 2, 5, 8, 3, 6])
NAMES = [f"{number:064x}" for number in range(10)]

Make = Callable[[Path], Examples]


def photos(_: Path) -> PhotoExamples:
    return PhotoExamples(SOURCE, SIZE, TrainConfig(batch=BATCH), workers=0, limits=Limits())


def features(folder: Path) -> FeatureExamples:
    cache = FeatureCache(folder)
    cache.write(NAMES, np.random.default_rng(0).normal(size=(10, 2, 2, 5)).astype(np.float32))
    return FeatureExamples(cache, NAMES, BATCH)


both = pytest.mark.parametrize("make", [photos, features])


@both
def test_a_stream_goes_on_from_any_batch(make: Make, tmp_path: Path) -> None:
    examples = make(tmp_path)
    whole = list(examples.stream(ORDER, 0))
    assert [rows.tolist() for _, rows in whole] == ORDER.reshape(-1, BATCH).tolist()
    for start in (1, 3, 4):
        rest = list(examples.stream(ORDER, start))
        assert len(rest) == len(whole) - start
        for (inputs, rows), (same, same_rows) in zip(rest, whole[start:], strict=True):
            np.testing.assert_array_equal(inputs, same)
            np.testing.assert_array_equal(rows, same_rows)


@both
def test_reading_gives_every_row_once_and_plain(make: Make, tmp_path: Path) -> None:
    examples, rows = make(tmp_path), np.arange(10)
    chunks = list(examples.read(rows))
    assert [len(inputs) for inputs, _ in chunks] == [3, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([part for _, part in chunks]), rows)
    inputs = np.concatenate([part for part, _ in chunks])
    plain = inputs[ORDER[:BATCH]]
    streamed, _ = next(examples.stream(ORDER, 0))
    if isinstance(examples, PhotoExamples):
        np.testing.assert_array_equal(inputs, [read(SOURCE, row, SIZE) for row in rows.tolist()])
        assert not np.array_equal(streamed, plain)  # augmented
    else:
        np.testing.assert_array_equal(streamed, plain)


def test_photos_are_held_to_the_limits() -> None:
    examples = PhotoExamples(SOURCE, SIZE, TrainConfig(batch=BATCH), workers=0, limits=Limits(bytes=100))
    with pytest.raises(InputError, match=r"photo 'synthetic/0/4\.jpg'.*bytes"):
        next(examples.stream(ORDER, 0))
    with pytest.raises(InputError, match=r"photo 'synthetic/0/4\.jpg'.*bytes"):
        next(iter(examples.read(ORDER)))


def test_prediction_sees_one_shape_and_keeps_the_order(tmp_path: Path) -> None:
    shapes = []

    def predict(inputs: jax.Array) -> jax.Array:
        shapes.append(inputs.shape)
        return jnp.sum(inputs, axis=(1, 2, 3))[:, None]

    examples = features(tmp_path)
    rows = np.array([9, 3, 0, 3, 1])
    outputs = predict_all(predict, examples, rows, 4)
    np.testing.assert_allclose(outputs[:, 0], examples.cache.read([NAMES[row] for row in rows]).sum((1, 2, 3)), 1e-5)
    assert set(shapes) == {(4, 2, 2, 5)}
    assert at_batch(predict, 4)(np.zeros((2, 2, 2, 5), np.float32)).shape == (2, 1)
