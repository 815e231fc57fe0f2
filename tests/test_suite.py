"""The suite itself: what `make quick` runs, and what is said of skipped tests."""

from __future__ import annotations

from pathlib import Path

from tests.skips import in_words
from tests.test_rooms import ROOMS

ROOT = Path(__file__).resolve().parents[1]
QUICK = [Path(line) for line in (ROOT / "tests" / "quick.txt").read_text().splitlines()]
FILES = {"types": "test_types.py", "files": "test_files.py", "config": "test_configs.py", "public": "test_rooms.py"}
"""Rooms that are one file each."""


def test_quick_touches_every_room() -> None:
    assert [str(path) for path in QUICK if not (ROOT / path).is_file()] == []
    assert len(set(QUICK)) == len(QUICK)
    touched = {path.parts[1] for path in QUICK}
    assert {FILES.get(room, room) for room in ROOMS} <= touched


def test_every_room_has_tests() -> None:
    rooms = [ROOT / "tests" / FILES.get(room, room) for room in ROOMS]
    assert [str(room) for room in rooms if not room.exists()] == []


def test_skips_are_told_in_words() -> None:
    assert in_words([]) == "No test was skipped."
    reasons = ["Skipped: curl is not installed", *["Skipped: promtool is not installed"] * 2]
    assert in_words(reasons) == "3 skipped: 2 (promtool is not installed); 1 (curl is not installed)."
