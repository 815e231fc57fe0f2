"""Bodies within limits: what comes out is what went in, and whatever else goes in is refused in little memory."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import tracemalloc
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from serve.body import MEMBERS, NAME_LENGTH, inflate, photos_of_form, read_body
from serve.errors import Refusal
from serve.settings import LimitsConfig

LIMITS = LimitsConfig(body=10_000, photos=4, photo_bytes=1000)
FORM = "multipart/form-data; boundary=frontier"


def request(chunks: Sequence[bytes], gone: bool = False, **headers: str) -> Request:
    """A request whose body comes in chunks, and whose client may go away after them."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.disconnect"} if gone else {"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "left": messages}, receive)


def body(*chunks: bytes, limits: LimitsConfig = LIMITS, **headers: str) -> bytes:
    return asyncio.run(read_body(request(chunks, **headers), limits))


def refused(status: int, *chunks: bytes, limits: LimitsConfig = LIMITS, **headers: str) -> str:
    with pytest.raises(Refusal) as caught:
        body(*chunks, limits=limits, **headers)
    return said(caught.value, status)


def said(refusal: Refusal, status: int) -> str:
    assert refusal.status == status
    assert refusal.text
    assert refusal.text.isprintable()
    return refusal.text


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def test_plain() -> None:
    assert body() == b""
    assert body(b"ab", b"", b"c", content_length="3") == b"abc"
    assert body(b"abc", content_encoding="identity") == b"abc"
    assert body(bytes(5000), bytes(5000), content_length="10000") == bytes(10_000)


def test_too_large() -> None:
    assert "10000 bytes" in refused(413, bytes(5000), bytes(5001))
    refused(413, bytes(5000), bytes(5001), content_length="3")
    unread = request([b"x"], content_length="10001")
    with pytest.raises(Refusal) as caught:
        asyncio.run(read_body(unread, LIMITS))
    said(caught.value, 413)
    assert len(unread.scope["left"]) == 2  # before anything is read
    refused(400, content_length="many")
    refused(400, content_length="9" * 5000)


def test_client_gone() -> None:
    with pytest.raises(ClientDisconnect):
        asyncio.run(read_body(request([b"abc"], gone=True, content_length="9"), LIMITS))


def test_encodings() -> None:
    data = random.Random(0).randbytes(3000) + bytes(5000)
    for name, encoded in {
        "gzip": gzip.compress(data),
        "X-Gzip": gzip.compress(data),
        "identity, GZIP": gzip.compress(data),
        "gzip ": gzip.compress(data[:4000]) + gzip.compress(b"") + gzip.compress(data[4000:]),
        "deflate": zlib.compress(data),
        "Deflate": raw_deflate(data),
    }.items():
        assert body(*(encoded[i : i + 100] for i in range(0, len(encoded), 100)), content_encoding=name) == data
    for name in ("br", "zstd", "gzip, gzip", "gzip, br", "compress", "gz"):
        assert "gzip or deflate" in refused(415, b"abc", content_encoding=name)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_damaged(encoding: str) -> None:
    data = bytes(range(256)) * 10
    whole = gzip.compress(data) if encoding == "gzip" else zlib.compress(data)
    for length in range(len(whole)):
        refused(400, whole[:length], content_encoding=encoding)
    for end in (b"\0", b"garbage", bytes(5000), whole[:-1]):
        refused(400, whole, end, content_encoding=encoding)
    refused(400, b"hello", content_encoding=encoding)


def test_size_is_of_what_comes_out() -> None:
    for encode in (gzip.compress, zlib.compress):
        encoding = "gzip" if encode is gzip.compress else "deflate"
        assert len(body(encode(bytes(10_000)), content_encoding=encoding)) == 10_000
        refused(413, encode(bytes(10_001)), content_encoding=encoding)
    refused(413, gzip.compress(bytes(6000)) * 2, content_encoding="gzip")
    empty = gzip.compress(b"")
    assert inflate(empty * MEMBERS, "gzip", 10) == b""
    with pytest.raises(Refusal):
        inflate(empty * (MEMBERS + 1), "gzip", 10)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_bomb(encoding: str) -> None:
    """A hundred times the limit, in a tenth of it: the memory is the limit's."""
    limit = 2**20
    bomb = (gzip.compress if encoding == "gzip" else zlib.compress)(bytes(100 * limit))
    assert len(bomb) < limit
    tracemalloc.start()
    try:
        refused(413, bomb, limits=LimitsConfig(body=limit), content_encoding=encoding)
        assert tracemalloc.get_traced_memory()[1] < 4 * limit
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=20_000), st.sampled_from(["gzip", "deflate", "raw"]), st.integers(0, 30_000))
def test_inflate_gives_back(data: bytes, kind: str, limit: int) -> None:
    encode = {"gzip": gzip.compress, "deflate": zlib.compress, "raw": raw_deflate}[kind]
    encoding = "gzip" if kind == "gzip" else "deflate"
    try:
        assert inflate(encode(data), encoding, limit) == data
        assert len(data) <= limit
    except Refusal as refusal:
        said(refusal, 413)
        assert len(data) > limit


mutations = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["flip", "cut", "put"]), st.binary(max_size=5)), max_size=4
)


