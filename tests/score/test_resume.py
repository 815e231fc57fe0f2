"""A bulk job that is killed, continued, appended to or renewed: the same table as one made at once, nothing twice."""

from __future__ import annotations

import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.data.index import index
from prohibit_jax.data.sources import open_source
from prohibit_jax.images.resize import load
from prohibit_jax.score import bulk, fill
from prohibit_jax.score import job as module
from prohibit_jax.score.embed import load_embedder
from prohibit_jax.score.job import Summary, score_source
from prohibit_jax.score.scorer import Scorer
from prohibit_jax.score.shards import Shards
from prohibit_jax.score.table import UNFINISHED, open_scores
from prohibit_jax.types import InputError
from tests.bundle.twin import card, variables
from tests.heads.small import save_tiny, write_photos
from tests.score.listing import BROKEN, Listing, png
from tests.waiting import TIMEOUT

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("cash", "cup", "weapon")
SHARD = 4
A, B, C = png(0), png(1), png(2)
CONTENTS: tuple[bytes | OSError, ...] = (
    *(A, B, A, BROKEN["text"], png(3), OSError(5, "unreadable"), B, png(4), A, png(5), png(6), BROKEN["text"]),
    *(png(7), C, C, png(8), png(9)),
)
SOURCE = Listing(CONTENTS)
DISTINCT = len({content for content in CONTENTS if isinstance(content, bytes)})
READABLE = len({content for content in CONTENTS if isinstance(content, bytes)} - set(BROKEN.values()))


class Killed(BaseException):
    """Ends a job as nothing that it expects would."""


@dataclass(frozen=True)
class Job:
    """Scores to a place in a folder of its own, in shards of four."""

    store: Store
    folder: Path

    def __call__(self, out: str, source: Any = SOURCE, bundle: str | None = "prod", **options: Any) -> Summary:
        return score_source(bundle, source, self.folder / out, self.store, shard_rows=SHARD, **options)

    def publish(self, name: str, seed: int) -> None:
        made = card(name)
        self.store.publish_head(made, variables(made.network(), seed))

    def bundle(self, *refs: str) -> None:
        make_bundle(self.store, "prod", refs)

    def columns(self, out: str) -> dict[str, bytes | list[Any]]:
        """Everything in a table, scores and embeddings as bits."""
        table = open_scores(self.folder / out)
        found: dict[str, bytes | list[Any]] = {name: table.column(name).tobytes() for name in table.classes}
        return found | {name: table.read([name]).column(0).to_pylist() for name in table.columns if name not in found}


def job_in(folder: Path) -> Job:
    made = Job(Store(folder / "store"), folder)
    for seed, name in enumerate(CLASSES):
        made.publish(name, seed)
    made.bundle(*CLASSES)
    save_tiny(made.store)
    return made


