"""The annotators' page and what it asks for, as one ASGI application."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prohibit_jax.types import InputError
from serve.body import read_body
from serve.errors import Refusal
from serve.guard import check_key, no_route, refused
from serve.labelling import photos
from serve.labelling.session import Session, Turn
from serve.log import LOG
from serve.page import page
from serve.settings import LimitsConfig
from serve.workers import Workers

LIMITS = LimitsConfig(body=2**18, bodies=2**26, connections=256)

HEADERS = {
    "Cache-Control": "no-store",  # prohibited photos are left in no cache
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

MISSING = (FileNotFoundError, NotADirectoryError)
"""What says that a photo is gone; another OSError may be over in a moment."""

OWN = ("none", "same-origin")
"""What a browser says of where a request comes from (Sec-Fetch-Site): the person himself, or this server's page."""


def create_app(session: Session, read: photos.Read, workers: Workers, keys: tuple[str, ...] = ()) -> Starlette:
    """All routes.

    Args:
        session: what is labelled.
        read: gives a photo's bytes.
        workers: decode them; started and stopped by whoever runs the application.
        keys: one of which every request but that for the page itself needs; with none, only this machine is served.
    """
    app = Starlette(
        routes=[
            Route("/", _home),
            Route("/api/queue", _queue),
            Route("/api/turn", _turn, methods=["POST"]),
            Route("/photos/{edge:int}/{sha256}", _photo),
        ],
        middleware=[Middleware(Door, keys)],
        exception_handlers={Refusal: _refused, HTTPException: no_route},
    )
    app.router.redirect_slashes = False
    app.state.session, app.state.read, app.state.workers = session, read, workers
    return app


async def _home(request: Request) -> Response:
    """`GET /`"""
    return page("label.html", "serve.labelling")


async def _queue(request: Request) -> Response:
    """`GET /api/queue`: what is labelled here."""
    return JSONResponse(request.app.state.session.about())


async def _turn(request: Request) -> Response:
    """`POST /api/turn`: answers in, and what is asked next."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise Refusal(415, "Content-Type must be application/json")
    body = await read_body(request, LIMITS)
    try:
        turn = Turn.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise Refusal(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return JSONResponse(await request.app.state.session.turn(turn))


async def _photo(request: Request) -> Response:
    """`GET /photos/1600/SHA256`: a photo of the queue as a JPEG; 422 with the reason where there is none to show, 503
    where it may be there another time, as when a network's folder does not answer."""
    state = request.app.state
    edge, ask = request.path_params["edge"], state.session.desk.ask(request.path_params["sha256"])
    if ask is None or edge not in photos.EDGES:
        raise Refusal(404, "no photo of this queue in this size")
    try:
        data = await asyncio.to_thread(state.read, ask.path)
        shown = await state.workers.run(photos.screen, data, ask.sha256, edge)
    except (InputError, OSError, RuntimeError) as error:
        reason = f"cannot be read ({error.strerror or error})" if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError) and not isinstance(error, MISSING):
            raise Refusal(503, reason, {"Retry-After": "5"}) from None
        state.session.desk.spoil(ask.sha256, reason)
        raise Refusal(422, reason) from None
    state.session.desk.mend(ask.sha256)
    return Response(shown, media_type="image/jpeg")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refused(error)


class Door:
    """Middleware that lets in annotators' pages and nothing that another site's page may try in their browsers."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...]) -> None:
        self.app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope["path"], Headers(scope=scope))
            await self.app(scope, receive, answer)
        except Refusal as refusal:
            await refused(refusal)(scope, receive, answer)
        except ClientDisconnect:
            pass
        except Exception:
            LOG.exception("error", extra={"fields": {"path": scope["path"]}})
            if started:
                raise
            await refused(Refusal(500, "internal error; the log has it"))(scope, receive, answer)

    def _check(self, path: str, headers: Headers) -> None:
        """Raises Refusal 401, 403 or 421."""
        if path != "/" and headers.get("sec-fetch-site", "none") not in OWN:
            raise Refusal(403, "asked by another site's page")
        if self._keys:
            if path != "/":
                check_key(headers.get("authorization", ""), self._keys)
            return
        # Without a key nothing but the address is secret: a name that an attacker has pointed to it is refused, and so
        # is a page of another origin, which a browser too old for Sec-Fetch-Site may let ask.
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_loopback(_host(host)):
            raise Refusal(421, f"this is no address of the page: {host[:100]}; set PROHIBIT_LABEL_KEY to use others")
        if origin is not None and _netloc(origin) != host:
            raise Refusal(403, "asked by another site's page")


def is_loopback(host: str) -> bool:
    """Whether a name or address is one of this machine that no other can reach."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _host(host: str) -> str:
    """A Host header's name or address, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
