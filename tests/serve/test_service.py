from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from prohibit_jax.bundle.store import Store
from prohibit_jax.images.decode import ImageError
from prohibit_jax.images.resize import load, resize
from serve.errors import Refusal
from serve.service import Service
from serve.settings import ServeConfig, load_serve_config
from tests.serve.conftest import jpeg
from tests.waiting import TIMEOUT, until_async

PATIENT = [f"service.budget_ms={TIMEOUT * 1e3}", f"service.work_seconds={TIMEOUT}"]
SETTINGS = load_serve_config(None, ["service.batch_sizes=[1, 4]", "limits.photos=8", *PATIENT])


def run(store: Path, story: Callable[[Service], Awaitable[None]], settings: ServeConfig = SETTINGS) -> Service:
    """Runs story(service) with a service that has started."""
    service = Service(Store(store), "prod", settings)

    async def whole() -> None:
        await service.start()
        try:
            await story(service)
        finally:
            await service.stop()

    asyncio.run(whole())
    return service


def value(service: Service, name: str, **labels: str) -> float:
    return service.metrics.registry.get_sample_value(f"prohibit_{name}", labels) or 0.0


def test_files_and_pixels_are_scored_alike(tiny: Path) -> None:
    async def story(service: Service) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
        broken = ImageError("fetch", "no such host")
        answer = await service.score([jpeg(1), pixels, b"nonsense", broken])
        scorer = answer.edition.scorer
        expected = scorer(np.stack([load(jpeg(1), 32), resize(pixels, 32)]))
        np.testing.assert_allclose(answer.scores[:2], expected, rtol=1e-5, atol=1e-9)
        assert np.isnan(answer.scores[2:]).all()
        assert [error and error.reason for error in answer.errors] == [None, None, "unsupported", "fetch"]
        assert min(vars(answer.timing).values()) >= 0
        assert answer.timing.decode > 0 < answer.timing.device

    service = run(tiny, story)
    assert value(service, "photos_total", result="scored") == 2
    assert value(service, "photos_total", result="broken") == 2
    assert value(service, "photo_errors_total", reason="unsupported") == 1
    assert value(service, "compilations_total") == 0
    bands = [
        value(service, "bands_total", **{"class": "weapon", "version": "1", "role": "decides", "band": name})
        for name in ("pass", "review", "block")
    ]
    assert sum(bands) == 2


def test_a_shadow_is_in_metrics_and_in_no_answer(tiny: Path) -> None:
    photos = [jpeg(seed) for seed in range(8)]

    async def story(service: Service) -> None:
        before = await service.score(photos)
        await service.repository.load("weapon", 2, shadow=True)
        after = await service.score(photos)
        np.testing.assert_allclose(after.scores, before.scores, rtol=1e-5, atol=1e-9)
        assert after.edition.classes == before.edition.classes

    service = run(tiny, story)
    shadow = {"class": "weapon", "version": "2", "role": "shadow"}
    assert value(service, "score_count", **shadow) == len(photos)
    assert value(service, "head_info", **shadow, sha256=service.repository.edition.shadows["weapon"].params_sha256) == 1
    assert 0 <= value(service, "shadow_disagreements_total", **{"class": "weapon", "version": "2"}) <= len(photos)


def test_a_request_in_flight_ends_on_the_edition_it_began_with(tiny: Path) -> None:
    async def story(service: Service) -> None:
        tasks = [asyncio.create_task(service.score([jpeg(seed)])) for seed in range(40)]
        await asyncio.sleep(0)  # each begins, and none gets further
        await service.repository.load("weapon", 2)
        answers = await asyncio.gather(*tasks)
        late = await service.score([jpeg(0)])
        assert {answer.edition.number for answer in answers} == {1}
        assert late.edition.number == 2
        assert late.scores[0, 2] != answers[0].scores[0, 2]
        np.testing.assert_array_equal(late.scores[0, :2], answers[0].scores[0, :2])

    run(tiny, story)


def test_a_request_of_too_many_photos_is_refused(tiny: Path) -> None:
    with pytest.raises(Refusal) as caught:
        asyncio.run(Service(Store(tiny), "prod", SETTINGS).score([jpeg(0)] * 9))
    assert caught.value.status == 413


def test_a_request_that_is_given_up_leaves_nothing_behind(tiny: Path) -> None:
    async def story(service: Service) -> None:
        for begun in (lambda: service._decoding, lambda: service.batcher._count):
            task = asyncio.create_task(service.score([jpeg(seed) for seed in range(8)]))
            await until_async(begun, pause=0.0)  # each time around the loop, or the answer may be there
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert service.batcher.photos == 0
            assert value(service, "decoding_photos") == 0
        assert (await service.score([jpeg(0)])).errors == (None,)

    run(tiny, story)


def test_before_the_start_and_after_the_end_it_refuses(tiny: Path) -> None:
    service = Service(Store(tiny), "prod", SETTINGS)
    assert not service.ready
    with pytest.raises(Refusal) as caught:
        service.check_room()
    assert (caught.value.status, "Retry-After" in caught.value.headers) == (503, True)

    async def story(running: Service) -> None:
        assert running.ready
        running.drain()
        assert not running.ready
        running.check_room()  # those who have not noticed are served

    assert not run(tiny, story).ready


def test_work_of_another_kind_is_bounded_too(tiny: Path) -> None:
    async def story(service: Service) -> None:
        assert await service.work(len, b"abc") == 3
        with pytest.raises(Refusal) as caught:
            await service.work(bytearray, 2**36)
        assert caught.value.status == 413

    run(tiny, story)
