"""Waiting for what must come about, on a machine of any speed.

A test waits for an event. A limit only ends what hangs: it is generous, and one factor, TIMEOUT_SCALE in the
environment, makes all of them longer on a slow machine. What must be short to be tested (a time limit, a budget) is
driven by a `Clock`, or by work that cannot finish, never by a race between two durations.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCALE = float(os.environ.get("TIMEOUT_SCALE", "1"))

TIMEOUT = 300 * SCALE
"""Seconds after which one step of a test hangs: an answer, a process, an event."""

TEST_TIMEOUT = 1200 * SCALE
"""Seconds after which a whole test hangs, where it says nothing else."""


def until(condition: Callable[[], Any], pause: float = 0.01) -> None:
    """Returns once the condition is true; where it never becomes so, the test fails."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(pause)


async def until_async(condition: Callable[[], Any], pause: float = 0.001) -> None:
    """Returns once the condition is true, while the event loop goes on; where it never becomes so, the test fails."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "did not come about"
        await asyncio.sleep(pause)


def runs(pid: int) -> bool:
    """Whether a process runs. One that has ended may stay in the table until its parent asks, if that ever does."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Clock:
    """Stands for `time.monotonic`: time passes when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.now += seconds
