"""Heads of two kinds in one bundle: two on one trunk, and between them a whole network that wants another size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prohibit_jax.bundle.card import Trunk
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.models.network import Network
from prohibit_jax.score.engine import Compiler
from prohibit_jax.score.scorer import Scorer, load_scorer, scorer_of
from prohibit_jax.score.stack import arrange
from prohibit_jax.types import InputError
from tests.bundle.twin import TWIN, card, photos, trunk, variables
from tests.score.checks import PARITY, compiles, reference


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    digest = store.publish_trunk(trunk(1, "s6"))
    suffix = Network(TWIN).split("s6")[1]
    on_trunk = Trunk(digest, "s6")
    store.publish_head(card("weapon", on_trunk), variables(suffix, 2))
    store.publish_head(card("large", size=40), variables(Network(TWIN), 3))
    store.publish_head(card("cash", on_trunk, replace(TWIN, dropout=0.5)), variables(suffix, 4))
    make_bundle(store, "prod", ["weapon", "large", "cash"])
    return store


@pytest.fixture(scope="module")
def loaded(store: Store) -> Scorer:
    return load_scorer("prod", store=store.root, batch_sizes=(4,))


@pytest.fixture(scope="module")
def images() -> dict[int, np.ndarray]:
    return {32: photos(4), 40: photos(4, size=40)}


def test_groups_are_as_few_as_can_be(loaded: Scorer) -> None:
    assert loaded.classes == ("weapon", "large", "cash")
    assert loaded.sizes == (32, 40)
    assert loaded.plan.columns == ((0, 2), (1,))


@given(sizes=st.lists(st.sampled_from([32, 40, 48]), min_size=1, max_size=8), spare=st.integers(0, 3))
def test_a_class_has_a_slot_of_its_group(sizes: list[int], spare: int) -> None:
    """Whatever the order of the classes, and also behind groups that have free slots."""
    plan = arrange([card(f"class{number}", size=size) for number, size in enumerate(sizes)], spare)
    groups = [group.preprocessing.size for group in plan.groups for _ in range(group.slots)]
    assert [groups[place] for place in plan.places] == sizes
    assert len(set(plan.places.tolist())) == len(sizes)
    assert len(groups) == len(sizes) + spare * len(plan.groups)


def test_columns_keep_their_order(store: Store, loaded: Scorer, images: dict[int, np.ndarray]) -> None:
    logits = loaded.logits(images)
    for column, name in enumerate(loaded.classes):
        one = store.read_head(name)
        frozen = store.read_trunk(one.card.trunk.sha256) if one.card.trunk else {}
        expected = reference(one.card, {**frozen, **one.variables}, images[one.card.preprocessing.size])
        assert np.abs(logits[:, column] - expected).max() <= PARITY * np.abs(expected).max()


@pytest.mark.parametrize("compiler", get_args(Compiler)[1:])
@pytest.mark.parametrize("through", ["stem", "s4", "top"])
def test_a_trunk_may_end_at_any_stage(tmp_path: Path, through: str, compiler: Compiler) -> None:
    if compiler == "openvino":
        pytest.importorskip("openvino", reason="the extra cpu is not installed")
    store = Store(tmp_path)
    on_trunk = Trunk(store.publish_trunk(trunk(1, through)), through)
    network = Network(TWIN).split(through)[1]
    refs = [store.publish_head(card(name, on_trunk), variables(network, seed)) for seed, name in enumerate("abc")]
    heads = [store.read_head(ref) for ref in refs]
    frozen = {on_trunk.sha256: store.read_trunk(on_trunk.sha256)}
    scorer = scorer_of(heads, frozen, (4,), compiler=compiler)
    logits = scorer.logits(photos(4))
    for column, head in enumerate(heads):
        expected = reference(head.card, {**frozen[on_trunk.sha256], **head.variables}, photos(4))
        assert np.abs(logits[:, column] - expected).max() <= PARITY * np.abs(expected).max()
    another = replace(heads[1], variables=variables(network, 9))
    after = scorer.replace(another).logits(photos(4))
    np.testing.assert_array_equal(after[:, ::2], logits[:, ::2])
    assert (after[:, 1] != logits[:, 1]).all()


def test_several_sizes_want_a_mapping(loaded: Scorer) -> None:
    with pytest.raises(InputError, match=r"give \{size: images\}"):
        loaded(photos(3))
    with pytest.raises(InputError, match="one b for all"):
        loaded({32: photos(3), 40: photos(2, size=40)})


def test_replacing_reads_the_store(store: Store, loaded: Scorer, images: dict[int, np.ndarray]) -> None:
    before = loaded(images)
    another = store.publish_trunk(trunk(7, "s6"))
    one = store.read_head("cash").card
    store.publish_head(one, variables(one.network(), 8))
    with compiles() as events:
        after = loaded.replace("cash")(images)
    assert events == []
    np.testing.assert_array_equal(after[:, :2], before[:, :2])
    assert (after[:, 2] != before[:, 2]).all()
    store.publish_head(replace(one, trunk=Trunk(another, "s6")), variables(one.network(), 8))
    moved = loaded.replace("cash@3")
    assert moved.plan.columns == ((0,), (1,), (2,))
