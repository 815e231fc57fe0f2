"""A real service on tiny heads, in a process of its own as users start it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from tests.bundle import twin
from tests.waiting import TIMEOUT, until

ADMIN_KEY = "an-admin-key-for-tests"
PATIENT = (
    *("--set", f"service.budget_ms={1e3 * TIMEOUT}"),
    *("--set", f"service.work_seconds={TIMEOUT}"),
    *("--set", f"service.stop_seconds={TIMEOUT}"),
    *("--set", f"limits.header_seconds={TIMEOUT}"),
    *("--set", f"limits.body_seconds={TIMEOUT}"),
    *("--set", f"limits.idle_seconds={TIMEOUT}"),
)
"""A service gives honest work all the time that it takes on a busy machine."""
EVEN = "import os; os.nice = lambda by: 0\n"
"""Beside busy programs, decoding processes that let everybody else go first would have next to no processor."""
VERSIONS = {"cash": 1, "ivory": 1, "weapon": 3}  # in the store; the bundle has weapon@1


@dataclass
class Server:
    """A running service."""

    url: str
    pid: int
    store: Path
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        whole = self.log.read_text().rpartition("\n")[0]  # the last one may be on its way
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def admin(self, path: str, content: object = None) -> tuple[int, dict[str, Any]]:
        """POSTs to an admin route: the status, and the answer."""
        data = json.dumps(content).encode() if content is not None else b""
        request = urllib.request.Request(self.url + path, data, {"Authorization": f"Bearer {ADMIN_KEY}"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


Start = Callable[..., Server]


def tiny_store(root: Path) -> Path:
    """A store with tiny heads of three classes, `weapon` in three versions, and bundle `prod` with their first ones."""
    store = Store(root)
    for seed, (name, versions) in enumerate(VERSIONS.items()):
        for version in range(versions):
            card = twin.card(name)
            store.publish_head(card, twin.variables(card.network(), 10 * seed + version))
    make_bundle(store, "prod", [f"{name}@1" for name in VERSIONS])
    return root


def jpeg(seed: int, size: int = 48) -> bytes:
    """A small photo."""
    rng = np.random.default_rng(seed)
    pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((size, size)))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny store, for all tests that leave it as it is."""
    return tiny_store(tmp_path_factory.mktemp("serve") / "store")


@contextmanager
def starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts services: `start(store, "--set", "limits.photos=4", env={…})` returns one that is ready, and patient."""
    running: list[Server] = []
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(EVEN)
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])

    def begin(store: Path, *options: str, env: dict[str, str] | None = None, wait: bool = True) -> Server:
        log = tmp_path_factory.mktemp("log") / "stderr"
        command = [sys.executable, "-m", "launch.main", "serve", "--bundle", "prod", "--store", str(store)]
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*command, "--port", "0", "--json", *PATIENT, *options],
                env={**os.environ, "PYTHONPATH": path, "PROHIBIT_ADMIN_KEYS": ADMIN_KEY, **(env or {})},
                cwd=Path(__file__).resolve().parents[2],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        server = Server(json.loads(line)["url"], process.pid, store, process, log)
        running.append(server)
        if wait:
            until(lambda: _ready(server), pause=0.05)
        return server

    try:
        yield begin
    finally:
        for server in running:
            server.process.kill()
            server.process.wait()
            assert server.process.stdout is not None
            server.process.stdout.close()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts the services of a test file, which end with it: many at once would fill a small machine."""
    with starting(tmp_path_factory) as begin:
        yield begin


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Server]:
    """One service for all tests that leave it as they found it."""
    with starting(tmp_path_factory) as begin:
        yield begin(tiny, "--set", "service.batch_sizes=[1, 5]")


def _ready(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    try:
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=TIMEOUT) as answer:
            return bool(json.loads(answer.read())["ready"])
    except OSError:
        return False
