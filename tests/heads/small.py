"""A small job: photos of three labels that a narrow, shallow network tells apart, and the config that trains on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from prohibit_jax.config import Config, parse_config

COLOURS = {"gun": (60, 60, 200), "cash": (60, 180, 60), "cup": (150, 120, 110)}


def write_photos(folder: Path, count: int, first: int = 0) -> str:
    """Writes `count` photos of each label, folder by folder, and returns the source's address: `folder:...`."""
    for label, colour in COLOURS.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            rng = np.random.default_rng([number, *colour])
            photo = rng.integers(0, 256, (5, 6, 3), np.uint8)  # coarse, so that no two are near-identical
            photo[1:4, 1:4] = (photo[1:4, 1:4] + np.array(colour)) // 2
            Image.fromarray(photo).resize((48, 40)).save(folder / label / f"{number:03d}.png")
    return f"folder:{folder}"


def config(source: str, name: str = "weapon", label: str = "gun", **sections: dict[str, Any]) -> Config:
    """A config of the small job; `sections` change single values of it."""
    tables: dict[str, dict[str, Any]] = {
        "class": {"name": name, "positive": [label]},
        "data": {"source": source, "workers": 0},
        "model": {"architecture": "efficientnet_lite0", "width": 0.25, "depth": 0.25, "size": 32},
        "train": {"epochs": 2, "steps_per_epoch": 4, "batch": 16, "average": 0.5, "learning_rate": 3e-3},
        "evaluate": {"bootstrap": 50},
    }
    return parse_config({key: table | sections.get(key, {}) for key, table in tables.items()}, "test")
