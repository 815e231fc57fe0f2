from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from etils import epath

from prohibit_jax.active import world as w
from prohibit_jax.bundle.store import Store
from prohibit_jax.config import Config
from prohibit_jax.data.sources import open_source
from prohibit_jax.images.resize import load
from prohibit_jax.score.embed import load_embedder
from prohibit_jax.types import InputError
from tests import tolerances
from tests.heads.small import SIZE, config, save_tiny, write_photos


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Store]:
    folder = tmp_path_factory.mktemp("world")
    source, store = write_photos(folder / "photos"), Store(folder / "store")
    save_tiny(store)
    return config(source, "weapon", "gun", model={"weights": "tiny"}), store


def test_a_world_is_its_photos_embedded(ready: tuple[Config, Store]) -> None:
    told: list[str] = []
    dataset, rows, features = w.load_labelled(*ready, warn=told.append)
    world = w.world_of(dataset, rows, features)
    assert len(world.features) == len(world.labels) == len(world.phash) == len(world.clusters) == len(rows)
    assert "cannot be used" in told[0], "broken photos are left out, and said to be"
    assert world.labels.sum() == sum(dataset.source.items[row].label == "gun" for row in rows)
    embedder = load_embedder(ready[1], f"tiny:{SIZE}", 1)
    photo = load(open_source(ready[0].data.source).read(int(rows[5])), SIZE, dataset.limits)
    assert np.allclose(world.features[5], embedder(photo[None])[0], rtol=0, atol=tolerances.STACKED)
    again = w.load_world(*ready)
    assert w.fingerprint(again) == w.fingerprint(world), "from the cache"


def test_what_a_run_depends_on_is_in_the_fingerprint(ready: tuple[Config, Store]) -> None:
    world = w.load_world(*ready)
    other = w.World(world.features, 1 - world.labels, world.phash, world.clusters)
    assert w.fingerprint(other) != w.fingerprint(world)


def test_weights_are_asked_for(ready: tuple[Config, Store], tmp_path: Path) -> None:
    bare = config(ready[0].data.source, "weapon", "gun")
    with pytest.raises(InputError, match=r"model\.weights"):
        w.load_world(bare, epath.Path(tmp_path))
