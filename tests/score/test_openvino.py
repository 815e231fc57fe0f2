"""OpenVINO's engine: the same function as XLA's, a program a head, and what it keeps on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("openvino", reason="the extra cpu is not installed")

from dataclasses import replace

from prohibit_jax.bundle.card import Card, Trunk
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.models.efficientnet import LITE0, Architecture
from prohibit_jax.models.network import Network
from prohibit_jax.score import openvino
from prohibit_jax.score.engine import UNUSED, Precision, cache_folder, recall, remember
from prohibit_jax.score.openvino import OpenVinoEngine, tile_of
from prohibit_jax.score.scorer import load_scorer, scorer_of
from prohibit_jax.types import InputError
from tests.bundle.twin import TWIN, card, head, photos, trunk, variables
from tests.score.checks import PARITY, close, reference
from tests.tolerances import HALF

TWIN_LITE = replace(LITE0, width=0.25, depth=0.3)


@pytest.mark.parametrize("arch", [TWIN, TWIN_LITE, replace(TWIN, padding="torch")], ids=["silu", "relu6", "torch"])
@pytest.mark.parametrize("size", [32, 41])
def test_it_computes_what_the_network_does(arch: Architecture, size: int) -> None:
    of: Card = card(arch=arch, size=size)
    one = head("weapon", 3, of=of)
    scorer = scorer_of([one], {}, (2,), compiler="openvino")
    close(scorer.logits(photos(2, size=size))[:, 0], reference(of, one.variables, photos(2, size=size)), PARITY)


def test_bfloat16_is_near() -> None:
    one = head("weapon", 3)
    exact = scorer_of([one], {}, (2,), compiler="openvino").logits(photos(2))
    close(scorer_of([one], {}, (2,), compiler="openvino", precision="bfloat16").logits(photos(2)), exact, HALF)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_batches_are_cut_into_tiles(precision: Precision) -> None:
    heads = [head("weapon", 0), head("cash", 1)]
    scorer = scorer_of(heads, {}, (1, 5, 12), compiler="openvino", precision=precision)
    whole = scorer.logits(photos(12))
    for first, last in ((0, 5), (5, 10)):
        np.testing.assert_array_equal(scorer.logits(photos(12)[first:last]), whole[first:last])
    close(scorer.logits(photos(12)[:1]), whole[:1], PARITY if precision == "float32" else HALF)


@given(sizes=st.sets(st.integers(1, 100), min_size=1, max_size=5).map(sorted))
def test_a_tile_is_small_and_within_the_batch(sizes: list[int]) -> None:
    for most in (1, 8):
        for batch in sizes:
            assert 1 <= tile_of(batch, sizes, most) <= min(batch, most)


def test_replacing_a_head_compiles_that_head_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    original = openvino.compile_piece

    def counted(piece: openvino.Piece, folded: object, *rest: object) -> object:
        compiled.append(folded)
        return original(piece, folded, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(openvino, "compile_piece", counted)
    scorer = scorer_of([head(name, i) for i, name in enumerate(("a", "b", "c"))], {}, (2,), compiler="openvino")
    scorer.warm()
    assert len(compiled) == 3
    replaced = scorer.replace(head("b", 9, version=2))
    replaced.warm()
    assert len(compiled) == 4
    replaced.add(head("d", 4)).warm()
    assert len(compiled) == 5


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("PROHIBIT_CACHE", str(tmp_path / "cache"))
    store = Store(tmp_path / "store")
    on_trunk = Trunk(store.publish_trunk(trunk(1, "s3")), "s3")
    store.publish_head(card("weapon", on_trunk), variables(Network(TWIN).split("s3")[1], 2))
    store.publish_head(card("cash"), variables(Network(TWIN), 3))
    make_bundle(store, "prod", ["weapon", "cash"])
    return store


def test_the_second_start_compiles_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_scorer("prod", store, (2,), compiler="openvino")(photos(2))
    kept = sorted(cache_folder("openvino").iterdir())
    assert len(kept) == 3  # a trunk and two heads
    monkeypatch.setattr(openvino, "convert", lambda piece: pytest.fail(f"{piece} is compiled again"))
    np.testing.assert_array_equal(load_scorer("prod", store, (2,), compiler="openvino")(photos(2)), first)


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: data[:-9] + bytes(9)])
def test_a_damaged_program_is_compiled_again(store: Store, damage: Callable[[bytes], bytes]) -> None:
    first = load_scorer("prod", store, (2,), compiler="openvino")(photos(2))
    for file in cache_folder("openvino").iterdir():
        file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(load_scorer("prod", store, (2,), compiler="openvino")(photos(2)), first)


def test_no_folder_for_programs_stops_no_start(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = load_scorer("prod", store, (2,), compiler="openvino")(photos(2))
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("PROHIBIT_CACHE", str(tmp_path / "file"))
    np.testing.assert_array_equal(load_scorer("prod", store, (2,), compiler="openvino")(photos(2)), first)


def test_a_folder_that_others_may_write_to_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROHIBIT_CACHE", str(tmp_path))
    remember("openvino", "key", b"program")
    assert recall("openvino", "key") == b"program"
    cache_folder("openvino").chmod(0o777)
    assert recall("openvino", "key") is None


def test_folders_of_other_versions_go_when_unused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROHIBIT_CACHE", str(tmp_path))
    for name, age in (("openvino-old", 2 * UNUSED), ("openvino-new", 0.0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    used = cache_folder("openvino")
    assert {path.name for path in tmp_path.iterdir()} == {"openvino-new", used.name}


def test_edited_variables_are_another_program(store: Store) -> None:
    scorer = load_scorer("prod", store, (2,), compiler="openvino")
    published = store.read_head("cash")
    edited = replace(published, variables=variables(Network(TWIN), 77))
    assert (scorer.replace(edited)(photos(2)) != scorer(photos(2))).any()
    np.testing.assert_array_equal(load_scorer("prod", store, (2,), compiler="openvino")(photos(2)), scorer(photos(2)))


def test_it_is_chosen_on_a_cpu_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(scorer_of([head("weapon", 0)], {}, (2,)).engine, OpenVinoEngine)
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert not isinstance(scorer_of([head("weapon", 0)], {}, (2,)).engine, OpenVinoEngine)


def test_without_it_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prohibit_jax.score.engine.find_spec", lambda _: None)
    assert not isinstance(scorer_of([head("weapon", 0)], {}, (2,)).engine, OpenVinoEngine)
    with pytest.raises(InputError, match=r"pip install 'prohibit-jax\[cpu\]'"):
        scorer_of([head("weapon", 0)], {}, (2,), compiler="openvino")
