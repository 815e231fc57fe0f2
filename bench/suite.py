"""What a command such as `make test` costs the machine: seconds, and the memory that all its processes hold together.

    python -m bench.suite                                  # make test, on a machine that does nothing else
    python -m bench.suite --busy 8 -- make quick           # the same of another command, eight busy processes beside it
    python -m bench.suite --json -- make test              # standard output is one JSON object, the last thing printed

Memory is the proportional set size, sampled every two seconds: what processes share counts once. A process whose parent
has ended counts too. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

EVERY = 2.0  # seconds between samples
SHOWN = 8  # processes of the peak that are named
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
BUSY = "while True: pass"


@dataclass
class Peak:
    """The moment at which the processes held most memory."""

    mib: float = 0.0
    seconds: float = 0.0
    processes: int = 0
    largest: list[tuple[float, str]] = field(default_factory=list)


def main() -> None:
    """Parses, runs, prints; ends as the command did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=0, help="processes beside it that only use the processor")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("command", nargs="*", default=["make", "test"])
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1)  # whose parent ends becomes our child, and is found
    with busy(arguments.busy) as others:
        code, seconds, peak = measured(arguments.command, others)
    if arguments.json:
        found = {"command": arguments.command, "busy": arguments.busy, "code": code, "seconds": round(seconds)}
        print(json.dumps(found | {"peak": asdict(peak)}))
    else:
        print(
            f"{' '.join(arguments.command)}: exit code {code}, {seconds:.0f} s, {arguments.busy} busy processes beside"
        )
        print(f"most memory: {peak.mib:.0f} MiB in {peak.processes} processes after {peak.seconds:.0f} s, of these")
        for mib, name in peak.largest:
            print(f"{mib:8.0f} MiB  {name}")
    sys.exit(code)


@contextmanager
def busy(count: int) -> Iterator[set[int]]:
    """Runs so many busy processes; yields their numbers."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield {process.pid for process in running}
    finally:
        for process in running:
            process.kill()
            process.wait()


def measured(command: list[str], others: set[int]) -> tuple[int, float, Peak]:
    """(exit code, seconds, peak) of a command; processes with the numbers `others` are not its own."""
    begun, peak = time.monotonic(), Peak()
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            reap(process.pid)
            sizes = [size for child in psutil.Process().children(recursive=True) if (size := memory(child, others))]
            total = sum(mib for mib, _ in sizes)
            if total > peak.mib:
                largest = sorted(sizes, reverse=True)[:SHOWN]
                peak = Peak(round(total), round(time.monotonic() - begun), len(sizes), largest)
            time.sleep(EVERY)
    return process.returncode, time.monotonic() - begun, peak


def reap(command: int) -> None:
    """Lets go of processes that came to us when their parent ended, and have ended since."""
    for child in psutil.Process().children():
        if child.pid != command and child.status() == psutil.STATUS_ZOMBIE:
            os.waitpid(child.pid, os.WNOHANG)


def memory(process: Any, others: set[int]) -> tuple[float, str] | None:
    """(MiB, command line) of a process; None where it has ended or is not of the command."""
    with suppress(psutil.Error):
        if process.pid not in others:
            return round(process.memory_full_info().pss / 2**20, 1), " ".join(process.cmdline())[:100]
    return None


if __name__ == "__main__":
    main()
