"""Merges heads: one network, taught by theirs, answers for all their classes at the cost of one.

What is published is a trunk through `top` and, for each class, its next version: an ordinary head of 1,281 numbers on
that trunk. So whatever serves heads serves merged ones; a class is split out by training its next version whole, and
all is undone by pinning the former versions, which stay as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from etils import epath
from safetensors.numpy import load, save

from prohibit_jax.bundle.card import Card, Trunk, library_versions
from prohibit_jax.bundle.store import Head, Store, open_store
from prohibit_jax.config import Config, DataConfig, Section, parse_config
from prohibit_jax.data.dataset import Dataset, labelled, load_dataset, require_all
from prohibit_jax.data.index import Index, index
from prohibit_jax.data.label_source import KIND
from prohibit_jax.data.labels import fingerprint
from prohibit_jax.data.loader import decoded
from prohibit_jax.data.sources import Item, Source, open_source
from prohibit_jax.data.splits import clusters, split
from prohibit_jax.evaluate.metrics import average_precision
from prohibit_jax.evaluate.paired import Pair, pair
from prohibit_jax.files import held, publish_file
from prohibit_jax.heads.begin import LAST, Beginning, begin
from prohibit_jax.heads.judge import config_on, own_sides
from prohibit_jax.heads.make import verdict_of
from prohibit_jax.images.decode import Limits
from prohibit_jax.models.network import CLASSIFIER, POOLED, Network, shapes
from prohibit_jax.score.scorer import Scorer, read_trunks, scorer_of
from prohibit_jax.train.distil import DistilConfig, distil
from prohibit_jax.train.examples import PhotoExamples
from prohibit_jax.types import Advance, Calibration, HeadRef, InputError, Line, Thresholds, Variables, silent
from prohibit_jax.weights.imported import Weights, with_fresh_classifier

BATCH = 32
FEWEST = 2  # classes
UNPUBLISHED = "0" * 64  # stands for the trunk's SHA-256 while the merged heads are judged
ROUNDING = 1e-9  # what a loss may exceed the largest by


class MergeConfig(Section):
    """How the merged network is taught."""

    train: DistilConfig = DistilConfig()


@dataclass(frozen=True)
class MergedClass:
    """A class on its own test photos: average precision of its head, of the merged network, and their difference."""

    old: HeadRef
    quality: Pair
    positives: int
    negatives: int
    accepted: bool
    new: HeadRef | None = None  # once published


@dataclass(frozen=True)
class Cost:
    """What the heads cost, all together: networks that run over every photo, and MB of distinct parameters."""

    networks: int
    megabytes: float


@dataclass(frozen=True)
class Merged:
    """What came of it: `trunk` is the SHA-256 of the published trunk, "" where nothing was published."""

    classes: tuple[MergedClass, ...]
    trunk: str
    photos: int  # that taught it
    size: int  # edge of its input, pixels
    before: Cost
    after: Cost  # of what was, or would have been, published, and the heads that stay as they are


@dataclass(frozen=True)
class Teacher:
    """A head that is merged, and its own photos.

    Attributes:
        head: as published.
        config: its own, but for the model, which is the merged network's, and the photos that it is judged on.
        dataset: those photos; the test side is the one that the head's training held out.
    """

    head: Head
    config: Config
    dataset: Dataset

    @property
    def name(self) -> str:
        """Its class."""
        return self.head.ref.name


@dataclass(frozen=True, repr=False)  # each place would show its whole source
class Photos:
    """Chosen photos of any sources, as one source."""

    places: tuple[tuple[Source, int], ...]
    limits: Limits

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """A row each."""
        return tuple(source.items[row] for source, row in self.places)

    def read(self, i: int) -> bytes:
        """See data.sources.Source."""
        source, row = self.places[i]
        return source.read(row)


def merge_heads(
    refs: Sequence[HeadRef | str],
    pool: str,
    store: Store | epath.PathLike,
    config: MergeConfig = MergeConfig(),  # noqa: B008 - frozen
    *,
    data: str = "",
    weights: str = "",
    size: int = 0,
    photos: int = 20_000,
    max_loss: float = 0.01,
    partly: bool = False,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> Merged:
    """Teaches one network what several heads say of a pool of photos, and publishes it where no class loses by it.

    Given again, after a kill or with another `max_loss` or `partly`, it goes on from the last epoch that it finished.

    Photos on the validation or test side of any of the classes, near-identical ones, and those of the pool that
    would come on these sides with a label, teach nothing. Calibration and
    thresholds come from each class's validation photos, what it gains or loses from its test photos.

    Args:
        refs: the heads, of one class each; without a version the latest.
        pool: the photos that teach, as in `folder:PATH`; no label of theirs is looked at.
        store: where heads are.
        config: how the network is taught.
        data: labelled photos that all classes are judged on; by default each class's own.
        weights: what the network starts from; by default the weights that all heads come from.
        size: edge of its input, pixels; by default the heads' own.
        photos: of the pool at most, evenly over it.
        max_loss: in average precision, that a class is accepted with.
        partly: publish the classes that are accepted where others are not; at least two.
        progress: opens a progress bar.
        warn: told in one line what was left out.

    Returns:
        What was compared, and where accepted what was published.

    Raises:
        InputError: heads, photos or weights that this cannot be done with, in one line.
    """
    store = open_store(store)
    heads = _heads(refs, store)
    for head in heads:
        if head.card.data.get("made") == "merged":
            warn(f"{head.ref} is merged already: it may lose again beside {head.card.data['from']}")
    model = _model(heads, weights, size, store)
    beginning = begin(_config(heads[0], config_on(heads[0], ""), model), store)
    teachers = _teachers(heads, store, data, model, progress, warn)
    limits = Limits(
        max(teacher.dataset.limits.bytes for teacher in teachers),
        max(teacher.dataset.limits.pixels for teacher in teachers),
    )
    taught_by, pool_sha256 = _pool(pool, teachers, limits, config.train, photos, store, progress, warn)

    trunks = read_trunks(store, [head.card for head in heads])
    asked = scorer_of(heads, trunks, (BATCH,))
    run = _run(heads, beginning, pool_sha256, config.train, store)
    with held(run, f"{run}: the same heads are being merged there; wait for it"):
        targets = _targets(run, asked, taught_by, progress)
        variables = _taught(beginning, taught_by, targets, teachers[0].config.data.workers, config.train, run, progress)
    trunk = {name: variables[name] for name in shapes(beginning.network.split(POOLED)[0])}
    made = {
        "made": "merged",
        "pool": pool_sha256,
        "photos": len(targets),
        "classes": " ".join(teacher.name for teacher in teachers),
        "distilled": config.train.model_dump(mode="json"),
    }
    drafts = [_draft(teacher, i, beginning, variables, made) for i, teacher in enumerate(teachers)]
    merged = scorer_of(drafts, {UNPUBLISHED: trunk}, (BATCH,))
    judged = _judged(teachers, drafts, asked, merged, limits, max_loss, progress)

    classes = [one for one, _ in judged]
    accepted = [one.accepted for one in classes]
    sha256 = ""
    if all(accepted) or (partly and sum(accepted) >= FEWEST):
        sha256 = store.publish_trunk(trunk)
        classes = [
            _published(one, card, draft, sha256, store) for (one, card), draft in zip(judged, drafts, strict=True)
        ]
        run.rmtree(missing_ok=True)
    kept = [draft if one else head for one, draft, head in zip(accepted, drafts, heads, strict=True)]
    return Merged(
        tuple(classes),
        sha256,
        len(targets),
        beginning.preprocessing.size,
        before=_cost(heads, trunks),
        after=_cost(kept, {**trunks, UNPUBLISHED: trunk}),
    )


def _heads(refs: Sequence[HeadRef | str], store: Store) -> list[Head]:
    heads = [store.read_head(ref) for ref in refs]
    names = [head.ref.name for head in heads]
    if len(heads) < FEWEST:
        raise InputError(f"--classes {','.join(map(str, refs))}: name at least {FEWEST} classes to merge")
    for head in heads:
        if names.count(head.ref.name) > 1:
            raise InputError(f"--classes: {head.ref.name} is named twice; give one version of it")
        if head.card.classes:
            raise InputError(f"head {head.ref}: one network of several classes already; merge heads of one class each")
    return heads


def _model(heads: Sequence[Head], weights: str, size: int, store: Store) -> dict[str, Any]:
    """The `[model]` of the merged heads' configs."""
    origins = sorted({_origin(head.card, store) for head in heads})
    sizes = sorted({head.card.preprocessing.size for head in heads})
    if not weights and (len(origins) > 1 or not origins[0]):
        come = ", ".join(origin or "nothing" for origin in origins)
        raise InputError(
            f"--weights: name what the merged network starts from, as in lite0; its heads come from {come}"
        )
    if weights == LAST:
        raise InputError("--weights last: name the head with its version, as in weapon@3")
    if not size and len(sizes) > 1:
        raise InputError(f"--size: name the merged network's; its heads take {', '.join(map(str, sizes))} pixels")
    return {"weights": weights or origins[0], "trunk_through": POOLED, "size": size or sizes[0]}


