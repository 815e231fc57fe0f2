"""HTTP/1.1 from anybody: uvicorn's protocol, with an end to everything that a connection can do.

uvicorn parses strictly and bounds what it buffers of a body. It does not bound a request's head, in bytes, fields or
time, nor a body's time, chunk extensions, the requests that are pipelined, or how long an answer waits to be read; a
blank line now and then keeps an idle connection open for ever; trailers become headers; a refusal is plain text, is
written ahead of the answers to requests before it, and is lost to a reset where the client is still sending; and its
limit on connections refuses without Retry-After. All of that is here, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from enum import Enum, auto
from types import SimpleNamespace
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serve.errors import Refusal
from serve.settings import LimitsConfig

TARGET = 8000
"""Bytes of a request's target: what RFC 9110 (4.1) asks every server to take."""

PIPELINED = 128
"""Requests that may wait on one connection. Each takes a few kilobytes for the client's twenty bytes."""


PROBES = (b"/healthz", b"/readyz", b"/metrics")
"""Answered however many connections there are: a service that is only full must not be taken for dead."""


class Phase(Enum):
    """What the connection waits for."""

    HEAD = auto()  # the last header
    BODY = auto()  # the body's last byte
    BUSY = auto()  # the application
    IDLE = auto()  # a request, or the client's end


def limited_protocol(
    limits: LimitsConfig, refused: Callable[[int], None] = lambda status: None
) -> type[HttpToolsProtocol]:
    """The class for `uvicorn.Config(http=...)`; `refused` hears the status of each answer that no application gave."""
    seconds = {
        Phase.HEAD: limits.header_seconds,
        Phase.BODY: limits.body_seconds,
        Phase.BUSY: limits.idle_seconds,
        Phase.IDLE: limits.idle_seconds,
    }
    bound = {"limits": limits, "seconds": seconds, "refused": staticmethod(refused)}
    return type("LimitedProtocol", (_Limited,), bound)


