from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prohibit_jax.active.queue import Ask
from prohibit_jax.data.label_store import Label, Rule
from serve.labelling.desk import LEASE, VOTES, Desk, Progress


def asks(count: int) -> list[Ask]:
    return [Ask(f"{i}.jpg", f"{i:064x}", "weapon", 0.5, "weapon@1", "uncertainty", "why", 0) for i in range(count)]


def numbers(dealt: list[Ask]) -> list[int]:
    return [int(ask.sha256, 16) for ask in dealt]


def photo(number: int) -> str:
    return f"{number:064x}"


def label(annotator: str, number: int, answer: str, seconds: int = 0) -> Label:
    return Label(
        photo(number), "p", "weapon", answer, annotator, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(0, seconds)
    )


def test_two_annotators_are_dealt_different_photos_best_first() -> None:
    desk = Desk(asks(5))
    assert numbers(desk.deal("ann", 2, 0.0)) == [0, 1]
    assert numbers(desk.deal("bob", 2, 0.0)) == [2, 3]
    assert numbers(desk.deal("ann", 2, 1.0)) == [0, 1], "the same as before: a page may be loaded again"
    desk.hear("ann", photo(0), "yes")
    assert numbers(desk.deal("ann", 2, 2.0)) == [1, 4]
    assert numbers(desk.deal("cat", 2, 2.0)) == []


def test_a_hand_that_has_expired_goes_to_others() -> None:
    desk = Desk(asks(3))
    desk.deal("ann", 2, 0.0)
    assert numbers(desk.deal("bob", 3, LEASE - 1)) == [2]
    assert numbers(desk.deal("bob", 2, LEASE)) == [2, 0]
    assert numbers(desk.deal("ann", 2, LEASE + 1)) == [1], "what nobody took is still hers"
    desk.hear("ann", photo(0), "no")  # she had it on her screen all the while
    assert numbers(desk.deal("bob", 3, LEASE + 2)) == [2]


def test_a_contact_renews_the_hand() -> None:
    desk = Desk(asks(1))
    desk.deal("ann", 2, 0.0)
    desk.deal("ann", 2, LEASE - 1)
    assert desk.deal("bob", 2, LEASE + 1) == []


def test_two_votes_come_from_two_annotators() -> None:
    desk = Desk(asks(2), Rule(votes=2))
    assert numbers(desk.deal("ann", 1, 0.0)) == [0]
    assert numbers(desk.deal("bob", 1, 0.0)) == [0]
    assert numbers(desk.deal("cat", 1, 0.0)) == [1], "two at a time are enough"
    for name in ("ann", "bob"):
        desk.hear(name, photo(0), "yes")
    desk.hear("ann", photo(1), "no")
    assert numbers(desk.deal("ann", 1, 1.0)) == [], "she has answered both"
    assert desk.progress() == Progress(total=2, done=1, open=1, disputed=0, broken=0)


def test_a_tie_is_asked_of_one_more() -> None:
    desk = Desk(asks(1), Rule(votes=2))
    desk.hear("ann", photo(0), "yes")
    desk.hear("bob", photo(0), "no")
    assert desk.progress() == Progress(total=1, done=0, open=1, disputed=1, broken=0)
    assert numbers(desk.deal("cat", 1, 0.0)) == [0]
    assert numbers(desk.deal("dan", 1, 0.0)) == [], "one more at a time"
    desk.hear("cat", photo(0), "unsure")
    assert numbers(desk.deal("dan", 1, 0.0)) == [0]
    desk.hear("dan", photo(0), "no")
    assert desk.progress() == Progress(total=1, done=1, open=0, disputed=0, broken=0)


def test_the_word_of_an_adjudicator_ends_it() -> None:
    desk = Desk(asks(2), Rule(("eve",), votes=2))
    desk.hear("eve", photo(0), "no")
    assert numbers(desk.deal("ann", 2, 0.0)) == [1]
    desk.hear("ann", photo(1), "yes")
    desk.hear("bob", photo(1), "no")
    assert numbers(desk.deal("eve", 2, 0.0)) == [1]
    desk.hear("eve", photo(1), "unsure")
    assert desk.progress().done == 2


def test_a_skipped_photo_goes_to_others_and_comes_back_once() -> None:
    desk = Desk(asks(3))
    desk.deal("ann", 1, 0.0)
    desk.hear("ann", photo(0), "skip")
    assert numbers(desk.deal("bob", 1, 0.0)) == [0], "the best that nobody holds"
    desk.deal("bob", 0, 0.0)
    assert numbers(desk.deal("ann", 3, 0.0)) == [1, 2, 0], "at the end"
    desk.hear("ann", photo(0), "skip")
    assert numbers(desk.deal("ann", 3, 0.0)) == [1, 2]
    assert numbers(desk.deal("bob", 3, 0.0)) == [0]