def _origin(card: Card, store: Store) -> str:
    """The imported weights that a head's training began with, or that of the head it began with; "" from scratch."""
    weights = str(card.config.get("model", {}).get("weights", ""))
    if weights == LAST:
        return _origin(store.read_card(HeadRef(card.name, card.version - 1)), store)
    return _origin(store.read_card(weights), store) if "@" in weights else weights


def _config(head: Head, config: Config, model: Mapping[str, Any]) -> Config:
    """A class's config as that of its merged head."""
    tables = config.model_dump(mode="json", by_alias=True)
    return parse_config({**tables, "model": {**tables["model"], **model}}, f"merging {head.ref}")


def _teachers(
    heads: Sequence[Head],
    store: Store,
    data: str,
    model: Mapping[str, Any],
    progress: Line,
    warn: Callable[[str], None],
) -> list[Teacher]:
    """The heads with the photos that they are judged on; those of several classes of one source are looked at once."""
    seen: dict[DataConfig, Dataset] = {}
    teachers = []
    for head in heads:
        source = data or str(head.card.config.get("data", {}).get("source", ""))
        config = config_on(head, source)
        if config.data not in seen or source.startswith(KIND):
            seen[config.data] = load_dataset(
                config, store.cache, every_label=False, progress=progress("looking at photos"), warn=warn
            )
        else:
            _, labels = labelled(config, store.root, every_label=False)
            seen[config.data] = replace(seen[config.data], labels=labels)
        dataset = _sided(head, seen[config.data], source, warn)
        for side in ("validation", "test"):
            try:
                require_all(dataset, side)
            except InputError as error:
                raise InputError(f"class {head.ref.name}: {error}") from None
        teachers.append(Teacher(head, _config(head, config, model), dataset))
    return teachers


