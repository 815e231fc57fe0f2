"""The `launch` command: help, results, one JSON object, one-line refusals, and a kill that costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from launch.main import main
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.heads import make
from prohibit_jax.score.table import open_scores
from tests.goldens import recipe
from tests.heads.small import COUNT, ON_TRUNK, Trained, config, sha256
from tests.waiting import TIMEOUT

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "goldens"
COMMANDS = (
    *("demo", "train", "evaluate", "bundle", "score", "query", "label", "loop next", "loop status", "simulate"),
    *("plan", "merge", "compare", "promote", "rollback", "releases"),
    *("labels import", "labels export", "labels list", "labels pull", "weights import"),
)

# `launch` that kills itself in the middle of the second epoch, as `kill -9` does.
KILLED = """
import os, signal
from prohibit_jax.train import loop

def fatal(*args, **options):
    step = step_of(*args, **options)

    def stepping(state, x, labels):
        if state.step == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(state, x, labels)

    return stepping

step_of, loop.step_of = loop.step_of, fatal
from launch.main import main
main()
"""


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
        assert self.out.endswith("}\n")
        return json.loads(self.out)


Launch = Callable[..., Said]


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Launch:
    """Runs `launch ARGUMENTS` in this process."""
    monkeypatch.delenv("PROHIBIT_STORE", raising=False)

    def run(*arguments: str | os.PathLike[str]) -> Said:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["launch", *(os.fspath(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Said(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def store(trained: Trained, tmp_path: Path) -> Store:
    """Three heads in a bundle, `prod`."""
    copy = trained.copy(tmp_path)
    make_bundle(copy, "prod")
    return copy


def process(*arguments: str | os.PathLike[str], **environment: str) -> Said:
    """Runs Python in a process of its own."""
    ended = subprocess.run(
        [sys.executable, *(os.fspath(argument) for argument in arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return Said(ended.returncode, ended.stdout, ended.stderr)


def write_config(folder: Path, trained: Trained, name: str, label: str, **sections: dict[str, Any]) -> Path:
    """The small job as a TOML file; `data.source` is left to the command."""
    tables = config("", name, label, **sections).model_dump(mode="json", by_alias=True)
    lines = [
        line
        for section, table in tables.items()
        for line in (f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items()))
    ]
    file = folder / f"{name}.toml"
    file.write_text("\n".join(lines))
    return file


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(launch: Launch, command: str) -> None:
    said = launch(*command.split(), "--help")
    assert said.code == 0
    assert "--json" in said.out
    assert command == "demo" or "--store" in said.out
    assert not said.err


def test_the_commands_are_listed(launch: Launch) -> None:
    said = launch("--help")
    assert said.code == 0
    assert all(command.split()[0] in said.out for command in COMMANDS)


def test_without_a_command_the_help_is_shown(launch: Launch) -> None:
    said = launch()
    assert said.code == 2
    assert "train" in said.out + said.err
    assert "Traceback" not in said.err


# What commands do


def test_train_evaluate_bundle_score(
    launch: Launch, store: Store, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROHIBIT_STORE", "store")  # relative, as by default
    file = write_config(tmp_path, trained, "cash", "cash", model={**ON_TRUNK, "weights": ""})
    arguments = ("train", "--class", "cash", "--data", trained.source, "--weights", "tiny", "--config", file, "--json")
    said = launch(*arguments, "--set", "train.seed=1", "--set", "evaluate.bootstrap=60")
    assert said.result["head"] == "cash@2"
    assert said.result["metrics"]["average_precision"].keys() >= {"value", "low", "high"}
    assert "photos cannot be used; the first:" in said.err
    folder, run = Path(said.result["folder"]), Path(said.result["run"])
    card = store.read_card("cash@2")
    assert (card.config["train"]["seed"], card.config["evaluate"]["bootstrap"]) == (1, 60)
    assert card.params_sha256 == sha256(folder / "params.safetensors")
    assert (run / "precision_recall.png").exists()

    judged = launch("evaluate", "--class", "cash", "--data", trained.source, "--version", "1", "--json").result
    assert judged["head"] == "cash@1"
    assert (judged["positives"], judged["negatives"]) == (COUNT, 2 * COUNT)
    judged = launch("evaluate", "--class", "cash", "--data", trained.source, "--side", "test", "--json").result
    assert judged["average_precision"]["value"] == said.result["metrics"]["average_precision"]["value"]

    made = launch("bundle", "--out", "prod", "--heads", "cash, cup@1", "--json")
    assert [(line["class"], line["version"]) for line in made.result["heads"]] == [("cash", 2), ("cup", 1)]
    assert made.out.count("\n") == 1
    assert json.loads((store.bundles / "prod.json").read_text())["heads"] == made.result["heads"]

    out = tmp_path / "scores.parquet"
    scored = launch("score", "--bundle", "prod", "--data", trained.source, "--out", out, "--json").result
    assert (scored["out"], scored["photos"], scored["errors"]) == (str(out), 3 * COUNT + 3, 3)
    assert all(sum(bands.values()) == 3 * COUNT for bands in scored["bands"].values())
    assert scored["seconds"].keys() == {"waiting", "scoring"}
    assert (scored["contents"], scored["resumed"], scored["rescored"], scored["copied"]) == (3 * COUNT + 3, 0, 0, 0)
    assert open_scores(out).classes == tuple(scored["bands"]) == ("cash", "cup")


def test_scores_go_on(launch: Launch, store: Store, trained: Trained, tmp_path: Path) -> None:
    where = ("--data", trained.source, "--out", tmp_path / "pool", "--store", str(store.root))
    first = launch("score", "--bundle", "prod", *where)
    assert (first.code, "3 with errors" in first.out, f"scores are in {tmp_path / 'pool'}" in first.out) == (
        0,
        True,
        True,
    )
    added = launch("score", "--bundle", "prod", "--embedding", "tiny", *where, "--json").result
    assert (added["resumed"], added["rescored"]) == (3, 3 * COUNT)
    assert (
        launch("score", "--bundle", "prod", "--embedding", "tiny", *where, "--json").result["resumed"] == 3 * COUNT + 3
    )
    table = open_scores(tmp_path / "pool")
    assert (table.classes, table.embedding and table.embedding.weights) == (("cash", "cup", "weapon"), "tiny")
    refused(launch("score", "--bundle", "prod", *where), "--embedding tiny:32")
    strict = ("--data", trained.source, "--out", tmp_path / "other", "--store", str(store.root))
    stopped = launch("score", "--bundle", "prod", "--max-failure-rate", "0.01", *strict)
    assert (stopped.code, stopped.out) == (2, "")
    assert stopped.err.splitlines()[-1].startswith("launch: 3 of 123 photos have errors")
    refused(launch("score", *strict), "--bundle, --embedding or both")


def test_a_network_of_several_classes(launch: Launch, store: Store, trained: Trained, tmp_path: Path) -> None:
    where, file = ("--store", str(store.root)), tmp_path / "all.toml"
    file.write_text(
        '[class]\nname = "all"\nclasses = {weapon = ["gun"], money = ["cash"]}\n[train]\nloss = "softmax"\n'
        "epochs = 1\nsteps_per_epoch = 2\nbatch = 8\n[data]\nworkers = 0\n[evaluate]\nbootstrap = 20\n"
        '[model]\nweights = "tiny"\ntrunk_through = "s5"\nsize = 32\n'
    )
    arguments = ("train", "--config", file, "--data", trained.source, *where)
    said = launch(*arguments, "--json").result
    assert (said["head"], list(said["metrics"]["classes"])) == ("all@1", ["weapon", "money"])
    judged = launch("evaluate", "--class", "all", "--data", trained.source, *where, "--json").result
    assert judged["mean_average_precision"].keys() == {"value", "low", "high"}
    assert judged["classes"]["money"]["positives"] == COUNT
    shown = launch("evaluate", "--class", "all", "--data", trained.source, *where)
    assert "average precision of money" in shown.out
    refused(launch("bundle", "--out", "new", "--heads", "cash,all", *where), "head all@1: one network of 2 classes")
    assert [line["class"] for line in launch("bundle", "--out", "new", "--json", *where).result["heads"]] == [
        "cash",
        "cup",
        "weapon",
    ]
    refused(launch(*arguments, "--class", "other"), "class.name is 'all', the command says 'other'")


def test_what_a_person_is_shown(
    launch: Launch, store: Store, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, out = ("--store", str(store.root)), tmp_path / "the [new] scores.parquet"  # brackets are no markup
    said = launch("evaluate", "--class", "cup", "--data", trained.source, *where)
    assert said.code == 0
    assert "cup@1" in said.out
    assert "average precision" in said.out
    said = launch("bundle", "--out", "other", *where)
    assert said.code == 0
    assert all(name in said.out for name in ("bundle other", "cash", "cup", "weapon"))
    monkeypatch.setattr("launch.score.WAITED", 0)
    said = launch("score", "--bundle", "prod", "--data", trained.source, "--out", out, *where)
    assert said.code == 0
    assert "the scorer waited for photos" in said.err
    assert "123 photos, 3 with errors" in said.out
    assert f"scores are in {out}" in said.out


def test_weights_are_imported(launch: Launch, tmp_path: Path) -> None:
    with np.load(GOLDENS / "parity_random_timm_efficientnet_lite0.npz") as file:
        names = file["names"]
    shapes = {name: tuple(int(n) for n in shape.split(",") if n) for name, shape in (line.split(" ") for line in names)}
    file = tmp_path / "efficientnet_lite0.safetensors"
    save_file({name: recipe.random_tensor(name, shape) for name, shape in shapes.items()}, file)
    arguments = ("weights", "import", "--from", "timm", str(file), "--name", "mine", "--store", str(tmp_path))
    result = launch(*arguments, "--json").result
    assert result["path"] == str(tmp_path / "weights" / "mine.safetensors")
    assert result["architecture"] == "efficientnet_lite0"
    assert Path(result["path"]).exists()


# Refusals


def refused(said: Said, *names: str) -> None:
    """Exit code 2, nothing on standard output, one line on standard error that names what is wrong."""
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("launch: ")
    assert said.err.count("\n") == 1
    for name in names:
        assert name in said.err


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("trian", ["trian", "train"]),
        ("train", ["--class"]),
        ("train --class weapon --dta x", ["--dta", "--data"]),
        ("train --class weapon", ["data.source"]),
        ("train --class Weapon --data synthetic:20", ["Weapon"]),
        ("train --class weapon --data synthetic:20 --set train.epoch=3", ["train.epoch", "'epochs'"]),
        ("train --class weapon --data synthetic:20 --set epochs=3", ["epochs=3", "section.key=value"]),
        ("train --class weapon --data synthetic:20 --config none.toml", ["none.toml"]),
        ("train --class weapon --data nowhere", ["nowhere", "folder:PATH"]),
        ("train --class weapon --data folder:nowhere", ["nowhere"]),
        ("train --class knives --data synthetic:60", ["class.positive", "knives", "'knife'"]),
        ("train --class weapon --data synthetic:20 --resume", ["--resume", "weapon"]),
        ("train --class knife --data synthetic:60 --weights none", ["'none'"]),
        ("evaluate --class knife --data synthetic:20", ["knife"]),
        ("evaluate --class cash --data synthetic:20 --version 0", ["--version"]),
        ("evaluate --class cash --data synthetic:20 --version 7", ["cash@7"]),
        ("evaluate --class cash --data synthetic:20 --side tset", ["tset"]),
        ("bundle --out other --heads cash,knife", ["knife"]),
        ("bundle --out other --heads cash@7", ["cash@7"]),
        ("bundle --out other --heads cash,", ["class ''"]),
        ("bundle --out Other", ["Other"]),
        ("score --bundle none --data synthetic:20 --out scores.parquet", ["none.json", "prod"]),
        ("score --bundle prod --data synthetic:20", ["--out"]),
        ("score --bundle prod --data synthetic:none --out scores.parquet", ["synthetic:none"]),
        ("weights", ["import"]),
        ("weights import --from keras FILE --name mine", ["keras", "timm"]),
        ("weights import --from timm none.pth --name mine", ["none.pth"]),
        ("demo --photos 5", ["--photos"]),
    ],
)
def test_wrong_input_is_named_in_one_line(
    launch: Launch, store: Store, monkeypatch: pytest.MonkeyPatch, line: str, names: list[str]
) -> None:
    monkeypatch.chdir(store.root.parent)
    monkeypatch.setenv("PROHIBIT_STORE", "store")
    before = files(store)
    refused(launch(*line.split()), *names)
    assert files(store) == before


def files(store: Store) -> list[str]:
    """All that lies in a store and beside it."""
    return sorted(str(path) for path in Path(store.root.parent).rglob("*"))


def test_damage_is_found_and_named(launch: Launch, store: Store, trained: Trained, tmp_path: Path) -> None:
    where, out = ("--store", str(store.root)), tmp_path / "scores.parquet"
    params = Path(store.heads / "cup" / "1" / "params.safetensors")
    data = bytearray(params.read_bytes())
    data[len(data) // 2] ^= 1
    params.write_bytes(data)
    name = "heads/cup/1/params.safetensors: damaged"
    refused(launch("bundle", "--out", "new", *where), name)
    refused(launch("score", "--bundle", "prod", "--data", trained.source, "--out", out, *where), name)
    refused(launch("evaluate", "--class", "cup", "--data", trained.source, *where), name)
    assert not out.exists()
    assert launch("bundle", "--out", "new", "--heads", "cash,weapon", "--json", *where).result["bundle"] == "new"

    lock = Path(store.bundles / "prod.json")
    lock.write_text(lock.read_text().replace('"version": 1', '"version": "1"', 1))
    refused(launch("score", "--bundle", "prod", "--data", trained.source, "--out", out, *where), "prod.json", "version")


def test_foreign_files_are_no_weights(launch: Launch, store: Store, trained: Trained, tmp_path: Path) -> None:
    where, text = ("--store", str(store.root)), tmp_path / "text.pth"
    text.write_text("no weights")
    other = GOLDENS / "tensors_zip.pth"
    for file, publisher in ((text, "timm"), (other, "timm"), (other, "torchvision")):
        said = launch("weights", "import", "--from", publisher, file, "--name", "mine", *where)
        refused(said, file.name)
    (store.weights / "mine.safetensors").write_bytes(b"no weights")
    said = launch("train", "--class", "cup", "--data", trained.source, "--weights", "mine", *where)
    refused(said, "weights/mine.safetensors")


def test_a_place_that_cannot_be_written_is_named(
    launch: Launch, store: Store, trained: Trained, tmp_path: Path
) -> None:
    where = ("--store", str(store.root))
    file = tmp_path / "file"
    file.touch()
    refused(launch("bundle", "--out", "prod", "--store", str(file)), str(file))
    said = launch("score", "--bundle", "prod", "--data", trained.source, "--out", file / "scores.parquet", *where)
    assert (said.code, said.out) == (2, "")
    assert f"launch: {file}: " in said.err


def test_stopping_says_how_to_go_on(launch: Launch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "train_head", stop)
    said = launch("train", "--class", "weapon", "--data", "synthetic:20", "--store", str(tmp_path))
    assert (said.code, said.out) == (130, "")
    last = "launch: stopped; score, label and merge go on where they were, a training with --resume"
    assert said.err.splitlines()[-1] == last


# As processes


def test_a_process_prints_json_and_ends_with_its_code(store: Store) -> None:
    def launched(*arguments: str) -> Said:
        return process("-m", "launch.main", *arguments, PROHIBIT_STORE=str(store.root))

    assert launched("bundle", "--out", "all", "--json").result["bundle"] == "all"
    refused(launched("score", "--bundle", "none", "--data", "synthetic:9", "--out", "x"), "none.json", "all, prod")


def test_killed_in_the_middle_and_resumed_it_gives_the_same_head(
    launch: Launch, trained: Trained, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    file = write_config(tmp_path, trained, "weapon", "gun", data={"workers": 1})  # where training had none
    arguments = ("train", "--class", "weapon", "--data", trained.source, "--config", file, "--store", str(store.root))
    killed = process("-c", KILLED, *arguments)  # returns when its worker, which has its standard output too, has ended
    assert (killed.code, killed.out) == (-signal.SIGKILL, "")
    (run,) = (store.runs / "weapon").iterdir()
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["1"]
    assert not store.heads.exists()
    assert not store.classes()

    resumed = launch(*arguments, "--resume", "--json").result
    assert (resumed["head"], resumed["run"]) == ("weapon@1", str(run))
    assert sha256(Path(resumed["folder"]) / "params.safetensors") == trained.heads["weapon"].card.params_sha256
    assert resumed["metrics"] == trained.heads["weapon"].card.metrics
