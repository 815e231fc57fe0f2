"""The process: starting, signals, and what becomes of requests meanwhile."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from launch.main import main
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from tests.serve.conftest import Server, Start, jpeg
from tests.serve.raw import read_all, read_until, statuses
from tests.waiting import TIMEOUT, runs, until

SMALL = ("--set", "service.batch_sizes=[1]", "--set", "service.watch_seconds=0.1")
ENDLESS = ("--set", f"service.drain_seconds={10 * TIMEOUT}")
GATE = """
import fcntl, sys
if "serve.work" in sys.orig_argv:
    fcntl.flock(open({gate!r}), fcntl.LOCK_SH)
"""
"""Runs in every process of a service: no decoding process starts while somebody holds the gate."""


def get(server: Server, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(server.url + path, timeout=TIMEOUT) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def score(server: Server, seed: int = 1) -> dict[str, dict[str, object]]:
    with urllib.request.urlopen(f"{server.url}/v1/score", jpeg(seed), timeout=TIMEOUT) as answer:
        classes: dict[str, dict[str, object]] = json.loads(answer.read())["photos"][0]["classes"]
        return classes


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


def events(server: Server) -> list[str]:
    """What it has logged, by name."""
    return [line["event"] for line in server.lines()]


def listens(server: Server) -> bool:
    try:
        connect(server).close()
    except ConnectionError:
        return False
    return True


def connect(server: Server) -> socket.socket:
    url = urlsplit(server.url)
    return socket.create_connection((url.hostname, url.port), TIMEOUT)


@pytest.fixture
def own(start: Start, tiny: Path) -> Server:
    """A service for one test, which drains until it is told to end."""
    return start(tiny, *SMALL, *ENDLESS)


@pytest.fixture(scope="module")
def lasting(start: Start, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A service that lives on, and a store that tests may change."""
    store = shutil.copytree(tiny, tmp_path_factory.mktemp("lasting") / "store")
    return start(store, *SMALL)


def test_sigterm_drains_and_the_next_signal_ends(own: Server) -> None:
    kept = http.client.HTTPConnection(urlsplit(own.url).netloc, timeout=TIMEOUT)
    kept.request("GET", "/readyz")
    assert kept.getresponse().read() == b'{"ready":true}'
    os.kill(own.pid, signal.SIGHUP)  # a reload is no first signal
    until(lambda: "signal" in events(own))
    os.kill(own.pid, signal.SIGTERM)
    until(lambda: unready(kept))
    kept.request("POST", "/v1/score", jpeg(3))  # those who have not noticed are still served
    late = kept.getresponse()
    assert late.status == 200
    late.read()
    assert score(own)
    os.kill(own.pid, signal.SIGTERM)
    assert own.process.wait(TIMEOUT) == 0
    kept.close()
    assert events(own)[-1] == "stopped"
    assert "error" not in events(own)


def test_what_is_in_flight_at_the_end_is_answered(start: Start, tiny: Path) -> None:
    own = start(tiny, *SMALL, "--set", "service.drain_seconds=0.1")
    photo = jpeg(1)
    head = f"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: {len(photo)}\r\nExpect: 100-continue\r\n\r\n"
    with connect(own) as client, ThreadPoolExecutor(8) as threads:
        client.sendall(head.encode())
        assert statuses(read_until(client, b"\r\n\r\n")) == [100]
        answers = [threads.submit(score, own, seed) for seed in range(40)]
        until(lambda: any(answer.done() for answer in answers))
        os.kill(own.pid, signal.SIGTERM)
        until(lambda: not listens(own))
        client.sendall(photo)
        assert statuses(read_all(client)) == [200]
        done = [answer.exception() for answer in answers]
    # After the socket has closed, connections are refused; none is answered with an error, or left.
    assert not any(isinstance(error, urllib.error.HTTPError) for error in done)
    assert all(error is None or isinstance(error, urllib.error.URLError | ConnectionError) for error in done)
    assert own.process.wait(TIMEOUT) == 0
    assert events(own)[-1] == "stopped"
    assert "error" not in events(own)


def test_interrupting_ends_at_once_and_leaves_no_process(own: Server) -> None:
    children = workers(own)
    assert len(children) == len(os.sched_getaffinity(0))
    os.kill(own.pid, signal.SIGINT)
    assert own.process.wait(TIMEOUT) == 0
    until(lambda: not any(runs(pid) for pid in children))


def test_a_service_that_is_killed_leaves_no_process(own: Server) -> None:
    children = workers(own)
    os.kill(own.pid, signal.SIGKILL)
    own.process.wait(TIMEOUT)
    until(lambda: not any(runs(pid) for pid in children))


def test_a_worker_that_is_killed_is_replaced_and_nobody_notices(lasting: Server) -> None:
    before = score(lasting)
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(score, lasting) for _ in range(60)]
        until(lambda: any(answer.done() for answer in answers))
        for pid in workers(lasting)[:3]:  # one photo may meet them all
            os.kill(pid, signal.SIGKILL)
        assert all(answer.result() == before for answer in answers)
    until(lambda: score(lasting) == before and len(workers(lasting)) == len(os.sched_getaffinity(0)))


def test_sighup_and_a_changed_lock_file_swap(lasting: Server) -> None:
    first = score(lasting)
    assert first["weapon"]["version"] == 1
    make_bundle(Store(lasting.store), "prod", ["cash@1", "ivory@1", "weapon@2"])
    until(lambda: score(lasting)["weapon"]["version"] == 2)
    second = score(lasting)
    assert (second["cash"], second["ivory"]) == (first["cash"], first["ivory"])
    assert lasting.admin("/v2/repository/models/weapon/load")[0] == 200
    assert score(lasting)["weapon"]["version"] == 3
    os.kill(lasting.pid, signal.SIGHUP)  # the lock file overrules
    until(lambda: score(lasting)["weapon"]["version"] == 2)


def test_it_listens_before_it_is_ready(start: Start, tiny: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "sitecustomize.py").write_text(GATE.format(gate=str(gate)))
    with gate.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        server = start(tiny, *SMALL, wait=False, env={"PYTHONPATH": str(tmp_path)})
        assert get(server, "/healthz")[0] == 200
        assert get(server, "/readyz")[0] == 503
        with pytest.raises(urllib.error.HTTPError) as caught:
            score(server)
        assert caught.value.code == 503
        assert caught.value.headers["Retry-After"]
        caught.value.close()
    until(lambda: get(server, "/readyz")[0] == 200)
    assert score(server)


def test_the_log_has_no_photo_and_no_key(lasting: Server) -> None:
    address, key = f"{lasting.url}/v1/score?budget_ms={1e3 * TIMEOUT}", "not-to-be-seen-anywhere"
    request = urllib.request.Request(address, jpeg(1), {"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        assert answer.status == 200
    until(lambda: "request" in events(lasting))  # which is written after the answer
    lines = lasting.lines()
    assert {"listening", "ready", "request"} <= {line["event"] for line in lines}
    assert key not in lasting.log.read_text()
    assert "budget_ms" not in lasting.log.read_text()
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
def test_what_cannot_be_served_is_said_in_one_line(
    tiny: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["launch", "serve", "--store", str(tiny), "--port", "0", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in error
    assert error.count("\n") == 1


def test_an_address_that_is_taken(tiny: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, error = launch(tiny, "--bundle", "prod", "--port", str(other.getsockname()[1]))
    assert code == 2
    assert "choose another" in error
    assert error.count("\n") == 1


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
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stderr
