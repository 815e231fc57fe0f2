"""One class's queue while annotators work on it: their answers into the label store, once each, and what is next."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from time import monotonic
from typing import Annotated, Any, Literal

from etils import epath
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from prohibit_jax.active.queue import Ask, read_queue
from prohibit_jax.data.label_store import Label, LabelStore, Rule, check_label
from prohibit_jax.types import InputError
from serve.errors import Refusal
from serve.labelling.desk import BEFORE, VOTES, Desk

MOST_ANSWERS = 200
"""In one message; a page that was long without a network sends several."""
MOST_PHOTOS = 48
"""That an annotator may hold."""
TICK = timedelta(microseconds=1)


def _visible(text: str) -> str:
    text = " ".join(text.split())
    if not text or not text.isprintable():
        raise ValueError("a name has letters that can be seen")
    return text


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class Given(_Message):
    """An answer: `undo` takes back the annotator's last word on the photo. `id` is the page's own, so that an answer
    that arrives again is known."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    sha256: Digest
    answer: Literal["yes", "no", "unsure", "skip", "undo"]


class Turn(_Message):
    """What a page sends: answers since the last time, photos that it has, and how many it wants to have."""

    queue: str
    annotator: Annotated[str, StringConstraints(max_length=64), AfterValidator(_visible)]
    answers: Annotated[list[Given], Field(max_length=MOST_ANSWERS)] = []
    holds: Annotated[list[Digest], Field(max_length=4 * MOST_PHOTOS)] = []
    want: Annotated[int, Field(ge=0, le=MOST_PHOTOS)] = 0


def open_queue(path: epath.PathLike, name: str) -> tuple[Ask, ...]:
    """A queue's asks. Raises InputError, one line that names the file, where it asks about anything else than `name`,
    or what no label store would take."""
    asks = read_queue(path)
    if not asks:
        raise InputError(f"{path}: asks about no photo; make another with launch query")
    if others := {ask.name for ask in asks} - {name}:
        raise InputError(f"{path}: asks about {', '.join(sorted(others))}, not about {name}")
    for row, ask in enumerate(asks, 1):
        try:
            check_label(_label(ask, "skip", "nobody", datetime.now(UTC)))
        except InputError as error:
            raise InputError(f"{path} row {row}: {error}") from None
    return asks


class Session:
    """The desk, the label store behind it, and what this run has been told."""

    def __init__(
        self,
        name: str,
        asks: Sequence[Ask],
        labels: LabelStore,
        rule: Rule,
        guide: str = "",
    ) -> None:
        """
        Args:
            name: the class.
            asks: of it, best first.
            labels: where answers go, and where those given before are.
            rule: how many answers a photo needs, and whose are final.
            guide: for annotators, plain text.

        Raises InputError where the label store cannot be read.
        """
        self.name, self.rule, self.guide = name, rule, guide
        self.desk = Desk(asks, rule)
        self._number, stored = labels.since(0, name)  # of the last label that the desk has heard
        self.desk.recall(stored)
        self.queue = hashlib.sha256(f"{name} {' '.join(ask.sha256 for ask in asks)}".encode()).hexdigest()[:16]
        self._labels = labels
        self._one = asyncio.Lock()
        self._ids: set[str] = set()
        self._run: dict[tuple[str, str], str] = {}  # this run's answers that stand, by annotator and photo
        self._time = BEFORE  # of the last label made here

    def about(self) -> dict[str, Any]:
        """What a page shows before anybody has a name."""
        return {
            "queue": self.queue,
            "class": self.name,
            "votes": self.rule.votes,
            "guide": self.guide,
            "total": len(self.desk.asks),
            "annotators": sorted(self.desk.answers),
        }

    async def turn(self, turn: Turn) -> dict[str, Any]:
        """Stores a page's answers, and deals its annotator what is next.

        What others have put into the label store meanwhile, another server or an import, is heard first.

        Raises Refusal 409 where the page is of another queue, 503 where the label store cannot be read or does not take
        the answers: then none of them counts.
        """
        if turn.queue != self.queue:
            raise Refusal(409, "another queue is labelled here now: load the page again")
        async with self._one:
            fresh = {given.id: given for given in turn.answers if given.id not in self._ids}
            new = [given for given in fresh.values() if self.desk.ask(given.sha256)]
            try:
                self._number, news = await asyncio.to_thread(self._news)
                self.desk.recall(news)
                labels = self._stored(turn.annotator, new)
                if labels:
                    await asyncio.to_thread(self._labels.append, labels.values())
            except (InputError, OSError) as error:
                raise Refusal(503, f"answers cannot be stored: {error}", {"Retry-After": "5"}) from None
            for given in new:
                self._ids.add(given.id)
                time = labels[given.id].time if given.id in labels else None
                self.desk.hear(turn.annotator, given.sha256, given.answer, time)
                self._run[turn.annotator, given.sha256] = given.answer
            asks = self.desk.deal(turn.annotator, turn.want, monotonic(), turn.holds)
        return {
            "asks": [_shown(ask) for ask in asks],
            "progress": asdict(self.desk.progress()),
            "annotators": {name: {vote: counts[vote] for vote in VOTES} for name, counts in self.desk.answers.items()},
        }

    def summary(self) -> dict[str, int]:
        """Answers of this run that nobody has taken back, and photos that were skipped."""
        counts = Counter(self._run.values())
        votes = {vote: counts[vote] for vote in VOTES}
        return {"answered": sum(votes.values()), **votes, "skipped": counts["skip"]}

    def _news(self) -> tuple[int, list[Label]]:
        """What was stored since the last time, this session's own labels among them."""
        number, labels = self._labels.since(self._number, self.name)
        return number, list(labels)

    def _stored(self, annotator: str, new: Sequence[Given]) -> dict[str, Label]:
        """The labels that answers become, by their ids: none for one that says again what the annotator said before."""
        labels: dict[str, Label] = {}
        last: dict[str, tuple[str, datetime]] = {}
        for given in new:
            ask = self.desk.ask(given.sha256)
            assert ask is not None
            said = self.desk.said(annotator, given.sha256), self.desk.latest(given.sha256)
            before, time = last.get(given.sha256, said)
            says = "skip" if given.answer == "undo" else given.answer
            if says != before and (given.answer != "undo" or before):
                # One moment each, and later than any label on the photo, whatever the clock that this was given by:
                # the latest label counts, and at one time an answer is stored once.
                self._time = max(datetime.now(UTC), self._time + TICK)
                time = max(self._time, time + TICK)
                labels[given.id] = _label(ask, says, annotator, time)
            last[given.sha256] = says, time
        return labels


def _label(ask: Ask, answer: str, annotator: str, time: datetime) -> Label:
    return Label(
        sha256=ask.sha256,
        path=ask.path,
        name=ask.name,
        answer=answer,
        annotator=annotator,
        time=time,
        round=ask.round,
        head=ask.head,
        score=ask.score,
        strategy=ask.strategy,
        reason=ask.reason,
    )


def _shown(ask: Ask) -> dict[str, Any]:
    """What a page gets of an ask; of its path only the name, since folders are often called like labels."""
    fields = ("sha256", "score", "head", "strategy", "reason")
    return {**{field: getattr(ask, field) for field in fields}, "file": PurePath(ask.path).name}
