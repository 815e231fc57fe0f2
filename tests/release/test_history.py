"""Entries and the lock file come together or not at all, whenever a process is killed; what served before is known."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from prohibit_jax.bundle import lock
from prohibit_jax.bundle.lock import Pin, make_bundle, read_bundle
from prohibit_jax.release import history
from prohibit_jax.release.history import Entry, Gate, History
from prohibit_jax.types import InputError
from tests.release.shop import Shop, damage, open_shop
from tests.waiting import TIMEOUT

GATE = Gate("quality", False, "-0.1", "from -0.02 up", {"low": -0.1})


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path)


def entry(action: str, old: str | None, new: str | None, name: str = "weapon") -> Entry:
    return Entry(action, "prod", name, old, new, "ada", "2026-01-02T03:04:05+00:00", "better", (GATE,))  # type: ignore[arg-type]


def release(shop: Shop, *heads: str, action: str = "promote") -> tuple[Entry, ...]:
    """Puts these heads in the place of their classes' former ones."""
    found = History(shop.store, "prod")
    with found.locked():
        pins = {pin.ref.name: pin for pin in read_bundle(shop.store, "prod").pins}
        drafts = []
        for head in heads:
            new = Pin.of(shop.store.read_head(head))
            old = str(pins[new.ref.name].ref) if new.ref.name in pins else None
            drafts.append(entry(action, old, head, new.ref.name))
            pins[new.ref.name] = new
        return found.release(list(pins.values()), drafts)


def before(shop: Shop, head: str) -> str | None:
    pin = History(shop.store, "prod").before(Pin.of(shop.store.read_head(head)))
    return pin and str(pin.ref)


def test_an_entry_is_a_file_that_says_all(shop: Shop) -> None:
    (made,) = release(shop, "weapon@2")
    path = Path(shop.store.root / "releases" / "prod" / "1.json")
    assert json.loads(path.read_text()) == {
        "schema": 1,
        "action": "promote",
        "bundle": "prod",
        "class": "weapon",
        "from": "weapon@1",
        "to": "weapon@2",
        "who": "ada",
        "when": "2026-01-02T03:04:05+00:00",
        "why": "better",
        "gates": [
            {
                "gate": "quality",
                "passed": False,
                "found": "-0.1",
                "demanded": "from -0.02 up",
                "figures": {"low": -0.1},
            }
        ],
        "bundle_sha256": read_bundle(shop.store, "prod").sha256,
    }
    assert History(shop.store, "prod").entries() == (made,)
    assert (made.number, made.overridden) == (1, ("quality",))
    assert sorted(file.name for file in path.parent.iterdir()) == ["1.json"]


def test_the_others_keep_their_lines_and_places(shop: Shop) -> None:
    lock = Path(shop.store.bundles / "prod.json")
    lines = lock.read_text().splitlines()
    release(shop, "cash@2")
    changed = [(old, new) for old, new in zip(lines, lock.read_text().splitlines(), strict=True) if old != new]
    assert len(changed) == 1
    assert '"cash", "version": 2' in changed[0][1]


