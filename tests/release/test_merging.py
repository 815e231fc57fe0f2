"""Merged heads in a bundle: one release, its history, its budget, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prohibit_jax.bundle.lock import make_bundle, read_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.heads.merge import MergeConfig, Merged, merge_heads
from prohibit_jax.plan.budget import Verdict
from prohibit_jax.release import merging
from prohibit_jax.release.history import History
from prohibit_jax.release.merging import merge_into
from prohibit_jax.release.rollback import rollback
from prohibit_jax.train.distil import DistilConfig
from prohibit_jax.types import InputError
from tests.heads.small import Trained

FAST = MergeConfig(train=DistilConfig(epochs=0, batch=16))


@pytest.fixture
def store(trained: Trained, tmp_path: Path) -> Store:
    copy = trained.copy(tmp_path)
    make_bundle(copy, "prod", ["weapon", "cup", "cash"])
    return copy


def merged(trained: Trained, store: Store) -> Merged:
    return merge_into("prod", ["cash", "cup"], trained.source, store, FAST, weights="tiny", max_loss=1.0)


def serving(store: Store) -> list[str]:
    return [str(pin.ref) for pin in read_bundle(store, "prod").pins]


def test_a_merge_is_a_release_and_is_rolled_back_class_by_class(trained: Trained, store: Store) -> None:
    found = merged(trained, store)
    assert serving(store) == ["weapon@1", "cup@2", "cash@2"]
    entries = History(store, "prod").entries()
    assert [(one.action, one.old, one.new) for one in entries] == [
        ("merge", "cash@1", "cash@2"),
        ("merge", "cup@1", "cup@2"),
    ]
    assert all(one.why == "merged, 2 classes" for one in entries)
    assert entries[0].gates[0].figures["difference"]["value"] == found.classes[0].quality.difference.value
    rollback(["cup"], "prod", store, why="reviewers saw more")
    assert serving(store) == ["weapon@1", "cup@1", "cash@2"]
    rollback(["cash"], "prod", store, why="that one too")
    assert serving(store) == ["weapon@1", "cup@1", "cash@1"]


def test_a_budget_that_would_break(trained: Trained, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = Verdict(300.0, 200.0, 5, "a processor", "2026-01-01", False, "bundle prod: 300 ms predicted")
    monkeypatch.setattr(merging, "check_budget", lambda *_: verdict)
    with pytest.raises(InputError, match=r"^bundle prod: 300 ms predicted: .* --heads weapon@1,cup@2,cash@2 serves"):
        merged(trained, store)
    assert serving(store) == ["weapon@1", "cup@1", "cash@1"]
    assert store.versions("cup") == (1, 2)
    assert History(store, "prod").entries() == ()


def test_a_bundle_without_the_class_and_one_with_another_version(trained: Trained, store: Store) -> None:
    with pytest.raises(InputError, match=r"new\.json: no such bundle"):
        merge_into("new", ["cash", "cup"], trained.source, store, FAST)
    make_bundle(store, "few", ["cash"])
    with pytest.raises(InputError, match=r"^--bundle few: it has no class cup"):
        merge_into("few", ["cash", "cup"], trained.source, store, FAST)


def test_a_release_that_came_between_is_not_undone(
    trained: Trained, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*arguments: Any, **options: Any) -> Merged:
        found = merge_heads(*arguments, **options)
        make_bundle(store, "prod", ["weapon@1", "cup@2", "cash@1"])
        return found

    monkeypatch.setattr(merging, "merge_heads", meanwhile)
    with pytest.raises(InputError, match=r"serves cup@2, not cup@1; .*heads cash@2,cup@2 are published"):
        merged(trained, store)
    assert serving(store) == ["weapon@1", "cup@2", "cash@1"]
