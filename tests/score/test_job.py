"""A bulk job end to end on a bundle of twin heads: its table, its summary, and what a failure leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.images.resize import load
from prohibit_jax.score.bands import band
from prohibit_jax.score.job import BANDS, score_source
from prohibit_jax.score.scorer import load_scorer
from prohibit_jax.score.table import read_scores
from prohibit_jax.types import InputError
from tests.bundle.twin import SIZE, card, variables
from tests.score.listing import BROKEN, Listing, png

SOUND = [png(seed) for seed in range(4)]
SOURCE = Listing((SOUND[0], BROKEN["text"], SOUND[1], OSError(5, "unreadable"), SOUND[2], SOUND[3]))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    for seed, name in enumerate(("cash", "weapon")):
        made = card(name)
        store.publish_head(made, variables(made.network(), seed))
    make_bundle(store, "prod")
    return store


def test_every_photo_becomes_a_row(store: Store, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "new" / "scores.parquet"
    summary = score_source("prod", SOURCE, out, store, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]
    assert [path.name for path in out.parent.iterdir()] == [out.name]

    scores, scorer = read_scores(out), load_scorer("prod", store, (5,))
    assert (scores.name, scores.classes) == ("prod", ("cash", "weapon"))
    assert [line["class"] for line in scores.bundle["heads"]] == ["cash", "weapon"]
    rows = scores.table.to_pylist()
    assert [row["path"] for row in rows] == [item.path for item in SOURCE.items]
    assert [row["error"] is None for row in rows] == [True, False, True, False, True, True]
    assert rows[3]["error"] == "unreadable"
    assert [rows[3][column] for column in ("sha256", "width", "height", "cash", "weapon")] == [None] * 5
    expected = scorer(np.stack([load(data, SIZE) for data in SOUND]))
    found = np.array([[row[name] for name in scorer.classes] for row in rows if row["error"] is None], np.float32)
    np.testing.assert_array_equal(found, expected)

    assert (summary.photos, summary.errors) == (6, 2)
    assert 0 < summary.waited < 1
    for column, name in enumerate(scorer.classes):
        kinds = [band(score, scorer.thresholds[name]) for score in expected[:, column].tolist()]
        assert summary.bands[name] == {kind: kinds.count(kind) for kind in BANDS}


def test_a_source_of_broken_photos_only(store: Store, tmp_path: Path) -> None:
    summary = score_source("prod", Listing(tuple(BROKEN.values())), tmp_path / "scores.parquet", store)
    assert (summary.photos, summary.errors, summary.waited) == (3, 3, 1)
    assert summary.bands == {name: dict.fromkeys(BANDS, 0) for name in ("cash", "weapon")}


def test_a_job_that_fails_leaves_the_former_table(store: Store, tmp_path: Path) -> None:
    class Stopped(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Stopped

    out = tmp_path / "scores.parquet"
    out.write_bytes(b"former")
    with pytest.raises(Stopped):
        score_source("prod", SOURCE, out, store, stop)
    assert out.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [out]


def test_an_unknown_bundle_is_refused_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: no such bundle \(there is prod\)"):
        score_source("none", SOURCE, tmp_path / "scores.parquet", store)
    assert not list(tmp_path.iterdir())
