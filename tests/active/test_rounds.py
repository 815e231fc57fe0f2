"""Rounds on disk: whole, numbered, read strictly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prohibit_jax.active.queue import Ask
from prohibit_jax.active.rounds import QUEUE, ROUND, UNSEEN, Round, Rounds, Settings
from prohibit_jax.active.stopping import Change
from prohibit_jax.bundle.store import Store
from prohibit_jax.evaluate.metrics import Interval
from prohibit_jax.score.embed import Embedding
from prohibit_jax.types import InputError

SETTINGS = Settings("pool.parquet", 200, "uncertainty", None, None, None, "plateau+few")
ASKS = tuple(Ask(f"{i}.jpg", f"{i:064}", "weapon", 0.5, "weapon@3", "random", "drawn at random", 0) for i in range(3))
DRAFT = Round(
    name="weapon",
    number=0,
    created="2026-01-01T00:00:00+00:00",
    settings=SETTINGS,
    embedding=Embedding("lite0", 160, "e" * 64, 1280),
    head="weapon@3",
    held_out=True,
    answers={"yes": 3, "no": 40},
    found=3,
    candidates=900,
    again=False,
    asked=3,
    expected=Interval(1.5, 0.5, 2.5),
    left=None,
    labels=43,
    change=Change("weapon@2", 20, Interval(0.01, -0.01, 0.02), 0.9),
)
LOGITS = {"0" * 64: 1.5, "1" * 64: -2.0}


@pytest.fixture
def rounds(tmp_path: Path) -> Rounds:
    return Rounds(Store(tmp_path), "weapon")


def test_a_round_is_read_as_it_was_made(rounds: Rounds) -> None:
    assert rounds.numbers() == ()
    one, two = rounds.publish(DRAFT, ASKS, LOGITS), rounds.publish(replace(DRAFT, head=None, change=None), ASKS, {})
    assert rounds.numbers() == (1, 2)
    assert rounds.all() == (one, two) == (replace(DRAFT, number=1), replace(DRAFT, number=2, head=None, change=None))
    assert [ask.round for ask in rounds.queue(2)] == [2, 2, 2]
    assert rounds.queue(1) == tuple(replace(ask, round=1) for ask in ASKS)
    assert rounds.unseen(1) == LOGITS
    assert rounds.unseen(2) == {}
    assert rounds.queue_path(1).exists()


def test_other_classes_have_rounds_of_their_own(rounds: Rounds, tmp_path: Path) -> None:
    rounds.publish(DRAFT, ASKS, LOGITS)
    assert Rounds(Store(tmp_path), "cash").numbers() == ()
    with pytest.raises(InputError, match=r"class '\.\./x'"):
        Rounds(Store(tmp_path), "../x")


def test_a_killed_round_leaves_nothing(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Round) -> str:
        raise KeyboardInterrupt

    rounds.publish(DRAFT, ASKS, LOGITS)
    with monkeypatch.context() as patched:
        patched.setattr(Round, "to_json", killed)
        with pytest.raises(KeyboardInterrupt):
            rounds.publish(DRAFT, ASKS, LOGITS)
    assert rounds.numbers() == (1,)
    assert rounds.publish(DRAFT, ASKS, LOGITS).number == 2


def edited(**fields: Any) -> dict[str, Any]:
    return {**json.loads(replace(DRAFT, number=1).to_json()), **fields}


def test_one_round_at_a_time(rounds: Rounds, tmp_path: Path) -> None:
    with rounds.locked():
        with (
            pytest.raises(InputError, match=r"^class weapon: its next round is being made already; wait for it$"),
            Rounds(Store(tmp_path), "weapon").locked(),
        ):
            pytest.fail("two at once")
        with Rounds(Store(tmp_path), "cash").locked():
            rounds.publish(DRAFT, ASKS, LOGITS)
    with rounds.locked():
        assert rounds.numbers() == (1,)
    assert not Rounds(Store(tmp_path), "cash").folder.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (edited(schema=2), "schema is 2"),
        (edited(extra=1), "extra is not a known field"),
        (edited(labels="many"), 'labels is "many", must be a whole number'),
        (edited(expected={"value": 1}), "expected: low is missing"),
        (edited(round=3, number=3), "round is not a known field"),
        (edited(number=2), "is round 2 of weapon, not round 1 of weapon"),
        ({"schema": 1}, "class is missing"),
    ],
)
def test_a_round_is_read_strictly(rounds: Rounds, content: dict[str, Any], reason: str) -> None:
    rounds.publish(DRAFT, ASKS, LOGITS)
    path = Path(rounds.folder / "1" / ROUND)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as refused:
        rounds.read(1)
    assert str(path) in str(refused.value)
    assert reason in str(refused.value)


@pytest.mark.parametrize("name", [ROUND, QUEUE, UNSEEN])
def test_missing_and_damaged_files_are_named(rounds: Rounds, name: str) -> None:
    rounds.publish(DRAFT, ASKS, LOGITS)
    path = Path(rounds.folder / "1" / name)
    read = {ROUND: rounds.read, QUEUE: rounds.queue, UNSEEN: rounds.unseen}[name]
    for break_it in (lambda: path.write_bytes(b"PAR1 no"), path.unlink):
        break_it()
        with pytest.raises(InputError, match=name) as refused:
            read(1)
        assert "\n" not in str(refused.value)
