"""A bulk job end to end on a bundle of twin heads: its table, its summary, and what a failure leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.images.resize import load
from prohibit_jax.score import job
from prohibit_jax.score.bands import band
from prohibit_jax.score.fill import Counts
from prohibit_jax.score.job import BANDS, score_source
from prohibit_jax.score.scorer import load_scorer
from prohibit_jax.score.table import UNFINISHED, open_scores
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

    scores, scorer = open_scores(out), load_scorer("prod", store, (5,))
    assert (scores.name, scores.classes) == ("prod", ("cash", "weapon"))
    assert [line["class"] for line in scores.bundle["heads"]] == ["cash", "weapon"]
    rows = scores.read(scores.columns).to_pylist()
    assert [row["path"] for row in rows] == [item.path for item in SOURCE.items]
    assert [row["error"] is None for row in rows] == [True, False, True, False, True, True]
    assert rows[3]["error"] == "unreadable"
    assert [rows[3][column] for column in ("sha256", "width", "height", "cash", "weapon")] == [None] * 5
    expected = scorer(np.stack([load(data, SIZE) for data in SOUND]))
    found = np.array([[row[name] for name in scorer.classes] for row in rows if row["error"] is None], np.float32)
    np.testing.assert_array_equal(found, expected)

    assert (summary.photos, summary.errors, summary.contents) == (6, 2, 5)
    assert summary.counts == Counts()
    assert 0 < summary.waited < 1
    for column, name in enumerate(scorer.classes):
        kinds = [band(score, scorer.thresholds[name]) for score in expected[:, column].tolist()]
        assert summary.bands[name] == {kind: kinds.count(kind) for kind in BANDS}


def test_a_source_of_broken_photos_only(store: Store, tmp_path: Path) -> None:
    broken, out = Listing(tuple(BROKEN.values())), tmp_path / "scores.parquet"
    summary = score_source("prod", broken, out, store, max_failure_rate=1.0)
    assert (summary.photos, summary.errors, summary.waited) == (3, 3, 1)
    assert summary.bands == {name: dict.fromkeys(BANDS, 0) for name in ("cash", "weapon")}


def test_a_job_that_fails_leaves_the_former_table(store: Store, tmp_path: Path) -> None:
    class Stopped(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Stopped

    out = tmp_path / "scores.parquet"
    score_source("prod", Listing(SOUND[3:]), out, store)
    former = out.read_bytes()
    with pytest.raises(Stopped):
        score_source("prod", SOURCE, out, store, stop)
    assert out.read_bytes() == former
    assert score_source("prod", SOURCE, out, store).photos == open_scores(out).rows == 6
    assert list(tmp_path.iterdir()) == [out]


def test_an_unknown_bundle_is_refused_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: no such bundle \(there is prod\)"):
        score_source("none", SOURCE, tmp_path / "scores.parquet", store)
    assert not list(tmp_path.iterdir())


def test_what_is_in_the_way_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "file").write_bytes(b"mine")
    for out, message in {"folder.parquet": "a folder; name", "file": "a file; name"}.items():
        with pytest.raises(InputError, match=message):
            score_source("prod", SOURCE, tmp_path / out, store)
    manifest = pa.table({"path": ["a.jpg"]})
    pq.write_table(manifest, tmp_path / "manifest.parquet")
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "link.parquet").symlink_to("manifest.parquet")
    (tmp_path / "text.parquet").write_bytes(b"mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for name in ("manifest", "empty", "link", "text"):
        out = tmp_path / f"{name}.parquet"
        with pytest.raises(InputError) as raised:
            score_source("prod", SOURCE, out, store)
        assert str(raised.value) == f"{out}: there already, and no score table; give another --out, or remove it"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert not list(tmp_path.glob("*.parts"))
    with pytest.raises(InputError, match="--bundle, --embedding or both"):
        score_source(None, SOURCE, tmp_path / "scores", store)


# Failures


def test_too_many_errors_leave_no_table(store: Store, tmp_path: Path) -> None:
    gone = Listing((*SOUND, *[OSError(5, "unreadable")] * 5))
    for out in (tmp_path / "scores.parquet", tmp_path / "scores"):
        with pytest.raises(InputError, match="5 of 9 photos have errors") as raised:
            score_source("prod", gone, out, store)
        assert "\n" not in str(raised.value)
        assert "8.png: unreadable" in str(raised.value)
        with pytest.raises(InputError, match=r"missing|not finished"):
            open_scores(out)
        there = Listing((*SOUND, *map(png, range(10, 15))))
        summary = score_source("prod", there, out, store)
        assert (summary.errors, summary.counts.resumed, open_scores(out).rows) == (0, 4, 9)


def test_a_folder_that_goes_away_is_noticed_before_the_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "RECENT", 10)
    seen = 0

    def progress(done: int, total: int) -> None:
        nonlocal seen
        seen = done

    gone = Listing((*map(png, range(20)), *[OSError(5, "unreadable")] * 100))
    with pytest.raises(InputError, match="6 of the last 10 photos have errors"):
        score_source("prod", gone, tmp_path / "scores", store, progress, shard_rows=8)
    assert seen == 26
    assert [path.name for path in sorted(tmp_path.glob("scores/*"))] == [
        *(f"part-0000{i}.parquet" for i in range(3)),
        UNFINISHED,
    ]


def test_errors_that_are_known_stop_no_later_job(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "RECENT", 3)
    source, out = Listing((*SOUND, *[OSError(5, "unreadable")] * 4)), tmp_path / "scores"
    score_source("prod", source, out, store, max_failure_rate=1.0)
    again = score_source(
        "prod", Listing((*source.contents, *map(png, range(20, 25)))), out, store, max_failure_rate=0.5
    )
    assert (again.photos, again.errors) == (13, 4)
