"""`launch merge`: its table, its JSON, its exit codes and its one-line refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from launch.main import main
from prohibit_jax.bundle.lock import make_bundle, read_bundle
from prohibit_jax.bundle.store import Store
from tests.heads.small import Trained

FAST = ("--set", "train.epochs=0", "--set", "train.batch=16", "--weights", "tiny")


@pytest.fixture
def store(trained: Trained, tmp_path: Path) -> Store:
    copy = trained.copy(tmp_path)
    make_bundle(copy, "prod")
    return copy


@pytest.fixture
def launch(
    trained: Trained, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> object:
    """Runs `launch merge` on two classes in this process: (code, out, err)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        given = ("--pool", trained.source, "--store", str(store.root), *FAST, *arguments)
        monkeypatch.setattr(sys, "argv", ["launch", "merge", *given])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["launch", "merge", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    out = capsys.readouterr().out
    assert not ended.value.code
    assert all(option in out for option in ("--classes", "--pool", "--partly", "--max-loss", "--store", "--json"))


def test_it_publishes_and_says_what_it_costs(launch, store: Store) -> None:  # type: ignore[no-untyped-def]
    code, out, err = launch("--classes", "cash, cup@1", "--max-loss", "1", "--bundle", "prod")
    assert (code, [str(pin.ref) for pin in read_bundle(store, "prod").pins]) == (0, ["cash@2", "cup@2", "weapon@1"])
    assert "networks and trunks 1 -> 1, parameters" in out
    assert "bundle prod serves them; the former are cash@1, cup@1" in out
    assert "fewer than 30 positives on the test side" in " ".join(err.split())


def test_json_and_the_exit_code_where_a_class_loses(launch, store: Store) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = launch("--classes", "cash,weapon", "--max-loss", "0", "--json")
    result = json.loads(out)
    assert [one["class"] for one in result["classes"]] == ["cash", "weapon"]
    assert result["published"] is all(one["accepted"] for one in result["classes"])
    assert code == (0 if result["published"] else 1)
    for one in result["classes"]:
        assert one["accepted"] is (one["difference"]["value"] >= -1e-9)
        assert store.versions(one["class"]) == ((1, 2) if result["published"] else (1,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--classes", "cash"), "launch: --classes cash: name at least 2 classes to merge"),
        (("--classes", "cash,Knife"), "launch: class 'Knife': use 1 to 64"),
        (("--classes", "cash,cup", "--set", "train.epoch=1"), "train.epoch: unknown key, did you mean 'epochs'?"),
        (("--classes", "cash,cup", "--set", "train.epochs=-1"), "launch: config: train.epochs: "),
    ],
)
def test_refusals(launch, arguments: tuple[str, ...], message: str) -> None:  # type: ignore[no-untyped-def]
    code, out, err = launch(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
