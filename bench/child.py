"""What the scripts that measure a service share: heads to serve, photos to send, the service as a child process."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from bench.load import read_photos
from prohibit_jax.bench.jax_engines import heads_of
from prohibit_jax.bench.work import Work
from prohibit_jax.bundle.card import Trunk
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.models.efficientnet import B0, Architecture

BUNDLE = "prod"
CLASS = "weapon"  # whose head is replaced
KEY = "for-benchmarks-only-0123456789"  # of the admin routes
TINY = Architecture(width=0.25, depth=0.3)
COMMAND = (sys.executable, "-m", "launch.main", "serve")
READY = 600.0  # seconds to start in, compiling included


@dataclass(frozen=True)
class Heads:
    """What is served: a bundle of `heads` heads with random weights."""

    heads: int = 20
    size: int = 300
    trunk: str = "s5"
    tiny: bool = False

    @property
    def work(self) -> Work:
        """As `launch bench` draws it."""
        return Work(self.heads, 1, self.size, self.trunk, TINY if self.tiny else B0)


def make_store(folder: Path, heads: Heads, versions: int = 2) -> Store:
    """A store with the bundle `prod`, which pins version 1 of `weapon`, and more versions of that class."""
    store, (drawn, trunks) = Store(folder / "store"), heads_of(heads.work)
    trunk = Trunk(store.publish_trunk(*trunks.values()), heads.trunk) if trunks else None
    first, *others = drawn
    for number in range(versions):
        changed = {name: array * np.float32(1 + number / 1000) for name, array in first.variables.items()}
        store.publish_head(replace(first.card, name=CLASS, trunk=trunk), changed)
    for head in others:
        store.publish_head(replace(head.card, trunk=trunk), head.variables)
    make_bundle(store, BUNDLE, [f"{CLASS}@1", *(head.card.name for head in others)])
    return store


def photos(folder: Path | None, count: int) -> list[bytes]:
    """JPEG files from the folder, or made of noise like photographs, 640 x 480."""
    if folder:
        return read_photos(folder, count)
    squares = (Work(1, 1, 640).photos(turn)[0] for turn in range(count))
    return [_jpeg(Image.fromarray(square[:480])) for square in squares]


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


class Child:
    """A server process and all that it starts; its standard error goes to a file."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        health: str = "/readyz",
    ) -> None:
        """
        Args:
            command: to which `--port N` is added.
            log: that standard error goes to.
            environment: beside this process's own.
            health: answers 200 when it is ready.
        """
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log, self._health = log, health
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, "--port", str(port)],
                stdout=subprocess.DEVNULL,
                stderr=file,
                env={**os.environ, "PROHIBIT_ADMIN_KEYS": KEY, **(environment or {})},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.kill()  # what it may have left behind

    def wait(self, seconds: float = READY) -> Self:
        """Returns when it is ready. Raises SystemExit with the log's end where it ends or never is."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if self.get(self._health)[0] == 200:
                return self
            time.sleep(0.1)
        raise SystemExit(f"the server was not ready; its log ends with\n{self.log_text()[-2000:]}")

    def get(self, path: str) -> tuple[int, bytes]:
        """(status, body) of a GET; (0, b"") where nothing answers."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def log_text(self) -> str:
        """What it has logged so far; "" where that goes nowhere."""
        return self._log.read_text(errors="replace") if self._log.is_file() else ""

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The log's lines of these events, all without any."""
        found = []
        for line in self.log_text().splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and (not names or entry.get("event") in names):
                    found.append(entry)
        return found

    def stop(self, seconds: float = 60.0) -> int:
        """Sends SIGTERM and returns the exit code; what does not end in time is killed, with all its children."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kills it and all its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


def serve(store: Store, log: Path, settings: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Child:
    """`launch serve` of that store's bundle, not yet ready; `settings` are what `--set` takes."""
    options = [part for setting in settings for part in ("--set", setting)]
    return Child([*COMMAND, "--bundle", BUNDLE, "--store", str(store.root), *options], log, environment)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> list[int]:
    """The process and all that descend from it; without those that are just ending."""
    children: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return [pid, *(member for child in children for member in family(child))]


def command_line(pid: int) -> str:
    """What the process was started as; "" where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def memory(pid: int) -> int:
    """Bytes that the process and all that descend from it have in memory, what they share counted once."""
    total = 0
    for member in family(pid):
        with suppress(OSError):
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
            total += 1024 * int(rollup.partition("\nPss:")[2].split()[0])
    return total
