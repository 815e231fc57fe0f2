"""A bulk job killed again and again: does it end with the table of a job left alone, no row lost or doubled?

    python -m bench.resume --store store --bundle prod --data folder:PATH [--embedding lite0:160] [--kills 20]

Runs the job once undisturbed, then again with SIGKILL at random moments until it was killed that often and finished,
each time as a process of its own that knows nothing of the former. Prints JSON: where the kills fell, and whether the
two tables' files are the same to the byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prohibit_jax.score.table import SHARD, open_scores

CHILD = """
import sys
from prohibit_jax.data.sources import open_source
from prohibit_jax.score.job import score_source
bundle, data, out, store, embedding, rows = sys.argv[1:]
told = lambda done, total: print(done, total, flush=True)
score_source(bundle or None, open_source(data), out, store, told, embedding=embedding or None, shard_rows=int(rows))
"""


def main() -> None:
    """Parses, runs, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default="store")
    parser.add_argument("--bundle", default="")
    parser.add_argument("--embedding", default="")
    parser.add_argument("--data", required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--shard-rows", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--single", action="store_true", help="one file instead of a folder of shards")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        suffix = ".parquet" if arguments.single else ""
        alone, killed = Path(folder, f"alone{suffix}"), Path(folder, f"killed{suffix}")
        photos, _ = run(arguments, alone)
        kills: list[dict[str, Any]] = []
        for left in range(arguments.kills, 0, -1):
            rest = max(0, photos - len(shards(killed)) * arguments.shard_rows)
            after = Moment(draw.randint(0, int(rest * min(2 / left, 0.8))), draw.uniform(0, 0.3))
            done, was_killed = run(arguments, killed, after)
            kills.append({**asdict(after), "done": done, "killed": was_killed, "shards": len(shards(killed))})
        run(arguments, killed)
        print(json.dumps({"kills": kills, **compare(alone, killed)}, indent=1))


@dataclass(frozen=True)
class Moment:
    """When a job is killed: after it has done so many photos, and so many seconds later."""

    photos: int
    seconds: float


def run(arguments: argparse.Namespace, out: Path, kill: Moment | None = None) -> tuple[int, bool]:
    """Runs the job to its end, or until it is killed: (the last photo that it told of, whether it was killed)."""
    values = (arguments.bundle, arguments.data, out, arguments.store, arguments.embedding, arguments.shard_rows)
    command = [sys.executable, "-c", CHILD, *map(str, values)]
    first = done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            done = int(line.split()[0])
            first = first or done
            if kill and done - first >= kill.photos:
                time.sleep(kill.seconds)
                child.kill()
                kill = None
    if child.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"the job ended with {child.returncode}")
    return done, child.returncode != 0


def shards(out: Path) -> list[Path]:
    """Those that are there now."""
    folder = out.with_name(f"{out.name}.parts") if out.suffix else out
    return sorted(path for path in folder.glob("*") if SHARD.fullmatch(path.name))


def compare(alone: Path, killed: Path) -> dict[str, Any]:
    """What the two tables have in common."""
    tables = [open_scores(path) for path in (alone, killed)]
    paths = [table.texts("path").to_pylist() for table in tables]
    columns = [name for name in tables[0].columns if tables[0].read([name]) == tables[1].read([name])]
    return {
        "rows_alone": tables[0].rows,
        "rows_killed": tables[1].rows,
        "rows_lost": len(set(paths[0]) - set(paths[1])),
        "rows_doubled": len(paths[1]) - len(set(paths[1])),
        "columns": tables[0].columns,
        "columns_equal_to_the_bit": columns,
        "files_equal_to_the_byte": digests(alone) == digests(killed),
    }


def digests(out: Path) -> dict[str, str]:
    """The SHA-256 of every file of a table."""
    files = sorted(out.iterdir()) if out.is_dir() else [out]
    return {path.name if out.is_dir() else "": hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    main()
