"""A bundle pins its heads; updating one changes one line; what could not be served is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from prohibit_jax.bundle.card import Trunk
from prohibit_jax.bundle.lock import make_bundle, read_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.models.network import Network
from prohibit_jax.types import InputError
from tests.bundle.twin import TWIN, card, trunk, variables


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for seed, name in enumerate(("weapon", "cash", "weapon", "blade")):
        store.publish_head(card(name), variables(Network(TWIN), seed))
    return store


def lock(store: Store, name: str = "prod") -> Path:
    return Path(store.bundles / f"{name}.json")


def test_the_lock_file_is_as_designed(store: Store) -> None:
    bundle = make_bundle(store, "prod", ["weapon@1", "cash"])
    content = json.loads(lock(store).read_text())
    params = Path(store.heads / "weapon" / "1" / "params.safetensors").read_bytes()
    text = Path(store.heads / "weapon" / "1" / "card.json").read_bytes()
    assert content["schema"] == 1
    assert content["heads"][0] == {
        "class": "weapon",
        "version": 1,
        "sha256": sha256(params).hexdigest(),
        "card_sha256": sha256(text).hexdigest(),
    }
    assert bundle.classes == ("weapon", "cash")
    assert bundle.sha256 == sha256(lock(store).read_bytes()).hexdigest()
    assert read_bundle(store, "prod") == bundle


def test_by_default_the_latest_of_every_class(store: Store) -> None:
    bundle = make_bundle(store, "prod")
    assert [str(pin.ref) for pin in bundle.pins] == ["blade@1", "cash@1", "weapon@2"]


def test_one_network_of_several_classes_is_in_no_bundle(store: Store) -> None:
    several = replace(card("all", arch=replace(TWIN, outputs=3)), classes=("weapon", "cash"))
    store.publish_head(several, variables(several.network(), 0))
    assert make_bundle(store, "prod").classes == ("blade", "cash", "weapon")
    with pytest.raises(InputError, match=r"^head all@1: one network of 2 classes, which no bundle holds"):
        make_bundle(store, "prod", ["weapon", "all"])


def test_updating_one_class_changes_one_line_and_keeps_the_former(store: Store) -> None:
    make_bundle(store, "prod")
    before = lock(store).read_text()
    make_bundle(store, "prod")  # nothing new, nothing to keep
    store.publish_head(card("cash"), variables(Network(TWIN), 9))
    make_bundle(store, "prod")
    after = lock(store).read_text()
    changed = [new for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert len(changed) == 1
    assert '"cash"' in changed[0]
    history = Path(store.bundles / "history" / "prod")
    assert [path.name for path in history.iterdir()] == ["1.json"]
    assert (history / "1.json").read_text() == before
    lock(store).write_text(before)  # a rollback is the former line
    assert [str(pin.ref) for pin in read_bundle(store, "prod").pins] == ["blade@1", "cash@1", "weapon@2"]


def test_a_line_of_three_fields_is_read(store: Store) -> None:
    make_bundle(store, "prod")
    content = json.loads(lock(store).read_text())
    for line in content["heads"]:
        del line["card_sha256"]
    lock(store).write_text(json.dumps(content))
    assert read_bundle(store, "prod").classes == ("blade", "cash", "weapon")


def test_heads_that_cannot_serve_together_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two heads of class weapon"):
        make_bundle(store, "prod", ["weapon@1", "weapon@2"])
    with pytest.raises(InputError, match="no heads"):
        make_bundle(store, "prod", [])
    with pytest.raises(InputError, match="no heads"):
        make_bundle(Store(tmp_path / "empty"), "prod")
    with pytest.raises(InputError, match="no class 'knife'"):
        make_bundle(store, "prod", ["knife"])
    with pytest.raises(InputError, match=r"bundle '\.\./prod'"):
        make_bundle(store, "../prod")
    store.publish_head(card("error"), variables(Network(TWIN), 1))
    with pytest.raises(InputError, match="may not be named error"):
        make_bundle(store, "prod", ["weapon", "error"])
    Path(store.heads / "weapon" / "1" / "params.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        make_bundle(store, "prod", ["weapon@1"])
    assert not lock(store).exists()


def test_a_head_without_its_trunk_is_refused(store: Store) -> None:
    digest = store.publish_trunk(trunk(1))
    suffix = Network(TWIN).split("s3")[1]
    store.publish_head(card("wildlife", Trunk(digest, "s3")), variables(suffix, 1))
    make_bundle(store, "prod")
    Path(store.trunks / f"{digest}.safetensors").unlink()
    with pytest.raises(InputError, match=f"{digest}.*missing"):
        make_bundle(store, "prod")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "schema": ({"schema": 2}, "schema is 2"),
    "no list": ({"heads": {}}, "heads, a list"),
    "no heads": ({"heads": []}, "no heads"),
    "another field": ({"colour": 1}, "must hold schema and heads"),
    "missing field": ({"heads": [{"class": "weapon", "version": 1}]}, r"heads\[0\]: must hold"),
    "version": ({"heads": [{"class": "weapon", "version": True, "sha256": "a" * 64}]}, "version is True"),
    "sha256": ({"heads": [{"class": "weapon", "version": 1, "sha256": "A" * 64}]}, "sha256 is 'A"),
    "class": ({"heads": [{"class": "../x", "version": 1, "sha256": "a" * 64}]}, r"class '\.\./x'"),
    "type of class": ({"heads": [{"class": None, "version": 1, "sha256": "a" * 64}]}, r"heads\[0\]"),
    "twice": ({"heads": [{"class": "a", "version": n, "sha256": "a" * 64} for n in (1, 2)]}, "two heads of class a"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_lock_file_is_refused_in_one_line(store: Store, case: str) -> None:
    changes, message = WRONG[case]
    make_bundle(store, "prod")
    lock(store).write_text(json.dumps(json.loads(lock(store).read_text()) | changes))
    with pytest.raises(InputError, match=message) as raised:
        read_bundle(store, "prod")
    assert str(raised.value).startswith(f"{lock(store)}: ")
    assert "\n" not in str(raised.value)


def test_a_missing_bundle_names_those_that_there_are(store: Store, tmp_path: Path) -> None:
    make_bundle(store, "prod")
    with pytest.raises(InputError, match="there is prod"):
        read_bundle(store, "test")
    with pytest.raises(InputError, match="there is none"):
        read_bundle(Store(tmp_path / "empty"), "prod")
