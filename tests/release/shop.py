"""A store to release from: three versions of `weapon`, two of `cash`, one of `blade` and `cup`, and a bundle `prod`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from prohibit_jax.bundle.lock import make_bundle, read_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.models.network import Network
from tests.bundle.twin import TWIN, card, variables
from tests.heads.small import config, write_photos

LABELS = {"weapon": "gun", "cash": "cash", "blade": "cup", "cup": "cup"}
PHOTOS = 12  # of each label


@dataclass(frozen=True)
class Shop:
    """The store and the address of its labelled photos."""

    store: Store
    source: str

    def serving(self, bundle: str = "prod") -> list[str]:
        """The heads of the bundle, as weapon@1, in its order."""
        return [str(pin.ref) for pin in read_bundle(self.store, bundle).pins]

    def files(self) -> dict[str, bytes]:
        """Every file of the store's bundles and releases, but for what is cached."""
        files = [path for path in Path(self.store.root).rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in files if path.suffix == ".json" and "cache" not in path.parts}


def open_shop(folder: Path) -> Shop:
    """Publishes the heads, whose numbers are random, and bundles weapon@1, cash@1 and blade@1."""
    source, store = write_photos(folder / "photos", PHOTOS, broken=False), Store(folder / "store")
    for seed, name in enumerate(("weapon", "cash", "blade", "weapon", "cash", "weapon", "cup")):
        own = config(source, name, LABELS[name], data={"test": 0.5}).model_dump(mode="json", by_alias=True)
        store.publish_head(replace(card(name), config=own), variables(Network(TWIN), seed))
    make_bundle(store, "prod", ["weapon@1", "cash@1", "blade@1"])
    return Shop(store, source)


def damage(shop: Shop, head: str) -> Path:
    """Changes a bit of the head's parameters; returns their path."""
    name, version = head.split("@")
    path = Path(shop.store.heads / name / version / "params.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path
