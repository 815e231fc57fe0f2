from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from serve.edition import Edition
from serve.errors import Refusal
from serve.metrics import Metrics
from serve.repository import IndexEntry, Repository
from serve.settings import ServiceConfig
from tests.bundle import twin
from tests.waiting import until_async

Story = Callable[[Repository], Awaitable[None]]
PHOTOS = twin.photos(3)
CONFIG = ServiceConfig(batch_sizes=(1, 4), spare=2)


@pytest.fixture
def store(tiny: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(tiny, tmp_path / "store"))


def run(store: Store, story: Story) -> tuple[Metrics, list[Edition]]:
    metrics, editions = Metrics(), []

    async def whole() -> None:
        repository = Repository(store, "prod", CONFIG, metrics, editions.append)
        await repository.open()
        try:
            await story(repository)
        finally:
            repository.stop()

    asyncio.run(whole())
    return metrics, editions


def scores(edition: Edition) -> dict[str, list[float]]:
    """class -> its scores of three photos, shadows not among them."""
    found = edition.scorer(PHOTOS)[:, edition.columns]
    return {name: found[:, column].tolist() for column, name in enumerate(edition.classes)}


def swaps(metrics: Metrics, **labels: str) -> float:
    return metrics.registry.get_sample_value("prohibit_swaps_total", labels) or 0.0


def test_a_head_takes_its_place_and_gives_it_back(store: Store) -> None:
    async def story(repository: Repository) -> None:
        first = repository.edition
        before = scores(first)
        second = await repository.load("weapon")
        assert (first.number, second.number) == (1, 2)
        assert repository.edition is second
        assert second.cards["weapon"].version == 3  # the latest
        after = scores(second)
        assert after["weapon"] != before["weapon"]
        assert {name: after[name] for name in ("cash", "ivory")} == {name: before[name] for name in ("cash", "ivory")}
        back = await repository.load("weapon", 1)
        assert scores(back) == before
        assert back.bundle_sha256 == first.bundle_sha256 != second.bundle_sha256
        assert scores(first) == before  # requests in flight end on it

    metrics, editions = run(store, story)
    assert [edition.number for edition in editions] == [1, 2, 3]
    assert swaps(metrics, **{"class": "weapon", "action": "load", "result": "done"}) == 2


def test_changes_at_the_same_time_all_take_effect(store: Store) -> None:
    card = twin.card("blade")
    store.publish_head(card, twin.variables(card.network(), 99))

    async def story(repository: Repository) -> None:
        changes = (repository.load("weapon", 2), repository.load("blade"), repository.load("cash", shadow=True))
        assert sorted(edition.number for edition in await asyncio.gather(*changes)) == [2, 3, 4]
        assert repository.edition.cards["weapon"].version == 2
        assert "blade" in repository.edition.cards
        assert "cash" in repository.edition.shadows

    run(store, story)


def test_a_new_class_is_added_and_taken_away(store: Store) -> None:
    card = twin.card("blade")
    store.publish_head(card, twin.variables(card.network(), 99))

    async def story(repository: Repository) -> None:
        before = scores(repository.edition)
        added = await repository.load("blade")
        assert added.classes == ("blade", "cash", "ivory", "weapon")  # sorted, whoever came last
        assert {**scores(added), "blade": None} == {**before, "blade": None}
        without = await repository.unload("cash")
        assert without.classes == ("blade", "ivory", "weapon")
        assert scores(without) == {name: scores(added)[name] for name in without.classes}
        await repository.unload("blade")
        await repository.unload("ivory")
        with pytest.raises(Refusal, match="the only class") as caught:
            await repository.unload("weapon")
        assert caught.value.status == 409

    run(store, story)


def test_a_shadow_scores_and_decides_nothing(store: Store) -> None:
    async def story(repository: Repository) -> None:
        before = scores(repository.edition)
        shadowed = await repository.load("weapon", 2, shadow=True)
        assert shadowed.classes == repository.edition.classes == ("cash", "ivory", "weapon")
        assert {name: card.version for name, card in shadowed.shadows.items()} == {"weapon": 2}
        assert scores(shadowed) == before
        assert ("weapon", "2", "shadow") in shadowed.labels
        assert shadowed.bundle_sha256 == Edition(1, shadowed.scorer.remove("weapon@shadow")).bundle_sha256
        other = await repository.load("weapon", 3, shadow=True)  # takes the place of the first
        candidate = other.scorer(PHOTOS)[:, other.scorer.classes.index("weapon@shadow")].tolist()
        promoted = await repository.load("weapon", 3)
        assert not promoted.shadows
        assert scores(promoted)["weapon"] == candidate
        with pytest.raises(Refusal) as caught:
            await repository.unload("weapon", shadow=True)
        assert caught.value.status == 404
        await repository.load("cash", shadow=True)
        left = await repository.unload("cash", shadow=True)
        assert (left.shadows, left.classes) == ({}, promoted.classes)

    run(store, story)


