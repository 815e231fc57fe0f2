"""Merged heads: what they score, what is refused, and how it is undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prohibit_jax.bundle.lock import make_bundle, read_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.data.sources import open_source
from prohibit_jax.heads import merge
from prohibit_jax.heads.judge import evaluate_head
from prohibit_jax.heads.make import train_head
from prohibit_jax.heads.merge import MergeConfig, Merged, Photos, merge_heads
from prohibit_jax.heads.quick import gather, make_quick, pool_embedder, publish, spread_of
from prohibit_jax.images.decode import Limits
from prohibit_jax.models.network import Network, init
from prohibit_jax.score.scorer import load_scorer
from prohibit_jax.train import distil as teaching
from prohibit_jax.train.distil import DistilConfig
from prohibit_jax.train.state import predict_of
from prohibit_jax.types import HeadRef, InputError
from tests.bundle.twin import photos
from tests.heads.ready import ready
from tests.heads.small import COLOURS, ON_TRUNK, SIZE, Trained, config, write_photos
from tests.tolerances import FIGURES, SERVED

CLASSES = ["weapon", "cash", "cup"]
FAST = MergeConfig(train=DistilConfig(epochs=0, batch=16))


def merging(trained: Trained, store: Store, settings: MergeConfig = FAST, **options: Any) -> Merged:
    return merge_heads(CLASSES, trained.source, store, settings, **{"weights": "tiny", "max_loss": 1.0, **options})


@pytest.fixture(scope="module")
def store(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The small store, with a bundle of the heads as trained."""
    copy = trained.copy(tmp_path_factory.mktemp("merged"))
    make_bundle(copy, "prod")
    return copy


@pytest.fixture(scope="module")
def before(store: Store) -> np.ndarray:
    return load_scorer("prod", store, (5,)).logits(photos(5))


@pytest.fixture(scope="module")
def merged(trained: Trained, store: Store, before: np.ndarray) -> Merged:
    found = merging(trained, store)
    make_bundle(store, "prod")
    return found


def test_each_class_gets_its_next_version_on_one_trunk(trained: Trained, store: Store, merged: Merged) -> None:
    assert [str(one.new) for one in merged.classes] == ["weapon@2", "cash@2", "cup@2"]
    assert (merged.before.networks, merged.after.networks, merged.size) == (2, 1, SIZE)
    assert merged.after.megabytes < merged.before.megabytes
    for one in merged.classes:
        assert one.new is not None
        card = store.read_card(one.new)
        assert card.trunk is not None
        assert (card.trunk.sha256, card.trunk.through) == (merged.trunk, "top")
        assert card.config["model"]["trunk_through"] == "top"
        assert card.config["model"]["weights"] == "tiny"
        old = store.read_card(one.old)
        assert (card.data["made"], card.data["from"]) == ("merged", str(one.old))
        assert (card.data["classes"], card.data["photos"]) == ("weapon cash cup", merged.photos)
        assert card.data["test"] == old.data["test"]
        assert card.data["fingerprint"] == old.data["fingerprint"]
        assert sum(array.size for array in store.read_head(one.new).variables.values()) == 1281


def test_judging_a_merged_head_finds_what_its_card_says(trained: Trained, store: Store, merged: Merged) -> None:
    for one in merged.classes:
        judged = evaluate_head(HeadRef(one.old.name), trained.source, store, side="test")
        assert judged.ref == one.new
        saved = store.read_card(judged.ref).metrics
        assert saved["positives"] == one.positives
        assert judged.metrics["average_precision"]["value"] == pytest.approx(one.quality.new.value, abs=FIGURES)
        for error in ("calibration_error", "brier", "log_loss"):
            assert judged.metrics[error] == pytest.approx(saved[error], abs=FIGURES)
        former = store.read_card(one.old).metrics
        assert one.quality.old.value == pytest.approx(former["average_precision"]["value"], abs=FIGURES)


def test_the_bundle_serves_them_and_the_former_ones_again(store: Store, before: np.ndarray, merged: Merged) -> None:
    assert [str(pin.ref) for pin in read_bundle(store, "prod").pins] == ["cash@2", "cup@2", "weapon@2"]
    scorer = load_scorer("prod", store, (5,))
    after = scorer.logits(photos(5))
    assert not np.array_equal(after, before)
    split_out = scorer.replace("weapon@1").logits(photos(5))
    np.testing.assert_array_equal(split_out[:, :2], after[:, :2])
    make_bundle(store, "back", ["cash@1", "cup@1", "weapon@1"])
    np.testing.assert_array_equal(load_scorer("back", store, (5,)).logits(photos(5)), before)


