"""The suite itself: what `make quick` runs, and what is said of skipped tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.once import once
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


def test_what_processes_share_is_made_once(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> str:
        made.append(folder)
        assert not list(folder.iterdir())
        (folder / "content").touch()
        if len(made) == 1:
            raise InterruptedError  # and what the next one finds is empty again
        return f"{len(made)} in {folder.name}"

    with pytest.raises(InterruptedError):
        once(tmp_path_factory, tmp_path.name, make)
    assert [once(tmp_path_factory, tmp_path.name, make) for _ in range(2)] == [f"2 in {tmp_path.name}"] * 2
    assert len(set(made)) == 1
