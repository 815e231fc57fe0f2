"""Each gate passes what it should and stops what it should, with the figures that it went by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prohibit_jax.bundle.store import Head
from prohibit_jax.config import ReleaseConfig
from prohibit_jax.evaluate.metrics import Interval
from prohibit_jax.heads.judge import Judged
from prohibit_jax.plan.budget import Verdict
from prohibit_jax.release import gates
from prohibit_jax.release.result import ClassComparison
from prohibit_jax.score.scorer import Scorer, load_scorer
from prohibit_jax.types import HeadRef, InputError
from tests.bundle.twin import card
from tests.release.shop import Shop, open_shop

WEAPON = HeadRef("weapon", 1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return open_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def serving(shop: Shop) -> Scorer:
    return load_scorer("prod", shop.store, (8,), spare=1)


@pytest.fixture
def head(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Head:
    """The new version; its class has no config file."""
    monkeypatch.chdir(tmp_path)
    return shop.store.read_head("weapon@2")


def compared(low: float, error: float = 0.01) -> ClassComparison:
    """A comparison whose difference has this lower end."""
    ap, difference = Interval(0.9, 0.8, 0.95), Interval(low + 0.01, low, low + 0.02)
    return ClassComparison("weapon", WEAPON, HeadRef("weapon", 2), ap, ap, difference, 9, 90, error, 1.0, 1.0, ())


# What is demanded


def test_a_class_without_a_file_is_held_to_its_cards_config(head: Head) -> None:
    assert gates.demands(head.card) == ReleaseConfig()
    strict = replace(head.card, config={**head.card.config, "release": {"calibration_error": 0.01}})
    assert gates.demands(strict) == ReleaseConfig(calibration_error=0.01)
    assert gates.demands(card()) == ReleaseConfig()  # trained before there were gates


def test_the_file_of_the_class_has_the_word(head: Head, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    file = tmp_path / "configs" / "weapon.toml"
    file.write_text("[release]\naverage_precision_loss = 0.1\n")
    strict = replace(head.card, config={**head.card.config, "release": {"calibration_error": 0.01}})
    assert gates.demands(strict) == ReleaseConfig(average_precision_loss=0.1)
    file.write_text("[release]\naverage_precision = 0.1\n")
    with pytest.raises(InputError, match=r"weapon.toml: release.average_precision: unknown key"):
        gates.demands(head.card)


# Quality and calibration


@pytest.mark.parametrize(("low", "passed"), [(-0.02, True), (-0.0201, False), (0.3, True), (-0.3, False)])
def test_quality_is_the_lower_end_of_the_paired_interval(
    shop: Shop, head: Head, monkeypatch: pytest.MonkeyPatch, low: float, passed: bool
) -> None:
    asked: list[Any] = []

    def compare(*arguments: Any, **options: Any) -> ClassComparison:
        asked.append((*arguments[:3], options.get("side", "test")))
        return compared(low)

    monkeypatch.setattr(gates, "compare_heads", compare)
    quality, calibration = gates.judge(WEAPON, head, shop.source, shop.store)
    assert asked == [(WEAPON, head.ref, shop.source, "test")]
    assert (quality.gate, quality.passed, calibration.passed) == ("quality", passed, True)
    assert quality.figures["difference"]["low"] == low
    assert (quality.figures["positives"], quality.figures["negatives"]) == (9, 90)
    assert f"{low:+.3f}" in quality.found
    assert quality.demanded == "lower end at least -0.02"


def test_a_few_positives_show_nothing(shop: Shop, head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "compare_heads", lambda *_, **__: replace(compared(0.0), positives=4))
    quality, _ = gates.judge(WEAPON, head, shop.source, shop.store)
    assert not quality.passed
    assert "only 4 photos of the class to judge by, 5 are demanded" in quality.found


@pytest.mark.parametrize(("error", "passed"), [(0.05, True), (0.051, False)])
def test_calibration_is_the_new_versions(
    shop: Shop, head: Head, monkeypatch: pytest.MonkeyPatch, error: float, passed: bool
) -> None:
    monkeypatch.setattr(gates, "compare_heads", lambda *_, **__: compared(0.0, error))
    quality, calibration = gates.judge(WEAPON, head, shop.source, shop.store)
    assert (calibration.gate, calibration.passed, quality.passed) == ("calibration", passed, True)
    assert calibration.figures == {"calibration_error": error}


@pytest.mark.parametrize(("error", "passed"), [(0.05, True), (0.051, False)])
def test_a_new_class_has_nothing_to_be_worse_than(
    shop: Shop, head: Head, monkeypatch: pytest.MonkeyPatch, error: float, passed: bool
) -> None:
    metrics = {"average_precision": {"value": 0.1, "low": 0.0, "high": 0.2}, "calibration_error": error}
    monkeypatch.setattr(gates, "evaluate_head", lambda ref, *_, **__: Judged(ref, metrics))
    quality, calibration = gates.judge(None, head, shop.source, shop.store)
    assert (quality.passed, calibration.passed) == (True, passed)
    assert "no version of the class serves" in quality.found


def test_real_heads_are_compared_on_photos_that_both_held_out(shop: Shop, head: Head) -> None:
    quality, calibration = gates.judge(WEAPON, head, shop.source, shop.store)
    assert 0 < quality.figures["positives"] < 12
    assert quality.figures["difference"].keys() == {"value", "low", "high"}
    assert 0 <= calibration.figures["calibration_error"] <= 1


@pytest.mark.parametrize("old", [WEAPON, None])
def test_what_cannot_be_judged_does_not_pass(
    shop: Shop, head: Head, monkeypatch: pytest.MonkeyPatch, old: HeadRef | None
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise InputError("head weapon@2: its training held nothing out")

    for name in ("compare_heads", "evaluate_head"):
        monkeypatch.setattr(gates, name, refuse)
    quality, calibration = gates.judge(old, head, shop.source, shop.store)
    assert (quality.passed, calibration.passed) == (False, False)
    assert quality.found == "not judged: head weapon@2: its training held nothing out"
    assert calibration.figures == {"calibration_error": None}


# Budget and isolation


@pytest.mark.parametrize(("fits", "ms"), [(True, 150.0), (False, 250.0), (True, None)])
def test_the_budget_is_of_the_bundle_as_it_would_be(
    shop: Shop, head: Head, serving: Scorer, monkeypatch: pytest.MonkeyPatch, fits: bool, ms: float | None
) -> None:
    asked: list[Any] = []

    def check(store: object, name: str, cards: tuple[Any, ...], serving: tuple[Any, ...]) -> Verdict:
        assert [f"{card.name}@{card.version}" for card in serving] == ["weapon@1", "cash@1", "blade@1"]
        asked.append((name, [f"{card.name}@{card.version}" for card in cards]))
        return Verdict(ms, 200.0, 5, "cpu", "2026-01-02", fits, "about 150 ms")

    monkeypatch.setattr(gates, "check_budget", check)
    budget, isolation = gates.fit(serving, head, gates.photos_of(head, shop.source, shop.store), shop.store)
    assert asked == [("prod", ["weapon@2", "cash@1", "blade@1"])]
    assert (budget.gate, budget.passed, isolation.passed) == ("budget", fits and ms is not None, True)
    assert (budget.found, budget.demanded, budget.figures["predicted_ms"]) == ("about 150 ms", "at most 200 ms", ms)


def test_a_bundle_without_a_plan_has_no_budget(shop: Shop, head: Head, serving: Scorer) -> None:
    budget, _ = gates.fit(serving, head, gates.photos_of(head, shop.source, shop.store), shop.store)
    assert budget.passed
    assert "no plan of prod" in budget.found


@pytest.mark.parametrize("ref", ["weapon@2", "cup@1"])
def test_the_other_classes_stay_as_they_were_to_the_bit(shop: Shop, head: Head, serving: Scorer, ref: str) -> None:
    new = shop.store.read_head(ref)
    _, isolation = gates.fit(serving, new, gates.photos_of(new, shop.source, shop.store), shop.store)
    others = 3 if ref == "cup@1" else 2
    assert isolation.passed
    assert isolation.figures == {"others": others, "photos": 36, "scores": 36 * others, "differ": 0}


def test_another_class_that_changed_is_seen(
    shop: Shop, head: Head, serving: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = Scorer.replace
    monkeypatch.setattr(Scorer, "replace", lambda self, new: swap(swap(self, new), "cash@2"))
    _, isolation = gates.fit(serving, head, gates.photos_of(head, shop.source, shop.store), shop.store)
    assert not isolation.passed
    assert isolation.figures["differ"] > 0


def test_photos_that_nobody_can_read_prove_nothing(shop: Shop, head: Head, serving: Scorer, tmp_path: Path) -> None:
    for label in ("gun", "cash"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        (tmp_path / "photos" / label / "broken.png").write_bytes(b"no photo")
    with pytest.raises(InputError, match="none of 2 photos can be read"):
        gates.fit(serving, head, gates.photos_of(head, f"folder:{tmp_path / 'photos'}", shop.store), shop.store)
