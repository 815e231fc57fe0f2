"""A bundle: a lock file that pins which head versions serve together, one line a head.

```
{"schema": 1, "heads": [
  {"class": "weapon", "version": 3, "sha256": "…", "card_sha256": "…"}
]}
```

`sha256` is that of the head's params.safetensors, `card_sha256` that of its card.json, which in turn names the trunk's:
together they fix every score. Where a line gives no `card_sha256`, the card goes unpinned. Replacing a head changes one
line; the former files stay as bundles/history/NAME/<n>.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from etils import epath

from prohibit_jax.bundle.card import SCHEMA, SHA256, check_schema, parse_json
from prohibit_jax.bundle.store import Head, Store
from prohibit_jax.files import hold, is_local, publish_file, read_file
from prohibit_jax.types import RESERVED, HeadRef, InputError, check_name

LOCK_LIMIT = 16 * 2**20  # bytes
PATIENCE = 60.0  # seconds to wait for another process's change, which takes as long as reading its heads
FIELDS = ("class", "version", "sha256", "card_sha256")


@dataclass(frozen=True)
class Pin:
    """A line of a lock file: a head's version, and the hashes of its two files."""

    ref: HeadRef
    sha256: str
    card_sha256: str = ""

    @classmethod
    def of(cls, head: Head) -> Pin:
        """The pin of a published head. Raises InputError where it is one network of several classes."""
        if head.card.classes:
            several = f"one network of {len(head.card.classes)} classes"
            raise InputError(f"head {head.ref}: {several}, which no bundle holds; judge it with launch evaluate")
        return cls(head.ref, head.card.params_sha256, head.card_sha256)

    def line(self) -> dict[str, str | int | None]:
        """What the lock file says of the head."""
        line = {"class": self.ref.name, "version": self.ref.version, "sha256": self.sha256}
        return line | {"card_sha256": self.card_sha256} if self.card_sha256 else line


@dataclass(frozen=True)
class Bundle:
    """Heads that serve together, in the order of the scores' columns."""

    name: str
    pins: tuple[Pin, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(pin.ref.name for pin in self.pins)

    @property
    def sha256(self) -> str:
        """Of the lock file's text: equal bundles score equally."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The lock file's text, a line a head."""
        lines = ",\n".join(f"  {json.dumps(pin.line())}" for pin in self.pins)
        return f'{{"schema": {SCHEMA}, "heads": [\n{lines}\n]}}\n'


def make_bundle(store: Store, name: str, refs: Sequence[HeadRef | str] | None = None) -> Bundle:
    """Writes `bundles/NAME.json` with these heads, in this order; by default every class's latest, sorted by class,
    but for networks of several classes.

    Raises InputError if there is none, two are of one class, or any cannot be served: damaged, unknown, without its
    trunk, or named like a column of the score table. The former file, if any, is kept in the history.
    """
    check_name(name, "bundle")
    resolved = [store.resolve(ref) for ref in (servable(store) if refs is None else refs)]
    if not resolved:
        raise InputError(f"bundle {name}: no heads; train a class first (launch train), store {store.root}")
    bundle = Bundle(name, tuple(Pin.of(store.read_whole(ref)) for ref in resolved))
    check_bundle(bundle, f"bundle {name}")
    with hold_bundles(store):
        write_bundle(store, bundle)
    return bundle


def write_bundle(store: Store, bundle: Bundle) -> None:
    """Publishes a lock file whose heads were verified; the former file, if any, is kept in the history."""
    name = bundle.name
    path, text = store.bundles / f"{name}.json", bundle.to_json().encode()
    former = read_file(path, LOCK_LIMIT) if path.exists() else None
    if former not in (None, text):
        _keep(store.bundles / "history" / name, former)
    publish_file(path, text)


@contextmanager
def hold_bundles(store: Store) -> Iterator[None]:
    """Keeps every other process from changing a bundle meanwhile, and waits for one that is at it.

    Raises InputError if that takes longer than `PATIENCE` seconds. An object store has no locks, so none is held there.
    """
    folder = store.bundles
    if not is_local(folder):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle, begun = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), time.monotonic()
    try:
        while True:
            try:
                hold(handle, Path(folder), f"{folder}: another release is in hand; wait for it")
                break
            except InputError:
                if time.monotonic() - begun > PATIENCE:
                    raise
            time.sleep(0.1)
        yield
    finally:
        os.close(handle)


def servable(store: Store) -> list[str]:
    """Every class that a bundle can hold, sorted: all but those whose latest version is a network of several."""
    return [name for name in store.classes() if not store.read_card(name).classes]


def read_bundle(store: Store, name: str) -> Bundle:
    """The bundle of that name. Raises InputError in one line if it is missing or any field of it is wrong."""
    path = store.bundles / f"{check_name(name, 'bundle')}.json"
    if not path.exists():
        have = ", ".join(sorted(p.stem for p in store.bundles.glob("*.json"))) if store.bundles.is_dir() else ""
        raise InputError(f"{path}: no such bundle (there is {have or 'none'}); make it with launch bundle --out {name}")
    return _parse(name, read_file(path, LOCK_LIMIT), str(path))


def only_bundle(store: Store) -> str:
    """The name of the store's one bundle. Raises InputError where there is none, or a choice."""
    names: list[str] = sorted(path.stem for path in store.bundles.glob("*.json")) if store.bundles.is_dir() else []
    if len(names) != 1:
        have = f"one of {', '.join(names)}" if names else f"{store.bundles} has none; make it with launch bundle"
        raise InputError(f"--bundle: name the bundle, {have}")
    return names[0]


def _parse(name: str, text: bytes, source: str) -> Bundle:
    content = parse_json(text, source)
    check_schema(content, source)
    lines = content.get("heads")
    if content.keys() != {"schema", "heads"} or not isinstance(lines, list):
        raise InputError(f"{source}: must hold schema and heads, a list")
    bundle = Bundle(name, tuple(_pin(line, f"{source}: heads[{i}]") for i, line in enumerate(lines)))
    check_bundle(bundle, source)
    return bundle


def _pin(line: object, where: str) -> Pin:
    if not isinstance(line, dict) or not set(FIELDS[:3]) <= line.keys() <= set(FIELDS):
        raise InputError(f"{where}: must hold class, version, sha256 and, at most, card_sha256")
    version = line["version"]
    if type(version) is not int or version < 1:
        raise InputError(f"{where}: version is {version!r}, must be a whole number from 1")
    for field in FIELDS[2:]:
        if field in line and not (isinstance(line[field], str) and SHA256.fullmatch(line[field])):
            raise InputError(f"{where}: {field} is {line[field]!r}, must be 64 hexadecimal digits")
    try:
        name = check_name(str(line["class"]))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Pin(HeadRef(name, version), line["sha256"], line.get("card_sha256", ""))


def check_bundle(bundle: Bundle, source: str) -> None:
    """Raises InputError, naming `source`, unless there are heads, one a class, none named like a column of a table."""
    if not bundle.pins:
        raise InputError(f"{source}: no heads")
    for name in bundle.classes:
        if bundle.classes.count(name) > 1:
            raise InputError(f"{source}: two heads of class {name}; give one version of it")
        if name in RESERVED:
            raise InputError(f"{source}: a class may not be named {name}, which is a column of every score table")


def _keep(folder: epath.Path, former: bytes) -> None:
    numbers = [int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit()] if folder.is_dir() else []
    n = max(numbers, default=0) + 1
    while True:
        try:
            publish_file(folder / f"{n}.json", former, overwrite=False)
            return
        except FileExistsError:
            n += 1
