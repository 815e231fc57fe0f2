"""A queue of small photos, and the page on it: `launch label` in a process of its own, as a team's lead starts it, or,
in a moment, only its application."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import uvicorn

from prohibit_jax.active.queue import Ask, write_queue
from prohibit_jax.data.label_store import Label, Rule, open_label_store
from serve.labelling.app import LIMITS, create_app
from serve.labelling.photos import reader
from serve.labelling.session import Session, open_queue
from serve.listening import Server, address, bound
from serve.protocol import limited_protocol
from tests.serve.conftest import jpeg
from tests.waiting import TIMEOUT

ROOT = Path(__file__).resolve().parents[3]
PATIENT = LIMITS.model_copy(update=dict.fromkeys(("header_seconds", "body_seconds", "idle_seconds"), TIMEOUT))


@dataclass(frozen=True)
class Work:
    """A folder with photos, `queue.parquet` and a store."""

    root: Path
    asks: tuple[Ask, ...]

    @property
    def queue(self) -> Path:
        return self.root / "queue.parquet"

    @property
    def store(self) -> Path:
        return self.root / "store"

    def labels(self) -> list[Label]:
        """What is in the label store, oldest first."""
        return open_label_store(None, str(self.store)).labels("weapon")

    def answers(self) -> list[tuple[str, int, str]]:
        """Annotator, number of the photo and answer of each label."""
        numbers = {ask.sha256: number for number, ask in enumerate(self.asks)}
        return [(label.annotator, numbers[label.sha256], label.answer) for label in self.labels()]

    def current(self) -> dict[tuple[str, int], str]:
        """By annotator and number of the photo, the answer that counts."""
        numbers = {ask.sha256: number for number, ask in enumerate(self.asks)}
        current = open_label_store(None, str(self.store)).current("weapon")
        return {(label.annotator, numbers[label.sha256]): label.answer for label in current}


def make_work(root: Path, count: int) -> Work:
    """`count` photos of as many contents, scored from 0.95 down."""
    root.mkdir(parents=True, exist_ok=True)
    asks = []
    for number in range(count):
        data = jpeg(number, size=96)
        file = root / f"photo{number}.jpg"
        file.write_bytes(data)
        score = 0.9375 - number / 32 % 0.9
        sha256 = hashlib.sha256(data).hexdigest()
        asks.append(Ask(str(file), sha256, "weapon", score, "weapon@3", "uncertainty", f"scores {score:.2f}", 2))
    write_queue(root / "queue.parquet", asks)
    return Work(root, tuple(asks))


@dataclass
class Served:
    """The page, and where it is."""

    url: str

    def call(self, path: str, content: object = None, **headers: str) -> tuple[int, bytes]:
        """GETs, or POSTs JSON: the status and the body."""
        data = None if content is None else json.dumps(content).encode()
        given = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        request = urllib.request.Request(self.url + path, data, given)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@dataclass
class Desk(Served):
    """A running `launch label`."""

    process: subprocess.Popen[bytes]
    log: Path

    def end(self) -> dict[str, Any]:
        """Ctrl-C: the summary."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        assert self.process.wait(TIMEOUT) == 0, self.log.read_text()
        summary: dict[str, Any] = json.loads(out)
        return summary

    def kill(self) -> None:
        """What a power cut does."""
        self.process.kill()
        self.process.wait()


class InLine:
    """Decodes here: no process to start."""

    async def run(self, function: Any, *arguments: Any) -> Any:
        return function(*arguments)


class Here(Served):
    """The page, served by a thread of this process, to clients that may take their time."""

    def __init__(self, work: Work, votes: int = 1, guide: str = "", port: int = 0) -> None:
        labels = open_label_store(None, str(work.store))
        self._session = Session("weapon", open_queue(work.queue, "weapon"), labels, Rule(votes=votes), guide)
        app = create_app(self._session, reader(None, ()), InLine())  # type: ignore[arg-type]
        config = uvicorn.Config(app, http=limited_protocol(PATIENT), ws="none", lifespan="off", log_config=None)
        self._server = Server(config)
        listener = bound("127.0.0.1", port)
        super().__init__(address(*listener.getsockname()))
        self._thread = Thread(target=lambda: asyncio.run(self._server.serve([listener])))
        self._thread.start()

    def end(self) -> dict[str, int]:
        """What the session was told."""
        self._server.should_exit = True
        self._thread.join()
        return self._session.summary()


Open = Callable[..., Desk]
Serve = Callable[..., Here]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return make_work(tmp_path / "work", 8)


@pytest.fixture
def serve_page() -> Iterator[Serve]:
    """Serves the page on work: `serve_page(work, votes=2)`."""
    running: list[Here] = []

    def begin(work: Work, **options: Any) -> Here:
        running.append(Here(work, **options))
        return running[-1]

    yield begin
    for here in running:
        here.end()


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Open]:
    """Starts `launch label --json` on work: `open_desk(work, "--votes", "2", port=…, env={…})`."""
    running: list[Desk] = []

    def begin(work: Work, *options: str, port: int = 0, env: dict[str, str] | None = None) -> Desk:
        log = tmp_path / f"stderr{len(running)}"
        command = [sys.executable, "-m", "launch.main", "label", "--class", "weapon", "--json", "--port", str(port)]
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*command, "--queue", str(work.queue), "--store", str(work.store), *options],
                env={**os.environ, **(env or {})},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        desk = Desk(json.loads(line)["url"], process, log)
        running.append(desk)
        return desk

    yield begin
    for desk in running:
        desk.kill()
        assert desk.process.stdout is not None
        desk.process.stdout.close()
