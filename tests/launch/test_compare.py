"""`launch compare`: the table, the folder that it writes, one JSON object, and refusals in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from launch import console
from launch.main import main
from prohibit_jax.bundle.store import Store
from prohibit_jax.release import sides
from tests.heads.small import Trained
from tests.release.versions import with_versions


@pytest.fixture(scope="module")
def store(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return with_versions(trained.copy(tmp_path_factory.mktemp("versions")))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trained: Trained, store: Store) -> Any:
    """Runs `launch compare` on the small job's photos: (exit code, standard output, standard error)."""
    monkeypatch.setattr(sides, "ROUNDS", 1)
    monkeypatch.setattr(console.stdout, "_width", 80)  # as COLUMNS=80 where the module is imported

    def compare(*arguments: str) -> tuple[int, str, str]:
        common = ["--data", trained.source, "--store", str(store.root)]
        monkeypatch.setattr(sys, "argv", ["launch", "compare", *arguments, *common])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return compare


def test_two_heads_as_a_table_and_a_folder(run: Any, tmp_path: Path) -> None:
    code, out, _ = run("weapon@1", "weapon@2", "--out", str(tmp_path / "signed"), "--batch", "2")
    assert code == 0
    for text in ("weapon@1 → weapon@2", "reviews a day in all: ", "latency of 2 photos: ", "size: ", "MB", "weapon: "):
        assert text in out
    assert {path.name for path in (tmp_path / "signed").iterdir()} == {"changed_weapon.png", "comparison.json"}
    written = json.loads((tmp_path / "signed" / "comparison.json").read_text())
    assert (written["side"], written["classes"][0]["class"], written["batch"]) == ("test", "weapon", 2)


def test_a_bundle_and_a_network_of_several_classes_as_json(run: Any, trained: Trained) -> None:
    code, out, _ = run("prod", "all@1", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["data"], found["old"]["name"], found["new"]["name"]) == (trained.source, "prod", "all@1")
    assert [one["class"] for one in found["classes"]] == ["weapon", "cash"]
    assert all(one["matched_thresholds"] for one in found["classes"])
    assert found["only_old"] == ["cup"]


def test_what_is_not_compared_is_said(run: Any) -> None:
    code, out, _ = run("prod", "all@1")
    assert code == 0
    assert "only in prod, not compared: cup" in out
    assert "a network of several classes has none" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prod", "prid"), "no such bundle (there is next, prod)"),
        (("weapon@1", "cash@1"), "weapon@1 and cash@1: no class in common"),
        (("weapon@1", "weapon@2", "--side", "train"), "side 'train': use test or all"),
        (("weapon@1", "weapon@2", "--batch", "0"), "--batch"),
    ],
)
def test_refusals_are_one_line(run: Any, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