def _sided(head: Head, dataset: Dataset, source: str, warn: Callable[[str], None]) -> Dataset:
    """The same with the test side of the head's own training; where that had no validation side, with the split's."""
    test = own_sides(head, dataset, source, warn).sides == "test"
    return replace(dataset, sides=np.where(test, "test", np.where(dataset.sides == "test", "train", dataset.sides)))


def _pool(
    pool: str,
    teachers: Sequence[Teacher],
    limits: Limits,
    config: DistilConfig,
    most: int,
    store: Store,
    progress: Line,
    warn: Callable[[str], None],
) -> tuple[Photos, str]:
    """The photos that teach, each content once and none like one that judges, and their fingerprint."""
    whole = open_source(pool)
    places = np.unique(np.linspace(0, len(whole.items) - 1, min(len(whole.items), most)).astype(int))
    source = Photos(tuple((whole, int(row)) for row in places), limits)
    seen = index(source, store.cache, progress=progress("looking at the pool"), limits=limits)
    if broken := [f"{item.path}: {error}" for item, error in zip(source.items, seen.error, strict=True) if error]:
        warn(f"{len(broken)} of {len(seen.error)} photos of the pool cannot be used; the first: {broken[0]}")
    n = len(source.items)
    # By its hash, a photo of the pool that gets its label later is on the side where it is now: on those it judges.
    shares = {side: max(getattr(teacher.config.data, side) for teacher in teachers) for side in ("validation", "test")}
    teaching = split(seen, source.items, **shares) == "train"
    parts, items = [(seen, np.arange(n))], list(source.items)
    for teacher in teachers:
        rows = np.concatenate([teacher.dataset.rows(side) for side in ("validation", "test")])
        parts.append((teacher.dataset.index, rows))
        items += [teacher.dataset.source.items[row] for row in rows]
    cluster = clusters(_joined(parts), items)
    _, first = np.unique(seen.sha256, return_index=True)
    rows = first[seen.usable[first] & teaching[first] & ~np.isin(cluster[first], cluster[n:])]  # by content
    least = max(config.batch, 2 * len(teachers))
    if len(rows) < least:
        raise InputError(
            f"--pool {pool}: {len(rows)} photos are left of {n} without those that calibrate or test a class and those "
            f"like them; give at least {least}"
        )
    chosen = np.full(n, -1)
    chosen[rows] = 0
    return Photos(tuple((source, int(row)) for row in rows), limits), fingerprint(seen, chosen)


