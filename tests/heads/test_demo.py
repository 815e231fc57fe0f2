"""The demo's story, told with tiny networks, and its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prohibit_jax.heads import demo
from prohibit_jax.heads.page import write_page

TINY: demo.Recipe = {
    "data": {"workers": 0},
    "model": {"architecture": "efficientnet_lite0", "width": 0.25, "depth": 0.25, "size": 32},
    "train": {"epochs": 1, "steps_per_epoch": 2, "batch": 16},
}


def test_the_story_and_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "CLASSES", {"weapon": ("gun", TINY), "cash": ("cash", TINY)})
    monkeypatch.setattr(demo, "POOL", "synthetic:12:1")
    story = demo.tell_story(tmp_path / "demo", 240)
    assert (str(story.again.ref), story.unchanged) == ("weapon@2", {"cash": True})
    assert [len(table.column("cash")) for table in (story.before, story.after)] == [12, 12]
    assert not (story.before.column("weapon") == story.after.column("weapon")).all()
    assert len(list((tmp_path / "demo" / "photos").glob("*/*.jpg"))) == 360
    page = write_page(story)
    text = page.read_text()
    pictures = re.findall(r"img src='([^']+)'", text)
    assert len(pictures) == 1 + 3 * 3  # the finds, and three for each of the three heads
    assert all((tmp_path / "demo" / picture).stat().st_size > 1000 for picture in pictures)
    assert "weapon@2" in text
    assert "NO</td>" not in text
