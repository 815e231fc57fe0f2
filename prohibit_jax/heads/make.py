"""Makes a head: photos, training, calibration, thresholds, test, plots, publication."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL
from etils import epath

from prohibit_jax.bundle.card import Card, Trunk, library_versions, parse_json
from prohibit_jax.bundle.store import Store, open_store
from prohibit_jax.config import Config, parse_config
from prohibit_jax.data.dataset import Dataset, load_dataset, require_all
from prohibit_jax.data.loader import decoded
from prohibit_jax.evaluate import calibration, plots, report, several, thresholds
from prohibit_jax.files import publish_file
from prohibit_jax.heads.begin import Beginning, begin
from prohibit_jax.images.decode import decode
from prohibit_jax.models.network import Network, shapes
from prohibit_jax.train.examples import Examples, FeatureExamples, PhotoExamples, at_batch, predict_all
from prohibit_jax.train.features import FeatureCache, fill
from prohibit_jax.train.loop import Fitted, Progress, Task, fit
from prohibit_jax.train.state import predict_of
from prohibit_jax.types import Calibration, HeadRef, InputError, Line, Photo, Thresholds, silent

FEATURE_BATCH = 64  # photos through the trunk at once
SHEET_EDGE = 160  # pixels that a photo on a sheet has at least, where it has them


@dataclass(frozen=True)
class Made:
    """A published head: where it and the run that made it are."""

    ref: HeadRef
    card: Card
    folder: epath.Path
    run: epath.Path


@dataclass(frozen=True)
class Plan:
    """What is trained on what: the trunk, if any, is already behind `examples`."""

    network: Network
    trunk: Trunk | None
    examples: Examples
    batch_statistics: bool


@dataclass(frozen=True)
class Verdict:
    """What validation and test photos say of trained weights."""

    calibration: Calibration
    thresholds: Thresholds
    metrics: dict[str, Any]


def train_head(
    config: Config,
    store: Store | epath.PathLike,
    *,
    resume: bool = False,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> Made:
    """Trains one class, or one network of several, and publishes its next version; nothing of any other is touched.

    Calibration and thresholds come from the validation photos, the figures in the card from the test photos.

    Args:
        config: what to train, on what, from what.
        store: where heads are kept.
        resume: go on with the class's unfinished run, whose config must be the same.
        progress: opens a progress bar.
        warn: told in one line what was left out.

    Raises:
        InputError: bad input, in one line that names the file or the field.
    """
    store = open_store(store)
    unfinished = _unfinished_run(config, store) if resume else None
    beginning = begin(config, store)
    dataset = load_dataset(config, store.cache, progress=progress("looking at photos"), warn=warn)
    for side in ("train", "validation", "test"):
        require_all(dataset, side)
    run = unfinished or _new_run(config, store)  # only now, so that refused input hides no unfinished run
    _same_start(run, dataset, beginning)
    plan = _plan(config, store, dataset, beginning, progress)
    fitted = _fit(config, run, dataset, beginning, plan, progress)

    predict = predict_of(plan.network, beginning.preprocessing)
    variables = {name: jnp.asarray(array) for name, array in fitted.variables.items()}
    logits = {
        side: predict_all(lambda x: predict(variables, x), plan.examples, dataset.rows(side), config.train.batch)
        for side in ("validation", "test")
    }
    labels = {side: dataset.labels[dataset.rows(side)] for side in logits}
    verdict = _judge_several(config, labels, logits) if config.class_.classes else verdict_of(config, labels, logits)
    card = Card(
        name=config.class_.name,
        arch=beginning.network.arch,
        preprocessing=beginning.preprocessing,
        trunk=plan.trunk,
        calibration=verdict.calibration,
        thresholds=verdict.thresholds,
        metrics=verdict.metrics,
        data=dataset.summary(),
        seed=config.train.seed,
        config=config.model_dump(mode="json", by_alias=True),
        versions=library_versions(),
        classes=tuple(config.class_.classes),
    )
    plots.history_plot(run / "history.png", fitted.history, f"{config.class_.name}, training")
    if not card.classes:
        _draw(run, config, dataset, labels["test"], verdict.calibration(logits["test"][:, 0]), verdict.metrics)
    ref = store.publish_head(card, fitted.variables)
    _write(run / "head.json", {"head": str(ref)})
    return Made(ref, store.read_card(ref), store.heads / ref.name / str(ref.version), run)


def _plan(config: Config, store: Store, dataset: Dataset, beginning: Beginning, progress: Line) -> Plan:
    """The network that is trained, and the examples in its terms: photos, or a trunk's features of them."""
    choice = config.train.batch_norm
    batch_statistics = choice == "batch" or (choice == "auto" and not beginning.pretrained)
    size = beginning.preprocessing.size
    if not beginning.trunk_through:
        photos = PhotoExamples(dataset.source, size, config.train, config.data.workers, dataset.limits)
        return Plan(beginning.network, None, photos, batch_statistics)
    trunk, head = beginning.network.split(beginning.trunk_through)
    variables = {name: np.asarray(beginning.variables[name]) for name in shapes(trunk)}
    sha256 = store.publish_trunk(variables)
    # Padding and normalisation are not in the variables, and another Pillow may decode other pixels.
    computed_by = repr((sha256, trunk, beginning.preprocessing, PIL.__version__))
    cache = FeatureCache(Path(store.cache / "features" / hashlib.sha256(computed_by.encode()).hexdigest()))
    predict, on_device = predict_of(trunk, beginning.preprocessing), jax.device_put(variables)
    fill(
        cache,
        dataset.index.sha256,
        dataset.rows("all"),
        lambda rows: decoded(dataset.source, rows, size, chunk=FEATURE_BATCH, limits=dataset.limits),
        at_batch(lambda images: predict(on_device, images), FEATURE_BATCH),
        progress("features of the trunk"),
    )
    features = FeatureExamples(cache, dataset.index.sha256, config.train.batch)
    return Plan(head, Trunk(sha256, beginning.trunk_through), features, batch_statistics)


