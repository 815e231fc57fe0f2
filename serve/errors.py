"""The one exception that becomes an answer."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):  # noqa: N818 - most are the client's doing
    """A request that is not served: an HTTP status, one line that says what to do, and headers such as Retry-After."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text, dict(headers or {}))  # all of it, so that it survives pickling
        self.status = status
        self.text = text
        self.headers = dict(headers or {})

    def __str__(self) -> str:
        return self.text
