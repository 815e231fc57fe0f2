"""What a service costs beside the bare scorer, how it behaves under load, and LitServe beside it, all in one run.

    python -m bench.serve --tiny --size 32 --trunk s3 --budget_ms 100
    python -m bench.serve --photos FOLDER --budget_ms 2000 --litserve PYTHON --out bench/results/serve_b0.json

Twenty heads with random weights are served to a client in another process, which sends JPEG files.

- bare: photos a second of the library on the same files, before and after everything else.
- saturation: what the service does at most for clients that wait for their answers, with one and five photos a request.
- steady and overload: requests that arrive independently at 0.8 and 2 times what it can do.
- swaps: heads replaced and put back under load; whether any request fails and whether any other score changes.
- soak: many requests; whether memory grows.
- litserve: LitServe around the same scorer, measured by the same client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.child import CLASS, KEY, Child, Heads, family, make_store, memory, photos, serve
from bench.load import Client, Run, closed_loop, encode, latencies, open_loop, photo_requests, summary
from launch.console import answer, remark, table
from prohibit_jax.bench.race import look
from prohibit_jax.bench.report import about, publish
from prohibit_jax.bundle.store import Store
from prohibit_jax.score.scorer import BATCH_SIZES

PHASES = ("bare", "saturation", "steady", "overload", "swaps", "soak", "litserve")
LADDER = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # clients at a time
SHED = 0.01  # of the requests; from there on the service is past saturation
GOALS = {"ratio": 0.9, "swap_p99": 1.25}
LITSERVE = ((1, 0.0), (1, 0.01), (2, 0.0), (2, 0.01))  # processes that score, seconds for a batch to fill


@dataclass(frozen=True)
class Experiment:
    """What is measured and with what."""

    store: Store
    folder: Path
    photos: Sequence[bytes]
    seconds: float
    budget_ms: float
    batch_sizes: tuple[int, ...]
    precision: str
    extra: tuple[str, ...]

    @property
    def settings(self) -> tuple[str, ...]:
        """Of the service."""
        precision = () if self.precision == "float32" else (f"service.precision={self.precision}",)
        sizes = f"service.batch_sizes={list(self.batch_sizes)}"
        budget = f"service.budget_ms={self.budget_ms}"
        return (budget, sizes, "service.drain_seconds=0", *precision, *self.extra)

    @property
    def options(self) -> list[str]:
        """Of the scripts that load the scorer themselves."""
        sizes = [str(size) for size in self.batch_sizes]
        return ["--store", str(self.store.root), "--batch_sizes", *sizes, "--precision", self.precision]


def main() -> None:
    """Parses, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--size", type=int, default=300, help="edge of what the networks take, pixels")
    parser.add_argument("--trunk", default="s5", help="the stage through which all share a trunk; empty: whole heads")
    parser.add_argument("--tiny", action="store_true", help="networks of a quarter of the width and a third as deep")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--budget_ms", type=float, default=2000.0)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=list(BATCH_SIZES))
    parser.add_argument(
        "--set", action="append", default=[], help="another setting of the service, as `launch serve`'s"
    )
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files; by default noise of 640 x 480")
    parser.add_argument("--most", type=int, default=64, help="of them are sent, in turn")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each figure")
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--swap_requests", type=int, default=10_000)
    parser.add_argument("--swap_load", type=float, default=0.5, help="of saturation, while heads are replaced")
    parser.add_argument("--soak_requests", type=int, default=50_000)
    parser.add_argument("--litserve", help="an interpreter that has LitServe and all that the scorer needs")
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="a JSON file that keeps the result")
    arguments = parser.parse_args()
    heads = Heads(arguments.heads, arguments.size, arguments.trunk, arguments.tiny)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        experiment = Experiment(
            make_store(folder, heads, 1 + -(-arguments.swaps // 2)),
            folder,
            write_photos(folder / "photos", photos(arguments.photos, arguments.most)),
            arguments.seconds,
            arguments.budget_ms,
            tuple(sorted(arguments.batch_sizes)),
            arguments.precision,
            tuple(arguments.set),
        )
        os.environ["PROHIBIT_CACHE"] = str(folder / "cache")  # every process here compiles the same programs
        report = measure(experiment, arguments)
    publish(report, arguments.out)
    answer(report, arguments.json, table("serving", ("what", "figure", "goal"), rows(report)))


def write_photos(folder: Path, files: Sequence[bytes]) -> Sequence[bytes]:
    """Writes them where the scripts that are measured read them."""
    folder.mkdir()
    for number, data in enumerate(files):
        (folder / f"{number:05}.jpg").write_bytes(data)
    return files


def measure(experiment: Experiment, arguments: argparse.Namespace) -> dict[str, Any]:
    """All phases that are wanted, one after the other."""
    wanted, sizes = arguments.phases, [len(photo) for photo in experiment.photos]
    setting = {key: value for key, value in vars(arguments).items() if key not in ("photos", "litserve", "out", "json")}
    report: dict[str, Any] = {**about(look()), "setting": {**setting, "photo_bytes": sum(sizes) / len(sizes)}}
    if "bare" in wanted:
        tell("bare scorer")
        report["bare"] = [bare(experiment)]
    if set(wanted) - {"bare", "litserve"}:
        tell("service")
        with serve(experiment.store, experiment.folder / "service.log", experiment.settings) as child:
            child.wait()
            asyncio.run(serving(experiment, child, arguments, report))
            report["exit_code"] = child.stop()
    if "litserve" in wanted and arguments.litserve:
        report["litserve"] = [litserve(experiment, arguments.litserve, *variant) for variant in LITSERVE]
    if "bare" in wanted:
        report["bare"].append(bare(experiment))
        report["ratio"] = ratios(report)
    return report


def tell(text: str) -> None:
    """Says what comes next."""
    remark(f"{time.strftime('%H:%M:%S')} {text}")


def bare(experiment: Experiment) -> dict[str, Any]:
    """What bench/bare.py says."""
    script = ["-m", "bench.bare", "--photos", str(experiment.folder / "photos"), "--seconds", str(experiment.seconds)]
    run = subprocess.run([sys.executable, *script, *experiment.options], stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def ratios(report: Mapping[str, Any]) -> dict[str, float]:
    """What the service does of what the bare scorer did when it did more, and LitServe of what the service does."""
    best = max(result["photos_per_second"] for result in report["bare"])
    found = {f"service to bare, {each} a request": r["photos_per_second"] / best for each, r in saturations(report)}
    if "litserve" in report and found:
        other = max(result["saturation"]["photos_per_second"] for result in report["litserve"])
        found["service to litserve"] = report["saturation"]["1"]["photos_per_second"] / other
    return found


def saturations(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(photos a request, what the service did at most)."""
    return list(report.get("saturation", {}).items())


async def serving(experiment: Experiment, child: Child, arguments: argparse.Namespace, report: dict[str, Any]) -> None:
    """All phases of one service; adds to the report."""
    url, wanted, seconds = f"{child.url}/v1/score", arguments.phases, experiment.seconds
    client, requests = Client(url), photo_requests(url, experiment.photos)
    started = memory(child.process.pid)
    await closed_loop(client, requests, 4, min(seconds, 5.0))
    tell("saturation")
    report["saturation"] = {"1": await saturation(client, requests, 1, seconds)}
    if "saturation" in wanted:
        fives = photo_requests(url, experiment.photos, 5)
        report["saturation"]["5"] = await saturation(client, fives, 5, seconds)
    most = report["saturation"]["1"]["photos_per_second"]
    for phase, share in (("steady", 0.8), ("overload", 2.0)):
        if phase in wanted:
            tell(phase)
            run = await open_loop(client, requests, share * most, seconds)
            report[phase] = summary(run) | {"rate": share * most}
    if "swaps" in wanted:
        tell("swaps")
        rate = arguments.swap_load * most
        report["swaps"] = await swaps(client, child.url, requests, rate, arguments.swap_requests, arguments.swaps)
    if "soak" in wanted:
        tell("soak")
        report["soak"] = await soak(client, child.process.pid, requests, 0.8 * most, arguments.soak_requests)
    report["memory"] = {
        "started": started,
        "ended": memory(child.process.pid),
        "processes": len(family(child.process.pid)),
    }
    client.close()


async def saturation(client: Client, requests: Sequence[bytes], each: int, seconds: float) -> dict[str, Any]:
    """More and more clients at a time, until requests are turned away; then the best number of them, for longer."""
    steps: list[dict[str, Any]] = []
    for connections in LADDER:
        run = await closed_loop(client, requests, connections, seconds / 3)
        steps.append({"connections": connections, **summary(run, each)})
        if 1 - steps[-1]["statuses"].get("200", 0) / steps[-1]["requests"] > SHED:
            break
    best = max(steps, key=lambda step: float(step["photos_per_second"]))
    run = await closed_loop(client, requests, best["connections"], seconds)
    ladder = {str(step["connections"]): step["photos_per_second"] for step in steps}
    return {"connections": best["connections"], **summary(run, each), "ladder": ladder}


@dataclass
class Ledger:
    """Every score that was ever seen of a photo by a head: batches of other sizes may round otherwise, nothing else."""

    scores: dict[tuple[int, str, int], set[float]] = field(default_factory=lambda: defaultdict(set))
    changed: list[tuple[int, str, int]] = field(default_factory=list)
    answers: int = 0
    versions: set[int] = field(default_factory=set)
    closed: bool = False

    def see(self, number: int, status: int, body: bytes) -> None:
        """Learns from an answer, or where it is closed, looks for a score that no head of that version has given."""
        if status != 200:
            return
        (photo,) = json.loads(body)["photos"]
        self.answers += 1
        self.versions.add(photo["classes"][CLASS]["version"])
        for name, scored in photo["classes"].items():
            known = self.scores[number, name, scored["version"]]
            if not self.closed or name == CLASS:
                known.add(scored["probability"])
            elif scored["probability"] not in known:
                self.changed.append((number, name, scored["version"]))


async def swaps(
    client: Client, url: str, requests: Sequence[bytes], rate: float, count: int, times: int
) -> dict[str, Any]:
    """A head is replaced by one that was never seen, and put back, under load, so many times; half as long without."""
    ledger, seconds = Ledger(), count / rate
    steady = await open_loop(client, requests, rate, seconds / 2, seed=1, seen=ledger.see)
    ledger.closed = True
    windows: list[tuple[float, float]] = []
    refused: list[str] = []

    async def replace() -> None:
        admin = Client(url)
        for number in range(times):
            await asyncio.sleep(max(seconds * (number + 1) / (times + 1) - (time.perf_counter() - first), 0))
            version = 1 if number % 2 else 2 + number // 2
            body = json.dumps({"parameters": {"version": version}}).encode()
            began = time.perf_counter()
            status, text = await admin.ask(encode(f"{url}/v2/repository/models/{CLASS}/load", body, key=KEY))
            windows.append((began, time.perf_counter()))
            if status != 200:
                refused.append(text.decode(errors="replace"))
        admin.close()

    first = time.perf_counter()
    run, _ = await asyncio.gather(open_loop(client, requests, rate, seconds, seed=2, seen=ledger.see), replace())
    during = [outcome.latency for outcome in run.outcomes if _overlaps(run, outcome.due, outcome.done, windows)]
    result: dict[str, Any] = {
        "rate": rate,
        "swaps": times - len(refused),
        "refused": refused,
        "swap_ms": latencies([end - begin for begin, end in windows]),
        "requests": len(run.outcomes),
        "failed": sum(outcome.status != 200 for outcome in run.outcomes),
        "answers_compared": ledger.answers,
        "scores_changed": len(ledger.changed),
        "versions_seen": sorted(ledger.versions),
        "most_values_of_a_score": max((len(values) for values in ledger.scores.values()), default=0),
        "steady": summary(steady),
        "run": summary(run),
        "during_swaps": {"requests": len(during), "latency_ms": latencies(during)},
    }
    if during:
        result["p99_ratio"] = latencies(during)["p99"] / result["steady"]["latency_ms"]["p99"]
    return result


def _overlaps(run: Run, begin: float, end: float, windows: Sequence[tuple[float, float]]) -> bool:
    begin, end = run.begun + begin, run.begun + end
    return any(begin < stop and start < end for start, stop in windows)


async def soak(client: Client, pid: int, requests: Sequence[bytes], rate: float, count: int) -> dict[str, Any]:
    """Many requests, and how much memory the service takes after how many of them."""
    samples: list[tuple[float, int]] = []
    begun = time.perf_counter()

    async def watch() -> None:
        while True:
            samples.append((time.perf_counter() - begun, await asyncio.to_thread(memory, pid)))
            await asyncio.sleep(max(count / rate / 200, 1.0))

    watching = asyncio.create_task(watch())
    run = await open_loop(client, requests, rate, count / rate, seed=3)
    watching.cancel()
    settled = np.array([sample for sample in samples if sample[0] > run.seconds / 4])
    slope = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0]) / 2**20 if len(settled) > 2 else 0.0
    return {
        **summary(run),
        "rate": rate,
        "memory_mb": {
            "first": samples[0][1] / 1e6,
            "last": samples[-1][1] / 1e6,
            "most": max(taken for _, taken in samples) / 1e6,
        },
        "mib_per_10000_requests": slope * run.seconds / len(run.outcomes) * 10_000,
        "samples": [(round(seconds, 1), taken) for seconds, taken in samples],
    }


def litserve(experiment: Experiment, python: str, workers: int, wait: float) -> dict[str, Any]:
    """LitServe with so many processes that score and so long for a batch to fill: saturation, 0.8 and 2 times it."""
    tell(f"litserve, {workers} processes, {wait:g} s")
    command = [python, "-m", "bench.lit_server", *experiment.options, "--workers", str(workers), "--wait", str(wait)]
    with Child(command, experiment.folder / "litserve.log", {"PYTHONPATH": "."}, "/health") as child:
        child.wait()
        return {"workers": workers, "wait": wait, **asyncio.run(litserve_load(experiment, f"{child.url}/predict"))}


async def litserve_load(experiment: Experiment, url: str) -> dict[str, Any]:
    """The same load as the service's."""
    client, requests, seconds = Client(url), photo_requests(url, experiment.photos), experiment.seconds
    await closed_loop(client, requests, 4, min(seconds, 5.0))
    most = await saturation(client, requests, 1, seconds)
    rate = most["photos_per_second"]
    steady = await open_loop(client, requests, 0.8 * rate, seconds)
    overload = await open_loop(client, requests, 2 * rate, seconds)
    client.close()
    return {"saturation": most, "steady": summary(steady), "overload": summary(overload)}


def rows(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The figures that matter, and what they should be."""
    budget = f"≤ {report['setting']['budget_ms']:g} ms"
    found: list[tuple[str, str, str]] = []
    for when, result in zip(("before", "after"), report.get("bare", ()), strict=False):
        scorer = result["scorer_photos_per_second"]
        found.append((f"bare, {when}", f"{result['photos_per_second']:.1f} photos/s (scorer alone {scorer:.1f})", ""))
    for each, result in saturations(report):
        rate = f"{result['photos_per_second']:.1f} photos/s, p99 {result['latency_ms']['p99']:.0f} ms"
        found.append((f"saturation, {each} a request, {result['connections']} clients", rate, ""))
    for name, value in report.get("ratio", {}).items():
        found.append((name, f"{value:.2f}", f"≥ {GOALS['ratio']}" if "bare" in name else ""))
    for phase in ("steady", "overload"):
        if phase in report:
            found += load_rows(phase, report[phase], budget)
    if "swaps" in report:
        result = report["swaps"]
        found += [
            ("swaps", f"{result['swaps']}, each {result['swap_ms']['p50']:.0f} ms", ""),
            ("requests failed during swaps", f"{result['failed']} of {result['requests']}", "0"),
            ("other classes' scores that changed", f"{result['scores_changed']}", "0"),
            ("p99 during swaps to steady", f"{result.get('p99_ratio', 0):.2f}", f"≤ {GOALS['swap_p99']}"),
        ]
    if "soak" in report:
        result = report["soak"]
        growth = f"{result['mib_per_10000_requests']:+.1f} MiB per 10,000 requests, after {result['requests']}"
        found.append(("memory", f"{growth}: {result['memory_mb']['last']:.0f} MB", "flat"))
    for result in report.get("litserve", ()):
        name = f"litserve, {result['workers']} x {result['wait']:g} s"
        rate, latency = result["saturation"]["photos_per_second"], result["saturation"]["latency_ms"]
        found.append((f"{name}, saturation", f"{rate:.1f} photos/s, p99 {latency['p99']:.0f} ms", ""))
        found += load_rows(f"{name}, steady", result["steady"], "") + load_rows(
            f"{name}, overload", result["overload"], ""
        )
    return found


def load_rows(phase: str, result: Mapping[str, Any], budget: str) -> list[tuple[str, str, str]]:
    """Of one open loop."""
    if not result["latency_ms"]:
        return [(phase, f"no answer: {result['statuses']}", budget)]
    p50, p99 = result["latency_ms"]["p50"], result["latency_ms"]["p99"]
    found = [
        (
            f"{phase}, of {result['requests']}",
            f"p50 {p50:.0f}, p99 {p99:.0f} ms, {result['photos_per_second']:.1f} photos/s",
            budget,
        )
    ]
    if result["shed_ms"]:
        share = result["statuses"]["503"] / result["requests"]
        found.append((f"{phase}, turned away", f"{share:.0%}, p99 {result['shed_ms']['p99']:.1f} ms", ""))
    return found


if __name__ == "__main__":
    main()
