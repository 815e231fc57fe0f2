from __future__ import annotations

from pathlib import Path

import pytest
from etils import epath

from prohibit_jax.active import experiment as e
from prohibit_jax.active.mixture import RANDOM
from prohibit_jax.active.simulate import Protocol
from prohibit_jax.types import InputError
from tests.active.test_simulate import world

PROTOCOL = Protocol(10, 30)


def test_random_is_always_there_and_processes_change_nothing(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    alone = e.experiment(world(), ["uncertainty"], PROTOCOL, range(2), epath.Path(tmp_path / "a"), workers=1)
    both = e.experiment(
        world(),
        ["uncertainty", RANDOM],
        PROTOCOL,
        range(2),
        epath.Path(tmp_path / "b"),
        workers=2,
        progress=lambda *at: told.append(at),
    )
    assert [(curve.strategy, curve.seed) for curve in alone] == [
        *((RANDOM, 0), (RANDOM, 1)),
        *(("uncertainty", 0), ("uncertainty", 1)),
    ]
    assert alone == both
    assert told == [(done, 4) for done in range(5)]


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real, runs = epath.Path(tmp_path), e.run, []

    def dies(*arguments: object) -> object:
        if len(runs) == 3:
            raise KeyboardInterrupt
        runs.append(arguments[1:])
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(e, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        e.experiment(world(), ["uncertainty"], PROTOCOL, range(2), folder, workers=1)
    assert len(list(tmp_path.glob("*.json"))) == 3
    monkeypatch.setattr(e, "run", lambda *arguments: runs.append(arguments[1:]) or real(*arguments))
    curves = e.experiment(world(), ["uncertainty"], PROTOCOL, range(2), folder, workers=1)
    assert len(curves) == len(runs) == len(set(runs)) == 4
    e.experiment(world(seed=1), [], PROTOCOL, range(1), folder, workers=1)
    e.experiment(world(), [], Protocol(10, 40), range(1), folder, workers=1)
    assert len(runs) == 6, "other photos and another protocol are other runs"


@pytest.mark.parametrize(
    ("strategies", "protocol", "says"),
    [
        (["wrong"], PROTOCOL, "no such strategy"),
        (["uncertainty", "disagreement=0.5,random=0.5"], PROTOCOL, "it needs two or more versions of the head"),
        (["positives=0.5,random=0.1"], PROTOCOL, "add up to 0.6"),
        ([], Protocol(50, 20), "--budget 20"),
        ([], Protocol(0, 20), "--budget 20"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(
    tmp_path: Path, strategies: list[str], protocol: Protocol, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        e.experiment(world(), strategies, protocol, range(1), epath.Path(tmp_path), workers=1)
    assert not list(tmp_path.iterdir())
