"""The Open Inference Protocol's bytes: exactly those that clients send and read, and no others."""

from __future__ import annotations

import base64
import json
import math
import pickle
import struct
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve import oip
from serve.errors import Refusal
from serve.oip import InferRequest, Limits, LoadRequest, Output, Result

LIMITS = Limits(photos=4, pixels=10_000)
PHOTOS = [b"\xff\xd8 first", b"", b"third \0"]

photos = st.lists(st.binary(max_size=40), min_size=1, max_size=LIMITS.photos)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-1, 5),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["image", "image_bytes", "UINT8", "BYTES", "probability", 2**63, 10**4000, -(2**31)]),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner))


def image_bytes(shape: Any = (3,), **rest: Any) -> dict[str, Any]:
    return {"name": "image_bytes", "datatype": "BYTES", "shape": shape, **rest}


def image(shape: Any, **rest: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "UINT8", "shape": shape, **rest}


def raw(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def binary(tensor: dict[str, Any], data: bytes, **rest: Any) -> tuple[bytes, int]:
    """A body of JSON and raw bytes, and how long the JSON is."""
    tensor = {"parameters": {"binary_data_size": len(data)}} | tensor
    text = json.dumps({"inputs": [tensor], **rest}).encode()
    return text + data, len(text)


def parse(body: bytes, length: int | None = None, model: str = "weapon") -> InferRequest:
    return oip.parse_infer(body, len(body) if length is None else length, model, LIMITS)


def parse_json(content: Any, model: str = "weapon") -> InferRequest:
    return parse(json.dumps(content).encode(), model=model)


def base64_texts(elements: list[bytes]) -> list[str]:
    return [base64.b64encode(element).decode() for element in elements]


def result(errors: tuple[str | None, ...] = (None, None), model: str = "ensemble") -> Result:
    classes, versions = (("weapon", "cash"), (3, 12)) if model == "ensemble" else (("weapon",), (3,))
    scores = np.array([[0.25, 0.875], [0.5, 0.125]], np.float32)[: len(errors), : len(classes)]
    bands = [["pass", "block"][: len(classes)], ["review", "pass"][: len(classes)]]
    scores[[error is not None for error in errors]] = np.nan
    rows = [["" for _ in row] if error else row for row, error in zip(bands, errors, strict=False)]
    return Result(model, "7", classes, versions, scores, rows, errors)


# REQUESTS.


def test_what_tritonclient_sends_by_default() -> None:
    text = (
        b'{"id":"a1","inputs":[{"name":"image_bytes","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":13'
        b'}}],"parameters":{"timeout":1500,"binary_data_output":true}}'
    )
    body = text + b"\x03\0\0\0abc\x02\0\0\0\xff\0"
    request = parse(body, oip.json_length(str(len(text)), body))
    assert (request.id, request.timeout_ms, request.photos) == ("a1", 1.5, [b"abc", b"\xff\0"])
    assert request.outputs == (Output("probability", True), Output("band", True))
    assert (request.input.name, request.input.datatype, request.input.shape) == ("image_bytes", "BYTES", (2,))


def test_what_kserve_sends_as_json() -> None:
    request = parse_json(
        {
            "id": "7f",
            "model_name": "weapon",
            "inputs": [image([2, 1, 2, 3], data=list(range(12)))],
            "outputs": [{"name": "error"}, {"name": "probability", "parameters": {"binary_data": True}}],
        }
    )
    assert request.outputs == (Output("error"), Output("probability", True))
    assert [photo.tolist() for photo in request.photos] == [[[[0, 1, 2], [3, 4, 5]]], [[[6, 7, 8], [9, 10, 11]]]]


def test_what_is_null_is_absent() -> None:
    request = parse_json(
        {
            "id": None,
            "parameters": None,
            "outputs": None,
            "inputs": [image_bytes(parameters=None, data=base64_texts(PHOTOS))],
        }
    )
    assert request.id is None
    assert request.timeout_ms is None
    assert request.photos == PHOTOS


@pytest.mark.parametrize("column", [(), (1,)])
@given(photos)
def test_encoded_photos_round_trip(column: tuple[int, ...], elements: list[bytes]) -> None:
    shape = (len(elements), *column)
    assert parse(*binary(image_bytes(shape), raw(elements))).photos == elements
    texts: Any = base64_texts(elements)
    assert parse_json({"inputs": [image_bytes(shape, data=texts)]}).photos == elements
    nested = [[text] for text in texts] if column else texts
    assert parse_json({"inputs": [image_bytes(shape, data=nested)]}).photos == elements


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.randoms(use_true_random=False))
def test_pixels_round_trip(count: int, height: int, width: int, random: Any) -> None:
    pixels = np.frombuffer(random.randbytes(count * height * width * 3), np.uint8).reshape(count, height, width, 3)
    for request in (
        parse(*binary(image(pixels.shape), pixels.tobytes())),
        parse_json({"inputs": [image(pixels.shape, data=pixels.tolist())]}),
        parse_json({"inputs": [image(pixels.shape, data=pixels.ravel().tolist())]}),
    ):
        assert len(request.photos) == count
        for photo, expected in zip(request.photos, pixels, strict=True):
            assert isinstance(photo, np.ndarray)
            assert photo.dtype == np.uint8
            np.testing.assert_array_equal(photo, expected)