def test_releases_of_one_change_are_numbered_and_name_one_bundle(shop: Shop) -> None:
    release(shop, "weapon@2")
    both = release(shop, "weapon@3", "cash@2")
    assert [each.number for each in both] == [2, 3]
    assert len({each.bundle_sha256 for each in both}) == 1
    assert [each.new for each in History(shop.store, "prod").entries()] == ["weapon@2", "weapon@3", "cash@2"]
    assert History(shop.store, "other").entries() == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema is 2"),
        ({"why": None}, "why is null"),
        ({"action": "demote"}, "action is"),
        ({"colour": 1}, "colour is not a known field"),
        ({"gates": [{"gate": "quality"}]}, "gates: passed is missing"),
    ],
)
def test_a_wrong_entry_is_named_in_one_line(shop: Shop, changes: dict[str, object], message: str) -> None:
    release(shop, "weapon@2")
    path = Path(shop.store.root / "releases" / "prod" / "1.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=message) as raised:
        History(shop.store, "prod").entries()
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


# What served before


def test_each_rollback_goes_one_release_further_back(shop: Shop) -> None:
    release(shop, "weapon@2")
    release(shop, "cash@2")
    release(shop, "weapon@3")
    assert before(shop, "weapon@3") == "weapon@2"
    release(shop, "weapon@2", action="rollback")
    assert before(shop, "weapon@2") == "weapon@1"
    release(shop, "weapon@1", action="rollback")
    with pytest.raises(InputError, match="nothing is known to have served before weapon@1 in bundle prod"):
        before(shop, "weapon@1")
    release(shop, "weapon@3")
    assert before(shop, "weapon@3") == "weapon@1"
    assert before(shop, "cash@2") == "cash@1"


def test_before_a_class_was_added_nothing_served(shop: Shop) -> None:
    release(shop, "cup@1")
    assert before(shop, "cup@1") is None


def test_where_no_release_tells_the_former_lock_files_do(shop: Shop) -> None:
    with pytest.raises(InputError, match="nothing is known"):
        before(shop, "weapon@1")
    make_bundle(shop.store, "prod", ["weapon@2", "cash@1"])
    make_bundle(shop.store, "prod", ["weapon@2", "cash@2"])
    make_bundle(shop.store, "prod", ["weapon@3", "cash@2"])
    assert before(shop, "weapon@3") == "weapon@2"
    release(shop, "weapon@2", action="rollback")
    assert before(shop, "weapon@2") == "weapon@1"  # not the 3 that was just left, whose lock file is newer
    release(shop, "weapon@1", action="rollback")
    with pytest.raises(InputError, match="nothing is known"):
        before(shop, "weapon@1")


def test_a_bundle_made_by_hand_between_releases_counts(shop: Shop) -> None:
    release(shop, "weapon@2")
    make_bundle(shop.store, "prod", ["weapon@3", "cash@1", "blade@1"])
    assert before(shop, "weapon@3") == "weapon@2"
    release(shop, "weapon@2", action="rollback")
    assert before(shop, "weapon@2") == "weapon@1"  # by the release that made it serve


def test_a_head_is_put_back_only_as_it_was_pinned(shop: Shop) -> None:
    release(shop, "weapon@2")
    found = History(shop.store, "prod")
    pin = found.before(Pin.of(shop.store.read_head("weapon@2")))
    assert pin == Pin.of(shop.store.read_head("weapon@1"))
    files = shop.files()
    path = damage(shop, "weapon@1")
    with found.locked(), pytest.raises(InputError, match=f"{path}: damaged"):
        found.release([pin], [entry("rollback", "weapon@2", "weapon@1")])
    with found.locked(), pytest.raises(InputError, match="not the file that was bundled"):
        found.release([replace(Pin.of(shop.store.read_head("cash")), sha256="0" * 64)], [])
    assert shop.files() == files


# Kills


class Killed(BaseException):
    """As `kill -9`: nobody catches it."""


def killing(*_: object, **__: object) -> None:
    raise Killed


def test_killed_before_the_lock_file_nothing_has_happened(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Path(shop.store.bundles / "prod.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(history, "write_bundle", killing)
        with pytest.raises(Killed):
            release(shop, "weapon@2")
    assert Path(shop.store.bundles / "prod.json").read_bytes() == lock
    assert History(shop.store, "prod").entries() == ()
    (made,) = release(shop, "weapon@3")
    assert (made.number, made.old) == (1, "weapon@1")
    assert History(shop.store, "prod").entries() == (made,)


@pytest.mark.parametrize("written", [0, 1])
def test_killed_after_the_lock_file_all_has_happened(shop: Shop, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    publish, entries = history.publish_file, []

    def fatal(path: Path, data: bytes, *, overwrite: bool = True) -> None:
        if not overwrite:
            if len(entries) == written:
                raise Killed
            entries.append(path)
        publish(path, data, overwrite=overwrite)

    with monkeypatch.context() as patch:
        patch.setattr(history, "publish_file", fatal)
        with pytest.raises(Killed):
            release(shop, "weapon@2", "cash@2")
    assert shop.serving() == ["weapon@2", "cash@2", "blade@1"]
    found = History(shop.store, "prod").entries()
    assert [(each.number, each.new) for each in found] == [(1, "weapon@2"), (2, "cash@2")]
    assert before(shop, "cash@2") == "cash@1"
    release(shop, "weapon@3")
    after = History(shop.store, "prod").entries()
    assert after[:2] == found
    assert [(each.number, each.old) for each in after[2:]] == [(3, "weapon@2")]


def test_the_same_release_killed_once_is_there_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    release(shop, "weapon@2")
    release(shop, "weapon@1", action="rollback")  # so that a lock file with weapon@2 was there before
    with monkeypatch.context() as patch:
        patch.setattr(history, "write_bundle", killing)
        with pytest.raises(Killed):
            release(shop, "weapon@2")
    assert len(History(shop.store, "prod").entries()) == 2
    release(shop, "weapon@2")
    assert [each.number for each in History(shop.store, "prod").entries()] == [1, 2, 3]


def test_a_bundle_by_hand_after_a_kill_forgets_no_release(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = history.publish_file

    def fatal(path: Path, data: bytes, *, overwrite: bool = True) -> None:
        if not overwrite:
            raise Killed
        publish(path, data, overwrite=overwrite)

    with monkeypatch.context() as patch:
        patch.setattr(history, "publish_file", fatal)
        with pytest.raises(Killed):
            release(shop, "weapon@2")
    make_bundle(shop.store, "prod", ["weapon@3", "cash@1", "blade@1"])
    assert [each.new for each in History(shop.store, "prod").entries()] == ["weapon@2"]
    release(shop, "cash@2")
    assert [each.new for each in History(shop.store, "prod").entries()] == ["weapon@2", "cash@2"]


def test_what_is_pending_and_damaged_is_named(shop: Shop) -> None:
    release(shop, "weapon@2")
    path = Path(shop.store.root / "releases" / "prod" / "pending.json")
    path.write_text('{"schema": 1, "first": 2, "entries": [3]}')
    with pytest.raises(InputError, match=f"^{path}: damaged"):
        History(shop.store, "prod").entries()


# Several at once


def test_releases_at_once_wait_for_each_other(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", TIMEOUT)
    heads = ["weapon@2", "cash@2", "cup@1"]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda head: release(shop, head), heads))
    assert shop.serving() == ["weapon@2", "cash@2", "blade@1", "cup@1"]
    entries = History(shop.store, "prod").entries()
    assert [each.number for each in entries] == [1, 2, 3]
    assert sorted(each.new for each in entries if each.new) == sorted(heads)


def test_whoever_waits_too_long_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.0)
    found = History(shop.store, "prod")
    with found.locked(), pytest.raises(InputError, match="another release is in hand"):
        release(shop, "weapon@2")
    release(shop, "weapon@2")


def test_no_version_that_was_rolled_back_comes_again(shop: Shop) -> None:
    for head in ("weapon@2", "weapon@3"):
        release(shop, head)
        release(shop, "weapon@1", action="rollback")
    with pytest.raises(InputError, match="nothing is known to have served before weapon@1"):
        before(shop, "weapon@1")


def test_after_a_lock_file_by_hand_the_chain_goes_on_from_there(shop: Shop) -> None:
    release(shop, "weapon@2")
    release(shop, "weapon@3")
    make_bundle(shop.store, "prod", ["weapon@2", "cash@1", "blade@1"])
    assert before(shop, "weapon@2") == "weapon@1"


def test_a_former_lock_file_that_is_damaged_is_passed_over(shop: Shop) -> None:
    make_bundle(shop.store, "prod", ["weapon@2", "cash@1", "blade@1"])
    (Path(shop.store.bundles) / "history" / "prod" / "9.json").write_text('{"schema": 1, "hea')
    assert before(shop, "weapon@2") == "weapon@1"


def test_another_head_that_is_damaged_does_not_keep_a_release_back(shop: Shop) -> None:
    damage(shop, "cash@1")
    release(shop, "weapon@2")
    assert shop.serving() == ["weapon@2", "cash@1", "blade@1"]
