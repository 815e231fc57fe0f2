from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from serve.batcher import PATIENCE, Batcher
from serve.edition import Edition
from serve.errors import Refusal
from serve.metrics import Metrics
from serve.pace import Pace
from tests.waiting import TIMEOUT, Clock, until_async


class Device:
    """Stands for a scorer: a photo's score is its first pixel; a batch takes as long as it is told to."""

    sizes = (2,)

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, images: dict[int, np.ndarray]) -> np.ndarray:
        self.batches.append([int(image[0, 0, 0]) for image in images[2]])
        assert self.go.wait(TIMEOUT)
        if 255 in self.batches[-1]:
            raise RuntimeError("the device is on fire")
        return images[2][:, 0, 0, :1].astype(np.float32)


def edition(device: Device) -> Edition:
    return Edition(1, cast("Any", device))


def photo(value: int) -> dict[int, np.ndarray]:
    return {2: np.full((2, 2, 3), value, np.uint8)}


def batcher(
    seconds: float = 1e-6, room: int = 64, sizes: tuple[int, ...] = (1, 4), clock: Clock | None = None
) -> Batcher:
    """Time stands still, unless a test moves the clock."""
    pace = Pace(sizes, workers=2)
    for size in sizes:
        pace.rehearsed(size, [seconds])
    return Batcher(pace, room, 60.0, Metrics(), lambda edition, scores: None, clock or Clock())


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(name, labels) or 0.0


async def waiting(queue: Batcher, photos: int) -> None:
    """Returns once so many photos wait for a device that is busy."""
    await until_async(lambda: len(queue._waiting) == photos)


async def considered(queue: Batcher) -> None:
    """Returns once the device, being free, has taken the first photo or waits for more."""
    await until_async(lambda: queue._count and not queue._arrived.is_set())


def run(queue: Batcher, story: Coroutine[Any, Any, None]) -> None:
    """Runs the story while the queue runs."""

    async def both() -> None:
        running = asyncio.create_task(queue.run())
        try:
            await story
        finally:
            running.cancel()
            queue.stop()

    asyncio.run(both())


def test_photos_that_come_while_the_device_is_busy_make_the_next_batch() -> None:
    device, queue = Device(), batcher()
    served = edition(device)

    async def story() -> None:
        device.go.clear()
        with queue.admit(1, 60) as first:
            tasks = [asyncio.create_task(queue.score(served, photo(0), first))]
            await until_async(lambda: device.batches)
            with queue.admit(5, 60) as others:
                tasks += [asyncio.create_task(queue.score(served, photo(i), others)) for i in range(1, 6)]
                await waiting(queue, 5)
                device.go.set()
                scored = await asyncio.gather(*tasks)
        assert [float(s.scores[0]) for s in scored] == [0, 1, 2, 3, 4, 5]
        assert [len(batch) for batch in device.batches] == [1, 4, 1]
        assert queue.photos == 0

    run(queue, story())


@pytest.mark.parametrize(("seconds", "batches"), [((0.1, 0.1), [[0, 1]]), ((0.1, 0.4), [[0], [1]])])
def test_it_waits_for_what_is_decoded_only_where_that_saves_time(
    seconds: tuple[float, float], batches: list[list[int]]
) -> None:
    device, queue = Device(), batcher()
    for size, took in zip((1, 4), seconds, strict=True):
        queue.pace.rehearsed(size, [took])
    served = edition(device)

    async def story() -> None:
        with queue.admit(2, 60) as admission:  # the second is still being decoded when the first is there
            first = asyncio.create_task(queue.score(served, photo(0), admission))
            await considered(queue)
            await asyncio.gather(first, queue.score(served, photo(1), admission))
        assert device.batches == batches

    run(queue, story())


def test_it_waits_for_nobody_beyond_what_that_saves() -> None:
    device, clock = Device(), Clock()
    queue, served = batcher(seconds=0.05, clock=clock), edition(device)

    async def story() -> None:
        with queue.admit(2, 60) as admission:
            first = asyncio.create_task(queue.score(served, photo(0), admission))
            await considered(queue)
            assert queue._waiting, "for the second, which never comes"
            clock.advance(0.06)
            await first
        assert device.batches == [[0]]

    run(queue, story())


