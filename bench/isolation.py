"""One class is trained again: do the other classes' files and scores stay as they were, to the last bit?

    python -m bench.isolation --data folder:PATH --store store --again weapon

Bundles every class's latest head, scores the whole source, trains one class again with another seed, bundles and scores
again, and compares files by SHA-256 and columns bit by bit.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np

from launch.console import bar
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.config import load_config
from prohibit_jax.data.sources import open_source
from prohibit_jax.heads.make import train_head
from prohibit_jax.score.job import score_source
from prohibit_jax.score.table import ScoreTable, open_scores

BUNDLE = "isolation"


def main() -> None:
    """Parses, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--again", default="weapon")
    arguments = parser.parse_args()
    store = Store(arguments.store)
    with tempfile.TemporaryDirectory() as folder, bar() as line:

        def scored(file: str) -> tuple[dict[str, str], ScoreTable]:
            pins = make_bundle(store, BUNDLE).pins
            out = Path(folder) / file
            score_source(BUNDLE, open_source(arguments.data), out, store, line("scoring"))
            return {pin.ref.name: _files(store, str(pin.ref)) for pin in pins}, open_scores(out)

        files, scores = scored("before.parquet")
        overrides = {"data.source": arguments.data, "model.weights": "lite0", "model.trunk_through": "s7"}
        config = load_config(arguments.again, None, ["train.seed=100", "train.batch=64"], overrides)
        train_head(config, store, progress=line)
        files_after, scores_after = scored("after.parquet")
    print(f"{scores.rows} photos\n")
    print(
        "| class | head before | head after | files the same | scores that differ by any bit |\n|---|---|---|---|---|"
    )
    for before, after in zip(scores.bundle["heads"], scores_after.bundle["heads"], strict=True):
        name = before["class"]
        bits, bits_after = (table.column(name).view(np.uint32) for table in (scores, scores_after))
        same = "yes" if files[name] == files_after[name] else "no"
        heads = f"{name}@{before['version']} | {name}@{after['version']}"
        print(f"| {name} | {heads} | {same} | {int((bits != bits_after).sum())} |")


def _files(store: Store, ref: str) -> str:
    """The SHA-256 of a head's parameters and card together."""
    name, version = ref.split("@")
    folder = store.heads / name / version
    content = (folder / "params.safetensors").read_bytes() + (folder / "card.json").read_bytes()
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
