"""Bulk scoring: every photo a record, in order, broken or not, and never more than a few batches at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from prohibit_jax.images.decode import Limits
from prohibit_jax.images.resize import load
from prohibit_jax.score import bulk
from prohibit_jax.score.bulk import AHEAD, Clock, score_items, score_stream
from prohibit_jax.score.scorer import Scorer
from tests.bundle.twin import SIZE
from tests.score.listing import BROKEN, Listing, png


def test_every_photo_becomes_its_record_in_order(pair: Scorer) -> None:
    sound = [png(seed) for seed in range(7)]
    missing = FileNotFoundError(2, "No such file or directory", "3.png")
    contents: tuple[bytes | OSError, ...] = (*sound[:2], BROKEN["text"], missing, *sound[2:], BROKEN["empty"])
    records = list(score_items(pair, Listing(contents)))
    assert [record.path for record in records] == [f"{i}.png" for i in range(10)]
    for content, record in zip(contents, records, strict=True):
        assert record.sha256 == (sha256(content).hexdigest() if isinstance(content, bytes) else None)
        if content in sound:
            assert (record.width, record.height, record.error) == (48, 36, None)
        else:
            assert (record.width, record.height, record.scores) == (None, None, None)
            assert record.error
    assert records[3].error == "No such file or directory"
    found = np.stack([record.scores for record in records if record.scores is not None])
    np.testing.assert_array_equal(found, pair(np.stack([load(data, SIZE) for data in sound])))


def test_a_path_that_no_file_can_have_is_one_row_s_error(pair: Scorer, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(png(0))
    paths = [str(tmp_path / name) for name in ("a\0.png", "b.png")]
    broken, sound = score_stream(pair, [(path, Path(path).read_bytes) for path in paths])
    assert broken.error == "embedded null byte"
    assert sound.error is None


def test_rows_choose_and_order(pair: Scorer) -> None:
    listing = Listing(tuple(png(seed) for seed in range(6)))
    everything = list(score_items(pair, listing))
    chosen = list(score_items(pair, listing, [4, 1]))
    assert [record.path for record in chosen] == ["4.png", "1.png"]
    np.testing.assert_array_equal(chosen[0].scores, everything[4].scores)
    assert list(score_items(pair, listing, [])) == []


def test_nothing_but_broken_photos_never_reaches_the_device(pair: Scorer) -> None:
    records = list(score_items(pair, Listing(tuple(BROKEN.values()) * 3)))
    assert len(records) == 9
    assert all(record.error and "\n" not in record.error for record in records)


def test_limits_are_those_given(pair: Scorer) -> None:
    listing = Listing((png(0, 48, 36), png(1, 480, 360)))
    small, large = score_items(pair, listing, limits=Limits(pixels=10_000))
    assert small.error is None
    assert large.error is not None
    assert "pixels" in large.error


def test_at_most_a_few_batches_are_held(pair: Scorer) -> None:
    """The stream is endless, so that only a bounded look ahead ever ends."""
    started, most = 0, 0
    data = png(0)

    def endless() -> Iterator[tuple[str, Callable[[], bytes]]]:
        nonlocal started
        while True:
            started += 1
            yield "a.png", lambda: data

    records = score_stream(pair, endless())
    for done in range(40):
        next(records)
        most = max(most, started - done)
    records.close()
    assert most <= AHEAD * pair.batch_sizes[-1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_the_clock_tells_waiting_from_scoring(pair: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    now, score = 0.0, Scorer.__call__

    def read() -> bytes:
        nonlocal now
        now += 3
        return png(0)

    def slow(scorer: Scorer, images: dict[int, np.ndarray]) -> np.ndarray:
        nonlocal now
        now += 5
        return score(scorer, images)

    monkeypatch.setattr(bulk, "perf_counter", lambda: now)
    monkeypatch.setattr(Scorer, "__call__", slow)
    clock = Clock()
    for _ in score_stream(pair, [("a.png", read)] * 4, threads=1, clock=clock):
        now += 100  # what is done with the records is nobody's waiting
    assert clock == Clock(waiting=12.0, scoring=5.0)


def test_an_error_that_is_a_bug_is_not_hidden(pair: Scorer) -> None:
    def broken() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(score_stream(pair, [("a.png", broken)]))


def test_what_is_not_fresh_is_neither_decoded_nor_scored(pair: Scorer) -> None:
    asked: list[str] = []

    def fresh(sha: str) -> bool:
        asked.append(sha)
        return sha != sha256(png(1)).hexdigest()

    contents = [png(i % 3) for i in range(12)]
    records = list(score_items(pair, Listing((*contents, BROKEN["text"])), fresh=fresh))
    assert sorted(asked) == sorted(sha256(content).hexdigest() for content in (*contents, BROKEN["text"]))
    everything = list(score_items(pair, Listing(tuple(contents))))
    for i, record in enumerate(records[:12]):
        known = i % 3 == 1
        assert (record.width is None, record.scores is None, record.error) == (known, known, None)
        if not known:
            np.testing.assert_array_equal(record.scores, everything[i].scores)
    assert records[12].error


def test_batches_are_filled_with_what_is_to_be_scored(pair: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    score = Scorer.__call__

    def counted(scorer: Scorer, images: dict[int, np.ndarray]) -> np.ndarray:
        sizes.append(len(images[SIZE]))
        return score(scorer, images)

    monkeypatch.setattr(Scorer, "__call__", counted)
    contents = [png(i) if i % 2 else BROKEN["text"] for i in range(16)]
    assert len(list(score_items(pair, Listing(tuple(contents))))) == 16
    assert sizes == [4, 4]
