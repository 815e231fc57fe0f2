"""What clients see while things go wrong around a service: a row for each fault, under steady load.

    python -m bench.faults --json --out bench/results/faults.json

Every service is a process of its own with tiny heads. The full disk needs the right to mount one, and the clock that
jumps a C compiler; without them, those two rows say so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.child import BUNDLE, CLASS, KEY, Child, Heads, command_line, family, make_store, photos, serve
from bench.load import FAILED, REFUSED, Client, Run, encode, open_loop, photo_requests
from bench.serve import tell
from launch.console import answer, table
from prohibit_jax.bench.race import look
from prohibit_jax.bench.report import about, publish
from prohibit_jax.bundle.store import Store

WORKER = "serve.work"  # in the command line of a decoding process
DAY = 86_400
SETTINGS = ("service.budget_ms=2000", "service.drain_seconds=1", "service.watch_seconds=0.5", "service.work_seconds=2")
EVENTS = ("worker", "refused", "swap", "signal", "stopped", "error")

# The wall clock of whoever loads this is off by as many seconds as a file says; the monotonic one is left alone. A wait
# whose end is on the wall clock suffers more than from a real jump, which moves the kernel's clock along. libfaketime
# does the same, but a look at its clock costs so much that threads which spin on it take all the time.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static int (*look)(clockid_t, struct timespec *);
static const volatile long *offset;

__attribute__((constructor)) static void begin(void) {
    offset = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, open(getenv("CLOCK_OFFSET"), O_RDONLY), 0);
    look = dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!look) begin();
    int code = look(clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += *offset;
    return code;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int code = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return code;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""

Fault = Callable[["Scene"], Awaitable[str]]


@dataclass(frozen=True)
class Scene:
    """A service under load, and what a fault needs to know."""

    child: Child
    store: Store
    client: Client
    seconds: float
    clock: Path  # that says how far off the wall clock is

    async def version(self) -> int:
        """Which head of the class that changes serves."""
        _, body = await self.client.ask(encode(f"{self.child.url}/v1/classes", method="GET"))
        return int(json.loads(body)["classes"][CLASS]["version"])

    def workers(self) -> list[int]:
        """The decoding processes."""
        return [pid for pid in family(self.child.process.pid)[1:] if WORKER in command_line(pid)]


async def nothing(scene: Scene) -> str:
    """No fault."""
    return "nothing"


async def worker_killed(scene: Scene) -> str:
    """SIGKILL to a decoding process, six times."""
    for number in range(6):
        workers = scene.workers()
        os.kill(workers[number % len(workers)], signal.SIGKILL)
        await asyncio.sleep(scene.seconds / 8)
    return f"6 killed, {len(scene.workers())} at work"


async def workers_killed(scene: Scene) -> str:
    """SIGKILL to all decoding processes at once, three times."""
    killed = 0
    for _ in range(3):
        for pid in scene.workers():
            os.kill(pid, signal.SIGKILL)
            killed += 1
        await asyncio.sleep(scene.seconds / 4)
    return f"{killed} killed, {len(scene.workers())} at work"


async def worker_stuck(scene: Scene) -> str:
    """SIGSTOP to a decoding process, which then neither works nor ends."""
    stopped = scene.workers()[0]
    os.kill(stopped, signal.SIGSTOP)
    await asyncio.sleep(0.6 * scene.seconds)
    return "replaced" if stopped not in scene.workers() else "still there"


async def server_killed(scene: Scene) -> str:
    """SIGKILL to the server; another is started on the same store afterwards."""
    members = family(scene.child.process.pid)
    scene.child.process.kill()
    await asyncio.sleep(2)
    left = [pid for pid in members[1:] if command_line(pid)]
    return f"{len(members) - 1} decoding processes, {len(left)} left 2 s later"


async def terminated(scene: Scene) -> str:
    """SIGTERM."""
    began = time.monotonic()
    scene.child.process.terminate()
    ready = []
    while scene.child.process.poll() is None:
        ready.append((await asyncio.to_thread(scene.child.get, "/readyz"))[0])
        await asyncio.sleep(0.05)
    took = time.monotonic() - began
    return f"/readyz {ready[0]}, ended after {took:.1f} s with exit code {scene.child.process.returncode}"


async def half_a_bundle(scene: Scene) -> str:
    """The bundle's file is overwritten with half of itself, later with a whole one that names another head."""
    path = Path(scene.store.bundles / f"{BUNDLE}.json")
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    await asyncio.sleep(scene.seconds / 3)
    meanwhile = await scene.version()
    lines = whole.splitlines(keepends=True)
    changed = scene.store.read_head(f"{CLASS}@2")
    lines[1] = json.dumps(
        {
            "class": CLASS,
            "version": 2,
            "sha256": changed.card.params_sha256,
            "card_sha256": changed.card_sha256,
        }
    )
    path.write_text("".join([lines[0], f"  {lines[1]},\n", *lines[2:]]))
    await asyncio.sleep(scene.seconds / 3)
    after = await scene.version()
    path.write_text(whole)
    return f"{CLASS}@{meanwhile} served on; the whole file put {CLASS}@{after} in place"