def _joined(parts: Sequence[tuple[Index, np.ndarray]]) -> Index:
    """Rows of several indices as one."""
    arrays = {
        name: np.concatenate([getattr(seen, name)[rows] for seen, rows in parts])
        for name in ("phash", "thumbs", "width", "height")
    }
    sha256, error = (
        tuple(getattr(seen, name)[row] for seen, rows in parts for row in rows) for name in ("sha256", "error")
    )
    return Index(sha256, error=error, **arrays)


def _logits(scorers: Sequence[Scorer], photos: Photos, advance: Advance) -> list[np.ndarray]:
    """Each scorer's logits, float32 [n, k], of all photos, which are decoded once at every size that is wanted."""
    sizes = sorted({size for scorer in scorers for size in scorer.sizes})
    rows = np.arange(len(photos.places))
    streams = [
        decoded(photos, rows, size, progress=None if i else advance, chunk=BATCH, limits=photos.limits)
        for i, size in enumerate(sizes)
    ]
    parts: list[list[np.ndarray]] = [[] for _ in scorers]
    for chunks in zip(*streams, strict=True):
        images = {size: chunk for size, (_, chunk) in zip(sizes, chunks, strict=True)}
        for part, scorer in zip(parts, scorers, strict=True):
            part.append(scorer.logits({size: images[size] for size in scorer.sizes}))
    return [np.concatenate(part) for part in parts]


def _run(
    heads: Sequence[Head], beginning: Beginning, pool_sha256: str, config: DistilConfig, store: Store
) -> epath.Path:
    """Where this is kept while it is made: the same heads, photos and settings again go on from what is there."""
    about = {
        "heads": {str(head.ref): head.card_sha256 for head in heads},
        "weights": beginning.sha256,
        "size": beginning.preprocessing.size,
        "pool": pool_sha256,
        "train": config.model_dump(mode="json"),
    }
    text = json.dumps(about, indent=1).encode()
    run = store.runs / "merged" / hashlib.sha256(text).hexdigest()[:16]
    publish_file(run / "merge.json", text)
    return run


def _targets(run: epath.Path, asked: Scorer, photos: Photos, progress: Line) -> np.ndarray:
    """What the heads say of the photos, float32 [n, heads]; they are asked once."""
    path = run / "logits.safetensors"
    if not path.exists():
        (logits,) = _logits([asked], photos, progress("asking the heads"))
        publish_file(path, save({"logits": logits}))
    return np.asarray(load(path.read_bytes())["logits"])


