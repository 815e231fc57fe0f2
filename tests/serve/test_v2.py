"""The Open Inference Protocol's routes, around a service that scores a photo by its first byte."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette

from prohibit_jax.images.decode import ImageError
from prohibit_jax.types import InputError, Thresholds
from serve.errors import Refusal
from serve.guard import refused
from serve.repository import IndexEntry
from serve.routes import v2
from serve.service import Answer, Timing
from serve.settings import ServeConfig
from serve.statistics import Statistics
from tests.serve import asgi

TIMING = Timing(decode=0.002, queue=0.001, device=0.004)


class Edition:
    """Two classes that decide, and one's shadow."""

    def __init__(self, number: int, versions: dict[str, int], shadows: dict[str, int]) -> None:
        self.number, self.classes = number, tuple(versions)
        self.cards, self.shadows = _cards(versions), _cards(shadows)


def _cards(versions: dict[str, int]) -> dict[str, Any]:
    return {name: SimpleNamespace(version=of, thresholds=Thresholds(0.25, 0.75)) for name, of in versions.items()}


class Repository:
    def __init__(self) -> None:
        self.edition = Edition(5, {"weapon": 3, "cash": 12}, {"weapon": 4})
        self.calls: list[tuple[Any, ...]] = []

    async def load(self, name: str, version: int | None = None, *, shadow: bool = False) -> Edition:
        self.calls.append(("load", name, version, shadow))
        if name not in ("weapon", "cash"):
            raise Refusal(404, f"head {name}: there is none")
        self.edition = Edition(6, {"weapon": version or 9, "cash": 12}, {})
        return self.edition

    async def unload(self, name: str, *, shadow: bool = False) -> Edition:
        self.calls.append(("unload", name, shadow))
        self.edition = Edition(6, {"cash": 12}, {})
        return self.edition

    async def reload(self) -> Edition:
        self.calls.append(("reload",))
        return self.edition

    async def index(self) -> list[IndexEntry]:
        return [IndexEntry("cash", 12, "READY", ""), IndexEntry("weapon", 4, "UNAVAILABLE", "shadow")]


