"""Where training starts: from scratch, from imported weights, from a head, whole or behind another trunk; refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prohibit_jax.bundle.store import Store
from prohibit_jax.heads.begin import Beginning, begin
from prohibit_jax.models.network import Network, shapes
from prohibit_jax.types import InputError, Preprocessing
from prohibit_jax.weights.imported import load
from tests.heads.small import ON_TRUNK, SIZE, TINY, Trained, config, save_tiny


def begun(store: Store, name: str = "weapon", seed: int = 0, **model: Any) -> Beginning:
    return begin(config("synthetic:", name, model=model, train={"seed": seed}), store)


def differing(one: Beginning, other: Beginning) -> set[str]:
    assert one.variables.keys() == other.variables.keys()
    return {name for name in one.variables if not np.array_equal(one.variables[name], other.variables[name])}


def test_from_scratch(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fresh = begun(store)
    assert replace(fresh.network.arch, norm_momentum=TINY.norm_momentum) == TINY
    assert fresh.preprocessing == Preprocessing(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert {name: array.shape for name, array in fresh.variables.items()} == shapes(Network(TINY))
    assert (fresh.trunk_through, fresh.pretrained) == ("", False)
    assert differing(fresh, begun(store)) == set()
    assert "stem.kernel" in differing(fresh, begun(store, seed=1))


def test_from_imported_weights_with_a_classifier_of_the_seed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save_tiny(store)
    saved = load(tmp_path, "tiny")
    begun_so = begun(store, **ON_TRUNK, size=48)
    assert begun_so.network == Network(TINY)
    assert begun_so.preprocessing == Preprocessing(48, saved.preprocessing.mean, saved.preprocessing.std)
    assert (begun_so.trunk_through, begun_so.pretrained) == ("s5", True)
    for name, array in begun_so.variables.items():
        if name.startswith("top.classifier."):
            assert array.shape == shapes(Network(TINY))[name]
        else:
            np.testing.assert_array_equal(array, saved.variables[name])
    assert differing(begun_so, begun(store, seed=1, **ON_TRUNK)) == {"top.classifier.kernel"}


def test_from_the_last_version_on_the_same_trunk(trained: Trained) -> None:
    again = begun(trained.store, "cash", weights="last", trunk_through="s5")
    head = trained.store.read_head("cash")
    assert head.card.trunk is not None
    whole = {**trained.store.read_trunk(head.card.trunk.sha256), **head.variables}
    assert again.variables.keys() == shapes(Network(TINY)).keys() == whole.keys()
    assert all(np.array_equal(array, whole[name]) for name, array in again.variables.items())
    assert again.preprocessing == head.card.preprocessing
    assert (again.network, again.trunk_through, again.pretrained) == (Network(TINY), "s5", True)


def test_from_a_head_of_another_class_and_through_another_stage(trained: Trained) -> None:
    """A head brings its whole network, which is cut anew."""
    cash = begun(trained.store, "cash", weights="last")
    assert cash.trunk_through == ""
    assert differing(cash, begun(trained.store, "weapon", weights="cash@1", trunk_through="s6")) == set()
    weapon = begun(trained.store, "cash", weights="weapon@1", trunk_through="s2")
    assert weapon.trunk_through == "s2"
    assert "top.classifier.kernel" in differing(cash, weapon)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"trunk_through": "s5"}, r"^model\.trunk_through: .* needs weights"),
        ({"weights": "none"}, r"^weights 'none': .* has tiny; run: launch weights import"),
        ({"weights": "No"}, r"^weights 'No': use"),
        ({"weights": "weapon@7"}, r"^head weapon@7: .* has no version 7"),
        ({"weights": "weapon@x"}, r"^head 'weapon@x': the version"),
        ({"weights": "knife@1"}, r"^head knife@1: no class 'knife'"),
        ({"weights": "hf:tiny"}, r"^weights 'hf:tiny': write hf:OWNER/NAME"),
    ],
)
def test_refusals(trained: Trained, model: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        begun(trained.store, **model)
    assert "\n" not in str(caught.value)


def test_the_last_version_of_a_class_without_any(trained: Trained) -> None:
    with pytest.raises(InputError, match=r"^head knife: no class 'knife' .*cash, cup, weapon"):
        begun(trained.store, "knife", weights="last")
