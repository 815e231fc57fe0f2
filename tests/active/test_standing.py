"""Where a class stands: what rounds found, the draws behind the estimate, verdicts, and advice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prohibit_jax.active.estimate import Draw
from prohibit_jax.active.loop import Made, next_round
from prohibit_jax.active.queue import Ask
from prohibit_jax.active.rounds import Round, Rounds
from prohibit_jax.active.standing import Standing, Yield, _draws, _yields, as_json, look, standing_plot
from prohibit_jax.data.label_store import Resolved, Votes
from prohibit_jax.types import InputError
from tests.active.test_rounds import DRAFT
from tests.heads.ready import Ready, ready, seconds


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ready:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROHIBIT_LABELS", raising=False)
    return ready(tmp_path)


@pytest.fixture
def ask(here: Ready) -> Callable[..., Made]:
    return asker(here)


def asker(here: Ready) -> Callable[..., Made]:
    return lambda **given: next_round("weapon", here.store, **({"pool": str(here.scores), "budget": 20} | given))


def answer_all(here: Ready, number: int) -> None:
    for one in Rounds(here.store, "weapon").queue(number):
        here.say([one.sha256], strategy=one.strategy, round=number)


def make_rounds(here: Ready) -> None:
    """Three rounds, the last one unanswered."""
    ask = asker(here)
    here.say([*here.of("gun")[:12], *here.of("cup")[:12]])
    for number in (1, 2):
        ask(strategy="uncertainty=0.5,random=0.5")
        answer_all(here, number)
    ask()


def small_sample(patch: pytest.MonkeyPatch) -> None:
    """A head and a curve are judged on as few photos as there are."""
    for room in ("active.curve", "heads.quick"):
        patch.setattr(f"prohibit_jax.{room}.LEAST", 1)


@pytest.fixture(scope="module")
def after_three(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """A pool with three rounds, for all tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("three")
    here = ready(folder)
    with pytest.MonkeyPatch.context() as patch:
        small_sample(patch)
        patch.chdir(folder)
        patch.delenv("PROHIBIT_LABELS", raising=False)
        make_rounds(here)
    return here


@pytest.fixture
def stood(after_three: Ready, monkeypatch: pytest.MonkeyPatch) -> Standing:
    """With a small honest sample."""
    monkeypatch.chdir(after_three.folder)
    monkeypatch.delenv("PROHIBIT_LABELS", raising=False)
    small_sample(monkeypatch)
    return look("weapon", after_three.store)


def test_the_table_of_rounds(after_three: Ready, stood: Standing) -> None:
    here = after_three
    assert [point.round.number for point in stood.points] == [1, 2, 3]
    assert [point.round.labels for point in stood.points] == [24, 44, 64]
    truth = {sha: "gun" in here.photos[sha] for sha in here.photos}
    for point in stood.points[:2]:
        queue = Rounds(here.store, "weapon").queue(point.round.number)
        for name, found in point.strategies.items():
            photos = [one.sha256 for one in queue if one.strategy == name]
            assert found == Yield(len(photos), len(photos), sum(truth[sha] for sha in photos))
        assert point.chosen.asked + point.random.asked == 20
        assert point.quality
        assert point.quality.low <= point.quality.value <= point.quality.high
    assert stood.points[2].chosen.answered == 0
    assert stood.points[2].chosen.per_hundred is None
    assert sum(found.positives for found in stood.strategies.values()) + 12 == stood.answers["yes"] == stood.found
    assert min(stood.sample) >= 1
    assert stood.gain


def test_the_pool_adds_up(stood: Standing) -> None:
    assert stood.unanswered == 90 - 64
    for left in (stood.drawn, stood.scored):
        assert left
        assert 0 <= left.low <= left.value <= left.high <= stood.unanswered
    assert stood.drawn
    assert stood.drawn.low <= 30 - stood.found <= stood.drawn.high


