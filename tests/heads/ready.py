"""A small pool that rounds can be made from: photos, their score table with embeddings, and a store with weights."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from prohibit_jax.bundle.store import Store
from prohibit_jax.data.label_store import Label, LabelStore, Resolved, Votes, open_label_store
from prohibit_jax.data.sources import open_source
from prohibit_jax.score.job import score_source
from prohibit_jax.score.table import ScoreTable, open_scores
from tests.heads.small import COLOURS, SIZE, save_tiny, write_photos

EACH = 30  # photos of each colour
SPEC = f"tiny:{SIZE}"
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Ready:
    """A store with the weights `tiny`, and a pool of 90 photos of three colours; `gun` is the class."""

    folder: Path
    store: Store

    @property
    def scores(self) -> Path:
        """The score table."""
        return self.folder / "scores.parquet"

    @property
    def pool(self) -> ScoreTable:
        """The same, opened."""
        return open_scores(self.scores)

    @property
    def photos(self) -> dict[str, str]:
        """Path by SHA-256."""
        table = self.pool.read(["sha256", "path"])
        return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def of(self, colour: str) -> list[str]:
        """The SHA-256 of the photos of a colour, in their order."""
        return [sha for sha, path in self.photos.items() if Path(path).parent.name == colour]

    @property
    def labels(self) -> LabelStore:
        """The store's own labels."""
        return open_label_store(None, self.store)

    def say(self, photos: Iterable[str], answer: str = "", *, strategy: str = "imported", **more: object) -> None:
        """Answers photos by SHA-256, with the truth by default, a second apart."""
        photos_of, times = self.photos, seconds()
        self.labels.append(
            Label(
                sha,
                photos_of[sha],
                "weapon",
                answer or truth(photos_of[sha]),
                str(more.get("annotator", "ann")),
                next(times),
                strategy=strategy,
                round=None if strategy == "imported" else int(str(more.get("round", 1))),
            )
            for sha in photos
        )

    def resolved(self, photos: Iterable[str], strategy: str = "imported") -> list[Resolved]:
        """The truth about photos, as annotators would say it."""
        paths = self.photos
        said = {sha: truth(paths[sha]) for sha in photos}
        votes = {"yes": Votes(1, 0, 0), "no": Votes(0, 1, 0)}
        return [Resolved(sha, paths[sha], answer, votes[answer], strategy, None) for sha, answer in said.items()]


def truth(path: str) -> str:
    """Yes for a photo of the class."""
    return "yes" if Path(path).parent.name == "gun" else "no"


def seconds() -> Iterator[datetime]:
    """Moments, a second apart."""
    moment = BEGUN
    while True:
        moment += timedelta(seconds=1)
        yield moment


def ready(folder: Path) -> Ready:
    """A pool and a store of one's own; the photos are shared, and stay as they are."""
    built = _built()
    shutil.copytree(built / "store", folder / "store")
    shutil.copy(built / "scores.parquet", folder)
    return Ready(folder, Store(folder / "store"))


@cache
def _built() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="prohibit-jax-ready-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source, store = write_photos(folder / "photos", EACH, broken=False), Store(folder / "store")
    save_tiny(store)
    assert (
        len(COLOURS) * EACH
        == score_source(None, open_source(source), folder / "scores.parquet", store, embedding=SPEC).photos
    )
    return folder
