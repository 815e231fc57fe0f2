"""The loop: interrupted anywhere it ends as if it never had been, stops early, keeps the best epoch, writes history."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from prohibit_jax.config import TrainConfig
from prohibit_jax.models.efficientnet import LITE0
from prohibit_jax.models.network import Network, init
from prohibit_jax.train import loop
from prohibit_jax.train.examples import predict_all
from prohibit_jax.train.loop import Fitted, Progress, Task, fit
from prohibit_jax.train.state import predict_of
from prohibit_jax.types import InputError, Preprocessing

# Batch norm and dropout, and it compiles in a second.
NETWORK = Network(replace(LITE0, width=0.25, depth=0.25), ("top", "classifier"))
PREPROCESSING = Preprocessing(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # unused: the inputs are features
CONFIG = TrainConfig(epochs=3, steps_per_epoch=7, batch=8, learning_rate=1e-2, average=0.8)
STEPS = CONFIG.epochs * CONFIG.steps_per_epoch
LABELS = np.arange(80, dtype=np.int8) % 2
TRAIN, VALIDATION = np.arange(60), np.arange(60, 80)


class Killed(BaseException):
    """Stands in for a kill."""


def alive(_: int) -> None:
    """Nothing kills the run."""


@dataclass
class Features:
    """Features that tell the labels apart, but not well."""

    at_batch: Callable[[int], None] = alive  # called with the number of the batch that is about to be read
    at_reading: Callable[[int], None] = alive  # and of the reading of all validation photos
    readings: int = 0
    closed: bool = False
    features: np.ndarray = field(
        default_factory=lambda: (
            np.random.default_rng(0).normal(0.2 * LABELS[:, None, None, None], 1, (80, 1, 1, 80)).astype(np.float32)
        )
    )

    def stream(self, rows: np.ndarray, start: int) -> Generator[tuple[np.ndarray, np.ndarray]]:
        try:
            for number, part in enumerate(rows.reshape(-1, CONFIG.batch)[start:], start + 1):
                self.at_batch(number)
                yield self.features[part], part
        finally:
            self.closed = True

    def read(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.readings += 1
        for part in np.array_split(rows, range(CONFIG.batch, len(rows), CONFIG.batch)):
            self.at_reading(self.readings)
            yield self.features[part], part


def run(
    folder: Path,
    examples: Features | None = None,
    config: TrainConfig = CONFIG,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Fitted:
    return fit(
        NETWORK,
        PREPROCESSING,
        init(NETWORK, 0),
        Task(examples or Features(), LABELS, TRAIN, VALIDATION),
        config,
        epath.Path(folder),
        batch_statistics=True,
        progress=progress,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return run(folder), folder


def check_same(one: Fitted, other: Fitted) -> None:
    assert one.variables.keys() == other.variables.keys()
    for name, array in one.variables.items():
        assert array.tobytes() == other.variables[name].tobytes(), name
    assert replace(one, variables={}) == replace(other, variables={})


def killer(at: int) -> Callable[[int], None]:
    def kill(number: int) -> None:
        if number == at:
            raise Killed

    return kill


def test_progress_and_history(undisturbed: tuple[Fitted, Path], tmp_path: Path) -> None:
    seen: list[Progress] = []
    fitted = run(tmp_path, progress=seen.append)
    check_same(fitted, undisturbed[0])
    assert [at.step for at in seen] == [1, 6, 7, 8, 13, 14, 15, 20, 21]
    assert {at.steps for at in seen} == {STEPS}
    assert np.isnan(seen[0].average_precision)
    epochs = {at.step: (at.loss, at.average_precision) for at in seen if at.step % CONFIG.steps_per_epoch == 0}
    assert [(row["loss"], row["average_precision"]) for row in fitted.history] == list(epochs.values())
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3]
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert 0 < fitted.average_precision == max(row["average_precision"] for row in fitted.history)


def test_what_a_run_leaves_in_its_folder(undisturbed: tuple[Fitted, Path]) -> None:
    fitted, folder = undisturbed
    assert json.loads((folder / "history.json").read_text()) == fitted.history
    (events,) = folder.glob("events.out.tfevents.*")
    assert all(tag in events.read_bytes() for tag in (b"train/loss", b"validation/average_precision"))
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["2", "3"]


# Progress comes at steps 1 and 6 of each epoch, and when its checkpoint is on disk.
@pytest.mark.parametrize("step", [1, 6, 7, 8, 14, 21])
def test_interrupted_at_a_step(undisturbed: tuple[Fitted, Path], tmp_path: Path, step: int) -> None:
    kill, examples = killer(step), Features()
    with pytest.raises(Killed):
        run(tmp_path, examples, progress=lambda at: kill(at.step))
    assert examples.closed
    steps: list[int] = []
    check_same(run(tmp_path, progress=lambda at: steps.append(at.step)), undisturbed[0])
    done = step - step % CONFIG.steps_per_epoch
    assert steps[:1] == ([done + 1] if done < STEPS else [])


@pytest.mark.parametrize(
    "examples",
    [Features(at_batch=killer(12)), Features(at_reading=killer(1)), Features(at_reading=killer(2))],
    ids=["in the second epoch", "before the first checkpoint", "while the second epoch is judged"],
)
def test_interrupted_while_reading(undisturbed: tuple[Fitted, Path], tmp_path: Path, examples: Features) -> None:
    with pytest.raises(Killed):
        run(tmp_path, examples)
    check_same(run(tmp_path), undisturbed[0])


def test_interrupted_again_and_again(undisturbed: tuple[Fitted, Path], tmp_path: Path) -> None:
    for batch in (3, 7, 8, 19, 19):
        with pytest.raises(Killed):
            run(tmp_path, Features(at_batch=killer(batch)))
    check_same(run(tmp_path), undisturbed[0])


def test_a_finished_run_is_only_read_again(undisturbed: tuple[Fitted, Path], tmp_path: Path) -> None:
    run(tmp_path)
    check_same(run(tmp_path, Features(at_batch=killer(1), at_reading=killer(1))), undisturbed[0])


def test_it_stops_early_and_keeps_the_later_of_equal_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rounded to the float32 that a checkpoint holds, 0.6 grows: the two epochs must still be equal.
    script, judged = [0.3, 0.6, 0.6, 0.5, 0.4, 0.9], []

    def scripted(labels: np.ndarray, logits: np.ndarray) -> float:
        judged.append(logits)
        return script[len(judged) - 1]

    monkeypatch.setattr(loop, "average_precision", scripted)
    config = replace_config(epochs=6, patience=2)
    with pytest.raises(Killed):
        run(tmp_path, Features(at_batch=killer(4 * CONFIG.steps_per_epoch + 1)), config)
    fitted = run(tmp_path, config=config)  # patience counts on through a resume
    assert (fitted.epoch, len(fitted.history)) == (3, 5)
    assert fitted.average_precision == np.float32(0.6)
    np.testing.assert_array_equal(
        [row["average_precision"] for row in fitted.history], np.array(script[:5], np.float32)
    )
    predict = predict_of(NETWORK, PREPROCESSING)
    variables = {name: jnp.asarray(array) for name, array in fitted.variables.items()}
    logits = predict_all(lambda x: predict(variables, x), Features(), VALIDATION, CONFIG.batch)[:, 0]
    assert [np.array_equal(logits, other) for other in judged] == [False, False, True, False, False]
    check_same(run(tmp_path, Features(at_batch=killer(29)), config), fitted)


def test_divergence_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^train\.learning_rate: at 1e\+30 training diverged"):
        run(tmp_path, config=replace_config(learning_rate=1e30))
    assert not list((tmp_path / "checkpoints").iterdir())


def replace_config(**changes: float) -> TrainConfig:
    return TrainConfig(**{**CONFIG.model_dump(), **changes})
