"""The page for photos, the reference of the interface, and the document that it is made of."""

from __future__ import annotations

import json
from functools import cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serve.openapi import document
from serve.page import HEADERS, page
from serve.settings import ServeConfig


async def home(request: Request) -> Response:
    """`GET /`"""
    return page("index.html")


async def docs(request: Request) -> Response:
    """`GET /docs`"""
    return page("docs.html")


async def openapi(request: Request) -> Response:
    """`GET /openapi.json`"""
    return Response(_document(request.app.state.service.settings), media_type="application/json", headers=HEADERS)


ROUTES = [Route("/", home), Route("/docs", docs), Route("/openapi.json", openapi)]


@cache
def _document(settings: ServeConfig) -> bytes:
    return json.dumps(document(settings), ensure_ascii=False).encode()