def test_pixels_are_not_copied() -> None:
    body, length = binary(image([1, 2, 2, 3]), bytes(12))
    assert np.shares_memory(parse(body, length).photos[0], np.frombuffer(body, np.uint8))


@pytest.mark.parametrize(("asked", "wanted"), [(True, True), (False, False), (None, True)])
def test_an_output_overrides_the_request(asked: bool | None, wanted: bool) -> None:
    parameters = {} if asked is None else {"binary_data": asked}
    outputs = [{"name": "band", "parameters": parameters}]
    tensor = image_bytes(data=base64_texts(PHOTOS))
    request = parse_json({"inputs": [tensor], "outputs": outputs, "parameters": {"binary_data_output": True}})
    assert request.outputs == (Output("band", wanted),)


def test_the_ensemble_has_more_outputs() -> None:
    content = {"inputs": [image_bytes(data=base64_texts(PHOTOS))]}
    names = [output.name for output in parse_json(content, model="ensemble").outputs]
    assert names == ["probability", "band", "head", "head_version"]
    content["outputs"] = [{"name": "head"}]
    assert parse_json(content, model="ensemble").outputs == (Output("head"),)
    with pytest.raises(Refusal, match=r"^outputs\[0\]\.name: is 'head', must be one of probability, band, error$"):
        parse_json(content)


def test_a_timeout_of_zero_is_none() -> None:
    content = {"inputs": [image_bytes(data=base64_texts(PHOTOS))], "parameters": {"timeout": 0}}
    assert parse_json(content).timeout_ms is None


