"""A request's body, in memory and within limits: read, inflated, and taken apart where it is a form."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import aclosing

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from serve.errors import Refusal
from serve.settings import LimitsConfig

PIECE = 4096
"""Bytes that are inflated at a time. Deflate makes at most 1032 of one, so that no step takes more than 4 MiB."""

MEMBERS = 1024
"""Streams of one gzip body: enough for `bgzip`'s blocks, and few enough for their headers' cost."""

NAMES = ("file", "files")
NAME_LENGTH = 255
FORM = "multipart/form-data"


async def read_body(request: Request, limits: LimitsConfig) -> bytes:
    """The body of `request`, inflated where it has a Content-Encoding; at most `limits.body` bytes either way.

    Raises Refusal 413 where it is larger (before anything is read, where Content-Length says so), 415 for an encoding
    other than gzip and deflate, 400 for a damaged one; starlette's ClientDisconnect where the client goes away.
    """
    encoding = _encoding(request)
    try:
        length = int(request.headers.get("content-length", "0"))
    except ValueError:
        raise Refusal(400, "Content-Length is no number") from None
    if length > limits.body:
        raise _too_large(limits.body)
    body = bytearray()
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            if len(body) + len(chunk) > limits.body:
                raise _too_large(limits.body)
            body += chunk
    if encoding is None:
        return bytes(body)
    inflated = await asyncio.to_thread(inflate, body, encoding, limits.body)
    hold(request, len(inflated))
    return inflated


def hold(request: Request, size: int) -> None:
    """Counts bytes that were made of a request's body among those that the service holds, where it has a guard.

    Raises Refusal 503 where these are too many.
    """
    request.scope.get("hold", int)(size)


def inflate(data: bytes | bytearray, encoding: str, limit: int) -> bytes:
    """`data` without its encoding, gzip (RFC 1952) or deflate (RFC 1950, and 1951 as some clients send it).

    Raises Refusal 413 as soon as more than `limit` bytes have come out, 400 where the stream is damaged or cut short.
    """
    inflated = bytearray()
    stream = None
    members = 0
    try:
        for start in range(0, len(data), PIECE):
            piece = bytes(data[start : start + PIECE])
            while piece:
                if stream is None or stream.eof:
                    members += 1
                    if members > (MEMBERS if encoding == "gzip" else 1):
                        raise Refusal(400, f"Content-Encoding {encoding}: data after the stream's end")
                    stream = zlib.decompressobj(_window(data, encoding))
                inflated += stream.decompress(piece, limit + 1 - len(inflated))
                if len(inflated) > limit:
                    raise _too_large(limit)
                piece = stream.unused_data
    except zlib.error:
        raise Refusal(400, f"Content-Encoding {encoding}: the body is damaged") from None
    if stream is None or not stream.eof:
        raise Refusal(400, f"Content-Encoding {encoding}: the body is cut short")
    return bytes(inflated)


async def photos_of_form(content_type: str, body: bytes, limits: LimitsConfig) -> list[tuple[str, bytes]]:
    """File name and bytes of each `file` or `files` part of a multipart/form-data body, in order.

    The names are text to show, at most 255 printable characters, and no paths to open. A photo beyond
    `limits.photo_bytes` is not refused here. Raises Refusal 400 for a damaged form, one without photos and any other
    field, 413 for more than `limits.photos` parts, 415 for another type.
    """
    return await asyncio.to_thread(_Form(content_type, limits).photos, body)  # megabytes are searched and copied


class _Form:
    """The callbacks of python-multipart. Starlette's own keep parts above 1 MiB in files, and take a form cut short."""

    def __init__(self, content_type: str, limits: LimitsConfig) -> None:
        kind, options = parse_options_header(content_type)
        if kind != FORM.encode():
            raise Refusal(415, f"a form must be {FORM}")
        self.boundary = options.get(b"boundary", b"")
        if not self.boundary:
            raise Refusal(400, f"{FORM}: Content-Type names no boundary")
        self.limits = limits
        self.found: list[tuple[str, bytes]] = []
        self.ended = False

    def photos(self, body: bytes) -> list[tuple[str, bytes]]:
        self._look(body)
        events = ("part_begin", "header_begin", "header_field", "header_value", "header_end", "headers_finished")
        callbacks = {f"on_{event}": getattr(self, f"_{event}") for event in (*events, "part_data", "part_end", "end")}
        try:
            MultipartParser(self.boundary, callbacks).write(body)  # type: ignore[arg-type]
        except FormParserError as error:
            raise Refusal(400, f"{FORM}: {error}") from None
        if not self.ended:
            raise Refusal(400, f"{FORM}: cut short, or the boundary is not the one that Content-Type names")
        if not self.found:
            raise Refusal(400, f'the form holds no photo: send each as "{NAMES[0]}" or "{NAMES[1]}"')
        return self.found

    def _look(self, body: bytes) -> None:
        """Refuses what follows a boundary where it is much: the parser goes through it byte by byte, in Python."""
        delimiter = b"\r\n--" + self.boundary
        count, at = 0, body.find(delimiter)
        while at >= 0:
            count += 1
            if count > self.limits.photos + 1:  # between parts, the last, a first after CRLF
                raise self._too_many()
            if body[at + len(delimiter) : at + len(delimiter) + 1] in (b" ", b"\t"):
                raise Refusal(400, f"{FORM}: blanks after a boundary")
            at = body.find(delimiter, at + 1)

    def _part_begin(self) -> None:
        if len(self.found) >= self.limits.photos:
            raise self._too_many()
        self.disposition = b""
        self.pieces: list[bytes] = []

    def _header_begin(self) -> None:
        self.header = self.value = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def _header_end(self) -> None:
        if self.header.lower() == b"content-disposition":
            self.disposition = self.value

    def _headers_finished(self) -> None:
        options = parse_options_header(self.disposition)[1]
        field = _text(options.get(b"name", b""))
        if field not in NAMES or b"filename" not in options:
            raise Refusal(
                400, f'form field "{field}": only photos are read, sent as files "{NAMES[0]}" or "{NAMES[1]}"'
            )
        self.name = _text(options[b"filename"])

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self.pieces.append(data[start:end])

    def _part_end(self) -> None:
        self.found.append((self.name, b"".join(self.pieces)))

    def _end(self) -> None:
        self.ended = True

    def _too_many(self) -> Refusal:
        return Refusal(413, f"more than {self.limits.photos} photos in a request")


def _encoding(request: Request) -> str | None:
    """What the body is to be inflated from: "gzip", "deflate" or None."""
    named = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    encodings = [name.strip().removeprefix("x-") for name in named if name.strip() not in ("", "identity")]
    if not encodings:
        return None
    if encodings not in (["gzip"], ["deflate"]):
        raise Refusal(415, "Content-Encoding: only gzip or deflate, once", {"Accept-Encoding": "gzip, deflate"})
    return encodings[0]


def _window(data: bytes | bytearray, encoding: str) -> int:
    """What zlib calls `wbits`: the header to expect."""
    if encoding == "gzip":
        return 16 + zlib.MAX_WBITS
    zlibs = data[0] & 15 == 8 and int.from_bytes(data[:2]) % 31 == 0
    return zlib.MAX_WBITS if zlibs else -zlib.MAX_WBITS


def _text(name: bytes) -> str:
    """A name as it was meant, without what could act on a terminal or a page's direction."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = name.decode("latin-1")
    return "".join(letter for letter in text if letter.isprintable())[:NAME_LENGTH]


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body has more than {limit} bytes")
