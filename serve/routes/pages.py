"""The page for photos, the reference of the interface, and the document that it is made of."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serve.openapi import document
from serve.settings import ServeConfig

HEADERS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


async def home(request: Request) -> Response:
    """`GET /`"""
    return _page("index.html")


async def docs(request: Request) -> Response:
    """`GET /docs`"""
    return _page("docs.html")


async def openapi(request: Request) -> Response:
    """`GET /openapi.json`"""
    return Response(_document(request.app.state.service.settings), media_type="application/json", headers=HEADERS)


ROUTES = [Route("/", home), Route("/docs", docs), Route("/openapi.json", openapi)]


@cache
def _document(settings: ServeConfig) -> bytes:
    return json.dumps(document(settings), ensure_ascii=False).encode()


def _page(name: str) -> Response:
    text, policy = _read(name)
    headers = HEADERS | {"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}
    return Response(text, media_type="text/html", headers=headers)


@cache
def _read(name: str) -> tuple[str, str]:
    """A page with the common style in it, and the policy under which nothing runs and nothing is asked but its own."""
    pages = files("serve") / "pages"
    text = (pages / name).read_text().replace("@base.css@", (pages / "base.css").read_text())
    return text, "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hashes('script', text)}",
            f"style-src {_hashes('style', text)}",
            "img-src blob: data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _hashes(tag: str, text: str) -> str:
    """The page's own blocks, as a policy names them: by SHA-256."""
    blocks = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