def test_undo_puts_a_photo_back_into_the_hand() -> None:
    desk = Desk(asks(4))
    desk.deal("ann", 2, 0.0)
    desk.hear("ann", photo(0), "yes")
    assert desk.answers["ann"]["yes"] == 1
    desk.hear("ann", photo(0), "undo")
    assert desk.answers["ann"]["yes"] == 0
    assert desk.said("ann", photo(0)) == "skip"
    assert numbers(desk.deal("bob", 4, 0.0)) == [2, 3], "not the one that she looks at again"
    assert numbers(desk.deal("ann", 2, 0.0)) == [0, 1]
    desk.hear("ann", photo(0), "skip")
    desk.hear("ann", photo(0), "undo")
    assert numbers(desk.deal("ann", 2, 0.0)) == [0, 1], "a skip that is taken back is none"


def test_what_was_answered_before_is_known_again() -> None:
    desk = Desk(asks(4))
    said = [("ann", 0, "yes"), ("ann", 0, "skip"), ("bob", 1, "no"), ("ann", 2, "skip"), ("bob", 9, "yes")]
    desk.recall(label(*one, seconds=i) for i, one in enumerate(said))
    assert desk.progress() == Progress(total=4, done=1, open=3, disputed=0, broken=0)
    assert numbers(desk.deal("ann", 4, 0.0)) == [0, 3, 2], "what she took back is as if never answered"


def test_labels_may_come_late_and_more_than_once() -> None:
    desk = Desk(asks(3))
    desk.recall([label("ann", 0, "no", 5), label("ann", 1, "yes", 5)])
    desk.recall([label("ann", 0, "yes", 4), label("ann", 1, "yes", 5), label("bob", 2, "no", 1)])
    assert desk.said("ann", photo(0)) == "no", "what is older comes too late"
    assert desk.progress().open == 0
    desk.recall([label("ann", 0, "unsure", 5)])
    assert desk.said("ann", photo(0)) == "unsure", "at one time the later one counts, as in a store"
    desk.hear("ann", photo(0), "undo", label("ann", 0, "skip", 6).time)
    desk.recall([label("ann", 0, "skip", 6)])
    assert numbers(desk.deal("ann", 1, 0.0)) == [0], "her own undo, read again, is no pass"
    assert desk.latest(photo(0)) == label("ann", 0, "skip", 6).time
    assert desk.answers["ann"] == {"yes": 1, "no": 0, "unsure": 0}


def test_after_a_restart_everybody_keeps_what_he_has_before_him() -> None:
    before, after = Desk(asks(6)), Desk(asks(6))
    hands = {name: [ask.sha256 for ask in before.deal(name, 3, 0.0)] for name in ("ann", "bob")}
    for name in ("bob", "ann"):
        assert [ask.sha256 for ask in after.deal(name, 3, 0.0, hands[name])] == hands[name]
    assert numbers(after.deal("ann", 3, 0.0, ["f" * 64])) == [0, 1, 2], "nor does a page know photos that are not asked"


def test_a_broken_photo_is_asked_of_nobody() -> None:
    desk = Desk(asks(3), Rule(votes=2))
    desk.deal("ann", 3, 0.0)
    desk.spoil(photo(1), "gone")
    assert numbers(desk.deal("ann", 3, 0.0)) == [0, 2]
    assert numbers(desk.deal("bob", 3, 0.0)) == [0, 2]
    assert desk.broken == {photo(1): "gone"}
    assert desk.progress() == Progress(total=3, done=0, open=2, disputed=0, broken=1)
    desk.mend(photo(1))
    assert desk.progress() == Progress(total=3, done=0, open=3, disputed=0, broken=0)


def test_a_photo_that_stands_twice_is_asked_once() -> None:
    desk = Desk([*asks(2), *asks(1)])
    assert numbers(desk.deal("ann", 9, 0.0)) == [0, 1]


def test_where_few_are_left_nobody_has_them_all() -> None:
    desk = Desk(asks(7))
    assert numbers(desk.deal("ann", 8, 0.0)) == [0, 1, 2, 3, 4, 5, 6]
    assert numbers(desk.deal("bob", 8, 0.0)) == [4, 5, 6]
    assert numbers(desk.deal("ann", 8, 0.0)) == [0, 1, 2, 3]
    desk.deal("cat", 8, 0.0)
    assert numbers(desk.deal("ann", 8, 0.0)) == [0, 1, 2, 3], "half of what she wants, a page that she looks at"


def test_fewer_wanted_gives_the_rest_back() -> None:
    desk = Desk(asks(4))
    desk.deal("ann", 4, 0.0)
    assert numbers(desk.deal("ann", 1, 0.0)) == [0]
    assert numbers(desk.deal("bob", 2, 0.0)) == [1, 2]