@pytest.fixture(scope="module", autouse=True)
def small_batches() -> Iterator[None]:
    """A batch is no more than a shard: a larger one would be filled up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH_SIZES", (SHARD,))
        yield


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Three heads in a bundle, and weights `tiny`."""
    return job_in(tmp_path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The same with two tables that were made at once: `alone` and `alone.parquet`."""
    made = job_in(tmp_path_factory.mktemp("alone"))
    for out in ("alone", "alone.parquet"):
        made(out, embedding="tiny")
    return made


def files(folder: Path) -> dict[str, bytes]:
    if folder.is_file():
        return {"": folder.read_bytes()}
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))}


class Work:
    """Counts what is computed: contents decoded, and photos by class that the scorer is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded: list[bytes] = []
        self.classes: list[tuple[str, ...]] = []
        score = Scorer.__call__

        def counted_load(data: bytes, *rest: Any) -> np.ndarray:
            self.decoded.append(data)
            return load(data, *rest)

        def counted_score(scorer: Scorer, images: Any) -> np.ndarray:
            self.classes.append(scorer.classes)
            return score(scorer, images)

        monkeypatch.setattr(bulk, "load", counted_load)
        monkeypatch.setattr(Scorer, "__call__", counted_score)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


# Killed


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(single=st.booleans(), points=st.lists(st.integers(1, len(CONTENTS)), max_size=6))
def test_a_job_killed_anywhere_makes_the_same_files(alone: Job, single: bool, points: list[int]) -> None:
    name = "killed.parquet" if single else "killed"
    out = alone.folder / name
    for point in points:

        def kill(done: int, total: int, point: int = point) -> None:
            if done >= point:
                raise Killed

        try:
            alone(name, embedding="tiny", progress=kill)
        except Killed:
            continue
    alone(name, embedding="tiny")
    assert files(out) == files(alone.folder / name.replace("killed", "alone"))
    assert not (alone.folder / f"{name}.parts").exists()
    shutil.rmtree(out) if out.is_dir() else out.unlink()


FATAL = """
import os, pickle, signal, sys
from prohibit_jax.score import job

flush, left = os.fsync, int(sys.argv[1])

def fatal(handle):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    flush(handle)

os.fsync = fatal
source, out, store, rows = pickle.load(sys.stdin.buffer)
job.BATCH_SIZES = (rows,)
job.score_source("prod", source, out, store, embedding="tiny", shard_rows=rows)
"""


@pytest.mark.parametrize(("out", "flushes"), [("alone", 2), ("alone.parquet", 7), ("alone.parquet", 10)])
def test_sigkill_loses_and_doubles_nothing(alone: Job, tmp_path: Path, out: str, flushes: int) -> None:
    """Killed with a shard written but not named yet, and, the last, while one file is gathered of all of them."""
    made = tmp_path / out
    work = pickle.dumps((SOURCE, str(made), str(alone.store.root), SHARD))
    code = [sys.executable, "-c", FATAL, str(flushes)]
    ended = subprocess.run(code, cwd=ROOT, input=work, capture_output=True, timeout=TIMEOUT, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    with pytest.raises(InputError, match=r"not finished|missing"):
        open_scores(made)
    Job(alone.store, tmp_path)(out, embedding="tiny")
    assert files(made) == files(alone.folder / out)
    assert [path.name for path in tmp_path.iterdir()] == [out]


def test_a_second_job_is_refused(job: Job) -> None:
    for out in ("scores", "scores.parquet"):
        shards = Shards.at(job.folder / out, SHARD)
        with shards.locked():
            with pytest.raises(InputError, match="another job is writing"):
                job(out)
            assert shards.folder.is_dir()
        assert job(out).photos == len(CONTENTS)


# Each content once


def test_each_content_is_scored_once(job: Job, work: Work) -> None:
    summary = job("scores")
    assert len(work.decoded) == len(set(work.decoded)) == READABLE
    assert summary.contents == DISTINCT
    assert summary.counts == fill.Counts(copied=len(CONTENTS) - DISTINCT - 1)
    rows = open_scores(job.folder / "scores")
    shown = rows.read(list(rows.columns[1:])).to_pylist()
    for first, other in ((0, 2), (0, 8), (1, 6), (13, 14), (3, 11)):
        assert shown[first] == shown[other]
    assert shown[0] != shown[1]


def test_each_content_is_scored_once_over_several_jobs(job: Job, work: Work) -> None:
    job("scores", Listing(CONTENTS[:6]))
    before = len(work.decoded)
    assert job("scores").counts.resumed == 5  # the sixth could not be read, and is tried again
    assert sorted(work.decoded[before:]) == sorted(map(png, (4, 5, 6, 7, 2, 8, 9)))
    assert job.columns("scores") == (job("new"), job.columns("new"))[1]


# Renewed


@pytest.mark.parametrize("out", ["scores", "scores.parquet"])
def test_a_replaced_head_s_column_alone_is_computed(job: Job, work: Work, out: str) -> None:
    job(out, embedding="tiny")
    before = job.columns(out)
    job.publish("cup", 10)
    job.bundle("cash", "cup@2", "weapon")
    work.classes.clear()
    work.decoded.clear()
    summary = job(out, embedding="tiny")
    assert set(work.classes) == {("cup",)}
    assert len(work.decoded) == len(set(work.decoded)) == READABLE
    errors = sum(isinstance(content, OSError) or content in BROKEN.values() for content in CONTENTS)
    assert (summary.counts.rescored, summary.counts.resumed) == (len(CONTENTS) - errors, errors - 1)
    after = job.columns(out)
    assert after.pop("cup") != before.pop("cup")
    assert after == before
    job("anew.parquet", embedding="tiny")
    assert job.columns("anew.parquet") == job.columns(out)
    assert [line["version"] for line in open_scores(job.folder / out).bundle["heads"]] == [1, 2, 1]
    work.classes.clear()
    assert job(out, embedding="tiny").counts.resumed == len(CONTENTS) - 1
    assert not work.classes


@pytest.mark.parametrize(
    "refs", [["weapon", "cup", "cash"], ["weapon", "cup", "cash@2"], ["cup@2", "new", "cash", "weapon"]]
)
def test_any_other_bundle_keeps_what_it_can(job: Job, work: Work, refs: Sequence[str]) -> None:
    job("scores")
    for seed, name in enumerate(("cup", "cash", "new"), 20):
        job.publish(name, seed)
    job.bundle(*(ref if "@" in ref or ref == "new" else f"{ref}@1" for ref in refs))
    work.classes.clear()
    job("scores")
    new = tuple(ref.partition("@")[0] for ref in refs if ref not in CLASSES)
    assert set(work.classes) == ({new} if new else set())
    assert (job("anew"), job.columns("scores"))[1] == job.columns("anew")


def test_a_file_that_changed_is_scored_whole_where_its_row_is_computed(job: Job) -> None:
    job("scores")
    job.publish("cup", 10)
    job.bundle("cash", "cup@2", "weapon")
    changed = Listing((png(30), *CONTENTS[1:6], png(3), OSError(5, "gone"), *CONTENTS[8:]))
    job("scores", changed)
    job("anew", changed)
    assert job.columns("scores") == job.columns("anew")


def test_a_file_that_could_not_be_read_is_tried_again_and_a_broken_one_is_not(job: Job, work: Work) -> None:
    job("scores")
    whole = Listing(tuple(png(40) if isinstance(content, OSError) else content for content in CONTENTS))
    work.decoded.clear()
    summary = job("scores", whole)
    assert work.decoded == [png(40)]
    assert (summary.errors, summary.counts.resumed) == (2, len(CONTENTS) - 1)
    assert (job("anew", whole), job.columns("anew"))[1] == job.columns("scores")


def test_photos_at_the_end_are_added(job: Job) -> None:
    job("scores", Listing(CONTENTS[:10]))
    done: list[int] = []
    times = {path.name: path.stat().st_mtime_ns for path in (job.folder / "scores").iterdir()}
    summary = job("scores", progress=lambda count, total: done.append(count))
    assert summary.counts.resumed == 9
    assert (done, done[-1]) == (sorted(done), len(CONTENTS))
    kept = {path.name for path in (job.folder / "scores").iterdir() if path.stat().st_mtime_ns == times.get(path.name)}
    assert kept == {"part-00000.parquet"}  # the second has a file that could not be read
    job("anew")
    assert files(job.folder / "scores") == files(job.folder / "anew")


def test_other_photos_are_refused_or_begun_anew(job: Job) -> None:
    job("scores")
    job("scores.parquet")
    before = files(job.folder / "scores")
    for other in (Listing(CONTENTS[:-1]), Renamed((png(50), *CONTENTS))):
        with pytest.raises(InputError, match=r"part-0000\d\.parquet: made from other photos") as raised:
            job("scores", other)
        assert "\n" not in str(raised.value)
        assert files(job.folder / "scores") == before
        assert job("scores.parquet", other).counts.resumed == 0
        assert job.columns("scores.parquet")["path"] == [item.path for item in other.items]


@dataclass(frozen=True)
class Renamed(Listing):
    """A listing with one more photo before the others."""

    @property
    def items(self) -> Any:
        return tuple(type(item)(f"new/{item.path}") for item in super().items)


# Embeddings


def test_embeddings_and_hashes_are_those_of_the_photos(job: Job, tmp_path: Path) -> None:
    source = open_source(write_photos(tmp_path / "photos", count=5))
    job("scores", source, embedding="tiny:40")
    table, embedder = open_scores(job.folder / "scores"), load_embedder(job.store, "tiny:40")
    assert table.embedding == embedder.embedding
    found = index(source)
    np.testing.assert_array_equal(table.phash(), found.phash)
    rows, features = (np.concatenate(parts) for parts in zip(*table.embeddings(), strict=True))
    np.testing.assert_array_equal(rows, np.flatnonzero(found.usable))
    images = np.stack([load(source.read(int(row)), 40) for row in rows])
    np.testing.assert_array_equal(features, embedder(images).astype(np.float16).astype(np.float32))


def test_photos_are_decoded_once_a_size(job: Job, work: Work) -> None:
    job("scores", embedding="tiny")  # 32 pixels, as the heads
    assert len(work.decoded) == READABLE


def test_embeddings_are_added_to_scores_and_made_anew_for_other_weights(job: Job, work: Work) -> None:
    job("scores")
    scores = job.columns("scores")
    work.classes.clear()
    job("scores", embedding="tiny")
    assert not work.classes
    first = job.columns("scores")
    assert {name: first[name] for name in scores} == scores
    job("scores", embedding="tiny:48")
    other = job.columns("scores")
    assert {name for name in other if other[name] != first[name]} == {"embedding"}
    assert not work.classes


def test_embeddings_alone(job: Job) -> None:
    summary = job("scores", bundle=None, embedding="tiny")
    assert (summary.bands, summary.photos) == ({}, len(CONTENTS))
    table = open_scores(job.folder / "scores")
    assert (table.name, table.bundle, table.classes) == ("", {"schema": 1, "heads": []}, ())
    job("scores", embedding="tiny")
    job("both", embedding="tiny")
    assert job.columns("scores") == job.columns("both")


def test_no_column_is_lost_for_an_option_left_out(job: Job) -> None:
    job("scores", embedding="tiny")
    with pytest.raises(InputError, match="has embeddings; give --embedding tiny:32"):
        job("scores")
    with pytest.raises(InputError, match="has scores of bundle prod; give --bundle"):
        job("scores", bundle=None, embedding="tiny")
    assert not (job.folder / "scores" / UNFINISHED).exists()


@pytest.mark.parametrize("out", ["scores", "scores.parquet"])
def test_no_column_is_lost_for_another_bundle(job: Job, out: str) -> None:
    job(out)
    before = files(job.folder / out)
    make_bundle(job.store, "one", ["weapon"])
    lost = "has scores of cash, cup, which bundle one does not have; give another --out, or remove"
    assert refused(job, out) == f"{job.folder / out}: {lost} {job.folder / out}"
    assert files(job.folder / out) == before
    assert not (job.folder / f"{out}.parts").exists()

    make_bundle(job.store, "more", CLASSES[:2])  # a job that ends half way, and then one for other classes
    stopped = job.folder / f"stopped-{out}"

    def kill(done: int, total: int) -> None:
        if done > SHARD:
            raise Killed

    with pytest.raises(Killed):
        job(stopped.name, bundle="more", progress=kill)
    shards = Shards.at(stopped, SHARD).folder
    assert refused(job, stopped.name).endswith(f"{lost} {shards}")
    shutil.rmtree(shards)
    assert job(stopped.name, bundle="one").photos == len(CONTENTS)


def refused(job: Job, out: str) -> str:
    with pytest.raises(InputError) as raised:
        job(out, bundle="one")
    assert "\n" not in str(raised.value)
    return str(raised.value)
