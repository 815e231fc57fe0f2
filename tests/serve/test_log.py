from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

from tests.waiting import TIMEOUT

SCRIPT = """
import logging
from serve.log import log, set_up
set_up()
log("swap", name="weapon", number=float("nan"), path="a\\nb")
logging.getLogger("somewhere").warning("a %s", "warning")
logging.getLogger("somewhere").info("not asked for")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("prohibit.serve").exception("error")
print("alive")
"""


def run(stderr: int) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.run(
        command, cwd=root, stdout=subprocess.PIPE, stderr=stderr, text=True, check=True, timeout=TIMEOUT
    )


def test_every_line_is_json() -> None:
    lines = [json.loads(line) for line in run(subprocess.PIPE).stderr.splitlines()]
    assert [line["event"] for line in lines] == ["swap", "a warning", "error"]
    assert (lines[0]["level"], lines[0]["name"], lines[0]["path"]) == ("info", "weapon", "a\nb")
    assert lines[1]["logger"] == "somewhere"
    assert "ZeroDivisionError" in lines[2]["traceback"]
    assert logging.getLogger("prohibit.serve").handlers == []  # nothing was set up in this process


def test_a_full_disk_behind_it_stops_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        assert run(full.fileno()).stdout == "alive\n"
