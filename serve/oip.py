"""The Open Inference Protocol's wire format (version 2, REST), as tritonclient and kserve's client speak it.

Pure functions: bytes to a checked request, a result to bytes, and the small JSON documents beside them. Every class is
a model, and `ensemble` is all of them. Sources: kserve/open-inference-protocol, and of Triton's extensions to it binary
tensors, classification, model configuration and the model repository. Nothing heavier than NumPy is imported, so that
a worker process can parse large bodies.

A request gives exactly one of two inputs:

- `image`, UINT8 [b, h, w, 3]: pixels, RGB, of any size.
- `image_bytes`, BYTES [b] or [b, 1]: encoded photos; in JSON each is a text in base64.

What is malformed is a Refusal with status 400, what exceeds a limit one with 413; its line names the field. Nothing is
allocated by what a request says of itself before that was checked against the limits and against the bytes there are.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import numpy as np

from serve.errors import Refusal

ENSEMBLE = "ensemble"
ENSEMBLE_VERSION = "1"
"""Always: who pins a version is served across changes of heads, which have versions of their own."""
HEADER = "Inference-Header-Content-Length"
"""How many bytes of a body are JSON; the tensors' bytes follow."""

SMALL = 64 * 2**10
"""Bytes of JSON that are parsed within a millisecond or two; more is not for the event loop."""

EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics")
INPUT_TENSORS = (("image", "UINT8", (-1, -1, -1, 3)), ("image_bytes", "BYTES", (-1,)))
ID_LENGTH = 256


@dataclass(frozen=True)
class Limits:
    """The photos of a request, and the pixels of a photo."""

    photos: int
    pixels: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named array: `data` is in NumPy, of this shape, or for BYTES a list of all elements, the last axis fastest."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: np.ndarray | list[bytes]


@dataclass(frozen=True)
class Output:
    """What the client wants back: raw bytes or JSON; with `classes` above 0, so many best classes as texts."""

    name: str
    binary: bool = False
    classes: int = 0


@dataclass(frozen=True, eq=False)
class InferRequest:
    """A checked request; `outputs` are those to answer with, in this order, never none."""

    id: str | None
    input: Tensor
    outputs: tuple[Output, ...]
    timeout_ms: float | None

    @property
    def photos(self) -> list[bytes | np.ndarray]:
        """The encoded photos, or their pixels, each uint8 [h, w, 3]."""
        return list(self.input.data)


@dataclass(frozen=True, eq=False)
class Result:
    """What a model found: for each of b photos and k classes (one, or all of the ensemble's)."""

    model: str
    version: str
    classes: Sequence[str]
    versions: Sequence[int]  # of the classes' heads
    scores: np.ndarray  # float32 [b, k]; NaN where there is an error
    bands: Sequence[Sequence[str]]  # [b][k]; empty texts where there is an error
    errors: Sequence[str | None]  # [b], a line each


@dataclass(frozen=True)
class LoadRequest:
    """Which version to load, None for the latest, and whether it only shadows the one that decides."""

    version: int | None
    shadow: bool


# INFER: bytes to a request.


def json_length(header: str | None, body: bytes) -> int:
    """The bytes of `body` that are JSON, by the header `Inference-Header-Content-Length`; all without it."""
    if header is None:
        return len(body)
    if not re.fullmatch("[0-9]{1,12}", header, re.ASCII) or int(header) > len(body):
        raise _bad(HEADER, f"is {_show(header)}, must be a number of bytes within the body's {len(body)}")
    return int(header)


def parse_infer(body: bytes, length: int, model: str, limits: Limits) -> InferRequest:
    """Reads a request of which the first `length` bytes are JSON. Raises Refusal."""
    content = _parse_json(body[:length])
    parameters = _object(content.get("parameters"), "parameters")
    return InferRequest(
        id=_id(content.get("id")),
        input=_input(content.get("inputs"), memoryview(body)[length:], limits),
        outputs=_outputs(content.get("outputs"), model, _flag(parameters, "binary_data_output", "parameters")),
        timeout_ms=_timeout(parameters.get("timeout")),
    )


def _id(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and len(value) <= ID_LENGTH):
        raise _bad("id", f"must be a text of at most {ID_LENGTH} characters")
    return value or None


