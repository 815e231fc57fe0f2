"""Making heads: what is published, that no other head moves, what a trunk spares, and when a run is not resumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from PIL import Image

from prohibit_jax.bundle.card import SHA256
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.config import parse_config
from prohibit_jax.data.dataset import load_dataset
from prohibit_jax.data.loader import decoded
from prohibit_jax.data.sources import open_source
from prohibit_jax.heads import make
from prohibit_jax.heads.begin import begin
from prohibit_jax.heads.make import train_head
from prohibit_jax.models.network import Network, shapes
from prohibit_jax.score.job import score_source
from prohibit_jax.score.scorer import scorer_of
from prohibit_jax.score.table import ScoreTable, open_scores
from prohibit_jax.train.features import FeatureCache
from prohibit_jax.train.loop import Fitted
from prohibit_jax.train.state import predict_of
from prohibit_jax.types import Advance, HeadRef, InputError, Preprocessing
from prohibit_jax.weights.imported import load, save
from tests.heads.small import COUNT, ON_TRUNK, SIZE, TINY, Trained, config, photo, save_tiny, sha256, write_photos
from tests.score.checks import compiles
from tests.tolerances import SERVED

CLASSES = ("cash", "cup", "weapon")
LABELS = {"weapon": "gun", "cash": "cash", "cup": "cup"}
USABLE = 3 * COUNT


class Interrupted(BaseException):
    """Stands in for a kill."""


def interrupt(after: int) -> Callable[[str], Advance]:
    """A progress bar that ends the run at a training step."""

    def line(title: str) -> Advance:
        def advance(done: int, total: int, text: str = "", /) -> None:
            if title == "training" and done == after:
                raise Interrupted

        return advance

    return line


@pytest.mark.parametrize("name", CLASSES)
def test_the_card_says_it_all(trained: Trained, name: str) -> None:
    made = trained.heads[name]
    card = made.card
    assert (made.ref, card.name, card.version) == (HeadRef(name, 1), name, 1)
    assert sorted(path.name for path in made.folder.iterdir()) == ["card.json", "params.safetensors"]
    assert card.params_sha256 == sha256(Path(made.folder / "params.safetensors"))
    job = config(trained.source, name, LABELS[name], model={} if name == "weapon" else ON_TRUNK)
    assert parse_config(card.config, "card") == job
    assert card.seed == job.train.seed
    assert {"jax", "flax", "numpy"} <= card.versions.keys()
    for metric in ("average_precision", "roc_area", "recall_at_precision", "precision_at_recall"):
        interval = card.metrics[metric]
        assert 0 <= interval["low"] <= interval["value"] <= interval["high"] <= 1
    assert 0 <= card.thresholds.review <= card.thresholds.block
    assert SHA256.fullmatch(card.data["fingerprint"])
    sides = [card.data[side] for side in ("train", "validation", "test")]
    assert (sum(side["photos"] for side in sides), sum(side["positives"] for side in sides)) == (USABLE, COUNT)
    assert (card.metrics["positives"], card.metrics["negatives"]) == (
        sides[2]["positives"],
        sides[2]["photos"] - sides[2]["positives"],
    )


def test_each_class_has_its_own_labels_on_the_same_sides(trained: Trained) -> None:
    data = [trained.heads[name].card.data for name in CLASSES]
    assert len({one["fingerprint"] for one in data}) == 3
    assert len({one[side]["photos"] for one in data for side in ("train",)}) == 1


def test_a_run_leaves_its_curves_and_mistakes(trained: Trained) -> None:
    made = trained.heads["weapon"]
    assert json.loads((made.run / "head.json").read_text()) == {"head": "weapon@1"}
    assert json.loads((made.run / "config.json").read_text()) == made.card.config
    assert json.loads((made.run / "start.json").read_text()).items() >= made.card.data.items()
    assert [row["epoch"] for row in json.loads((made.run / "history.json").read_text())] == [1, 2]
    for name in ("history", "precision_recall", "reliability", "mistakes"):
        with Image.open(made.run / f"{name}.png") as picture:
            assert np.ptp(np.asarray(picture.convert("L"))) > 100
    assert list(made.run.glob("events.out.tfevents.*"))


def test_broken_photos_are_left_out_with_a_warning(trained: Trained) -> None:
    for warnings in trained.warnings.values():
        (warning,) = warnings
        assert warning.startswith(f"3 of {USABLE + 3} photos cannot be used; the first: ")
        assert "empty.png" in warning


# A frozen trunk


def test_heads_share_a_trunk_that_nothing_has_changed(trained: Trained) -> None:
    cash, cup = (trained.heads[name].card for name in ("cash", "cup"))
    assert cash.trunk is not None
    assert cash.trunk == cup.trunk
    assert cash.trunk.through == "s5"
    (file,) = trained.store.trunks.iterdir()
    assert sha256(Path(file)) == cash.trunk.sha256 == file.stem
    trunk, head = Network(TINY).split("s5")
    given = begin(config(trained.source, model=ON_TRUNK), trained.store).variables
    kept = trained.store.read_trunk(cash.trunk.sha256, trunk)
    assert kept.keys() == shapes(trunk).keys()
    assert all(np.array_equal(array, given[name]) for name, array in kept.items())
    for name in ("cash", "cup"):
        variables = trained.store.read_head(name).variables
        assert variables.keys() == shapes(head).keys()
        assert not variables.keys() & kept.keys()
        moved = {key for key, array in variables.items() if not np.array_equal(array, given[key])}
        assert "top.classifier.kernel" in moved
        assert not [key for key in moved if key.endswith((".norm.mean", ".norm.var"))]  # pretrained: frozen as well


def test_features_are_computed_once(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, calls = trained.copy(tmp_path), list[tuple[str, int, int]]()

    def line(title: str) -> Advance:
        return lambda done, total, text="": calls.append((title, done, total))

    def stop(*_: object, **__: object) -> Fitted:
        raise Interrupted

    def computed(source: str, **model: Any) -> int:
        calls.clear()
        with pytest.raises(Interrupted):
            train_head(config(source, "knife", "gun", model=ON_TRUNK | model), store, progress=line)
        return max((done for title, done, _ in calls if title.startswith("features")), default=0)

    monkeypatch.setattr(make, "fit", stop)
    assert computed(trained.source) == 0
    more = Path(shutil.copytree(trained.source.removeprefix("folder:"), tmp_path / "photos"))
    write_photos(more, 1, first=COUNT, broken=False)
    assert computed(f"folder:{more}") == 3
    write_photos(more, 2, first=COUNT + 1, broken=False)
    with compiles() as events:
        assert computed(f"folder:{more}") == 6
    assert not events  # whatever their number
    assert computed(f"folder:{more}") == 0


def test_other_pixels_need_other_features(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same variables are another trunk where the photos are normalised otherwise."""
    store, features = Store(tmp_path), list[np.ndarray]()

    def see(*given: Any, **_: object) -> Fitted:
        task = given[3]
        features.append(next(task.examples.stream(task.train, 0))[0])
        raise Interrupted

    monkeypatch.setattr(make, "fit", see)
    save_tiny(store)
    weights = load(store.root, "tiny")
    for mean in (0.5, 0.1):
        save(store.root, "tiny", replace(weights, preprocessing=Preprocessing(SIZE, (mean,) * 3, (0.5, 0.5, 0.5))))
        with pytest.raises(Interrupted):
            train_head(config(trained.source, model=ON_TRUNK), store)
    assert len(list(store.trunks.iterdir())) == 1
    assert not np.allclose(features[0], features[1])


