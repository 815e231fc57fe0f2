"""Peak memory of bulk scoring against the number of photos: `launch score` as a whole process, on growing sources.

    python -m bench.memory --bundle prod --store store --data folder:PATH --counts 400 1600 6382

Prints the peak resident size of each process, and seconds, from the operating system's own accounting.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

from prohibit_jax.data.sources import Item, open_source


def main() -> None:
    """Parses, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[400, 1600, 6382])
    arguments = parser.parse_args()
    items = open_source(arguments.data).items
    print("| photos | peak memory, MiB | photos a second, start included |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.counts:
            step = len(items) / count
            chosen = [items[int(number * step)] for number in range(count)]
            peak, seconds = score(Path(folder), chosen, arguments.bundle, arguments.store)
            print(f"| {count} | {peak:.0f} | {count / seconds:.0f} |", flush=True)


def score(folder: Path, items: list[Item], bundle: str, store: str) -> tuple[float, float]:
    """(peak resident size in MiB, seconds) of one `launch score`."""
    manifest = folder / "photos.csv"
    with manifest.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        rows.writerows((Path(item.path).resolve(), item.label) for item in items)
    command = ["-m", "launch.main", "score", "--bundle", bundle, "--store", store]
    command += ["--data", f"manifest:{manifest}", "--out", str(folder / "scores.parquet"), "--json"]
    begun = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    process = os.posix_spawn(sys.executable, [sys.executable, *command], os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"launch score failed on {len(items)} photos")
    return usage.ru_maxrss / 1024, time.perf_counter() - begun


if __name__ == "__main__":
    main()