def _timeout(value: Any) -> float | None:
    """Microseconds to milliseconds; 0, as from Triton's other clients, is none."""
    if value is not None and not (type(value) is int and 0 <= value < 2**63):
        raise _bad("parameters.timeout", f"is {_show(value)}, must be a whole number of microseconds")
    return value / 1000 if value else None


def _input(value: Any, raw: memoryview, limits: Limits) -> Tensor:
    if not (isinstance(value, list) and len(value) == 1):
        raise _bad("inputs", "give exactly one, image (UINT8) or image_bytes (BYTES)")
    field = "inputs[0]"
    content = _object(value[0], field)
    datatypes = {name: datatype for name, datatype, _ in INPUT_TENSORS}
    name, datatype = _name(content, datatypes, field), content.get("datatype")
    wanted = datatypes[name]
    if datatype != wanted:
        raise _bad(f"{field}.datatype", f"is {_show(datatype)}, must be {wanted} for {name}")
    shape = _shape(content.get("shape"), name, f"{field}.shape", limits)
    data, raw_size = content.get("data"), _raw_size(content.get("parameters"), len(raw), f"{field}.parameters")
    if (data is None) == (raw_size is None):
        raise _bad(f"{field}.data", "give it here, or as bytes after the JSON with parameters.binary_data_size")
    if wanted == "UINT8":
        pixels = raw if data is None else _pixels(data, shape, f"{field}.data")
        if len(pixels) != math.prod(shape):
            raise _bad(f"{field}.shape", f"{list(shape)} is {math.prod(shape)} bytes, {len(pixels)} were given")
        return Tensor(name, wanted, shape, np.frombuffer(pixels, np.uint8).reshape(shape))
    photos = _elements(raw, shape[0], name) if data is None else _texts(data, shape, name, f"{field}.data")
    return Tensor(name, wanted, shape, photos)


def _shape(value: Any, name: str, field: str, limits: Limits) -> tuple[int, ...]:
    """The shape, its every length within the limits, so that no product of them can be large."""
    whole = isinstance(value, list) and len(value) <= 4 and all(type(length) is int for length in value)
    if not whole or min(value, default=0) < 1:
        raise _bad(field, "must be a list of at most 4 whole numbers from 1")
    shape = tuple(value)
    if not (len(shape) == 4 and shape[3] == 3 if name == "image" else len(shape) == 1 or shape[1:] == (1,)):
        wanted = "[b, h, w, 3]" if name == "image" else "[b] or [b, 1]"
        raise _bad(field, f"has {_lengths(shape)}, must be {wanted} for {name}")
    if shape[0] > limits.photos:
        raise Refusal(413, f"{field}: {_lengths(shape[:1])} photos, more than the limit of {limits.photos}")
    if name == "image" and shape[1] * shape[2] > limits.pixels:
        raise Refusal(413, f"{field}: {_lengths(shape[1:3])} pixels, more than the limit of {limits.pixels:,}")
    return shape


def _raw_size(value: Any, given: int, field: str) -> int | None:
    """The bytes after the JSON that belong to the input, which is all of them; None where its data is JSON."""
    parameters = _object(value, field)
    if "shared_memory_region" in parameters:
        raise _bad(f"{field}.shared_memory_region", "shared memory is not supported, send the data")
    size = parameters.get("binary_data_size")
    if size is None and given:
        raise _bad(f"{field}.binary_data_size", f"is missing, but {given} bytes follow the JSON")
    if size is not None and (type(size) is not int or size != given):
        raise _bad(f"{field}.binary_data_size", f"is {_show(size)}, but {given} bytes follow the JSON")
    return size if isinstance(size, int) else None


def _elements(raw: memoryview, count: int, name: str) -> list[bytes]:
    """Each element is its length, four bytes, the lowest first, and as many bytes."""
    elements, start = [], 0
    for index in range(count):
        if len(raw) - start < 4:
            raise _bad(f"{name}[{index}]", f"its length is missing, the data ends after {len(raw)} bytes")
        (length,) = struct.unpack_from("<I", raw, start)
        start += 4
        if length > len(raw) - start:
            raise _bad(f"{name}[{index}]", f"says {length} bytes, but {len(raw) - start} follow")
        elements.append(bytes(raw[start : start + length]))
        start += length
    if start != len(raw):
        raise _bad(name, f"{len(raw) - start} bytes follow its last element")
    return elements