def test_open_photos_come_first(here: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    small_sample(monkeypatch)
    make_rounds(here)
    stood = look("weapon", here.store)
    assert not stood.decision.stop
    path = Rounds(here.store, "weapon").queue_path(3)
    open_ = stood.points[2].round.asked
    assert stood.advice == (f"answer the {open_} open photos of round 3: launch label --class weapon --queue {path}")
    answer_all(here, 3)
    after = look("weapon", here.store)
    assert after.advice == "go on: launch loop next --class weapon"
    assert after.scored
    assert stood.scored
    assert after.scored.value == max(stood.scored.value - (after.found - stood.found), 0)


def test_a_spent_budget_stops(stood: Standing, after_three: Ready) -> None:
    stopped = look("weapon", after_three.store, stop="plateau+few,labels=60")
    assert stopped.decision.stop
    assert stopped.advice == "stop: 64 photos are answered of a budget of 60"
    assert [one.rule for one in stopped.verdicts] == ["plateau", "stable", "few", "labels"]
    days = look("weapon", after_three.store, stop="days=1").verdicts[-1]
    assert days.rule == "days"
    assert days.stop == (datetime.now(UTC) > datetime(2026, 1, 2, tzinfo=UTC))


def test_json_says_the_same(stood: Standing) -> None:
    said = json.loads(json.dumps(as_json(stood), allow_nan=False))
    assert said["class"] == "weapon"
    assert [one["round"] for one in said["rounds"]] == [1, 2, 3]
    assert said["rounds"][0]["average_precision"].keys() == {"value", "low", "high"}
    assert said["pool"]["found"] == stood.found
    assert said["strategies"]["random"]["answered"] == stood.strategies["random"].answered
    assert {one["rule"] for one in said["rules"]} == {"plateau", "stable", "few"}
    assert (said["stop"], said["next"]) == (False, stood.advice)


@pytest.mark.parametrize("judged", [True, False])
def test_the_plot(stood: Standing, tmp_path: Path, judged: bool) -> None:
    points = tuple(point if judged else replace(point, quality=None) for point in stood.points)
    standing_plot(tmp_path / "plot.png", replace(stood, points=points))
    with Image.open(tmp_path / "plot.png") as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 100
        assert (picture.height > 700) == judged


def test_without_a_head_and_without_answers(here: Ready, ask: Callable[..., Made], tmp_path: Path) -> None:
    ask(examples=None)
    stood = look("weapon", here.store)
    assert (stood.found, stood.unanswered, stood.drawn, stood.scored, stood.gain) == (0, 90, None, None, None)
    assert stood.points[0].quality is None
    standing_plot(tmp_path / "plot.png", stood)
    json.dumps(as_json(stood), allow_nan=False)


def test_without_a_round_it_says_how_to_begin(here: Ready) -> None:
    with pytest.raises(InputError, match="class weapon: no round yet; begin with launch loop next --class weapon"):
        look("weapon", here.store)


def queue(names: str, strategy: str) -> list[Ask]:
    return [Ask(f"{name}.jpg", name, "weapon", None, None, strategy, "why", 1) for name in names]


def first_said(answer: str, number: int | None, strategy: str) -> Resolved:
    return Resolved("", "", answer, Votes(1, 0, 0), strategy, number)


def drafts(*candidates: int, again: bool = False) -> tuple[list[Round], list[datetime]]:
    """Rounds, and a moment before the first, and after each."""
    times = seconds()
    moments, made = [next(times)], []
    for number, count in enumerate(candidates, 1):
        created = next(times).isoformat()
        made.append(replace(DRAFT, number=number, candidates=count, found=number + 1, created=created, again=again))
        moments.append(next(times))
    return made, moments


def test_draws_know_what_waited_when_they_were_made() -> None:
    """Photos of an earlier queue were in no later population, whenever they were answered."""
    made, (before, between, after) = drafts(100, 80)
    queues: dict[int, Any] = {1: [*queue("ab", "random"), *queue("cd", "positives")], 2: queue("efg", "random")}
    answers = {name: first_said("yes", 1, "random" if name == "a" else "positives") for name in "acd"}
    answers |= {"b": first_said("no", 1, "random"), "e": first_said("no", 2, "random")}
    answers |= {"f": first_said("yes", 2, "random"), "x": first_said("yes", None, "imported")}
    first = {"a": between, "b": between, "c": between, "d": after, "e": after, "f": after, "x": before}
    assert _draws(made, queues, answers, first) == [Draw(100, 2, 1, 2), Draw(80, 2, 1, 3 + 1)]
    asked_again = [replace(one, again=one.number == 2) for one in made]
    assert _draws(asked_again, queues, answers, first)[1] == Draw(
        80, 2, 1, 3
    )  # then what waited was no less a candidate


def test_a_photo_that_another_round_chose_again_is_no_draw() -> None:
    """A hundred random photos that nobody answered; of them the one of the class is chosen again, and answered."""
    made, (*_, after) = drafts(10_000, 10_000, again=True)
    queues: dict[int, Any] = {1: queue("abcd", "random"), 2: queue("ae", "positives")}
    answers = {name: first_said("yes", 2, "positives") for name in "ae"}
    assert [draw.drawn for draw in _draws(made, queues, answers, dict.fromkeys("ae", after))] == [0, 0]
    assert _yields(1, queues[1], answers) == {"random": Yield(4, 0, 0)}
    assert _yields(2, queues[2], answers) == {"positives": Yield(2, 2, 2)}


def test_a_photo_that_two_rounds_draw_counts_once() -> None:
    made, (*_, after) = drafts(10_000, 10_000, again=True)
    queues: dict[int, Any] = dict.fromkeys((1, 2), queue("abc", "random"))
    answers = {name: first_said("no", 2, "random") for name in "bc"} | {"a": first_said("yes", 1, "random")}
    draws = _draws(made, queues, answers, dict.fromkeys("abc", after))
    assert [(draw.drawn, draw.positives) for draw in draws] == [(1, 1), (2, 0)]


def test_labels_that_came_another_way_are_no_draws() -> None:
    made, (*_, after) = drafts(100)
    answers = {"a": first_said("yes", None, "imported"), "b": first_said("no", 1, "random")}
    (draw,) = _draws(made, {1: queue("ab", "random")}, answers, dict.fromkeys("ab", after))
    assert (draw.drawn, draw.positives) == (1, 0)


# The curve


def test_the_curve_has_only_photos_that_no_head_of_it_was_trained_on(
    here: Ready, ask: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A larger test side of a later day takes in photos that the first head was trained on."""
    small_sample(monkeypatch)
    here.say([*here.of("gun"), *here.of("cup")[:20]])
    config = tmp_path / "weapon.toml"
    config.write_text('[class]\npositive = ["yes"]\n[data]\ntest = 0.2\n')
    ask(config=str(config))
    few = look("weapon", here.store)
    config.write_text('[class]\npositive = ["yes"]\n[data]\ntest = 0.6\n')
    after = look("weapon", here.store)
    assert min(few.sample) >= 1
    assert after.sample == few.sample
    assert few.points[0].quality
    assert after.points[0].quality == few.points[0].quality


# What to do when nothing is left


def test_where_nothing_is_left_the_answer_is_to_stop(here: Ready, ask: Callable[..., Made]) -> None:
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])
    ask(budget=100)
    answer_all(here, 1)
    ask()
    stood = look("weapon", here.store)
    assert (stood.points[-1].round.asked, stood.points[-1].round.labels, stood.unanswered) == (0, 90, 0)
    assert stood.advice == "stop: nothing is left to ask"


def test_open_photos_of_earlier_rounds_are_named_where_nothing_else_is_left(
    here: Ready, ask: Callable[..., Made], tmp_path: Path
) -> None:
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])
    ask(budget=100)
    here.say([one.sha256 for one in Rounds(here.store, "weapon").queue(1)][:70], strategy="random", round=1)
    ask()
    path = Rounds(here.store, "weapon").queue_path(1)
    stood = look("weapon", here.store)
    assert stood.advice == f"answer the 12 open photos of round 1: launch label --class weapon --queue {path}"
    standing_plot(tmp_path / "plot.png", stood)
    json.dumps(as_json(stood), allow_nan=False)
