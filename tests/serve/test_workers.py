from __future__ import annotations

import asyncio
import fcntl
import io
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from math import inf
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prohibit_jax.images.decode import ImageError, Limits
from prohibit_jax.images.resize import load, resize
from prohibit_jax.types import InputError
from serve import work
from serve.errors import Refusal
from serve.workers import MORE_TRIES, Workers, processor_seconds
from tests.serve import harm
from tests.serve.conftest import jpeg
from tests.waiting import TIMEOUT, runs, until, until_async

ALLOWANCE = 2**30
MOMENT = 0.1
"""Seconds for work that never ends; honest work may take longer, on a busy machine."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process starts too slowly."""
    monkeypatch.setattr("serve.workers.STARTS", TIMEOUT)


def run(
    story: Any,
    count: int = 2,
    seconds: float = TIMEOUT,
    processor: Callable[[int], float] = processor_seconds,
) -> list[str]:
    """Runs story(workers) with so many workers; what was said of deaths."""
    deaths: list[str] = []

    async def whole() -> None:
        workers = Workers(count, seconds, ALLOWANCE, deaths.append, processor)
        await workers.start()
        try:
            await story(workers)
        finally:
            workers.stop()

    asyncio.run(whole())
    return deaths


def be_patient(workers: Workers) -> None:
    """Lets the work of processes that are yet to start take as long as it does."""
    workers._seconds = TIMEOUT


@contextmanager
def all_busy(tmp_path: Path, workers: Workers) -> Iterator[list[asyncio.Task[None]]]:
    """Work that keeps all workers busy until the block ends."""
    gate = tmp_path / "gate"
    with gate.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield [asyncio.create_task(workers.run(harm.wait_at, str(gate))) for _ in range(workers.count)]


def test_photos_are_prepared_as_everywhere_else() -> None:
    data = jpeg(1, 80)
    pixels = np.asarray(Image.open(io.BytesIO(data)))

    async def story(workers: Workers) -> None:
        (found, seconds), (other, _), (broken, _) = await workers.run(
            work.prepare, [data, pixels, b"nonsense"], (32, 80), Limits()
        )
        assert seconds > 0
        assert all((found[size] == load(data, size)).all() for size in (32, 80))
        assert (other[32] == resize(pixels, 32)).all()
        assert (other[80] == pixels).all()
        assert (type(broken), broken.reason) == (ImageError, "unsupported")
        ((large, _),) = await workers.run(work.prepare, [data], (32,), Limits(pixels=100))
        assert large.reason == "too_many_pixels"

    assert run(story) == []


def test_a_worker_that_dies_is_replaced_and_its_work_done_again(tmp_path: Path) -> None:
    async def story(workers: Workers) -> None:
        assert await workers.run(harm.die_once, str(tmp_path / "died")) == "alive"
        pids = {await workers.run(os.getpid) for _ in range(20)}
        assert len(pids) <= 2

    assert run(story) == ["died"]


def test_what_kills_every_worker_is_refused_and_the_next_is_served() -> None:
    async def story(workers: Workers) -> None:
        with pytest.raises(ImageError, match="ended the process"):
            await workers.run(harm.die)
        assert await workers.run(abs, -1) == 1

    assert run(story) == ["died", "died"]


def test_what_takes_too_long_is_ended() -> None:
    async def story(workers: Workers) -> None:
        with pytest.raises(ImageError, match="took more than"):
            await workers.run(harm.spin)
        be_patient(workers)
        assert await workers.run(abs, -1) == 1

    assert run(story, count=1, seconds=MOMENT, processor=lambda pid: inf) == ["stuck"]


@pytest.mark.parametrize(("what", "seconds", "cause"), [("kill", TIMEOUT, "died"), ("stop", MOMENT, "stuck")])
def test_what_others_do_to_workers_is_not_held_against_the_work(what: str, seconds: float, cause: str) -> None:
    async def story(workers: Workers) -> None:
        with pytest.raises(Refusal, match="do not live") as caught:
            await workers.run(harm.suffer, what)
        assert caught.value.status == 503
        be_patient(workers)
        assert await workers.run(abs, -1) == 1

    assert run(story, count=1, seconds=seconds, processor=lambda pid: 0.0) == [cause] * MORE_TRIES


