"""A head in seconds: labels met with the embeddings that the pool has already, and only the classifier fitted.

The head is a normal one, which any bundle serves: the weights' network for a trunk, through `top`, and the
fitted classifier. What is said of it rests on photos that the classifier in question has not seen:

- *The figures* come from the test side of the split, as for any head. Photos chosen by a strategy are never on it, and
  it stays out of training as soon as it holds `LEAST` photos of either kind. Before, every label is worth more in
  training than it could tell as a test, and the card says that nothing was measured. The card names the photos that
  were held out, since the sides of a later day are others: labels come in between, and shares change.
- *Calibration and thresholds* come from all other photos, each scored by a classifier fitted without it and without
  its near-identical ones (out of fold), so that no label is spent on a validation side.
  Calibration looks at the photos that the loop asked about, chosen ones among them: they were chosen by what they look
  like and not by their label, so that of those with one score the same part is of the class as in the pool. Imported
  photos were not, and come in only where fewer than `LEAST` of either kind were asked about.
  Thresholds need the part of all photos of the class, and of all others, above a score, which chosen photos would
  distort: they come from imported and random ones, and from all where these are fewer than `LEAST` of either kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prohibit_jax.bundle.card import Card, Trunk, library_versions
from prohibit_jax.bundle.store import Store
from prohibit_jax.config import Config
from prohibit_jax.data.index import Index, index
from prohibit_jax.data.label_store import HONEST, Resolved
from prohibit_jax.data.labels import fingerprint
from prohibit_jax.data.sources import Files, Item
from prohibit_jax.data.splits import clusters, split
from prohibit_jax.evaluate import calibration, report, thresholds
from prohibit_jax.evaluate.metrics import average_precision, bootstrap
from prohibit_jax.heads.embedded import BATCH, embeddings
from prohibit_jax.images.decode import Limits
from prohibit_jax.models.network import CLASSIFIER, POOLED, Network, shapes
from prohibit_jax.score.embed import Embedder, Embedding, load_embedder
from prohibit_jax.score.table import ScoreTable
from prohibit_jax.train.classifier import Classifier, Spread, fit_folds
from prohibit_jax.types import Calibration, HeadRef, InputError, Line, Thresholds, silent
from prohibit_jax.weights.imported import Weights, load

LEAST = 5
"""Photos of either kind from which on a set of them may calibrate, set thresholds or be a test."""

FOLDS = 5
SPREAD = 20_000
"""Photos of the pool from which the features' spread is taken, evenly over it."""

DIGITS = 16
"""Of a photo's SHA-256, by which a card names it."""

NAMED = 10_000
"""At most so many photos held out does a card name, those of the least SHA-256: an even sample of any more."""


@dataclass(frozen=True)
class Labelled:
    """The photos of a class with a yes or no, and what a classifier needs of them.

    Attributes:
        sha256: of each, in the order of the labels.
        rows: int64 [n], in the pool, -1 for a photo outside of it.
        labels: int8 [n], 1 for yes.
        features: float32 [n, f], their embeddings.
        phash: uint64 [n].
        strategies: [n], which chose each.
        clusters: int64 [n], the same number for near-identical photos.
        sides: [n], `train`, `validation` or `test`, by the hash rule of all training.
        data: the fingerprint of photos and labels, as a card has it.
    """

    sha256: tuple[str, ...]
    rows: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    phash: np.ndarray
    strategies: np.ndarray
    clusters: np.ndarray
    sides: np.ndarray
    data: str


@dataclass(frozen=True)
class Quick:
    """A head and what it says of the photos that it was made from.

    Attributes:
        card: without a version until it is published.
        variables: its parameters, by name.
        classifier: the same on embeddings.
        unseen: float32 [n], the logit of each known photo by a classifier that has not seen it; NaN where none is.
        held_out: whether the test side was kept out of training.
    """

    card: Card
    variables: dict[str, np.ndarray]
    classifier: Classifier
    unseen: np.ndarray
    held_out: bool

    @property
    def ref(self) -> HeadRef:
        """Its name in the store, once it is published."""
        return HeadRef(self.card.name, self.card.version)