class Service:
    """A photo's first byte b gives probability b / 256 for the first class, 1 - b / 256 for the second."""

    def __init__(self) -> None:
        self.settings = ServeConfig()
        self.repository = Repository()
        self.statistics = Statistics()
        self.ready = True
        self.budgets: list[float | None] = []
        self.worked: list[str] = []
        self.swap: Callable[[], Any] = lambda: None

    def check_room(self) -> None:
        if not self.ready:
            raise Refusal(503, "starting, or about to stop", {"Retry-After": "2"})

    async def score(self, photos: Sequence[bytes | np.ndarray], budget_ms: float | None = None) -> Answer:
        self.budgets.append(budget_ms)
        self.swap()
        data = [photo if isinstance(photo, bytes) else photo.tobytes() for photo in photos]
        errors = tuple(None if photo else ImageError("empty", "the file is empty") for photo in data)
        scores = np.array([photo[0] if photo else np.nan for photo in data])
        columns = np.stack([scores / 256, 1 - scores / 256][: len(self.repository.edition.classes)], axis=1)
        return Answer(self.repository.edition, columns.astype(np.float32), errors, TIMING)  # type: ignore[arg-type]

    async def work(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.worked.append(function.__name__)
        return await asyncio.to_thread(function, *arguments)


class Client:
    """Requests, one at a time."""

    def __init__(self, service: Service) -> None:
        async def refuse(_: Any, error: Exception) -> Any:
            return refused(error if isinstance(error, Refusal) else Refusal(400, str(error)))

        self.service = service
        self.app = Starlette(routes=v2.ROUTES, exception_handlers={Refusal: refuse, InputError: refuse})
        self.app.state.service = service

    def __call__(
        self, method: str, path: str, content: Any = b"", headers: dict[str, str] | None = None
    ) -> asgi.Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return asyncio.run(asgi.request(self.app, method, path, headers, body))


@pytest.fixture
def client() -> Client:
    return Client(Service())


def photos(*elements: bytes, **rest: Any) -> dict[str, Any]:
    texts = [base64.b64encode(element).decode() for element in elements]
    tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return {"inputs": [tensor], **rest}


def outputs(answer: asgi.Response) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


# WHAT THERE IS.


def test_health(client: Client) -> None:
    assert client("GET", "/v2/health/live").json() == {"live": True}
    assert client("GET", "/v2/health/ready").json() == {"live": True, "ready": True}
    client.service.ready = False
    answer = client("GET", "/v2/health/ready")
    assert (answer.status, answer.json()) == (503, {"live": True, "ready": False})
    assert client("GET", "/v2/models/weapon/ready").status == 503
    assert client("GET", "/v2/health/live").status == 200


def test_server_metadata(client: Client) -> None:
    content = client("GET", "/v2").json()
    assert content["name"] == "prohibit_jax"
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(content["extensions"])


def test_model_metadata(client: Client) -> None:
    weapon = client("GET", "/v2/models/weapon").json()
    assert (weapon["name"], weapon["versions"]) == ("weapon", ["3"])
    assert weapon["outputs"][0] == {"name": "probability", "datatype": "FP32", "shape": [-1, 1]}
    ensemble = client("GET", "/v2/models/ensemble/versions/1").json()
    assert ensemble["outputs"][0] == {"name": "probability", "datatype": "FP32", "shape": [-1, 2]}
    config = client("GET", "/v2/models/weapon/versions/3/config").json()
    assert config["version_policy"] == {"specific": {"versions": [3]}}
    assert client("GET", "/v2/models/weapon/versions/3/ready").json() == {
        "name": "weapon",
        "version": "3",
        "ready": True,
    }


@pytest.mark.parametrize("suffix", ["", "/ready", "/config", "/stats", "/infer"])
@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("ivory", "model 'ivory': does not serve; weapon, cash, ensemble do"),
        ("weapon/versions/4", "model 'weapon': version '4' does not serve, version 3 does"),
        ("weapon/versions/03", "model 'weapon': version '03' does not serve, version 3 does"),
        ("ensemble/versions/5", "model 'ensemble': version '5' does not serve, version 1 does"),
    ],
)
def test_what_does_not_serve(client: Client, model: str, text: str, suffix: str) -> None:
    answer = client("POST" if suffix == "/infer" else "GET", f"/v2/models/{model}{suffix}", photos(b"\x40"))
    assert (answer.status, answer.json()) == (404, {"error": text})


# INFER.


def test_a_class(client: Client) -> None:
    answer = client("POST", "/v2/models/weapon/versions/3/infer", photos(b"\x20", b"\x40", b"\xc0", id="a1"))
    assert outputs(answer) == {"probability": [0.125, 0.25, 0.75], "band": ["pass", "review", "block"]}
    content = answer.json()
    assert (content["model_name"], content["model_version"], content["id"]) == ("weapon", "3", "a1")
    assert answer.headers["content-type"] == "application/json"


def test_the_ensemble(client: Client) -> None:
    answer = client("POST", "/v2/models/ensemble/infer", photos(b"\x20", b"\x80"))
    assert outputs(answer) == {
        "probability": [0.125, 0.875, 0.5, 0.5],
        "band": ["pass", "block", "review", "review"],
        "head": ["weapon", "cash"],
        "head_version": ["3", "12"],
    }
    assert answer.json()["model_version"] == "1"


def test_the_second_class(client: Client) -> None:
    assert outputs(client("POST", "/v2/models/cash/infer", photos(b"\x20")))["probability"] == [0.875]


def test_binary_in_and_out(client: Client) -> None:
    data = struct.pack("<I", 2) + b"\x40\xff"
    tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True, "timeout": 50_000}}).encode()
    length = {"Inference-Header-Content-Length": str(len(text))}
    answer = client("POST", "/v2/models/weapon/infer", text + data, length)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    rest = answer.body[int(answer.headers["inference-header-content-length"]) :]
    assert rest == b"\0\0\x80\x3e\6\0\0\0review"
    assert client.service.budgets == [50.0]


def test_pixels(client: Client) -> None:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [64, 0, 0, 0, 0, 0]}
    assert outputs(client("POST", "/v2/models/weapon/infer", {"inputs": [tensor]}))["probability"] == [0.25]


