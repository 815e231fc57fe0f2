"""Every process draws the same work, and one whose logits tell photos and heads apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from prohibit_jax.bench import work as work_module
from prohibit_jax.bench.jax_engines import reference
from prohibit_jax.bench.work import B0, Work
from prohibit_jax.models.network import check_variables
from tests.bench.fakes import tiny


def test_the_same_seed_draws_the_same_and_every_head_is_another() -> None:
    work = tiny("s3")
    trunk, head = work.networks
    assert trunk is not None
    check_variables(trunk, work.draw_trunk(), "trunk")
    first, second = work.draw_heads()
    check_variables(head, first, "head")
    again = next(work.draw_heads())
    assert all((again[name] == array).all() for name, array in first.items())
    assert any((second[name] != array).any() for name, array in first.items())
    assert all(array.dtype == np.float32 for array in first.values())
    assert tiny().draw_trunk() == {}


def test_many_heads_are_drawn_from_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_module, "DISTINCT", 2)
    heads = list(replace(tiny(), heads=5).draw_heads())
    assert [heads[number] is heads[number % 2] for number in range(5)] == [True] * 5
    assert heads[0]["stem.kernel"][0, 0, 0, 0] != heads[1]["stem.kernel"][0, 0, 0, 0]
    assert heads[0].keys() == next(tiny().draw_heads()).keys()


def test_photos_differ_within_a_call_and_between_turns() -> None:
    work = Work(heads=1, batch=3, size=40)
    images = work.photos()
    assert (images.dtype, images.shape) == (np.uint8, (3, 40, 40, 3))
    assert (images == work.photos()).all()
    assert (images != work.photos(1)).any()
    assert np.abs(images[0].astype(int) - images[1]).mean() > 30


def test_logits_tell_photos_and_heads_apart() -> None:
    work = replace(tiny(), heads=4, batch=5, size=64, arch=replace(B0, width=0.25))
    logits = reference(work, "float32").logits(work.photos())
    assert np.isfinite(logits).all()
    scale = np.sqrt(np.square(logits).mean(0))
    assert (logits.std(0) > 0.02 * scale).all()
    assert (np.abs(logits.mean(0)[:, None] - logits.mean(0)) + np.eye(4) > 0.05 * scale).all()
