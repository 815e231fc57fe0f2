"""One call scores all heads: as each alone would, compiled once a bucket, and no head moves another's column."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.models.network import Network
from prohibit_jax.score.engine import Compiler
from prohibit_jax.score.scorer import Scorer, batches, load_scorer, scorer_of
from prohibit_jax.score.xla import XlaEngine
from prohibit_jax.types import InputError, Thresholds
from tests.bundle.twin import SIZE, TWIN, card, head, photos, variables
from tests.score.checks import PARITY, compiles, reference

BATCHES = (1, 4)
COMPILERS = ["xla", pytest.param("openvino", marks=pytest.mark.skipif(not find_spec("openvino"), reason="no openvino"))]
NAMES = ("weapon", "cash", "blade")


@pytest.fixture(scope="module", params=COMPILERS)
def scorer(request: pytest.FixtureRequest) -> Scorer:
    heads = [head(name, seed) for seed, name in enumerate(NAMES)]
    made = scorer_of(heads, {}, BATCHES, spare=1, compiler=request.param)
    made.warm()
    return made


def compiler_of(scorer: Scorer) -> Compiler:
    return "xla" if isinstance(scorer.engine, XlaEngine) else "openvino"


def test_each_column_is_what_its_head_alone_puts_out(scorer: Scorer) -> None:
    images = photos(4)
    logits, scores = scorer.logits(images), scorer(images)
    assert logits.dtype == scores.dtype == np.float32
    assert logits.shape == scores.shape == (4, 3)
    for column, name in enumerate(NAMES):
        one = head(name, column)
        expected = reference(one.card, one.variables, images)
        assert np.abs(logits[:, column] - expected).max() <= PARITY * np.abs(expected).max()
    calibrated = 1 / (1 + np.exp(-(1.5 * logits.astype(np.float64) - 0.25)))
    np.testing.assert_allclose(scores, calibrated, rtol=1e-6)


def test_what_a_scorer_tells_of_itself(scorer: Scorer) -> None:
    assert scorer.classes == NAMES
    assert scorer.sizes == (SIZE,)
    assert scorer.batch_sizes == BATCHES
    assert scorer.thresholds["cash"] == Thresholds(review=0.25, block=0.75)
    assert scorer.bundle.classes == NAMES


def test_after_warming_no_number_of_photos_compiles_anything(scorer: Scorer) -> None:
    with compiles() as events:
        for count in range(10):
            assert scorer(photos(count)).shape == (count, 3)
    assert events == []


def test_a_bucket_is_compiled_once() -> None:
    small = scorer_of([head("weapon", 0)], {}, (2,), compiler="xla")
    for count in (1, 2, 3, 5):
        small(photos(count))
    assert list(small.engine._program._found) == ["2 photos"]  # type: ignore[attr-defined]


def test_padding_and_the_other_photos_change_no_bit(scorer: Scorer) -> None:
    images = photos(4)
    whole = scorer(images)
    np.testing.assert_array_equal(scorer(images[:3]), whole[:3])
    np.testing.assert_array_equal(scorer(images[::-1])[::-1], whole)
    np.testing.assert_array_equal(scorer(photos(8)), np.concatenate([scorer(part) for part in np.split(photos(8), 2)]))


def test_replacing_a_head_changes_its_column_alone_and_compiles_nothing(scorer: Scorer) -> None:
    images = photos(7)
    before = scorer(images)
    changed = replace(card("cash"), thresholds=Thresholds(0.1, 0.2))
    with compiles() as events:
        other = scorer.replace(head("cash", 99, version=2, of=changed))
        after = other(images)
    assert events == []
    np.testing.assert_array_equal(after[:, [0, 2]], before[:, [0, 2]])
    assert (after[:, 1] != before[:, 1]).all()
    np.testing.assert_array_equal(scorer(images), before)  # the former scorer is as it was
    assert [str(pin.ref) for pin in other.bundle.pins] == ["weapon@1", "cash@2", "blade@1"]
    assert other.thresholds["cash"] == Thresholds(0.1, 0.2)
    heads = [head("weapon", 0), head("cash", 99), head("blade", 2)]
    fresh = scorer_of(heads, {}, BATCHES, spare=1, compiler=compiler_of(scorer))
    np.testing.assert_array_equal(fresh(images), after)  # as if it had been bundled so


def test_adding_a_class_changes_no_other_column(scorer: Scorer) -> None:
    images = photos(4)
    before = scorer(images)
    four = scorer.add(head("wildlife", 7))
    after = four(images)
    assert four.classes == (*NAMES, "wildlife")
    np.testing.assert_array_equal(after[:, :3], before)
    one = head("wildlife", 7)
    expected = reference(one.card, one.variables, images)
    assert np.abs(four.logits(images)[:, 3] - expected).max() <= PARITY * np.abs(expected).max()
    np.testing.assert_array_equal(scorer(images), before)  # the former scorer is as it was
    with pytest.raises(InputError, match="in the bundle already"):
        four.add(head("weapon", 1))
    if isinstance(four.engine, XlaEngine):  # what compiles in the background now is no other test's
        for program in four.engine._programs.values():
            program.warm(BATCHES)


def test_removing_a_class_changes_no_other_column_and_compiles_nothing(scorer: Scorer) -> None:
    images = photos(4)
    before = scorer(images)
    with compiles() as events:
        two = scorer.remove("cash")
        after = two(images)
        again = two.add(head("cash", 1))
        whole = again(images)
    assert events == []
    assert (two.classes, again.classes) == (("weapon", "blade"), ("weapon", "blade", "cash"))
    np.testing.assert_array_equal(after, before[:, [0, 2]])
    np.testing.assert_array_equal(whole, before[:, [0, 2, 1]])
    np.testing.assert_array_equal(scorer(images), before)
    with pytest.raises(InputError, match="not among weapon, blade"):
        two.remove("cash")
    with pytest.raises(InputError, match="the only one"):
        two.remove("weapon").remove("blade")


def test_a_replaced_head_must_be_of_a_class_that_is_there(scorer: Scorer) -> None:
    with pytest.raises(InputError, match="not among weapon, cash, blade; use add"):
        scorer.replace(head("wildlife", 1))
    with pytest.raises(InputError, match="not loaded from a store"):
        scorer.replace("weapon@2")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (photos(2, size=16), r"uint8 \(2, 16, 16, 3\)"),
        ({16: photos(2, size=16)}, r"sizes \(16,\), these heads want \(32,\)"),
        ({}, "these heads want"),
    ],
)
def test_images_that_do_not_fit_are_refused(scorer: Scorer, images: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scorer(images)  # type: ignore[arg-type]


def test_heads_that_make_no_scorer_are_refused() -> None:
    with pytest.raises(InputError, match="two heads of class weapon"):
        scorer_of([head("weapon", 0), head("weapon", 1)], {})
    with pytest.raises(InputError, match="no heads"):
        scorer_of([], {})
    with pytest.raises(InputError, match="batch_sizes"):
        scorer_of([head("weapon", 0)], {}, (0, 5))
    with pytest.raises(InputError, match="spare -1"):
        scorer_of([head("weapon", 0)], {}, spare=-1)


def test_a_head_or_card_other_than_the_bundled_is_refused(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "store"), Store(tmp_path / "other")
    for at, seed in ((store, 5), (other, 6)):
        at.publish_head(card("blade"), variables(Network(TWIN), seed))
    make_bundle(store, "test", ["blade"])
    folder = Path(store.heads / "blade" / "1")
    sound = {name: (folder / name).read_bytes() for name in ("card.json", "params.safetensors")}
    for name in ("card.json", "params.safetensors"):
        (folder / name).write_bytes((other.heads / "blade" / "1" / name).read_bytes())
    with pytest.raises(InputError, match="not the file that was bundled"):
        load_scorer("test", store)
    (folder / "card.json").write_bytes(sound["card.json"])
    with pytest.raises(InputError, match="damaged or replaced"):
        load_scorer("test", store)
    (folder / "params.safetensors").write_bytes(sound["params.safetensors"])
    (folder / "card.json").write_bytes(sound["card.json"] + b" ")
    with pytest.raises(InputError, match="not the file that was bundled"):
        load_scorer("test", store)
    (folder / "card.json").write_bytes(sound["card.json"])
    load_scorer("test", store)


@given(
    count=st.integers(0, 300),
    sizes=st.sets(st.integers(1, 64), min_size=1, max_size=5).map(sorted),
)
def test_batches_cover_every_photo_once_in_buckets_that_hold_them(count: int, sizes: list[int]) -> None:
    parts = list(batches(count, sizes))
    assert [i for start, stop, _ in parts for i in range(start, stop)] == list(range(count))
    for start, stop, size in parts:
        assert size in sizes
        assert stop - start <= size
        assert all(smaller < stop - start for smaller in sizes if smaller < size)
    assert all(size == sizes[-1] for *_, size in parts[:-1])
