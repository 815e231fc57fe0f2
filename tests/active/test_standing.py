"""Where a class stands: what rounds found, the draws behind the estimate, verdicts, and advice."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prohibit_jax.active.estimate import Draw
from prohibit_jax.active.loop import Made, next_round
from prohibit_jax.active.queue import Ask
from prohibit_jax.active.rounds import Rounds
from prohibit_jax.active.standing import Standing, Yield, _draws, as_json, look, standing_plot
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
    return lambda **given: next_round("weapon", here.store, **({"pool": str(here.scores), "budget": 20} | given))


def answer_all(here: Ready, number: int) -> None:
    for one in Rounds(here.store, "weapon").queue(number):
        here.say([one.sha256], strategy=one.strategy)


@pytest.fixture
def stood(here: Ready, ask: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> Standing:
    """Three rounds, the last one unanswered, with a small honest sample."""
    monkeypatch.setattr("prohibit_jax.active.curve.LEAST", 1)
    monkeypatch.setattr("prohibit_jax.heads.quick.LEAST", 1)
    here.say([*here.of("gun")[:12], *here.of("cup")[:12]])
    for number in (1, 2):
        ask(strategy="uncertainty=0.5,random=0.5")
        answer_all(here, number)
    ask()
    return look("weapon", here.store)


def test_the_table_of_rounds(here: Ready, stood: Standing) -> None:
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


def test_open_photos_come_first(stood: Standing, here: Ready) -> None:
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


def test_a_spent_budget_stops(stood: Standing, here: Ready) -> None:
    stopped = look("weapon", here.store, stop="plateau+few,labels=60")
    assert stopped.decision.stop
    assert stopped.advice == "stop: 64 photos are answered of a budget of 60"
    assert [one.rule for one in stopped.verdicts] == ["plateau", "stable", "few", "labels"]
    days = look("weapon", here.store, stop="days=1").verdicts[-1]
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
    from dataclasses import replace

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


def test_draws_know_what_waited_when_they_were_made() -> None:
    """Photos of an earlier queue were in no later population, whenever they were answered."""
    from dataclasses import replace

    times = seconds()
    before, created, between, later, after = (next(times) for _ in range(5))
    made = [replace(DRAFT, number=1, candidates=100, found=2, created=created.isoformat())]
    made.append(replace(DRAFT, number=2, candidates=80, found=3, created=later.isoformat()))

    def queue(names: str, strategy: str) -> list[Ask]:
        return [Ask(f"{name}.jpg", name, "weapon", None, None, strategy, "why", 1) for name in names]

    queues: dict[int, Any] = {1: [*queue("ab", "random"), *queue("cd", "positives")], 2: queue("efg", "random")}
    answers = {"a": "yes", "b": "no", "c": "yes", "d": "yes", "e": "no", "f": "yes", "x": "yes"}
    first = {"a": between, "b": between, "c": between, "d": after, "e": after, "f": after, "x": before}
    assert _draws(made, queues, answers, first) == [Draw(100, 2, 1, 2), Draw(80, 2, 1, 3 + 1)]
