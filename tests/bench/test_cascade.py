"""What the experiment with a gate counts, and what it says a bundle behind one costs."""

from __future__ import annotations

import numpy as np
import pytest

from bench.cascade import GATES, Gate, Photos, cost, gate_threshold, photos_needed, upper_bound

MS = {"whole head": 10.0, "trunk": 10.0, "head on the trunk": 0.1, "s3 at 160 px": 4.0}


def test_a_gate_threshold_gives_up_no_more_than_it_may() -> None:
    logits = np.random.default_rng(0).permutation(200).astype(np.float32)
    for given_up, lost in ((0.01, 2), (0.0149, 2), (0.005, 1), (0.004, 0)):
        assert (logits < gate_threshold(logits, given_up)).sum() == lost
    assert gate_threshold(logits[:1], 0.01) == logits[0]


def test_the_bound_is_the_exact_one_and_the_rule_of_three_is_near() -> None:
    assert upper_bound(0, 20) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert upper_bound(0, 100) == pytest.approx(3 / 100, rel=0.02)
    assert upper_bound(1, 100) > upper_bound(0, 100)
    assert upper_bound(5, 5) == upper_bound(0, 0) == 1.0


def test_as_many_photos_are_needed_as_bring_the_bound_to_the_rate() -> None:
    needed = photos_needed(0.01)
    assert needed == 299
    assert upper_bound(0, needed) <= 0.01 < upper_bound(0, needed - 1)


def test_a_gate_saves_what_it_clears_and_costs_itself() -> None:
    ms = MS | {"top at 32 px": 1.0, "after s3 at 160 px": 6.0}
    assert cost(ms, None, 0.0, "whole", 20) == 200.0
    assert cost(ms, None, 0.0, "trunk", 20) == pytest.approx(12.0)
    assert cost(ms, Gate(32, "top"), 0.75, "whole", 20) == pytest.approx(1 + 50)
    assert cost(ms, Gate(32, "top"), 0.75, "trunk", 20) == pytest.approx(1 + 3)
    # Whole heads share nothing with the gate, heads on a trunk go on from it.
    assert cost(ms, Gate(160, "s3"), 0.5, "whole", 20) == pytest.approx(4 + 100)
    assert cost(ms, Gate(160, "s3"), 0.5, "trunk", 20) == pytest.approx(4 + 4)


def test_only_gates_at_the_heads_size_are_parts_of_their_trunk() -> None:
    for gate in GATES:
        assert bool(gate.rest) == (gate.size == 160)
    assert Gate(160, "s4").stages + Gate(160, "s4").rest == Gate(160, "top").stages


def test_photos_of_a_group_are_on_one_side() -> None:
    photos = Photos({}, np.array(["a"] * 6), np.array([0, 1, 0, 3, 1, 5]))
    places = photos.places(seed=1)
    assert places[0] == places[2]
    assert places[1] == places[4]
    assert len(set(places.tolist())) == 4
    assert (places == photos.places(seed=1)).all()
    assert (places != photos.places(seed=2)).any()