def mutate(data: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    for where, change, new in changes:
        at = int(where * len(data))
        data = data[:at] + new + data[at + {"flip": len(new), "cut": 1 + len(new) * 10, "put": 0}[change] :]
    return data


@given(st.binary(max_size=2000), mutations, st.sampled_from(["gzip", "deflate"]))
def test_inflate_refuses_all_else(data: bytes, changes: list[tuple[float, str, bytes]], encoding: str) -> None:
    encoded = gzip.compress(data) if encoding == "gzip" else zlib.compress(data)
    try:
        assert len(inflate(mutate(encoded, changes), encoding, 5000)) <= 5000
    except Refusal as refusal:
        assert refusal.status in (400, 413)


def part(data: bytes, name: str = "file", filename: str | bytes | None = "a.jpg", extra: bytes = b"") -> bytes:
    named = (
        b"" if filename is None else b'; filename="%s"' % (filename.encode() if isinstance(filename, str) else filename)
    )
    head = b'Content-Disposition: form-data; name="%s"%s\r\n%s\r\n' % (name.encode(), named, extra)
    return b"--frontier\r\n" + head + data + b"\r\n"


def photos(*parts: bytes, kind: str = FORM, limits: LimitsConfig = LIMITS, end: bytes = b"--frontier--\r\n") -> Any:
    return asyncio.run(photos_of_form(kind, b"".join(parts) + end, limits))


def bad_form(status: int, *parts: bytes, **options: Any) -> str:
    with pytest.raises(Refusal) as caught:
        photos(*parts, **options)
    return said(caught.value, status)


def test_form() -> None:
    large = os.urandom(2 * 2**20)  # Starlette would put it on the disk
    assert photos(part(b"one"), part(large, "files", "b.png", b"Content-Type: image/png\r\n"), part(b"")) == [
        ("a.jpg", b"one"),
        ("b.png", large),
        ("a.jpg", b""),
    ]
    assert photos(part(b"\r\n--frontie\r\n\r\n--frontiermost\r\n")) == [
        ("a.jpg", b"\r\n--frontie\r\n\r\n--frontiermost\r\n")
    ]
    assert photos(part(b"x"), end=b"--frontier--") == photos(part(b"x"), end=b"--frontier--\r\nepilogue")
    assert photos(part(b"x"), kind='Multipart/Form-Data; charset=x; boundary="frontier"') == [("a.jpg", b"x")]


def test_form_in_memory_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile._get_default_tempdir", lambda: pytest.fail("a temporary file"))
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("a file"))
    assert len(photos(part(bytes(5 * 2**20)))[0][1]) == 5 * 2**20


def test_parts_are_limited() -> None:
    assert len(photos(*[part(b"x")] * 4)) == 4
    assert len(photos(b"\r\n", *[part(b"x")] * 4)) == 4
    assert "4 photos" in bad_form(413, *[part(b"x")] * 5)
    assert "4 photos" in bad_form(413, *[part(b"x")] * 1000)
    bad_form(413, part(b"\r\n--frontierx" * 100_000))  # what would cost the parser seconds
    bad_form(400, part(b"\r\n--frontier" + b" " * 1_000_000))
    bad_form(400, part(b"x", extra=b"X: y\r\n" * 20))
    bad_form(400, part(b"x", extra=b"X: " + b"y" * 10_000 + b"\r\n"))
    bad_form(400, part(b"x", extra=b"X" * 10_000))


def test_other_fields() -> None:
    for name, filename in (
        ("image", "a.jpg"),
        ("file", None),
        ("", "a.jpg"),
        ("f\u00efle\x1b[2J", None),
        ("x" * 4000, None),
    ):
        text = bad_form(400, part(b"x"), part(b"x", name, filename))
        assert '"file" or "files"' in text
        assert len(text) < 400
    assert '"file" or "files"' in bad_form(400)


def test_malformed() -> None:
    whole = part(b"one") + part(b"two", "files", "b.jpg") + b"--frontier--"
    for length in range(len(whole)):
        bad_form(400, whole[:length], end=b"")
    bad_form(400, part(b"x").replace(b"frontier", b"other"))
    bad_form(400, part(b"x").replace(b"\r\n", b"\n"))
    bad_form(400, part(b"x").replace(b"Content-Disposition", b"Content-Type"))
    for kind in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 300):
        bad_form(400, part(b"x"), kind=kind)
    for kind in ("", "multipart/mixed; boundary=frontier", "application/x-www-form-urlencoded", '\xff;;;="";\''):
        bad_form(415, part(b"x"), kind=kind)


def test_file_names() -> None:
    def name(filename: str | bytes) -> str:
        [(shown, data)] = photos(part(b"x", filename=filename))
        assert data == b"x"
        return shown

    assert name("") == ""
    assert name("h\u00e9 \u5199\u771f \U0001f600.jpg") == "h\u00e9 \u5199\u771f \U0001f600.jpg"
    assert name("h\u00e9.jpg".encode("latin-1")) == "h\u00e9.jpg"
    assert name("../../etc/passwd") == "../../etc/passwd"
    assert name("a\0b\x1b[31m\x7f\u202egpj.exe\u2028") == "ab[31mgpj.exe"
    assert name("x" * 3000) == "x" * NAME_LENGTH
    assert name(b'a\\"b.jpg') == 'a"b.jpg'


names = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='"\\'), max_size=20)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["file", "files"]), names, st.binary(max_size=300)), min_size=1, max_size=4))
def test_form_gives_back(files: list[tuple[str, str, bytes]]) -> None:
    assert photos(*(part(data, field, name) for field, name, data in files)) == [
        (name, data) for _, name, data in files
    ]


@settings(max_examples=100)
@given(mutations, mutations)
def test_form_refuses_all_else(changes: list[tuple[float, str, bytes]], kinds: list[tuple[float, str, bytes]]) -> None:
    data = mutate(part(b"one", extra=b"Content-Type: image/png\r\n") + part(b"two", "files") + b"--frontier--", changes)
    try:
        found = photos(data, end=b"", kind=mutate(FORM.encode(), kinds).decode("latin-1"))
        assert all(name.isprintable() for name, _ in found)
    except Refusal as refusal:
        said(refusal, refusal.status)
        assert refusal.status in (400, 413, 415)
