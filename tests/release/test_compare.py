"""Two sides on the same photos: what is measured is what judging each alone finds, and what changed did change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prohibit_jax.bundle.store import Store
from prohibit_jax.evaluate.metrics import Interval
from prohibit_jax.evaluate.thresholds import NEVER
from prohibit_jax.heads.judge import evaluate_head
from prohibit_jax.release import sides
from prohibit_jax.release.changed import bands_of
from prohibit_jax.release.compare import compare, compare_heads
from prohibit_jax.release.sides import contender
from prohibit_jax.types import HeadRef, InputError, Thresholds
from tests.heads.ready import ready
from tests.heads.small import COUNT, Trained, write_photos
from tests.heads.test_quick import made, some
from tests.release.versions import release, with_versions
from tests.tolerances import FIGURES

OLD, NEW = HeadRef("weapon", 1), HeadRef("weapon", 2)


@pytest.fixture(scope="module")
def store(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return with_versions(trained.copy(tmp_path_factory.mktemp("versions")))


@pytest.fixture
def own(trained: Trained, tmp_path: Path) -> Store:
    """A store that the test may change."""
    return trained.copy(tmp_path)


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "ROUNDS", 1)


# Two heads


def test_each_head_has_the_figures_that_it_has_alone(trained: Trained, store: Store) -> None:
    found = compare_heads(OLD, NEW, trained.source, store)
    alone = [evaluate_head(ref, trained.source, store, side="test").metrics for ref in (OLD, NEW)]
    assert (found.name, found.old, found.new, found.matched) == ("weapon", OLD, NEW, False)
    for interval, metrics in zip((found.old_ap, found.new_ap), alone, strict=True):
        expected = metrics["average_precision"]
        assert (interval.value, interval.low, interval.high) == pytest.approx(tuple(expected.values()), abs=FIGURES)
    assert found.difference.value == pytest.approx(found.new_ap.value - found.old_ap.value)
    assert (found.positives, found.negatives) == (alone[1]["positives"], alone[1]["negatives"])
    assert found.calibration_error == pytest.approx(alone[1]["calibration_error"], abs=FIGURES)
    for reviews, metrics in zip((found.reviews_per_day_old, found.reviews_per_day_new), alone, strict=True):
        expected = metrics["bands"]["review"]["per_day"]["value"]  # None where no photo lies so high
        assert reviews == (expected if expected is None else pytest.approx(expected, rel=0.01))


def test_a_head_and_itself(trained: Trained, store: Store) -> None:
    found = compare_heads(OLD, OLD, trained.source, store)
    assert found.difference == Interval(0.0, 0.0, 0.0)
    assert (found.verdict, found.changed) == ("unchanged", ())
    assert found.reviews_per_day_old == found.reviews_per_day_new


def test_the_same_weights_again_show_no_difference(trained: Trained, own: Store) -> None:
    found = compare_heads(OLD, release(own, "weapon@1"), trained.source, own)
    assert found.difference == Interval(0.0, 0.0, 0.0)
    assert found.verdict == "no difference shown"


def test_photos_change_sides_with_the_thresholds_alone(trained: Trained, own: Store) -> None:
    strict = release(own, "weapon@1", thresholds=Thresholds(0.0, 1.5))  # everything is looked at
    lax = release(own, "weapon@1", thresholds=Thresholds(1.5, 1.5))  # nothing is
    found = compare_heads(strict, lax, trained.source, own)
    assert len(found.changed) == found.positives + found.negatives
    assert {(one.old_band, one.new_band) for one in found.changed} == {("review", "pass")}
    assert all(one.old == one.new for one in found.changed)
    assert [one.wrong for one in found.changed] == [True] * found.positives + [False] * found.negatives
    assert {Path(one.path).parent.name for one in found.changed if one.label} == {"gun"}
    assert found.reviews_per_day_old == pytest.approx(1_000_000)
    assert found.reviews_per_day_new is None
    back = compare_heads(lax, strict, trained.source, own)
    assert [one.wrong for one in back.changed] == [True] * found.negatives + [False] * found.positives


def test_all_photos_with_a_warning(trained: Trained, store: Store) -> None:
    warnings: list[str] = []
    found = compare_heads(OLD, NEW, trained.source, store, side="all", warn=warnings.append)
    assert (found.positives, found.negatives) == (COUNT, 2 * COUNT)
    assert warnings[-1].startswith("trained on most of these photos: weapon@1, weapon@2; --side test")


def test_only_photos_that_both_trainings_held_out(trained: Trained, own: Store) -> None:
    """The old head kept half of the photos apart, the new one a fifth: the hash rule nests them."""
    head = own.read_head("weapon@1")
    data = head.card.config["data"] | {"test": 0.5}
    wide = own.publish_head(replace(head.card, config={**head.card.config, "data": data}), head.variables)
    narrow = evaluate_head(OLD, trained.source, own, side="test").metrics
    for pair in ((wide, OLD), (OLD, wide)):
        found = compare_heads(*pair, trained.source, own)
        assert (found.positives, found.negatives) == (narrow["positives"], narrow["negatives"])


def test_heads_from_labels_are_compared_on_what_they_held_out(tmp_path: Path) -> None:
    here = ready(tmp_path)
    _, head = made(here, here.resolved(some(here, 24)))
    folder = Path(next(iter(here.photos.values()))).parent.parent
    found = compare_heads(HeadRef("weapon", 1), HeadRef("weapon", 1), f"folder:{folder}", here.store)
    assert (found.positives, found.negatives) == (head.card.metrics["positives"], head.card.metrics["negatives"])


# Bundles


def test_two_bundles(trained: Trained, store: Store, tmp_path: Path) -> None:
    stale = tmp_path / "sheets" / "changed_cash.png"
    stale.parent.mkdir()
    stale.touch()
    found = compare("prod", "next", trained.source, store, sheets=tmp_path / "sheets")
    cash, weapon = found.classes
    assert (cash.name, cash.verdict, cash.difference) == ("cash", "unchanged", Interval(0.0, 0.0, 0.0))
    assert cash.old_ap.value == pytest.approx(
        trained.heads["cash"].card.metrics["average_precision"]["value"], abs=1e-3
    )
    alone = compare_heads(OLD, NEW, trained.source, store)
    assert weapon.new_ap.value == pytest.approx(alone.new_ap.value, abs=FIGURES)
    assert [one.row for one in weapon.changed] == [one.row for one in alone.changed]
    assert (found.only_old, found.only_new) == (("cup",), ())
    assert found.photos == weapon.positives + weapon.negatives == cash.positives + cash.negatives
    assert {path.name for path in (tmp_path / "sheets").glob("*")} == {"changed_weapon.png"}
    assert weapon.changed


def test_the_json_shape(trained: Trained, store: Store) -> None:
    found = json.loads(json.dumps(compare("prod", "next", trained.source, store, batch=2).to_dict(), allow_nan=False))
    assert set(found) == {
        *("old", "new", "photos", "batch", "classes", "reviews_per_day", "only_old", "only_new", "left_out")
    }
    assert (found["old"]["name"], found["new"]["name"], found["batch"]) == ("prod", "next", 2)
    assert min(found["old"]["latency_ms"], found["new"]["latency_ms"]) > 0
    cash, weapon = found["classes"]
    assert (weapon["class"], weapon["old"], weapon["new"]) == ("weapon", "weapon@1", "weapon@2")
    assert set(weapon["difference"]) == {"value", "low", "high"}
    assert set(weapon["reviews_per_day"]) == set(cash["reviews_per_day"]) == set(found["reviews_per_day"])
    assert set(weapon["changed"][0]) == {*("row", "path", "label", "old", "new", "old_band", "new_band")}


def test_a_trunk_counts_once(store: Store) -> None:
    cash, cup, both = (contender(text, store) for text in ("cash@1", "cup@1", "prod"))
    weapon = contender("weapon@1", store)
    trunk = sum(array.nbytes for part in cash.trunks.values() for array in part.values()) / 1e6
    assert trunk > 0
    assert both.megabytes == pytest.approx(weapon.megabytes + cash.megabytes + cup.megabytes - trunk)


def test_a_class_that_these_photos_lack_is_left_out(trained: Trained, store: Store, tmp_path: Path) -> None:
    few = Path(write_photos(tmp_path, 5, first=500, broken=False).removeprefix("folder:"))
    for photo in (few / "cash").iterdir():
        photo.unlink()
    warnings: list[str] = []
    found = compare("prod", "next", f"folder:{few}", store, side="all", warn=warnings.append)
    assert [one.name for one in found.classes] == ["weapon"]
    assert found.left_out is not None
    assert set(found.left_out) == {"cash"}
    assert any(text.startswith("cash is not compared: class.positive: no photo has") for text in warnings)


# A network of several classes


@pytest.mark.parametrize("turned", [False, True])
def test_a_bundle_and_a_network_of_several_classes(trained: Trained, store: Store, turned: bool) -> None:
    names = ("all@1", "prod") if turned else ("prod", "all@1")
    found = compare(*names, trained.source, store)
    assert {one.name for one in found.classes} == {"weapon", "cash"}
    assert (found.only_new if turned else found.only_old) == ("cup",)
    weapon = next(one for one in found.classes if one.name == "weapon")
    judged = evaluate_head(HeadRef("all", 1), trained.source, store, side="test").metrics["classes"]["weapon"]
    interval = weapon.old_ap if turned else weapon.new_ap
    assert interval.value == pytest.approx(judged["average_precision"]["value"], abs=FIGURES)
    assert (weapon.positives, weapon.matched) == (judged["positives"], True)
    came = sum(one.old_band == "pass" for one in weapon.changed)
    assert 2 * came == len(weapon.changed)  # as many flagged before as after


def test_two_networks_of_several_classes(trained: Trained, store: Store) -> None:
    found = compare_heads(HeadRef("all", 1), HeadRef("all", 1), trained.source, store)
    assert (found.name, found.verdict, found.matched, found.changed) == ("weapon", "unchanged", True, ())


def test_matched_thresholds_flag_equally_many() -> None:
    rng = np.random.default_rng(0)
    labels, one, other = (np.arange(50) < 9).astype(np.int64), rng.random(50).astype(np.float32), rng.random(50)
    own = Thresholds(float(np.sort(one)[-7]), 0.99)
    for order in (1, -1):
        chosen = bands_of(labels, (one, other)[::order], (own, None)[::order], 0.9)
        flagged = [(p >= t.review).sum() for p, t in zip((one, other)[::order], chosen, strict=True)]
        assert flagged == [7, 7]
    assert bands_of(labels, (one, other), (own, own), 0.9) == [own, own]
    assert bands_of(labels, (one, other), (Thresholds(1.5, 1.5), None), 0.9)[1] == Thresholds(NEVER, NEVER)
    both = bands_of(labels, (one, other), (None, None), 0.9)
    assert (one >= both[0].review).sum() == (other >= both[1].review).sum() > 0


# Refusals


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weapon@1", "weapon@9", r"^head weapon@9: weapon has no version 9 in .* \(it has 1, 2\)$"),
        ("weapon@1", "knife@1", r"^head knife@1: no class 'knife'"),
        ("prod", "prid", r"prid\.json: no such bundle \(there is next, prod\)"),
        ("prod", "weapon", r"^weapon: no such bundle; a head is written with its version, as in weapon@2$"),
        ("weapon@1", "cash@1", r"^weapon@1 and cash@1: no class in common \(weapon@1 has weapon; cash@1 has cash\)$"),
        ("cup@1", "all@1", r"^cup@1 and all@1: no class in common"),
    ],
)
def test_refusals(trained: Trained, store: Store, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(old, new, trained.source, store)


def test_photos_that_compare_nothing_are_refused(trained: Trained, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^side 'train': use test or all$"):
        compare_heads(OLD, NEW, trained.source, store, side="train")
    none = write_photos(tmp_path, 1, first=700, broken=False)
    with pytest.raises(InputError, match=r"no usable (positive|negative) photo of weapon is on the test side of both"):
        compare_heads(OLD, NEW, none, store)
