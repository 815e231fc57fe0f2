from __future__ import annotations

import json
from pathlib import Path

import pytest

from launch.main import main
from prohibit_jax.bundle.store import Store
from tests.heads.small import SIZE, save_tiny, write_photos


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("simulate")
    store = Store(folder / "store")
    save_tiny(store)
    sets = ["--set", 'class.positive=["gun"]', "--set", f"model.size={SIZE}", "--set", "data.workers=0"]
    where = ["--data", write_photos(folder / "photos"), "--store", str(folder / "store"), "--weights", "tiny"]
    return ["simulate", "--class", "weapon", *where, *sets, "--workers", "1", "--batch", "5", "--budget", "20"]


def run(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    monkeypatch.setattr("sys.argv", ["launch", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_it_says_what_each_strategy_needs(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plot = tmp_path / "savings.png"
    asked = ["--strategies", "uncertainty,galaxy", "--strategies", "positives=0.5,random=0.5", "--seeds", "2"]
    assert run(monkeypatch, [*arguments, *asked, "--plot", str(plot), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["strategies"]) == ["random", "uncertainty", "galaxy", "positives=0.5,random=0.5"]
    for figures in said["strategies"].values():
        assert {"labels_to_full", "ratio_to_random", "curve"} <= figures.keys()
        assert figures["seeds"] == 2
    assert plot.stat().st_size > 10_000
    assert run(monkeypatch, [*arguments, "--strategies", "uncertainty", "--seeds", "2"]) == 0
    assert "uncertainty" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--strategies", "wrong"], "no such strategy"),
        (["--budget", "3"], "--budget 3"),
        (["--weights", "absent"], "absent"),
        (["--set", 'class.positive=["sword"]'], "sword"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    more: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, [*arguments, *more]) == 2
    said = capsys.readouterr().err.splitlines()
    assert says in said[-1]
    assert "Traceback" not in said
