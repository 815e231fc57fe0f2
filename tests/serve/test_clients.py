"""Clients that nobody here wrote, against a real service: tritonclient, kserve's and curl.

The first two live in an environment of their own, for they want other versions of libraries than this project.
"""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prohibit_jax.bundle.store import Store
from prohibit_jax.score.bands import band
from prohibit_jax.score.scorer import Scorer, load_scorer
from tests import tolerances
from tests.bundle.twin import SIZE
from tests.serve.conftest import ADMIN_KEY, Server, Start, tiny_store
from tests.waiting import TIMEOUT

PYTHON = Path(__file__).resolve().parents[2] / ".venv/clients/bin/python"
SCRIPTS = Path(__file__).resolve().parent / "clients"
CLASSES = ["cash", "ivory", "weapon"]
COUNT = 5


@dataclass(frozen=True)
class Photos:
    """The same photos as pixels, uint8 [b, size, size, 3], as files, and as what the scorer says of them."""

    folder: Path
    pixels: np.ndarray
    files: list[bytes]
    scores: np.ndarray
    bands: list[list[str]]


@pytest.fixture(scope="module")
def scorer(tiny: Path) -> Scorer:
    return load_scorer("prod", Store(tiny), batch_sizes=(COUNT,))


@pytest.fixture(scope="module")
def photos(scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
    np.save(folder / "pixels.npy", pixels)
    for index, photo in enumerate(pixels):
        Image.fromarray(photo).save(folder / f"{index}.png")
    files = [(folder / f"{index}.png").read_bytes() for index in range(COUNT)]
    scores = scorer(pixels)
    limits = scorer.thresholds.values()
    bands = [[band(score, limit) for score, limit in zip(row, limits, strict=True)] for row in scores.tolist()]
    return Photos(folder, pixels, files, scores, bands)


def check_scores(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(found, np.float32), expected, rtol=0, atol=tolerances.SERVED_SCORE)


def run(script: str, *arguments: str) -> Any:
    """What a client's script saw."""
    if not PYTHON.exists():
        pytest.skip("the environment of test clients is absent: make test installs it")
    command = [PYTHON, SCRIPTS / script, *arguments, str(TIMEOUT)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


# TRITONCLIENT.


@pytest.fixture(scope="module")
def triton(start: Start, photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not PYTHON.exists():
        pytest.skip("the environment of test clients is absent: make test installs it")
    store = tiny_store(tmp_path_factory.mktemp("triton") / "store")  # of its own: it changes heads
    service = start(store, "--set", "service.batch_sizes=[1, 5]")
    seen: dict[str, Any] = run("triton.py", service.url, ADMIN_KEY, str(photos.folder))
    return seen


def test_triton_sees_the_server(triton: dict[str, Any]) -> None:
    server = triton["server"]
    assert (server["live"], server["ready"], server["absent"]) == (True, True, False)
    assert "binary_tensor_data" in server["metadata"]["extensions"]
    for name, width in (("weapon", 1), ("ensemble", len(CLASSES))):
        model = server["models"][name]
        assert model["ready"]
        assert model["metadata"]["versions"] == ["1"]
        assert model["metadata"]["outputs"][0] == {"name": "probability", "datatype": "FP32", "shape": [-1, width]}
        assert model["config"]["output"][0] == {"name": "probability", "data_type": "TYPE_FP32", "dims": [-1, width]}
    states = {(entry["name"], entry["version"]): entry["state"] for entry in server["index"]}
    assert states == {
        ("cash", "1"): "READY",
        ("ivory", "1"): "READY",
        ("weapon", "1"): "READY",
        ("weapon", "2"): "UNAVAILABLE",
        ("weapon", "3"): "UNAVAILABLE",
        ("ensemble", "1"): "READY",
    }


def test_triton_sees_the_scorers_scores(triton: dict[str, Any], photos: Photos) -> None:
    assert len(triton["infer"]) == 5 * 4 + 3 * 3 * 2
    for found in [*triton["infer"].values(), *(triton["aio"][name] for name in ("pixels", "files"))]:
        check_scores(found["probability"], photos.scores)
        assert found.get("band", photos.bands) == photos.bands
        assert found.get("head", CLASSES) == CLASSES
        assert found.get("head_version", ["1"] * 3) == ["1"] * 3
    assert set(triton["infer"]["pixels, all"]) == {"probability", "band", "head", "head_version"}
    assert triton["aio"]["live"]
    assert triton["aio"]["ready"]


def test_triton_sees_what_it_asks_for(triton: dict[str, Any], photos: Photos) -> None:
    seen = triton["options"]
    for name in ("weapon", "timeout", "priority", "sequence"):
        check_scores(seen[name]["probability"], photos.scores[:, 2:])
    assert (seen["id"], seen["model"]) == ("photo 7", ["weapon", "1"])
    best = np.argsort(-photos.scores, axis=1)[:, :2]
    for found, columns, row in zip(seen["classes"], best, photos.scores, strict=True):
        values, indices, labels = zip(*(text.split(":") for text in found), strict=True)
        check_scores([float(value) for value in values], row[columns])
        assert [int(index) for index in indices] == columns.tolist()
        assert list(labels) == [CLASSES[column] for column in columns]
    for found in seen["errors"].values():
        assert found["error"] == ["", "not a JPEG, PNG, WebP, GIF, BMP or TIFF image"]
        assert found["band"] == [photos.bands[0], [""] * 3]
        check_scores(found["probability"], np.stack([photos.scores[0], np.full(3, np.nan, np.float32)]))
    assert [name for name, _ in seen["async"]] == [str(index) for index in range(COUNT)]
    check_scores([row for _, (row,) in seen["async"]], photos.scores)
    (weapon,) = seen["statistics"]["model_stats"]
    assert (weapon["name"], weapon["version"]) == ("weapon", "1")
    assert weapon["inference_count"] >= 4 * COUNT
    assert weapon["inference_stats"]["success"]["ns"] > 0
    assert [entry["name"] for entry in seen["all statistics"]["model_stats"]] == [*CLASSES, "ensemble"]
    assert seen["tight"][0] in (None, "503")  # scored where nobody is before it


@pytest.mark.parametrize(
    ("case", "status", "text"),
    [
        ("model", "404", "model 'absent': does not serve"),
        ("version", "404", "model 'weapon': version '99' does not serve"),
        ("metadata", "404", "model 'absent': does not serve"),
        ("output", "400", "outputs[0].name: is 'head'"),
        ("input", "400", "inputs[0].name: is 'pixels'"),
        ("two inputs", "400", "inputs: give exactly one"),
        ("datatype", "400", "inputs[0].datatype: is 'FP32'"),
        ("shape", "400", f"inputs[0].shape: [5, 1, 1, 3] is 15 bytes, {COUNT * SIZE * SIZE * 3} were given"),
        ("photo", "400", "image_bytes[1]: not a JPEG"),
        ("many", "413", "inputs[0].shape: 33 photos"),
        ("shared memory", "400", "inputs[0].parameters.shared_memory_region: "),
        ("no key", "401", "send a key"),
    ],
)
def test_triton_understands_refusals(triton: dict[str, Any], case: str, status: str, text: str) -> None:
    found, message = triton["errors"][case]
    assert found == status
    assert message.startswith(text)


def test_triton_understands_what_is_not_there(triton: dict[str, Any]) -> None:
    for status, message in triton["unknown"].values():
        assert status == "404"
        assert message.endswith("Not Found")


def test_triton_changes_heads(triton: dict[str, Any]) -> None:
    seen = triton["repository"]
    scores = {step: found[1] for step, found in seen.items() if isinstance(found[0], list)}
    serving = {step: found[0] for step, found in seen.items() if isinstance(found[0], list)}
    assert serving == {
        "before": ["1"],
        "latest": ["3"],
        "config": ["2"],
        "shadow": ["2"],
        "unloaded": [],
        "back": ["1"],
    }
    for name in ("cash", "ivory"):
        assert len({found[name] for found in scores.values()}) == 1  # to the last bit
    assert "weapon" not in scores["unloaded"]
    assert seen["unloaded"][2] is False
    assert scores["back"] == scores["before"]
    assert scores["shadow"] == scores["config"]
    assert len({scores[step]["weapon"] for step in ("before", "latest", "config")}) == 3
    assert seen["version 1"][0] == "404"
    assert [seen[case][0] for case in ("files", "absent", "version", "ensemble")] == ["400", "404", "404", "400"]
    assert "heads come from the store alone" in seen["files"][1]


# KSERVE.


@pytest.fixture(scope="module")
def kserve(server: Server, photos: Photos) -> dict[str, Any]:
    seen: dict[str, Any] = run("kserve_client.py", server.url, str(photos.folder))
    return seen


def test_kserve(kserve: dict[str, Any], photos: Photos) -> None:
    assert (kserve["live"], kserve["ready"]) == (True, True)
    assert kserve["models"] == {"weapon": True, "ensemble": True, "absent": False}
    assert len(kserve["infer"]) == 4 * 3
    for found in [*kserve["infer"].values(), kserve["dict"]]:
        check_scores(found["probability"], photos.scores)
        assert found["band"] == photos.bands
        assert found["head"] == CLASSES
    check_scores(kserve["weapon"]["probability"], photos.scores[:, 2:])
    assert kserve["compressed"] == ["gzip", 32]
    assert kserve["named"][:2] == ["photo 7", "weapon"]


def test_kserve_understands_refusals(kserve: dict[str, Any]) -> None:
    for case, status, text in (
        ("model", 404, "model 'absent': does not serve"),
        ("empty", 400, "inputs: give exactly one"),
        ("photo", 400, "image_bytes[1]: not a JPEG"),
    ):
        assert kserve["errors"][case][0] == status
        assert kserve["errors"][case][1].startswith(text)


# CURL.

Curl = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture
def curl(server: Server, tmp_path: Path) -> Curl:
    """Runs curl: `curl(path, *options, body=…)` is the status, the headers and the body that it wrote."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    def call(path: str, *options: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        command = ["curl", "-sS", "--max-time", str(TIMEOUT), "-D", str(tmp_path / "head"), "-o", str(tmp_path / "out")]
        if body is not None:
            (tmp_path / "in").write_bytes(body)
            options = ("--data-binary", f"@{tmp_path / 'in'}", *options)
        (tmp_path / "out").write_bytes(b"")
        status = subprocess.run(
            [*command, "-w", "%{http_code}", *options, server.url + path], capture_output=True, check=True
        ).stdout
        lines = (tmp_path / "head").read_text().rpartition("HTTP/1.1 ")[2].splitlines()
        fields = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        return int(status), fields, (tmp_path / "out").read_bytes()

    return call


def as_json(files: list[bytes]) -> bytes:
    texts = [base64.b64encode(file).decode() for file in files]
    tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return json.dumps({"inputs": [tensor]}).encode()


def as_binary(name: str, datatype: str, shape: list[int], data: bytes) -> tuple[bytes, str]:
    """A body, and the header that says how much of it is JSON."""
    tensor = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return text + data, f"Inference-Header-Content-Length: {len(text)}"


def probability(body: bytes) -> Any:
    """The first output of an answer in JSON."""
    output = json.loads(body)["outputs"][0]
    return np.reshape(np.array(output["data"], np.float32), output["shape"])


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/v2", "extensions"),
        ("/v2/health/live", "live"),
        ("/v2/health/ready", "ready"),
        ("/v2/models/weapon", "inputs"),
        ("/v2/models/weapon/versions/1", "outputs"),
        ("/v2/models/ensemble/ready", "ready"),
        ("/v2/models/ensemble/versions/1/config", "max_batch_size"),
        ("/v2/models/ensemble/stats", "model_stats"),
        ("/v2/models/stats", "model_stats"),
    ],
)
def test_curl_reads(curl: Curl, path: str, key: str) -> None:
    status, headers, body = curl(path)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert key in json.loads(body)


def test_curl_infers(curl: Curl, photos: Photos) -> None:
    status, headers, body = curl("/v2/models/ensemble/infer", body=as_json(photos.files))
    assert (status, headers["content-type"]) == (200, "application/json")
    check_scores(probability(body), photos.scores)


def test_curl_infers_in_binary(curl: Curl, photos: Photos) -> None:
    data = b"".join(struct.pack("<I", len(file)) + file for file in photos.files)
    body, header = as_binary("image_bytes", "BYTES", [COUNT], data)
    status, headers, answer = curl("/v2/models/weapon/infer", "-H", header, body=body)
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    length = int(headers["inference-header-content-length"])
    sizes = [output["parameters"]["binary_data_size"] for output in json.loads(answer[:length])["outputs"]]
    assert length + sum(sizes) == len(answer)
    check_scores(np.frombuffer(answer, "<f4", COUNT, length), photos.scores[:, 2])


def test_curl_sends_large_pixels(curl: Curl) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 300, 300, 3), np.uint8)
    body, header = as_binary("image", "UINT8", list(pixels.shape), pixels.tobytes())
    status, _, _ = curl("/v2/models/ensemble/infer", "-H", header, body=body)  # curl asks to continue first
    assert status == 200
    text = json.dumps({"inputs": [{"name": "image", "datatype": "UINT8", "shape": [5, 300, 300, 3], "data": "?"}]})
    large = text.replace('"?"', json.dumps(pixels.tolist())).encode()
    status, _, answer = curl("/v2/models/ensemble/infer", body=large)
    assert (status, probability(answer).shape) == (200, (5, 3))


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_curl_compresses(curl: Curl, photos: Photos, encoding: str, compress: Callable[[bytes], bytes]) -> None:
    body = compress(as_json([*photos.files * 32][:32]))
    options = ("-H", f"Content-Encoding: {encoding}", "-H", f"Accept-Encoding: {encoding}")
    status, headers, answer = curl("/v2/models/ensemble/infer", *options, body=body)
    assert (status, headers["content-encoding"], headers["vary"]) == (200, encoding, "accept-encoding")
    plain = gzip.decompress(answer) if encoding == "gzip" else zlib.decompress(answer)
    check_scores(probability(plain)[:COUNT], photos.scores)
    status, _, answer = curl("/v2/models/ensemble/infer", *options, "--compressed", body=body)
    check_scores(probability(answer)[:COUNT], photos.scores)


def test_curl_asks_for_the_index(curl: Curl) -> None:
    status, _, body = curl("/v2/repository/index", "-X", "POST")
    assert status == 200
    assert {"name": "weapon", "version": "2", "state": "UNAVAILABLE", "reason": ""} in json.loads(body)
    _, _, body = curl("/v2/repository/index", body=b'{"ready": true}')
    assert [entry["name"] for entry in json.loads(body)] == [*CLASSES, "ensemble"]


@pytest.mark.parametrize(
    ("path", "options", "body", "status"),
    [
        ("/v2/models/absent", (), None, 404),
        ("/v2/models/weapon/versions/2/infer", (), b"{}", 404),
        ("/v2/models/weapon/infer", (), None, 405),
        ("/v2/models/weapon/infer", (), b"", 400),
        ("/v2/models/weapon/infer", (), b"{}", 400),
        ("/v2/models/weapon/infer", ("-H", "Inference-Header-Content-Length: 99"), b"{}", 400),
        ("/v2/models/weapon/infer", ("-H", "Content-Encoding: br"), b"{}", 415),
        ("/v2/models/weapon/infer", ("-H", "Content-Encoding: gzip"), b"{}", 400),
        ("/v2/models/weapon/infer", (), b"[" * 200_000, 400),
        ("/v2/repository/models/weapon/load", (), b"{}", 401),
        ("/v2/repository/models/weapon/unload", ("-H", "Authorization: Bearer another-key-than-it"), b"{}", 401),
        ("/v2/repository/models/weapon/load?version=99", ("-H", f"Authorization: Bearer {ADMIN_KEY}"), b"", 404),
    ],
)
def test_curl_is_refused(curl: Curl, path: str, options: tuple[str, ...], body: bytes | None, status: int) -> None:
    found, headers, answer = curl(path, *options, body=body)
    assert (found, headers["content-type"]) == (status, "application/json")
    assert list(json.loads(answer)) == ["error"]
    assert "\n" not in json.loads(answer)["error"]
