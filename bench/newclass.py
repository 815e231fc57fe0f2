"""From "a new category is wanted" to serving it: the commands as a user types them, and the minutes that each takes.

    python -m bench.newclass --data folder:PATH --store store --out bench/results/newclass.json

In a store of its own with the imported weights, three classes are trained, bundled and served. Then the fourth comes:
its photos lie in a folder. It is trained, promoted into the bundle, and asked for over HTTP until the service that ran
all the while answers with its score. Each command is a process of its own, start and all.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.child import Child
from prohibit_jax.bundle.store import Store
from prohibit_jax.data.sources import open_source

NEW = "blade"
BEFORE = ("cash", "weapon", "wildlife")
BUNDLE = "prod"
WAIT = 600.0  # seconds for the service to answer with the new class

Row = dict[str, Any]


def main() -> None:
    """Parses, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", required=True, help="has the weights")
    parser.add_argument("--trunk", default="s7")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Store(arguments.store).weights, Store(folder).weights)
        found = measured(arguments.data, arguments.trunk, Path(folder))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    for part in ("before", "new"):
        print(f"\n| {part} | s |\n|---|---|")
        print("\n".join(f"| `{row['command']}` | {row['seconds']:.1f} |" for row in found[part]))


def measured(data: str, trunk: str, store: Path) -> dict[str, Any]:
    """The rows of what is there before, and of the new class."""
    frozen = ["--weights", "lite0", "--set", f"model.trunk_through={trunk}"]

    def launch(*words: str) -> Row:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "launch.main", *words, "--store", str(store)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise SystemExit(f"launch {' '.join(words)}\n{ended.stderr[-2000:]}")
        return {"command": shown(words, data), "seconds": round(time.perf_counter() - begun, 1)}

    before = [launch("train", "--class", name, "--data", data, *frozen) for name in BEFORE]
    before.append(launch("bundle", "--out", BUNDLE))
    serve = [sys.executable, "-m", "launch.main", "serve", "--bundle", BUNDLE, "--store", str(store)]
    begun = time.perf_counter()
    with Child(serve, store / "service.log") as service:
        service.wait()
        before.append({"command": f"launch serve --bundle {BUNDLE}", "seconds": round(time.perf_counter() - begun, 1)})
        why = ["--why", "a new category"]
        new = [
            launch("train", "--class", NEW, "--data", data, *frozen),
            launch("promote", f"{NEW}@1", "--bundle", BUNDLE, "--data", data, *why),
        ]
        begun = time.perf_counter()
        score = first_score(service, photo(data))
        waited = {"command": "POST /v1/score", "seconds": round(time.perf_counter() - begun, 1)}
    return {"class": NEW, "trunk": trunk, "before": before, "new": [*new, waited], "answer": score}


def first_score(service: Child, body: bytes) -> Any:
    """What the service says of the new class, as soon as it does."""

    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=60)
        connection.request("POST", "/v1/score", body, {"Content-Type": "image/jpeg"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        if NEW in json.dumps(answer):
            return answer
        time.sleep(0.2)
    raise SystemExit(f"the service does not answer with {NEW}; its log ends with\n{service.log_text()[-2000:]}")


def photo(data: str) -> bytes:
    """Any photo of the source."""
    return open_source(data).read(0)


def shown(words: Sequence[str], data: str) -> str:
    """The command as a page shows it: the photos' place left to the reader."""
    quoted = (f'"{word}"' if " " in word else word for word in words)
    return " ".join(["launch", *quoted]).replace(data, "folder:PHOTOS")


if __name__ == "__main__":
    main()
