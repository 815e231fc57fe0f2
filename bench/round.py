"""How long annotators wait for the next round: `launch loop next` as a whole process, on scored and embedded photos.

    python -m bench.round --store store --pool scores.parquet --data folder:PATH --class weapon --yes revolver

In a store of its own, a class gets labels (all of its photos and some others, as if imported and asked), and rounds are
made by `launch loop next`. Beside it what one would write with scikit-learn and modAL on the same embeddings and
labels: a logistic regression, its scores of the pool, and an argsort of their distance from 0.5, timed inside a process
that has imported everything already.

Prints JSON: seconds of the process, of its phases, and of the peer, the median of `--repeats` runs in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from prohibit_jax.bundle.store import Store
from prohibit_jax.data.label_store import Label, open_label_store
from prohibit_jax.data.sources import open_source
from prohibit_jax.score.table import ScoreTable, open_scores

IMPORTED = 20
"""Positives that are known on the first day; the other labels are asked ones."""


def main() -> None:
    """Parses, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="has the weights")
    parser.add_argument("--pool", required=True, help="score table with embeddings")
    parser.add_argument("--data", required=True, help="the same photos with their labels")
    parser.add_argument("--class", dest="name", default="weapon")
    parser.add_argument("--yes", nargs="+", required=True, help="labels of the class")
    parser.add_argument("--labels", type=int, nargs="+", default=[200, 800], help="answered photos")
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    pool = open_scores(arguments.pool)
    truth = {item.path: item.label in arguments.yes for item in open_source(arguments.data).items}
    print(json.dumps({"photos": pool.rows, "rounds": [measured(arguments, pool, truth, n) for n in arguments.labels]}))


def measured(arguments: argparse.Namespace, pool: ScoreTable, truth: dict[str, bool], count: int) -> dict[str, Any]:
    """Rounds after so many answers, ours and the peer's in turn."""
    contents, paths = (pool.texts(column).to_pylist() for column in ("sha256", "path"))
    labels = np.array([truth[path] for path in paths])
    rows = answered(labels, count)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        shutil.copytree(Store(arguments.store).weights, store.weights)
        begun = datetime(2026, 1, 1, tzinfo=UTC)
        open_label_store(None, store).append(
            Label(
                contents[row],
                paths[row],
                arguments.name,
                "yes" if labels[row] else "no",
                "bench",
                begun + timedelta(seconds=place),
                strategy="imported" if place < IMPORTED else "random" if place % 10 == 0 else "uncertainty",
            )
            for place, row in enumerate(rows.tolist())
        )
        ours, peers = [], []
        for _ in range(arguments.repeats):
            ours.append(our_round(arguments, folder))
            peers.append(peer_round(pool, rows, labels[rows], arguments.budget))
    middle = sorted(ours, key=lambda one: one["seconds"])[len(ours) // 2]
    return {
        "labels": len(rows),
        "positives": int(labels[rows].sum()),
        "budget": arguments.budget,
        "process_seconds": middle["seconds"],
        "processor_seconds": middle["processor_seconds"],
        "phases": middle["phases"],
        "start_and_rest_seconds": round(middle["seconds"] - sum(middle["phases"].values()), 2),
        "peer_seconds": {phase: round(statistics.median(one[phase] for one in peers), 2) for phase in peers[0]},
    }


def answered(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows of photos of the class first, as many as a fifth of all, then others."""
    rng = np.random.default_rng(0)
    yes, no = (rng.permutation(np.flatnonzero(labels == kind)) for kind in (True, False))
    positives = yes[: count // 5]
    return np.concatenate([positives, no[: count - len(positives)]])


def our_round(arguments: argparse.Namespace, store: str) -> dict[str, Any]:
    """One `launch loop next`, with the phases that it reports."""
    command = [sys.executable, "-m", "launch.main", "loop", "next", "--class", arguments.name, "--store", store]
    command += ["--pool", arguments.pool, "--budget", str(arguments.budget), "--again", "--json"]
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),
        "phases": json.loads(ended.stdout)["seconds"],
    }


def peer_round(pool: ScoreTable, rows: np.ndarray, labels: np.ndarray, budget: int) -> dict[str, float]:
    """scikit-learn's logistic regression on the same embeddings, and the photos nearest to 0.5."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    laps = [time.perf_counter()]
    features = np.concatenate([part for _, part in pool.embeddings()])
    laps.append(time.perf_counter())
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced"))
    model.fit(features[rows], labels)
    laps.append(time.perf_counter())
    scores = model.predict_proba(features)[:, 1]
    laps.append(time.perf_counter())
    open_ = np.setdiff1d(np.arange(len(scores)), rows)
    _ = open_[np.argsort(np.abs(scores[open_] - 0.5))[:budget]]
    laps.append(time.perf_counter())
    phases = dict(zip(("reading", "retraining", "scoring", "query"), np.diff(laps).tolist(), strict=True))
    return phases | {"all": laps[-1] - laps[0]}


if __name__ == "__main__":
    main()
