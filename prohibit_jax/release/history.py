"""Who released which head, when and why; and what served before.

Every change of a bundle by `launch promote`, `merge` and `rollback` is an entry, `releases/NAME/<n>.json`, of schema 1
with all fields of `Entry` (`class`, `from` and `to` are its name, old and new). The lock file and the entries are
several files, of which a killed process may leave some. So `pending.json` is written first, then the lock file, then
the entries: what is pending has come to pass if the lock file, or one that it has replaced since, is the one that it
names, else it never did.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from etils import epath

from prohibit_jax.bundle.card import SCHEMA, check_schema, parse_json, read_record
from prohibit_jax.bundle.lock import LOCK_LIMIT, Bundle, Pin, check_bundle, hold_bundles, read_bundle, write_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.files import publish_file, read_file
from prohibit_jax.types import HeadRef, InputError, check_name

LIMIT = 2**20  # bytes of an entry, or of those of one change
PENDING = "pending.json"
NAMES = {"class": "name", "from": "old", "to": "new"}
"""What files call the fields that Python, or clarity, wants otherwise."""


@dataclass(frozen=True)
class Gate:
    """What was demanded of a new version, and what was found."""

    gate: str
    passed: bool
    found: str
    demanded: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """The release of one class; those of one change have one `bundle_sha256`."""

    action: Literal["promote", "merge", "rollback"]
    bundle: str
    name: str
    old: str | None  # as weapon@3; None: the class was not in the bundle
    new: str | None  # None: it was taken out
    who: str
    when: str  # ISO 8601, UTC
    why: str
    gates: tuple[Gate, ...] = ()
    bundle_sha256: str = ""  # of the lock file that came of it
    number: int = 0

    @property
    def overridden(self) -> tuple[str, ...]:
        """The gates that it did not pass."""
        return tuple(gate.gate for gate in self.gates if not gate.passed)

    def to_json(self) -> dict[str, Any]:
        """The file's content; the file's name is the number."""
        content = asdict(self)
        del content["number"]
        files = {ours: theirs for theirs, ours in NAMES.items()}
        return {"schema": SCHEMA, **{files.get(key, key): value for key, value in content.items()}}

    @classmethod
    def from_json(cls, content: dict[str, Any], number: int, source: str) -> Entry:
        """Raises InputError that names `source` and the field."""
        check_schema(content, source)
        fields = {NAMES.get(key, key): value for key, value in content.items() if key != "schema"}
        return read_record(cls, {**fields, "number": number}, source)


class History:
    """The releases of a bundle."""

    def __init__(self, store: Store, bundle: str) -> None:
        self.store = store
        self.bundle = check_name(bundle, "bundle")
        self.folder = store.root / "releases" / bundle
        self._former = store.bundles / "history" / bundle  # lock files, 1, 2, …

    def entries(self) -> tuple[Entry, ...]:
        """Every release, oldest first, even one whose process was killed between the lock file and the entry."""
        numbered = {number: self._read(number) for number in _numbers(self.folder)}
        return tuple((numbered | {entry.number: entry for entry in self._come()}).values())

    def before(self, pin: Pin) -> Pin | None:
        """What served in the class's place before its latest release, of which `pin` came; None: nothing, it was added.

        Where no release made it serve, as in a bundle of `launch bundle`: the newest former lock file with another
        version knows, of those versions that no rollback has left behind. Raises InputError where there is none.
        """
        name, now = pin.ref.name, str(pin.ref)
        releases = [entry for entry in self.entries() if entry.name == name]
        promoted: list[Entry] = []
        for entry in releases:
            if entry.action != "rollback":
                promoted.append(entry)
            elif promoted and promoted[-1].new == entry.old:
                promoted.pop()
        if any(entry.new == now for entry in promoted):
            while promoted[-1].new != now:  # a lock file by hand went back so far
                promoted.pop()
        if promoted and promoted[-1].new == now:
            old = promoted[-1].old
            return None if old is None else self._pin(HeadRef.parse(old))
        left = {now} | {entry.old for entry in releases if entry.action == "rollback" and entry.old is not None}
        for former in self._formers(name):
            if str(former.ref) not in left:
                return former
        raise InputError(f"class {name}: nothing is known to have served before {pin.ref} in bundle {self.bundle}")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps everyone else from a release meanwhile, and waits for one that is in hand.

        Raises InputError if that takes longer than `lock.PATIENCE` seconds. An object store has no locks: release from
        one place at a time there.
        """
        with hold_bundles(self.store):
            yield

    def release(self, pins: Sequence[Pin], drafts: Sequence[Entry]) -> tuple[Entry, ...]:
        """Writes the lock file with these pins, and the entries with their numbers and its hash; call it while locked.

        Raises InputError, with nothing changed, where a head that is new in it is not, to the byte, what its pin says.
        """
        self._settle()
        serving = set(read_bundle(self.store, self.bundle).pins)
        bundle = Bundle(self.bundle, tuple(pin if pin in serving else self._whole(pin) for pin in pins))
        check_bundle(bundle, f"bundle {self.bundle}")
        first = max(_numbers(self.folder), default=0) + 1
        numbered = enumerate(drafts, first)
        entries = tuple(replace(draft, number=n, bundle_sha256=bundle.sha256) for n, draft in numbered)
        drafted = [entry.to_json() for entry in entries]
        former = max(_numbers(self._former), default=0)
        pending = {"schema": SCHEMA, "first": first, "former": former, "entries": drafted}
        publish_file(self.folder / PENDING, _text(pending))
        write_bundle(self.store, bundle)
        self._settle()
        return entries

    def _settle(self) -> None:
        """Publishes what is pending if it has come to pass, and forgets it."""
        for entry in self._come():
            with suppress(FileExistsError):  # the process was killed between two entries
                publish_file(self.folder / f"{entry.number}.json", _text(entry.to_json()), overwrite=False)
        (self.folder / PENDING).unlink(missing_ok=True)

    def _come(self) -> tuple[Entry, ...]:
        """What is pending, if it has come to pass."""
        path = self.folder / PENDING
        try:
            content = parse_json(read_file(path, LIMIT), str(path))
        except InputError:
            if path.exists():
                raise
            return ()
        check_schema(content, str(path))
        drafts, first, former = (content.get(key) for key in ("entries", "first", "former"))
        if (
            not isinstance(drafts, list)
            or not all(isinstance(draft, dict) for draft in drafts)
            or type(first) is not int
            or type(former) is not int
        ):
            raise InputError(f"{path}: damaged; remove it")
        entries = tuple(Entry.from_json(each, n, str(path)) for n, each in enumerate(drafts, first))
        since = {read_bundle(self.store, self.bundle).sha256, *self._replaced(former)}
        return entries if all(entry.bundle_sha256 in since for entry in entries) else ()

    def _replaced(self, former: int) -> Iterator[str]:
        """The hashes of the lock files that were replaced after this one."""
        for number in filter(lambda number: number > former, _numbers(self._former)):
            yield hashlib.sha256(read_file(self._former / f"{number}.json", LOCK_LIMIT)).hexdigest()

    def _read(self, number: int) -> Entry:
        path = self.folder / f"{number}.json"
        return Entry.from_json(parse_json(read_file(path, LIMIT), str(path)), number, str(path))

    def _whole(self, pin: Pin) -> Pin:
        """The pin of a head that is read, trunk included."""
        return Pin.of(self.store.read_whole(pin.ref, sha256=pin.sha256, card_sha256=pin.card_sha256))

    def _pin(self, ref: HeadRef) -> Pin:
        """As a former lock file pinned it; where none is left, as it lies in the store."""
        pins = (pin for pin in self._formers(ref.name) if pin.ref == ref)
        return next(pins, None) or Pin.of(self.store.read_head(ref))

    def _formers(self, name: str) -> Iterator[Pin]:
        """The class's pin in the former lock files that have one, newest first."""
        kept = copy(self.store)
        kept.bundles = self._former  # they are bundles too
        for number in reversed(_numbers(self._former)):
            with suppress(InputError):  # one that was damaged when it was replaced, and is kept as it was
                yield from [pin for pin in read_bundle(kept, str(number)).pins if pin.ref.name == name]


def with_pin(bundle: Bundle, name: str, pin: Pin | None) -> tuple[Pin, ...]:
    """The bundle's pins with this one in the class's place, or last; None takes the class out."""
    pins = {old.ref.name: old for old in bundle.pins} | ({name: pin} if pin else {})
    return tuple(kept for each, kept in pins.items() if pin or each != name)


def author(who: str) -> str:
    """`who`, or the user's login name. Raises InputError where there is neither."""
    try:
        who = who.strip() or getpass.getuser()
    except (KeyError, OSError):  # a user number without a name
        raise InputError("--by: name who does it, for the history") from None
    return _line(who)


def reason(why: str) -> str:
    """`why` in one line. Raises InputError where it says nothing."""
    if not why.strip():
        raise InputError("--why: say in a few words why, for the history")
    return _line(why)


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _line(text: str) -> str:
    return " ".join(text.split())


def _numbers(folder: epath.Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit()) if folder.is_dir() else []


def _text(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
