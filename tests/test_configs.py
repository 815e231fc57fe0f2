"""Every file in configs/ loads, and default.toml tells the truth."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from prohibit_jax.config import Config, load_config
from prohibit_jax.types import InputError

FOLDER = Path(__file__).resolve().parents[1] / "configs"
CONFIGS = sorted(path for path in FOLDER.glob("*.toml") if path.stem != "serve")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_and_opens_with_its_command(path: Path) -> None:
    name = tomllib.loads(path.read_text())["class"]["name"]
    assert load_config(name, path) == load_config("", path)
    assert load_config(name, path).class_.name == name
    commands = (f"launch train --class {name} ", f"launch train --config configs/{path.name} ")
    assert any(command in path.read_text().split("[class]")[0] for command in commands)


def test_default_toml_lists_every_key_with_its_default() -> None:
    path = next(path for path in CONFIGS if path.stem == "default")
    listed = tomllib.loads(path.read_text())
    defaults = Config.model_validate({"class": listed["class"]}).model_dump(mode="json", by_alias=True)
    assert listed == defaults


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.sise=3", "model.sise: unknown key, did you mean 'size'?"),
        ("modle.size=3", "modle: unknown key, did you mean 'model'?"),
        ("train.batch=1", "train.batch: input should be greater than or equal to 2"),
        ("train.learning_rate=nan", "train.learning_rate: "),
        ("data.test=0.9", "data.validation + data.test must leave some photos for training"),
        ("model.size", "write section.key=value"),
        ("size=3", "write section.key=value"),
        ("model.trunk_through=s9", "model.trunk_through: "),
        ("train.loss=softmax", "train.loss softmax goes with class.classes"),
        ("class.classes={cash = ['bill']}", "class.classes takes the place of class.positive"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(setting: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config("weapon", None, [setting])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_comes_later_wins(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[class]\npositive = ["gun"]\n[model]\nsize = 64\n[train]\nseed = 3\n')
    config = load_config("weapon", file, ["model.size=96"], {"model.size": "80", "model.weights": ""})
    assert (config.class_.positive, config.model.size, config.train.seed, config.model.weights) == (("gun",), 96, 3, "")


def test_several_classes_keep_their_order(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    table = '[class]\nname = "all"\nclasses = {weapon = ["gun"], cash = ["bill", "coin"]}\n'
    file.write_text(table + '[train]\nloss = "softmax"\n')
    asked = load_config("", file).class_
    assert (asked.name, asked.positive, asked.outputs) == ("all", (), 3)
    assert list(asked.labels.items()) == [("class.classes.weapon", ("gun",)), ("class.classes.cash", ("bill", "coin"))]
    file.write_text(table)
    with pytest.raises(InputError, match=r"mine\.toml: train\.loss softmax goes with class\.classes"):
        load_config("all", file)
    file.write_text(table.replace("cash", "path") + '[train]\nloss = "softmax"\n')
    with pytest.raises(InputError, match="class 'path': scores have a column of that name"):
        load_config("all", file)


def test_without_a_name_there_is_no_class() -> None:
    with pytest.raises(InputError, match="--class: name the class, or with --config a file that does"):
        load_config("")


def test_a_file_of_another_class_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[class]\nname = "cash"\n')
    with pytest.raises(InputError, match=r"mine\.toml: class\.name is 'cash', the command says 'weapon'"):
        load_config("weapon", file)


@pytest.mark.parametrize("text", ["[class", "class = 3", '[class]\nname = "\\u12"', "\xff"])
def test_a_file_that_is_no_config_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"mine\.toml"):
        load_config("weapon", file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml"):
        load_config("weapon", tmp_path / "none.toml")
