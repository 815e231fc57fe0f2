"""A client that puts an HTTP service under load, and says what it saw.

    python -m bench.load --url http://127.0.0.1:8000/v1/score --photos FOLDER --rate 20 --seconds 30
    python -m bench.load --url http://127.0.0.1:8000/v1/score --photos FOLDER --connections 8 --seconds 30 --json

With `--rate`, requests arrive as a Poisson process whatever becomes of earlier ones, and latency counts from the
moment at which a request was due: a service that stalls pays for all who wait. With `--connections`, each of so many
clients sends its next request as soon as it has an answer, which finds out what a service can do at most.

Requests are encoded beforehand and sent over connections that are kept open, so that a request costs this process a
tenth of a millisecond and the service has the cores to itself; how late requests left is reported too.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launch.console import answer, table

PATIENCE = 60.0  # seconds for an answer
MOST_CONNECTIONS = 900
FAILED, REFUSED = 0, -1  # in place of a status: no answer, or none in time; no connection
NAMES = {FAILED: "failed", REFUSED: "refused"}
BOUNDARY = b"a-boundary-that-no-photo-holds"

Seen = Callable[[int, int, bytes], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request; seconds since the run began."""

    request: int  # which of those that are sent in turn
    due: float
    sent: float
    done: float
    status: int

    @property
    def latency(self) -> float:
        """Seconds from when it was due to the answer's last byte."""
        return self.done - self.due


@dataclass
class Run:
    """All outcomes, in the order of their answers."""

    begun: float  # of time.perf_counter
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    processor: float = 0.0  # seconds of this process


class Connection(asyncio.Protocol):
    """One connection, one request at a time, answers with a Content-Length."""

    def __init__(self) -> None:
        self.open = False
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._end = 0  # of the answer in hand; 0 until its headers are in
        self._start = 0
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """(status, body). Raises ConnectionError where it is dropped before the answer's end."""
        assert self._transport
        if not self.open:
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Closes it, whatever it is at."""
        self.open = False
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.open = transport, True

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        self._received += data
        if not self._end:
            self._start = self._received.find(b"\r\n\r\n") + 4
            if self._start < 4:
                return
            head = bytes(self._received[: self._start]).lower()
            _, found, length = head.partition(b"\r\ncontent-length:")
            self._end = self._start + (int(length.split(b"\r\n", 1)[0]) if found else 0)
            self.open = b"\r\nconnection: close" not in head
        if len(self._received) >= self._end and self._answer and not self._answer.done():
            self._answer.set_result((int(self._received[9:12]), bytes(self._received[self._start : self._end])))
            del self._received[: self._end]
            self._end = 0

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio's."""
        self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(error if isinstance(error, ConnectionError) else ConnectionResetError())


class Client:
    """Connections to one service, opened as they are needed and kept for the next request."""

    def __init__(self, url: str, most: int = MOST_CONNECTIONS) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(most)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """(status, body); `FAILED` or `REFUSED` where there is no answer."""
        async with self._room:
            connection = None
            try:
                async with asyncio.timeout(PATIENCE):
                    connection = await self._connection()
                    reply = await connection.ask(request)
            except (OSError, TimeoutError):
                if connection is None:
                    return REFUSED, b""
                connection.close()
                return FAILED, b""
            if connection.open:
                self._idle.append(connection)
            else:
                connection.close()
            return reply

    def close(self) -> None:
        """Closes what is idle."""
        for connection in self._idle:
            connection.close()

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
        return connection


