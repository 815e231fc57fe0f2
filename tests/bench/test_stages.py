"""Bytes and times by stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from prohibit_jax.bench import stages
from prohibit_jax.bench.stages import ROWS, run_stages, traffic
from prohibit_jax.bench.worker import Device
from prohibit_jax.models.efficientnet import B0
from tests.bench.fakes import tiny


def test_traffic_is_that_of_the_roofline() -> None:
    moved = traffic(B0, 300)
    # Millions of numbers a photo, worked out by hand from the paper's table.
    expected = (0.99, 3.24, 10.89, 4.34, 2.95, 3.61, 2.66, 0.63, 0.29)
    assert [moved[stage] / 1e6 for stage in ROWS] == pytest.approx(expected, abs=0.015)


def test_every_stage_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "COPIED", 2**20)
    device = Device("cpu", "a processor", 2, 2**33)
    report = run_stages(tiny(), device, seconds=0.1, out=tmp_path / "stages.json")
    assert report["precision"] == "float32"
    assert report["copy_gb_per_second"] > 0
    assert [row["stage"] for row in report["stages"]] == [*ROWS, "total"]
    assert report["stages"][-1]["mb"] == pytest.approx(sum(row["mb"] for row in report["stages"][:-1]))
    assert report["stages"][-1]["ms"] == pytest.approx(sum(row["ms"] for row in report["stages"][:-1]))
    assert (tmp_path / "stages.json").exists()
