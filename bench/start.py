"""How soon a process scores its first photo, and how soon a scorer has another head.

    python -m bench.start --heads 20 --size 300

Every start is a process of its own on the same bundle of EfficientNet-B0 heads: it imports, reads and verifies the
heads, compiles (the first) or loads (later ones) every batch size, scores one photo, replaces a head by one that no
earlier process has seen, and scores again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from prohibit_jax.bench.jax_engines import heads_of
from prohibit_jax.bench.work import Work
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.models.efficientnet import B0

START = """
import time
begun = time.perf_counter()
import numpy as np
import prohibit_jax as pj
pj.load_scorer
imported = time.perf_counter()
scorer = pj.load_scorer("start", {store!r}, (1, 5, 32), compiler={compiler!r})
ready = time.perf_counter()
photo = np.zeros((1, {size}, {size}, 3), np.uint8)
scorer(photo)
scored = time.perf_counter()
other = scorer.replace("class0@{version}")
replaced = time.perf_counter()
other(photo)
again = time.perf_counter()
print(imported - begun, ready - imported, scored - ready, scored - begun, replaced - scored, again - replaced)
"""


def main() -> None:
    """Publishes the heads, starts, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--starts", type=int, default=5, help="later ones, of which the fastest and the median count")
    arguments = parser.parse_args()
    columns = (
        "compiler",
        "start",
        "imports",
        "ready",
        "first photo",
        "all three",
        "replace returns",
        "its first photo",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        heads, _ = heads_of(Work(heads=arguments.heads, batch=1, size=arguments.size, arch=B0))
        for head in heads:
            store.publish_head(head.card, head.variables)
        make_bundle(store, "start", [head.card.name for head in heads])
        for compiler in ("xla", *(["openvino"] if find_spec("openvino") else [])):
            environment = os.environ | {"PROHIBIT_CACHE": str(Path(folder) / "cache"), "JAX_PLATFORMS": "cpu"}
            found = []
            for _ in range(1 + arguments.starts):
                again = {name: array * np.float32(1.001) for name, array in heads[0].variables.items()}
                version = store.publish_head(heads[0].card, again).version
                heads[0] = replace(heads[0], variables=again)
                script = START.format(store=str(store.root), compiler=compiler, size=arguments.size, version=version)
                found.append(start(script, environment))
            later = sorted(found[1:], key=lambda times: times[3])
            for name, times in (("first", found[0]), ("later, median", later[len(later) // 2]), ("fastest", later[0])):
                print(
                    f"| {compiler} | {name} | " + " | ".join(f"{seconds:.2f}" for seconds in times) + " |", flush=True
                )


def start(script: str, environment: dict[str, str]) -> list[float]:
    """The seconds that the script prints."""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    return [float(seconds) for seconds in run.stdout.split()]


if __name__ == "__main__":
    main()