def _pixels(data: Any, shape: tuple[int, ...], field: str) -> bytes:
    values = _flat(data, shape, field)
    # min and max only then: of numbers alone they cannot fail.
    if set(map(type, values)) != {int} or min(values) < 0 or max(values) > 255:
        raise _bad(field, "must be whole numbers from 0 to 255")
    return bytes(values)


def _texts(data: Any, shape: tuple[int, ...], name: str, field: str) -> list[bytes]:
    photos = []
    for index, text in enumerate(_flat(data, shape, field)):
        try:
            photos.append(base64.b64decode(text, validate=True))
        except (TypeError, ValueError):
            raise _bad(f"{name}[{index}]", "must be a text in base64, or be sent as binary data") from None
    return photos


def _flat(data: object, shape: tuple[int, ...], field: str) -> list[Any]:
    """The elements in a list, the last axis fastest, of data that comes flat or nested as the shape says."""
    if not isinstance(data, list):
        raise _bad(field, f"is {_show(data)}, must be a list")
    if data and isinstance(data[0], list):
        if len(data) != shape[0]:
            raise _bad(field, f"has {len(data)} rows, the shape says {shape[0]}")
        for length in shape[1:]:
            if not all(isinstance(row, list) and len(row) == length for row in data):
                raise _bad(field, f"is nested otherwise than the shape {list(shape)} says")
            data = list(chain.from_iterable(data))
    if len(data) != math.prod(shape):
        raise _bad(field, f"has {len(data)} elements, the shape {list(shape)} says {math.prod(shape)}")
    return data


def _outputs(value: Any, model: str, binary: bool) -> tuple[Output, ...]:
    """The outputs that are named, or all that a model has but `error`."""
    known = [name for name, _, _ in output_tensors(model, 1)]
    if value is None or value == []:
        return tuple(Output(name, binary) for name in known if name != "error")
    if not (isinstance(value, list) and len(value) <= len(known)):
        raise _bad("outputs", f"must be a list of some of {', '.join(known)}")
    outputs = tuple(_output(item, f"outputs[{index}]", known, binary) for index, item in enumerate(value))
    if len({output.name for output in outputs}) < len(outputs):
        raise _bad("outputs", "name each once")
    return outputs


def _output(value: Any, field: str, known: Sequence[str], binary: bool) -> Output:
    content = _object(value, field)
    name, parameters = _name(content, known, field), _object(content.get("parameters"), f"{field}.parameters")
    if "shared_memory_region" in parameters:
        raise _bad(f"{field}.parameters.shared_memory_region", "shared memory is not supported, read the answer")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise _bad(f"{field}.parameters.classification", f"is {_show(classes)}, must be a number of classes")
    if classes and name != "probability":
        raise _bad(f"{field}.parameters.classification", "only probability has classes")
    return Output(name, _flag(parameters, "binary_data", f"{field}.parameters", binary), classes)


# INFER: a result to bytes.


def encode_infer(request: InferRequest, result: Result) -> tuple[bytes, int | None]:
    """The answer's body, and how many bytes of it are JSON where raw tensors follow, else None.

    A broken photo has its line in the output `error`, if the client asked for it, and no probability (NaN, in JSON
    null); else it is a Refusal of the request, 400, that names the photo.
    """
    if not any(output.name == "error" for output in request.outputs):
        for index, error in enumerate(result.errors):
            if error is not None:
                raise _bad(f"{request.input.name}[{index}]", error)
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for output in request.outputs:
        tensor = _result_tensor(output, result)
        description = _description(tensor.name, tensor.datatype, tensor.shape)
        if output.binary:
            raw.append(_to_bytes(tensor))
            outputs.append(description | {"parameters": {"binary_data_size": len(raw[-1])}})
        else:
            outputs.append(description | {"data": _to_list(tensor)})
    content = {"model_name": result.model, "model_version": result.version, "outputs": outputs}
    if request.id is not None:
        content["id"] = request.id
    text = to_json(content)
    return b"".join((text, *raw)), len(text) if raw else None


