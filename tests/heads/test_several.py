"""One network of several classes, whole and on a trunk: what is published, judged, continued, and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.config import Config
from prohibit_jax.data.dataset import load_dataset
from prohibit_jax.data.loader import decoded
from prohibit_jax.evaluate.several import mean_average_precision
from prohibit_jax.heads.begin import begin
from prohibit_jax.heads.judge import evaluate_head
from prohibit_jax.heads.make import Made, train_head
from prohibit_jax.heads.several import class_scorer
from prohibit_jax.models.network import Network, shapes
from prohibit_jax.score.scorer import read_trunks
from prohibit_jax.types import HeadRef, InputError
from tests.heads.small import COUNT, ON_TRUNK, SIZE, config, save_tiny, write_photos

CLASSES = {"weapon": ["gun"], "money": ["cash"]}
NAMES = tuple(CLASSES)


def several(source: str, **sections: dict[str, Any]) -> Config:
    """The small job's config with two classes; cups are everything else."""
    train = {"loss": "softmax", "positive_fraction": 0.6} | sections.pop("train", {})
    return config(source, "all", **{"class": {"positive": [], "classes": CLASSES}, "train": train, **sections})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_photos(tmp_path_factory.mktemp("photos"), broken=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("store"))
    save_tiny(made)
    return made


@pytest.fixture(scope="module", params=["whole", "on a trunk"])
def made(request: pytest.FixtureRequest, photos: str, store: Store) -> Made:
    return train_head(several(photos, model=ON_TRUNK if request.param == "on a trunk" else {}), store)


def test_the_card_names_the_classes_and_judges_each(made: Made) -> None:
    card = made.card
    assert (card.name, card.classes, card.arch.outputs) == ("all", NAMES, 3)
    assert tuple(card.config["class"]["classes"]) == NAMES
    metrics = card.metrics
    assert tuple(metrics["classes"]) == NAMES
    positives = [figures["positives"] for figures in metrics["classes"].values()]
    assert card.data["test"] == {"positives": sum(positives), "photos": metrics["photos"]}
    assert sum(card.data[side]["positives"] for side in ("train", "validation", "test")) == 2 * COUNT
    assert json.loads((made.run / "head.json").read_text()) == {"head": str(made.ref)}
    assert {path.name for path in made.run.glob("*.png")} == {"history.png"}


def test_judged_again_it_has_the_figures_of_its_card(made: Made, photos: str, store: Store) -> None:
    judged = evaluate_head(made.ref, photos, store, side="test")
    assert judged.metrics["photos"] == made.card.metrics["photos"]
    mean = made.card.metrics["mean_average_precision"]
    assert judged.metrics["mean_average_precision"] == pytest.approx(mean, abs=1e-3)
    everything = evaluate_head(made.ref, photos, store).metrics
    assert [figures["positives"] for figures in everything["classes"].values()] == [COUNT, COUNT]


def test_one_function_gives_the_probabilities(made: Made, photos: str, store: Store) -> None:
    head = store.read_head(made.ref)
    score = class_scorer(head, read_trunks(store, [head.card]), batch=16)
    dataset = load_dataset(several(photos), store.cache, progress=lambda done, total: None, warn=lambda text: None)
    rows = dataset.rows("test")
    images = np.concatenate([part for _, part in decoded(dataset.source, rows, SIZE)])
    found = score(images)
    assert found.shape == (len(rows), len(NAMES))
    assert ((found >= 0) & (found <= 1) & (found.sum(1, keepdims=True) <= 1)).all()
    np.testing.assert_allclose(score(images[:3]), found[:3], atol=1e-6)
    expected = made.card.metrics["mean_average_precision"]["value"]
    assert mean_average_precision(dataset.labels[rows], found) == pytest.approx(expected, abs=1e-3)


def test_no_bundle_takes_it(made: Made, store: Store) -> None:
    with pytest.raises(InputError, match=r"^head all@\d: one network of 2 classes, which no bundle holds"):
        make_bundle(store, "prod", [made.ref])
    with pytest.raises(InputError, match=r"^bundle prod: no heads"):
        make_bundle(store, "prod")


def test_it_goes_on_from_its_last_version_and_from_others(made: Made, photos: str, store: Store) -> None:
    head = store.read_head(made.ref)
    again = begin(several(photos, model={"weights": str(made.ref)}), store)
    assert all(np.array_equal(again.variables[name], array) for name, array in head.variables.items())
    binary = begin(config(photos, model={"weights": str(made.ref)}), store)
    assert {name: np.shape(array) for name, array in binary.variables.items()} == shapes(Network(binary.network.arch))
    assert binary.network.arch.outputs == 1
    assert np.array_equal(binary.variables["stem.kernel"], again.variables["stem.kernel"])


@pytest.mark.parametrize("weights", ["", "tiny"])
def test_the_classifier_has_an_output_a_class_and_one_more(photos: str, store: Store, weights: str) -> None:
    begun = begin(several(photos, model={"weights": weights}), store)
    assert begun.network.arch.outputs == 3
    assert {name: np.shape(array) for name, array in begun.variables.items()} == shapes(begun.network)


def test_inception_resnet_v2_is_one_of_the_architectures(photos: str, store: Store) -> None:
    model = {"architecture": "inception_resnet_v2", "depth": 0.1, "size": 75}
    begun = begin(several(photos, model=model), store)
    assert (begun.network.arch.name, begun.network.arch.outputs) == ("inception_resnet_v2", 3)
    with pytest.raises(InputError, match=r"^model\.size: 74 is too small; inception_resnet_v2 takes 75 and more$"):
        begin(several(photos, model={**model, "size": 74}), store)


def test_refusals(made: Made, photos: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^class\.classes\.money: no photo has the label 'coin'"):
        train_head(several(photos, **{"class": {"positive": [], "classes": {**CLASSES, "money": ["coin"]}}}), store)
    few = Path(write_photos(tmp_path, 4, broken=False).removeprefix("folder:"))
    for photo in (few / "cash").iterdir():
        photo.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"^data\.source: no usable money photo on side 'all'; add photos$"):
        evaluate_head(HeadRef("all"), f"folder:{few}", store)
