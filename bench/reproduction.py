"""docs/reproduction.md: what was published and what was measured here, claim by claim, by one command.

    python -m bench.reproduction --data folder:PATH --store store --results bench/results --out docs/reproduction.md

Each measurement is a script of its own that leaves a JSON file. One whose file is complete is not made again, so the
command can be stopped and given again at any time, and `--only NAME` makes one alone, `--only ''` none. The store needs
the imported weights `lite0`. The page follows from the files alone: what is missing is said to be, with its command.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.reproduction_page import FOUR, IMPORTED, Found, Results, page, runs
from bench.reproduction_plots import draw
from launch.console import remark

SEEDS = 3


@dataclass(frozen=True)
class Measurement:
    """A script and what it needs.

    Attributes:
        words: after `python -m`; `{data}`, `{store}` and `{out}` are filled in.
        complete: whether a file of it lacks nothing; the scripts go on with one that does.
        apart: whether it wants a store of its own with nothing but the weights.
    """

    words: tuple[str, ...]
    complete: Callable[[Found], bool] = bool
    apart: bool = False


def script(name: str, *options: str) -> tuple[str, ...]:
    """The words of a script in this folder."""
    return (f"bench.{name}", "--data", "{data}", "--store", "{store}", "--out", "{out}", *options)


def _has_seeds(found: Found) -> bool:
    return len(found.get("seeds", {})) >= SEEDS


def _has_classes(found: Found) -> bool:
    return _has_seeds(found) and all(
        all(name in one and "merged" in one[name] for name in found["classes"])
        and any("merged_10" in row for row in one.values())
        for one in found["seeds"].values()
    )


def _has_recipes(found: Found) -> bool:
    return all(len(runs(found, recipe, name)) >= SEEDS for recipe in IMPORTED for name in FOUR)


MEASUREMENTS: Mapping[str, Measurement] = {
    "multiclass": Measurement(script("multiclass"), _has_seeds),
    "quality": Measurement(script("quality"), _has_recipes),
    "cpu_heads": Measurement(("launch.main", "bench", "--trunk", "none,s2,s5", "--out", "{out}")),
    "cpu_60_heads": Measurement(
        ("launch.main", "bench", "--heads", "20,60", "--trunk", "none,s7,top", "--out", "{out}")
    ),
    "plan": Measurement(("bench.plan", "--out", "{out}")),
    "labels": Measurement(script("labels", "--seeds", "6")),
    "isolation": Measurement(script("isolation"), apart=True),
    "isolation_whole": Measurement(
        script(
            "isolation",
            *("--trunk=", "--set=model.size=96", "--set=train.epochs=1", "--set=train.steps_per_epoch=4"),
        ),
        apart=True,
    ),
    "newclass": Measurement(script("newclass")),
    "classes": Measurement(script("classes", "--size", "64"), _has_classes),
    "cascade": Measurement(script("cascade")),
}

# Both want a store that has been used: scores of a pool, and heads that are worth merging.
BY_HAND = {
    "round": "python -m bench.round --store STORE --pool SCORES --data folder:PHOTOS --yes revolver",
    "merge": "launch merge --classes A,B,… --pool folder:PHOTOS --store STORE --json",
}


def main() -> None:
    """Measures what is missing, draws, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    parser.add_argument("--out", type=Path, default=Path("docs/reproduction.md"))
    parser.add_argument("--only", choices=["", *MEASUREMENTS], help="one measurement, or '' for none; all by default")
    arguments = parser.parse_args()
    for name in MEASUREMENTS if arguments.only is None else filter(None, [arguments.only]):
        measure(name, arguments.data, arguments.store, arguments.results)
    results = read(arguments.results)
    draw(results, arguments.out.parent / "images")
    arguments.out.write_text(render(results), encoding="utf-8")
    missing = [name for name in (*MEASUREMENTS, *BY_HAND) if name not in results]
    remark(f"{arguments.out} is written; not measured yet: {', '.join(missing) or 'nothing'}")


def measure(name: str, data: str, store: Path, results: Path) -> None:
    """Runs the measurement's script, unless its file is complete. One that fails leaves the others their turn."""
    asked, out = MEASUREMENTS[name], results / f"{name}.json"
    if out.exists() and asked.complete(json.loads(out.read_text())):
        return remark(f"{name}: {out} is complete")
    if asked.apart:
        shutil.copytree(store / "weights", store / name / "weights", dirs_exist_ok=True)
        store = store / name
    words = [word.format(data=data, store=store, out=out) for word in asked.words]
    remark(f"{name}: python -m {' '.join(words)}")
    if code := subprocess.run([sys.executable, "-m", *words], check=False).returncode:
        remark(f"{name}: ended with exit code {code}; the page goes without what it did not write")
    return None


def read(results: Path) -> Results:
    """Every measurement that left a file in the folder."""
    files = {name: results / f"{name}.json" for name in (*MEASUREMENTS, *BY_HAND)}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def render(results: Results) -> str:
    """The page, in Markdown."""
    return page(results, {**{name: command(name) for name in MEASUREMENTS}, **BY_HAND})


def command(name: str) -> str:
    """How a measurement is made, as the page shows it."""
    words = " ".join(MEASUREMENTS[name].words).replace("launch.main", "launch")
    filled = words.format(data="folder:PHOTOS", store="STORE", out=f"bench/results/{name}.json")
    return filled if filled.startswith("launch") else f"python -m {filled}"


if __name__ == "__main__":
    main()
