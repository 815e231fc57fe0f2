"""One network that answers as several do: distilled from their logits on photos that nobody has to label.

The student's targets are its teachers' logits (Hinton et al., arXiv 1503.02531; that a squared error of logits is the
limit of high temperatures stands there, section 2.1). Its classifier is fitted in closed form on its features, the
whole network is then trained a few epochs, and the classifier fitted again. Photos are never augmented, since a target
is what the teachers say of the photo as it is, and batch norm keeps the statistics that it came with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath
from pydantic import Field

from prohibit_jax.config import Part, Positive, Section, Share, TrainConfig
from prohibit_jax.data.stream import class_balanced
from prohibit_jax.models.network import CLASSIFIER, POOLED, Network, apply, normalise, shapes
from prohibit_jax.train.checkpoint import Checkpoints
from prohibit_jax.train.classifier import LEAST_SPREAD
from prohibit_jax.train.examples import Examples, at_batch
from prohibit_jax.train.optimiser import optimiser_of
from prohibit_jax.train.state import Step, TrainState, averaged, predict_of, start
from prohibit_jax.types import InputError, Line, Preprocessing, Variables, silent

PENALTY = 0.03
"""Of the squared norm of the classifier's kernel on standardised features, for each photo."""

FARTHEST = 15.0
"""Teachers' logits are cut at plus and minus this: beyond it they differ in nothing that a threshold could see."""

LEAST = 8
"""Photos that count as likely ones of a class at least: those that its teacher finds the likeliest."""


class DistilConfig(Section):
    """How a student is taught."""

    epochs: Annotated[int, Field(ge=0)] = 6  # 0: the network stays as it came, only its classifier is fitted
    steps_per_epoch: Annotated[int, Field(ge=0)] = 0  # 0: one pass over the photos
    batch: Annotated[int, Field(ge=2)] = 32
    learning_rate: Positive = 3e-4
    warmup: Share = 0.1  # share of the steps
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip: Positive = 1.0  # global norm of the gradient
    average: Annotated[float, Field(ge=0, lt=1)] = 0.99  # decay of the weights' moving average
    positive_fraction: Part = 0.5  # of every batch: likely photos of the classes, each class as often
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    def training(self) -> TrainConfig:
        """The same as a run of training has it."""
        return TrainConfig(**{**self.model_dump(), "epochs": max(1, self.epochs), "augment": False})


def distil(
    network: Network,
    preprocessing: Preprocessing,
    variables: Variables,
    examples: Examples,
    targets: np.ndarray,
    config: DistilConfig,
    folder: epath.Path,
    progress: Line = silent,
) -> dict[str, np.ndarray]:
    """Teaches a network what its teachers say; the same input gives the same variables.

    Every epoch is kept in `folder`: what was killed goes on from there, and what is done is not done again.

    Args:
        network: all its stages, with an output for each teacher.
        preprocessing: how photos become its input.
        variables: what it starts from; its classifier's are not looked at.
        examples: n photos, plain.
        targets: float32 [n, outputs], the teachers' logits of them.
        config: how it is taught.
        folder: of this teaching alone, whose checkpoints it keeps.
        progress: opens a progress bar.

    Returns:
        The network's variables.

    Raises:
        InputError: training diverged, or a photo cannot be read.
    """
    wanted = np.clip(targets, -FARTHEST, FARTHEST)

    def with_classifier(variables: Variables) -> dict[str, np.ndarray]:
        found = fitted(network, preprocessing, variables, examples, wanted, config.batch, progress)
        return {**variables, **found}

    if not config.epochs:
        return with_classifier(variables)
    order = stream(targets, config)
    steps = len(order) // config.batch
    per_epoch = steps // config.epochs
    optimiser = optimiser_of(config.training(), steps)
    step = step_of(network, preprocessing, optimiser, config.average)
    empty = {name: np.zeros(shape, np.float32) for name, shape in shapes(network).items()}
    with closing(Checkpoints(folder / "checkpoints")) as checkpoints:
        kept = checkpoints.restore(start(network, empty, optimiser))
        epoch, state = kept or (0, start(network, with_classifier(variables), optimiser))
        advance = progress("teaching")
        with closing(examples.stream(order, epoch * per_epoch)) as batches:
            while epoch < config.epochs:
                for done, (inputs, rows) in enumerate(islice(batches, per_epoch), epoch * per_epoch + 1):
                    state, loss = step(state, jnp.asarray(inputs), jnp.asarray(wanted[rows]))
                    if done % 5 == 1 or done == steps:
                        advance(done, steps, f"teaching: loss {float(loss):.4f}")
                epoch += 1
                checkpoints.save(epoch, state)
    taught: dict[str, np.ndarray] = jax.device_get(state.average)
    if not all(np.isfinite(array).all() for array in taught.values()):
        raise InputError(f"train.learning_rate: at {config.learning_rate:g} training diverged; use a lower one")
    return with_classifier(taught)


