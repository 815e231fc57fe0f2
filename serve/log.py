"""Logs as JSON lines on standard error: what happened, never a photo, a key or an address's query."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LOG = logging.getLogger("prohibit.serve")


def log(event: str, level: int = logging.INFO, /, **fields: Any) -> None:
    """Writes a line: `log("swap", name="weapon", version=4)`."""
    LOG.log(level, event, extra={"fields": fields})


def set_up() -> None:
    """Sends the service's, uvicorn's and the libraries' records to standard error as JSON lines."""
    logging.raiseExceptions = False  # a full disk behind standard error must not fill it with tracebacks
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOG.setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each malformed form


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.name != LOG.name:
            line["logger"] = record.name
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        with contextlib.suppress(ValueError):
            return json.dumps(line, default=str, allow_nan=False)
        return json.dumps({key: str(value) for key, value in line.items()})
