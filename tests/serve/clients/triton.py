"""Every call of tritonclient's HTTP client, and what it saw, as one JSON object.

Run by the environment that has tritonclient: `python triton.py URL ADMIN_KEY FOLDER SECONDS`. The folder holds
`pixels.npy`, uint8 [b, h, w, 3], and the same photos as `0.png` and on. An answer may take SECONDS.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.http.aio import InferenceServerClient as AsyncClient
from tritonclient.utils import InferenceServerException

ALGORITHMS = (None, "gzip", "deflate")
Outputs = Callable[[], list[InferRequestedOutput] | None]


def main(url: str, key: str, folder: str, limit: str) -> None:
    """Prints the object."""
    seconds = float(limit)
    pixels = np.load(f"{folder}/pixels.npy")
    files = [Path(folder, f"{index}.png").read_bytes() for index in range(len(pixels))]
    address = url.removeprefix("http://")
    with InferenceServerClient(
        address,
        concurrency=len(files) + 1,  # one that is asked for its result later may keep its connection until then
        connection_timeout=seconds,
        network_timeout=seconds,
    ) as client:
        seen = {
            "server": server(client),
            "infer": dict(infer(client, pixels, files)),
            "options": options(client, pixels, files, seconds),
            "errors": errors(client, pixels, files),
            "unknown": unknown(client),
            "repository": repository(client, {"Authorization": f"Bearer {key}"}, pixels),
        }
    seen["aio"] = asyncio.run(aio(address, pixels, files, seconds))
    print(json.dumps(seen))  # noqa: T201


def server(client: InferenceServerClient) -> dict[str, Any]:
    """What it says of itself."""
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "metadata": client.get_server_metadata(),
        "models": {
            name: {
                "ready": client.is_model_ready(name, version),
                "metadata": client.get_model_metadata(name, version),
                "config": client.get_model_config(name, version),
            }
            for name in ("weapon", "ensemble")
            for version in ("", "1")
        },
        "absent": client.is_model_ready("absent"),
        "index": client.get_model_repository_index(),
    }


def image(pixels: np.ndarray, binary: bool = True) -> InferInput:
    """Pixels."""
    return InferInput("image", list(pixels.shape), "UINT8").set_data_from_numpy(pixels, binary)


def image_bytes(files: list[bytes], binary: bool = True, column: bool = False) -> InferInput:
    """Encoded photos; JSON takes texts only, so that they go in base64."""
    elements: list[Any] = files if binary else [base64.b64encode(file).decode() for file in files]
    array = np.array([*elements, None], dtype=object)[:-1]  # never an array of NumPy's own bytes, which drop zeros
    array = array[:, None] if column else array
    return InferInput("image_bytes", list(array.shape), "BYTES").set_data_from_numpy(array, binary)


def named(binary: bool, *names: str) -> Outputs:
    """Outputs asked for by name."""
    return lambda: [InferRequestedOutput(name, binary_data=binary) for name in names]


def plain(result: InferResult, *names: str) -> dict[str, Any]:
    """Outputs as JSON knows them."""
    found = {name: result.as_numpy(name) for name in names or [o["name"] for o in result.get_response()["outputs"]]}
    return {
        name: array.astype(str).tolist() if array.dtype == object else array.tolist() for name, array in found.items()
    }


def infer(client: InferenceServerClient, pixels: np.ndarray, files: list[bytes]) -> Iterator[tuple[str, Any]]:
    """The same photos in every way that there is."""
    inputs = {
        "pixels": lambda: image(pixels),
        "pixels as JSON": lambda: image(pixels, binary=False),
        "files": lambda: image_bytes(files),
        "files as a column": lambda: image_bytes(files, column=True),
        "files as JSON": lambda: image_bytes(files, binary=False),
    }
    every = ("probability", "band", "head", "head_version")
    outputs: dict[str, Outputs] = {
        "all": lambda: None,
        "binary": named(True, *every),
        "JSON": named(False, *every),
        "mixed": lambda: [InferRequestedOutput("head", False), InferRequestedOutput("probability", True)],
    }
    for sent, tensor in inputs.items():
        for received, asked in outputs.items():
            yield f"{sent}, {received}", plain(client.infer("ensemble", [tensor()], outputs=asked()))
    many = [*files * 32][:32]  # so that answers are long enough to be compressed
    for request in ALGORITHMS:
        for response in ALGORITHMS:
            for received in ("binary", "JSON"):
                result = client.infer(
                    "ensemble",
                    [image_bytes(many)],
                    outputs=outputs[received](),
                    request_compression_algorithm=request,
                    response_compression_algorithm=response,
                )
                first = {name: array[: len(files)] for name, array in plain(result, "probability", "band").items()}
                yield f"{request} to {response}, {received}", first


def options(client: InferenceServerClient, pixels: np.ndarray, files: list[bytes], seconds: float) -> dict[str, Any]:
    """What else a request can say."""
    weapon = client.infer("weapon", [image(pixels)], model_version="1", request_id="photo 7")
    classes = [InferRequestedOutput("probability", class_count=2)]
    pending = [client.async_infer("ensemble", [image_bytes([file])], request_id=str(i)) for i, file in enumerate(files)]
    body, length = InferenceServerClient.generate_request_body([image(pixels)])
    return {
        "weapon": plain(weapon),
        "id": weapon.get_response()["id"],
        "model": [weapon.get_response()["model_name"], weapon.get_response()["model_version"]],
        "timeout": plain(client.infer("weapon", [image(pixels)], timeout=int(1e6 * seconds))),
        "priority": plain(client.infer("weapon", [image(pixels)], priority=1, parameters={"of": "our own"})),
        "sequence": plain(client.infer("weapon", [image(pixels)], sequence_id=5, sequence_start=True)),
        "classes": plain(client.infer("ensemble", [image(pixels)], outputs=classes))["probability"],
        "errors": {
            received: plain(
                client.infer(
                    "ensemble",
                    [image_bytes([files[0], b"no photo"])],
                    outputs=named(received == "binary", "error", "probability", "band")(),
                )
            )
            for received in ("binary", "JSON")
        },
        "tight": refusal(lambda: client.infer("weapon", [image(pixels)], timeout=1)),
        "async": [
            [result.get_response()["id"], plain(result)["probability"]]
            for result in (handle.get_result(timeout=seconds) for handle in pending)
        ],
        "generated": [len(body), length],
        "statistics": client.get_inference_statistics("weapon", "1"),
        "all statistics": client.get_inference_statistics(),
    }


def refusal(call: Callable[[], Any]) -> list[str | None]:
    """Status and message of a call that fails."""
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return [None, None]


def errors(client: InferenceServerClient, pixels: np.ndarray, files: list[bytes]) -> dict[str, Any]:
    """What a request can do wrong, by the client's means."""
    lying = image(pixels)
    lying.set_shape([len(pixels), 1, 1, 3])
    renamed = InferInput("pixels", list(pixels.shape), "UINT8").set_data_from_numpy(pixels)
    floats = pixels.astype(np.float32)
    shared = InferInput("image", list(pixels.shape), "UINT8").set_shared_memory("region", pixels.nbytes)
    return {
        "model": refusal(lambda: client.infer("absent", [image(pixels)])),
        "version": refusal(lambda: client.infer("weapon", [image(pixels)], model_version="99")),
        "metadata": refusal(lambda: client.get_model_metadata("absent")),
        "output": refusal(lambda: client.infer("weapon", [image(pixels)], outputs=named(True, "head")())),
        "input": refusal(lambda: client.infer("weapon", [renamed])),
        "two inputs": refusal(lambda: client.infer("weapon", [image(pixels), image_bytes(files)])),
        "datatype": refusal(
            lambda: client.infer(
                "weapon", [InferInput("image", list(floats.shape), "FP32").set_data_from_numpy(floats)]
            )
        ),
        "shape": refusal(lambda: client.infer("weapon", [lying])),
        "photo": refusal(lambda: client.infer("weapon", [image_bytes([files[0], b"no photo"])])),
        "many": refusal(lambda: client.infer("weapon", [image_bytes([files[0]] * 33)])),
        "shared memory": refusal(lambda: client.infer("weapon", [shared])),
        "no key": refusal(lambda: client.load_model("weapon")),
    }


