"""Rounds on disk: `<store>/rounds/<class>/<n>/`, published whole: a queue, what it was made from, and, where there was
a head, the logits of labelled photos by classifiers that had not seen them.

A round is made once and never changed; what annotators answered since is in the label store. The folder is the round:
one that was being made when its process was killed is not there.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from prohibit_jax.active.queue import Ask, read_queue, write_queue
from prohibit_jax.active.stopping import Change
from prohibit_jax.bundle.card import check_schema, parse_json, read_record
from prohibit_jax.bundle.store import Store
from prohibit_jax.evaluate.metrics import Interval
from prohibit_jax.files import held, is_local, publish_numbered, read_file
from prohibit_jax.score.embed import Embedding
from prohibit_jax.types import HeadRef, InputError, check_name

SCHEMA = 1
LIMIT = 2**20  # bytes
UNSEEN_LIMIT = 2**30
UNSEEN_SCHEMA = pa.schema({"sha256": pa.string(), "logit": pa.float32()})
NUMBER = re.compile(r"[1-9][0-9]{0,8}")
QUEUE, UNSEEN, ROUND = "queue.parquet", "unseen.parquet", "round.json"


@dataclass(frozen=True)
class Settings:
    """What a round was asked to do, and the next does where it is not told otherwise."""

    pool: str  # the score table
    budget: int  # photos to ask about
    strategy: str  # or mixture
    labels: str | None  # address of the label store; None: the store's own, or what the environment names
    examples: str | None  # photos of the thing, for a first day
    config: str | None  # the class's TOML file
    stop: str  # the rules by which to stop


@dataclass(frozen=True)
class Round:
    """A round as it was made.

    Attributes:
        name: the class; "class" in the file.
        number: from 1.
        created: ISO 8601, UTC.
        settings: what it was asked to do.
        embedding: of the pool.
        head: which scored the pool, None on a first day.
        held_out: whether the test side was kept out of that head's training.
        answers: photos by resolved answer, when the round was made.
        found: photos of the class known in the pool then.
        candidates: photos of the pool that could be asked; each was as likely to be drawn at random.
        again: whether photos that earlier rounds asked and nobody had answered were among these.
        asked: photos in the queue.
        expected: positives among those, by the head's calibration.
        left: positives among the candidates, by the same.
        labels: photos with a yes or no that the head could use.
        change: beside the head of an earlier round, `stopping.WINDOW` labels younger.
    """

    name: str
    number: int
    created: str
    settings: Settings
    embedding: Embedding
    head: str | None
    held_out: bool
    answers: dict[str, Any]
    found: int
    candidates: int
    again: bool
    asked: int
    expected: Interval | None
    left: Interval | None
    labels: int
    change: Change | None

    def ref(self, store: Store) -> HeadRef | None:
        """Its head, unless there was none, or it was removed from the store since."""
        ref = HeadRef.parse(self.head) if self.head else None
        return ref if ref and ref.version in store.versions(ref.name) else None

    def to_json(self) -> str:
        """The file's text."""
        content = asdict(self)
        return json.dumps({"schema": SCHEMA, "class": content.pop("name"), **content}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> Round:
        """Reads and checks a round strictly; raises InputError in one line that names `source` and the field."""
        content = parse_json(text, source)
        check_schema(content, source)
        if "class" not in content or "name" in content:
            raise InputError(f"{source}: class is missing")
        del content["schema"]
        return read_record(cls, {"name": content.pop("class"), **content}, source)


class Rounds:
    """The rounds of one class in a store."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = check_name(name)
        self.folder = store.root / "rounds" / self.name

    def numbers(self) -> tuple[int, ...]:
        """The rounds made so far, ascending."""
        if not self.folder.is_dir():
            return ()
        found = [path for path in self.folder.iterdir() if NUMBER.fullmatch(path.name)]
        return tuple(sorted(int(path.name) for path in found if is_local(path) or (path / ROUND).exists()))

    def read(self, number: int) -> Round:
        """A round. Raises InputError where it is missing, damaged or another's."""
        path = self.folder / str(number) / ROUND
        found = Round.from_json(read_file(path, LIMIT), str(path))
        if (found.name, found.number) != (self.name, number):
            raise InputError(f"{path}: is round {found.number} of {found.name}, not round {number} of {self.name}")
        return found

    def all(self) -> tuple[Round, ...]:
        """Every round, oldest first."""
        return tuple(self.read(number) for number in self.numbers())

    def queue_path(self, number: int) -> epath.Path:
        """Where a round's queue is."""
        return self.folder / str(number) / QUEUE

    def queue(self, number: int) -> tuple[Ask, ...]:
        """What a round asks, best first."""
        return read_queue(self.queue_path(number))

    def locked(self) -> AbstractContextManager[None]:
        """Keeps everyone else from making a round meanwhile. Raises InputError while another does."""
        return held(self.folder, f"class {self.name}: its next round is being made already; wait for it")

    def unseen(self, number: int) -> dict[str, float]:
        """The logits of all labelled photos of a round with a head by classifiers that had not seen them, by SHA-256.

        NaN where all had.
        """
        path = self.folder / str(number) / UNSEEN
        try:
            table = pq.read_table(pa.BufferReader(read_file(path, UNSEEN_LIMIT)))
            return dict(zip(*(table.column(name).to_pylist() for name in UNSEEN_SCHEMA.names), strict=True))
        except (pa.ArrowException, KeyError):
            raise InputError(f"{path}: damaged; remove the round's folder") from None

    def publish(self, draft: Round, asks: Sequence[Ask], unseen: Mapping[str, float]) -> Round:
        """Publishes the next round under the first free number, which goes into the round and its asks."""
        first = max(self.numbers(), default=0) + 1
        files: dict[str, Callable[[int], bytes]] = {
            QUEUE: lambda n: _queue_bytes([replace(ask, round=n) for ask in asks]),
            UNSEEN: lambda n: _unseen_bytes(unseen),
            ROUND: lambda n: replace(draft, number=n).to_json().encode(),
        }
        return replace(draft, number=publish_numbered(self.folder, first, files))


def _unseen_bytes(unseen: Mapping[str, float]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table([list(unseen), list(unseen.values())], schema=UNSEEN_SCHEMA), sink)
    return bytes(sink.getvalue())


def _queue_bytes(asks: Sequence[Ask]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = epath.Path(folder) / QUEUE
        write_queue(path, asks)
        data: bytes = path.read_bytes()
        return data
