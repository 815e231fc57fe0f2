"""The order of the steps on a card, what a cut-off leaves, and what a failing engine costs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import gpu
from prohibit_jax.bench.engines import Engine
from prohibit_jax.bench.work import Work
from prohibit_jax.bench.worker import Device, WorkerError, kernels

PROFILES = ("profile of whole heads", "profile on a trunk", "profile without kernels")


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A card on which everything takes no time; what ran on it."""
    ran: list[str] = []

    class Profiler:
        def __init__(self, limit: float) -> None: ...

        def __enter__(self) -> Profiler:
            return self

        def __exit__(self, *_: object) -> None: ...

        def ask(self, request: str, *arguments: Any) -> Any:
            ran.append(request)
            return {"kernels": 146.0, "ms": 3.5, "by_name": {"_depthwise": 1.5}}

    def race(work: Work, engines: Sequence[Engine], device: Device, **_: float) -> list[dict[str, Any]]:
        ran.append(f"{work.heads} {work.trunk} {len(engines)}".replace("  ", " "))
        setting = {"heads": work.heads, "batch": work.batch, "trunk": work.trunk}
        good = {"engine": engines[0].name, "p50_ms": 5.0, "p95_ms": 6.0, "difference": 0.05}
        return [setting | good, *(setting | {"engine": peer.name, "error": "no"} for peer in engines[1:])]

    monkeypatch.setattr(gpu, "look", lambda limit: Device("gpu", "a card", 16, 2**36))
    monkeypatch.setattr(gpu, "race", race)
    monkeypatch.setattr(gpu, "Worker", Profiler)
    return ran


def test_the_best_comes_first_and_all_is_kept(card: list[str], tmp_path: Path) -> None:
    out = tmp_path / "card.json"
    report = gpu.measure(20, 5, 300, math.inf, out)
    races = [ran for ran in card if ran[0].isdigit()]
    assert card[:2] == ["20 1", "20 s5 1"]
    assert races[2:10] == ["20 2"] * 8
    assert races[-1] == "1 2"
    assert card.count("profile") == 3
    assert report["skipped"] == []
    assert json.loads(out.read_text()) == report
    assert {row["heads"] for row in report["rows"]} == {20, 1, *(count for count, _ in gpu.NUMBERS)}


def test_no_step_begins_after_its_time(card: list[str], tmp_path: Path) -> None:
    report = gpu.measure(20, 5, 300, -math.inf, tmp_path / "card.json")
    assert card == []
    assert report["skipped"][:2] == ["whole heads", "heads on a trunk"]


def test_what_is_cut_off_leaves_what_came_before(
    card: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def killed(limit: float) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "Worker", killed)
    with pytest.raises(KeyboardInterrupt):
        gpu.measure(20, 5, 300, math.inf, tmp_path / "card.json")
    kept = json.loads((tmp_path / "card.json").read_text())
    assert [(row["heads"], row["trunk"]) for row in kept["rows"]] == [(20, ""), (20, "s5")]


def test_kernels_of_a_trace_are_counted_by_call() -> None:
    def plane(name: str, line: str, *events: tuple[str, float]) -> Any:
        made = [SimpleNamespace(name=event, duration_ns=1e6 * ms) for event, ms in events]
        return SimpleNamespace(name=name, lines=[SimpleNamespace(name=line, events=made)])

    on_card = (("gemm", 2.0), ("_depthwise", 6.0), ("gemm", 1.0), ("_depthwise", 5.0), ("MemcpyH2D", 9.0))
    planes = [
        plane("/device:GPU:0", "Stream #14(Compute)", *on_card),
        plane("/device:GPU:0", "XLA Ops", ("fusion", 7.0)),
        plane("/host:CPU", "Stream", ("python", 7.0)),
    ]
    assert kernels(planes, 2) == {"kernels": 2.0, "ms": 7.0, "by_name": {"_depthwise": 5.5, "gemm": 1.5}}


def test_a_step_that_fails_ends_no_other(card: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(limit: float) -> Any:
        raise WorkerError("load: killed")

    monkeypatch.setattr(gpu, "Worker", broken)
    report = gpu.measure(20, 5, 300, math.inf, tmp_path / "card.json")
    assert report["skipped"] == [f"{name}: load: killed" for name in PROFILES]
    assert set(report["compiled"].values()) == {"load: killed"}
    assert card[-1] == "1 2"


def test_a_row_in_words() -> None:
    row = {
        "heads": 20,
        "batch": 5,
        "trunk": "s5",
        "engine": "torch",
        "p50_ms": 1.234,
        "p95_ms": 2.0,
        "difference": 0.01,
    }
    assert gpu.line_of(row) == "20 x 5 on s5, torch: 1.23 ms, p95 2.00, off by 0.01"
    assert gpu.line_of({**row, "trunk": "", "error": "needs torch"}) == "20 x 5, torch: needs torch"