@pytest.mark.parametrize(
    ("name", "version", "status"), [("weapon", 9, 404), ("nobody", None, 404), ("../weapon", None, 404)]
)
def test_an_unknown_head_is_refused(store: Store, name: str, version: int | None, status: int) -> None:
    async def story(repository: Repository) -> None:
        serving = repository.edition
        with pytest.raises(Refusal) as caught:
            await repository.load(name, version)
        assert caught.value.status == status
        assert repository.edition is serving

    metrics, _ = run(store, story)
    known = name if name == "weapon" else ""  # no label is a client's word
    assert swaps(metrics, **{"class": known, "action": "load", "result": "refused"}) == 1


@pytest.mark.parametrize("harm", ["flip", "cut", "nan", "other"])
def test_a_damaged_head_is_refused_and_the_old_one_serves_on(store: Store, harm: str) -> None:
    file = Path(store.root) / "heads/weapon/2/params.safetensors"
    data = bytearray(file.read_bytes())
    if harm == "flip":
        data[-100] ^= 1
    elif harm == "cut":
        del data[-100:]
    elif harm == "nan":
        data[-4:] = np.float32(np.nan).tobytes()
    else:
        data = bytearray(b"\x80\x04N.")
    file.write_bytes(data)

    async def story(repository: Repository) -> None:
        serving = repository.edition
        with pytest.raises(Refusal, match=r"params\.safetensors") as caught:
            await repository.load("weapon", 2)
        assert caught.value.status == 409
        assert repository.edition is serving
        await repository.load("weapon", 3)

    run(store, story)


def test_the_lock_file_is_followed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Path(store.root) / "bundles/prod.json"

    def put(content: bytes) -> None:
        other = lock.with_suffix(".new")
        other.write_bytes(content)
        other.replace(lock)

    async def story(repository: Repository) -> None:
        looks, look = [], repository._fingerprint

        def counted() -> str:
            looks.append(look())
            return looks[-1]

        async def looked() -> None:
            enough = len(looks) + 5  # two rounds, each of which may look twice, and the beginning of the next
            await until_async(lambda: len(looks) >= enough)

        async def follows(versions: dict[str, int]) -> None:
            await until_async(
                lambda: {name: card.version for name, card in repository.edition.cards.items()} == versions
            )

        monkeypatch.setattr(repository, "_fingerprint", counted)
        watching = asyncio.create_task(repository.watch(0.01))
        await repository.load("cash", shadow=True)
        make_bundle(store, "prod", ["cash@1", "weapon@2"])
        await follows({"cash": 1, "weapon": 2})
        assert list(repository.edition.shadows) == ["cash"]
        whole = lock.read_bytes()
        number = repository.edition.number
        put(whole[:40])  # half written by somebody who does not rename
        await looked()
        assert repository.edition.number == number
        lock.unlink()
        await looked()
        assert repository.edition.number == number
        put(json.dumps(json.loads(whole)).encode())  # other text, the same heads
        await looked()
        assert repository.edition.number == number
        make_bundle(store, "prod", ["cash@1", "ivory@1", "weapon@1"])
        await follows({"cash": 1, "weapon": 1, "ivory": 1})
        watching.cancel()

    metrics, _ = run(store, story)
    assert swaps(metrics, **{"class": "", "action": "reload", "result": "refused"}) == 1


def test_a_tampered_pin_is_refused(store: Store) -> None:
    async def story(repository: Repository) -> None:
        lock = Path(store.root) / "bundles/prod.json"
        make_bundle(store, "prod", ["cash@1", "ivory@1", "weapon@2"])
        content = json.loads(lock.read_bytes())
        content["heads"][2]["sha256"] = "0" * 64
        lock.write_text(json.dumps(content))
        with pytest.raises(Refusal, match="not the file that was bundled"):
            await repository.reload()
        assert repository.edition.number == 1

    run(store, story)


def test_the_index_names_every_head_of_the_store(store: Store) -> None:
    async def story(repository: Repository) -> None:
        await repository.load("weapon", 2, shadow=True)
        assert await repository.index() == [
            IndexEntry("cash", 1, "READY", ""),
            IndexEntry("ivory", 1, "READY", ""),
            IndexEntry("weapon", 1, "READY", ""),
            IndexEntry("weapon", 2, "UNAVAILABLE", "shadow"),
            IndexEntry("weapon", 3, "UNAVAILABLE", ""),
        ]

    run(store, story)


def test_nothing_serves_before_the_bundle_is_loaded(store: Store) -> None:
    repository = Repository(store, "prod", CONFIG, Metrics(), lambda edition: None)
    with pytest.raises(Refusal) as caught:
        _ = repository.edition
    assert caught.value.status == 503
    repository.stop()
