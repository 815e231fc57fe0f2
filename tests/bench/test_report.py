"""The works of a benchmark, its file, and its picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from prohibit_jax.bench import report
from prohibit_jax.bench.engines import OURS, Engine
from prohibit_jax.bench.plots import latency_plot
from prohibit_jax.bench.race import Row
from prohibit_jax.bench.report import counts_of, run_bench, trunks_of, works_of
from prohibit_jax.bench.work import Work
from prohibit_jax.bench.worker import Device
from prohibit_jax.types import InputError

CPU = Device("cpu", "a processor, 2 cores", 2, 2**33)


def test_heads_and_trunks_are_read() -> None:
    assert counts_of("1, 20,20") == (1, 20)
    assert counts_of("") == ()
    assert trunks_of("none,s5") == ("", "s5")
    for text in ("0", "20,", "many", "1e3"):
        with pytest.raises(InputError, match="--heads"):
            counts_of(text)
    with pytest.raises(InputError, match="--trunk 's9': use some of none, stem, s1"):
        trunks_of("s9")


def test_the_published_table_has_its_network_and_both_trunks() -> None:
    works = works_of((), (), 5, 300, CPU)
    assert (works[0].arch.name, works[0].heads) == ("inception_resnet_v2", 1)
    rest = [(work.trunk, work.heads) for work in works[1:]]
    assert rest == [(trunk, heads) for trunk in ("", "s2", "s5") for heads in (12, 20, 30, 40)]
    on_gpu = works_of((), ("",), 5, 300, replace(CPU, kind="gpu"))
    assert [work.heads for work in on_gpu[1:]] == [12, 20, 30, 40, 100, 1000]
    assert works_of((4,), (), 2, 96, CPU) == [Work(4, 2, 96)]


def row(work: Work, engine: Engine, ms: float) -> Row:
    figures = {"p50_ms": ms, "p95_ms": 1.2 * ms, "ratio": 1.0}
    setting = {"model": work.arch.name, "heads": work.heads, "batch": work.batch, "size": work.size}
    return {"engine": engine.name, "trunk": work.trunk, **setting, **figures}


def test_the_file_holds_what_is_done_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "results" / "cpu.json"
    seen = []

    def raced(work: Work, engines: tuple[Engine, ...], device: Device, **_: object) -> list[Row]:
        seen.append(len(json.loads(out.read_text())["rows"]))
        return [row(work, engine, 10.0 * work.heads) for engine in engines]

    monkeypatch.setattr(report, "race", raced)
    torch = Engine("torch", "nowhere:load", needs=("torch",))
    lines: list[str] = []
    monkeypatch.setattr(report, "busy_cores", lambda: 1.5)
    made = run_bench(works_of((), ("", "s5"), 5, 300, CPU), [torch], CPU, out=out, warn=lines.append)
    assert json.loads(out.read_text()) == made
    assert seen == [0, 1, 3, 5, 7, 9, 11, 13, 15]  # torch knows no InceptionResNetV2
    assert made["device"] == "a processor, 2 cores"
    assert {"jax", "numpy"} <= made["versions"].keys()
    assert lines == ["other processes keep 1.5 of 2 cores busy: figures will be too high"]

    latency_plot(tmp_path / "heads.png", [*made["rows"], {"engine": "dead", "error": "died"}], CPU.name)
    with Image.open(tmp_path / "heads.png") as image:
        assert image.width > 500
        assert len(image.convert("RGB").getcolors(2**20) or ()) > 50


def test_a_thousand_heads_fit_into_a_picture(tmp_path: Path) -> None:
    latency_plot(tmp_path / "many.png", [row(Work(heads), OURS, float(heads)) for heads in (1, 1000)], "a GPU")
    assert (tmp_path / "many.png").stat().st_size > 10_000
    latency_plot(tmp_path / "none.png", [], "a GPU")


def test_busy_cores_are_counted_while_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = tmp_path / "stat"
    texts = iter(["cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1", "cpu  150 10 60 900 80 0 0 0 0 0\ncpu0 1"])
    statistics.touch()
    monkeypatch.setattr(Path, "read_text", lambda path: next(texts))
    monkeypatch.setattr(report, "STATISTICS", statistics)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert report.busy_cores(0.0) == pytest.approx(4 * 70 / 200)
    monkeypatch.setattr(report, "STATISTICS", tmp_path / "none")
    assert report.busy_cores(0.0) == 0.0