def to_json(content: Any) -> bytes:
    """Compact and ASCII; what is not finite must have become None before."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def _result_tensor(output: Output, result: Result) -> Tensor:
    if output.name == "probability" and output.classes:
        count = min(output.classes, len(result.classes))
        best = np.argsort(-result.scores, axis=1, kind="stable")[:, :count]
        texts = [
            f"{result.scores[row, column]!s}:{column}:{result.classes[column]}"
            for row, columns in enumerate(best)
            for column in columns
        ]
        return _texts_tensor(output.name, (len(best), count), texts)
    if output.name == "probability":
        return Tensor(output.name, "FP32", result.scores.shape, result.scores)
    if output.name == "band":
        return _texts_tensor(output.name, result.scores.shape, chain.from_iterable(result.bands))
    column = {
        "head": list(result.classes),
        "head_version": [str(version) for version in result.versions],
        "error": [error or "" for error in result.errors],
    }[output.name]
    return _texts_tensor(output.name, (len(column),), column)


def _texts_tensor(name: str, shape: tuple[int, ...], texts: Iterable[str]) -> Tensor:
    return Tensor(name, "BYTES", shape, [text.encode() for text in texts])


def _to_bytes(tensor: Tensor) -> bytes:
    if isinstance(tensor.data, np.ndarray):
        return tensor.data.astype("<f4").tobytes()
    return b"".join(struct.pack("<I", len(element)) + element for element in tensor.data)


def _to_list(tensor: Tensor) -> list[Any]:
    if isinstance(tensor.data, np.ndarray):
        return [None if math.isnan(value) else value for value in tensor.data.ravel().tolist()]
    return [element.decode() for element in tensor.data]


# What models are.


def output_tensors(model: str, classes: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, datatype and shape of each output; -1 is the number of photos."""
    heads = [("head", "BYTES", (classes,)), ("head_version", "BYTES", (classes,))] if model == ENSEMBLE else []
    per_class = [("probability", "FP32", (-1, classes)), ("band", "BYTES", (-1, classes))]
    return [*per_class, *heads, ("error", "BYTES", (-1,))]


def server_metadata(version: str) -> dict[str, Any]:
    """The answer to `GET /v2`; `version` is the library's."""
    return {"name": "prohibit_jax", "version": version, "extensions": EXTENSIONS}


def model_metadata(model: str, version: str, classes: int) -> dict[str, Any]:
    """The answer to `GET /v2/models/MODEL`; either input suffices."""
    return {
        "name": model,
        "versions": [version],
        "platform": "prohibit_jax",
        "inputs": [_description(*tensor) for tensor in INPUT_TENSORS],
        "outputs": [_description(*tensor) for tensor in output_tensors(model, classes)],
    }