GOOD = image_bytes(data=base64_texts(PHOTOS))
BAD_JSON: list[tuple[Any, str]] = [
    ([], "body: is a list"),
    (None, "body: is null"),
    ({}, "inputs: give exactly one"),
    ({"inputs": {}}, "inputs: give exactly one"),
    ({"inputs": []}, "inputs: give exactly one"),
    ({"inputs": [GOOD, GOOD]}, "inputs: give exactly one"),
    ({"inputs": [GOOD, image([1, 1, 1, 3], data=[0, 0, 0])]}, "inputs: give exactly one"),
    ({"inputs": [5]}, "inputs[0]: is 5"),
    ({"inputs": [GOOD | {"name": "pixels"}]}, "inputs[0].name: is 'pixels'"),
    ({"inputs": [GOOD | {"name": ["image"]}]}, "inputs[0].name: is a list"),
    ({"inputs": [GOOD | {"datatype": "UINT8"}]}, "inputs[0].datatype: is 'UINT8', must be BYTES"),
    ({"inputs": [image([1, 1, 1, 3], data=[0, 0, 0]) | {"datatype": "FP32"}]}, "inputs[0].datatype: is 'FP32'"),
    ({"inputs": [GOOD | {"shape": None}]}, "inputs[0].shape: must be a list"),
    ({"inputs": [GOOD | {"shape": []}]}, "inputs[0].shape: must be a list"),
    ({"inputs": [GOOD | {"shape": [0]}]}, "inputs[0].shape: must be a list"),
    ({"inputs": [GOOD | {"shape": [-1]}]}, "inputs[0].shape: must be a list"),
    ({"inputs": [GOOD | {"shape": [3.0]}]}, "inputs[0].shape: must be a list"),
    ({"inputs": [GOOD | {"shape": [True]}]}, "inputs[0].shape: must be a list"),
    ({"inputs": [GOOD | {"shape": [3, 2]}]}, "inputs[0].shape: has 3 x 2, must be [b] or [b, 1]"),
    ({"inputs": [GOOD | {"shape": [1] * 1000}]}, "inputs[0].shape: must be a list of at most 4"),
    ({"inputs": [GOOD | {"shape": [2]}]}, "inputs[0].data: has 3 elements, the shape [2] says 2"),
    ({"inputs": [GOOD | {"data": None}]}, "inputs[0].data: give it here, or as bytes"),
    ({"inputs": [GOOD | {"data": "abcd"}]}, "inputs[0].data: is 'abcd', must be a list"),
    ({"inputs": [GOOD | {"data": ["YQ==", "YQ=", "YQ=="]}]}, "image_bytes[1]: must be a text in base64"),
    ({"inputs": [GOOD | {"data": ["YQ==", "YQ==", "Y Q=="]}]}, "image_bytes[2]: must be a text in base64"),
    ({"inputs": [GOOD | {"data": ["YQ==", "YQ==", "\u00fc==="]}]}, "image_bytes[2]: must be a text in base64"),
    ({"inputs": [GOOD | {"data": [5, "", ""]}]}, "image_bytes[0]: must be a text in base64"),
    ({"inputs": [GOOD | {"data": [["YQ=="], "", ""]}]}, "image_bytes[0]: must be a text in base64"),
    ({"inputs": [GOOD | {"parameters": []}]}, "inputs[0].parameters: is a list"),
    ({"inputs": [GOOD | {"parameters": {"binary_data_size": 0}}]}, "inputs[0].data: give it here, or as bytes"),
    ({"inputs": [GOOD | {"parameters": {"binary_data_size": 5}}]}, "inputs[0].parameters.binary_data_size: is 5"),
    ({"inputs": [GOOD | {"parameters": {"shared_memory_region": "r"}}]}, "inputs[0].parameters.shared_memory_region"),
    ({"inputs": [image([1, 1, 1, 4], data=[0] * 4)]}, "inputs[0].shape: has 1 x 1 x 1 x 4, must be [b, h, w, 3]"),
    ({"inputs": [image([1, 1, 3], data=[0] * 3)]}, "inputs[0].shape: has 1 x 1 x 3, must be [b, h, w, 3]"),
    ({"inputs": [image([1, 1, 1, 3], data=[0, 0, 256])]}, "inputs[0].data: must be whole numbers from 0 to 255"),
    ({"inputs": [image([1, 1, 1, 3], data=[0, -1, 0])]}, "inputs[0].data: must be whole numbers from 0 to 255"),
    ({"inputs": [image([1, 1, 1, 3], data=[0, 0, 1.0])]}, "inputs[0].data: must be whole numbers from 0 to 255"),
    ({"inputs": [image([1, 1, 1, 3], data=[0, 0, True])]}, "inputs[0].data: must be whole numbers from 0 to 255"),
    ({"inputs": [image([1, 1, 1, 3], data=[0, 0, "1"])]}, "inputs[0].data: must be whole numbers from 0 to 255"),
    ({"inputs": [image([1, 1, 1, 3], data=[0, 0])]}, "inputs[0].data: has 2 elements"),
    ({"inputs": [image([1, 1, 2, 3], data=[[[0] * 3] * 2])]}, "inputs[0].data: is nested otherwise than the shape"),
    ({"inputs": [image([1, 1, 1, 3], data=[[[[0, 0, [0]]]]])]}, "inputs[0].data: must be whole numbers"),
    ({"inputs": [image([2, 1, 1, 3], data=[[[[0, 0, 0]]]])]}, "inputs[0].data: has 1 rows, the shape says 2"),
    ({"inputs": [GOOD], "id": 5}, "id: must be a text"),
    ({"inputs": [GOOD], "id": "x" * 257}, "id: must be a text"),
    ({"inputs": [GOOD], "parameters": 5}, "parameters: is 5"),
    ({"inputs": [GOOD], "parameters": {"timeout": -1}}, "parameters.timeout: is -1"),
    ({"inputs": [GOOD], "parameters": {"timeout": 2**63}}, "parameters.timeout: is 9223372036854775808"),
    ({"inputs": [GOOD], "parameters": {"timeout": 1.5}}, "parameters.timeout: is 1.5"),
    ({"inputs": [GOOD], "parameters": {"timeout": True}}, "parameters.timeout: is True"),
    ({"inputs": [GOOD], "parameters": {"binary_data_output": 1}}, "parameters.binary_data_output: is 1, must be true"),
    ({"inputs": [GOOD], "outputs": {}}, "outputs: must be a list"),
    ({"inputs": [GOOD], "outputs": [{"name": "band"}] * 9}, "outputs: must be a list of some of"),
    ({"inputs": [GOOD], "outputs": [{"name": "band"}] * 2}, "outputs: name each once"),
    ({"inputs": [GOOD], "outputs": ["band"]}, "outputs[0]: is 'band', must be an object"),
    ({"inputs": [GOOD], "outputs": [{"name": {}}]}, "outputs[0].name: is an object"),
    (
        {"inputs": [GOOD], "outputs": [{"name": "band", "parameters": {"binary_data": "yes"}}]},
        "outputs[0].parameters.binary_data: is 'yes', must be true or false",
    ),
    (
        {"inputs": [GOOD], "outputs": [{"name": "band", "parameters": {"classification": 1}}]},
        "outputs[0].parameters.classification: only probability",
    ),
    (
        {"inputs": [GOOD], "outputs": [{"name": "probability", "parameters": {"classification": -1}}]},
        "outputs[0].parameters.classification: is -1",
    ),
    (
        {"inputs": [GOOD], "outputs": [{"name": "probability", "parameters": {"shared_memory_region": "r"}}]},
        "outputs[0].parameters.shared_memory_region",
    ),
]


