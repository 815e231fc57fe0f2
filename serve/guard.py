"""What every request passes: its key, its name, and one log line. Nothing that goes wrong behind it reaches a client.

Written against ASGI itself: Starlette's BaseHTTPMiddleware puts a queue and a task around every request.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prohibit_jax.types import InputError
from serve.errors import Refusal
from serve.log import LOG, log
from serve.metrics import Metrics

PUBLIC = frozenset(
    ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")
)
ADMIN = "/v2/repository/models/"
"""Begins the paths that change heads, whatever follows: a router may take for a route what looks like none."""
QUIET = frozenset(("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"))
"""Asked every few seconds by machines: not logged while all is well."""
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLIENT_GONE = 499
SHORTEST_KEY = 16


@dataclass(frozen=True)
class Keys:
    """Who may do what: `data` keys score, `admin` keys change heads. Without data keys anybody scores; without admin
    keys nobody changes anything."""

    data: tuple[str, ...] = ()
    admin: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls) -> Keys:
        """`PROHIBIT_KEYS` and `PROHIBIT_ADMIN_KEYS`, comma-separated. Raises InputError where one is too short."""
        return cls(keys_of("PROHIBIT_KEYS"), keys_of("PROHIBIT_ADMIN_KEYS"))

    def check(self, path: str, authorization: str) -> None:
        """Raises Refusal 401 or 403 unless a request with this Authorization header may have this path.

        An admin key opens the data routes too.
        """
        if path in PUBLIC:
            return
        admin = path.startswith(ADMIN)
        if admin and not self.admin:
            raise Refusal(403, "changing heads over HTTP is switched off: start the service with PROHIBIT_ADMIN_KEYS")
        if not admin and not self.data:
            return
        given = check_key(authorization, (*self.data, *self.admin))
        if admin and not _among(given, self.admin):
            raise Refusal(403, "this key scores; changing heads wants one of PROHIBIT_ADMIN_KEYS")


class Guard:
    """Middleware around the routes."""

    def __init__(self, app: ASGIApp, keys: Keys, metrics: Metrics, most: int) -> None:
        """
        Args:
            app: the routes.
            keys: that open them.
            metrics: are told of each request.
            most: bytes of bodies that are held at any time. Routes that make more of them, by inflating them, say so
                by `scope["hold"](bytes)`.
        """
        self.app, self._keys, self._metrics, self._most = app, keys, metrics, most
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        name = given if NAME.fullmatch(given) else secrets.token_hex(8)
        began, status, held = monotonic(), 0, 0

        def hold(size: int) -> None:
            nonlocal held
            held += size
            self._held += size
            if self._held > self._most:
                self._metrics.shed.labels("bodies").inc()
                self._metrics.photos.labels("shed").inc()
                raise Refusal(503, "too many requests at a time; try again in 1 s", {"Retry-After": "1"})

        async def hear() -> Message:
            nonlocal began
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                began = monotonic()  # a client's slow upload is not our latency
            hold(len(message.get("body", b"")))
            return message

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        try:
            self._keys.check(scope["path"], headers.get("authorization", ""))
            scope["hold"] = hold
            await self.app(scope, hear, answer)
        except Refusal as refusal:
            await refused(refusal)(scope, receive, answer)
        except ClientDisconnect:
            status = CLIENT_GONE
        except asyncio.CancelledError:  # it outlasted the service's patience
            if not status:
                await refused(Refusal(503, "the service stops", {"Retry-After": "1"}))(scope, receive, answer)
            raise
        except Exception:
            LOG.exception("error", extra={"fields": {"request": name, "path": scope["path"]}})
            if status:
                raise  # half of an answer is out: the connection has to break
            await refused(Refusal(500, f"internal error; the log has it as request {name}"))(scope, receive, answer)
        finally:
            self._held -= held
            self._done(scope, name, status, monotonic() - began)

    def _done(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(route, status).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if status == 503 or (scope["path"] in QUIET and status < 400):
            return  # metrics have them; a line for each that is turned away would turn away more
        client = (scope.get("client") or ("", 0))[0]
        log(
            "request",
            logging.INFO if status < 500 else logging.WARNING,
            request=name,
            client=client,
            method=scope["method"],
            path=scope["path"][:200],
            status=status,
            ms=round(1e3 * seconds, 1),
        )


def refused(refusal: Refusal) -> JSONResponse:
    """The answer that a refusal becomes."""
    return JSONResponse({"error": refusal.text}, refusal.status, headers=refusal.headers)


async def no_route(request: Request, error: Exception) -> Response:
    """Answers what Starlette itself refuses: no such route, or another method."""
    assert isinstance(error, HTTPException)
    return refused(
        Refusal(error.status_code, f"{request.method} {request.url.path[:200]}: {error.detail}", error.headers)
    )


def check_key(authorization: str, keys: Sequence[str]) -> str:
    """The key that an Authorization header gives. Raises Refusal 401 unless it is one of `keys`."""
    given = authorization.removeprefix("Bearer ") if authorization.startswith("Bearer ") else ""
    if not given:
        raise Refusal(401, "send a key: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
    if not _among(given, keys):
        raise Refusal(401, "this is no key of this service", {"WWW-Authenticate": "Bearer"})
    return given


def keys_of(variable: str) -> tuple[str, ...]:
    """The keys in a variable of the environment, comma-separated. Raises InputError where one is too short."""
    keys = tuple(key.strip() for key in os.environ.get(variable, "").split(",") if key.strip())
    if any(len(key) < SHORTEST_KEY for key in keys):
        raise InputError(f"{variable}: a key has fewer than {SHORTEST_KEY} characters; use openssl rand -hex 24")
    return keys


def _among(given: str, keys: Sequence[str]) -> bool:
    """Whether `given` is one of the keys, in a time that tells nothing about them."""
    return any([hmac.compare_digest(given.encode(), key.encode()) for key in keys])  # noqa: C419 - all are compared