def test_one_network_scores_as_the_published_heads_do(store: Store, merged: Merged) -> None:
    heads = [store.read_head(one.new) for one in merged.classes if one.new]
    kernel, bias = (np.concatenate([head.variables[name] for head in heads], -1) for name in merge.CLASSIFIER)
    card = heads[0].card
    variables = store.read_trunk(merged.trunk) | dict(zip(merge.CLASSIFIER, (kernel, bias), strict=True))
    student = predict_of(Network(replace(card.arch, outputs=3)), card.preprocessing)(variables, photos(5))
    make_bundle(store, "merged", [str(head.ref) for head in heads])
    served = load_scorer("merged", store, (5,)).logits(photos(5))
    np.testing.assert_allclose(served, student, rtol=0, atol=SERVED * np.abs(student).max())


def test_chosen_photos_of_chosen_photos_are_named_in_short(trained: Trained) -> None:
    whole = open_source(trained.source)
    chosen = Photos(tuple((whole, row) for row in range(len(whole.items))), Limits())
    assert len(repr(Photos(tuple((chosen, row) for row in range(len(whole.items))), Limits()))) < 200


class TaughtAgain(BaseException):
    """A step was taken."""


def taught_anew(*_: Any) -> None:
    raise TaughtAgain


def test_photos_that_judge_teach_nothing_and_the_others_once(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[str] = []
    distil = merge.distil

    def spy(network: Any, preprocessing: Any, variables: Any, examples: Any, *rest: Any) -> Any:
        taught.extend(item.path for item in examples.source.items)
        return distil(network, preprocessing, variables, examples, *rest)

    monkeypatch.setattr(merge, "distil", spy)
    store, settings = trained.copy(tmp_path), MergeConfig(train=DistilConfig(epochs=1, steps_per_epoch=2, batch=16))
    found = merging(trained, store, settings, max_loss=-1.0)
    sides = store.read_card("cash@1").data
    assert len(set(taught)) == len(taught) == found.photos == sides["train"]["photos"]

    # Refused, it is asked for again with another demand: what the network was taught is there.
    monkeypatch.setattr(teaching, "step_of", lambda *_: taught_anew)
    again = merging(trained, store, settings)
    assert (found.trunk, again.trunk != "") == ("", True)
    assert [one.quality for one in again.classes] == [one.quality for one in found.classes]
    assert not any((store.runs / "merged").iterdir())

    # Another seed, other heads or other photos are another teaching.
    seeded = MergeConfig(train=settings.train.model_copy(update={"seed": 1}))
    for refs, pool, asked in (
        (CLASSES, trained.source, seeded),
        (CLASSES[1:], trained.source, settings),
        (CLASSES, write_photos(tmp_path / "more", 9, first=900, broken=False), settings),
    ):
        with pytest.raises(TaughtAgain):
            merge_heads([f"{name}@1" for name in refs], pool, store, asked, weights="tiny", max_loss=1.0)


def test_a_head_from_labels_stays_judged_by_the_photos_that_it_held_out(tmp_path: Path) -> None:
    here = ready(tmp_path)
    folder = f"folder:{Path(next(iter(here.photos.values()))).parent.parent}"
    job = config("labels:", data={"test": 0.4}, model={"weights": "tiny", "trunk_through": "top"})
    some = [sha for colour in COLOURS for sha in here.of(colour)[:24]]
    known = gather(here.resolved(some), here.pool, pool_embedder(here.pool, here.store, "pool"), job, here.store)
    assert here.pool.embedding
    publish(make_quick(job, known, spread_of(here.pool), here.pool.embedding, here.store), here.store)
    train_head(config(folder, "cash", "cash", model=ON_TRUNK), here.store)

    found = merge_heads(["weapon", "cash"], folder, here.store, FAST, data=folder, max_loss=1.0)
    old, new = (here.store.read_card(f"weapon@{version}") for version in (1, 2))
    assert new.config["model"]["weights"] == "tiny"
    assert new.data["held_out"] == old.data["held_out"]
    judged = evaluate_head(HeadRef("weapon", 2), folder, here.store, side="test").metrics
    assert judged["positives"] == old.metrics["positives"] == found.classes[0].positives
    assert judged["average_precision"]["value"] == pytest.approx(found.classes[0].quality.new.value, abs=FIGURES)


# What is not accepted


@pytest.fixture(scope="module")
def too_much(merged: Merged) -> float:
    """A loss that one class has, and the two others have not."""
    differences = sorted(one.quality.difference.value for one in merged.classes)
    assert differences[0] < differences[1]
    return -(differences[0] + differences[1]) / 2


def test_nothing_is_published_where_a_class_loses(
    trained: Trained, tmp_path: Path, merged: Merged, too_much: float
) -> None:
    store = trained.copy(tmp_path)
    trunks = {path.name for path in store.trunks.iterdir()}
    found = merging(trained, store, max_loss=too_much)
    assert [one.quality for one in found.classes] == [one.quality for one in merged.classes]
    assert sum(one.accepted for one in found.classes) == 2
    assert (found.trunk, [one.new for one in found.classes]) == ("", [None] * 3)
    assert {path.name for path in store.trunks.iterdir()} == trunks
    assert all(store.versions(name) == (1,) for name in CLASSES)


def test_partly_publishes_those_that_hold(trained: Trained, tmp_path: Path, merged: Merged, too_much: float) -> None:
    store = trained.copy(tmp_path)
    found = merging(trained, store, max_loss=too_much, partly=True)
    assert found.trunk == merged.trunk
    versions = {one.old.name: 2 if one.accepted else 1 for one in found.classes}
    assert sorted(versions.values()) == [1, 2, 2]
    assert [bool(one.new) for one in found.classes] == [one.accepted for one in found.classes]
    make_bundle(store, "prod")
    pins = [pin.ref for pin in read_bundle(store, "prod").pins]
    assert pins == [HeadRef(name, versions[name]) for name in sorted(CLASSES)]
    assert load_scorer("prod", store, (5,)).logits(photos(5)).shape == (5, 3)


# Refusals


@pytest.mark.parametrize(
    ("refs", "options", "message"),
    [
        (["cash"], {}, r"^--classes cash: name at least 2"),
        (["cash", "cash@1"], {}, r"^--classes: cash is named twice"),
        (["cash", "knife"], {}, r"^head knife: no class 'knife'"),
        (["cash", "cup@7"], {}, r"^head cup@7: cup has no version 7"),
        (["cash", "weapon"], {"weights": ""}, r"^--weights: name what .* come from nothing, tiny$"),
        (["cash", "cup"], {"weights": "none"}, r"^weights 'none': "),
        (["cash", "cup"], {"weights": "last"}, r"^--weights last: "),
        (["cash", "cup"], {"size": 8}, r"^merging cash@1: model\.size: "),
        (["cash", "cup"], {"data": "folder:none"}, r"^folder 'none': no such folder"),
        (["cash", "cup"], {"pool": "folder:none"}, r"^folder 'none': no such folder"),
    ],
)
def test_refusals(trained: Trained, refs: list[str], options: dict[str, Any], message: str) -> None:
    given = {"weights": "tiny", **options}
    pool = given.pop("pool", trained.source)
    with pytest.raises(InputError, match=message) as caught:
        merge_heads(refs, pool, trained.store, FAST, **given)
    assert "\n" not in str(caught.value)


def test_a_pool_of_which_nothing_is_left(trained: Trained, tmp_path: Path) -> None:
    few = write_photos(tmp_path, 2, first=700, broken=False)
    with pytest.raises(InputError, match=r"^--pool .*: . photos are left of 6 .* give at least 16$"):
        merge_heads(["cash", "cup"], few, trained.store, FAST)


def test_a_network_of_several_classes(trained: Trained, tmp_path: Path) -> None:
    store = trained.copy(tmp_path)
    arch = replace(store.read_card("weapon").arch, outputs=3)
    card = replace(store.read_card("weapon"), name="all", arch=arch, trunk=None, classes=("gun", "money"))
    store.publish_head(card, {name: np.asarray(array) for name, array in init(Network(arch), 0).items()})
    with pytest.raises(InputError, match=r"^head all@1: one network of several classes already"):
        merge_heads(["cash", "all"], trained.source, store, FAST)


def test_heads_of_two_sizes_want_one_named(trained: Trained, tmp_path: Path) -> None:
    store = trained.copy(tmp_path)
    head = store.read_head("weapon")
    large = replace(head.card.preprocessing, size=48)
    store.publish_head(replace(head.card, preprocessing=large), head.variables)
    with pytest.raises(InputError, match=r"^--size: name the merged network's; its heads take 32, 48 pixels$"):
        merge_heads(["cash", "weapon"], trained.source, store, FAST, weights="tiny")
    found = merge_heads(["cash", "weapon"], trained.source, store, FAST, weights="tiny", size=40, max_loss=1.0)
    assert store.read_card("weapon").preprocessing.size == found.size == 40
