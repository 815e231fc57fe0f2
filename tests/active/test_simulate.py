from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prohibit_jax.active.mixture import RANDOM
from prohibit_jax.active.simulate import FEW, Curve, Protocol, World, run
from prohibit_jax.types import InputError

MIXED = "positives=0.4,uncertainty=0.4,random=0.2"


def world(n: int = 300, positives: int = 30, seed: int = 0, f: int = 8) -> World:
    """Photos of a class that is easily told apart, but for a sixth of the others that look like it."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) < positives).astype(np.int8)
    features = rng.normal(size=(n, f))
    features[:, 0] += 4 * labels
    features[n - n // 6 :, 0] += 3
    features[n - n // 6 :, 1] += 4
    return World(features.astype(np.float32), labels, rng.integers(0, 2**63, n).astype(np.uint64), np.arange(n))


@pytest.mark.parametrize("start", ["known", "few"])
@pytest.mark.parametrize("strategy", [RANDOM, "uncertainty", MIXED])
def test_a_run_asks_within_its_budget(start: str, strategy: str) -> None:
    curve = run(world(), strategy, Protocol(10, 60, start), 0)  # type: ignore[arg-type]
    assert list(curve.labels) == sorted(set(curve.labels))
    assert curve.labels[0] == 10
    assert list(curve.positives) == sorted(curve.positives)
    assert all(0 <= value <= 1 for value in curve.average_precision + curve.precision_at_recall + curve.all)
    assert curve.labels[-1] == (curve.everything if strategy == RANDOM else 60)
    if start == "known":
        assert set(curve.positives) == {0}, "there are none left to be found"


def test_random_asking_ends_with_all_labels() -> None:
    curve = run(world(), RANDOM, Protocol(10, 60, "few"), 1)
    train_positives = curve.positives[-1] + FEW
    assert curve.labels[-1] == curve.everything
    assert curve.average_precision[-1] == curve.all[0]
    assert 0 < train_positives <= 30


def test_a_run_is_the_same_every_time_and_seeds_differ() -> None:
    one, same, other = (run(world(), MIXED, Protocol(10, 40), seed) for seed in (3, 3, 4))
    assert one == same
    assert one != other


def test_choosing_finds_more_positives_than_chance() -> None:
    chosen, chance = (run(world(600, 40), name, Protocol(10, 60, "few"), 0) for name in ("positives", RANDOM))
    by_chance = np.interp(60, chance.labels, chance.positives)
    assert chosen.positives[-1] > 2 * by_chance


def test_wrong_answers_cost_quality_and_leave_the_test_alone() -> None:
    clean, noisy = (run(world(600, 60), RANDOM, Protocol(20, 100, "few", noise), 0) for noise in (0.0, 0.45))
    assert noisy.average_precision[-1] < clean.average_precision[-1]
    assert noisy.all == clean.all, "what all right labels are worth"
    assert noisy.positives == clean.positives, "they are counted by their true labels"


@settings(max_examples=10)
@given(st.integers(0, 2**31), st.sampled_from([RANDOM, MIXED]), st.floats(0, 0.5))
def test_a_curve_survives_its_file(seed: int, strategy: str, noise: float) -> None:
    curve = run(world(80, 20), strategy, Protocol(10, 30, "known", noise), seed)
    assert Curve.from_json(curve.to_json(), "a file") == curve


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"strategy": 3}'])
def test_a_damaged_curve_is_refused_by_name(text: bytes) -> None:
    with pytest.raises(InputError, match="a file"):
        Curve.from_json(text, "a file")


def test_near_identical_photos_stay_on_one_side() -> None:
    """Were they not, a copy of each photo would be held back, and two labels would be as good as all."""
    base = world(60, 20)
    twice = World(*(np.repeat(array, 2, axis=0) for array in (base.features, base.labels, base.phash, base.clusters)))
    curve = run(twice, RANDOM, Protocol(4, 20), 0)
    train = curve.everything + 2 * round(20 * 0.6)
    assert abs(train - 72) <= 12
    assert curve.everything % 2 == 0


def test_too_few_photos_are_refused() -> None:
    with pytest.raises(InputError, match="too few photos of the class"):
        run(world(50, 1), RANDOM, Protocol(), 0)
