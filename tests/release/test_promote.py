"""A head is promoted if every gate lets it through, taken back when it has to be, and nothing is lost in between."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from prohibit_jax.bundle import lock
from prohibit_jax.bundle.lock import make_bundle, read_bundle
from prohibit_jax.release import history
from prohibit_jax.release import promote as module
from prohibit_jax.release.history import Gate, History
from prohibit_jax.release.promote import Promotion, promote
from prohibit_jax.release.rollback import rollback
from prohibit_jax.types import InputError
from tests.release.shop import Shop, damage, open_shop
from tests.waiting import TIMEOUT

NAMES = ("quality", "calibration", "budget", "isolation")
Stop = Callable[..., None]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path)


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Has the gates of these names stop whatever comes; tests/release/test_gates.py looks at what they go by."""

    def stopping(*names: str) -> None:
        found = [Gate(name, name not in names, "found", "demanded", {}) for name in NAMES]
        monkeypatch.setattr(module, "judge", lambda *_, **__: tuple(found[:2]))
        monkeypatch.setattr(module, "fit", lambda *_, **__: tuple(found[2:]))

    stopping()
    return stopping


def promoted(shop: Shop, head: str, **options: Any) -> Promotion:
    return promote(head, "prod", shop.source, shop.store, **{"why": "better", "who": "ada", **options})


def back(shop: Shop, *names: str) -> list[tuple[str | None, str | None]]:
    entries = rollback(names, "prod", shop.store, why="worse", who="bob")
    return [(entry.old, entry.new) for entry in entries]


def test_what_passes_every_gate_is_promoted(shop: Shop, stop: Stop) -> None:
    made = promoted(shop, "weapon@2", why=" fewer\n toys ")
    assert shop.serving() == ["weapon@2", "cash@1", "blade@1"]
    assert (str(made.old), str(made.new), made.failed) == ("weapon@1", "weapon@2", ())
    assert [gate.gate for gate in made.gates] == ["head", *NAMES]
    (entry,) = History(shop.store, "prod").entries()
    assert entry == made.entry
    assert (entry.who, entry.why, entry.old, entry.new) == ("ada", "fewer toys", "weapon@1", "weapon@2")
    assert entry.bundle_sha256 == read_bundle(shop.store, "prod").sha256
    assert entry.when.endswith("+00:00")


@pytest.mark.parametrize("name", NAMES)
def test_a_gate_alone_keeps_a_head_out(shop: Shop, stop: Stop, name: str) -> None:
    stop(name)
    files = shop.files()
    made = promoted(shop, "weapon@2")
    assert (made.entry, made.failed) == (None, (name,))
    assert len(made.gates) == 5
    assert shop.files() == files


def test_force_promotes_and_the_history_says_past_what(shop: Shop, stop: Stop) -> None:
    stop("quality", "budget")
    made = promoted(shop, "weapon@2", force=True)
    assert made.failed == ("quality", "budget")
    assert shop.serving()[0] == "weapon@2"
    assert History(shop.store, "prod").entries()[0].overridden == ("quality", "budget")


def test_a_new_class_comes_last_and_is_taken_out_again(shop: Shop, stop: Stop) -> None:
    made = promoted(shop, "cup")  # the latest
    assert (made.old, str(made.new)) == (None, "cup@1")
    assert shop.serving() == ["weapon@1", "cash@1", "blade@1", "cup@1"]
    promoted(shop, "cash@2")
    assert back(shop, "cup") == [("cup@1", None)]
    assert shop.serving() == ["weapon@1", "cash@2", "blade@1"]
    with pytest.raises(InputError, match="class cup: not in bundle prod, which has weapon, cash, blade"):
        back(shop, "cup")
    promoted(shop, "cup")
    assert back(shop, "cup") == [("cup@1", None)]


def test_the_last_class_stays(shop: Shop, stop: Stop) -> None:
    promoted(shop, "cup")
    make_bundle(shop.store, "prod", ["cup"])
    with pytest.raises(InputError, match="bundle prod: it would have no class left"):
        back(shop, "cup")
    assert shop.serving() == ["cup@1"]


def test_rollbacks_go_back_release_by_release(shop: Shop, stop: Stop) -> None:
    promoted(shop, "weapon@3")
    promoted(shop, "cash@2")
    promoted(shop, "weapon@2")
    assert back(shop, "weapon") == [("weapon@2", "weapon@3")]
    assert back(shop, "weapon") == [("weapon@3", "weapon@1")]
    with pytest.raises(InputError, match="nothing is known to have served before weapon@1"):
        back(shop, "weapon")
    assert shop.serving() == ["weapon@1", "cash@2", "blade@1"]
    actions = [(entry.action, entry.who) for entry in History(shop.store, "prod").entries()]
    assert actions == [("promote", "ada")] * 3 + [("rollback", "bob")] * 2