def _taught(
    beginning: Beginning,
    photos: Photos,
    targets: np.ndarray,
    workers: int,
    config: DistilConfig,
    run: epath.Path,
    progress: Line,
) -> dict[str, np.ndarray]:
    """The merged network's variables, with an output for each head."""
    size = beginning.preprocessing.size
    start = Weights(beginning.network.arch, beginning.preprocessing, beginning.variables, "")
    student = with_fresh_classifier(start, outputs=targets.shape[1], seed=config.seed)
    return distil(
        Network(student.arch),
        beginning.preprocessing,
        student.variables,
        PhotoExamples(photos, size, config.training(), workers, photos.limits),
        targets,
        config,
        run,
        progress,
    )


def _draft(teacher: Teacher, output: int, beginning: Beginning, variables: Variables, made: Mapping[str, Any]) -> Head:
    """The merged head of one class, before it is judged: one output of the merged network."""
    old, config = teacher.head, teacher.config
    kernel, bias = (variables[name][..., output : output + 1] for name in CLASSIFIER)
    held_out = {key: old.card.data[key] for key in ("held_out",) if key in old.card.data}  # see heads/quick.py
    card = Card(
        name=teacher.name,
        arch=beginning.network.arch,
        preprocessing=beginning.preprocessing,
        trunk=Trunk(UNPUBLISHED, POOLED),
        calibration=Calibration(),
        thresholds=Thresholds(),
        metrics={},
        data={**teacher.dataset.summary(), **made, "from": str(old.ref), **held_out},
        seed=config.train.seed,
        config=config.model_dump(mode="json", by_alias=True),
        versions=library_versions(),
    )
    return Head(old.ref, card, {CLASSIFIER[0]: kernel, CLASSIFIER[1]: bias})


def _judged(
    teachers: Sequence[Teacher],
    drafts: Sequence[Head],
    asked: Scorer,
    merged: Scorer,
    limits: Limits,
    max_loss: float,
    progress: Line,
) -> list[tuple[MergedClass, Card]]:
    """What each class gains or loses, and its card with calibration, thresholds and figures."""
    places: dict[str, tuple[Source, int]] = {}
    for teacher in teachers:
        dataset = teacher.dataset
        for row in np.concatenate([dataset.rows("validation"), dataset.rows("test")]):
            places.setdefault(dataset.index.sha256[row], (dataset.source, int(row)))
    number = {sha256: i for i, sha256 in enumerate(places)}
    old, new = _logits([asked, merged], Photos(tuple(places.values()), limits), progress("judging"))

    found = []
    for k, (teacher, draft) in enumerate(zip(teachers, drafts, strict=True)):
        dataset, config = teacher.dataset, teacher.config
        rows = {side: dataset.rows(side) for side in ("validation", "test")}
        labels = {side: dataset.labels[rows[side]] for side in rows}
        at = {side: np.array([number[dataset.index.sha256[row]] for row in rows[side]]) for side in rows}
        quality = pair(
            average_precision,
            labels["test"],
            old[at["test"], k],
            new[at["test"], k],
            config.train.seed,
            config.evaluate.bootstrap,
        )
        verdict = verdict_of(config, labels, {side: new[at[side], k : k + 1] for side in rows})
        card = replace(
            draft.card, calibration=verdict.calibration, thresholds=verdict.thresholds, metrics=verdict.metrics
        )
        positives = int(labels["test"].sum())
        accepted = quality.difference.value >= -max_loss - ROUNDING
        found.append((MergedClass(draft.ref, quality, positives, len(labels["test"]) - positives, accepted), card))
    return found


def _published(one: MergedClass, card: Card, draft: Head, trunk: str, store: Store) -> MergedClass:
    if not one.accepted:
        return one
    return replace(one, new=store.publish_head(replace(card, trunk=Trunk(trunk, POOLED)), draft.variables))


def _cost(heads: Sequence[Head], trunks: Mapping[str, Variables]) -> Cost:
    used = {head.card.trunk.sha256 for head in heads if head.card.trunk}
    parts = [*(trunks[sha256] for sha256 in used), *(head.variables for head in heads)]
    whole = sum(head.card.trunk is None for head in heads)
    return Cost(len(used) + whole, sum(array.nbytes for part in parts for array in part.values()) / 1e6)
