"""The small job's store with more to compare: another version of weapon, a network of two classes, two bundles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.types import HeadRef, Thresholds
from tests.bundle.twin import variables

NEVER = Thresholds(1.5, 1.5)


def release(store: Store, ref: str, *, noise: float = 0.0, thresholds: Thresholds | None = None) -> HeadRef:
    """Publishes the head once more, its last layer disturbed."""
    head, rng = store.read_head(ref), np.random.default_rng(0)
    kernel = head.variables["top.classifier.kernel"]
    moved = kernel + (noise * kernel.std() * rng.standard_normal(kernel.shape)).astype(np.float32)
    changed = {**head.variables, "top.classifier.kernel": moved}
    return store.publish_head(replace(head.card, thresholds=thresholds or head.card.thresholds), changed)


def several(store: Store, name: str = "all") -> HeadRef:
    """Publishes an untrained network of weapon and cash; cups are everything else."""
    head = store.read_head("weapon@1")
    asked = {"name": name, "positive": [], "classes": {"weapon": ["gun"], "cash": ["cash"]}, "ignore": []}
    train = head.card.config["train"] | {"loss": "softmax"}
    card = replace(
        head.card,
        name=name,
        arch=replace(head.card.arch, outputs=3),
        classes=("weapon", "cash"),
        thresholds=NEVER,
        config={**head.card.config, "class": asked, "train": train},
    )
    return store.publish_head(card, variables(card.network(), seed=3))


def with_versions(store: Store) -> Store:
    """weapon@2 is weapon@1 disturbed; the bundle `next` has it where `prod` has weapon@1, and no cup."""
    release(store, "weapon@1", noise=2.0, thresholds=Thresholds(0.3, 0.9))
    several(store)
    make_bundle(store, "prod", ["weapon@1", "cash", "cup"])
    make_bundle(store, "next", ["cash", "weapon@2"])
    return store
