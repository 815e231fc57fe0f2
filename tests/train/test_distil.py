"""Distillation: the classifier in closed form, the order of photos, and what a few steps change."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from etils import epath

from prohibit_jax.config import load_settings
from prohibit_jax.models.network import CLASSIFIER, Network, statistics
from prohibit_jax.train import distil as distil_module
from prohibit_jax.train.classifier import LEAST_SPREAD
from prohibit_jax.train.distil import LEAST, PENALTY, DistilConfig, distil, ridge, stream
from prohibit_jax.train.state import Step, predict_of
from prohibit_jax.types import Images, InputError, Preprocessing
from tests.bundle.twin import TWIN, photos, variables
from tests.tolerances import RIDGE

STUDENT = Network(replace(TWIN, outputs=2))
PREPROCESSING = Preprocessing(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SETTINGS = DistilConfig(epochs=1, steps_per_epoch=6, batch=8, learning_rate=3e-3, average=0.5)
COUNT = 40


@dataclass(frozen=True)
class Held:
    """Photos at hand."""

    images: Images

    def stream(self, rows: np.ndarray, start: int) -> Generator[tuple[np.ndarray, np.ndarray]]:
        yield from self.read(rows[start * SETTINGS.batch :])

    def read(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for begin in range(0, len(rows), SETTINGS.batch):
            chunk = rows[begin : begin + SETTINGS.batch]
            yield self.images[chunk], chunk


@pytest.fixture(scope="module")
def targets() -> np.ndarray:
    """What a network of other weights says."""
    teacher = variables(STUDENT, 1)
    return 3 * np.asarray(predict_of(STUDENT, PREPROCESSING)(teacher, photos(COUNT)))


@pytest.fixture
def folder(tmp_path: Path) -> epath.Path:
    return epath.Path(tmp_path)


def taught(targets: np.ndarray, config: DistilConfig, folder: epath.Path) -> dict[str, np.ndarray]:
    return distil(STUDENT, PREPROCESSING, variables(STUDENT, 0), Held(photos(COUNT)), targets, config, folder)


def test_the_classifier_is_that_of_ridge_regression_in_one_piece() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(90, 7)) * np.arange(1, 8) + 3).astype(np.float32)
    wanted = rng.normal(size=(90, 2)).astype(np.float32)
    found = ridge((features[i : i + 40], wanted[i : i + 40]) for i in range(0, 90, 40))
    scale = features.std(0) + LEAST_SPREAD
    x = (features - features.mean(0)) / scale
    solved = np.linalg.solve(x.T @ x + 90 * PENALTY * np.eye(7), x.T @ (wanted - wanted.mean(0))) / scale[:, None]
    np.testing.assert_allclose(found[CLASSIFIER[0]], solved, rtol=RIDGE, atol=RIDGE)
    bias = wanted.mean(0) - features.mean(0) @ solved
    np.testing.assert_allclose(found[CLASSIFIER[1]], bias, rtol=RIDGE, atol=RIDGE)


def test_without_epochs_only_the_classifier_is_new(targets: np.ndarray, folder: epath.Path) -> None:
    before, after = variables(STUDENT, 0), taught(targets, SETTINGS.model_copy(update={"epochs": 0}), folder)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert (before.keys(), changed) == (after.keys(), set(CLASSIFIER))


def test_steps_train_all_but_the_statistics(targets: np.ndarray, folder: epath.Path) -> None:
    before, after = variables(STUDENT, 0), taught(targets, SETTINGS, folder)
    assert {name for name in before if np.array_equal(before[name], after[name])} == statistics(STUDENT)
    error = np.mean((np.asarray(predict_of(STUDENT, PREPROCESSING)(after, photos(COUNT))) - targets) ** 2)
    assert error < targets.var() / 2


class Killed(BaseException):
    """As `kill -9`: nobody catches it."""


def test_killed_and_begun_again_it_comes_out_the_same(
    targets: np.ndarray, folder: epath.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SETTINGS.model_copy(update={"epochs": 2, "steps_per_epoch": 3})
    whole = taught(targets, config, folder / "whole")
    steps, step_of = list[int](), distil_module.step_of

    def counted(*arguments: Any) -> Step:
        step = step_of(*arguments)

        def one(state: Any, *batch: Any) -> Any:
            if steps == [0, 1, 2, 3]:
                raise Killed
            steps.append(int(state.step))
            return step(state, *batch)

        return one

    with monkeypatch.context() as patch:
        patch.setattr(distil_module, "step_of", counted)
        with pytest.raises(Killed):
            taught(targets, config, folder / "killed")
        assert steps == [0, 1, 2, 3]
        steps.clear()
        again = taught(targets, config, folder / "killed")
        assert steps == [3, 4, 5]
        steps.clear()
        once_more = taught(targets, config, folder / "killed")
        assert steps == []
    for found in (again, once_more):
        assert all(np.array_equal(found[name], whole[name]) for name in whole)


def test_rare_classes_come_up_as_often_as_others() -> None:
    targets = np.full((400, 2), -5.0, np.float32)
    targets[:100, 0] = 1
    targets[:10, 1] = np.linspace(1, 2, 10)
    config = DistilConfig(epochs=2, steps_per_epoch=5, batch=20)
    order = stream(targets, config).reshape(10, 20)
    rare, common = order < 10, (order >= 10) & (order < 100)
    assert (rare.sum(1) == 5).all()
    assert (common.sum(1) == 5).all()
    np.testing.assert_array_equal(order, stream(targets, config).reshape(10, 20))


def test_a_class_that_no_photo_is_of_has_its_likeliest() -> None:
    targets = np.tile(np.linspace(-9, -5, 200, dtype=np.float32)[:, None], 2)
    targets[:, 1] = np.roll(targets[:, 1], 100)
    order = stream(targets, DistilConfig(epochs=1, steps_per_epoch=50, batch=8))
    assert {*range(200 - LEAST, 200), *range(100 - LEAST, 100)} <= set(order.tolist())


def test_two_classes_of_the_same_photos() -> None:
    targets = np.tile(np.linspace(-9, 5, 200, dtype=np.float32)[:, None], 2)
    assert len(stream(targets, DistilConfig(epochs=1, steps_per_epoch=3, batch=8))) == 24


def test_training_that_diverges_is_refused(targets: np.ndarray, folder: epath.Path) -> None:
    with pytest.raises(InputError, match=r"^train\.learning_rate: at 1e\+30 training diverged"):
        taught(targets, SETTINGS.model_copy(update={"learning_rate": 1e30}), folder)


def test_settings_are_checked() -> None:
    assert load_settings(DistilConfig, None, ()).training().augment is False
    with pytest.raises(ValueError, match="epochs"):
        DistilConfig(epochs=-1)