def test_a_process_that_works_has_had_the_processor() -> None:
    had = processor_seconds(os.getpid())
    until(lambda: processor_seconds(os.getpid()) > had, pause=0.0)
    assert processor_seconds(2**31 - 1) == 0.0, "there is none"


def test_memory_is_bounded_and_given_back() -> None:
    async def story(workers: Workers) -> None:
        with pytest.raises(ImageError, match="more memory"):
            await workers.run(harm.hog, 2 * ALLOWANCE)
        assert await workers.run(harm.hog, 2**20) == 2**20

    assert run(story) == []


def test_where_no_process_can_be_started_the_service_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(24, "too many open files")

    async def story(workers: Workers) -> None:
        for _ in range(2):
            with pytest.raises(ImageError):
                await workers.run(harm.die)
        with monkeypatch.context() as patch:
            patch.setattr("serve.workers.subprocess.Popen", none)
            with pytest.raises(Refusal, match="do not live"):
                await workers.run(abs, -1)
        assert await workers.run(abs, -1) == 1

    assert run(story).count("died") >= 4


def test_an_answer_never_goes_to_the_next_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Connection.recv

    def fail_once(pipe: Connection) -> object:
        monkeypatch.setattr(Connection, "recv", receive)
        raise MemoryError

    async def story(workers: Workers) -> None:
        monkeypatch.setattr(Connection, "recv", fail_once)
        with pytest.raises(MemoryError):
            await workers.run(abs, -7)
        assert [await workers.run(abs, -i) for i in range(8)] == list(range(8))

    run(story)


def test_what_has_not_begun_in_time_is_given_up(tmp_path: Path) -> None:
    async def story(workers: Workers) -> None:
        with all_busy(tmp_path, workers) as busy:
            await until_async(workers._idle.empty)
            with pytest.raises(TimeoutError):
                await workers.run(abs, -1, until=time.monotonic() + 0.01)
        await asyncio.gather(*busy)
        assert await workers.run(abs, -1, until=time.monotonic() + TIMEOUT) == 1

    assert run(story) == []


def test_what_nobody_waits_for_is_not_begun(tmp_path: Path) -> None:
    async def story(workers: Workers) -> None:
        with all_busy(tmp_path, workers) as busy:
            await until_async(workers._idle.empty)
            mkdir = workers.run(os.mkdir, str(tmp_path / "made"), until=time.monotonic() + TIMEOUT)
            left = asyncio.create_task(mkdir)
            await until_async(workers._threads._work_queue.qsize)
            left.cancel()
            await asyncio.wait([left])
        await asyncio.gather(*busy)
        await workers.run(abs, -1)  # by the one process, so that it had come to what was asked before
        assert left.cancelled()
        assert not (tmp_path / "made").exists()

    assert run(story, count=1) == []


def test_workers_have_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROHIBIT_ADMIN_KEYS", "an-admin-key-of-tests")

    async def story(workers: Workers) -> None:
        assert await workers.run(os.getenv, "PROHIBIT_ADMIN_KEYS") is None

    run(story)


def test_exceptions_arrive_whatever_they_are() -> None:
    async def story(workers: Workers) -> None:
        with pytest.raises(RuntimeError, match="LocalError: nobody knows me"):
            await workers.run(harm.unpicklable)
        with pytest.raises(InputError, match="class '!'"):
            await workers.run(harm.refuse)

    assert run(story) == []


def test_workers_end_with_the_service() -> None:
    pids: list[int] = []

    async def story(workers: Workers) -> None:
        tasks: list[Coroutine[Any, Any, int]] = [workers.run(os.getpid) for _ in range(10)]
        pids.extend(await asyncio.gather(*tasks))

    run(story)
    until(lambda: not any(runs(pid) for pid in pids))
