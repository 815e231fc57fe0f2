"""`launch plan` and the budget that `launch bundle` keeps: a table, one JSON object, one-line refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.main import main
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from tests.plan.plans import publish, take_round_figures

Launch = Callable[..., tuple[int, str, str]]


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Launch:
    """Runs `launch ARGUMENTS` in this process: (exit code, standard output, standard error)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["launch", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A store of three whole heads, of which two serve, on a device of round figures."""
    store = Store(tmp_path / "store")
    publish(store, 3)
    make_bundle(store, "prod", ["w0", "w1"])
    take_round_figures(monkeypatch, 25.0)
    return "--store", str(store.root)


PLAN = ("plan", "--bundle", "prod", "--budget-ms", "25")


def test_a_person_is_shown_what_fits(launch: Launch, where: tuple[str, str]) -> None:
    code, said, _ = launch(*PLAN, *where)
    assert code == 0
    assert "bundle prod: 5 photos in 25 ms on a processor, 2 cores" in said
    assert "measured: 25.0 ms, 400 MB; predicted 20.0 ms, -20%; no plan before this one to compare with" in said
    assert "recommended: merge: the new class merged with 2 whole heads" in said
    assert "a head on a trunk through s2" in said
    _, said, _ = launch(*PLAN, *where)
    assert "says 20.0 ms, -20%" in said


def test_json_is_the_record(launch: Launch, where: tuple[str, str]) -> None:
    code, said, _ = launch(*PLAN, "--batch", "1", *where, "--json")
    assert code == 0
    assert json.loads(said) == json.loads((Path(where[1]) / "plans" / "prod.json").read_text())
    assert json.loads(said)["batch"] == 1


def test_a_bundle_keeps_its_budget(launch: Launch, where: tuple[str, str]) -> None:
    launch(*PLAN, *where)
    bundle = ("bundle", "--out", "prod", *where)
    code, said, error = launch(*bundle)
    assert (code, said) == (2, "")
    assert error.startswith("launch: bundle prod: 30 ms predicted, 25 ms is its budget")
    assert error.count("\n") == 1
    assert all(word in error for word in ("a processor, 2 cores", "--over-budget", "launch plan --bundle prod"))
    code, said, error = launch(*bundle, "--over-budget", "--json")
    assert code == 0
    assert [line["class"] for line in json.loads(said)["heads"]] == ["w0", "w1", "w2"]
    assert "30 ms predicted" in error
    assert launch("bundle", "--out", "other", *where)[0] == 0


def test_a_damaged_plan_is_one_line(launch: Launch, where: tuple[str, str]) -> None:
    launch(*PLAN, *where)
    path = Path(where[1]) / "plans" / "prod.json"
    path.write_text("[]")
    code, said, error = launch("bundle", "--out", "prod", *where)
    assert (code, said, error.count("\n")) == (2, "", 1)
    assert str(path) in error


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--bundle none", "no such bundle"),
        ("--bundle prod --budget-ms 0", "--budget-ms"),
        ("--bundle prod --precision int8", "--precision"),
        ("--bundle prod --batch 0", "--batch"),
    ],
)
def test_wrong_input_is_named_in_one_line(launch: Launch, where: tuple[str, str], line: str, words: str) -> None:
    code, said, error = launch("plan", *line.split(), *where)
    assert (code, said, error.count("\n")) == (2, "", 1)
    assert words in error