def test_several_classes_go_back_in_one_change(shop: Shop, stop: Stop) -> None:
    make_bundle(shop.store, "prod", ["weapon@2", "cash@2", "blade@1"])
    promoted(shop, "weapon@3")
    kept = Path(shop.store.bundles / "history" / "prod")
    before = len(list(kept.iterdir()))
    assert back(shop, "cash", "weapon") == [("cash@2", "cash@1"), ("weapon@3", "weapon@2")]
    assert shop.serving() == ["weapon@2", "cash@1", "blade@1"]
    assert len(list(kept.iterdir())) == before + 1
    files = shop.files()
    with pytest.raises(InputError, match="class blade: nothing is known"):
        back(shop, "weapon", "blade")
    with pytest.raises(InputError, match="class cash: given twice"):
        back(shop, "cash", "cash")
    assert shop.files() == files


def test_damaged_heads_are_neither_promoted_nor_put_back(shop: Shop, stop: Stop) -> None:
    promoted(shop, "weapon@3")
    broken = damage(shop, "weapon@1")
    files = shop.files()
    with pytest.raises(InputError, match=f"{broken}: damaged"):
        promoted(shop, "weapon@1", force=True)
    with pytest.raises(InputError, match=f"{broken}: damaged"):
        back(shop, "weapon")
    assert shop.files() == files


def test_a_damaged_head_that_serves_can_be_taken_back(shop: Shop, stop: Stop) -> None:
    promoted(shop, "weapon@3")
    damage(shop, "weapon@3")
    assert back(shop, "weapon") == [("weapon@3", "weapon@1")]


def test_what_serves_already_is_not_promoted(shop: Shop, stop: Stop) -> None:
    with pytest.raises(InputError, match="head weapon@1: serves in bundle prod already"):
        promoted(shop, "weapon@1", force=True)


def test_without_the_bundle_nothing_is_made(shop: Shop, stop: Stop) -> None:
    with pytest.raises(InputError, match=r"no such bundle .*launch bundle --out other"):
        promote("weapon@2", "other", shop.source, shop.store, why="better")
    with pytest.raises(InputError, match=r"no such bundle .*launch bundle --out other"):
        rollback(["weapon"], "other", shop.store, why="worse")
    assert not (shop.store.root / "releases").exists()


def test_the_history_wants_a_name_and_a_reason(shop: Shop, stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^--why: "):
        promoted(shop, "weapon@2", why=" \n")
    monkeypatch.setattr(history.getpass, "getuser", lambda: "eve")
    entry = promoted(shop, "weapon@2", who="").entry
    assert entry is not None
    assert entry.who == "eve"

    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr(history.getpass, "getuser", nobody)
    with pytest.raises(InputError, match=r"^--by: "):
        promoted(shop, "weapon@3", who="")


# Several at once


def test_two_promotes_at_once_both_come(shop: Shop, stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever comes second meets the gates again, on the bundle that the first has made."""
    monkeypatch.setattr(lock, "PATIENCE", TIMEOUT)
    both, seen = Barrier(2, timeout=TIMEOUT), []

    def fit(scorer: Any, head: Any, *_: Any) -> tuple[Gate, ...]:
        seen.append((head.card.name, tuple(str(pin.ref) for pin in scorer.bundle.pins)))
        if len(seen) <= 2:
            both.wait()
        return (Gate("budget", True, "", "", {}),)

    monkeypatch.setattr(module, "fit", fit)
    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(lambda head: promoted(shop, head), ["weapon@2", "cash@2"]))
    assert shop.serving() == ["weapon@2", "cash@2", "blade@1"]
    assert sorted(one.entry.number for one in made if one.entry) == [1, 2]
    assert len(seen) == 3
    assert seen[2][1] in (("weapon@2", "cash@1", "blade@1"), ("weapon@1", "cash@2", "blade@1"))


def test_of_two_versions_of_a_class_at_once_one_is_turned_away(
    shop: Shop, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: Any) -> tuple[Gate, ...]:
        make_bundle(shop.store, "prod", ["weapon@3", "cash@1", "blade@1"])
        return ()

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(InputError, match="head weapon@2: another version of weapon was released meanwhile"):
        promoted(shop, "weapon@2")
    assert shop.serving()[0] == "weapon@3"
    assert History(shop.store, "prod").entries() == ()
