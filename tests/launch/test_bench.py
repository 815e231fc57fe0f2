"""`launch bench`: one JSON object, a table for a person, and one-line refusals before anything is measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch.main import main
from prohibit_jax.bench import race, report
from prohibit_jax.bench.engines import Engine
from prohibit_jax.bench.race import Row
from prohibit_jax.bench.work import Work
from prohibit_jax.bench.worker import Device

Launch = Callable[..., tuple[int, str, str]]


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Launch:
    """Runs `launch bench ARGUMENTS` in this process: (exit code, standard output, standard error)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["launch", "bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def raced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine is started: each takes 10 ms a head, and `jax loop` fails."""

    def row(work: Work, engine: Engine) -> Row:
        setting = {"engine": engine.name, "model": work.arch.name, "heads": work.heads, "batch": work.batch}
        setting |= {"size": work.size, "trunk": work.trunk, "precision": engine.precision}
        if engine.name == "jax loop":
            return setting | {"error": "died"}
        figures = dict.fromkeys(("p95_ms", "photos_per_second", "weights_mb", "peak_mb", "ratio"), 1234.0)
        return setting | {"p50_ms": 10.0 * work.heads} | figures

    def rows(work: Work, engines: list[Engine], *_: Any, **__: Any) -> list[Row]:
        return [row(work, engine) for engine in engines]

    monkeypatch.setattr(report, "race", rows)
    monkeypatch.setattr(race, "look", lambda: Device("cpu", "a processor, 2 cores", 2, 2**33))


def test_it_measures_for_real(launch: Launch, tmp_path: Path) -> None:
    out = tmp_path / "one.json"
    code, said, _ = launch(
        *("--heads", "1", "--batch", "1", "--size", "32", "--peers", "none", "--seconds", "0.1", "--json"),
        *("--out", str(out)),
    )
    assert code == 0
    result = json.loads(said)
    assert result == json.loads(out.read_text())
    assert result["device"]
    (row,) = result["rows"]
    setting = {"engine": "prohibit_jax", "heads": 1, "batch": 1, "size": 32, "model": "efficientnet_b0", "trunk": ""}
    assert row.items() >= setting.items()
    assert row.keys() >= {"p50_ms", "p95_ms", "weights_mb", "peak_mb", "photos_per_second", "precision"}
    assert "error" not in row


@pytest.mark.usefixtures("raced")
def test_a_person_is_shown_a_table(launch: Launch, tmp_path: Path) -> None:
    plot = tmp_path / "heads.png"
    code, said, _ = launch("--heads", "2,4", "--trunk", "none,s5", "--peers", "jax.vmap,jax loop", "--plot", str(plot))
    assert code == 0
    assert "5 photos of 300 px on a processor, 2 cores" in said
    assert "4 heads on trunk s5, jax loop: died" in said
    assert said.count("prohibit_jax") == 4
    assert plot.stat().st_size > 10_000


@pytest.mark.usefixtures("raced")
def test_without_heads_the_published_table_comes_again(launch: Launch) -> None:
    code, said, _ = launch("--json")
    rows = json.loads(said)["rows"]
    assert code == 0
    assert {row["engine"] for row in rows} == {"prohibit_jax"}
    assert [row["heads"] for row in rows] == [1] + 3 * [12, 20, 30, 40]


@pytest.mark.usefixtures("raced")
@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("--heads none", ["--heads", "'none'"]),
        ("--heads 4 --trunk s9", ["--trunk", "'s9'", "s5"]),
        ("--heads 4 --peers tensorflow", ["--peers", "'tensorflow'", "jax.vmap"]),
        ("--heads 4 --batch 0", ["--batch"]),
        ("--heads 4 --size 8", ["--size"]),
    ],
)
def test_wrong_input_is_named_in_one_line(launch: Launch, line: str, names: list[str]) -> None:
    code, said, error = launch(*line.split())
    assert (code, said) == (2, "")
    assert error.startswith("launch: ")
    assert error.count("\n") == 1
    assert all(name in error for name in names)


def test_the_command_explains_itself(launch: Launch) -> None:
    code, said, _ = launch("--help")
    assert code == 0
    assert all(option in said for option in ("--heads", "--peers", "--trunk", "--stages", "--json"))