def test_the_most_urgent_goes_first() -> None:
    device, queue = Device(), batcher(sizes=(1,))
    served = edition(device)

    async def story() -> None:
        device.go.clear()
        with queue.admit(1, 60) as first, queue.admit(1, 50) as patient, queue.admit(1, 40) as urgent:
            tasks = [asyncio.create_task(queue.score(served, photo(1), first))]
            await until_async(lambda: device.batches)
            tasks.append(asyncio.create_task(queue.score(served, photo(2), patient)))
            tasks.append(asyncio.create_task(queue.score(served, photo(3), urgent)))
            await waiting(queue, 2)
            device.go.set()
            await asyncio.gather(*tasks)
        assert device.batches == [[1], [3], [2]]

    run(queue, story())


def test_a_batch_is_of_one_edition() -> None:
    old, new, queue = Device("old"), Device("new"), batcher()
    former, latter = edition(old), edition(new)

    async def story() -> None:
        old.go.clear()
        with queue.admit(1, 60) as first:
            tasks = [asyncio.create_task(queue.score(former, photo(0), first))]
            await until_async(lambda: old.batches)
            with queue.admit(4, 60) as others:
                for i, served in enumerate((former, latter, former, latter), 1):
                    tasks.append(asyncio.create_task(queue.score(served, photo(i), others)))
                await waiting(queue, 4)
                old.go.set()
                await asyncio.gather(*tasks)
        assert old.batches == [[0], [1, 3]]
        assert new.batches == [[2, 4]]

    run(queue, story())


def test_more_photos_than_there_is_room_for_are_turned_away() -> None:
    queue = batcher(room=4)
    with queue.admit(3, 60):
        with pytest.raises(Refusal) as caught, queue.admit(2, 60):
            pass
        assert caught.value.status == 503
        assert int(caught.value.headers["Retry-After"]) >= 1
        with queue.admit(1, 60):
            pass
    with queue.admit(4, 60):
        pass
    assert value(queue._metrics.registry, "prohibit_shed_total", cause="queue") == 2


def test_what_could_not_be_answered_in_time_is_turned_away_at_once() -> None:
    queue = batcher(seconds=0.1, sizes=(1,))
    with queue.admit(4, 0.95), queue.admit(4, 0.95):
        with pytest.raises(Refusal, match="too busy"), queue.admit(4, 0.95):
            pass
        with queue.admit(1, 0.5), pytest.raises(Refusal):
            queue.check(0.05)  # urgent, but would make the others late
        queue.check(2.0)
    assert value(queue._metrics.registry, "prohibit_shed_total", cause="budget") == 4 + 1


def test_an_idle_service_takes_what_is_longer_than_the_budget() -> None:
    clock = Clock()
    queue = batcher(seconds=1.0, sizes=(1,), clock=clock)
    with queue.admit(3, 0.2) as admission:
        assert admission.deadline == clock() + PATIENCE * 3.0
        with pytest.raises(Refusal), queue.admit(3, 0.2):
            pass


def test_a_photo_whose_time_is_up_is_not_scored() -> None:
    device, clock = Device(), Clock()
    queue, served = batcher(sizes=(1,), clock=clock), edition(device)

    async def story() -> None:
        device.go.clear()
        with queue.admit(1, 60) as first, queue.admit(1, 0.05) as hasty:
            one = asyncio.create_task(queue.score(served, photo(1), first))
            await until_async(lambda: device.batches)
            two = asyncio.create_task(queue.score(served, photo(2), hasty))
            await waiting(queue, 1)
            clock.advance(0.1)
            device.go.set()
            assert float((await one).scores[0]) == 1
            with pytest.raises(Refusal, match="too busy"):
                await two
        assert device.batches == [[1]]

    run(queue, story())


def test_a_client_that_has_gone_frees_its_place() -> None:
    device, queue = Device(), batcher(sizes=(1,))
    served = edition(device)

    async def story() -> None:
        device.go.clear()
        with queue.admit(1, 60) as first:
            one = asyncio.create_task(queue.score(served, photo(1), first))
            await until_async(lambda: device.batches)
            with queue.admit(1, 60) as second:
                two = asyncio.create_task(queue.score(served, photo(2), second))
                await waiting(queue, 1)
                two.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await two
            assert queue.photos == 1
            device.go.set()
            await one
            with queue.admit(1, 60) as third:
                await queue.score(served, photo(3), third)
        assert device.batches == [[1], [3]]

    run(queue, story())


def test_a_batch_that_fails_is_the_last_thing_that_fails() -> None:
    device, queue = Device(), batcher(sizes=(1,))
    served = edition(device)

    async def story() -> None:
        with queue.admit(2, 60) as admission:
            with pytest.raises(RuntimeError, match="on fire"):
                await queue.score(served, photo(255), admission)
            assert float((await queue.score(served, photo(7), admission)).scores[0]) == 7
        assert not queue.running

    run(queue, story())
