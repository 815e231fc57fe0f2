"""`labels:` as a data source: which photos train, which judge, and what of them is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from etils import epath
from PIL import Image

from prohibit_jax.config import Config, parse_config
from prohibit_jax.data.dataset import Dataset, load_dataset, require_all
from prohibit_jax.data.label_store import Label, LabelStore, open_label_store
from prohibit_jax.data.sources import open_source
from prohibit_jax.types import InputError

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def photo(number: int) -> Image.Image:
    """Coarse noise: no two are near-identical."""
    noise = np.random.default_rng(number).integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(noise).resize((48, 40))


def label(path: Path, answer: str = "yes", annotator: str = "ann", at: int = 0, **fields: Any) -> Label:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Label(sha256, str(path), "weapon", answer, annotator, START + timedelta(seconds=at), **fields)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "photos" / f"{number:02d}.png" for number in range(40)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        photo(number).save(path)
    return paths


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabelStore:
    monkeypatch.delenv("PROHIBIT_LABELS", raising=False)
    return open_label_store(None, tmp_path)


def config(source: str = "labels:", **sections: dict[str, Any]) -> Config:
    data = {"source": source, "workers": 0}
    return parse_config({"class": {"name": "weapon", "positive": ["revolver"]}, "data": data, **sections}, "test")


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    def dataset(asked: Config, warnings: list[str] | None = None) -> Dataset:
        said: list[str] = []
        loaded = load_dataset(asked, epath.Path(tmp_path / "cache"), progress=lambda *_: None, warn=said.append)
        assert warnings is not None or not said
        if warnings is not None:
            warnings += said
        return loaded

    return dataset


def test_yes_and_no_are_labels_and_the_rest_is_left_out(
    labels: LabelStore, photos: list[Path], load: Callable[..., Dataset]
) -> None:
    answers = ["yes", "no", "unsure", "skip", "no"]
    labels.append(label(path, answer, at=i) for i, (path, answer) in enumerate(zip(photos, answers, strict=False)))
    labels.append([label(photos[4], "yes", "bob"), label(photos[0], "yes", "bob")])
    dataset = load(config())
    assert [(item.path, item.label) for item in dataset.source.items] == [
        (str(photos[0]), "yes"),
        (str(photos[1]), "no"),
    ]
    assert dataset.labels.tolist() == [1, 0]
    assert dataset.index.usable.all()
    assert dataset.source.read(1) == photos[1].read_bytes()


def test_the_rule_of_the_config_decides(labels: LabelStore, photos: list[Path], load: Callable[..., Dataset]) -> None:
    labels.append([label(photos[0], "yes"), label(photos[0], "no", "bob", 1), label(photos[1], "no", "bob")])
    assert load(config(labels={"adjudicators": ["bob"]})).labels.tolist() == [0, 0]
    assert load(config(labels={"adjudicators": ["ann"]})).labels.tolist() == [1, 0]
    with pytest.raises(
        InputError, match=r"labels\.db: no photo is answered yes or no for class weapon \(1 disputed, 1 uns"
    ):
        load(config(labels={"votes": 2}))


def test_what_a_strategy_chose_trains_and_the_rest_goes_by_its_hash(
    labels: LabelStore, photos: list[Path], load: Callable[..., Dataset]
) -> None:
    strategies = ["random", "imported", "uncertainty", "k_center"]
    labels.append(label(path, "no", strategy=strategies[i % 4]) for i, path in enumerate(photos))
    labels.append(label(path, "no", "bob", at=1, strategy="random") for path in photos)  # the first ask stays
    dataset = load(config())
    for row, item in enumerate(dataset.source.items):
        number = photos.index(Path(item.path))
        assert item.split == ("" if number % 4 < 2 else "train")
        assert number % 4 < 2 or dataset.sides[row] == "train"
    assert {"train", "validation", "test"} <= set(dataset.sides.tolist())


def test_an_honest_sample_that_is_drained_is_told(
    labels: LabelStore, photos: list[Path], tmp_path: Path, load: Callable[..., Dataset]
) -> None:
    labels.append(label(path, "no", strategy="random") for path in photos[:10])
    for count, path in enumerate(photos[:3], 1):
        copy = tmp_path / f"near{count}.png"
        lighter = np.asarray(Image.open(path)).astype(int) + 2
        Image.fromarray(lighter.clip(0, 255).astype(np.uint8)).save(copy)
        labels.append([label(copy, "no", strategy="uncertainty")])
        warnings: list[str] = []
        dataset = load(config(), warnings)
        assert {dataset.sides[i] for i, item in enumerate(dataset.source.items) if item.path == str(path)} == {"train"}
        assert bool(warnings) == (count == 3)
    assert warnings[0].startswith("3 of 10 photos chosen at random only train, since they are near-identical to photos")


def test_a_photo_that_changed_or_went_is_not_used(
    labels: LabelStore, photos: list[Path], load: Callable[..., Dataset]
) -> None:
    labels.append(label(path, "no", at=i) for i, path in enumerate(photos[:3]))
    photo(77).save(photos[1])
    warnings: list[str] = []
    assert load(config(), warnings).index.usable.tolist() == [True, False, True]
    assert warnings == [
        f"1 of 3 photos cannot be used; the first: {photos[1]}: its content changed since it was labelled"
    ]
    photos[0].unlink()
    warnings.clear()
    assert load(config(), warnings).index.usable.tolist() == [False, False, True]
    assert warnings == [
        f"2 of 3 photos cannot be used; the first: {photos[0]}: cannot be read: No such file or directory"
    ]


def test_a_photo_is_read_where_it_was_seen_last(
    labels: LabelStore, photos: list[Path], tmp_path: Path, load: Callable[..., Dataset]
) -> None:
    labels.append([label(photos[0]), label(photos[1], "no")])
    moved = photos[0].rename(tmp_path / "moved.png")
    labels.append([label(moved)])
    assert load(config()).index.usable.all()


def test_photos_that_are_no_files_come_from_their_source(
    labels: LabelStore, photos: list[Path], load: Callable[..., Dataset]
) -> None:
    source = open_source("synthetic:6:3")
    for i in (1, 4):
        sha256 = hashlib.sha256(source.read(i)).hexdigest()
        labels.append([Label(sha256, source.items[i].path, "weapon", "no", "ann", START + timedelta(seconds=i))])
    labels.append([label(photos[0])])
    dataset = load(config(labels={"photos": "synthetic:6:3"}))
    assert dataset.index.usable.all()
    assert dataset.source.read(2) == source.read(4)
    warnings: list[str] = []
    assert load(config(labels={"photos": "synthetic:6:4"}), warnings).index.usable.sum() == 1


def test_a_side_without_honest_photos_is_explained(
    labels: LabelStore, photos: list[Path], load: Callable[..., Dataset]
) -> None:
    labels.append(label(path, "no", strategy="margin") for path in photos)
    dataset = load(config())
    with pytest.raises(InputError, match=r"on side 'test'; add photos that are chosen at random, or imported"):
        require_all(dataset, "test")


def test_labels_are_of_one_class(labels: LabelStore, load: Callable[..., Dataset]) -> None:
    several = {"name": "all", "classes": {"weapon": ["gun"]}}
    with pytest.raises(InputError, match=r"^class\.classes: the labels of data\.source labels: are of one class"):
        load(config(**{"class": several, "train": {"loss": "softmax"}}))


def test_another_store_is_named_in_the_address(
    labels: LabelStore, photos: list[Path], tmp_path: Path, load: Callable[..., Dataset]
) -> None:
    other = open_label_store(str(tmp_path / "other.db"), tmp_path)
    other.append([label(photos[0])])
    assert load(config(f"labels:{tmp_path}/other.db")).labels.tolist() == [1]
    with pytest.raises(InputError, match=r"labels\.db: no photo is answered yes or no for class weapon \(nothing\)"):
        load(config())
    with pytest.raises(InputError, match=r"none\.db: no labels there yet"):
        load(config(f"labels:{tmp_path}/none.db"))


def test_a_dumped_config_has_no_password() -> None:
    address = "labels:postgresql+psycopg://ann:hu@ sh@host/labels?sslpassword=hush"
    dumped = config(address).model_dump(mode="json", by_alias=True)
    assert dumped["data"]["source"] == "labels:postgresql+psycopg://ann:***@host/labels?sslpassword=***"
    assert config(address).data.source == address
