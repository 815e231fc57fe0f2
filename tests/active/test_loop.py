"""Rounds from the first day on: what is asked with and without a head, what is remembered, and what a kill leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prohibit_jax.active import loop, stopping
from prohibit_jax.active.loop import ANY, BUDGET, NEAR_EXAMPLES, STRATEGY, Made, next_round, settle
from prohibit_jax.active.mixture import mixture
from prohibit_jax.active.rounds import Rounds, Settings
from prohibit_jax.bundle.lock import Bundle, make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.data.label_store import Label
from prohibit_jax.data.sources import open_source
from prohibit_jax.score.job import score_source
from prohibit_jax.score.table import write_scores
from prohibit_jax.types import InputError
from tests.heads.ready import BEGUN, Ready, ready
from tests.heads.small import COLOURS, photo, sha256

Next = Callable[..., Made]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ready:
    monkeypatch.chdir(tmp_path)  # no config of a class is there
    monkeypatch.delenv("PROHIBIT_LABELS", raising=False)
    return ready(tmp_path)


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def ask(here: Ready, warnings: list[str]) -> Next:
    """The next round of 12 photos."""

    def run(**given: Any) -> Made:
        warnings.clear()
        first = {} if Rounds(here.store, "weapon").numbers() else {"pool": str(here.scores), "budget": 12}
        return next_round("weapon", here.store, **(first | given), warn=warnings.append)

    return run


def asked(here: Ready, number: int) -> list[str]:
    return [ask.sha256 for ask in Rounds(here.store, "weapon").queue(number)]


def answer_all(here: Ready, number: int) -> None:
    for ask in Rounds(here.store, "weapon").queue(number):
        here.say([ask.sha256], strategy=ask.strategy, round=number)


# The first day


def test_with_nothing_known_anything_is_asked(here: Ready, ask: Next, warnings: list[str]) -> None:
    made = ask()
    assert made.head is made.round.head is made.round.expected is made.gain is None
    assert made.strategies.keys() == mixture(ANY).keys()
    assert (made.round.number, made.round.asked, made.round.candidates, made.round.labels) == (1, 12, 90, 0)
    assert warnings == [f"no head yet, since nothing is answered yet: {ANY} chooses this round"]
    assert {one.score for one in Rounds(here.store, "weapon").queue(1)} == {None}
    assert here.store.versions("weapon") == ()


def test_with_one_positive_its_neighbours_are_asked(here: Ready, ask: Next, warnings: list[str]) -> None:
    known = here.of("gun")[0]
    here.say([known])
    made = ask()
    assert made.strategies.keys() == mixture(NEAR_EXAMPLES).keys()
    assert warnings == [f"no head yet, since all answers so far are yes: {NEAR_EXAMPLES} chooses this round"]
    near = [one.sha256 for one in Rounds(here.store, "weapon").queue(1) if one.strategy == "neighbours"]
    assert known not in asked(here, 1)
    _, features = next(iter(here.pool.embeddings()))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    contents = here.pool.texts("sha256").to_pylist()
    likeness = dict(zip(contents, (features @ features[contents.index(known)]).tolist(), strict=True))
    assert near[0] == sorted(set(contents) - {known}, key=lambda sha: -likeness[sha])[0]
    assert np.mean([likeness[sha] for sha in near]) > np.mean([likeness[sha] for sha in contents])


def test_examples_stand_in_for_known_positives(here: Ready, ask: Next, tmp_path: Path) -> None:
    folder = tmp_path / "examples"
    folder.mkdir()
    photo(999, COLOURS["gun"]).save(folder / "one.png")
    made = ask(examples=f"folder:{folder}")
    assert made.strategies["neighbours"] == 8
    assert made.round.settings.examples == f"folder:{folder}"


def test_positives_outside_of_the_pool_have_neighbours_too(here: Ready, ask: Next, tmp_path: Path) -> None:
    file = tmp_path / "mine.png"
    photo(998, COLOURS["gun"]).save(file)
    here.labels.append([Label(sha256(file), str(file), "weapon", "yes", "ann", BEGUN)])
    assert ask().strategies["neighbours"] == 8


@pytest.mark.parametrize(("colour", "said"), [("cup", "no"), ("gun", "yes")])
def test_one_kind_alone_makes_no_head(here: Ready, ask: Next, warnings: list[str], colour: str, said: str) -> None:
    here.say(here.of(colour)[:6])
    made = ask()
    assert made.head is None
    assert warnings[0].startswith(f"no head yet, since all answers so far are {said}")


def test_a_strategy_that_needs_no_head_is_kept(here: Ready, ask: Next, warnings: list[str]) -> None:
    assert ask(strategy="random").strategies == {"random": 12}
    assert not warnings


# With a head


def test_a_round_makes_a_head_and_asks_by_it(here: Ready, ask: Next, warnings: list[str]) -> None:
    here.say([*here.of("gun")[:6], *here.of("cup")[:6]])
    made = ask()
    assert not warnings
    assert made.head
    assert made.round.head == "weapon@1"
    assert here.store.versions("weapon") == (1,)
    assert set(made.strategies) <= mixture(STRATEGY).keys()
    assert made.strategies["random"] >= 1
    assert made.round.answers == {"yes": 6, "no": 6}
    assert (made.round.labels, made.round.found, made.round.candidates) == (12, 6, 78)
    assert made.round.change is None
    assert made.round.expected
    assert made.round.left
    assert 0 <= made.round.expected.value <= 12
    assert made.round.expected.value <= made.round.left.value <= 78
    queue = Rounds(here.store, "weapon").queue(1)
    assert all(one.head == "weapon@1" and one.score is not None and one.reason for one in queue)
    assert not set(asked(here, 1)) & {*here.of("gun")[:6], *here.of("cup")[:6]}
    assert made.seconds.keys() == {"reading", "retraining", "scoring", "query", "looking ahead"}


def test_answers_find_the_class(here: Ready, ask: Next) -> None:
    here.say([here.of("gun")[0], here.of("cup")[0], here.of("cash")[0]])
    for _ in range(3):
        made = ask()
        answer_all(here, made.round.number)
    found = {one.sha256 for one in here.labels.resolved("weapon") if one.answer == "yes"}
    assert len(found) > 15  # of 30 among 90, by 36 questions
    numbers = [ask_ for number in (1, 2, 3) for ask_ in asked(here, number)]
    assert len(numbers) == len(set(numbers)) == 36


def test_disputed_and_unsure_photos_train_nothing_and_are_not_asked_again(here: Ready, ask: Next) -> None:
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])
    here.say([here.of("gun")[4]], "yes")
    here.say([here.of("gun")[4]], "no", annotator="bob")
    here.say([here.of("gun")[5]], "unsure")
    made = ask(budget=85)
    assert made.round.labels == 8
    assert made.round.answers == {"yes": 4, "no": 4, "disputed": 1, "unsure": 1}
    assert not set(asked(here, 1)) & set(here.of("gun")[:6])


def test_a_head_is_compared_with_one_of_fewer_labels(here: Ready, ask: Next, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "reference", lambda counts: len(counts) - 2 if len(counts) > 1 else None)
    here.say([*here.of("gun")[:3], *here.of("cup")[:3]])
    assert ask().round.change is None
    answer_all(here, 1)
    change = ask().round.change
    assert change
    assert (change.since, change.labels) == ("weapon@1", 12)
    assert -1 <= change.gain.low <= change.gain.value <= change.gain.high <= 1
    assert 0 <= change.agreement <= 1


def test_a_gain_is_expected_after_three_judged_rounds(here: Ready, ask: Next, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prohibit_jax.active.curve.LEAST", 1)
    monkeypatch.setattr("prohibit_jax.heads.quick.LEAST", 1)
    here.say([*here.of("gun")[:12], *here.of("cup")[:12]])
    gains = []
    for _ in range(3):
        made = ask()
        gains.append(made.gain)
        assert made.round.held_out
        answer_all(here, made.round.number)
    assert gains[:2] == [None, None]
    assert gains[2] is not None


# What is asked, and what waits


def test_what_waits_for_an_answer_is_not_asked_again(here: Ready, ask: Next, warnings: list[str]) -> None:
    here.say([here.of("gun")[0], here.of("cup")[0]])
    ask(budget=20)
    second = ask()
    assert not set(asked(here, 1)) & set(asked(here, 2))
    (warning,) = warnings
    assert warning.startswith("20 of the 20 photos of round 1 wait for an answer: answer them with launch label")
    assert str(second.queue.parent.parent / "1" / "queue.parquet") in warning
    ask(again=True, budget=88)
    assert set(asked(here, 1)) < set(asked(here, 3))
    assert not warnings


def test_an_answered_round_is_no_reason_to_warn(here: Ready, ask: Next, warnings: list[str]) -> None:
    here.say([here.of("gun")[0], here.of("cup")[0]])
    ask()
    answer_all(here, 1)
    ask()
    assert not warnings


def test_nothing_left_to_ask(here: Ready, ask: Next) -> None:
    here.say([here.of("gun")[0], here.of("cup")[0]])
    ask(budget=200)
    with pytest.raises(InputError, match="nothing left to ask: each of its photos is answered or waits for an answer"):
        ask()
    assert Rounds(here.store, "weapon").numbers() == (1,)
    assert here.store.versions("weapon") == (1,)
    answer_all(here, 1)
    made = ask()
    assert (made.round.number, made.round.head, made.round.asked, made.round.labels) == (2, "weapon@2", 0, 90)
    assert made.round.left
    assert made.round.left.value == 0
    assert asked(here, 2) == []
    with pytest.raises(InputError, match="nothing left to ask"):
        ask()


def test_a_refused_round_publishes_no_head(here: Ready, ask: Next) -> None:
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])
    with pytest.raises(InputError, match="disagreement"):
        ask(strategy="disagreement")
    assert here.store.versions("weapon") == ()
    assert ask(budget=10**12).round.asked == 82


def test_a_round_names_all_its_labelled_photos(here: Ready, ask: Next) -> None:
    """Those too that every classifier has seen, for its head was trained on them."""
    known = [here.of("gun")[0], here.of("cup")[0]]
    here.say(known)
    ask()
    unseen = Rounds(here.store, "weapon").unseen(1)
    assert list(unseen) == known
    assert np.isnan(list(unseen.values())).all()


def test_two_rounds_at_once_are_refused(here: Ready, ask: Next, monkeypatch: pytest.MonkeyPatch) -> None:
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])
    ask()
    kept = loop.stand

    def meanwhile(*given: Any, **more: Any) -> loop.Ground:
        with pytest.raises(InputError, match=r"^class weapon: its next round is being made already; wait for it$"):
            ask()
        return kept(*given, **more)

    monkeypatch.setattr(loop, "stand", meanwhile)
    assert ask().round.number == 2
    assert not set(asked(here, 1)) & set(asked(here, 2))


def test_a_pool_of_broken_photos_is_refused_in_one_line(here: Ready, ask: Next) -> None:
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])
    records = [replace(one, error="broken", phash=None, embedding=None) for one in here.pool.records()]
    write_scores(here.scores, records, Bundle("", ()), here.pool.embedding)
    with pytest.raises(InputError, match=r"scores.parquet: none of the pool's photos has an embedding"):
        ask()


def test_gone_photos_of_the_pool_are_no_matter(here: Ready, ask: Next, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round reads embeddings, not photos."""
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])
    monkeypatch.setattr("prohibit_jax.data.sources.read_photo", lambda *_: pytest.fail("a photo was read"))
    assert ask().round.head == "weapon@1"