def _description(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def model_config(model: str, version: str, classes: int) -> dict[str, Any]:
    """The least of Triton's model configuration that its clients read; every shape is written with its batch."""

    def described(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
        kind = {"UINT8": "TYPE_UINT8", "FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}[datatype]
        return {"name": name, "data_type": kind, "dims": shape}

    return {
        "name": model,
        "platform": "prohibit_jax",
        "backend": "prohibit_jax",
        "version_policy": {"specific": {"versions": [int(version)]}},
        "max_batch_size": 0,
        "input": [described(*tensor) | {"optional": True} for tensor in INPUT_TENSORS],
        "output": [described(*tensor) for tensor in output_tensors(model, classes)],
    }


# The model repository.


def parse_load(body: bytes, query: Mapping[str, str]) -> LoadRequest:
    """Which version is wanted: by the query, by `parameters`, or by Triton's `parameters.config`; they must agree."""
    parameters = _repository_parameters(body)
    if any(name.startswith("file:") for name in parameters):
        raise _bad("parameters.file:…", "heads come from the store alone; publish it there")
    _check_names(parameters, ("version", "shadow", "config"), "parameters")
    _check_names(query, ("version", "shadow"), "query")
    versions = {_version(query.get("version"), "version"), _version(parameters.get("version"), "parameters.version")}
    versions = (versions | {_config_version(parameters.get("config"))}) - {None}
    if len(versions) > 1:
        raise _bad("version", f"given as {' and '.join(map(str, sorted(filter(None, versions))))}, give one")
    return LoadRequest(next(iter(versions), None), _shadow(query, parameters))


def parse_unload(body: bytes, query: Mapping[str, str]) -> bool:
    """Whether the shadow is to go and not the head that decides."""
    parameters = _repository_parameters(body)
    _check_names(parameters, ("shadow", "unload_dependents"), "parameters")
    _check_names(query, ("shadow",), "query")
    return _shadow(query, parameters)


def parse_index(body: bytes) -> bool:
    """Whether only models that are ready are asked for. The body may be empty."""
    return _flag(_small_json(body), "ready", "")


def _repository_parameters(body: bytes) -> dict[str, Any]:
    return _object(_small_json(body).get("parameters"), "parameters")


def _small_json(body: bytes) -> dict[str, Any]:
    if len(body) > SMALL:
        raise Refusal(413, f"{len(body)} bytes, more than the limit of {SMALL}; heads come from the store alone")
    return _parse_json(body) if body.strip() else {}


def _check_names(given: Mapping[str, Any], known: Sequence[str], field: str) -> None:
    for name in given:
        if name not in known:
            raise _bad(field, f"{_show(name)} is not known, known are {', '.join(known)}")


def _version(value: Any, field: str) -> int | None:
    if value is None:
        return None
    text = str(value) if type(value) is int and abs(value) < 10**9 else value
    if not (isinstance(text, str) and re.fullmatch("[1-9][0-9]{0,8}", text, re.ASCII)):
        raise _bad(field, f"is {_show(value)}, must be a whole number from 1, of at most 9 digits")
    return int(text)


def _config_version(value: Any) -> int | None:
    """The one version that a configuration in Triton's form asks for; nothing else in it could be obeyed."""
    field = "parameters.config"
    if value is None:
        return None
    if not isinstance(value, str):
        raise _bad(field, "must be a text of JSON")
    config = _parse_json(value.encode(errors="surrogatepass"), field)
    _check_names(config, ("version_policy",), field)
    policy = _object(config.get("version_policy"), f"{field}.version_policy")
    _check_names(policy, ("specific",), f"{field}.version_policy")
    field += ".version_policy.specific"
    versions = _object(policy.get("specific"), field).get("versions")
    if versions is not None and not (isinstance(versions, list) and len(versions) == 1):
        raise _bad(f"{field}.versions", "give one: a single version of a class serves")
    return _version(versions[0], f"{field}.versions[0]") if versions else None


def _shadow(query: Mapping[str, str], parameters: Mapping[str, Any]) -> bool:
    given = query.get("shadow", parameters.get("shadow", False))
    if not (isinstance(given, bool) or given in ("true", "false")):
        raise _bad("shadow", f"is {_show(given)}, must be true or false")
    return given in (True, "true")


# Reading JSON.


def _parse_json(text: bytes, field: str = "") -> dict[str, Any]:
    where = field or "body"

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number")

    try:
        content = json.loads(text.decode(), parse_constant=refuse)
    except RecursionError:
        raise _bad(where, "JSON nested too deep") from None
    except ValueError as error:  # of UTF-8 and of numbers too long as well
        raise _bad(where, f"not JSON ({error})") from None
    if content is None:
        raise _bad(where, "is null, must be an object")
    return _object(content, where)


def _object(value: Any, field: str) -> dict[str, Any]:
    """A JSON object; null, which some clients write for what is absent, is an empty one."""
    if not isinstance(value, dict | None):
        raise _bad(field, f"is {_show(value)}, must be an object")
    return value or {}


def _name(content: Mapping[str, Any], known: Collection[str], field: str) -> str:
    name = content.get("name")
    if not (isinstance(name, str) and name in known):
        raise _bad(f"{field}.name", f"is {_show(name)}, must be one of {', '.join(known)}")
    return name


def _flag(content: Mapping[str, Any], name: str, field: str, default: bool = False) -> bool:
    value = content.get(name)
    if value is not None and not isinstance(value, bool):
        raise _bad(f"{field}.{name}".lstrip("."), f"is {_show(value)}, must be true or false")
    return default if value is None else value


def _show(value: Any) -> str:
    """A stranger's value for a line of text: short, printable, and never costly."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return repr(value[:60]) if isinstance(value, str) else repr(value)[:60]


def _lengths(shape: Sequence[int]) -> str:
    return " x ".join(map(_show, shape))


def _bad(field: str, problem: str) -> Refusal:
    return Refusal(400, f"{field}: {problem}")