@pytest.mark.parametrize("name", ["cash", "weapon"])
def test_serving_computes_what_training_saw(trained: Trained, name: str) -> None:
    """Calibration and thresholds come from training's logits, from cached features behind a trunk."""
    store, head = trained.store, trained.store.read_head(name)
    job = parse_config(head.card.config, "card")
    dataset = load_dataset(job, store.cache, progress=lambda done, total: None, warn=lambda text: None)
    rows = dataset.rows("test")[:20]
    images = np.concatenate([part for _, part in decoded(dataset.source, rows, SIZE)])
    inputs, trunks = images, {}
    if head.card.trunk:
        (cache,) = (store.cache / "features").iterdir()
        inputs = FeatureCache(Path(cache)).read([dataset.index.sha256[row] for row in rows])
        trunks = {head.card.trunk.sha256: store.read_trunk(head.card.trunk.sha256)}
    variables = {key: jnp.asarray(array) for key, array in head.variables.items()}
    at_training = predict_of(head.card.network(), head.card.preprocessing)(variables, jnp.asarray(inputs))
    served = scorer_of([head], trunks, (32,)).logits(images)
    scale = np.abs(at_training).max()
    np.testing.assert_allclose(served, at_training, rtol=0, atol=SERVED * scale)


# The promise


def bits(scores: ScoreTable, name: str) -> list[bytes | None]:
    return [None if np.isnan(score) else score.tobytes() for score in scores.column(name)]


