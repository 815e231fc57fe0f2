"""Embeddings: what a classifier on the weights' own features would take, whatever compiles them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prohibit_jax.bundle.card import Trunk
from prohibit_jax.bundle.store import Head, Store
from prohibit_jax.models.network import Network, shapes
from prohibit_jax.score import embed
from prohibit_jax.score.embed import CLASSIFIER, load_embedder
from prohibit_jax.score.scorer import scorer_of
from prohibit_jax.types import HeadRef, InputError
from prohibit_jax.weights.imported import load, save
from tests.bundle.twin import card, photos
from tests.heads.small import SIZE, save_tiny
from tests.tolerances import SERVED


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    save_tiny(store)
    return store


@pytest.mark.parametrize("through", ["s7", "top"])
def test_a_head_of_the_weights_own_features_scores_like_its_classifier_on_embeddings(
    store: Store, through: str
) -> None:
    weights = load(store.root, "tiny")
    trunk, rest = Network(replace(weights.arch, outputs=1)).split(through)
    kernel = np.random.default_rng(0).standard_normal((1280, 1)).astype(np.float32)
    classifier = dict(zip(CLASSIFIER, (kernel, np.float32([0.3])), strict=True))
    every = {**weights.variables, **classifier}
    of_head, of_trunk = ({name: every[name] for name in shapes(part)} for part in (rest, trunk))
    made = replace(card(arch=rest.arch), preprocessing=weights.preprocessing, trunk=Trunk("a" * 64, through))
    scorer = scorer_of([Head(HeadRef("weapon", 1), made, of_head)], {"a" * 64: of_trunk}, (8,))

    images = photos(8, size=SIZE)
    features = load_embedder(store, "tiny", 4)(images)
    assert features.shape == (8, 1280)
    expected = features @ kernel + 0.3
    np.testing.assert_allclose(scorer.logits(images), expected, rtol=0, atol=SERVED * np.abs(expected).max())


def test_both_compilers_agree(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    images = photos(5, size=48)
    chosen = load_embedder(store, "tiny:48", 4)(images)
    monkeypatch.setattr(embed, "find_spec", lambda name: None)
    by_xla = load_embedder(store, "tiny:48", 4)(images)
    np.testing.assert_allclose(by_xla, chosen, rtol=0, atol=SERVED * np.abs(chosen).max())


def test_an_embedding_is_told_by_all_that_makes_it(store: Store, tmp_path: Path) -> None:
    weights, other = load(store.root, "tiny"), Store(tmp_path)
    made = load_embedder(store, "tiny").embedding
    assert (made.weights, made.size, made.features) == ("tiny", SIZE, 1280)
    assert load_embedder(store, f"tiny:{SIZE}").embedding == made
    assert load_embedder(store, "tiny:48").embedding == replace(made, size=48)

    def changed(name: str) -> str:
        variables = {**weights.variables, name: np.asarray(weights.variables[name]) + 1}
        save(other.root, "tiny", replace(weights, variables=variables))
        return load_embedder(other, "tiny").embedding.sha256

    assert changed(CLASSIFIER[1]) == made.sha256
    assert len({made.sha256, changed("stem.kernel"), changed("top.conv.norm.mean")}) == 3
    save(other.root, "tiny", replace(weights, preprocessing=replace(weights.preprocessing, mean=(0.0, 0.0, 0.0))))
    assert load_embedder(other, "tiny").embedding.sha256 != made.sha256


@pytest.mark.parametrize(
    ("spec", "message"),
    [("tiny:8", "must be from 32"), ("", "write NAME or NAME:SIZE"), ("none:64", "weights 'none'"), ("tiny:x", "x")],
)
def test_what_cannot_embed_is_refused(store: Store, spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        load_embedder(store, spec)
    assert "\n" not in str(raised.value)


def test_what_float16_cannot_hold_is_refused(store: Store, tmp_path: Path) -> None:
    weights = load(store.root, "tiny")
    arch = replace(weights.arch, activation="silu")  # ReLU6 has a bound
    loud = {**weights.variables, "top.conv.norm.bias": np.full(1280, 1e5, np.float32)}
    save(tmp_path, "loud", replace(weights, arch=arch, variables=loud))
    with pytest.raises(InputError, match="exceed float16's"):
        load_embedder(tmp_path, "loud", 4)(photos(2, size=SIZE))