async def open_loop(
    client: Client,
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    *,
    seed: int = 0,
    seen: Seen | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Sends the requests in turn, `rate` a second on average, whatever becomes of them; returns with the last answer.

    Args:
        seed: of the arrivals.
        seen: is shown each answer: which request, status, body.
        clock: in seconds.
    """
    rng, begun, used = random.Random(seed), clock(), time.process_time()
    run = Run(begun)

    async def one(number: int, due: float) -> None:
        sent = clock() - begun
        status, body = await client.ask(requests[number])
        run.outcomes.append(Outcome(number, due, sent, clock() - begun, status))
        if seen:
            seen(number, status, body)

    due = rng.expovariate(rate)
    async with asyncio.TaskGroup() as tasks:
        for number in cycle(range(len(requests))):
            if due > seconds:
                break
            if (wait := due - (clock() - begun)) > 0:
                await asyncio.sleep(wait)
            tasks.create_task(one(number, due))
            due += rng.expovariate(rate)
    run.seconds, run.processor = clock() - begun, time.process_time() - used
    return run


async def closed_loop(
    client: Client,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    *,
    seen: Seen | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Sends the requests in turn, always `connections` at a time, for so many seconds of the clock."""
    begun, used = clock(), time.process_time()
    run, numbers = Run(begun), count()

    async def chain() -> None:
        while (sent := clock() - begun) < seconds:
            number = next(numbers) % len(requests)
            status, body = await client.ask(requests[number])
            run.outcomes.append(Outcome(number, sent, sent, clock() - begun, status))
            if seen:
                seen(number, status, body)
            if status in NAMES:
                await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(chain())
    run.seconds, run.processor = clock() - begun, time.process_time() - used
    return run


def encode(url: str, body: bytes = b"", *, method: str = "POST", kind: str = "", key: str = "") -> bytes:
    """A request as it goes over the wire; `kind` is its Content-Type, `key` goes in as a bearer's."""
    address = urlsplit(url)
    path = (address.path or "/") + (f"?{address.query}" if address.query else "")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"Authorization: Bearer {key}"] if key else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def photo_requests(url: str, photos: Sequence[bytes], each: int = 1) -> list[bytes]:
    """As many requests as there are photos, each with `each` of them: one as it is, several as a form."""
    if each == 1:
        return [encode(url, photo, kind="image/jpeg") for photo in photos]
    chosen = [[photos[(number + i) % len(photos)] for i in range(each)] for number in range(len(photos))]
    kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    return [encode(url, form(group, "files"), kind=kind) for group in chosen]


def form(photos: Sequence[bytes], name: str) -> bytes:
    """Photos as multipart/form-data under one field's name."""
    head = b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="%d.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    parts = [head % (BOUNDARY, name.encode(), number) + photo + b"\r\n" for number, photo in enumerate(photos)]
    return b"".join(parts) + b"--%b--\r\n" % BOUNDARY


def summary(run: Run, each: int = 1) -> dict[str, Any]:
    """Counts, photos a second (of `each` a request), and latencies in ms of what was answered and what turned away."""
    outcomes = run.outcomes
    late = sorted(outcome.sent - outcome.due for outcome in outcomes)
    good = [outcome.latency for outcome in outcomes if outcome.status == 200]
    shed = [outcome.latency for outcome in outcomes if outcome.status == 503]
    statuses = Counter(NAMES.get(outcome.status, str(outcome.status)) for outcome in outcomes)
    return {
        "requests": len(outcomes),
        "statuses": dict(sorted(statuses.items())),
        "seconds": run.seconds,
        "photos_per_second": each * len(good) / run.seconds,
        "latency_ms": latencies(good),
        "shed_ms": latencies(shed),
        "late_ms": {"p50": 1e3 * percentile(late, 0.5), "p99": 1e3 * percentile(late, 0.99)} if late else {},
        "client_ms_per_request": 1e3 * run.processor / max(len(outcomes), 1),
    }


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles in ms; nothing of nothing."""
    ordered = sorted(seconds)
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {name: 1e3 * percentile(ordered, share) for name, share in shares.items()} if ordered else {}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    return ordered[max(ceil(share * len(ordered)) - 1, 0)]


def read_photos(folder: Path, most: int) -> list[bytes]:
    """JPEG files below the folder, evenly chosen. Raises SystemExit where there is none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise SystemExit(f"--photos {folder}: no .jpg files below it")
    return [path.read_bytes() for path in paths[:: max(len(paths) // most, 1)][:most]]


def main() -> None:
    """Parses, sends, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of JPEG files")
    parser.add_argument("--most", type=int, default=64, help="of them are sent, in turn")
    parser.add_argument("--each", type=int, default=1, help="photos in a request")
    load = parser.add_mutually_exclusive_group(required=True)
    load.add_argument("--rate", type=float, help="requests a second, as they come")
    load.add_argument("--connections", type=int, help="requests at any time, one after the other")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    requests = photo_requests(arguments.url, read_photos(arguments.photos, arguments.most), arguments.each)

    async def measure() -> Run:
        client = Client(arguments.url)
        if arguments.rate:
            return await open_loop(client, requests, arguments.rate, arguments.seconds, seed=arguments.seed)
        return await closed_loop(client, requests, arguments.connections, arguments.seconds)

    result = summary(asyncio.run(measure()), arguments.each)
    answer(result, arguments.json, table("what the client saw", ("figure", "value"), rows(result)))


def rows(result: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """A summary's figures, a line each."""
    lines: list[tuple[str, str]] = []
    for name, value in result.items():
        if isinstance(value, dict):
            lines += rows(value, f"{before}{name} ")
        else:
            lines.append((before + name, f"{value:.2f}" if isinstance(value, float) else str(value)))
    return lines


if __name__ == "__main__":
    main()
