"""A script goes on with a file of the same settings, and with no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

kept = pytest.importorskip("bench.kept", reason="the scripts in bench/ are not part of a distribution").kept


def test_results_are_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    assert kept(out, {"size": 96}) == {"size": 96}
    out.write_text(json.dumps({"size": 96, "seeds": {"0": 1}}))
    assert kept(out, {"size": 96}) == {"size": 96, "seeds": {"0": 1}}


def test_results_of_other_settings_are_not(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    out.write_text(json.dumps({"size": 96, "seeds": {"0": 1}}))
    with pytest.raises(SystemExit, match=f"^{out}: made with size 96, now 64; name another file, or remove this one$"):
        kept(out, {"size": 64})
    with pytest.raises(SystemExit, match="made with steps unknown, now 16"):
        kept(out, {"size": 96, "steps": 16})
    assert json.loads(out.read_text())["size"] == 96