def pool_embedder(pool: ScoreTable, store: Store, source: str) -> Embedder:
    """What embeds photos as the pool's were. Raises InputError where the pool has no embedding, or other weights'."""
    if pool.embedding is None:
        raise InputError(f"{source}: it has no embeddings; score the photos with --embedding lite0")
    if not len(_sound(pool)):
        raise InputError(f"{source}: none of the pool's photos has an embedding; its column error says why")
    spec = f"{pool.embedding.weights}:{pool.embedding.size}"
    embedder = load_embedder(store, spec, BATCH)
    if embedder.embedding != pool.embedding:
        raise InputError(
            f"{source}: its embeddings are of other weights than the {pool.embedding.weights} in {store.root}; "
            f"score the photos again with --embedding {spec}"
        )
    return embedder


def spread_of(pool: ScoreTable) -> Spread:
    """The spread of the pool's features, of evenly spaced photos."""
    rows = _sound(pool)
    rows = rows[:: max(1, len(rows) // SPREAD)]
    return Spread.of(np.concatenate([features for _, features in pool.embeddings(rows)]))


def logits_of(classifiers: Sequence[Classifier], pool: ScoreTable) -> np.ndarray:
    """Of every photo of the pool by each classifier, float32 [m, rows], in one pass; NaN without an embedding."""
    kernels = np.stack([classifier.kernel for classifier in classifiers], 1)
    biases = np.array([[classifier.bias] for classifier in classifiers], np.float32)
    logits = np.full((len(classifiers), pool.rows), np.nan, np.float32)
    for rows, features in pool.embeddings():
        logits[:, rows] = (features @ kernels).T + biases
    return logits


def classifier_of(ref: HeadRef, store: Store) -> Classifier:
    """That of a published head."""
    variables = store.read_head(ref).variables
    return Classifier(variables[CLASSIFIER[0]][:, 0], float(variables[CLASSIFIER[1]][0]))


def rows_of(pool: ScoreTable, photos: Sequence[str]) -> np.ndarray:
    """int64 [n]: the first row of the pool with an embedding of each photo, by SHA-256; -1 where there is none."""
    found = np.full(len(photos), -1, np.int64)
    table = pool.read(["sha256", "error"])
    which = pc.index_in(table.column("sha256"), value_set=pa.array(photos, pa.string()))
    usable = pc.and_(pc.is_valid(which), pc.is_null(table.column("error")))
    rows = np.flatnonzero(usable.to_numpy())[::-1]
    found[which.take(pa.array(rows)).to_numpy()] = rows  # the first row is written last
    return found


def gather(
    resolved: Sequence[Resolved],
    pool: ScoreTable,
    embedder: Embedder,
    config: Config,
    store: Store,
    *,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> Labelled:
    """Gathers what is known: the pool's embeddings, and for photos outside of it their own, computed once and kept.

    Photos without a yes or no are passed over. A photo outside of the pool that is gone, changed or broken is left out
    with a warning.
    """
    answered = [one for one in resolved if one.answer in ("yes", "no")]
    rows = rows_of(pool, [one.sha256 for one in answered])
    outside = [one for one, row in zip(answered, rows, strict=True) if row < 0]
    hashes, own = _embedded(outside, embedder, config, store, progress, warn)
    kept = np.array([row >= 0 or one.sha256 in hashes for one, row in zip(answered, rows, strict=True)], bool)
    answered, rows = [one for one, keep in zip(answered, kept, strict=True) if keep], rows[kept]

    features = np.zeros((len(answered), embedder.embedding.features), np.float32)
    phash = np.zeros(len(answered), np.uint64)
    inside = np.flatnonzero(rows >= 0)
    order = inside[np.argsort(rows[inside])]
    features[order] = np.concatenate([features[:0], *(part for _, part in pool.embeddings(rows[order]))])
    phash[inside] = pool.phash()[rows[inside]]
    for i in np.flatnonzero(rows < 0):
        features[i], phash[i] = own[answered[i].sha256], hashes[answered[i].sha256]

    labels = np.array([one.answer == "yes" for one in answered], np.int8)
    items = [Item(one.path, one.answer, split="" if one.strategy in HONEST else "train") for one in answered]
    # A table has no thumbnails, without which a few photos more count as near-identical: the safe side.
    nothing, thumbs = np.zeros(len(items), np.int32), np.zeros((len(items), 16, 16), np.uint8)
    sha256 = tuple(one.sha256 for one in answered)
    looked = Index(sha256, phash, thumbs, nothing, nothing, ("",) * len(items))
    return Labelled(
        sha256,
        rows,
        labels,
        features,
        phash,
        np.array([one.strategy for one in answered], dtype=np.str_),
        clusters(looked, items),
        split(looked, items, validation=config.data.validation, test=config.data.test),
        fingerprint(looked, labels),
    )


def make_quick(config: Config, known: Labelled, spread: Spread, embedding: Embedding, store: Store) -> Quick:
    """Fits and judges a class's head.

    Args:
        config: the class, what it is evaluated for, and what the card records.
        known: labelled photos, a yes and a no at least.
        spread: of the pool's features.
        embedding: what made the features.
        store: where its weights are.

    Raises:
        InputError: only one kind of label.
    """
    tested = known.sides == "test"
    held_out = _enough(known.labels[tested]) and len(np.unique(known.labels[~tested])) == 2
    trained = ~tested if held_out else np.ones(len(known.labels), bool)
    classifier, unseen = _fit(known, trained, spread)
    logits = np.where(trained, unseen, classifier(known.features) if held_out else unseen)
    settings = thresholds.Settings(**config.evaluate.model_dump())
    scale, bands, basis = _scaled(known, logits, trained, settings)
    metrics = _judged(known.labels, logits, trained, scale, bands, settings, config.train.seed)

    weights = load(store.root, embedding.weights)
    card = Card(
        name=config.class_.name,
        arch=replace(weights.arch, outputs=1),
        preprocessing=replace(weights.preprocessing, size=embedding.size),
        trunk=_trunk(weights, store),
        calibration=scale,
        thresholds=bands,
        metrics=metrics,
        data=_data(known, trained) | basis,
        seed=config.train.seed,
        config=config.model_dump(mode="json", by_alias=True),
        versions=library_versions(),
    )
    own = dict(zip(CLASSIFIER, (classifier.kernel[:, None], np.array([classifier.bias], np.float32)), strict=True))
    every = {**weights.variables, **own}
    variables = {name: every[name] for name in shapes(card.network())}
    return Quick(card, variables, classifier, logits, held_out)


def publish(quick: Quick, store: Store) -> Quick:
    """Publishes a head as the next version of its class."""
    return replace(quick, card=store.read_card(store.publish_head(quick.card, quick.variables)))


def held_out_of(card: Card) -> frozenset[str] | None:
    """The photos that a quick head's training held out, by the first `DIGITS` of their SHA-256; None of other heads."""
    return frozenset(str(card.data["held_out"]).split()) if "held_out" in card.data else None


def among(photos: Sequence[str], held_out: frozenset[str]) -> np.ndarray:
    """bool [n]: which photos, by SHA-256, are of those that were held out."""
    return np.array([photo[:DIGITS] in held_out for photo in photos], bool)


def _sound(pool: ScoreTable) -> np.ndarray:
    """int64, the rows of the pool's photos without an error."""
    return np.flatnonzero(pc.is_null(pool.texts("error")).to_numpy())


def _embedded(
    outside: Sequence[Resolved],
    embedder: Embedder,
    config: Config,
    store: Store,
    progress: Line,
    warn: Callable[[str], None],
) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """(the perceptual hashes of those photos that can be used, their embeddings), by SHA-256."""
    limits = Limits(config.data.max_bytes, config.data.max_pixels)
    source = Files(tuple(Item(one.path, one.answer) for one in outside))
    seen = index(source, store.cache, progress=progress("photos outside of the pool"), limits=limits)
    usable = np.array([seen.sha256[i] == one.sha256 and not seen.error[i] for i, one in enumerate(outside)], bool)
    if not usable.all():
        first = int(np.flatnonzero(~usable)[0])
        reason = seen.error[first] or "its content is another now"
        warn(
            f"{np.count_nonzero(~usable)} labelled photos are not in the pool and cannot be used; "
            f"the first: {outside[first].path}: {reason}"
        )
    rows = np.flatnonzero(usable)
    if not rows.size:
        return {}, {}
    advance = progress("embedding photos outside of the pool")
    found = embeddings(store, embedder, source, seen.sha256, rows, limits, advance)
    return (
        {seen.sha256[row]: int(seen.phash[row]) for row in rows},
        {seen.sha256[row]: own for row, own in zip(rows, found, strict=True)},
    )


def _fit(known: Labelled, trained: np.ndarray, spread: Spread) -> tuple[Classifier, np.ndarray]:
    """(the classifier of all trained photos; float32 [n], the logit of each by one fitted without its fold, or NaN).

    All are fitted in one call, since compiling takes longer than fitting.
    """
    features, labels = known.features[trained], known.labels[trained]
    folds = _folds(labels, known.clusters[trained])
    left_in = [np.ones(len(labels), bool), *(folds != fold for fold in range(folds.max() + 1))]
    kernels, biases = fit_folds(features, labels, spread, np.stack(left_in).astype(np.float64))
    classifiers = [Classifier(kernel, float(bias)) for kernel, bias in zip(kernels, biases, strict=True)]
    own = np.full(len(labels), np.nan, np.float32)
    for fold, classifier in enumerate(classifiers[1:]):
        own[folds == fold] = classifier(features[folds == fold])
    unseen = np.full(len(trained), np.nan, np.float32)
    unseen[trained] = own
    return classifiers[0], unseen


def _enough(labels: np.ndarray) -> bool:
    return bool(min(np.count_nonzero(labels == 1), np.count_nonzero(labels == 0)) >= LEAST)


def _folds(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """int64 [n]: stratified folds that keep a cluster together; all -1 where one cluster holds all of a kind."""
    names, member = np.unique(groups, return_inverse=True)
    positive = np.bincount(member, labels) > 0
    count = min(FOLDS, int(positive.sum()), int((~positive).sum()))
    if count < 2:
        return np.full(len(labels), -1)
    fold = np.empty(len(names), np.int64)
    for kind in (positive, ~positive):
        fold[kind] = np.arange(np.count_nonzero(kind)) % count
    return fold[member]


def _scaled(
    known: Labelled, logits: np.ndarray, trained: np.ndarray, settings: thresholds.Settings
) -> tuple[Calibration, Thresholds, dict[str, Any]]:
    """Calibration and thresholds from trained photos out of fold, and which of them each came from."""

    def first_enough(*choices: tuple[str, np.ndarray]) -> tuple[str, np.ndarray]:
        return next((choice for choice in choices if _enough(known.labels[choice[1]])), choices[-1])

    unseen = trained & np.isfinite(logits)
    if len(np.unique(known.labels[unseen])) < 2:
        return Calibration(), Thresholds(), {"calibrated_on": "nothing", "thresholds_from": "nothing"}
    everything = ("all labels", unseen)
    asked = ("asked", unseen & (known.strategies != "imported"))
    honest = ("imported and random", unseen & np.isin(known.strategies, HONEST))
    by, rows = first_enough(asked, everything)
    scale = calibration.fit(known.labels[rows], logits[rows], settings.calibration)
    source, rows = first_enough(honest, everything)
    bands = thresholds.choose(settings, known.labels[rows], scale(logits[rows]))
    return scale, bands, {"calibrated_on": by, "thresholds_from": source}


def _judged(
    labels: np.ndarray,
    logits: np.ndarray,
    trained: np.ndarray,
    scale: Calibration,
    bands: Thresholds,
    settings: thresholds.Settings,
    seed: int,
) -> dict[str, Any]:
    """The test side's figures, or why there are none; beside them what cross-validation says of all other photos."""
    unseen = trained & np.isfinite(logits)
    crossed: dict[str, Any] = {"positives": int(labels[unseen].sum()), "negatives": int((1 - labels[unseen]).sum())}
    if crossed["positives"] and crossed["negatives"]:
        area = bootstrap(average_precision, labels[unseen], logits[unseen], seed, settings.bootstrap)
        crossed["average_precision"] = asdict(area)
    if trained.all():
        none = {"value": None, "low": None, "high": None}
        note = f"not measured: the test side has fewer than {LEAST} photos of the class or of the rest"
        figures: dict[str, Any] = {"average_precision": none, "positives": 0, "negatives": 0, "note": note}
    else:
        figures = report.evaluate(
            labels[~trained], logits[~trained], calibration=scale, settings=settings, thresholds=bands, seed=seed
        )
    return figures | {"out_of_fold": crossed}


def _data(known: Labelled, trained: np.ndarray) -> dict[str, Any]:
    """What a card records of the photos; no validation side: those of training stand in for it, out of fold."""

    def counts(chosen: np.ndarray) -> dict[str, int]:
        return {"positives": int(known.labels[chosen].sum()), "photos": int(np.count_nonzero(chosen))}

    nobody = np.zeros(len(trained), bool)
    sides = {"train": counts(trained), "validation": counts(nobody), "test": counts(~trained)}
    held_out = sorted(photo[:DIGITS] for photo, kept in zip(known.sha256, trained, strict=True) if not kept)[:NAMED]
    return {"fingerprint": known.data, **sides, "made": "classifier on embeddings", "held_out": " ".join(held_out)}


def _trunk(weights: Weights, store: Store) -> Trunk:
    trunk, _ = Network(weights.arch).split(POOLED)
    return Trunk(store.publish_trunk({name: weights.variables[name] for name in shapes(trunk)}), POOLED)