async def damaged_head(scene: Scene) -> str:
    """A published head loses a byte, and is to be loaded."""
    path = Path(scene.store.heads / CLASS / "3" / "params.safetensors")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    url = f"{scene.child.url}/v2/repository/models/{CLASS}/load"
    body = json.dumps({"parameters": {"version": 3}}).encode()
    status, text = await scene.client.ask(encode(url, body, key=KEY))
    return f"load answered {status} ({json.loads(text)['error'][:60]}…); {CLASS}@{await scene.version()} served on"


async def clock_jumps(scene: Scene) -> str:
    """The wall clock goes a day ahead, two back, and home."""
    for offset in (DAY, -DAY, 0):
        set_clock(scene.clock, offset)
        await asyncio.sleep(scene.seconds / 4)
    days = {entry["time"][:10] for entry in scene.child.events("request")}
    return f"the log has requests of {len(days)} days"


FAULTS: dict[str, Fault] = {
    "nothing": nothing,
    "a decoding process killed": worker_killed,
    "all of them killed at once": workers_killed,
    "a decoding process stopped": worker_stuck,
    "server killed": server_killed,
    "SIGTERM": terminated,
    "disk full, log too": nothing,
    "bundle file half written": half_a_bundle,
    "damaged head loaded": damaged_head,
    "wall clock jumps by a day": clock_jumps,
}