def test_retraining_one_class_changes_no_bit_of_another(trained: Trained, tmp_path: Path) -> None:
    store = trained.copy(tmp_path)

    def scored(name: str) -> ScoreTable:
        make_bundle(store, "prod")
        summary = score_source("prod", open_source(trained.source), tmp_path / name, store)
        assert (summary.photos, summary.errors) == (USABLE + 3, 3)
        return open_scores(tmp_path / name)

    def files() -> dict[str, str]:
        return {str(path): sha256(Path(path)) for path in store.root.glob("heads/*/*/*")}

    def trunks() -> dict[str, str]:
        return {path.name: sha256(Path(path)) for path in store.trunks.iterdir()}

    before, files_before, trunks_before = scored("before.parquet"), files(), trunks()
    job = config(trained.source, "cash", "cash", model=ON_TRUNK, train={"learning_rate": 1e-2})
    again = train_head(job, store)
    after, files_after = scored("after.parquet"), files()

    assert again.ref == HeadRef("cash", 2)
    assert again.card.params_sha256 != trained.heads["cash"].card.params_sha256
    assert {path: files_after[path] for path in files_before} == files_before
    assert {Path(path).parent.parent.name for path in files_after.keys() - files_before.keys()} == {"cash"}
    assert trunks() == trunks_before
    assert before.classes == after.classes == CLASSES
    assert [line["version"] for line in after.bundle["heads"]] == [2, 1, 1]
    assert bits(before, "cash") != bits(after, "cash")
    facts = ["path", "sha256", "width", "height", "error"]
    assert before.read(facts) == after.read(facts)
    for name in ("cup", "weapon"):
        assert bits(before, name) == bits(after, name)
        assert len(set(bits(after, name))) > USABLE // 2

    wrong = {Path(row["path"]).name: row for row in after.read([*facts, *CLASSES]).to_pylist() if row["error"]}
    assert wrong.keys() == {"empty.png", "text.jpg", "truncated.png"}
    assert all(row[name] is None for row in wrong.values() for name in CLASSES)
    assert all("\n" not in row["error"] and row["sha256"] for row in wrong.values())


# Resuming