counts = st.integers(1, 3)
NAMES = ("ann", "bob", "cat", "dan", "eve")


class Desks(RuleBasedStateMachine):
    """Annotators come, go, answer, skip, undo and let leases expire; the server restarts. They only answer what they
    were dealt, but however late."""

    @initialize(count=st.integers(1, 7), votes=st.integers(1, 2))
    def begin(self, count: int, votes: int) -> None:
        self.asks, self.rule = asks(count), Rule(votes=votes)
        self.desk = Desk(self.asks, self.rule)
        self.now = 0.0
        self.stored: list[Label] = []
        self.hands: dict[str, tuple[list[str], float, int]] = {}  # what a page has, until when, and how many it wants
        self.votes: dict[str, dict[str, str]] = {ask.sha256: {} for ask in self.asks}
        self.last: dict[str, list[str]] = {name: [] for name in NAMES}

    def deal(self, name: str, want: int) -> list[str]:
        held, until, _ = self.hands.get(name, ([], 0.0, 0))
        dealt = [ask.sha256 for ask in self.desk.deal(name, want, self.now, held)]
        assert len(dealt) == len(set(dealt)) <= want
        for sha256 in dealt:
            assert self.votes[sha256].get(name) is None, "nothing is asked of him twice"
            others = sum(
                sha256 in cards[: (most + 1) // 2] and end > self.now  # the rest of a hand may go to who has none
                for who, (cards, end, most) in self.hands.items()
                if who != name
            )
            if sha256 not in held or until <= self.now:
                assert others < self.missing(sha256), "nothing is asked of more than are needed"
        self.hands[name] = (dealt, self.now + LEASE, want)
        return dealt

    def missing(self, sha256: str) -> int:
        said = list(self.votes[sha256].values())
        few = self.rule.votes - len(said)
        return few if few > 0 else int(said.count("yes") == said.count("no") > 0)

    def say(self, name: str, sha256: str, answer: str) -> None:
        self.desk.hear(name, sha256, answer)
        self.stored.append(label(name, int(sha256, 16), "skip" if answer == "undo" else answer, len(self.stored)))
        if answer in VOTES:
            self.votes[sha256][name] = answer
        else:
            self.votes[sha256].pop(name, None)
        cards, until, want = self.hands.get(name, ([], 0.0, 0))
        back = [sha256] if answer == "undo" else []
        self.hands[name] = (back + [card for card in cards if card != sha256], until, want)

    @rule(name=st.sampled_from(NAMES), want=st.integers(0, 4))
    def come(self, name: str, want: int) -> None:
        self.deal(name, want)

    @rule(name=st.sampled_from(NAMES), answer=st.sampled_from((*VOTES, "skip")), which=st.integers(0, 3), count=counts)
    def answer(self, name: str, answer: str, which: int, count: int) -> None:
        """A message: some photos before him, by and by, and then what is next."""
        cards, _, want = self.hands.get(name, ([], 0.0, 0))
        for sha256 in cards[which : which + count]:
            self.last[name].append(sha256)
            self.say(name, sha256, answer)
        if cards:
            self.deal(name, want)

    @rule(name=st.sampled_from(NAMES), count=counts)
    def undo(self, name: str, count: int) -> None:
        for _ in range(min(count, len(self.last[name]))):
            self.say(name, self.last[name].pop(), "undo")
        if name in self.hands:
            self.deal(name, self.hands[name][2])

    @rule(seconds=st.sampled_from((1.0, LEASE / 2, LEASE)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.stored)
    @rule()
    def restart(self) -> None:
        self.desk = Desk(self.asks, self.rule)
        self.desk.recall(self.stored)
        self.hands = {name: (cards, 0.0, want) for name, (cards, _, want) in self.hands.items()}

    @invariant()
    def counts_agree(self) -> None:
        open_ = {sha256 for sha256 in self.votes if self.missing(sha256)}
        progress = self.desk.progress()
        assert progress.open == len(open_)
        assert progress.done == len(self.asks) - len(open_)
        assert progress.disputed == sum(len(self.votes[sha256]) >= self.rule.votes for sha256 in open_)
        for name in NAMES:
            counts = self.desk.answers.get(name, {})
            for vote in VOTES:
                assert counts.get(vote, 0) == sum(said.get(name) == vote for said in self.votes.values())

    def teardown(self) -> None:
        """However it went: where annotators go on until they have no photo left, every photo ends answered."""
        if not hasattr(self, "desk"):
            return
        self.now += LEASE
        for name in (*NAMES, "fay", "gus"):
            while dealt := self.deal(name, 3):
                self.say(name, dealt[0], "yes")
                self.now += 1.0
            self.now += LEASE
        assert self.desk.progress().open == 0


Desks.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
test_any_order_of_events: Any = Desks.TestCase
