"""From paths and bytes to decisions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import prohibit_jax as pj
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.images.decode import Limits
from prohibit_jax.models.network import Network
from prohibit_jax.score.bands import band
from prohibit_jax.score.pipeline import Pipeline
from prohibit_jax.score.scorer import Scorer
from tests.bundle.twin import TWIN, card, variables
from tests.score.listing import BROKEN, png


def test_paths_and_bytes_become_decisions(pair: Scorer, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(0))
    by_path, by_bytes, broken, missing = Pipeline(pair)([path, png(0), BROKEN["text"], str(tmp_path / "no.png")])
    assert (by_path.path, by_bytes.path) == (str(path), "")
    assert by_path.error is by_bytes.error is None
    assert by_path.scores == by_bytes.scores
    assert by_path.scores.keys() == {"weapon", "cash"}
    assert by_path.bands == {name: band(p, pair.thresholds[name]) for name, p in by_path.scores.items()}
    for failed in (broken, missing):
        assert failed.error
        assert not failed.scores
        assert not failed.bands
    assert missing.error == "No such file or directory"


def test_what_is_no_file_is_not_waited_for_and_a_huge_one_not_read(pair: Scorer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    pipe, folder, huge = Pipeline(pair, Limits(bytes=1000))([tmp_path / "pipe", tmp_path, tmp_path / "huge"])
    assert pipe.error == folder.error == "not a file"
    assert huge.error is not None
    assert "limit of 1,000" in huge.error


def test_the_public_names_load_a_bundle(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.publish_head(card(), variables(Network(TWIN), 1))
    make_bundle(store, "prod")
    pipeline = pj.load_pipeline("prod", store=str(tmp_path), batch_sizes=(2,))
    (decision,) = pipeline([png(0)])
    assert decision.error is None
    assert decision.scores.keys() == {"weapon"}
    with pytest.raises(pj.InputError, match="no such bundle"):
        pj.load_scorer("test", store=tmp_path)
    with pytest.raises(AttributeError, match="no_such_name"):
        pj.no_such_name  # noqa: B018