def test_a_broken_photo(client: Client) -> None:
    answer = client("POST", "/v2/models/weapon/infer", photos(b"\x40", b""))
    assert (answer.status, answer.json()) == (400, {"error": "image_bytes[1]: the file is empty"})
    names = [{"name": name} for name in ("probability", "band", "error")]
    assert outputs(client("POST", "/v2/models/weapon/infer", photos(b"\x40", b"", outputs=names))) == {
        "probability": [0.25, None],
        "band": ["review", ""],
        "error": ["", "the file is empty"],
    }


def test_large_json_is_parsed_elsewhere(client: Client) -> None:
    client("POST", "/v2/models/weapon/infer", photos(b"\x40" * 40_000))
    assert client.service.worked == []
    assert outputs(client("POST", "/v2/models/weapon/infer", photos(b"\x40" * 80_000)))["probability"] == [0.25]
    answer = client("POST", "/v2/models/weapon/infer", b"[" * 100_000)
    assert (answer.status, answer.json()) == (400, {"error": "body: JSON nested too deep"})
    assert client.service.worked == ["parse_infer", "parse_infer"]


def test_too_many_photos(client: Client) -> None:
    answer = client("POST", "/v2/models/weapon/infer", photos(*[b"\x40"] * 33))
    assert (answer.status, answer.json()["error"][:15]) == (413, "inputs[0].shape")


def test_no_room_is_said_before_the_body_is_read(client: Client) -> None:
    client.service.ready = False
    answer = client("POST", "/v2/models/weapon/infer", b"no JSON")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")


def test_a_swap_meanwhile(client: Client) -> None:
    service = client.service

    def swap() -> None:
        service.repository.edition = Edition(6, {"weapon": 4, "cash": 12}, {})

    service.swap = swap
    assert client("POST", "/v2/models/weapon/infer", photos(b"\x40")).json()["model_version"] == "4"
    service.repository.edition = Edition(5, {"weapon": 3, "cash": 12}, {})
    assert client("POST", "/v2/models/weapon/versions/3/infer", photos(b"\x40")).status == 404


# COMPRESSION.

MANY = photos(*[b"\x31"] * 32)
UNPACK = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br;q=1.0, DEFLATE ; q=0.5, gzip;q=0.1", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip;q=0.0", None),
        ("br", None),
        ("identity", None),
        ("", None),
    ],
)
def test_compressed_answers(client: Client, accepted: str, encoding: str | None) -> None:
    answer = client("POST", "/v2/models/ensemble/infer", MANY, {"Accept-Encoding": accepted})
    assert answer.status == 200
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "Accept-Encoding"
    assert int(answer.headers["content-length"]) == len(answer.body)
    content = UNPACK[encoding](answer.body) if encoding else answer.body
    assert len(json.loads(content)["outputs"][0]["data"]) == 64


