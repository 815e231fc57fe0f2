from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from prohibit_jax.bundle.store import Store
from prohibit_jax.images.resize import load
from prohibit_jax.score.bands import band
from prohibit_jax.score.scorer import Scorer, load_scorer
from serve.app import create_app
from serve.routes.v1 import SEVERITY
from serve.service import Service
from serve.settings import load_serve_config
from tests.serve import asgi
from tests.serve.conftest import Server, Start, jpeg
from tests.waiting import TIMEOUT


@pytest.fixture(scope="module")
def scorer(server: Server) -> Scorer:
    return load_scorer("prod", server.store, (1, 5))


def post(server: Server, body: bytes, kind: str = "image/jpeg", query: str = "") -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=TIMEOUT)
    try:
        connection.request("POST", f"/v1/score{query}", body, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def form(*files: tuple[str, str, bytes]) -> tuple[bytes, str]:
    """A multipart body and its Content-Type from (field, file name, content)."""
    boundary = "a-boundary-that-no-photo-holds"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for field, name, content in files
    ]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def expected(scorer: Scorer, photo: bytes) -> dict[str, float]:
    import numpy as np

    scores = scorer(np.stack([load(photo, scorer.sizes[0])]))[0]
    return dict(zip(scorer.classes, scores.tolist(), strict=True))


def test_one_photo_as_the_body(server: Server, scorer: Scorer) -> None:
    photo = jpeg(1)
    status, answer = post(server, photo)
    assert status == 200
    assert (answer["bundle"], set(answer["milliseconds"])) == ("prod", {"decode", "queue", "device"})
    (found,) = answer["photos"]
    assert {name: entry["probability"] for name, entry in found["classes"].items()} == expected(scorer, photo)
    for name, entry in found["classes"].items():
        assert entry["version"] == 1
        assert entry["band"] == band(entry["probability"], scorer.thresholds[name])
    worst = max((entry["band"] for entry in found["classes"].values()), key=SEVERITY.index)
    assert (found["band"], found["error"], found["name"]) == (worst, None, "")


@pytest.mark.parametrize(
    "kind", ["image/png", "application/octet-stream", "text/html", "application/x-www-form-urlencoded"]
)
def test_the_type_of_a_raw_body_is_told_by_its_content(server: Server, kind: str) -> None:
    assert post(server, jpeg(2), kind)[0] == 200


def test_several_photos_each_with_its_own_error(server: Server, scorer: Scorer) -> None:
    good = [jpeg(seed) for seed in range(7)]
    files = [("files", f"{seed}.jpg", photo) for seed, photo in enumerate(good)]
    files.insert(3, ("file", "broken.jpg", good[0][:200]))
    status, answer = post(server, *form(*files))
    assert status == 200
    assert [photo["name"] for photo in answer["photos"]] == [name for _, name, _ in files]
    broken = answer["photos"].pop(3)
    assert broken["error"]["reason"] in ("truncated", "damaged")
    assert (broken["band"], broken["classes"]) == (None, {})
    for photo, found in zip(good, answer["photos"], strict=True):
        values = {name: entry["probability"] for name, entry in found["classes"].items()}
        # One network computes a photo alone and among others in another order of additions.
        assert values == pytest.approx(expected(scorer, photo), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(
    ("body", "kind", "status", "text"),
    [
        (b"", "image/jpeg", 422, "the file is empty"),
        (b"no photo", "image/jpeg", 422, "not a JPEG"),
        (form(("files", "a.jpg", b"x"), ("files", "b.jpg", b"y"))[0], "multipart/form-data", 400, "boundary"),
        (*form(("photo", "a.jpg", b"x")), 400, "photo"),
        (*form(*[("files", "a.jpg", b"x")] * 33), 413, "32"),
        (*form(("files", "a.jpg", b"x"), ("files", "b.jpg", b"y")), 422, "a.jpg: not a JPEG"),
        (b'{"urls": ["https://example.org/a.jpg"]}', "application/json", 415, "switched off"),
    ],
)
def test_what_cannot_be_scored_is_refused(server: Server, body: bytes, kind: str, status: int, text: str) -> None:
    found, answer = post(server, body, kind)
    assert (found, text in answer["error"]) == (status, True), answer
    assert "\n" not in answer["error"]


@pytest.mark.parametrize("query", ["?budget_ms=0", "?budget_ms=-1", "?budget_ms=nan", "?budget_ms=soon", "?budget_ms="])
def test_a_budget_is_a_number_of_milliseconds(server: Server, query: str) -> None:
    status, answer = post(server, jpeg(1), query=query)
    assert status == 400
    assert answer["error"].startswith("budget_ms ")


@pytest.mark.parametrize("budget", [0.001, 1e3 * TIMEOUT])
def test_an_idle_service_answers_even_beyond_a_request_s_budget(tiny: Path, budget: float) -> None:
    settings = ["service.batch_sizes=[1]", "service.workers=1", f"service.work_seconds={TIMEOUT}"]
    service = Service(Store(tiny), "prod", load_serve_config(None, settings))

    async def story() -> asgi.Response:
        await service.start()
        service.batcher.pace.rehearsed(1, [TIMEOUT])  # what it promises to take; it takes less
        try:
            return await asgi.request(create_app(service), "POST", f"/v1/score?budget_ms={budget}", body=jpeg(1))
        finally:
            await service.stop()

    assert asyncio.run(story()).status == 200


def test_the_classes_that_serve(server: Server, scorer: Scorer) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=TIMEOUT)
    connection.request("GET", "/v1/classes")
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert list(answer["classes"]) == list(scorer.classes)
    card = answer["classes"]["weapon"]
    assert (card["version"], card["review"], card["block"], card["size"]) == (1, 0.25, 0.75, 32)
    assert answer["shadows"] == {}


def test_keys_and_limits_of_a_running_service(start: Start, server: Server) -> None:
    small = ("--set", "limits.photos=2", "--set", "limits.body=20000", "--set", "service.batch_sizes=[1]")
    keyed = start(server.store, *small, env={"PROHIBIT_KEYS": "a-data-key-for-tests"})
    connection = http.client.HTTPConnection(urlsplit(keyed.url).netloc, timeout=TIMEOUT)
    key = {"Authorization": "Bearer a-data-key-for-tests"}

    def ask(body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        connection.request("POST", "/v1/score", body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()).get("error", "")

    assert ask(jpeg(1), {})[0] == 401
    assert ask(jpeg(1), {"Authorization": "Bearer another-key-for-tests"})[0] == 401
    assert ask(jpeg(1), key)[0] == 200
    body, kind = form(*[("files", "a.jpg", jpeg(1))] * 3)
    assert ask(body, {**key, "Content-Type": kind})[0] == 413
    connection.close()
    assert ask(b"x" * 30000, key)[0] == 413
    connection.close()
