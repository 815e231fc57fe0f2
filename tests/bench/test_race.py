"""Engines in processes of their own: good ones are timed, and a bad one costs its own row alone."""

from __future__ import annotations

import signal
from typing import Any, ClassVar

import numpy as np
import pytest

from prohibit_jax.bench import race as race_module
from prohibit_jax.bench.engines import OURS, Engine
from prohibit_jax.bench.race import Row, differ, look, race
from prohibit_jax.bench.worker import Device, Loaded, Worker, WorkerError
from tests.bench.fakes import fake, tiny
from tests.tolerances import LOGITS_PARITY
from tests.waiting import TIMEOUT

ABSENT = Engine("absent", "nowhere:load", needs=("no_such_library",))


@pytest.fixture(scope="module")
def device() -> Device:
    return look()


@pytest.fixture(scope="module")
def rows(device: Device) -> dict[str, Row]:
    engines = (OURS, *map(fake, ("raising", "dying")), ABSENT)
    made = race(tiny("s3"), engines, device, seconds=0.1)
    assert [row["engine"] for row in made] == [engine.name for engine in engines]
    return {row["engine"]: row for row in made}


def test_the_device_is_described(device: Device) -> None:
    assert device.kind == "cpu"
    assert device.name
    assert device.cores >= 1
    assert device.memory > 2**28


def test_a_row_has_all_figures(rows: dict[str, Row]) -> None:
    row = rows[OURS.name]
    setting = {"model": "efficientnet_b0", "heads": 2, "batch": 2, "size": 32, "trunk": "s3", "precision": "float32"}
    assert row.items() >= setting.items()
    assert row["calls"] >= 3
    assert 0 < row["p50_ms"] <= row["p95_ms"]
    assert row["photos_per_second"] == pytest.approx(2000 / row["p50_ms"])
    assert row["difference"] < LOGITS_PARITY
    assert 1 < row["weights_mb"] < 3  # two heads and a trunk of some 170,000 numbers each
    assert row["peak_mb"] > row["weights_mb"]
    assert row["first_score_s"] > 0
    assert row["ratio"] == 1


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("raising", "load: RuntimeError: no kernel for 32 px in float32"),
        ("dying", "call: killed, as the system does where memory runs out"),
        ("absent", "needs no_such_library: pip install 'prohibit-jax[bench]'"),
    ],
)
def test_a_bad_engine_says_why_it_has_no_figures(rows: dict[str, Row], name: str, error: str) -> None:
    assert rows[name]["error"].startswith(error)
    assert "p50_ms" not in rows[name]
    assert rows[name]["heads"] == 2


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    with Worker(limit=0.0) as worker:
        worker.process.send_signal(signal.SIGSTOP)  # so that it cannot answer
        with pytest.raises(WorkerError, match=r"device: no answer within 0 s"):
            worker.ask("device")


def test_a_process_that_ends_leaves_its_last_words() -> None:
    with Worker(limit=TIMEOUT) as worker:
        worker.process.terminate()
        with pytest.raises(WorkerError, match="its process ended with -15"):
            worker.ask("device")


def test_the_worst_head_decides_how_far_outputs_differ() -> None:
    truth = np.array([[1.0, 10.0], [1.0, -10.0]], np.float32)
    assert differ(truth, truth) == 0
    assert differ(truth + np.array([0.1, 0.1], np.float32), truth) == pytest.approx(0.1, rel=1e-3)
    assert differ(truth[:, ::-1], truth) > 1
    assert differ(truth[:, :1], truth) == float("inf")
    assert not differ(truth * np.float32("nan"), truth) < 1


class Instant:
    """A worker that answers at once: an engine takes as many milliseconds a call as its name has letters."""

    started: ClassVar[list[str]] = []

    def __init__(self, limit: float) -> None:
        self.name = ""

    def __enter__(self) -> Instant:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it."""

    def ask(self, request: str, *arguments: Any) -> Any:
        """The answer to a request."""
        if request == "load":
            self.name = arguments[0].name
            self.started.append(self.name)
            return Loaded(10, "float32", "none", 0.5)
        if request == "logits":
            return np.array([[1.0, 2.0]] * 4, np.float32)[:, :: -1 if self.name == "swapped" else 1]
        return 300 if request == "peak" else 1e-3 * len(self.name)


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started."""
    monkeypatch.setattr(race_module, "Worker", Instant)
    monkeypatch.setattr(race_module, "REST", 0.0)
    monkeypatch.setattr(Instant, "started", [])


@pytest.mark.usefixtures("instant")
def test_wrong_outputs_are_refused_before_anything_is_timed() -> None:
    engines = [Engine(name, "nowhere:load") for name in ("us", "swapped", "peer")]
    rows = race(tiny(), engines, Device("cpu", "a processor", 2, 2**33), seconds=0.02)
    assert rows[1]["error"] == "its outputs are 1 of their scale off; float32 explains 0.05"
    assert "p50_ms" not in rows[1]
    assert rows[2]["ratio"] == pytest.approx(2.0)
    assert rows[0]["difference"] == 0


@pytest.mark.usefixtures("instant")
@pytest.mark.parametrize(("memory", "rounds"), [(10_000, 1), (1600, 2), (100, 4)])
def test_engines_that_do_not_fit_beside_each_other_run_in_rounds(memory: int, rounds: int) -> None:
    engines = [Engine(name, "nowhere:load") for name in ("us", "peer", "others", "and more", "last")]
    rows = race(tiny(), engines, Device("cpu", "a processor", 2, memory), seconds=0.02)
    assert [row["engine"] for row in rows] == [engine.name for engine in engines]
    assert [row["ratio"] for row in rows] == pytest.approx([1.0, 2.0, 3.0, 4.0, 2.0])
    assert Instant.started.count("us") == rounds
    assert len(Instant.started) == 1 + rounds + 4  # the reference, ours in each round, the peers
    assert [row["calls"] for row in rows] == [10, 5, 3, 3, 5]