class _Limited(HttpToolsProtocol):
    limits: LimitsConfig
    seconds: dict[Phase, float]
    refused: Callable[[int], None]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.phase = Phase.HEAD
        self.deadline = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.running: RequestResponseCycle | None = None  # whose answer is the next; uvicorn's `cycle` is the newest
        self.refusal: Refusal | None = None  # to be answered after the requests before it
        self.deaf = False  # what comes in is read, lest the answer be lost to a reset, and forgotten
        self.wire = 0  # bytes since the last message or head ended that are no body
        self.head = 0  # bytes of this request's target and headers
        self.fields = 0

    # Time: there is one timer. A later deadline leaves it alone until it rings, so that a request costs none.

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._until(self.seconds[phase])

    def _until(self, seconds: float) -> None:
        self.deadline = self.loop.time() + seconds
        if self.timer is None or self.timer.when() > self.deadline:
            self._ring()

    def _ring(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.loop.call_at(self.deadline, self._rung)

    def _rung(self) -> None:
        self.timer = None
        if self.loop.time() < self.deadline:
            self._ring()
        elif self.phase is Phase.IDLE or self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()  # `close` would wait until a client that does not read has read
        elif self.phase is Phase.BUSY:
            self._enter(Phase.BUSY)  # the application has limits of its own
        else:
            what, seconds = self.phase.name.lower(), self.seconds[self.phase]
            self._refuse(Refusal(408, f"the request's {what} took more than {seconds:g} seconds"))

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # An answer with `Connection: close` closes by itself; it too may come before the body's end.
        self.outlet = SimpleNamespace(write=transport.write, is_closing=transport.is_closing, close=self._close)
        self._enter(Phase.HEAD)
        if len(self.connections) > 2 * self.limits.connections:  # even refusing takes too much
            transport.abort()
        self.crowded = len(self.connections) > self.limits.connections

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timer is not None:
            self.timer.cancel()
        self.pipeline.clear()
        if self.running is not None:
            _abandon(self.running)  # uvicorn tells only the newest

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        self.wire += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__  # what a method below raised; uvicorn's own trouble is with the target
            self._refuse(cause if isinstance(cause, Refusal) else Refusal(400, "the request's target is no path"))
        except httptools.HttpParserError as error:
            self._refuse(Refusal(400, f"no valid HTTP/1.1: {error}"))
        else:
            if self.wire > self.limits.headers:
                body = self.phase is Phase.BODY
                self._refuse(Refusal(400, "too much around the body's chunks") if body else self._too_large())

    def pause_writing(self) -> None:
        super().pause_writing()
        self._until(self.limits.body_seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._enter(self.phase)

    # The parser's callbacks. What they raise ends the parsing and comes out of `feed_data`.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head = self.fields = 0
        if self.phase is not Phase.HEAD:  # the first one's time runs from the connection
            self._enter(Phase.HEAD)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self.head += len(url)
        if len(self.url) > TARGET:
            raise Refusal(414, f"the request's target has more than {TARGET} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is Phase.BODY:
            return  # a trailer: no header may come after the application has looked at them
        self.fields += 1
        self.head += len(name) + len(value) + len(b": \r\n")
        if self.fields > self.limits.header_fields:
            raise Refusal(431, f"more than {self.limits.header_fields} header fields")
        if self.head > self.limits.headers:
            raise self._too_large()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if version not in ("1.0", "1.1"):
            raise Refusal(400, f"HTTP/{version} is not spoken here: use HTTP/1.1")
        if self.parser.should_upgrade():
            raise Refusal(400, "only plain HTTP/1.1 is spoken here: send the request without Upgrade or CONNECT")
        if codings and (codings != [b"chunked"] or version == "1.0"):  # two servers may see two ends of such a body
            raise Refusal(400, "the only Transfer-Encoding is chunked, in HTTP/1.1")
        if self.crowded and self.url not in PROBES:
            raise Refusal(503, "too many connections: try again later", {"Retry-After": "1"})
        if len(self.pipeline) >= PIPELINED:
            raise Refusal(429, f"more than {PIPELINED} requests wait on this connection: read their answers first")
        super().on_headers_complete()
        self.cycle.transport = self.outlet  # type: ignore[assignment]
        self.wire = 0
        self._enter(Phase.BODY)

    def on_chunk_header(self) -> None:
        self.wire -= len(b"ffffffff\r\n\r\n")  # what a chunk needs

    def on_body(self, body: bytes) -> None:
        self.wire -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.wire = 0
        self._enter(Phase.IDLE if _answered(self.running) else Phase.BUSY)

    # Answers.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # starts the next request that waits
        self._unset_keepalive_if_required()  # our timer does that
        if self.pipeline or not _answered(self.running):
            self._enter(self.phase)  # a body that waited behind other requests has its whole time from now
        elif self.refusal is not None:
            self._last_words(self.refusal)
        elif self.phase is Phase.BUSY:
            self._enter(Phase.IDLE)
        elif self.phase is Phase.BODY and self.expect_100_continue:
            self._linger()  # an early answer: the client may leave out the body, and nobody could tell what comes next

    def _close(self) -> None:
        if self.phase is Phase.BODY:
            self._linger()
        else:
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Answers the request that is being read, after those before it, and ends the connection."""
        self.refusal = refusal
        self.deaf = True
        if self.phase is Phase.BODY:  # the request has begun
            if self.cycle.response_complete:  # and had an early answer
                self._linger()
                return
            if self.pipeline:
                self.pipeline.popleft()
            else:
                _abandon(self.cycle)
        if _answered(self.running):
            self._last_words(refusal)
        else:
            self._enter(Phase.BUSY)

    def _last_words(self, refusal: Refusal) -> None:
        if self.running is not None and self.running.response_started and not self.running.response_complete:
            self.transport.abort()  # in the middle of an answer there is no place for another
        if self.transport.is_closing():
            return
        self.transport.write(_response(refusal, self.server_state.default_headers))
        self.refused(refusal.status)
        self._linger()

    def _linger(self) -> None:
        """Sends our end and reads on until the client's, for a while: closing now could destroy the answer."""
        self.phase, self.deaf = Phase.IDLE, True
        self._until(self.limits.header_seconds)
        self.flow.resume_reading()
        if not self.transport.can_write_eof():  # TLS
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()

    def _too_large(self) -> Refusal:
        return Refusal(431, f"the request's line and headers have more than {self.limits.headers} bytes")


def _answered(cycle: RequestResponseCycle | None) -> bool:
    return cycle is None or cycle.response_complete or cycle.disconnected


def _abandon(cycle: RequestResponseCycle) -> None:
    """Tells the application that its client is gone, and drops what it still answers."""
    cycle.disconnected = True
    cycle.waiting_for_100_continue = False
    cycle.message_event.set()


def _response(refusal: Refusal, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    body = json.dumps({"error": refusal.text}).encode()
    lines = [
        *headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *((name.encode(), value.encode()) for name, value in refusal.headers.items()),
    ]
    return b"".join([STATUS_LINE[refusal.status], *(b"%s: %s\r\n" % line for line in lines), b"\r\n", body])
