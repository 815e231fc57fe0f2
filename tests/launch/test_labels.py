"""`launch labels`, and `launch train` and `evaluate` on what annotators answered."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from launch.main import main
from prohibit_jax.bundle.store import Store
from prohibit_jax.data.label_store import Label, open_label_store
from prohibit_jax.heads import make
from tests.data.postgres import Postgres, postgres
from tests.heads.small import save_tiny, write_photos

__all__ = ["postgres"]  # the fixture

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Said:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> Any:
        """The one JSON object on standard output."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Launch = Callable[..., Said]


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Launch:
    """Runs `launch ARGUMENTS` in this process, on a store of its own."""
    monkeypatch.setenv("PROHIBIT_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("PROHIBIT_LABELS", raising=False)

    def run(*arguments: str | os.PathLike[str]) -> Said:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["launch", *(os.fspath(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Said(ended.value.code, said.out, said.err)

    return run


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """`folder:` of forty guns, cups and notes each."""
    return write_photos(tmp_path / "photos", broken=False)


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    """Options that make training short."""
    (tmp_path / "tiny.toml").write_text(
        '[class]\nname = "weapon"\npositive = ["gun"]\n[data]\nworkers = 0\n'
        '[model]\narchitecture = "efficientnet_lite0"\nweights = "tiny"\ntrunk_through = "s5"\nsize = 32\n'
        "[train]\nepochs = 2\nsteps_per_epoch = 4\nbatch = 16\naverage = 0.5\n[evaluate]\nbootstrap = 50\n"
    )
    save_tiny(Store(tmp_path / "store"))
    return ["--config", str(tmp_path / "tiny.toml")]


def one(number: int, answer: str = "yes", annotator: str = "ann", at: int = 0, **fields: Any) -> Label:
    known = {"path": f"{number}.jpg", "name": "weapon", **fields}
    return Label(
        sha256=f"{number:064x}", answer=answer, annotator=annotator, time=START + timedelta(seconds=at), **known
    )


def test_labels_go_out_and_in_again(launch: Launch, tmp_path: Path) -> None:
    labels = [
        one(0),
        one(1, "no", round=2, head="weapon@1", score=0.25, strategy="margin", reason="a, b"),
        one(1, "no", "bob"),
    ]
    open_label_store(None, tmp_path / "store").append(labels)
    for kind in ("csv", "parquet", "label-studio"):
        file, other = tmp_path / kind, tmp_path / f"{kind}.db"
        said = launch("labels", "export", "--class", "weapon", "--to", kind, file, "--json")
        assert said.result == {"file": str(file), "labels": 3}
        into = ["labels", "import", "--class", "weapon", "--from", kind, file, "--labels", other]
        assert launch(*into, "--json").result == {"labels": 3, "new": 3}
        assert launch(*into).out == "3 labels of weapon, 0 of them new\n"
        assert open_label_store(str(other), tmp_path).labels("weapon") == labels


def test_labelled_photos_are_imported_by_the_config(
    launch: Launch, photos: str, small: list[str], tmp_path: Path
) -> None:
    into = ["labels", "import", "--class", "weapon", "--from", photos, *small, "--json"]
    assert launch(*into).result == {"labels": 120, "new": 120}
    assert launch(*into, "--annotator", "bob").result == {"labels": 120, "new": 120}
    counts = {"labels": 240, "annotators": 2, "yes": 40, "no": 80, "unsure": 0, "disputed": 0}
    assert launch("labels", "list", "--json").result == {
        "labels": str(tmp_path / "store" / "labels.db"),
        "classes": {"weapon": counts},
    }


def test_what_there_is_is_listed_by_the_rule_of_the_class(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_label_store(None, tmp_path / "store")
    store.append([one(0), one(0, "no", "bob", 1), one(1, "no", "cy"), one(2, "unsure"), one(3, name="cash")])
    listed = launch("labels", "list")
    assert [line for line in listed.out.splitlines() if "weapon" in line or "cash" in line]
    found = launch("labels", "list", "--class", "weapon", "--json").result["classes"]
    assert found == {"weapon": {"labels": 4, "annotators": 3, "yes": 0, "no": 1, "unsure": 1, "disputed": 1}}
    disputed = {"class": "weapon", "path": "0.jpg", "sha256": "0" * 64, "yes": ["ann"], "no": ["bob"]}
    assert launch("labels", "list", "--disputed", "--json").result == {"disputed": [disputed]}
    assert "0.jpg" in launch("labels", "list", "--disputed").out
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "weapon.toml").write_text('[labels]\nadjudicators = ["bob"]\n')
    assert launch("labels", "list", "--disputed", "--json").result == {"disputed": []}
    assert launch("labels", "list", "--json").result["classes"]["weapon"]["no"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("import --class weapon --from csv", "--from csv: name the file after it"),
        ("import --class weapon --from folder:x y.csv", "--from folder:x: use csv, parquet, label-studio and a FILE"),
        ("import --class weapon --from excel y.csv", "--from excel: use csv, parquet, label-studio and a FILE"),
        ("import --class weapon --from folder:none", "folder 'none': no such folder"),
        ("import --class Weapon --from csv y.csv", "class 'Weapon'"),
        ("import --class weapon --from csv none.csv", "none.csv: cannot be read"),
        ("import --class weapon --from labels:", "--from labels: would lose who answered"),
        ("export --class weapon --to csv x.csv --labels none.db", "none.db: no labels there yet"),
        ("export --class cash --to csv x.csv", "labels.db: no labels of class cash (it has weapon)"),
        ("export --class weapon --to csv store/labels.db", "store/labels.db: a database, which no file of labels"),
        ("list --labels postgresql://ann:hush@127.0.0.1:1/x", "postgresql://ann:***@127.0.0.1:1/x: connection"),
        ("list --class Weapon", "class 'Weapon'"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    open_label_store(None, tmp_path / "store").append([one(0)])
    said = launch("labels", *arguments.split())
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert said.err.count("\n") == 1
    assert "hush" not in said.err
    assert not (tmp_path / "none.db").exists()
    assert open_label_store(None, tmp_path / "store").labels("weapon") == [one(0)]


def test_a_bad_row_keeps_everything_out(launch: Launch, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    open_label_store(str(tmp_path / "other.db"), tmp_path).append([one(i) for i in range(3)])
    launch("labels", "export", "--class", "weapon", "--to", "csv", file, "--labels", tmp_path / "other.db")
    file.write_text(file.read_text().replace(f"{2:064x}", "2"))
    said = launch("labels", "import", "--class", "weapon", "--from", "csv", file)
    assert said.err == f"launch: {file} line 4: sha256 '2': 64 of 0-9 and a-f\n"
    assert open_label_store(None, tmp_path / "store").classes() == {}


# Training and judging on labels


def test_labels_train_and_judge_a_head(launch: Launch, photos: str, small: list[str], tmp_path: Path) -> None:
    launch("labels", "import", "--class", "weapon", "--from", photos, *small)
    made = launch("train", "--class", "weapon", "--data", "labels:", *small, "--json").result
    assert made["head"] == "weapon@1"
    card = json.loads((Path(made["folder"]) / "card.json").read_text())
    assert card["config"]["data"]["source"] == "labels:"
    assert sum(card["data"][side]["positives"] for side in ("train", "validation", "test")) == 40
    same = launch("evaluate", "--class", "weapon", "--data", "labels:", "--side", "test", "--json").result
    assert same["average_precision"] == pytest.approx(made["metrics"]["average_precision"], abs=1e-6)
    other = tmp_path / "other.db"
    launch("labels", "import", "--class", "weapon", "--from", photos, *small, "--labels", other)
    judged = launch("evaluate", "--class", "weapon", "--data", f"labels:{other}", "--json")
    assert judged.result["head"] == "weapon@1"
    assert "weapon@1 was trained on most of these photos" in judged.err


class Killed(BaseException):
    """Stands in for a kill."""


def test_a_run_goes_on_with_the_same_labels_only(
    launch: Launch, photos: str, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch("labels", "import", "--class", "weapon", "--from", photos, *small)
    train = ["train", "--class", "weapon", "--data", "labels:", *small]
    with monkeypatch.context() as patch:

        def killed(*_: Any) -> None:
            raise Killed

        patch.setattr(make, "_fit", killed)
        with pytest.raises(Killed):
            main_of(train, patch)
    labels = open_label_store(None, tmp_path / "store")
    first = labels.current("weapon")[0]
    labels.append([Label(first.sha256, first.path, "weapon", "unsure", "bob", START)])  # changes nothing
    wrong = Label(
        first.sha256, first.path, "weapon", "no" if first.answer == "yes" else "yes", "imported", datetime.now(UTC)
    )
    labels.append([wrong])
    said = launch(*train, "--resume")
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("launch: --resume: the photos are not those with which")
    labels.append([Label(first.sha256, first.path, "weapon", first.answer, "imported", datetime.now(UTC))])
    assert launch(*train, "--resume", "--json").result["head"] == "weapon@1"


def main_of(arguments: list[str], patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys, "argv", ["launch", *arguments])
    main()


def test_a_password_is_written_nowhere(
    launch: Launch,
    photos: str,
    small: list[str],
    tmp_path: Path,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = postgres.fresh()
    assert "hush" in address
    said = [launch("labels", "import", "--class", "weapon", "--from", photos, *small, "--labels", address)]
    train = ["train", "--class", "weapon", "--data", f"labels:{address}", *small]
    with monkeypatch.context() as patch:
        patch.setattr(make, "verdict_of", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            main_of(train, patch)
    said += [launch(*train, "--resume", "--json"), launch("labels", "list", "--labels", address, "--json")]
    said += [launch("evaluate", "--class", "weapon", "--data", f"labels:{address}", "--json")]
    assert [one.code for one in said] == [0, 0, 0, 0]
    assert said[2].result["labels"] == address.replace("hush", "***")
    written = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert any(b"labels:postgresql+psycopg://postgres:***@" in path.read_bytes() for path in written)
    assert not [path for path in written if b"hush" in path.read_bytes()]
    assert not any("hush" in one.out + one.err for one in said)
