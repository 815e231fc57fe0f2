"""The page of published claims: what it says follows from the results, and what is missing is said to be."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

reproduction = pytest.importorskip("bench.reproduction", reason="the scripts in bench/ are not part of a distribution")
page = pytest.importorskip("bench.reproduction_page")
isolation = pytest.importorskip("bench.isolation")
multiclass = pytest.importorskip("bench.multiclass")
newclass = pytest.importorskip("bench.newclass")

ROOT = Path(__file__).resolve().parents[2]


def three(value: float, reach: float = 0.01) -> dict[str, float]:
    """A value with an interval around it."""
    return {"value": value, "low": value - reach, "high": value + reach}


def judged(large: float, small: float) -> dict[str, Any]:
    return {"large": three(large), "small": three(small), "difference": three(small - large)}


def bench_row(model: str, heads: int, trunk: str, ms: float) -> dict[str, Any]:
    sizes = {"weights_mb": 16.0 * heads, "peak_mb": 100.0 * heads}
    return {"engine": "prohibit_jax", "model": model, "heads": heads, "trunk": trunk, "p50_ms": ms, **sizes}


def figures(labels: float | None) -> dict[str, Any]:
    curve = [{"labels": n, "average_precision": 0.9, "low": 0.8, "high": 1.0} for n in (20, 40)]
    full = three(labels, 5) if labels else None
    return {"labels_to_full": full, "ratio_to_random": three(2.0), "curve": curve}


def protocol(asked: float | None) -> dict[str, Any]:
    strategies = {name: figures(asked if name == page.MIXTURE else 500) for name in page.STRATEGIES}
    return {"strategies": strategies, "all": {"labels": 1000, "average_precision": 0.95}}


def step(what: str, changed: int) -> dict[str, Any]:
    kept = {"class": "cash", "before": "cash@1", "after": "cash@1", "files_same": True}
    return {
        "what": what,
        "heads": [
            {**kept, "scores_changed": changed, "largest_change": 3e-8 if changed else 0.0},
            {"class": "stapler", "before": None, "after": "stapler@1"},
        ],
    }


CLASS = {"whole": 0.91, "top": 0.87, "merged": 0.9, "positives": 40, "seconds": 3.0}

RESULTS: dict[str, Any] = {
    "multiclass": {
        "size": 96,
        "train": 3000,
        "test": 1000,
        "classes": ["weapon"],
        "budget_seconds": 300.0,
        "systems": {
            "large": {"model": "big", "parameters": 54_000_000},
            "small": {"model": "tiny", "parameters": 4_000_000},
        },
        "seeds": {
            "0": {
                "large": {"steps": 50},
                "small": {"weapon": {"steps": 70}},
                "classes": {"weapon": judged(0.3, 0.5)},
                "mean": judged(0.3, 0.5),
            }
        },
        "overall": {"classes": {"weapon": {**judged(0.3, 0.5), "positives": 12}}, "mean": judged(0.3, 0.5)},
    },
    "quality": {
        f"{recipe} / {name} / {seed}": {"average_precision": {"value": 0.8 + 0.1 * seed}}
        for recipe in page.IMPORTED
        for name in page.FOUR
        for seed in range(2)
    },
    "cpu_heads": {
        "cores": 7,
        "rows": [
            bench_row("inception_resnet_v2", 1, "", 100.0),
            *(bench_row("efficientnet_b0", heads, "", 10.0 * heads) for heads in (12, 20)),
            bench_row("efficientnet_b0", 20, "s5", 50.0),
        ],
    },
    "cpu_60_heads": {
        "rows": [bench_row("efficientnet_b0", 20, "", 200.0), bench_row("efficientnet_b0", 60, "top", 50.0)],
    },
    "plan": {"rows": [{"heads": 5, "trunk": "s2", "predicted_ms": 110.0, "measured_ms": 100.0, "off": 0.1}]},
    "labels": {"seeds": 6, "classes": {"weapon": {"known": protocol(80), "few": protocol(205)}}},
    "isolation": {"photos": 6000, "steps": [step("weapon trained again", 0), step("stapler added", 0)]},
    "isolation_whole": {"photos": 6000, "steps": [step("stapler added", 77)]},
    "newclass": {
        "class": "blade",
        "before": [{"command": "launch bundle --out prod", "seconds": 6.0}],
        "new": [{"command": "launch train --class blade", "seconds": 60.0}, {"command": "POST", "seconds": 30.0}],
    },
    "round": {"photos": 6000, "rounds": [{"process_seconds": 6.0}, {"process_seconds": 12.0}]},
    "classes": {
        "photos": 6000,
        "size": 64,
        "steps": 16,
        "classes": ["cup", "lamp"],
        "seeds": {"0": {"cup": CLASS, "lamp": {**CLASS, "whole": 0.81}}, "1": {"cup": CLASS, "lamp": CLASS}, "2": {}},
    },
    "merge": {
        "photos": 5000,
        "before": {"networks": 10, "megabytes": 160.0},
        "after": {"networks": 1, "megabytes": 13.5},
        "classes": [
            {
                "class": "cup",
                "positives": 33,
                "old_average_precision": three(0.9),
                "new_average_precision": three(0.895),
                "difference": three(-0.005),
                "accepted": True,
            }
        ],
    },
    "cascade": {
        "batch": 5,
        "given_up": 0.01,
        "ms": {
            "fastest_tenth": {
                "top at 32 px": 2.5,
                "s4 at 160 px": 6.0,
                "after s4 at 160 px": 8.0,
                "trunk": 10.0,
                "head on the trunk": 0.5,
                "whole head": 14.0,
            }
        },
        "gates": {
            "top at 32 px": [{"cleared": {"4": 0.5}, "classes": {"cash": {"lost": 1, "flagged": 20}}}] * 2,
        },
        "many": {
            "s4 at 160 px": [
                {
                    "cleared": {"4": 0.75, "20": 0.25},
                    "classes": {str(n): {"lost_by_own": int(n == 7), "flagged": 10} for n in range(20)},
                }
            ]
        },
    },
}
"""A result of every measurement, with numbers that can be told apart."""


def test_without_results_every_measurement_is_said_to_be_missing() -> None:
    text = reproduction.render({})
    for name in reproduction.MEASUREMENTS:
        assert f"Not measured yet: `{reproduction.command(name)}`" in text
    for by_hand in reproduction.BY_HAND.values():
        assert f"Not measured yet: `{by_hand}`" in text
    ours = [
        line for line in text.splitlines() if line.count("|") == 4 and "published" not in line and "---" not in line
    ]
    assert len(ours) == 7
    assert all(line.endswith("| not measured yet |") for line in ours)


def test_with_all_results_nothing_is_missing() -> None:
    text = reproduction.render(RESULTS)
    assert "ot measured yet" not in text
    assert "nan" not in text
    assert text.count("\n## ") == 6


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("multiclass", "| weapon | 12 | 0.300 | 0.500 | +0.200 (+0.190 to +0.210) | small |"),
        ("multiclass", "| small binary networks in place of a multi-class one | done; no figure known | mean average"),
        ("quality", "| 160 px, whole network | 0.850 (0.800 to 0.900) |"),
        ("cpu_heads", "| 20 whole heads | 208 | 1.8 | 200 | 2.0 | 320 | 2,000 |"),
        ("cpu_heads", "| 20 on a trunk through s5 |  |  | 50 | 0.5 | 320 | 2,000 |"),
        ("cpu_heads", "a processor with 7 cores"),
        ("cpu_60_heads", "| 60 on a trunk through top | 50 | 0.25 | 960 | 6,000 |"),
        ("plan", "| 5 | s2 | 110 | 100 | +10.0% |"),
        ("labels", "| weapon | **both, and a tenth at random** | 1,000 | 80 (75 to 85) | 8.0% | 2.0 (2.0 to 2.0) |"),
        ("labels", "The published tenth holds"),
        ("isolation", "No score of another class differs by any bit."),
        ("isolation", "weapon trained again, 6,000 photos:"),
        ("isolation_whole", "77 scores of other classes differ, by at most 3e-08"),
        ("newclass", "| **in all** | **90.0** |"),
        ("round", "A round takes the machine up to 12 s"),
        ("classes", "| whole network | 0.885 (0.860 to 0.910) |"),
        ("classes", "| lamp | 40 | 0.860 (0.810 to 0.910) | 0.870 (0.870 to 0.870) | 0.900 (0.900 to 0.900) |"),
        ("merge", "| cup | 33 | 0.900 | 0.895 | -0.005 (-0.015 to +0.005) | yes |"),
        ("cascade", "| top at 32 px | 2.5 | 50% (50% to 50%) | 30.5 | 8.5 | 2 of 40 |"),
        ("cascade", "| s4 at 160 px | 4 | 75% | 20.0 | 8.5 | 0.0% |"),
        ("cascade", "| s4 at 160 px | 20 | 25% | 216.0 | 19.5 | 0.5% |"),
    ],
)
def test_a_measurement_is_said_where_it_is_there_and_only_there(name: str, said: str) -> None:
    def lines(results: Any) -> str:
        return " ".join(reproduction.render(results).split())

    assert " ".join(said.split()) in lines(RESULTS)
    assert " ".join(said.split()) in lines({name: RESULTS[name]})
    assert " ".join(said.split()) not in lines({key: value for key, value in RESULTS.items() if key != name})


def test_labels_by_people_are_counted_in_rounds() -> None:
    both = reproduction.render({name: RESULTS[name] for name in ("round", "labels")})
    assert "| weapon | 205 (200 to 210) | 11 | 2.2 | 1,000 |" in both


def test_a_strategy_that_never_gets_there_breaks_the_tenth() -> None:
    text = reproduction.render({"labels": {"seeds": 6, "classes": {"weapon": {"known": protocol(None)}}}})
    assert "The published tenth does not hold for every class" in " ".join(text.split())
    assert "weapon never" in text


def test_kinds_of_heads_that_some_class_lacks_are_left_out() -> None:
    seeds = {"0": {"cup": CLASS, "lamp": {"whole": 0.8, "top": 0.7, "positives": 40}}}
    text = reproduction.render({"classes": {**RESULTS["classes"], "seeds": seeds}})
    assert "merged into one" not in text.partition("<details>")[2].partition("</details>")[0]
    assert "on the frozen trunk" in text


def test_plots_are_drawn_of_what_is_there(tmp_path: Path) -> None:
    reproduction.draw({name: RESULTS[name] for name in ("labels", "classes")}, tmp_path / "images")
    names = sorted(file.name for file in (tmp_path / "images").iterdir())
    assert names == ["reproduction_classes.png", "reproduction_labels.png"]
    reproduction.draw(RESULTS, tmp_path)
    assert (tmp_path / "reproduction_latency.png").stat().st_size > 10_000


def test_every_script_knows_its_options() -> None:
    for name, asked in reproduction.MEASUREMENTS.items():
        assert "{out}" in asked.words, name
        module = asked.words[0]
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()


class Runs:
    """Stands in for subprocess.run: remembers the commands, and writes what a script would."""

    def __init__(self, writes: Any) -> None:
        self.commands: list[list[str]] = []
        self.writes = writes

    def __call__(self, command: list[str], check: bool) -> SimpleNamespace:
        self.commands.append(command)
        if self.writes is None:
            return SimpleNamespace(returncode=1)
        Path(command[command.index("--out") + 1]).write_text(json.dumps(self.writes))
        return SimpleNamespace(returncode=0)


def test_what_is_complete_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs({"seeds": {"0": {}, "1": {}, "2": {}}})
    monkeypatch.setattr(subprocess, "run", runs)
    (tmp_path / "multiclass.json").write_text('{"seeds": {"0": {}}}')
    reproduction.measure("multiclass", "folder:PHOTOS", tmp_path, tmp_path)
    reproduction.measure("multiclass", "folder:PHOTOS", tmp_path, tmp_path)
    assert len(runs.commands) == 1
    assert runs.commands[0][1:5] == ["-m", "bench.multiclass", "--data", "folder:PHOTOS"]


def test_a_measurement_apart_has_the_weights_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", Runs(None))
    for folder in ("weights", "heads"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").touch()
    reproduction.measure("isolation", "folder:PHOTOS", tmp_path, tmp_path)
    assert [str(file.relative_to(tmp_path / "isolation")) for file in (tmp_path / "isolation").rglob("*")] == [
        "weights",
        "weights/file",
    ]


def test_the_page_in_docs_is_that_of_the_results() -> None:
    text = (ROOT / "docs/reproduction.md").read_text(encoding="utf-8")
    assert text == reproduction.render(reproduction.read(ROOT / "bench/results")), "run bench.reproduction --only ''"


def test_isolation_counts_the_scores_that_differ_by_a_bit() -> None:
    def state(heads: dict[str, str], files: dict[str, str], scores: dict[str, list[float]]) -> Any:
        columns = {name: np.array(values, np.float32) for name, values in scores.items()}
        return isolation.State(heads, files, SimpleNamespace(column=columns.__getitem__))

    nudged = float(np.nextafter(np.float32(0.5), np.float32(1)))
    before = state({"a": "a@1", "b": "b@1"}, {"a": "x", "b": "y"}, {"a": [0.5, 0.5], "b": [0.5, 0.5]})
    heads, files = {"a": "a@1", "b": "b@2", "c": "c@1"}, {"a": "x", "b": "z", "c": "w"}
    after = state(heads, files, {"a": [0.5, nudged], "b": [0.1, 0.2], "c": [0, 0]})
    same, again, new = isolation.compared(before, after)
    assert (same["files_same"], same["scores_changed"]) == (True, 1)
    assert same["largest_change"] == pytest.approx(nudged - 0.5)
    assert (again["files_same"], again["scores_changed"]) == (False, 2)
    assert new == {"class": "c", "before": None, "after": "c@1"}
    assert isolation.table([same, new])[2:] == ["| a | a@1 | a@1 | yes | 1 |", "| c | none | c@1 |  |  |"]


def test_judged_pairs_both_systems_over_the_seeds() -> None:
    labels = np.repeat([0, 1, 2], [40, 10, 10])
    right = np.stack([labels == 1, labels == 2], 1).astype(np.float64)
    noise = np.random.default_rng(0).random((60, 2, 3))
    found = multiclass.judged(("a", "b"), labels, noise, np.repeat(right[..., None], 3, axis=2))
    assert found["mean"]["small"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["classes"]["a"]["positives"] == 10
    for row in (found["mean"], *found["classes"].values()):
        assert row["difference"]["low"] > 0
        assert row["difference"]["value"] == pytest.approx(row["small"]["value"] - row["large"]["value"])
    same = multiclass.judged(("a", "b"), labels, noise, noise)["mean"]["difference"]
    assert same == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_training_ends_with_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []

    def step(state: Any, images: Any, labels: Any) -> tuple[Any, float]:
        batches.append(np.asarray(labels))
        return state, 0.0

    monkeypatch.setattr(multiclass, "timed", lambda step, *of: (step(*of)[0], 0.2))
    monkeypatch.setattr(multiclass, "planned", lambda *_: (step, 7))
    monkeypatch.setattr(multiclass, "fresh", lambda *_: SimpleNamespace(average={}))
    monkeypatch.setattr(multiclass, "predict_of", lambda *_: lambda _, images: images[:, 0, 0, :1])
    config = multiclass.TrainConfig(batch=8)
    images, labels = np.zeros((24, 32, 32, 3), np.uint8), np.arange(24) % 2
    photos = multiclass.Photos(("a",), images, labels, np.arange(16), np.arange(16, 24))
    made = multiclass.trained(photos, labels, multiclass.SMALL, config, 0, seconds=0.5)
    assert (made.steps, made.seconds) == (3, pytest.approx(0.6))
    assert [batch.sum() for batch in batches] == [2, 2, 2]
    assert multiclass.trained(photos, labels, multiclass.SMALL, config, 0, seconds=60.0).steps == 7
    assert made.predict(images[:9]).shape == (9, 1)


def test_commands_are_shown_without_the_place_of_the_photos() -> None:
    words = ("promote", "blade@1", "--data", "folder:/somewhere", "--why", "a new category")
    assert newclass.shown(words, "folder:/somewhere") == (
        'launch promote blade@1 --data folder:PHOTOS --why "a new category"'
    )
