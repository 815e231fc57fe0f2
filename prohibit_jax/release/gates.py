"""The gates of a release: what a new version of a class is held to before it serves.

`quality` and `calibration` are of the head alone; `budget` and `isolation` of the bundle as it would be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from prohibit_jax.bundle.card import Card
from prohibit_jax.bundle.store import Head, Store
from prohibit_jax.config import ReleaseConfig, load_config, parse_config
from prohibit_jax.data.dataset import labelled
from prohibit_jax.heads.judge import config_on, evaluate_head
from prohibit_jax.plan.budget import check_budget
from prohibit_jax.release.compare import compare_heads
from prohibit_jax.release.history import Gate
from prohibit_jax.release.result import ClassComparison
from prohibit_jax.score.bulk import Source, score_items
from prohibit_jax.score.scorer import Scorer
from prohibit_jax.types import HeadRef, InputError, Line, silent

PHOTOS = 48
"""On which the other classes' scores are compared to the bit; evenly over the source."""


def demands(card: Card) -> ReleaseConfig:
    """Section [release] of the class's file, `configs/<class>.toml`, which a team edits; without one, of the card.

    That is the card of the version that serves: a new one does not choose its own gates.
    """
    if (Path("configs") / f"{card.name}.toml").is_file():
        return load_config(card.name).release
    saved = {"class": {"name": card.name}, "release": card.config.get("release", {})}
    return parse_config(saved, f"card of {card.name}@{card.version}").release


def judge(
    old: HeadRef | None,
    head: Head,
    source: str,
    store: Store,
    *,
    progress: Line = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[Gate, Gate]:
    """The gates `quality`, beside the version that serves, and `calibration`.

    Args:
        old: what serves; None where the bundle has no such class yet.
        head: the new version.
        source: labelled photos, of which those count that the training of neither has seen.
        store: where both are.
        progress: opens a progress bar.
        warn: told in one line what was left out.

    Where they cannot be judged on these photos, as where the training held nothing out, both gates fail and say so.
    """
    demanded = demands(head.card if old is None else store.read_card(old))
    try:
        if old is not None:
            return _beside(compare_heads(old, head.ref, source, store, progress=progress, warn=warn), demanded)
        metrics = evaluate_head(head.ref, source, store, side="test", progress=progress, warn=warn).metrics
    except InputError as error:
        return _quality(False, f"not judged: {error}", demanded, {}), _calibration(None, demanded)
    figures = {"new_ap": metrics["average_precision"]}
    found = "no version of the class serves yet"
    return _quality(True, found, demanded, figures), _calibration(metrics["calibration_error"], demanded)


def photos_of(head: Head, source: str, store: Store) -> Source:
    """The photos of `source`, of which labels are those that the head's config says. Raises InputError as they do."""
    return labelled(config_on(head, source), store.root, every_label=False)[0]


def fit(serving: Scorer, head: Head, photos: Source, store: Store) -> tuple[Gate, Gate]:
    """The gates `budget` and `isolation`.

    Args:
        serving: the bundle as it is, loaded from `store` with a free slot.
        head: what is to take its class's place, or the last one.
        photos: real ones.
        store: where all of it is.
    """
    there = head.card.name in serving.classes
    candidate = serving.replace(head) if there else replace(serving, spare=0).add(head)  # with 0, no more is compiled
    return _budget(serving, candidate, store), _isolation(serving, candidate, head.card.name, photos)


def _beside(compared: ClassComparison, demanded: ReleaseConfig) -> tuple[Gate, Gate]:
    difference, before, after = compared.difference, compared.old_ap, compared.new_ap
    found = (
        f"average precision {before.value:.3f} -> {after.value:.3f}, "
        f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
    )
    figures = {
        "difference": asdict(difference),
        "old_ap": asdict(before),
        "new_ap": asdict(after),
        "positives": compared.positives,
        "negatives": compared.negatives,
    }
    if compared.positives < demanded.positives:
        found += f"; only {compared.positives} photos of the class to judge by, {demanded.positives} are demanded"
    kept = difference.low >= -demanded.average_precision_loss and compared.positives >= demanded.positives
    return _quality(kept, found, demanded, figures), _calibration(compared.calibration_error, demanded)


def _quality(passed: bool, found: str, demanded: ReleaseConfig, figures: dict[str, Any]) -> Gate:
    return Gate("quality", passed, found, f"lower end at least {-demanded.average_precision_loss:g}", figures)


def _calibration(error: float | None, demanded: ReleaseConfig) -> Gate:
    most = demanded.calibration_error
    found = "not judged" if error is None else f"{error:.4f}"
    return Gate(
        "calibration", error is not None and error <= most, found, f"at most {most:g}", {"calibration_error": error}
    )


def _budget(serving: Scorer, candidate: Scorer, store: Store) -> Gate:
    name = candidate.bundle.name
    verdict = check_budget(store, name, candidate.cards, serving.cards)
    if verdict is None:
        return Gate("budget", True, f"no plan of {name} (launch plan makes one)", "none", {})
    passed = verdict.fits and verdict.predicted_ms is not None
    return Gate("budget", passed, verdict.line, f"at most {verdict.budget_ms:g} ms", asdict(verdict))


def _isolation(serving: Scorer, candidate: Scorer, name: str, photos: Source) -> Gate:
    others = [other for other in serving.classes if other != name]
    count = len(photos.items)
    rows = np.unique(np.linspace(0, count - 1, min(count, PHOTOS)).astype(int)).tolist()
    both = [_scores(scorer, others, photos, rows) for scorer in (serving, candidate)]
    read = sorted(both[0].keys() & both[1].keys())
    if not read:
        raise InputError(f"data.source: none of {len(rows)} photos can be read, as {photos.items[rows[0]].path}")
    before, after = (np.stack([scores[row] for row in read]) for scores in both)
    pins, pins_after = ([pin for pin in x.bundle.pins if pin.ref.name != name] for x in (serving, candidate))
    differ = int((before.view(np.uint32) != after.view(np.uint32)).sum())
    return Gate(
        "isolation",
        pins == pins_after and differ == 0,
        f"{differ} of {before.size} scores of {len(others)} other classes differ",
        "identical to the bit",
        {"others": len(others), "photos": len(before), "scores": before.size, "differ": differ},
    )


def _scores(scorer: Scorer, names: list[str], photos: Source, rows: list[int]) -> dict[int, np.ndarray]:
    """Of these classes, float32 [k], on those of the photos that can be read."""
    columns = [scorer.classes.index(name) for name in names]
    records = zip(rows, score_items(scorer, photos, rows), strict=True)
    return {row: record.scores[columns] for row, record in records if record.scores is not None}
