"""Cards come back as they went, and nothing but a whole, unchanged card comes back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from prohibit_jax.bundle.card import Card, Trunk, library_versions
from prohibit_jax.models.inception_resnet_v2 import INCEPTION_RESNET_V2
from prohibit_jax.types import InputError
from tests.bundle.twin import card

PUBLISHED = replace(card(), version=3, params_sha256="a" * 64, created="2026-01-02T03:04:05+00:00")


def test_a_card_comes_back_as_it_went() -> None:
    inception = replace(PUBLISHED, arch=replace(INCEPTION_RESNET_V2, width=0.5))
    for given in (PUBLISHED, replace(PUBLISHED, trunk=Trunk("b" * 64, "s5")), inception):
        assert Card.from_json(given.to_json(), "card.json") == given


def test_the_card_of_several_classes_names_them_in_order() -> None:
    several = replace(PUBLISHED, arch=replace(PUBLISHED.arch, outputs=3), classes=("weapon", "cash"))
    assert Card.from_json(several.to_json(), "card.json") == several
    assert "classes" not in json.loads(PUBLISHED.to_json())
    for classes, message in (
        (["weapon"], "arch.outputs is 3, must be 2"),
        (["weapon", "weapon"], "classes is ('weapon', 'weapon')"),
        (["weapon", "../etc"], "class '../etc'"),
        (["weapon", 3], "classes is 3, must be a text"),
        ("weapon", 'classes is "weapon", must be a list'),
        (["cash", "weapon"], "checksum"),
    ):
        with pytest.raises(InputError) as raised:
            Card.from_json(json.dumps(json.loads(several.to_json()) | {"classes": classes}), "card.json")
        assert message in str(raised.value)


def test_numpy_and_infinity_in_the_metrics_become_json() -> None:
    given = replace(PUBLISHED, metrics={"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": (1, 2)})
    read = Card.from_json(given.to_json(), "card.json")
    assert read.metrics == {"a": 0.5, "b": [0, 1], "c": None, "d": [1, 2]}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "schema": ({"schema": 2}, "schema is 2"),
    "class": ({"class": "../etc"}, "class '../etc'"),
    "class of another type": ({"class": 3}, "name is 3, must be a text"),
    "version": ({"version": 0}, "version is 0"),
    "version true": ({"version": True}, "version is true, must be a whole number"),
    "hash": ({"params_sha256": "abc"}, "params_sha256 is 'abc'"),
    "unknown field": ({"colour": 1}, "colour is not a known field"),
    "arch": ({"arch": "efficientnet_b0"}, "arch: is not an object"),
    "trunk": ({"trunk": {"sha256": "b" * 64, "through": "s9"}}, "trunk.through is 's9'"),
    "trunk's field": ({"trunk": {"sha256": "b" * 64}}, "trunk: through is missing"),
    "infinity": ({"seed": 1, "calibration": {"scale": 1e999, "offset": 0.0}}, "not a number"),
    "calibration": ({"calibration": {"scale": -1.0, "offset": 0.0}}, "calibration.scale is -1.0"),
    "thresholds": ({"thresholds": {"review": 0.9, "block": 0.5}}, "thresholds is (0.9, 0.5)"),
    "size": ({"preprocessing": {"size": 9, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "preprocessing.size is 9"),
    "mean": ({"preprocessing": {"size": 32, "mean": [0, 0], "std": [1, 1, 1]}}, "mean is [0, 0], must be a list of 3"),
    "no field": ({"metrics": None}, "metrics is null, must be an object"),
    "edited": ({"seed": 8}, "checksum"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_card_is_refused_in_one_line_that_names_the_field(case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(InputError) as raised:
        Card.from_json(json.dumps(json.loads(PUBLISHED.to_json()) | changes), "heads/weapon/3/card.json")
    assert str(raised.value).startswith("heads/weapon/3/card.json: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("arch", [{"name": "resnet"}, {"outputs": 2}, {"width": 1e9}, {"activation": "tanh"}])
def test_another_architecture_is_refused(arch: dict[str, Any]) -> None:
    content = json.loads(PUBLISHED.to_json())
    content["arch"] |= arch
    with pytest.raises(InputError, match=f"arch.*{next(iter(arch))}"):
        Card.from_json(json.dumps(content), "card.json")


def test_every_field_is_needed() -> None:
    content = json.loads(PUBLISHED.to_json())
    for name in content:
        with pytest.raises(InputError, match=f"{name}|checksum"):
            Card.from_json(json.dumps({key: value for key, value in content.items() if key != name}), "card.json")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": NaN}', b"[" * 100_000, b"null"])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(InputError, match=r"card\.json: not "):
        Card.from_json(text, "card.json")


def test_library_versions_name_jax() -> None:
    assert {"jax", "flax", "numpy"} <= library_versions().keys()
