"""`launch labels push` and `pull`, against the stub; tests/active/test_label_studio.py has the real server."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from launch.main import main
from prohibit_jax.active.label_studio_client import KEY
from prohibit_jax.active.queue import Ask, write_queue
from prohibit_jax.data.label_store import open_label_store
from tests.active.labelstudio.stub import stub

ANN = "ann@example.com"


def test_a_queue_goes_out_and_answers_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def launch(*arguments: str) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", ["launch", "labels", *arguments, "--class", "weapon", "--url", server.url])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return (json.loads(said.out) if stopped.value.code == 0 else stopped.value.code), said.err

    asks = []
    for number, size in enumerate([(2000, 1000), (30, 20), (10, 10)]):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", size, (0, 100, number)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        asks.append(Ask(str(path), digest, "weapon", 0.5, "weapon@3", "uncertainty", "scores 0.50", 1))
    Path(asks[2].path).write_bytes(b"changed")
    queue = tmp_path / "queue.parquet"
    write_queue(queue, asks)
    labels = tmp_path / "labels.db"
    with stub() as server:
        monkeypatch.setenv(KEY, server.key)
        pushed, err = launch("push", "--queue", str(queue), "--json")
        assert pushed == {"project": 1, "title": "prohibit_jax weapon", "tasks": 2, "known": 0, "missing": 1}
        assert f"! 1 photos cannot be shown; the first: {asks[2].path}: the file has changed" in err
        again, _ = launch("push", "--queue", str(queue), "--json")
        assert again == {**pushed, "tasks": 0, "known": 2}

        for size in ((1024, 512), (30, 20)):
            task = server.next(ANN, 1)
            assert task is not None
            with Image.open(io.BytesIO(server.people[ANN].get(task["data"]["image"]).content)) as shown:
                assert (shown.format, shown.size) == ("JPEG", size)
            server.answer(ANN, task, "yes")
        assert launch("pull", "--labels", str(labels), "--json")[0] == {"answers": 2, "new": 2}
        assert launch("pull", "--labels", str(labels), "--json")[0] == {"answers": 2, "new": 0}

        located = ("--photos", "http://photos/", "--root", str(tmp_path), "--project", "located")
        assert launch("push", "--queue", str(queue), "--json", *located)[0]["tasks"] == 3
        task = server.next(ANN, 2)
        assert task is not None
        assert task["data"]["image"] == "http://photos/0.png"
        monkeypatch.delenv(KEY)
        code, err = launch("pull", "--labels", str(labels))
        assert code == 2
        assert err.splitlines() == [
            f"launch: {KEY}: set it to an access token, which Label Studio gives under Account & Settings"
        ]
    stored = open_label_store(str(labels), tmp_path).labels("weapon")
    assert [(label.path, label.answer, label.annotator) for label in stored] == [
        (ask.path, "yes", ANN) for ask in asks[:2]
    ]