def unknown(client: InferenceServerClient) -> dict[str, Any]:
    """Triton's calls that have no meaning here: the client must still understand the answer."""
    return {
        "trace": refusal(client.get_trace_settings),
        "trace update": refusal(lambda: client.update_trace_settings(settings={"trace_rate": "1"})),
        "log": refusal(client.get_log_settings),
        "log update": refusal(lambda: client.update_log_settings({"log_info": True})),
        "system memory": refusal(client.get_system_shared_memory_status),
        "cuda memory": refusal(client.get_cuda_shared_memory_status),
        "register": refusal(lambda: client.register_system_shared_memory("region", "key", 8)),
        "unregister": refusal(lambda: client.unregister_system_shared_memory("region")),
    }


def repository(client: InferenceServerClient, headers: dict[str, str], pixels: np.ndarray) -> dict[str, Any]:
    """Changes of the head `weapon`, ending with the version that it began with."""

    def serving() -> list[str]:
        index = client.get_model_repository_index()
        return [entry["version"] for entry in index if entry["name"] == "weapon" and entry["state"] == "READY"]

    def scored() -> Any:
        result = client.infer("ensemble", [image(pixels[:1])])
        heads = result.as_numpy("head").astype(str).tolist()
        return {name: float(result.as_numpy("probability")[0, column]) for column, name in enumerate(heads)}

    seen: dict[str, Any] = {"before": [serving(), scored()]}
    client.load_model("weapon", headers=headers)
    seen["latest"] = [serving(), scored()]
    config = json.dumps({"version_policy": {"specific": {"versions": [2]}}})
    client.load_model("weapon", headers=headers, config=config)
    seen["config"] = [serving(), scored()]
    seen["version 1"] = refusal(lambda: client.infer("weapon", [image(pixels)], model_version="1"))
    client.load_model("weapon", headers=headers, query_params={"version": 3, "shadow": "true"})
    seen["shadow"] = [serving(), scored()]
    client.unload_model("weapon", headers=headers, query_params={"shadow": "true"})
    client.unload_model("weapon", headers=headers)
    seen["unloaded"] = [serving(), scored(), client.is_model_ready("weapon")]
    client.load_model("weapon", headers=headers, query_params={"version": 1})
    seen["back"] = [serving(), scored()]
    client.load_model("ensemble", headers=headers)
    files = {"file:1/params.safetensors": b"no head"}
    seen["files"] = refusal(lambda: client.load_model("weapon", headers=headers, config="{}", files=files))
    seen["absent"] = refusal(lambda: client.load_model("absent", headers=headers))
    seen["version"] = refusal(lambda: client.load_model("weapon", headers=headers, query_params={"version": 99}))
    seen["ensemble"] = refusal(lambda: client.unload_model("ensemble", headers=headers))
    return seen


async def aio(address: str, pixels: np.ndarray, files: list[bytes], seconds: float) -> dict[str, Any]:
    """The asynchronous client, whose HTTP is another library's."""
    async with AsyncClient(address, conn_timeout=seconds) as client:
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_model_ready("weapon"),
            "pixels": plain(await client.infer("ensemble", [image(pixels)])),
            "files": plain(
                await client.infer(
                    "ensemble",
                    [image_bytes(files)],
                    outputs=named(False, "probability")(),
                    request_compression_algorithm="gzip",
                )
            ),
        }


if __name__ == "__main__":
    main(*sys.argv[1:])
