"""One class is trained again, then one is added: do the others' files and scores stay as they were, to the last bit?

    python -m bench.isolation --data folder:PATH --store store --again weapon --out bench/results/isolation.json

Bundles every class's latest head and scores the whole source; trains one class again with another seed, bundles and
scores again; trains a class that is not in the bundle, bundles and scores once more. After each step, files are
compared by SHA-256 and columns bit by bit. In a store without heads, the four classes of configs/ are trained first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from launch.console import bar
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.config import load_config
from prohibit_jax.data.sources import open_source
from prohibit_jax.heads.make import train_head
from prohibit_jax.score.job import score_source
from prohibit_jax.score.table import ScoreTable, open_scores
from prohibit_jax.types import Line

BUNDLE = "isolation"
CLASSES = ("blade", "cash", "weapon", "wildlife")


@dataclass(frozen=True)
class State:
    """A bundle's heads by class, the hashes of their files, and its scores of every photo."""

    heads: dict[str, str]
    files: dict[str, str]
    scores: ScoreTable


def main() -> None:
    """Parses, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--again", default="weapon", help="the class that is trained again")
    parser.add_argument("--add", default="stapler", help="the class that is added, as its folder is called")
    parser.add_argument("--trunk", default="s7", help="the stage through which all share a trunk; empty: whole heads")
    parser.add_argument("--set", action="append", default=[], help="changes the config of all trainings")
    parser.add_argument("--out", type=Path, help="a JSON file that keeps the result")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, bar() as line:
        found = measured(arguments, Store(arguments.store), Path(folder), line)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{found['photos']} photos\n")
    for step in found["steps"]:
        print(f"{step['what']}\n\n" + "\n".join(table(step["heads"])) + "\n")


def measured(arguments: argparse.Namespace, store: Store, folder: Path, line: Line) -> dict[str, Any]:
    """Runs both steps; what became of every head in each."""
    overrides = {"data.source": arguments.data, "model.weights": "lite0", "model.trunk_through": arguments.trunk}

    def train(name: str, seed: int) -> None:
        settings = [f"train.seed={seed}", "train.batch=64", *arguments.set]
        train_head(load_config(name, None, settings, overrides), store, progress=line)

    def state(classes: Sequence[str]) -> State:
        pins = make_bundle(store, BUNDLE, classes).pins
        out = folder / f"{len(list(folder.iterdir()))}.parquet"
        score_source(BUNDLE, open_source(arguments.data), out, store, line("scoring"))
        heads = {pin.ref.name: str(pin.ref) for pin in pins}
        return State(heads, {name: _files(store, ref) for name, ref in heads.items()}, open_scores(out))

    for name in CLASSES:
        if name not in store.classes():
            train(name, seed=0)
    classes = [name for name in store.classes() if name != arguments.add]
    states = [state(classes)]
    train(arguments.again, seed=100)
    states.append(state(classes))
    train(arguments.add, seed=0)
    states.append(state([*classes, arguments.add]))
    whats = (f"{arguments.again} trained again", f"{arguments.add} added")
    steps = [
        {"what": what, "heads": compared(before, after)}
        for what, before, after in zip(whats, states[:-1], states[1:], strict=True)
    ]
    return {"photos": states[0].scores.rows, "trunk": arguments.trunk, "steps": steps}


def compared(before: State, after: State) -> list[dict[str, Any]]:
    """A row for each class: its heads, whether the files are the same, and the scores that differ by any bit."""
    rows = []
    for name, head in after.heads.items():
        row: dict[str, Any] = {"class": name, "before": before.heads.get(name), "after": head}
        if name in before.heads:
            old, new = before.scores.column(name), after.scores.column(name)
            row["files_same"] = before.files[name] == after.files[name]
            row["scores_changed"] = int((old.view(np.uint32) != new.view(np.uint32)).sum())
            row["largest_change"] = float(np.nanmax(np.abs(old - new)))
        rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """In Markdown."""
    lines = [
        "| class | head before | head after | files the same | scores that differ by any bit |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        same = {True: "yes", False: "no", None: ""}[row.get("files_same")]
        changed = row.get("scores_changed", "")
        lines.append(f"| {row['class']} | {row['before'] or 'none'} | {row['after']} | {same} | {changed} |")
    return lines


def _files(store: Store, ref: str) -> str:
    """The SHA-256 of a head's parameters and card together."""
    name, version = ref.split("@")
    folder = store.heads / name / version
    content = (folder / "params.safetensors").read_bytes() + (folder / "card.json").read_bytes()
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
