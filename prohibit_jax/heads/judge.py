"""Judges a published head on labelled photos, through the scorer that serves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from etils import epath

from prohibit_jax.bundle.store import Head, Store, open_store
from prohibit_jax.config import Config, parse_config, redacted
from prohibit_jax.data.dataset import Dataset, load_dataset, require_all
from prohibit_jax.data.label_source import KIND
from prohibit_jax.data.loader import decoded
from prohibit_jax.data.sources import SIDES
from prohibit_jax.evaluate import report, several, thresholds
from prohibit_jax.heads.quick import LEAST, among, held_out_of
from prohibit_jax.heads.several import class_scorer
from prohibit_jax.score.scorer import read_trunks, scorer_of
from prohibit_jax.types import HeadRef, InputError, Line, silent

BATCH = 32
SIDED = ("manifest:", "parquet:", KIND)  # sources whose sides may be other than those that the content gives


@dataclass(frozen=True)
class Judged:
    """A head and the figures of `evaluate.report.evaluate` for it, or of `evaluate.several`."""

    ref: HeadRef
    metrics: dict[str, Any]


def evaluate_head(
    ref: HeadRef,
    source: str,
    store: Store | epath.PathLike,
    *,
    side: str = "all",
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> Judged:
    """Judges a head on the photos of `source`, labelled as the head's own config says.

    Args:
        ref: the head; without a version the latest.
        source: labelled photos, as in `folder:PATH`.
        store: where the head is.
        side: `test` judges it on the photos that its training held out of this source; `all` on every photo. Of a
            head from labels and embeddings (`heads/quick.py`) its card names the photos held out; it has no other side.
        progress: opens a progress bar.
        warn: told in one line what was left out.

    Raises:
        InputError: no such head or side, the head held nothing out, or no negative photo or none of some class.
    """
    if side not in (*SIDES, "all"):
        raise InputError(f"side {side!r}: use {', '.join(SIDES)} or all")
    store = open_store(store)
    head = store.read_head(ref)
    held_out = held_out_of(head.card)
    if held_out is not None and side != "all":
        _check_side(head.ref, held_out, side)
    config = config_on(head, source)
    dataset = load_dataset(config, store.cache, every_label=False, progress=progress("looking at photos"), warn=warn)
    if side != "all":
        dataset = own_sides(head, dataset, source, warn if side == "test" else lambda _: None)
    require_all(dataset, side)
    if side == "all" and dataset.summary()["fingerprint"] == head.card.data.get("fingerprint"):
        kept = "--side test judges it on those held out" if held_out is None or held_out else "none was held out"
        warn(f"{head.ref} was trained on most of these photos; {kept}")
    rows = dataset.rows(side)
    size, advance = head.card.preprocessing.size, progress("scoring")
    chunks = decoded(dataset.source, rows, size, progress=advance, chunk=BATCH, limits=dataset.limits)
    trunks, labels = read_trunks(store, [head.card]), dataset.labels[rows]
    if classes := head.card.classes:
        score = class_scorer(head, trunks, BATCH)
        scores = np.concatenate([score(images) for _, images in chunks])
        resamples = config.evaluate.bootstrap
        metrics = several.evaluate(labels, scores, classes=classes, seed=config.train.seed, resamples=resamples)
        return Judged(head.ref, metrics)
    scorer = scorer_of([head], trunks, batch_sizes=(BATCH,))
    logits = np.concatenate([scorer.logits(images)[:, 0] for _, images in chunks])
    metrics = report.evaluate(
        labels,
        logits,
        calibration=head.card.calibration,
        settings=thresholds.Settings(**config.evaluate.model_dump()),
        thresholds=head.card.thresholds,
        seed=config.train.seed,
    )
    return Judged(head.ref, metrics)


def config_on(head: Head, source: str) -> Config:
    """The config that the head was trained by, with these photos. Raises InputError where its card holds none."""
    saved = dict(head.card.config)
    return parse_config({**saved, "data": {**saved.get("data", {}), "source": source}}, f"card of {head.ref}")


def own_sides(head: Head, dataset: Dataset, source: str, warn: Callable[[str], None]) -> Dataset:
    """The same with the sides that the head's training had: of one from labels and embeddings, its test side is the
    photos that its card names, and it has no other. Raises InputError where none of them is there.

    Any other head's sides follow from the photos' content, in whatever source they lie, unless a source has sides or
    groups of its own: `warn` is told where photos of training may be on the test side for that.
    """
    held_out = held_out_of(head.card)
    if held_out is None:
        own, shown = str(head.card.config.get("data", {}).get("source", "")), redacted(source)  # as cards have it
        sided = own.startswith(SIDED) or any(item.split or item.group for item in dataset.source.items)
        if own not in ("", shown) and sided:
            warn(f"{shown}: photos that {head.ref} was trained on, from {own}, may be on its test side")
        return dataset
    _check_side(head.ref, held_out, "test")
    kept = among(dataset.index.sha256, held_out)
    if not kept.any():
        raise InputError(f"{source}: it has none of the photos that the training of {head.ref} held out")
    return replace(dataset, sides=np.where(kept, "test", ""))


def _check_side(ref: HeadRef, held_out: frozenset[str], side: str) -> None:
    if side != "test":
        raise InputError(f"side {side!r}: {ref} was made from labels and embeddings; use test or all")
    if not held_out:
        raise InputError(
            f"head {ref}: its training held nothing out, for lack of {LEAST} photos of the class and {LEAST} others to "
            "test with; label more and make it again, or let launch evaluate --side all judge it on photos new to it"
        )
