from __future__ import annotations

import numpy as np
import pytest

from prohibit_jax.data.index import Index
from prohibit_jax.data.labels import assign, fingerprint
from prohibit_jax.data.sources import Item
from prohibit_jax.types import InputError

ITEMS = [Item(f"{i}.jpg", label) for i, label in enumerate(["revolver", "toy gun", "cup", "", "Leopards", "revolver"])]


def test_positive_ignored_unlabelled_and_the_rest() -> None:
    labels = assign(ITEMS, {"class.positive": ["revolver"]}, ["toy gun"])
    assert labels.dtype == np.int8
    assert labels.tolist() == [1, -1, 0, -1, 0, 1]
    assert assign(ITEMS, {"class.positive": ["revolver", "Leopards"]}).tolist() == [1, 0, 0, -1, 1, 1]


@pytest.mark.parametrize(
    ("positive", "ignore", "says"),
    [
        ([], [], "class.positive: name at least one"),
        (["revolvers"], [], "class.positive: no photo has the label 'revolvers'; did you mean 'revolver'?"),
        (["revolver", "leopards"], [], "did you mean 'Leopards'?"),
        (["zzz"], [], "there are: Leopards, cup, revolver, toy gun"),
        (["revolver"], ["toy guns"], "class.ignore: no photo has the label 'toy guns'; did you mean 'toy gun'?"),
        (["revolver", "cup"], ["cup"], "class.ignore: 'cup' is in class.positive too"),
        (["revolver", "cup"], ["toy gun", "Leopards"], "no photo is left as a negative"),
        ([""], [], "class.positive: no photo has the label ''"),
    ],
)
def test_errors_name_the_field(positive: list[str], ignore: list[str], says: str) -> None:
    with pytest.raises(InputError) as caught:
        assign(ITEMS, {"class.positive": positive}, ignore)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_classes_are_numbered_in_their_order() -> None:
    classes = {"class.classes.wildlife": ["Leopards"], "class.classes.weapon": ["revolver", "toy gun"]}
    assert assign(ITEMS, classes).tolist() == [2, 2, 0, -1, 1, 2]
    assert assign(ITEMS, classes).dtype == np.int8
    many = [Item(f"{i}.jpg", f"label{i}") for i in range(300)]
    assert assign(many, {f"class.classes.c{i}": [f"label{i}"] for i in range(299)}).tolist() == [*range(1, 300), 0]


@pytest.mark.parametrize(
    ("weapon", "cash", "says"),
    [
        (["revolver"], [], "class.classes.cash: name at least one label"),
        (["revolver"], ["revolver"], "class.classes.cash: 'revolver' is in class.classes.weapon too"),
        (["revolver"], ["coin"], "class.classes.cash: no photo has the label 'coin'"),
        (["revolver", "toy gun"], ["cup", "Leopards"], "class.classes.weapon: no photo is left as a negative"),
    ],
)
def test_errors_name_the_class(weapon: list[str], cash: list[str], says: str) -> None:
    with pytest.raises(InputError) as caught:
        assign(ITEMS, {"class.classes.weapon": weapon, "class.classes.cash": cash})
    assert says in str(caught.value)


def test_a_pool_without_labels_says_so() -> None:
    with pytest.raises(InputError, match="no photo has any label"):
        assign([Item("a.jpg", "")], {"class.positive": ["revolver"]})


def test_many_labels_are_not_all_listed() -> None:
    with pytest.raises(InputError, match="and 88 more"):
        assign([Item(f"{i}.jpg", f"label{i:03}") for i in range(100)], {"class.positive": ["zzz"]})


def known(*shas: str) -> Index:
    n = len(shas)
    ones = np.ones(n, np.int32)
    return Index(shas, np.zeros(n, np.uint64), np.zeros((n, 16, 16), np.uint8), ones, ones, ("",) * n)


def test_fingerprint_is_of_contents_and_labels_alone() -> None:
    labels = np.array([1, 0, -1], np.int8)
    value = fingerprint(known("a", "b", "c"), labels)
    assert len(value) == 64
    assert fingerprint(known("c", "b", "a", "a"), np.array([-1, 0, 1, 1], np.int8)) == value
    assert fingerprint(known("a", "b", "d"), labels) == value
    assert fingerprint(known("a", "x", "c"), labels) != value
    assert fingerprint(known("a", "b", "c"), np.array([0, 1, -1], np.int8)) != value
