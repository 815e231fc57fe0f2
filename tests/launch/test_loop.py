"""`launch loop`: a round and where the class stands, for people and as JSON, and refusals in one line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch.main import main
from prohibit_jax.active.queue import read_queue
from tests.heads.ready import Ready, ready

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ready:
    monkeypatch.chdir(tmp_path)
    for name in ("PROHIBIT_STORE", "PROHIBIT_LABELS"):
        monkeypatch.delenv(name, raising=False)
    return ready(tmp_path)  # the store is where it is by default


@pytest.fixture
def launch(here: Ready, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `launch loop COMMAND --class weapon`."""

    def run(command: str, *arguments: str | os.PathLike[str]) -> tuple[int, str, str]:
        words = [os.fspath(argument) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["launch", "loop", command, "--class", "weapon", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def result(ended: tuple[int, str, str]) -> Any:
    code, out, err = ended
    assert code == 0, err
    return json.loads(out)


def test_rounds_from_the_first_day_on(here: Ready, launch: Run) -> None:
    first = result(launch("next", "--pool", "scores.parquet", "--budget", "20", "--json"))
    assert (first["round"], first["head"], first["asks"], first["expected_positives"]) == (1, None, 20, None)
    for one in read_queue(first["queue"]):
        here.say([one.sha256], strategy=one.strategy)
    second = result(launch("next", "--json"))
    assert (second["round"], second["head"], second["labels"]) == (2, "weapon@1", 20)
    assert second["expected_positives"].keys() == {"value", "low", "high"}
    assert second["metrics"]["note"].startswith("not measured")
    assert sum(second["strategies"].values()) == 20
    status = result(launch("status", "--plot", "plot.png", "--json"))
    assert [one["round"] for one in status["rounds"]] == [1, 2]
    assert Path(status["plot"]).stat().st_size > 10_000


def test_people_get_tables_and_sentences(here: Ready, launch: Run) -> None:
    here.say([*here.of("gun")[:4], *here.of("cup")[:4]])
    code, out, _ = launch("next", "--pool", "scores.parquet", "--budget", "20")
    assert code == 0
    assert "round 1 of weapon: weapon@1, from 8 labels; 20 photos to ask about" in out
    assert "photos of the class expected among them: " in out
    assert "expected change of average precision: not enough rounds" in out
    code, out, _ = launch("status", "--stop", "plateau,labels=8")
    assert code == 0
    for text in ("by the random draws", "a model's number", "go on, plateau: ", "stop: 8 photos are answered"):
        assert text in out


def test_nothing_left_to_ask_is_said(here: Ready, launch: Run) -> None:
    here.say(here.photos)
    code, out, err = launch("next", "--pool", "scores.parquet")
    assert code == 0
    assert "weapon@1, from 90 labels; no photos to ask about" in out
    assert "nothing left to ask: " in out
    assert "fewer than asked for" not in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["next"], "--pool: name the score table"),
        (["next", "--pool", "nowhere.parquet"], "nowhere.parquet: missing"),
        (["next", "--pool", "scores.parquet", "--strategy", "luck"], "strategy 'luck'"),
        (["next", "--pool", "scores.parquet", "--stop", "never"], "--stop 'never': no such rule"),
        (["status"], "class weapon: no round yet"),
        (["status", "--plot", "."], "--plot .: a folder; name the PNG file to write"),
    ],
)
def test_bad_input_is_one_line(launch: Run, arguments: list[str], reason: str) -> None:
    code, out, err = launch(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert reason in err


@pytest.mark.parametrize("command", ["next", "status"])
def test_help(launch: Run, command: str) -> None:
    code, out, _ = launch(command, "--help")
    assert code == 0
    assert "--stop" in out
