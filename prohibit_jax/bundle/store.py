"""The folder that holds everything that lasts: heads by class and version, trunks by hash, and what training keeps.

Heads and trunks are immutable. Nothing is used that was not hashed first: the bytes whose SHA-256 fits the card are the
bytes that become arrays, and the format (safetensors) can hold nothing that runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from etils import epath
from safetensors import SafetensorError
from safetensors.numpy import load, save

from prohibit_jax.bundle.card import SHA256, Card
from prohibit_jax.files import is_local, publish_file, publish_numbered, read_file
from prohibit_jax.models.network import Network, check_variables
from prohibit_jax.types import CLASS_NAME, HeadRef, InputError, Variables, check_name

CARD_LIMIT = 16 * 2**20  # bytes
PARAMS_LIMIT = 2 * 2**30
VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Head:
    """A head: `ref` with its version, the card, and the variables of `card.network()` on the host."""

    ref: HeadRef
    card: Card
    variables: Variables
    card_sha256: str = ""  # of the card's file, if it was read from one


class Store:
    """A store's folder or object-store address, which need not exist before something is published."""

    def __init__(self, root: epath.PathLike) -> None:
        self.root = epath.Path(root)
        self.heads = self.root / "heads"
        self.trunks = self.root / "trunks"
        self.weights = self.root / "weights"
        self.bundles = self.root / "bundles"
        self.runs = self.root / "runs"
        self.cache = self.root / "cache"

    def classes(self) -> tuple[str, ...]:
        """The classes that have a version, sorted."""
        if not self.heads.is_dir():
            return ()
        names = [path.name for path in self.heads.iterdir() if CLASS_NAME.fullmatch(path.name)]
        return tuple(sorted(name for name in names if self.versions(name)))

    def versions(self, name: str) -> tuple[int, ...]:
        """The published versions of a class, ascending."""
        folder = self.heads / name
        if not folder.is_dir():
            return ()
        numbered = [path for path in folder.iterdir() if VERSION.fullmatch(path.name)]
        return tuple(sorted(int(path.name) for path in numbered if is_local(path) or (path / "card.json").exists()))

    def resolve(self, ref: HeadRef | str) -> HeadRef:
        """The reference with its version, the latest by default. Raises InputError if there is no such head."""
        ref = HeadRef.parse(ref) if isinstance(ref, str) else ref
        versions = self.versions(check_name(ref.name))
        if not versions:
            have = ", ".join(self.classes()) or "none"
            raise InputError(f"head {ref}: no class {ref.name!r} in {self.root} (it has {have}); train it first")
        if ref.version is not None and ref.version not in versions:
            have = ", ".join(map(str, versions))
            raise InputError(f"head {ref}: {ref.name} has no version {ref.version} in {self.root} (it has {have})")
        return HeadRef(ref.name, ref.version or versions[-1])

    def publish_head(self, card: Card, variables: Variables) -> HeadRef:
        """Publishes the next version of the card's class; two processes at once get two versions.

        Args:
            card: complete but for version, params_sha256 and created, which are filled here.
            variables: exactly those of `card.network()`, finite.

        Raises InputError where the card or the variables would be refused on reading.
        """
        source = f"head {card.name}"
        if card.trunk and not self._trunk_path(card.trunk.sha256).exists():
            raise InputError(f"{source}: its trunk {card.trunk.sha256} is not in {self.trunks}; publish it first")
        params = _encode(card.network(), variables, source)
        digest = hashlib.sha256(params).hexdigest()
        draft = replace(card, params_sha256=digest, created=datetime.now(UTC).isoformat(timespec="seconds"))
        Card.from_json(replace(draft, version=1).to_json(), source)
        number = publish_numbered(
            self.heads / card.name,
            max(self.versions(card.name), default=0) + 1,
            {
                "params.safetensors": lambda n: params,
                "card.json": lambda n: replace(draft, version=n).to_json().encode(),
            },
        )
        return HeadRef(card.name, number)

    def read_card(self, ref: HeadRef | str) -> Card:
        """The card of a head. Raises InputError if it is missing, damaged or another head's."""
        return self._read_card(self.resolve(ref))[0]

    def read_head(self, ref: HeadRef | str, *, sha256: str = "", card_sha256: str = "") -> Head:
        """A head with its hash and shapes verified, and where given also against the hashes that a bundle pins.

        Raises InputError in one line if any of it is missing, damaged or foreign.
        """
        ref = self.resolve(ref)
        card, found = self._read_card(ref)
        path = self._folder(ref) / "params.safetensors"
        if card_sha256 and found != card_sha256:
            raise InputError(f"{self._folder(ref) / 'card.json'}: not the file that was bundled (SHA-256 {found})")
        if sha256 and card.params_sha256 != sha256:
            raise InputError(f"{path}: not the file that was bundled (SHA-256 {card.params_sha256})")
        return Head(ref, card, _read_params(path, card.params_sha256, card.network()), found)

    def read_whole(self, ref: HeadRef | str, *, sha256: str = "", card_sha256: str = "") -> Head:
        """As `read_head`, and its trunk, if it has one, is verified too: what is to serve."""
        head = self.read_head(ref, sha256=sha256, card_sha256=card_sha256)
        if head.card.trunk:
            self.read_trunk(head.card.trunk.sha256, head.card.trunk_network())
        return head

    def publish_trunk(self, variables: Variables) -> str:
        """Publishes a trunk's variables under the SHA-256 of their file, which it returns; the same ones only once."""
        data = save({name: np.ascontiguousarray(array, np.float32) for name, array in sorted(variables.items())})
        digest = hashlib.sha256(data).hexdigest()
        if not self._trunk_path(digest).exists():
            publish_file(self._trunk_path(digest), data)
        return digest

    def read_trunk(self, sha256: str, network: Network | None = None) -> dict[str, np.ndarray]:
        """A trunk's variables, verified by hash and, where `network` is given, by shape. Raises InputError."""
        if not SHA256.fullmatch(sha256):
            raise InputError(f"trunk {sha256!r}: not a SHA-256")
        return _read_params(self._trunk_path(sha256), sha256, network)

    def _folder(self, ref: HeadRef) -> epath.Path:
        return self.heads / ref.name / str(ref.version)

    def _trunk_path(self, sha256: str) -> epath.Path:
        return self.trunks / f"{sha256}.safetensors"

    def _read_card(self, ref: HeadRef) -> tuple[Card, str]:
        path = self._folder(ref) / "card.json"
        data = read_file(path, CARD_LIMIT)
        card = Card.from_json(data, str(path))
        if (card.name, card.version) != (ref.name, ref.version):
            raise InputError(f"{path}: is the card of {card.name}@{card.version}, not of {ref}")
        return card, hashlib.sha256(data).hexdigest()


def open_store(store: Store | epath.PathLike) -> Store:
    """`store` itself, or the store at that path."""
    return store if isinstance(store, Store) else Store(store)


def _encode(network: Network, variables: Variables, source: str) -> bytes:
    check_variables(network, variables, source)
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in sorted(variables.items())}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"{source}: {name} is not finite; train again at a lower train.learning_rate")
    return save(arrays)


def _read_params(path: epath.Path, sha256: str, network: Network | None) -> dict[str, np.ndarray]:
    data = read_file(path, PARAMS_LIMIT)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise InputError(f"{path}: damaged or replaced: its SHA-256 is {found}, published was {sha256}")
    try:
        variables: Mapping[str, np.ndarray] = load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from None
    if network is not None:
        check_variables(network, variables, str(path))
    for name, array in variables.items():
        if array.dtype != np.float32:
            raise InputError(f"{path}: {name} is {array.dtype}, must be float32")
    return dict(variables)
