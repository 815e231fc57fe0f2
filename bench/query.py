"""`launch query` over millions of photos: seconds, memory, what is lost by looking at neighbours alone; beside faiss.

    python -m bench.query --rows 5000000 --out bench/results/query_5m.json

A made-up pool, in the real format and of the real size: photos in 2,000 clusters, one in 10,000 of the class, which has
5 looks, each beside look-alikes, 20 times as many. Cosines are as of Lite0's embeddings of Caltech-101: 0.4 to 0.7
within a look, 0.3 to 0.5 to look-alikes, 0.1 to 0.2 to the rest. 20 photos of the class and 200 others are answered;
scores are those of a middling head. Each query is a process of its own that may use two cores and no more than 8 GB of
address space; peak memory and CPU seconds are the operating system's figures.

- `scores`: positives=0.5,uncertainty=0.5 over the whole pool, which reads no embeddings.
- `near`: the same among the 1,000 nearest neighbours of each known positive, exactly, by one pass over all embeddings.
- `neighbours`: the whole pool by its likeness to the known positives, as on a first day.
- faiss: an inverted file of 8-bit vectors (IndexIVFScalarQuantizer), built from the same shards and asked for the same
  neighbours. Its build counts once for a pool, the search each time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from prohibit_jax.active.neighbours import nearest_rows
from prohibit_jax.active.pool import Stored
from prohibit_jax.active.queue import read_queue
from prohibit_jax.bundle.lock import Bundle, Pin
from prohibit_jax.data.label_store import Label, open_label_store
from prohibit_jax.score.embed import Embedding
from prohibit_jax.score.table import open_scores, write_tables
from prohibit_jax.types import HeadRef, sigmoid

SHARD, BLOCK = 250_000, 8192
CLUSTERS, LOOKS, PREVALENCE, ALIKE = 2000, 5, 1e-4, 20
SPARSE = 1.2  # features are what of a normal number exceeds this, if anything: 12% are not zero
SPREAD = 0.6, 1.2  # of photos around their cluster's centre, as a part of its length
KNOWN_YES, KNOWN_NO, BUDGET, NEAR = 20, 200, 200, 1000
MEMORY = 8 * 2**30


def main() -> None:
    """Parses, makes the pool, runs, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--folder", type=Path, help="where the pool is made and deleted; by default a temporary folder")
    parser.add_argument("--no-peer", action="store_true", help="without faiss")
    parser.add_argument("--out", type=Path, help="a JSON file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = measured(Path(folder), arguments.rows, arguments.features, peer=not arguments.no_peer)
    print(json.dumps(result, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def measured(folder: Path, rows: int, features: int, *, peer: bool) -> dict[str, Any]:
    """Everything, by name."""
    begun = time.perf_counter()
    truth = make_pool(folder / "pool", rows, features)
    known = answer(folder, truth)
    print(f"made {rows:,} rows in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    mixture = "positives=0.5,uncertainty=0.5"
    runs = {
        "scores": query(folder, "scores", "--strategy", mixture),
        "near": query(folder, "near", "--strategy", mixture, "--near", str(NEAR)),
        "neighbours": query(folder, "neighbours", "--strategy", "neighbours"),
    }
    asked = {name: numbers(folder / f"{name}.parquet") for name in runs}
    hidden = int(truth.sum()) - KNOWN_YES
    for name, run in runs.items():
        run["positives"] = int(truth[list(asked[name])].sum())
    table = open_scores(folder / "pool")
    pool = np.setdiff1d(np.arange(rows), known)
    yes = known[truth[known]]
    begun, used = time.perf_counter(), time.process_time()
    exact = pool[nearest_rows(Stored(table, pool), Stored(table, yes)[:], NEAR)]
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    result: dict[str, Any] = {
        "rows": rows,
        "features": features,
        "positives": int(truth.sum()),
        "hidden_positives": hidden,
        "known_positives": KNOWN_YES,
        "budget": BUDGET,
        "near": NEAR,
        "cores": len(os.sched_getaffinity(0)),
        "memory_limit_mb": MEMORY >> 20,
        "queries": runs,
        "candidates": {
            "share_of_pool": len(exact) / rows,
            "share_of_hidden_positives": float(truth[exact].sum() / hidden),
            "share_of_full_scan_batch": len(asked["near"] & asked["scores"]) / len(asked["scores"]),
        },
        "exact_neighbours": {"seconds": round(seconds, 1), "cpu_seconds": round(used, 1)},
    }
    if peer:
        result["faiss"] = faiss_run(folder / "pool", rows, features, known, yes, exact, truth)
    return result


def make_pool(folder: Path, rows: int, features: int) -> np.ndarray:
    """Writes shards of scores and embeddings; returns which rows are of the class."""
    rng = np.random.default_rng(0)
    rest, looks, others = (unit(sparse(rng, count, features)) for count in (CLUSTERS, LOOKS, LOOKS))
    centres = np.concatenate([rest, looks, unit(looks + others)])  # the last are the look-alikes'
    truth = np.zeros(rows, bool)
    truth[rng.choice(rows, max(int(rows * PREVALENCE), 2 * KNOWN_YES), replace=False)] = True
    alike = np.zeros(rows, bool)
    alike[rng.choice(rows, ALIKE * int(truth.sum()), replace=False)] = True
    kind, look = np.where(truth, 0, LOOKS), rng.integers(0, LOOKS, rows)
    cluster = np.where(truth | alike, CLUSTERS + kind + look, rng.integers(0, CLUSTERS, rows))
    evidence = np.where(truth, 1.5, np.where(alike, -2.0, -6.0)) + 1.5 * rng.standard_normal(rows)
    scores = sigmoid(evidence).astype(np.float32)
    bundle = Bundle("prod", (Pin(HeadRef("weapon", 1), "a" * 64),))
    embedding = Embedding("none", 160, "b" * 64, features)

    def block(start: int, stop: int) -> pa.Table:
        count, part = stop - start, slice(start, stop)
        spread = rng.uniform(*SPREAD, (count, 1)).astype(np.float32)
        points = centres[cluster[part]] + spread * unit(sparse(rng, count, features))
        names = np.arange(start, stop)
        digests = rng.bytes(32 * count).hex()
        halves = pa.py_buffer(points.astype("<f2").tobytes())
        columns = {
            "path": pa.array([f"photos/{name // 1000:05d}/{name:08d}.jpg" for name in names]),
            "sha256": pa.array([digests[64 * i : 64 * i + 64] for i in range(count)]),
            "width": pa.array(np.full(count, 300, np.int32)),
            "height": pa.array(np.full(count, 300, np.int32)),
            "error": pa.nulls(count, pa.string()),
            "weapon": pa.array(scores[part]),
            "phash": pa.array(rng.integers(0, 2**64, count, np.uint64)),
            "embedding": pa.FixedSizeBinaryArray.from_buffers(pa.binary(2 * features), count, [None, halves]),
        }
        return pa.table(columns)

    def blocks(first: int, last: int) -> Iterator[pa.Table]:
        for start in range(first, last, BLOCK):
            yield block(start, min(start + BLOCK, last))

    for number, start in enumerate(range(0, rows, SHARD)):
        write_tables(folder / f"part-{number:05}.parquet", blocks(start, min(start + SHARD, rows)), bundle, embedding)
    return truth


def sparse(rng: np.random.Generator, rows: int, features: int) -> np.ndarray:
    """float32 [rows, features], none below zero and most zero, as pooled features are."""
    return np.asarray(np.maximum(rng.standard_normal((rows, features), np.float32) - np.float32(SPARSE), 0))


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows at unit length."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def answer(folder: Path, truth: np.ndarray) -> np.ndarray:
    """Puts the first answers into the label store; returns their rows, rising."""
    rng = np.random.default_rng(1)
    yes = rng.choice(np.flatnonzero(truth), KNOWN_YES, replace=False)
    known = np.sort(np.concatenate([yes, rng.choice(np.flatnonzero(~truth), KNOWN_NO, replace=False)]))
    contents = open_scores(folder / "pool").texts("sha256").take(pa.array(known)).to_pylist()
    now = datetime.now(UTC)
    open_label_store(None, str(folder / "store")).append(
        Label(content, f"{row}.jpg", "weapon", "yes" if truth[row] else "no", "bench", now)
        for content, row in zip(contents, known.tolist(), strict=True)
    )
    return known


def query(folder: Path, name: str, *options: str) -> dict[str, Any]:
    """One `launch query` with two cores and 8 GB: what it says, its seconds and its peak memory."""
    command = [sys.executable, "-m", "launch.main", "query", "--class", "weapon", "--scores", str(folder / "pool")]
    command += ["--store", str(folder / "store"), "--out", str(folder / f"{name}.parquet"), "--budget", str(BUDGET)]

    def confine() -> None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([*command, *options, "--json"], stdout=said, stderr=said, preexec_fn=confine)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        said.seek(0)
        if status:
            raise SystemExit(f"launch query {' '.join(options)} failed: {said.read()[-2000:]}")
        result = json.loads(said.read().splitlines()[-1])
    print(f"{name}: {seconds:.1f} s, {usage.ru_maxrss >> 10} MB", file=sys.stderr, flush=True)
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "phases": result["seconds"],
        "peak_mb": usage.ru_maxrss >> 10,
        "candidates": result["candidates"],
        "asks": result["asks"],
    }


def numbers(queue: Path) -> set[int]:
    """The rows that a queue asks about, by the names of their photos."""
    return {int(ask.path[-12:-4]) for ask in read_queue(queue)}


def faiss_run(
    folder: Path,
    rows: int,
    features: int,
    known: np.ndarray,
    yes: np.ndarray,
    exact: np.ndarray,
    truth: np.ndarray,
    lists: int = 512,
    probes: tuple[int, ...] = (8, 64),
) -> dict[str, Any]:
    """Build and search of an inverted file, and how many of the exact neighbours it finds."""
    import faiss

    table = open_scores(folder)
    stored = Stored(table, np.arange(rows))
    faiss.omp_set_num_threads(2)
    begun, used = time.perf_counter(), time.process_time()
    quantizer = faiss.IndexFlatIP(features)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, features, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    sample = np.sort(np.random.default_rng(0).choice(rows, min(rows, 40 * lists), replace=False))
    index.train(stored[sample])
    for start in range(0, rows, 16384):
        index.add(stored[start : start + 16384])
    built = time.perf_counter() - begun
    print(f"faiss: built in {built:.0f} s", file=sys.stderr, flush=True)
    result: dict[str, Any] = {
        "version": faiss.__version__,
        "index": f"IVF{lists},SQ8",
        "build_seconds": round(built, 1),
        "build_cpu_seconds": round(time.process_time() - used, 1),
        "peak_mb_of_this_process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "searches": [],
    }
    asked = stored[yes]
    for probe in probes:
        index.nprobe = probe
        begun = time.perf_counter()
        _, found = index.search(asked, NEAR + len(known))
        seconds = time.perf_counter() - begun
        kept = [row[~np.isin(row, known) & (row >= 0)][:NEAR] for row in found]
        union = np.unique(np.concatenate(kept))
        result["searches"].append(
            {
                "probes": probe,
                "seconds": round(seconds, 3),
                "recall_of_exact": round(float(np.isin(exact, union).mean()), 4),
                "share_of_hidden_positives": round(float(truth[union].sum() / (truth.sum() - KNOWN_YES)), 4),
            }
        )
    return result


if __name__ == "__main__":
    main()
