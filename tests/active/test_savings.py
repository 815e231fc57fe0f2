from __future__ import annotations

import json

import pytest

from prohibit_jax.active.mixture import RANDOM
from prohibit_jax.active.savings import summarise
from prohibit_jax.active.simulate import Curve


def curve(
    strategy: str, seed: int, points: dict[int, float], positives: tuple[int, ...] = (), full: float = 0.9
) -> Curve:
    precision = tuple(points.values())
    found = positives or (0,) * len(points)
    return Curve(strategy, seed, tuple(points), found, precision, precision, (full, 0.8), 1000)


def test_labels_are_read_off_between_the_rounds() -> None:
    slow = curve(RANDOM, 0, {10: 0.5, 100: 0.7, 200: 0.87, 400: 0.91, 1000: 0.9})
    quick = curve("uncertainty", 0, {10: 0.5, 20: 0.85, 30: 0.89, 40: 0.895})
    found = summarise([slow, quick])
    assert found["all"] == {"labels": 1000, "average_precision": 0.9, "precision_at_recall": 0.8}
    figures = found["strategies"]["uncertainty"]
    assert figures["labels_to_full"] == {"value": 30.0, "low": 30.0, "high": 30.0}
    assert figures["ratio_to_random"]["value"] == pytest.approx(300 / 30)
    assert figures["ratio_at_equal"]["value"] == pytest.approx(325 / 40, abs=0.01)
    assert [point["labels"] for point in figures["curve"]] == [10, 20, 30, 40]
    assert found["strategies"][RANDOM]["ratio_to_random"]["value"] == 1
    json.dumps(found, allow_nan=False)


def test_what_is_never_reached_is_none() -> None:
    found = summarise([curve(RANDOM, 0, {10: 0.5, 1000: 0.9}), curve("positives", 0, {10: 0.5, 20: 0.6})])
    figures = found["strategies"]["positives"]
    assert figures["labels_to_full"] is None
    assert figures["ratio_to_random"] is None
    assert figures["ratio_at_equal"]["value"] > 1


def test_intervals_come_from_the_seeds_and_an_end_may_be_never() -> None:
    slow = [curve(RANDOM, seed, {10: 0.5, 1000: 0.9}) for seed in range(4)]
    mixed = [curve("direct", seed, {10: 0.5, 20: 0.7 + 0.1 * seed}) for seed in range(4)]
    full = summarise([*slow, *mixed])["strategies"]["direct"]
    assert full["labels_to_full"] is None, "the mean curve ends at 0.85"
    point = full["curve"][-1]
    assert 0.7 <= point["low"] < point["average_precision"] == 0.85 < point["high"] <= 1.0
    better = summarise([*slow, *(curve("direct", seed, {10: 0.5, 20: 0.8 + 0.1 * seed}) for seed in range(4))])
    ends = better["strategies"]["direct"]["labels_to_full"]
    assert ends["low"] <= ends["value"]
    assert ends["high"] is None


def test_a_run_that_ended_keeps_its_last_value() -> None:
    runs = [curve("positives", 0, {10: 0.4, 20: 0.6}), curve("positives", 1, {10: 0.4, 20: 0.6, 30: 0.8, 40: 1.0})]
    points = summarise(runs)["strategies"]["positives"]["curve"]
    assert [point["average_precision"] for point in points] == pytest.approx([0.4, 0.6, 0.7, 0.8])


def test_positives_in_three_rounds_are_beside_chance() -> None:
    random = curve(RANDOM, 0, {10: 0.5, 1000: 0.9}, (0, 50))
    found = curve("positives", 0, {10: 0.5, 20: 0.6, 30: 0.7, 40: 0.7, 50: 0.7}, (0, 9, 15, 18, 18))
    figures = summarise([random, found])["strategies"]["positives"]
    assert figures["positives_to_random"]["value"] == pytest.approx(18 / (0.05 * 30))