def _fit(config: Config, run: epath.Path, dataset: Dataset, beginning: Beginning, plan: Plan, progress: Line) -> Fitted:
    task = Task(plan.examples, dataset.labels, dataset.rows("train"), dataset.rows("validation"))
    advance = progress("training")

    def tell(at: Progress) -> None:
        advance(at.step, at.steps, f"training: loss {at.loss:.4f}, average precision {at.average_precision:.3f}")

    return fit(
        plan.network,
        beginning.preprocessing,
        {name: beginning.variables[name] for name in shapes(plan.network)},
        task,
        config.train,
        run,
        batch_statistics=plan.batch_statistics,
        progress=tell,
    )


def verdict_of(config: Config, labels: Mapping[str, np.ndarray], logits: Mapping[str, np.ndarray]) -> Verdict:
    """Of a binary network by its logits [n, 1] of validation and test photos, and their labels [n], by side."""
    (validation, test), seed = (logits[side][:, 0] for side in ("validation", "test")), config.train.seed
    settings = thresholds.Settings(**config.evaluate.model_dump())
    scale = calibration.fit(labels["validation"], validation, settings.calibration)
    bands = thresholds.choose(settings, labels["validation"], scale(validation))
    metrics = report.evaluate(labels["test"], test, calibration=scale, settings=settings, thresholds=bands, seed=seed)
    return Verdict(scale, bands, metrics)


def _judge_several(config: Config, labels: Mapping[str, np.ndarray], logits: Mapping[str, np.ndarray]) -> Verdict:
    """Of a network of several classes by its logits [n, outputs]: no bundle serves it, so it has no bands."""
    metrics = several.evaluate(
        labels["test"],
        several.probabilities(logits["test"]),
        classes=tuple(config.class_.classes),
        seed=config.train.seed,
        resamples=config.evaluate.bootstrap,
    )
    return Verdict(Calibration(), Thresholds(thresholds.NEVER, thresholds.NEVER), metrics)


