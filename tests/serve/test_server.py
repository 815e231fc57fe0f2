"""The process: starting, signals, and what becomes of requests meanwhile."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from tests.serve.conftest import Server, Start, jpeg

QUICK = ("--set", "service.batch_sizes=[1]", "--set", "service.budget_ms=60000")


def get(server: Server, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(server.url + path, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def score(server: Server, seed: int = 1) -> dict[str, dict[str, object]]:
    with urllib.request.urlopen(f"{server.url}/v1/score", jpeg(seed), timeout=60) as answer:
        classes: dict[str, dict[str, object]] = json.loads(answer.read())["photos"][0]["classes"]
        return classes


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def workers(server: Server) -> list[int]:
    """The decoding processes of a service."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and b"serve.work\0" in (folder / "cmdline").read_bytes():
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                found += [int(folder.name)] if parent == server.pid else []
        except OSError:
            continue  # it has just ended
    return found


def unready(connection: http.client.HTTPConnection) -> bool:
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    answer.read()
    return answer.status == 503


@pytest.fixture
def own(start: Start, tiny: Path, tmp_path: Path) -> Server:
    """A service for one test, and a store that it may change."""
    store = shutil.copytree(tiny, tmp_path / "store")
    return start(store, *QUICK, "--set", "service.watch_seconds=0.1", "--set", "service.drain_seconds=0.5")


def test_sigterm_drains(own: Server) -> None:
    kept = http.client.HTTPConnection(urlsplit(own.url).netloc, timeout=20)
    kept.request("GET", "/readyz")
    assert kept.getresponse().read() == b'{"ready":true}'
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(score, own, seed) for seed in range(40)]
        eventually(lambda: any(answer.done() for answer in answers))
        os.kill(own.pid, signal.SIGTERM)
        eventually(lambda: unready(kept))
        kept.request("POST", "/v1/score", jpeg(3))  # those who have not noticed are still served
        late = kept.getresponse()
        assert late.status == 200
        late.read()
        done = [answer.exception() for answer in answers]
        kept.close()
    assert not any(isinstance(error, urllib.error.HTTPError) for error in done)
    assert own.process.wait(30) == 0
    # What was sent before the socket closed is answered; after it, connections are refused, never reset or left.
    assert all(error is None or isinstance(error, urllib.error.URLError | ConnectionError) for error in done)
    assert sum(error is None for error in done) >= 8
    events = [line["event"] for line in own.lines()]
    assert events[-1] == "stopped"
    assert "error" not in events


def test_a_reload_is_no_first_signal(own: Server) -> None:
    os.kill(own.pid, signal.SIGHUP)
    eventually(lambda: "signal" in [line["event"] for line in own.lines()])
    kept = http.client.HTTPConnection(urlsplit(own.url).netloc, timeout=20)
    kept.connect()
    os.kill(own.pid, signal.SIGTERM)
    eventually(lambda: unready(kept))
    kept.request("POST", "/v1/score", jpeg(3))  # it still drains
    answer = kept.getresponse()
    assert answer.status == 200
    answer.read()
    kept.close()
    assert own.process.wait(30) == 0


def test_interrupting_ends_at_once_and_leaves_no_process(own: Server) -> None:
    children = workers(own)
    assert len(children) == len(os.sched_getaffinity(0))
    os.kill(own.pid, signal.SIGINT)
    assert own.process.wait(30) == 0
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def test_a_service_that_is_killed_leaves_no_process(own: Server) -> None:
    children = workers(own)
    os.kill(own.pid, signal.SIGKILL)
    own.process.wait(30)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def test_a_worker_that_is_killed_is_replaced_and_nobody_notices(own: Server) -> None:
    before = score(own)
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(score, own) for _ in range(60)]
        for pid in workers(own):
            os.kill(pid, signal.SIGKILL)
        assert all(answer.result() == before for answer in answers)
    eventually(lambda: len(workers(own)) == len(os.sched_getaffinity(0)))


def test_sighup_and_a_changed_lock_file_swap(own: Server) -> None:
    first = score(own)
    assert first["weapon"]["version"] == 1
    make_bundle(Store(own.store), "prod", ["cash@1", "ivory@1", "weapon@2"])
    eventually(lambda: score(own)["weapon"]["version"] == 2)
    second = score(own)
    assert (second["cash"], second["ivory"]) == (first["cash"], first["ivory"])
    assert own.admin("/v2/repository/models/weapon/load")[0] == 200
    assert score(own)["weapon"]["version"] == 3
    os.kill(own.pid, signal.SIGHUP)  # the lock file overrules
    eventually(lambda: score(own)["weapon"]["version"] == 2)


def test_it_listens_before_it_is_ready(start: Start, tiny: Path) -> None:
    server = start(tiny, *QUICK, wait=False)
    status, _ = get(server, "/healthz")
    assert status == 200
    status, _ = get(server, "/readyz")
    if status == 503:  # else it was quicker than we
        with pytest.raises(urllib.error.HTTPError) as caught:
            score(server)
        assert caught.value.code == 503
        assert caught.value.headers["Retry-After"]
        caught.value.close()
    eventually(lambda: get(server, "/readyz")[0] == 200)
    assert score(server)


def test_the_log_has_no_photo_and_no_key(own: Server) -> None:
    with urllib.request.urlopen(
        urllib.request.Request(
            f"{own.url}/v1/score?budget_ms=60000", jpeg(1), {"Authorization": "Bearer not-to-be-seen-anywhere"}
        ),
        timeout=20,
    ) as answer:
        assert answer.status == 200
    eventually(lambda: "request" in [line["event"] for line in own.lines()])  # which is written after the answer
    lines = own.lines()
    assert {"listening", "ready", "request"} <= {line["event"] for line in lines}
    assert "not-to-be-seen" not in own.log.read_text()
    assert "budget_ms" not in own.log.read_text()
    assert all({"time", "level", "event"} <= line.keys() for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bundle", "nothing"], "no such bundle"),
        (["--bundle", "prod", "--set", "service.qeue=3"], "service.qeue: unknown key, did you mean 'queue'?"),
        (["--bundle", "prod", "--config", "nowhere.toml"], "nowhere.toml"),
        (["--bundle", "prod", "--host", "256.1.1.1"], "--host 256.1.1.1"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(tiny: Path, options: list[str], message: str) -> None:
    code, error = launch(tiny, *options)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_an_address_that_is_taken(tiny: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, error = launch(tiny, "--bundle", "prod", "--port", str(other.getsockname()[1]))
    assert code == 2
    assert "choose another" in error


def test_a_damaged_head_ends_the_start(tiny: Path, tmp_path: Path) -> None:
    store = shutil.copytree(tiny, tmp_path / "store")
    file = store / "heads/cash/1/params.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    code, error = launch(store, "--bundle", "prod")
    assert code == 2
    assert "params.safetensors: damaged or replaced" in error.splitlines()[-1]


def launch(store: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "launch.main", "serve", "--store", str(store), "--port", "0", *options],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr
