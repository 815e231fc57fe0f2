"""One run of training: read it from top to bottom.

After every epoch the averaged weights are judged on the validation photos, the best so far are kept, and the whole
state goes to a checkpoint, so that a run killed at any moment and started again ends with the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from prohibit_jax.config import TrainConfig
from prohibit_jax.data.stream import class_balanced
from prohibit_jax.evaluate.metrics import average_precision
from prohibit_jax.evaluate.several import mean_average_precision, probabilities
from prohibit_jax.files import publish_file
from prohibit_jax.models.network import Network
from prohibit_jax.train.checkpoint import Checkpoints
from prohibit_jax.train.examples import Examples, predict_all
from prohibit_jax.train.optimiser import optimiser_of
from prohibit_jax.train.state import predict_of, start, step_of
from prohibit_jax.types import InputError, Preprocessing, Variables


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for a progress bar."""

    step: int
    steps: int
    loss: float
    average_precision: float  # of the last epoch's validation, of several classes the mean; NaN before the first


@dataclass(frozen=True)
class Task:
    """What to learn: rows of the examples by side, and their labels by row: 0, or 1 and on the number of the class."""

    examples: Examples
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """The best epoch's averaged variables and the history, an {epoch, loss, average_precision} an epoch."""

    variables: dict[str, np.ndarray]
    epoch: int
    average_precision: float
    history: list[dict[str, Any]]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Best:
    """The averaged variables with the best validation average precision so far, and the epoch that gave them."""

    variables: dict[str, Any]
    epoch: Any  # int32
    average_precision: Any  # float32


def fit(
    network: Network,
    preprocessing: Preprocessing,
    variables: Variables,
    task: Task,
    config: TrainConfig,
    folder: epath.Path,
    *,
    batch_statistics: bool,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Fitted:
    """Trains `network` from `variables`, or goes on from the newest checkpoint in `folder`.

    Args:
        network: the whole network, or the suffix that follows a frozen trunk.
        preprocessing: how photos become its input; unused on a trunk's features.
        variables: what to start from.
        task: examples, labels and sides.
        config: how to train.
        folder: keeps checkpoints, TensorBoard events and `history.json`.
        batch_statistics: see `config.batch_norm`.
        progress: called every few steps.

    Returns:
        The averaged weights of the epoch with the best validation average precision.

    Raises:
        InputError: training diverged.
    """
    from tensorboardX import SummaryWriter  # imports PyTorch where that is installed

    per_epoch = config.steps_per_epoch or max(1, len(task.train) // config.batch)
    steps = config.epochs * per_epoch
    order = task.train[
        class_balanced(
            task.labels[task.train],
            steps=steps,
            batch=config.batch,
            positive_fraction=config.positive_fraction,
            seed=config.seed,
        )
    ]
    optimiser = optimiser_of(config, steps)
    step = step_of(network, preprocessing, config, optimiser, batch_statistics=batch_statistics)
    predict = predict_of(network, preprocessing)

    def judge(average: dict[str, Any]) -> np.float32:
        logits = predict_all(lambda x: predict(average, x), task.examples, task.validation, config.batch)
        if not np.isfinite(logits).all():
            raise InputError(f"train.learning_rate: at {config.learning_rate:g} training diverged; use a lower one")
        labels = task.labels[task.validation]
        if network.arch.outputs > 1:
            return np.float32(mean_average_precision(labels, probabilities(logits)))
        return np.float32(average_precision(labels, logits[:, 0]))

    state = start(network, variables, optimiser)
    best = Best(state.average, np.int32(0), np.float32(-1))
    history = np.full((config.epochs, 2), np.nan, np.float32)  # loss and average precision by epoch
    with closing(Checkpoints(folder / "checkpoints")) as checkpoints:
        epoch, (state, best, history) = checkpoints.restore((state, best, history)) or (0, (state, best, history))
        history = np.array(history)
        with (
            SummaryWriter(str(folder), purge_step=epoch * per_epoch) as events,
            closing(task.examples.stream(order, epoch * per_epoch)) as stream,
        ):
            while epoch < config.epochs and epoch - int(best.epoch) < config.patience:
                losses: list[jax.Array] = []
                for inputs, rows in islice(stream, per_epoch):
                    state, loss = step(state, jnp.asarray(inputs), jnp.asarray(task.labels[rows], jnp.float32))
                    losses.append(loss)
                    if len(losses) % 5 == 1:
                        last = history[epoch - 1, 1] if epoch else np.nan
                        progress(Progress(epoch * per_epoch + len(losses), steps, float(loss), float(last)))
                epoch += 1
                precision = judge(state.average)
                history[epoch - 1] = np.mean(jax.device_get(losses)), precision
                # Of equal epochs the later: a small validation set saturates before the weights have settled.
                if precision >= best.average_precision:
                    best = Best(state.average, np.int32(epoch), precision)
                checkpoints.save(epoch, (state, best, history))
                events.add_scalar("train/loss", history[epoch - 1, 0], epoch * per_epoch)
                events.add_scalar("validation/average_precision", precision, epoch * per_epoch)
                progress(Progress(epoch * per_epoch, steps, float(history[epoch - 1, 0]), float(precision)))

    rows_of_history = [
        {"epoch": number + 1, "loss": float(loss), "average_precision": float(precision)}
        for number, (loss, precision) in enumerate(history[:epoch])
    ]
    publish_file(folder / "history.json", json.dumps(rows_of_history, indent=1).encode())
    return Fitted(jax.device_get(best.variables), int(best.epoch), float(best.average_precision), rows_of_history)
