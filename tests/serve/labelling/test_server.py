"""`launch label` as a process: what it says, how it ends, and what it does with what nobody should send."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from launch.main import main
from prohibit_jax.active.queue import Ask, write_queue
from prohibit_jax.data.sources import open_source
from tests.serve.labelling.conftest import ROOT, Open, Serve, Work
from tests.waiting import TIMEOUT

# `launch` where the extra `serve` is not installed.
BARE = "import sys; sys.modules['uvloop'] = None; from launch.main import main; main()"


def turn(work: Work, queue: str, name: str, *answers: tuple[int, str]) -> dict[str, object]:
    given = [
        {"id": f"{name}{number}{answer}", "sha256": work.asks[number].sha256, "answer": answer}
        for number, answer in answers
    ]
    return {"queue": queue, "annotator": name, "answers": given, "want": 2}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_summary(open_desk: Open, work: Work, number: signal.Signals) -> None:
    desk = open_desk(work)
    queue = json.loads(desk.call("/api/queue")[1])["queue"]
    assert desk.call("/api/turn", turn(work, queue, "ann", (0, "yes"), (1, "no"), (2, "skip")))[0] == 200
    with socket.create_connection(("127.0.0.1", urlsplit(desk.url).port or 0)):  # an idle browser
        desk.process.send_signal(number)
        assert desk.process.wait(TIMEOUT) == 0
    assert desk.process.stdout is not None
    assert json.loads(desk.process.stdout.read()) == {"answered": 2, "yes": 1, "no": 1, "unsure": 0, "skipped": 1}
    assert work.answers() == [("ann", 0, "yes"), ("ann", 1, "no"), ("ann", 2, "skip")]
    assert desk.log.read_text() == ""


def test_what_is_bad_is_one_line(
    work: Work, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store", str(work.store))

    def run(*arguments: str) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["launch", "label", "--class", "weapon", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    monkeypatch.delenv("PROHIBIT_LABEL_KEY", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = [
            (("--queue", str(work.root / "no.parquet")), "no.parquet: missing"),
            (("--queue", str(work.queue), "--host", "0.0.0.0"), "PROHIBIT_LABEL_KEY"),
            (("--queue", str(work.queue), "--port", port), f"--port {port}: "),
            (("--queue", str(work.queue), "--guide", str(work.root / "no.md")), "no.md: No such file"),
        ]
        for options, text in cases:
            code, out, err = run(*options, *store)
            assert (code, out) == (2, "")
            assert text in err
            assert err.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(work: Work) -> None:
    command = [sys.executable, "-c", BARE, "label", "--class", "weapon", "--queue", str(work.queue)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=TIMEOUT, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "launch: launch label: uvloop is not installed; pip install 'prohibit-jax[serve]'\n"


def test_slow_and_foreign_clients_stop_nobody(serve_page: Serve, work: Work) -> None:
    desk = serve_page(work)
    port = urlsplit(desk.url).port or 0
    with ExitStack() as slow:
        for _ in range(20):
            one = slow.enter_context(socket.create_connection(("127.0.0.1", port)))
            one.sendall(b"POST /api/turn HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{")
        assert desk.call("/api/queue")[0] == 200, "though none of them is given up"
    assert desk.call("/api/queue", Host="evil.example")[0] == 421
    assert desk.call("/api/turn", {}, Origin="http://evil.example")[0] == 403
    queue = json.loads(desk.call("/api/queue")[1])["queue"]
    assert desk.call("/api/turn", {**turn(work, queue, "ann"), "holds": ["0" * 64] * 9999})[0] in (400, 413)
    assert desk.call("/api/turn", turn(work, queue, "ann"))[0] == 200


def test_photos_of_another_source_are_shown(open_desk: Open, tmp_path: Path) -> None:
    source = open_source("synthetic:3:7")
    asks = tuple(
        Ask(item.path, hashlib.sha256(source.read(i)).hexdigest(), "weapon", None, None, "random", "by chance", 0)
        for i, item in enumerate(source.items)
    )
    work = Work(tmp_path, asks)
    write_queue(work.queue, asks)
    desk = open_desk(work, "--data", "synthetic:3:7")
    for ask in asks:
        status, data = desk.call(f"/photos/480/{ask.sha256}")
        assert status == 200
        assert data.startswith(b"\xff\xd8\xff")


def test_votes_and_adjudicators_come_from_the_config(open_desk: Open, work: Work) -> None:
    (work.root / "weapon.toml").write_text('[labels]\nvotes = 2\nadjudicators = ["eve"]\n')
    desk = open_desk(work, "--config", str(work.root / "weapon.toml"))
    about = json.loads(desk.call("/api/queue")[1])
    assert about["votes"] == 2
    said = json.loads(desk.call("/api/turn", turn(work, about["queue"], "eve", (0, "no")))[1])
    assert said["progress"]["done"] == 1
    said = json.loads(desk.call("/api/turn", turn(work, about["queue"], "ann", (1, "no")))[1])
    assert said["progress"]["done"] == 1