def test_small_answers_are_not_compressed(client: Client) -> None:
    answer = client("POST", "/v2/models/weapon/infer", photos(b"\x40"), {"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_requests(client: Client, encoding: str) -> None:
    data = struct.pack("<I", 1) + b"\x40"
    tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    text = json.dumps({"inputs": [tensor]}).encode()
    body = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding](text + data)
    headers = {"Content-Encoding": encoding, "Inference-Header-Content-Length": str(len(text))}
    assert outputs(client("POST", "/v2/models/weapon/infer", body, headers))["probability"] == [0.25]


# STATISTICS.


def test_statistics(client: Client) -> None:
    client("POST", "/v2/models/weapon/infer", photos(b"\x40", b"\x41"))
    client("POST", "/v2/models/weapon/infer", photos(b"\x40"))
    client("POST", "/v2/models/weapon/infer", b"{}")
    client("POST", "/v2/models/ivory/infer", b"{}")
    (weapon,) = client("GET", "/v2/models/weapon/versions/3/stats").json()["model_stats"]
    counts = {name: spent["count"] for name, spent in weapon["inference_stats"].items()}
    assert (weapon["inference_count"], weapon["execution_count"]) == (3, 2)
    assert weapon["last_inference"] > 1.6e12
    assert counts == {
        "success": 2,
        "fail": 1,
        "queue": 2,
        "compute_input": 2,
        "compute_infer": 2,
        "compute_output": 2,
    }
    spent = {name: spent["ns"] for name, spent in weapon["inference_stats"].items()}
    assert (spent["queue"], spent["compute_input"], spent["compute_infer"]) == (2_000_000, 4_000_000, 8_000_000)
    assert spent["success"] >= 14_000_000
    every = client("GET", "/v2/models/stats").json()["model_stats"]
    assert [(entry["name"], entry["version"], entry["inference_count"]) for entry in every] == [
        ("weapon", "3", 3),
        ("cash", "12", 0),
        ("ensemble", "1", 0),
    ]


# THE REPOSITORY.


def test_index(client: Client) -> None:
    cash = {"name": "cash", "version": "12", "state": "READY", "reason": ""}
    weapon = {"name": "weapon", "version": "4", "state": "UNAVAILABLE", "reason": "shadow"}
    ensemble = {"name": "ensemble", "version": "1", "state": "READY", "reason": ""}
    assert client("POST", "/v2/repository/index").json() == [cash, weapon, ensemble]
    assert client("POST", "/v2/repository/index", {"ready": True}).json() == [cash, ensemble]
    assert client("POST", "/v2/repository/index", {"ready": 5}).status == 400


POLICY = json.dumps({"version_policy": {"specific": {"versions": [8]}}})


@pytest.mark.parametrize(
    ("path", "content", "call"),
    [
        ("weapon/load", b"", ("load", "weapon", None, False)),
        ("weapon/load", {}, ("load", "weapon", None, False)),
        ("weapon/load?version=8&shadow=true", b"", ("load", "weapon", 8, True)),
        ("weapon/load", {"parameters": {"version": 8, "shadow": True}}, ("load", "weapon", 8, True)),
        ("weapon/load", {"parameters": {"config": POLICY}}, ("load", "weapon", 8, False)),
        ("ensemble/load", {}, ("reload",)),
        ("weapon/unload", {"parameters": {"unload_dependents": False}}, ("unload", "weapon", False)),
        ("weapon/unload?shadow=true", b"", ("unload", "weapon", True)),
    ],
)
def test_changes(client: Client, path: str, content: Any, call: tuple[Any, ...]) -> None:
    answer = client("POST", f"/v2/repository/models/{path}", content)
    assert answer.status == 200, answer.body
    assert client.service.repository.calls == [call]


def test_what_serves_after_a_change(client: Client) -> None:
    assert client("POST", "/v2/repository/models/ensemble/load").json() == {
        "name": "ensemble",
        "version": None,
        "shadow": None,
        "edition": 5,
    }
    answer = client("POST", "/v2/repository/models/weapon/load?version=8")
    assert answer.json() == {"name": "weapon", "version": "8", "shadow": None, "edition": 6}
    answer = client("POST", "/v2/repository/models/weapon/unload")
    assert answer.json() == {"name": "weapon", "version": None, "shadow": None, "edition": 6}


@pytest.mark.parametrize(
    ("path", "content", "status", "text"),
    [
        ("ivory/load", b"", 404, "head ivory: there is none"),
        ("..%5C/load", b"", 400, "class '..\\\\': use"),
        ("weapon/load", {"parameters": {"file:1/x": "YQ=="}}, 400, "parameters.file:…: heads come from the store"),
        ("weapon/load?version=x", b"", 400, "version: is 'x'"),
        ("ensemble/load?version=1", b"", 400, "ensemble: has no versions"),
        ("ensemble/load?shadow=true", b"", 400, "ensemble: has no versions"),
        ("ensemble/unload", b"", 400, "ensemble: is all classes"),
        ("weapon/unload", b"[]", 400, "body: is a list"),
    ],
)
def test_changes_refused(client: Client, path: str, content: Any, status: int, text: str) -> None:
    answer = client("POST", f"/v2/repository/models/{path}", content)
    assert answer.status == status
    assert answer.json()["error"].startswith(text)
    assert len(client.service.repository.calls) == (status == 404)