@pytest.mark.parametrize(("content", "line"), BAD_JSON)
def test_the_line_names_the_field(content: Any, line: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse_json(content)
    assert refusal.value.status == 400
    assert refusal.value.text.startswith(line)


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        ([5], "inputs[0].shape: 5 photos, more than the limit of 4"),
        ([10**30], f"inputs[0].shape: {10**30} photos"),
        ([1, 101, 100, 3], "inputs[0].shape: 101 x 100 pixels, more than the limit of 10,000"),
        ([4, 2**32, 2**32, 3], "inputs[0].shape: 4294967296 x 4294967296 pixels"),
    ],
)
def test_limits(shape: list[int], line: str) -> None:
    tensor = image_bytes(shape) if len(shape) == 1 else image(shape)
    with pytest.raises(Refusal) as refusal:
        parse(*binary(tensor, b"x"))
    assert refusal.value.status == 413
    assert refusal.value.text.startswith(line)


@pytest.mark.parametrize(
    ("tensor", "data", "line"),
    [
        (image([1, 1, 1, 3]), b"ab", "inputs[0].shape: [1, 1, 1, 3] is 3 bytes, 2 were given"),
        (image([1, 1, 1, 3]), b"abcd", "inputs[0].shape: [1, 1, 1, 3] is 3 bytes, 4 were given"),
        (image_bytes([1]), b"", "image_bytes[0]: its length is missing"),
        (image_bytes([1]), b"\1\0\0", "image_bytes[0]: its length is missing"),
        (image_bytes([2]), b"\1\0\0\0a", "image_bytes[1]: its length is missing, the data ends after 5 bytes"),
        (image_bytes([1]), b"\2\0\0\0a", "image_bytes[0]: says 2 bytes, but 1 follow"),
        (image_bytes([1]), b"\xff\xff\xff\xffa", "image_bytes[0]: says 4294967295 bytes, but 1 follow"),
        (image_bytes([1]), b"\1\0\0\0ab", "image_bytes: 1 bytes follow its last element"),
        (image_bytes([1], parameters={}), b"\1\0\0\0a", "inputs[0].parameters.binary_data_size: is missing, but 5"),
        (image_bytes([1], parameters={"binary_data_size": 4}), b"\1\0\0\0a", "inputs[0].parameters.binary_data_size"),
        (image_bytes([1], parameters={"binary_data_size": 5.0}), b"\1\0\0\0a", "inputs[0].parameters.binary_data_size"),
        (image_bytes([1], parameters={"binary_data_size": -5}), b"\1\0\0\0a", "inputs[0].parameters.binary_data_size"),
        (image_bytes([1], data=["YQ=="]), b"\1\0\0\0a", "inputs[0].data: give it here, or as bytes"),
    ],
)
def test_lengths_that_lie(tensor: dict[str, Any], data: bytes, line: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse(*binary(tensor, data))
    assert refusal.value.status == 400
    assert refusal.value.text.startswith(line)


@pytest.mark.parametrize("header", ["", "-1", "+1", "1.0", " 5", "0x5", "6", "9" * 400, "\u0665", "5\n"])
def test_a_header_that_is_no_length_of_the_body(header: str) -> None:
    with pytest.raises(Refusal, match=r"^Inference-Header-Content-Length: is "):
        oip.json_length(header, b"abcde")


def test_a_header_within_the_body() -> None:
    assert oip.json_length(None, b"abcde") == 5
    assert oip.json_length("5", b"abcde") == 5
    assert oip.json_length("0", b"abcde") == 0


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"", "body: not JSON"),
        (b"{", "body: not JSON"),
        (b"\xff\xfe{}", "body: not JSON"),
        ("{}".encode("utf-16"), "body: not JSON"),
        (b'{"inputs": NaN}', "body: not JSON (NaN is not a number)"),
        (b'{"inputs": -Infinity}', "body: not JSON (-Infinity is not a number)"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "body: not JSON"),
        (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "body: JSON nested too deep"),
        (b'{"a":' * 50_000, "body: JSON nested too deep"),
    ],
)
def test_what_is_no_json(body: bytes, line: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse(body)
    assert refusal.value.status == 400
    assert refusal.value.text.startswith(line)


# ANYTHING AT ALL.


def check_refused_or_sound(body: bytes, length: int, model: str = "ensemble") -> None:
    try:
        request = parse(body, length, model)
    except Refusal as refusal:
        assert refusal.status in (400, 413)
        assert refusal.text.isprintable()
        assert 0 < len(refusal.text) < 400
        refusal.text.encode()
        assert str(pickle.loads(pickle.dumps(refusal))) == refusal.text
    else:
        assert 1 <= len(request.photos) <= LIMITS.photos
        assert request.outputs


@given(st.binary(max_size=200), st.integers(0, 200))
def test_arbitrary_bytes(body: bytes, length: int) -> None:
    check_refused_or_sound(body, min(length, len(body)))


@given(values)
def test_arbitrary_json(content: Any) -> None:
    for whole in (content, {"inputs": content}, {"inputs": [content]}, {"inputs": [GOOD], "outputs": [content]}):
        body = json.dumps(whole).encode()
        check_refused_or_sound(body, len(body))


VALID: dict[str, Any] = {
    "id": "x",
    "inputs": [image([1, 1, 2, 3], data=[[[[0, 1, 2], [3, 4, 5]]]], parameters={"binary_data_size": None})],
    "outputs": [{"name": "probability", "parameters": {"binary_data": True, "classification": 2}}, {"name": "head"}],
    "parameters": {"timeout": 5, "binary_data_output": False},
}


def places(value: Any) -> list[tuple[Any, ...]]:
    """The path to every value within."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *rest) for key, inner in items for rest in places(inner))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    key, *rest = path
    changed = value.copy()
    changed[key] = put(value[key], tuple(rest), new)
    return changed


@given(st.sampled_from(places(VALID)), values)
def test_one_value_of_a_good_request_replaced(path: tuple[Any, ...], new: Any) -> None:
    body = json.dumps(put(VALID, path, new)).encode()
    check_refused_or_sound(body, len(body))


@given(photos, st.data())
def test_bytes_of_a_good_request_changed(elements: list[bytes], data: st.DataObject) -> None:
    body, length = binary(image_bytes([len(elements)]), raw(elements), parameters={"binary_data_output": True})
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(changed)))
        changed[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    check_refused_or_sound(bytes(changed), min(length + data.draw(st.integers(-2, 2)), len(changed)))


@pytest.mark.parametrize(
    ("tensor", "data"),
    [
        (image([4, 100, 100, 3]), b""),
        (image([1, 2**40, 1, 3]), b"abc"),
        (image_bytes([4]), b"\xff\xff\xff\x7f" * 4),
        (image_bytes([2**50]), b"\0" * 400),
    ],
)
def test_a_request_that_lies_costs_no_memory(tensor: dict[str, Any], data: bytes) -> None:
    body, length = binary(tensor, data)
    tracemalloc.start()
    try:
        with pytest.raises(Refusal):
            parse(body, length)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_requests_survive_the_way_from_a_worker() -> None:
    request = pickle.loads(pickle.dumps(parse_json(VALID, "ensemble")))
    assert request.id == "x"
    np.testing.assert_array_equal(request.photos[0], [[[0, 1, 2], [3, 4, 5]]])


def test_a_worker_needs_little_to_parse() -> None:
    script = "import serve.oip, sys; print([name for name in ('jax', 'starlette', 'pydantic') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout.strip() == b"[]"


# ANSWERS.


def asked(*outputs: Output, name: str = "image_bytes") -> InferRequest:
    return InferRequest("a1", oip.Tensor(name, "BYTES", (2,), [b"", b""]), outputs, None)


def test_an_answer_in_json() -> None:
    names = ("probability", "band", "head", "head_version")
    body, length = oip.encode_infer(asked(*map(Output, names)), result())
    assert length is None
    assert body == (
        b'{"model_name":"ensemble","model_version":"7","outputs":['
        b'{"name":"probability","datatype":"FP32","shape":[2,2],"data":[0.25,0.875,0.5,0.125]},'
        b'{"name":"band","datatype":"BYTES","shape":[2,2],"data":["pass","block","review","pass"]},'
        b'{"name":"head","datatype":"BYTES","shape":[2],"data":["weapon","cash"]},'
        b'{"name":"head_version","datatype":"BYTES","shape":[2],"data":["3","12"]}],"id":"a1"}'
    )


def test_an_answer_in_binary() -> None:
    body, length = oip.encode_infer(
        asked(Output("probability", True), Output("band"), Output("error", True)), result(model="weapon")
    )
    text = (
        b'{"model_name":"weapon","model_version":"7","outputs":['
        b'{"name":"probability","datatype":"FP32","shape":[2,1],"parameters":{"binary_data_size":8}},'
        b'{"name":"band","datatype":"BYTES","shape":[2,1],"data":["pass","review"]},'
        b'{"name":"error","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":8}}],"id":"a1"}'
    )
    assert body == text + b"\0\0\x80\x3e\0\0\0\x3f" + bytes(8)
    assert length == len(text)


def test_texts_in_binary() -> None:
    body, length = oip.encode_infer(asked(Output("band", True)), result(model="weapon"))
    assert body[length:] == b"\4\0\0\0pass\6\0\0\0review"


def test_an_answer_has_the_clients_id_or_none() -> None:
    request = InferRequest(None, asked().input, (Output("head"),), None)
    assert "id" not in json.loads(oip.encode_infer(request, result())[0])


@pytest.mark.parametrize("name", ["image", "image_bytes"])
def test_a_broken_photo_refuses_the_request(name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        oip.encode_infer(asked(Output("probability"), name=name), result((None, "JPEG: truncated")))
    assert (refusal.value.status, refusal.value.text) == (400, f"{name}[1]: JPEG: truncated")


def test_a_broken_photo_has_its_line_where_errors_are_asked_for() -> None:
    request = asked(Output("probability"), Output("band"), Output("error"))
    content = json.loads(oip.encode_infer(request, result((None, "JPEG: truncated")))[0])
    data = {output["name"]: output["data"] for output in content["outputs"]}
    assert data == {
        "probability": [0.25, 0.875, None, None],
        "band": ["pass", "block", "", ""],
        "error": ["", "JPEG: truncated"],
    }
    body, length = oip.encode_infer(asked(Output("probability", True), Output("error")), result((None, "x")))
    assert [math.isnan(value) for value in np.frombuffer(body[length:], "<f4")] == [False, False, True, True]


@pytest.mark.parametrize(
    ("model", "count", "shape", "data"),
    [
        ("ensemble", 1, [2, 1], ["0.875:1:cash", "0.5:0:weapon"]),
        ("ensemble", 2, [2, 2], ["0.875:1:cash", "0.25:0:weapon", "0.5:0:weapon", "0.125:1:cash"]),
        ("weapon", 10**9, [2, 1], ["0.25:0:weapon", "0.5:0:weapon"]),
    ],
)
def test_classification(model: str, count: int, shape: list[int], data: list[str]) -> None:
    body, _ = oip.encode_infer(asked(Output("probability", classes=count)), result(model=model))
    expected = {"name": "probability", "datatype": "BYTES", "shape": shape, "data": data}
    assert json.loads(body)["outputs"] == [expected]


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2), st.booleans())
def test_probabilities_arrive_to_the_last_bit(scores: list[float], raw_bytes: bool) -> None:
    found = result(model="weapon")
    found.scores[:, 0] = scores
    body, length = oip.encode_infer(asked(Output("probability", raw_bytes)), found)
    data = np.frombuffer(body[length:], "<f4") if raw_bytes else json.loads(body)["outputs"][0]["data"]
    np.testing.assert_array_equal(np.asarray(data, np.float32), np.array(scores, np.float32))


# THE REST.


def test_metadata() -> None:
    assert oip.model_metadata("ensemble", "7", 20) == {
        "name": "ensemble",
        "versions": ["7"],
        "platform": "prohibit_jax",
        "inputs": [
            {"name": "image", "datatype": "UINT8", "shape": (-1, -1, -1, 3)},
            {"name": "image_bytes", "datatype": "BYTES", "shape": (-1,)},
        ],
        "outputs": [
            {"name": "probability", "datatype": "FP32", "shape": (-1, 20)},
            {"name": "band", "datatype": "BYTES", "shape": (-1, 20)},
            {"name": "head", "datatype": "BYTES", "shape": (20,)},
            {"name": "head_version", "datatype": "BYTES", "shape": (20,)},
            {"name": "error", "datatype": "BYTES", "shape": (-1,)},
        ],
    }
    assert [output["name"] for output in oip.model_metadata("weapon", "3", 1)["outputs"]] == [
        "probability",
        "band",
        "error",
    ]


def test_config() -> None:
    config = oip.model_config("weapon", "3", 1)
    assert config["version_policy"] == {"specific": {"versions": [3]}}
    assert config["input"][0] == {"name": "image", "data_type": "TYPE_UINT8", "dims": (-1, -1, -1, 3), "optional": True}
    assert config["output"][0] == {"name": "probability", "data_type": "TYPE_FP32", "dims": (-1, 1)}


def config_of(*versions: Any) -> str:
    return json.dumps({"parameters": {"config": json.dumps({"version_policy": {"specific": {"versions": versions}}})}})


@pytest.mark.parametrize(
    ("body", "query", "wanted"),
    [
        ("", {}, LoadRequest(None, False)),
        ("{}", {}, LoadRequest(None, False)),
        ('{"parameters": null}', {}, LoadRequest(None, False)),
        ('{"parameters": {"config": null}}', {}, LoadRequest(None, False)),
        ('{"parameters": {"config": "{}"}}', {}, LoadRequest(None, False)),
        ("", {"version": "9", "shadow": "true"}, LoadRequest(9, True)),
        ('{"parameters": {"version": 9, "shadow": true}}', {}, LoadRequest(9, True)),
        ('{"parameters": {"version": "9", "shadow": "false"}}', {"version": "9"}, LoadRequest(9, False)),
        (config_of(9), {}, LoadRequest(9, False)),
        (config_of("9"), {"shadow": "true"}, LoadRequest(9, True)),
    ],
)
def test_what_to_load(body: str, query: dict[str, str], wanted: LoadRequest) -> None:
    assert oip.parse_load(body.encode(), query) == wanted


@pytest.mark.parametrize(
    ("body", "query", "line"),
    [
        ("[]", {}, "body: is a list"),
        ("x", {}, "body: not JSON"),
        ('{"parameters": 5}', {}, "parameters: is 5"),
        ('{"parameters": {"file:1/params": "YQ=="}}', {}, "parameters.file:…: heads come from the store alone"),
        ('{"parameters": {"versoin": 9}}', {}, "parameters: 'versoin' is not known"),
        ("", {"versoin": "9"}, "query: 'versoin' is not known"),
        ("", {"version": "0"}, "version: is '0', must be a whole number from 1"),
        ("", {"version": "1" * 10}, "version: is '1111111111', must be"),
        ("", {"version": "\u0661"}, "version: is "),
        ('{"parameters": {"version": 1.5}}', {}, "parameters.version: is 1.5"),
        ('{"parameters": {"version": true}}', {}, "parameters.version: is True"),
        ('{"parameters": {"version": 1' + "0" * 4000 + "}}", {}, "parameters.version: is 1000"),
        ('{"parameters": {"version": 8}}', {"version": "9"}, "version: given as 8 and 9, give one"),
        ('{"parameters": {"shadow": 1}}', {}, "shadow: is 1, must be true or false"),
        ('{"parameters": {"shadow": []}}', {}, "shadow: is a list, must be true or false"),
        ("", {"shadow": "yes"}, "shadow: is 'yes', must be true or false"),
        ('{"parameters": {"config": {}}}', {}, "parameters.config: must be a text of JSON"),
        ('{"parameters": {"config": "["}}', {}, "parameters.config: not JSON"),
        ('{"parameters": {"config": "\\ud800"}}', {}, "parameters.config: not JSON"),
        ('{"parameters": {"config": "{\\"backend\\": 1}"}}', {}, "parameters.config: 'backend' is not known"),
        (config_of(1, 2), {}, "parameters.config.version_policy.specific.versions: give one"),
        (config_of(), {}, "parameters.config.version_policy.specific.versions: give one"),
        (config_of([]), {}, "parameters.config.version_policy.specific.versions[0]: is a list"),
    ],
)
def test_what_not_to_load(body: str, query: dict[str, str], line: str) -> None:
    with pytest.raises(Refusal) as refusal:
        oip.parse_load(body.encode(), query)
    assert refusal.value.status == 400
    assert refusal.value.text.startswith(line)


def test_unload_and_index() -> None:
    assert not oip.parse_unload(b'{"parameters": {"unload_dependents": false}}', {})
    assert oip.parse_unload(b"", {"shadow": "true"})
    assert not oip.parse_index(b"")
    assert oip.parse_index(b'{"ready": true}')
    with pytest.raises(Refusal, match=r"^ready: is 1, must be true or false"):
        oip.parse_index(b'{"ready": 1}')
    with pytest.raises(Refusal, match="heads come from the store alone") as refusal:
        oip.parse_load(b" " * 100_000, {})
    assert refusal.value.status == 413


@given(st.binary(max_size=100) | values.map(lambda value: json.dumps({"parameters": value}).encode()))
def test_arbitrary_repository_bodies(body: bytes) -> None:
    for read in (oip.parse_index, lambda body: oip.parse_load(body, {}), lambda body: oip.parse_unload(body, {})):
        try:
            read(body)
        except Refusal as refusal:
            assert refusal.status in (400, 413)
            assert refusal.text.isprintable()
