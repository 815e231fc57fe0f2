"""Every call of kserve's REST client (protocol v2), and what it saw, as one JSON object.

Run by the environment that has kserve: `python kserve_client.py URL FOLDER SECONDS`, the latter two as for `triton.py`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, InferResponse
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def main(url: str, folder: str, seconds: str) -> None:
    """Prints the object."""
    pixels = np.load(f"{folder}/pixels.npy")
    files = [Path(folder, f"{index}.png").read_bytes() for index in range(len(pixels))]
    texts = [base64.b64encode(file).decode() for file in files]
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=float(seconds))) as client:

        async def ask(tensor: InferInput, outputs: list[RequestedOutput] | None, model: str = "ensemble") -> Any:
            request = InferRequest(model, [tensor], request_outputs=outputs)
            headers: dict[str, str] = {}
            return plain(await client.infer(url, request, model_name=model, response_headers=headers))

        inputs = {
            "pixels": lambda: image(pixels),
            "pixels as JSON": lambda: image(pixels, binary=False),
            "files": lambda: image_bytes(files, binary=True),
            "files as JSON": lambda: image_bytes(texts, binary=False),
        }
        outputs = {
            "all": None,
            "binary": [RequestedOutput(name, {"binary_data": True}) for name in ("probability", "band", "head")],
            "JSON": [RequestedOutput(name, {"binary_data": False}) for name in ("probability", "band", "head")],
        }
        content = {"inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": [len(texts)], "data": texts}]}
        headers: dict[str, str] = {}
        many = InferRequest("ensemble", [image_bytes([*files * 32][:32], binary=True)])
        compressed = await client.infer(url, many, model_name="ensemble", response_headers=headers)
        named = InferRequest("weapon", [image(pixels)], request_id="photo 7")
        answer = await client.infer(url, named, model_name="weapon")
        seen = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "models": {name: await client.is_model_ready(url, name) for name in ("weapon", "ensemble", "absent")},
            "infer": {
                f"{sent}, {received}": await ask(tensor(), asked)
                for sent, tensor in inputs.items()
                for received, asked in outputs.items()
            },
            "weapon": await ask(image(pixels), None, "weapon"),
            "dict": plain(await client.infer(url, content, model_name="ensemble")),
            "compressed": [headers.get("content-encoding"), len(compressed.outputs[0].as_numpy())],
            "named": [answer.id, answer.model_name, answer.model_version],
            "errors": {
                "model": await refusal(client.infer(url, content, model_name="absent")),
                "empty": await refusal(client.infer(url, {"inputs": []}, model_name="ensemble")),
                "photo": await refusal(ask(image_bytes([files[0], b"no photo"], binary=True), None)),
            },
        }
    print(json.dumps(seen))  # noqa: T201


def image(pixels: np.ndarray, binary: bool = True) -> InferInput:
    """Pixels."""
    tensor = InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, binary)
    return tensor


def image_bytes(elements: list[Any], binary: bool) -> InferInput:
    """Encoded photos, or for JSON their texts in base64."""
    array = np.array([*elements, None], dtype=object)[:-1]
    tensor = InferInput("image_bytes", list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array, binary)
    return tensor


def plain(answer: InferResponse) -> dict[str, Any]:
    """Outputs as JSON knows them."""
    found = {output.name: output.as_numpy() for output in answer.outputs}
    return {
        name: array.astype(str).tolist() if array.dtype == object else array.tolist() for name, array in found.items()
    }


async def refusal(call: Awaitable[Any]) -> list[Any]:
    """Status and message of a call that fails."""
    try:
        await call
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, str(error)]
    return [None, None]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
