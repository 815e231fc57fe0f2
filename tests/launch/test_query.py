"""`launch query`: its queue, its report, and its refusals."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from launch.main import main
from prohibit_jax.active import query
from prohibit_jax.active.queue import read_queue
from prohibit_jax.data.label_store import Label, open_label_store
from prohibit_jax.score.embed import Embedder
from tests.active.pools import EMBEDDING, FEATURES, records, sha256, table_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `launch query --class weapon` on a pool of 40 photos in an empty folder."""
    table_of(tmp_path / "scores.parquet", records(40))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROHIBIT_STORE", raising=False)
    monkeypatch.delenv("PROHIBIT_LABELS", raising=False)

    def run(*arguments: str | os.PathLike[str]) -> tuple[int, str, str]:
        given = {"--class": "weapon", "--scores": "scores.parquet", "--strategy": "uncertainty", "--out": "q.parquet"}
        words = [os.fspath(argument) for argument in arguments]
        for option, value in given.items():
            words += [] if option in words else [option, value]
        monkeypatch.setattr(sys, "argv", ["launch", "query", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def result(ended: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = ended
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def label(number: int, answer: str) -> Label:
    return Label(sha256(number), f"{number}.jpg", "weapon", answer, "ann", datetime.now(UTC), round=2)


def test_a_queue_and_what_is_in_it(launch: Run) -> None:
    mixed = "positives=0.5,uncertainty=0.3,random=0.2"
    found = result(launch("--strategy", mixed, "--budget", "10", "--json"))
    assert set(found.pop("seconds")) == {"sorting", "narrowing", "choosing"}
    asks = read_queue("q.parquet")
    assert found == {
        "out": "q.parquet",
        "asks": 10,
        "strategies": {"positives": 5, "uncertainty": 3, "random": 2},
        "photos": 40,
        "candidates": 40,
        "left_out": {"errors": 0, "copies": 0, "answered": 0, "queued": 0},
    }
    assert len(asks) == 10
    assert {ask.round for ask in asks} == {0}
    again = result(launch("--strategy", mixed, "--budget", "10", "--json"))
    assert again == found | {"seconds": again["seconds"]}
    assert read_queue("q.parquet") == asks


def test_people_see_how_many_and_why(launch: Run) -> None:
    code, out, _ = launch("--budget", "3")
    assert code == 0
    assert "3 to ask" in out
    assert "of 40 photos; left out: 0 errors, 0 copies, 0 answered, 0 queued" in out
    assert "near 0.5" in out
    assert "launch label --class weapon --queue q.parquet" in out


def test_answered_and_queued_photos_are_left_out(launch: Run, tmp_path: Path) -> None:
    labels = open_label_store(None, str(tmp_path / "store"))
    labels.append([label(0, "yes"), label(1, "no"), label(2, "unsure"), label(3, "skip")])
    first = result(launch("--budget", "7", "--out", "first.parquet", "--json"))
    assert first["left_out"]["answered"] == 3
    second = result(launch("--budget", "40", "--not-in", "first.parquet", "--json"))
    assert second["left_out"]["queued"] == 7
    asked = {ask.path for ask in read_queue("q.parquet")}
    assert asked == {f"{i}.jpg" for i in range(3, 40)} - {ask.path for ask in read_queue("first.parquet")}
    assert {ask.round for ask in read_queue("q.parquet")} == {3}


def test_fewer_than_asked_for_is_said(launch: Run) -> None:
    code, _, err = launch("--budget", "50")
    assert code == 0
    assert "10 fewer than asked for" in err


def test_versions_of_fewer_photos_are_said(launch: Run, tmp_path: Path) -> None:
    table_of(tmp_path / "other.parquet", records(30, seed=0))
    code, _, err = launch("--strategy", "disagreement", "--versions", "other.parquet")
    assert code == 0
    assert "a table lacks 10 of 40 photos" in err


def test_any_number_of_neighbours_and_of_asks_will_do(launch: Run, tmp_path: Path) -> None:
    open_label_store(None, str(tmp_path / "store")).append([label(0, "yes")])
    found = result(launch("--near", "1000000000000", "--budget", str(10**20), "--json"))
    assert (found["asks"], found["candidates"]) == (39, 39)


def test_examples_of_the_thing(launch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guns").mkdir()
    for name in "ab":
        Image.new("RGB", (40, 40), (200, 10, 10)).save(tmp_path / "guns" / f"{name}.png")
    axis = np.eye(FEATURES, dtype=np.float32)[0]
    embedder = Embedder(EMBEDDING, 4, lambda images: np.tile(axis, (len(images), 1)))
    monkeypatch.setattr(query, "load_embedder", lambda store, spec: embedder)
    found = result(launch("--strategy", "neighbours", "--examples", "folder:guns", "--budget", "4", "--json"))
    assert found["strategies"] == {"neighbours": 4}
    rows = np.stack([record.embedding for record in records(40) if record.embedding is not None])
    best = np.argmax(rows[:, 0] / np.linalg.norm(rows, axis=1))
    assert read_queue("q.parquet")[0].path == f"{best}.jpg"
    (tmp_path / "guns" / "c.png").write_text("no")
    code, _, err = launch("--strategy", "neighbours", "--examples", "folder:guns")
    assert code == 2
    assert "c.png" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--strategy", "best"], "strategy 'best': no such strategy"),
        (["--scores", "none.parquet"], "none.parquet: missing; make it with launch score"),
        (["--class", "a b"], "class 'a b'"),
        (["--class", "cash"], "strategy uncertainty: it needs scores; without a head use neighbours"),
        (["--strategy", "neighbours"], "no photo of weapon is known yet; give some with --examples"),
        (["--not-in", "scores.parquet"], "scores.parquet: not a queue"),
        (["--labels", "none.db"], "none.db: no labels there yet"),
        (["--out", "."], "a folder; name the Parquet file"),
        (
            ["--out", "scores.parquet"],
            "scores.parquet: there is a file that is not a queue; write the queue to another",
        ),
        (["--versions", "strangers.parquet"], "versions: a table has scored none of the 40 photos"),
        (["--budget", "0"], "budget"),
    ],
)
def test_bad_input_is_one_line(launch: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    table_of(tmp_path / "strangers.parquet", [replace(one, sha256=sha256(one.path)) for one in records(9)])
    code, out, err = launch(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