# What is remembered


def test_a_round_remembers_its_settings(here: Ready, ask: Next) -> None:
    ask(strategy="random", stop="labels=50")
    kept = ask().round.settings
    assert (kept.budget, kept.strategy, kept.stop) == (12, "random", "labels=50")
    assert kept.pool == str(here.scores)
    assert ask(budget=3).round.settings == replace(kept, budget=3)


def test_defaults_and_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    defaults = settle((), {"pool": "scores.parquet", "labels": "postgresql+psycopg://u:p@h/d"})
    assert defaults == Settings(
        str(tmp_path / "scores.parquet"),
        BUDGET,
        STRATEGY,
        "postgresql+psycopg://u:p@h/d",
        None,
        None,
        stopping.DEFAULT,
    )
    mixture(STRATEGY), mixture(ANY), mixture(NEAR_EXAMPLES), stopping.parse(stopping.DEFAULT)
    for given, reason in refusals():
        with pytest.raises(InputError, match=reason):
            settle((), given)


def refusals() -> Iterator[tuple[dict[str, str | int | None], str]]:
    yield {}, "^--pool: name the score table of the photos, made by launch score --embedding"
    yield {"pool": "x", "budget": 0}, "^--budget 0: "
    yield {"pool": "x", "strategy": "luck"}, "strategy 'luck'"
    yield {"pool": "x", "stop": "luck"}, "--stop 'luck'"


