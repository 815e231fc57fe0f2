"""`launch promote`, `launch rollback`, `launch releases`: tables, one JSON object, exit codes, one-line refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch import console
from launch.main import main
from prohibit_jax.bundle.lock import make_bundle
from tests.release.shop import Shop, damage, open_shop

Said = tuple[int, str, str]
Launch = Callable[..., Said]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path)


@pytest.fixture
def launch(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Launch:
    """Runs `launch ARGUMENTS` on the shop, where no class has a config file: (exit code, standard output, error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROHIBIT_STORE", str(shop.store.root))
    monkeypatch.setattr(console.stdout, "_width", 200)  # as COLUMNS=200 where the module is imported

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["launch", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def gates(tmp_path: Path) -> Callable[[float, float], None]:
    """Writes what the class's file demands: the loss of average precision and the calibration error allowed."""

    def demand(loss: float, error: float) -> None:
        (tmp_path / "configs").mkdir(exist_ok=True)
        text = f"[release]\naverage_precision_loss = {loss}\ncalibration_error = {error}\n"
        (tmp_path / "configs" / "weapon.toml").write_text(text)

    return demand


def of(shop: Shop, head: str, *more: str) -> tuple[str, ...]:
    return "promote", head, "--bundle", "prod", "--data", shop.source, "--why", "fewer toys", *more


BACK = ("rollback", "weapon", "--bundle", "prod", "--why", "more toys")
RELEASES = ("releases", "--bundle", "prod")


def result(said: Said, code: int = 0) -> dict[str, Any]:
    assert said[0] == code, said
    assert said[1].count("\n") == 1
    found: dict[str, Any] = json.loads(said[1])
    return found


def refused(said: Said, *texts: str) -> None:
    """Exit code 2, nothing on standard output, one line on standard error."""
    code, out, err = said
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("launch: ")
    assert all(text in err for text in texts)


@pytest.mark.parametrize("command", ["promote", "rollback", "releases"])
def test_every_command_explains_itself(launch: Launch, command: str) -> None:
    code, out, err = launch(command, "--help")
    assert (code, err) == (0, "")
    assert all(option in out for option in ("--bundle", "--store", "--json"))


def test_a_release_and_back(launch: Launch, shop: Shop, gates: Callable[[float, float], None]) -> None:
    gates(1.0, 1.0)
    code, out, err = launch(*of(shop, "weapon@2", "--by", "ada"))
    assert code == 0
    assert "promoted: weapon@1 -> weapon@2, release 1 of prod" in out
    assert all(gate in out for gate in ("head", "quality", "calibration", "budget", "isolation"))
    assert "service.watch_seconds" in err
    assert shop.serving() == ["weapon@2", "cash@1", "blade@1"]
    code, out, err = launch(*BACK, "--by", "bob")
    assert (code, out) == (0, "weapon@2 -> weapon@1, release 2 of prod\n")
    assert "service.watch_seconds" in err
    assert shop.serving() == ["weapon@1", "cash@1", "blade@1"]
    code, out, err = launch(*RELEASES)
    assert (code, err) == (0, "")
    assert out.index("rollback") < out.index("promote")
    assert all(text in out for text in ("ada", "bob", "fewer toys", "more toys", "weapon@2"))


def test_the_only_bundle_and_the_head_s_own_photos_need_no_naming(
    launch: Launch, shop: Shop, gates: Callable[[float, float], None]
) -> None:
    gates(1.0, 1.0)
    assert launch("promote", "weapon@2")[0] == 0
    assert shop.serving() == ["weapon@2", "cash@1", "blade@1"]
    assert launch("rollback", "weapon")[1] == "weapon@2 -> weapon@1, release 2 of prod\n"
    assert [one["why"] for one in result(launch("releases", "--json"))["releases"]] == ["not said", "not said"]
    make_bundle(shop.store, "staging", ["cash@1"])
    refused(launch("rollback", "weapon"), "--bundle", "prod, staging")


def test_json(launch: Launch, shop: Shop, gates: Callable[[float, float], None]) -> None:
    gates(1.0, 1.0)
    made = result(launch(*of(shop, "weapon@2", "--by", "ada", "--json")))
    assert {key: made[key] for key in ("bundle", "class", "from", "to", "promoted", "failed", "release")} == {
        "bundle": "prod",
        "class": "weapon",
        "from": "weapon@1",
        "to": "weapon@2",
        "promoted": True,
        "failed": [],
        "release": 1,
    }
    assert [gate["gate"] for gate in made["gates"]] == ["head", "quality", "calibration", "budget", "isolation"]
    assert made["gates"][0].keys() == {"gate", "passed", "found", "demanded", "figures"}
    undone = result(launch(*BACK, "--by", "bob", "--json"))
    step = {"class": "weapon", "from": "weapon@2", "to": "weapon@1", "release": 2}
    assert (undone["bundle"], undone["classes"]) == ("prod", [step])
    listed = result(launch(*RELEASES, "--json"))["releases"]
    assert [(one["release"], one["action"], one["class"], one["who"]) for one in listed] == [
        (2, "rollback", "weapon", "bob"),
        (1, "promote", "weapon", "ada"),
    ]
    assert listed[1]["bundle_sha256"] == made["bundle_sha256"]
    assert listed[1]["gates"] == made["gates"]


def test_gates_that_fail_are_named_and_change_nothing(
    launch: Launch, shop: Shop, gates: Callable[[float, float], None]
) -> None:
    gates(0.0, 0.0)  # what no random head keeps
    files = shop.files()
    code, out, err = launch(*of(shop, "weapon@2"))
    assert code == 1
    assert "nothing was changed" in out
    assert all(gate in out for gate in ("head", "quality", "calibration", "budget", "isolation"))
    assert "weapon@2 is not promoted: quality, calibration failed; --force" in err
    found = result(launch(*of(shop, "weapon@2", "--json")), code=1)
    assert (found["promoted"], found["failed"], found["release"]) == (False, ["quality", "calibration"], None)
    assert shop.files() == files
    code, out, err = launch(*of(shop, "weapon@2", "--force"))
    assert code == 0
    assert "overridden: quality, calibration" in err
    assert "quality, calibration" in launch(*RELEASES)[1]
    assert result(launch(*RELEASES, "--json"))["releases"][0]["overridden"] == ["quality", "calibration"]


def test_wrong_input_is_named_in_one_line(launch: Launch, shop: Shop) -> None:
    files = shop.files()
    refused(launch(*of(shop, "knife")), "no class 'knife'")
    refused(launch(*of(shop, "weapon@9")), "weapon has no version 9")
    refused(launch(*of(shop, "weapon@1")), "serves in bundle prod already")
    refused(launch(*of(shop, "weapon@2")[:-1], " "), "--why")
    refused(launch("promote", "weapon@2", "--bundle", "new", "--data", shop.source, "--why", "x"), "--out new")
    refused(launch("promote", "weapon@2", "--bundle", "prod", "--data", "folder:none", "--why", "x"), "'none'")
    refused(launch(*BACK), "nothing is known to have served before weapon@1")
    refused(launch("rollback", "cup", "--bundle", "prod", "--why", "x"), "class cup: not in bundle prod")
    refused(launch("rollback", "weapon", "--bundle", "new", "--why", "x"), "no such bundle")
    refused(launch("releases", "--bundle", "new"), "no such bundle")
    path = damage(shop, "weapon@2")
    refused(launch(*of(shop, "weapon@2", "--force")), f"{path}: damaged")
    assert shop.files() == files
    assert "releases of bundle prod" in launch(*RELEASES)[1]
