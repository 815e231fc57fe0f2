"""Who is asked which photo, decided without a page, a clock or a database.

The photos of a queue are dealt like cards, best first. An annotator holds a hand of them, which nobody else is dealt
until it expires; every contact renews it. A photo is asked until as many annotators as the rule wants have answered,
and of one more as long as they are split. A skipped one goes to the others, and comes back to who skipped it once, when
nothing else is left for him.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from prohibit_jax.active.queue import Ask
from prohibit_jax.data.label_store import Label, Rule

LEASE = 600.0
"""Seconds after an annotator's last contact in which his hand is kept for him."""

VOTES = ("yes", "no", "unsure")

BEFORE = datetime.min.replace(tzinfo=UTC)
"""When everything was still unsaid."""


@dataclass(frozen=True)
class Progress:
    """Photos of a queue: in all, answered, still asked, of these such as annotators are split on, and broken ones."""

    total: int
    done: int
    open: int
    disputed: int
    broken: int


@dataclass
class _Hand:
    cards: list[int]
    until: float  # seconds of the caller's clock
    want: int = 0  # of which half is before his eyes, a grid's page, and is never taken from him


class Desk:
    """One queue and its annotators. A photo that stands in it twice is asked once."""

    def __init__(self, asks: Iterable[Ask], rule: Rule = Rule(), lease: float = LEASE) -> None:  # noqa: B008 - frozen
        first: dict[str, Ask] = {}
        for ask in asks:
            first.setdefault(ask.sha256, ask)
        self.asks = tuple(first.values())
        self.broken: dict[str, str] = {}  # why photos cannot be shown, by sha256
        self.answers: dict[str, Counter[str]] = {}  # of each annotator, those that count
        self._rule, self._lease = rule, lease
        self._card = {sha256: card for card, sha256 in enumerate(first)}
        self._said: list[dict[str, str]] = [{} for _ in first]  # the latest word of each annotator on a card
        self._times: list[dict[str, datetime]] = [{} for _ in first]  # of the labels which that was
        self._passed: Counter[tuple[str, int]] = Counter()
        self._open = list(range(len(first)))  # the cards that are still asked, rising
        self._split: set[int] = set()
        self._hands: dict[str, _Hand] = {}

    def ask(self, sha256: str) -> Ask | None:
        """What the queue has of a photo."""
        card = self._card.get(sha256)
        return None if card is None else self.asks[card]

    def said(self, annotator: str, sha256: str) -> str | None:
        """The annotator's latest word on a photo of the queue: a vote, `skip`, or None."""
        return self._said[self._card[sha256]].get(annotator)

    def latest(self, sha256: str) -> datetime:
        """The time of the latest label on a photo of the queue; `BEFORE` everything where there is none."""
        return max(self._times[self._card[sha256]].values(), default=BEFORE)

    def recall(self, labels: Iterable[Label]) -> None:
        """Hears labels of a store, oldest first. Those of other photos, and what is older than an annotator's latest
        word, or is that word, are passed over: labels may come more than once, and late."""
        for label in labels:
            if label.sha256 not in self._card:
                continue
            known = self._times[self._card[label.sha256]].get(label.annotator, BEFORE)
            again = label.time == known and label.answer == self.said(label.annotator, label.sha256)
            if label.time >= known and not again:
                self.hear(label.annotator, label.sha256, label.answer, label.time)

    def hear(self, annotator: str, sha256: str, answer: str, time: datetime | None = None) -> None:
        """Takes an answer on a photo of the queue: a vote, `skip`, or `undo`, which puts the photo back into the hand.

        A skip of a photo that he has voted on takes the vote back: it is no pass. `time` is that of its label, if one
        is stored.
        """
        card = self._card[sha256]
        before = self._said[card].get(annotator)
        self._said[card][annotator] = "skip" if answer == "undo" else answer
        if time is not None:
            self._times[card][annotator] = time
        counts = self.answers.setdefault(annotator, Counter())
        if before in VOTES:
            counts[before] -= 1
        if answer in VOTES:
            counts[answer] += 1
        if before == "skip" and answer == "undo":
            self._passed[annotator, card] = max(0, self._passed[annotator, card] - 1)
        if before not in VOTES and answer == "skip":
            self._passed[annotator, card] += 1
        self._look(card)
        hand = self._hands.setdefault(annotator, _Hand([], 0.0))
        hand.cards = [held for held in hand.cards if held != card]
        if answer == "undo":
            hand.cards.insert(0, card)

    def spoil(self, sha256: str, reason: str) -> None:
        """A photo that cannot be shown is asked of nobody any more."""
        self.broken[sha256] = reason
        self._look(self._card[sha256])

    def mend(self, sha256: str) -> None:
        """A photo that was shown is asked, though it once could not be."""
        if self.broken.pop(sha256, None) is not None:
            self._look(self._card[sha256])

    def deal(self, annotator: str, want: int, now: float, holds: Sequence[str] = ()) -> list[Ask]:
        """The annotator's hand, filled up to `want` photos: first what he holds already, then the best of the rest.

        Args:
            annotator: who asks for photos.
            want: photos that he is to hold; what he holds beyond them goes back.
            now: seconds of any clock, the same at every call.
            holds: SHA-256 of photos that he has before him: they stay his where nobody else has got them, though this
                desk may be new and know nothing of it.
        """
        hand = self._hands.get(annotator, _Hand([], now))
        live = hand.until > now
        others = [one for name, one in self._hands.items() if name != annotator and one.until > now and one.want]
        share = -(-len(self._open) // (len(others) + 1))  # where few are left, nobody has them all
        for one in others:
            del one.cards[max(share, (one.want + 1) // 2) :]
        taken = Counter(card for one in others for card in one.cards)
        most = min(want, max(share, (want + 1) // 2))
        cards = [c for c in hand.cards if self._asked(c, annotator) and (live or taken[c] < self._wanted(c))][:most]
        shown = [self._card[sha256] for sha256 in holds if sha256 in self._card]
        for passes in (0, 1):
            for card in chain(shown, self._open):
                if len(cards) >= most:
                    break
                fits = self._asked(card, annotator) and self._passed[annotator, card] == passes
                if fits and card not in cards and taken[card] < self._wanted(card):
                    cards.append(card)
        self._hands[annotator] = _Hand(cards, now + self._lease, want)
        return [self.asks[card] for card in cards]

    def progress(self) -> Progress:
        """How far the queue is."""
        total, left = len(self.asks), len(self._open)
        broken = sum(self._wanted(self._card[sha256]) > 0 for sha256 in self.broken)
        return Progress(total, total - left - broken, left, len(self._split), broken)

    def _asked(self, card: int, annotator: str) -> bool:
        """Whether the annotator may be asked, whoever else is."""
        return self._is_open(card) and self._said[card].get(annotator) not in VOTES

    def _wanted(self, card: int) -> int:
        """Votes that a photo still needs."""
        said = self._said[card]
        if any(said.get(judge) in VOTES for judge in self._rule.adjudicators):
            return 0
        votes = Counter(said.values())
        missing = self._rule.votes - sum(votes[vote] for vote in VOTES)
        return missing if missing > 0 else int(0 < votes["yes"] == votes["no"])

    def _is_open(self, card: int) -> bool:
        place = bisect_left(self._open, card)
        return place < len(self._open) and self._open[place] == card

    def _look(self, card: int) -> None:
        """Keeps what is open and split in step with a card that has changed."""
        wanted = 0 if self.asks[card].sha256 in self.broken else self._wanted(card)
        place, was = bisect_left(self._open, card), self._is_open(card)
        if wanted and not was:
            self._open.insert(place, card)
        elif was and not wanted:
            del self._open[place]
        votes = sum(word in VOTES for word in self._said[card].values())
        (self._split.add if wanted and votes >= self._rule.votes else self._split.discard)(card)
