from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.pace import OUTLIER, Duration, Pace


def paced(seconds: dict[int, float], workers: int = 2, decode: float = 0.0) -> Pace:
    pace = Pace(tuple(seconds), workers)
    for size, took in seconds.items():
        pace.rehearsed(size, [took])
    pace.decode.observe(decode)
    return pace


def test_a_duration_follows_what_is_measured() -> None:
    duration = Duration()
    for _ in range(3):
        duration.observe(1.0)
    assert (duration.mean, duration.deviation, duration.promised) == (1.0, 0.0, 1.0)
    for _ in range(200):
        duration.observe(2.0)
    assert duration.mean == pytest.approx(2.0, rel=1e-3)
    assert 2.0 <= duration.promised < 2.1


def test_one_outlier_moves_a_duration_by_little() -> None:
    duration = Duration()
    for _ in range(50):
        duration.observe(0.002)
    duration.observe(60.0)
    assert duration.mean < 0.002 * (1 + OUTLIER / 10)
    assert duration.promised < 0.005


def test_it_takes_the_batch_that_gets_most_done_a_second() -> None:
    linear = paced({1: 0.01, 5: 0.05, 32: 0.32})  # a processor: padding is paid for
    flat = paced({1: 0.01, 5: 0.01, 32: 0.01})  # an accelerator: it is not
    assert [linear.choose(n, 1.0) for n in (1, 4, 6, 40)] == [1, 1, 1, 1]
    assert [flat.choose(n, 1.0) for n in (1, 4, 6, 40)] == [1, 4, 6, 32]
    between = paced({1: 0.01, 5: 0.02, 32: 0.1})
    assert [between.choose(n, 1.0) for n in (1, 3, 6, 31, 40)] == [1, 3, 5, 31, 32]


def test_a_batch_ends_before_the_first_deadline_where_one_can() -> None:
    pace = paced({1: 0.01, 5: 0.02, 32: 0.1})
    assert pace.choose(40, 0.05) == 5
    assert pace.choose(40, 0.015) == 1
    assert pace.choose(40, 0.001) == 1


def test_what_a_request_takes_alone() -> None:
    pace = paced({1: 0.01, 5: 0.02, 32: 0.1}, workers=2, decode=0.004)
    assert pace.decoding(5) == pytest.approx(0.012)
    assert pace.drain(37) == pytest.approx(0.12)
    assert pace.alone(5) == pytest.approx(0.032)


def test_what_goes_on_beside_slows_all_sizes_alike() -> None:
    pace = paced({1: 0.01, 5: 0.02, 32: 0.1})
    assert pace.batch(32) == pytest.approx(0.1)
    for _ in range(100):
        pace.observe(4, 0.06)  # only one size is used, at a third of its pace
    assert pace.batch(32) == pytest.approx(0.3, rel=1e-3)
    assert pace.drain(37) == pytest.approx(0.36, rel=1e-3)
    assert [pace.choose(n, 1.0) for n in (1, 3, 6, 31, 40)] == [1, 3, 5, 31, 32]


def test_a_slow_first_run_is_not_the_pace() -> None:
    pace = Pace((1,), 1)
    pace.rehearsed(1, [9.0, 0.01, 0.012, 0.011, 0.01])
    assert pace.batch(1) == pytest.approx(0.011)


@given(st.integers(0, 300), st.lists(st.floats(1e-4, 1.0), min_size=3, max_size=3))
def test_more_photos_never_take_less_long(photos: int, seconds: list[float]) -> None:
    pace = paced(dict(zip((1, 5, 32), sorted(seconds), strict=True)))
    assert 0 <= pace.drain(photos) <= pace.drain(photos + 32)
