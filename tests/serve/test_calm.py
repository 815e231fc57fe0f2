from __future__ import annotations

import pytest

from serve import calm
from serve.calm import REFUSING, Calm


def test_the_more_are_refused_the_longer_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(calm, "monotonic", lambda: now)
    one = Calm(0.1)
    assert one.refused() == pytest.approx(REFUSING)
    for _ in range(50):  # a hundred a second
        now += 0.01
        last = one.refused()
    assert REFUSING * 30 < last < REFUSING * 100
    for _ in range(1000):
        last = one.refused()
    assert last == 0.1
    now += 20
    assert one.refused() == pytest.approx(REFUSING, rel=1e-3)