def test_interrupted_and_resumed_it_publishes_the_same_head(trained: Trained, tmp_path: Path) -> None:
    store = trained.copy(tmp_path)
    job = config(trained.source, "cash", "cash", model=ON_TRUNK)
    for step in (1, 5):  # before the first checkpoint, and in the second epoch
        with pytest.raises(Interrupted):
            train_head(job, store, resume=step > 1, progress=interrupt(step))
        assert store.versions("cash") == (1,)
        assert not [path for path in (store.heads / "cash").iterdir() if path.name != "1"]
    made, first = train_head(job, store, resume=True), trained.heads["cash"]
    assert made.ref == HeadRef("cash", 2)
    assert len(list((store.runs / "cash").iterdir())) == 2
    assert made.card.params_sha256 == first.card.params_sha256
    assert (made.card.calibration, made.card.thresholds) == (first.card.calibration, first.card.thresholds)
    assert made.card.metrics == first.card.metrics
    with pytest.raises(InputError, match=r"^--resume: cash has no unfinished run in .*; train without it"):
        train_head(job, store, resume=True)


@pytest.fixture
def unfinished(trained: Trained, tmp_path: Path) -> tuple[Store, Path]:
    """A store with an unfinished run of `cash`, and the photos that it is on."""
    store = trained.copy(tmp_path)
    photos = Path(shutil.copytree(trained.source.removeprefix("folder:"), tmp_path / "photos"))
    with pytest.raises(Interrupted):
        train_head(job_on(photos), store, progress=interrupt(1))
    return store, photos


def job_on(photos: Path, **sections: Any) -> Any:
    return config(f"folder:{photos}", "cash", "cash", model=ON_TRUNK, **sections)


@pytest.mark.parametrize(
    ("sections", "key"), [({"train": {"seed": 1}}, "train.seed"), ({"data": {"test": 0.3}}, "data.test")]
)
def test_another_config_is_not_resumed(
    unfinished: tuple[Store, Path], sections: dict[str, dict[str, Any]], key: str
) -> None:
    store, photos = unfinished
    with pytest.raises(InputError, match=rf"^--resume: {key} is not as in the unfinished run .*runs/cash/"):
        train_head(job_on(photos, **sections), store, resume=True)


def test_changed_photos_are_not_resumed_on(unfinished: tuple[Store, Path]) -> None:
    store, photos = unfinished
    photo(999, (0, 0, 0)).save(photos / "cup" / "new.png")
    with pytest.raises(InputError, match=r"^--resume: the photos are not those with which .* began; train without it"):
        train_head(job_on(photos), store, resume=True)


def test_changed_weights_are_not_resumed_from(unfinished: tuple[Store, Path]) -> None:
    store, photos = unfinished
    weights = load(store.root, "tiny")
    kernel = {"stem.kernel": -np.asarray(weights.variables["stem.kernel"])}
    save(store.root, "tiny", replace(weights, variables={**weights.variables, **kernel}))
    with pytest.raises(InputError, match=r"^--resume: the weights are not those with which .* began; train without it"):
        train_head(job_on(photos), store, resume=True)


def test_refused_input_begins_no_run(unfinished: tuple[Store, Path]) -> None:
    """So that it hides no unfinished run, which still goes on."""
    store, photos = unfinished
    with pytest.raises(InputError, match=r"class\.positive"):
        train_head(config(f"folder:{photos}", "cash", "money", model=ON_TRUNK), store)
    with pytest.raises(InputError, match="weights 'none'"):
        train_head(config(f"folder:{photos}", "cash", "cash", model={"weights": "none"}), store)
    assert len(list((store.runs / "cash").iterdir())) == 2
    with pytest.raises(Interrupted):
        train_head(job_on(photos), store, resume=True, progress=interrupt(1))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"source": ""}}, r"^data\.source: name the photos"),
        ({"data": {"source": "folder:none"}}, r"^folder 'none': no such folder"),
        ({"class": {"ignore": ["gum"]}}, r"^class\.ignore: no photo has the label 'gum'; did you mean 'gun'"),
        ({"data": {"validation": 0.0}}, r"^data\.source: no usable positive photo on side 'validation'; .*data\.valid"),
    ],
)
def test_refusals(trained: Trained, tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        train_head(config(trained.source, **sections), Store(epath.Path(tmp_path)))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "heads").exists()