def stream(targets: np.ndarray, config: DistilConfig) -> np.ndarray:
    """int64 [steps * batch]: places of the photos in the order of training, likely ones of each class as often.

    Rare classes would hardly come up otherwise. A photo that is likely for several classes counts for the rarest.
    """
    n, classes = targets.shape
    labels = np.zeros(n, np.int64)
    flagged = np.count_nonzero(targets > 0, axis=0)
    counts = np.clip(flagged, LEAST, max(1, n // (2 * classes)))
    for which in np.argsort(-counts, kind="stable"):
        labels[np.argsort(-targets[:, which], kind="stable")[: counts[which]]] = which + 1
    labels = np.unique(labels, return_inverse=True)[1]  # without a gap where a class's are all another's
    per_epoch = config.steps_per_epoch or max(1, n // config.batch)
    return class_balanced(
        labels,
        steps=config.epochs * per_epoch,
        batch=config.batch,
        positive_fraction=config.positive_fraction,
        seed=config.seed,
    )


def step_of(
    network: Network, preprocessing: Preprocessing, optimiser: optax.GradientTransformation, average: float
) -> Step:
    """The compiled step, (state, photos uint8 [b, h, w, 3], logits wanted float32 [b, k]) -> (state, loss)."""

    def error(params: dict[str, jax.Array], state: TrainState, x: jax.Array, wanted: jax.Array) -> jax.Array:
        logits, _ = apply(network, {**params, **state.statistics}, x)
        return loss_of(logits, wanted)

    @jax.jit
    def step(state: TrainState, x: jax.Array, wanted: jax.Array) -> tuple[TrainState, jax.Array]:
        loss, gradient = jax.value_and_grad(error)(state.params, state, normalise(x, preprocessing), wanted)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        moved = averaged(state, {**params, **state.statistics}, average)
        return TrainState(state.step + 1, params, state.statistics, moved, optimiser_state), loss

    return step


def loss_of(logits: jax.Array, wanted: jax.Array) -> jax.Array:
    """The mean squared error of logits [b, k]."""
    return jnp.mean((logits - wanted) ** 2)


def fitted(
    network: Network,
    preprocessing: Preprocessing,
    variables: Variables,
    examples: Examples,
    wanted: np.ndarray,
    batch: int,
    progress: Line,
) -> dict[str, np.ndarray]:
    """The classifier's variables with the least squared error on the network's features, a ridge regression.

    Memory does not grow with the photos: only sums over them are kept.
    """
    trunk, _ = network.split(POOLED)
    predict, on_device = (
        predict_of(trunk, preprocessing),
        {name: jnp.asarray(variables[name]) for name in shapes(trunk)},
    )
    run = at_batch(lambda x: predict(on_device, x), batch)
    advance = progress("fitting the classifier")

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for inputs, rows in examples.read(np.arange(len(wanted))):
            yield run(inputs), wanted[rows]
            advance(int(rows[-1]) + 1, len(wanted))

    return ridge(parts())


def ridge(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """A classifier's kernel [f, k] and bias [k] from parts (features [b, f], wanted [b, k]), standardised meanwhile."""
    sums = None
    for features, wanted in parts:
        both = np.concatenate([features, wanted, np.ones((len(features), 1))], 1).astype(np.float64)
        product = both.T @ both
        sums = product if sums is None else sums + product
    assert sums is not None
    n, k = sums[-1, -1], wanted.shape[1]
    f = len(sums) - 1 - k
    mean = sums[-1, :-1] / n
    covariance = sums[:-1, :-1] / n - np.outer(mean, mean)
    scale = np.sqrt(np.maximum(np.diag(covariance)[:f], 0)) + LEAST_SPREAD
    gram = covariance[:f, :f] / np.outer(scale, scale) + PENALTY * np.eye(f)
    kernel = np.linalg.solve(gram, covariance[:f, f:] / scale[:, None]) / scale[:, None]
    bias = mean[f:] - mean[:f] @ kernel
    return {CLASSIFIER[0]: kernel.astype(np.float32), CLASSIFIER[1]: bias.astype(np.float32)}
