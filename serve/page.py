"""A page as one answer: its styles and scripts are in it, and a policy names them, so that nothing else runs."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from starlette.responses import Response

HEADERS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def page(name: str, package: str = "serve") -> Response:
    """The page `name` in the folder `pages` of a package.

    `@NAME@` in it, as in `@base.css@`, stands for a file of that folder, or of `serve/pages`.
    """
    text, policy = _read(name, package)
    headers = HEADERS | {"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}
    return Response(text, media_type="text/html", headers=headers)


@cache
def _read(name: str, package: str) -> tuple[str, str]:
    """A page with its parts in it, and the policy under which nothing runs and nothing is asked but its own."""
    common, own = files("serve") / "pages", files(package) / "pages"

    def part(found: re.Match[str]) -> str:
        file = own / found[1]
        return (file if file.is_file() else common / found[1]).read_text()

    text = re.sub(r"@(\w+\.(?:css|js))@", part, (own / name).read_text())
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