def test_a_password_is_not_kept(here: Ready, ask: Next, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, address = here.labels, "postgresql+psycopg://ann:secret@host/labels"
    monkeypatch.setattr(loop, "open_label_store", lambda *_: kept)
    made = ask(labels=address)
    assert made.round.settings.labels == "postgresql+psycopg://ann:***@host/labels"
    assert "secret" not in made.round.to_json()
    with pytest.raises(InputError, match=r"^--labels: the password of .*\*\*\*@host/labels is not kept; give the addr"):
        ask()
    assert ask(labels=address).round.number == 2


def test_a_pool_without_embeddings_is_refused_in_one_line(here: Ready, ask: Next, tmp_path: Path) -> None:
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])
    ask()
    make_bundle(here.store, "prod")
    plain = tmp_path / "plain.parquet"
    score_source("prod", open_source(f"folder:{_photos(here)}"), plain, here.store)
    with pytest.raises(InputError, match=r"plain.parquet: it has no embeddings; score the photos with --embedding"):
        ask(pool=str(plain))


def test_a_pool_of_other_embeddings_begins_anew(
    here: Ready, ask: Next, warnings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "reference", lambda counts: len(counts) - 2 if len(counts) > 1 else None)
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])
    ask()
    answer_all(here, 1)
    larger = tmp_path / "larger.parquet"
    score_source(None, open_source(f"folder:{_photos(here)}"), larger, here.store, embedding="tiny:48")
    made = ask(pool=str(larger))
    assert made.round.embedding.size == 48
    assert made.round.change is None
    (warning,) = warnings
    assert warning.startswith("the pool's embeddings are other than those of round 1, by tiny at 32 px: earlier heads ")


def _photos(here: Ready) -> Path:
    return Path(next(iter(here.photos.values()))).parent.parent


# Kills


def test_a_kill_before_the_round_is_published_costs_a_version_and_nothing_else(
    here: Ready, ask: Next, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Rounds, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            ask()
    assert Rounds(here.store, "weapon").numbers() == ()
    assert here.store.versions("weapon") == (1,)
    assert ask().round.head == "weapon@2"
    assert Rounds(here.store, "weapon").numbers() == (1,)


def test_a_store_can_be_moved(here: Ready, ask: Next, tmp_path: Path) -> None:
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])
    ask()
    moved = Store(shutil.move(here.store.root, tmp_path / "elsewhere"))
    assert next_round("weapon", moved, again=True).round.number == 2


def test_a_removed_head_is_not_missed(here: Ready, ask: Next, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "reference", lambda counts: len(counts) - 2 if len(counts) > 1 else None)
    here.say([*here.of("gun")[:12], *here.of("cup")[:12]])
    ask()
    shutil.rmtree(here.store.heads / "weapon" / "1")
    answer_all(here, 1)
    made = ask()
    assert made.round.change is None