def _draw(
    run: epath.Path,
    config: Config,
    dataset: Dataset,
    labels: np.ndarray,
    probabilities: np.ndarray,
    metrics: dict[str, Any],
) -> None:
    """A binary run's curves, and the sheet of the test photos that the head gets most wrong."""
    title = f"{config.class_.name}, {len(labels)} test photos"
    plots.precision_recall_plot(run / "precision_recall.png", labels, probabilities, metrics, title)
    plots.reliability_plot(run / "reliability.png", labels, probabilities, metrics, title)
    plots.sheet(run / "mistakes.png", mistakes(dataset, dataset.rows("test"), probabilities))


def mistakes(
    dataset: Dataset, rows: np.ndarray, probabilities: np.ndarray, count: int = 12
) -> list[tuple[Photo, str, plots.Kind]]:
    """Tiles for `plots.sheet`: of `rows`, the highest negatives and the lowest positives."""
    false_alarms, missed = plots.worst(dataset.labels[rows], probabilities, count)
    tiles: list[tuple[Photo, str, plots.Kind]] = []
    kinds: list[tuple[plots.Kind, np.ndarray]] = [("false alarm", false_alarms), ("missed", missed)]
    for kind, chosen in kinds:
        for i in chosen:
            item = dataset.source.items[rows[i]]
            photo = decode(dataset.source.read(int(rows[i])), dataset.limits, SHEET_EDGE)
            tiles.append((photo, f"{probabilities[i]:.3f} {item.label}\n{PurePath(item.path).name}", kind))
    return tiles


def _new_run(config: Config, store: Store) -> epath.Path:
    """A folder of its own for the run, with the config in it."""
    runs = store.runs / config.class_.name
    while True:
        run = runs / datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
        try:
            run.mkdir(parents=True)
        except FileExistsError:
            continue
        _write(run / "config.json", config.model_dump(mode="json", by_alias=True))
        return run


def _unfinished_run(config: Config, store: Store) -> epath.Path:
    """The class's newest run, which must be unfinished and of the same config."""
    runs = store.runs / config.class_.name
    found = sorted(runs.glob("*/config.json")) if runs.exists() else []
    if not found or (found[-1].parent / "head.json").exists():
        raise InputError(f"--resume: {config.class_.name} has no unfinished run in {runs}; train without it")
    saved = parse_config(parse_json(found[-1].read_text(), str(found[-1])), str(found[-1]))
    before, now = saved.model_dump(by_alias=True), config.model_dump(by_alias=True)  # both without passwords
    if before != now:
        changed = _difference(before, now)
        raise InputError(f"--resume: {changed} is not as in the unfinished run {found[-1].parent}")
    return found[-1].parent


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """The first key, as section.key, in which two dumped configs differ."""
    return next(
        f"{section}.{key}"
        for section, table in one.items()
        for key, value in table.items()
        if other[section][key] != value
    )


def _same_start(run: epath.Path, dataset: Dataset, beginning: Beginning) -> None:
    """Remembers what the run began with; it is never resumed on other photos, labels, sides or weights."""
    rows = [dataset.index.sha256, dataset.labels.tolist(), dataset.sides.tolist()]
    found = {
        "photos": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        "weights": beginning.sha256,
        **dataset.summary(),
    }
    remembered = run / "start.json"
    if not remembered.exists():
        _write(remembered, found)
        return
    before = parse_json(remembered.read_text(), str(remembered))
    for what in ("weights", "photos"):
        if before.get(what) != found[what]:
            raise InputError(f"--resume: the {what} are not those with which {run} began; train without it")


def _write(path: epath.Path, content: dict[str, Any]) -> None:
    publish_file(path, json.dumps(content, indent=1).encode())