def main() -> None:
    """Parses, breaks things, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=30.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="of load, for each fault")
    parser.add_argument("--heads", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="a JSON file that keeps the result")
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PROHIBIT_CACHE"] = str(folder / "cache")
        store = make_store(folder, Heads(arguments.heads, 32, "s3", tiny=True), 3)
        for fault in arguments.only:
            tell(fault)
            found.append({"fault": fault, **row(folder, store, fault, arguments.rate, arguments.seconds)})
    report = {**about(look()), "rate": arguments.rate, "seconds": arguments.seconds, "rows": found}
    publish(report, arguments.out)
    columns = ("fault", "sent", "200", "503", "other", "dropped", "refused", "longest, ms")
    seen = table("what the client saw", columns, [cells(result) for result in found])
    notes = [f"{result['fault']}: {note(result)}" for result in found]
    answer(report, arguments.json, seen, *notes)


def row(folder: Path, store: Store, fault: str, rate: float, seconds: float) -> dict[str, Any]:
    """One fault on a service of its own."""
    clock = folder / "clock"
    set_clock(clock, 0)
    with circumstances(folder, fault, clock) as (log, environment):
        if environment is None:
            return {"skipped": log}
        with serve(store, Path(log), SETTINGS, environment) as child:
            child.wait()
            result = asyncio.run(loaded(child, store, FAULTS[fault], rate, seconds, clock))
            result["log"] = sorted({entry["event"] for entry in child.events(*EVENTS)})
    return result


@contextmanager
def circumstances(folder: Path, fault: str, clock: Path) -> Iterator[tuple[str, Mapping[str, str] | None]]:
    """(file for the log, environment) of the service, or (why not, None)."""
    if fault.startswith("disk full"):
        with full_disk(folder / "full") as full:
            here = {"TMPDIR": str(full), "PROHIBIT_CACHE": str(full / "cache"), "HOME": str(full)} if full else None
            yield "/dev/full" if full else "a disk cannot be mounted here", here
    elif fault.startswith("wall clock"):
        library = compiled(folder / "clock.so")
        here = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(clock)} if library else None
        yield str(folder / "log") if library else "there is no C compiler", here
    else:
        yield str(folder / "log"), {}


def set_clock(file: Path, offset: int) -> None:
    """Writes in place, since the file is mapped."""
    with file.open("r+b" if file.exists() else "wb") as out:
        out.write(offset.to_bytes(8, sys.byteorder, signed=True))


def compiled(library: Path) -> Path | None:
    """`CLOCK` as a library to preload; None where nothing compiles it."""
    compiler = shutil.which("cc")
    if not compiler:
        return None
    command = [compiler, "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), "-ldl"]
    subprocess.run(command, input=CLOCK.encode(), check=True)
    return library


@contextmanager
def full_disk(folder: Path) -> Iterator[Path | None]:
    """A file system without a free byte; None where none may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
            yield None
            return
    except FileNotFoundError:
        yield None
        return
    try:
        with suppress(OSError), (folder / "filling").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def loaded(child: Child, store: Store, fault: Fault, rate: float, seconds: float, clock: Path) -> dict[str, Any]:
    """What became of the requests while the fault happened, and of one afterwards, if there is who answers."""
    url = f"{child.url}/v1/score"
    files = photos(None, 8)
    single, several = photo_requests(url, files), photo_requests(url, files, 5)
    requests = [request for pair in zip(single, several, strict=True) for request in pair]
    client, side = Client(url), Client(url)
    before = await side.ask(single[0])
    scene = Scene(child, store, side, seconds, clock)

    async def later() -> str:
        await asyncio.sleep(seconds / 8)
        return await fault(scene)

    run, happened = await asyncio.gather(open_loop(client, requests, rate, seconds), later())
    after = await side.ask(single[0])
    for one in (client, side):
        one.close()
    return {**counts(run), "happened": happened, "after": same(before, after)}


def counts(run: Run) -> dict[str, Any]:
    """How many requests ended how."""
    statuses = [outcome.status for outcome in run.outcomes]
    known = (200, 503, FAILED, REFUSED)
    return {
        "sent": len(statuses),
        "200": statuses.count(200),
        "503": statuses.count(503),
        "other": sum(status not in known for status in statuses),
        "dropped": statuses.count(FAILED),
        "refused": statuses.count(REFUSED),
        "longest_ms": 1e3 * max(outcome.latency for outcome in run.outcomes),
    }


def same(before: tuple[int, bytes], after: tuple[int, bytes]) -> str:
    """Whether a photo is scored as it was."""
    if after[0] != 200:
        return "no answer" if after[0] in (FAILED, REFUSED) else str(after[0])
    scores = [
        {name: scored["probability"] for name, scored in json.loads(body)["photos"][0]["classes"].items()}
        for _, body in (before, after)
    ]
    return "the same scores" if scores[0] == scores[1] else "other scores"


def cells(result: Mapping[str, Any]) -> list[str]:
    """A row of the table."""
    names = ("sent", "200", "503", "other", "dropped", "refused", "longest_ms")
    return [result["fault"], *(str(round(result[name])) if name in result else "-" for name in names)]


def note(result: Mapping[str, Any]) -> str:
    """What happened beside that."""
    if "skipped" in result:
        return str(result["skipped"])
    logged = f"; logged: {', '.join(result['log'])}" if result["log"] else ""
    return f"{result['happened']}; then {result['after']}{logged}"


if __name__ == "__main__":
    main()
