"""A small job: photos of three labels, a narrow and shallow network, and a store with a head for each label.

`weapon` is a whole network from scratch; `cash` and `cup` follow one frozen trunk.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from prohibit_jax.bundle.store import Store
from prohibit_jax.config import Config, parse_config
from prohibit_jax.heads.make import Made, train_head
from prohibit_jax.models.efficientnet import LITE0
from prohibit_jax.models.network import Network
from prohibit_jax.types import Preprocessing
from prohibit_jax.weights.imported import Weights, save
from tests.bundle.twin import variables

COLOURS = {"gun": (60, 60, 200), "cash": (60, 180, 60), "cup": (150, 120, 110)}
COUNT = 40  # photos of each label
TINY = replace(LITE0, width=0.25, depth=0.25)
SIZE = 32
ON_TRUNK: dict[str, Any] = {"weights": "tiny", "trunk_through": "s5"}


@dataclass(frozen=True)
class Trained:
    """The store, its photos' address, the three heads by class, and what each training warned of."""

    store: Store
    source: str
    heads: dict[str, Made]
    warnings: dict[str, list[str]]

    def copy(self, folder: Path) -> Store:
        """A store of one's own with the same content."""
        return Store(shutil.copytree(self.store.root, folder / "store"))


def train_all(folder: Path) -> Trained:
    """Trains the three heads on photos of which some are broken."""
    source, store = write_photos(folder / "photos"), Store(folder / "store")
    save_tiny(store)
    jobs = {
        "weapon": config(source, "weapon", "gun"),
        "cash": config(source, "cash", "cash", model=ON_TRUNK),
        "cup": config(source, "cup", "cup", model=ON_TRUNK),
    }
    warnings: dict[str, list[str]] = {name: [] for name in jobs}
    heads = {name: train_head(job, store, warn=warnings[name].append) for name, job in jobs.items()}
    return Trained(store, source, heads, warnings)


def write_photos(folder: Path, count: int = COUNT, first: int = 0, broken: bool = True) -> str:
    """Writes `count` photos of each label, a folder a label, and returns their address, `folder:PATH`."""
    for label, colour in COLOURS.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            photo(number, colour).save(folder / label / f"{number:03d}.png")
    if broken:
        whole = (folder / "gun" / f"{first:03d}.png").read_bytes()
        files = {"empty.png": b"", "text.jpg": b"no photo", "truncated.png": whole[: len(whole) // 2]}
        for name, content in files.items():
            (folder / "gun" / name).write_bytes(content)
    return f"folder:{folder}"


def photo(number: int, colour: tuple[int, int, int]) -> Image.Image:
    """A thing of that colour before coarse noise, so that no two photos are near-identical."""
    noise = np.random.default_rng([number, *colour]).integers(0, 256, (5, 6, 3), np.uint8)
    noise[1:4, 1:4] = (noise[1:4, 1:4] + np.array(colour)) // 2
    return Image.fromarray(noise).resize((48, 40))


def config(source: str, name: str = "weapon", label: str = "gun", **sections: dict[str, Any]) -> Config:
    """The small job's config; `sections` change values of it."""
    tables: dict[str, dict[str, Any]] = {
        "class": {"name": name, "positive": [label]},
        "data": {"source": source, "workers": 0},
        "model": {"architecture": TINY.name, "width": TINY.width, "depth": TINY.depth, "size": SIZE},
        "train": {"epochs": 2, "steps_per_epoch": 4, "batch": 16, "average": 0.5, "learning_rate": 3e-3},
        "evaluate": {"bootstrap": 50},
    }
    return parse_config({key: table | sections.get(key, {}) for key, table in tables.items()}, "small job")


def save_tiny(store: Store) -> None:
    """Publishes random weights as `weights/tiny`."""
    preprocessing = Preprocessing(SIZE, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    save(store.root, "tiny", Weights(TINY, preprocessing, variables(Network(TINY), 0), "random"))


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
