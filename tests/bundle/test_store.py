"""Heads and trunks come back bit for bit; whatever is damaged, foreign or missing is refused in one line."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from safetensors.numpy import save

from prohibit_jax.bundle.card import Trunk
from prohibit_jax.bundle.store import Store
from prohibit_jax.files import ABANDONED
from prohibit_jax.models.network import Network
from prohibit_jax.types import HeadRef, InputError
from tests.bundle.twin import TWIN, card, trunk, variables


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_head_comes_back_bit_for_bit(store: Store) -> None:
    arrays = variables(Network(TWIN), 1)
    ref = store.publish_head(card(), arrays)
    read = store.read_head("weapon")
    assert ref == read.ref == HeadRef("weapon", 1)
    assert read.variables.keys() == arrays.keys()
    assert all(np.array_equal(read.variables[name], arrays[name]) for name in arrays)
    assert read.card == replace(card(), version=1, params_sha256=read.card.params_sha256, created=read.card.created)
    params = (store.heads / "weapon" / "1" / "params.safetensors").read_bytes()
    assert read.card.params_sha256 == sha256(params).hexdigest()


def test_versions_count_up_and_the_latest_is_meant(store: Store) -> None:
    assert store.classes() == ()
    assert store.versions("weapon") == ()
    for name in ("weapon", "cash", "weapon"):
        store.publish_head(card(name), variables(Network(TWIN), 1))
    assert store.classes() == ("cash", "weapon")
    assert store.versions("weapon") == (1, 2)
    assert store.resolve("weapon") == HeadRef("weapon", 2)
    assert store.resolve("weapon@1") == HeadRef("weapon", 1)
    with pytest.raises(InputError, match=r"no version 3 .*\(it has 1, 2\)"):
        store.resolve("weapon@3")
    with pytest.raises(InputError, match=r"no class 'knife' .*\(it has cash, weapon\)"):
        store.resolve("knife")


def test_many_at_once_get_a_version_each(store: Store) -> None:
    arrays = variables(Network(TWIN), 1)
    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(lambda _: store.publish_head(card(), arrays), range(8)))
    assert sorted(ref.version or 0 for ref in refs) == list(store.versions("weapon")) == list(range(1, 9))
    assert all(store.read_card(ref).version == ref.version for ref in refs)


def test_a_head_that_could_not_be_read_is_not_published(store: Store) -> None:
    arrays = variables(Network(TWIN), 1)
    name = next(iter(arrays))
    with pytest.raises(InputError, match=name):
        store.publish_head(card(), {key: array for key, array in arrays.items() if key != name})
    with pytest.raises(InputError, match="not finite"):
        store.publish_head(card(), arrays | {name: np.full_like(arrays[name], np.nan)})
    with pytest.raises(InputError, match="trunk"):
        store.publish_head(card(trunk=Trunk("a" * 64, "s3")), arrays)
    two = replace(TWIN, outputs=2)
    with pytest.raises(InputError, match=r"arch\.outputs"):
        store.publish_head(card(arch=two), variables(Network(two), 1))
    assert store.classes() == ()


def test_a_trunk_is_named_by_its_content(store: Store) -> None:
    arrays = trunk(1)
    digest = store.publish_trunk(arrays)
    assert store.publish_trunk(arrays) == digest
    assert digest == sha256((store.trunks / f"{digest}.safetensors").read_bytes()).hexdigest()
    read = store.read_trunk(digest, Network(TWIN).split("s3")[0])
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)
    with pytest.raises(InputError, match="wants"):
        store.read_trunk(digest, Network(TWIN).split("s4")[0])
    with pytest.raises(InputError, match="missing"):
        store.read_trunk("a" * 64)
    with pytest.raises(InputError, match="not a SHA-256"):
        store.read_trunk("../weights/lite0")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE = [flip, truncate, empty, Path.unlink, link, dangle, pipe, folder]


@pytest.mark.parametrize("file", ["params.safetensors", "card.json"])
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_refused_in_one_line(store: Store, file: str, damage: Callable[[Path], None]) -> None:
    store.publish_head(card(), variables(Network(TWIN), 1))
    path = Path(store.heads / "weapon" / "1" / file)
    damage(path)
    with pytest.raises(InputError) as raised:
        store.read_head("weapon@1")
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


class Bomb:
    """Leaves a trace if anything ever unpickles it."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("unpickled",)


FOREIGN = {
    "pickle": pickle.dumps(Bomb()),
    "other network": save(variables(Network(replace(TWIN, squeeze_excite=False)), 1)),
    "other shapes": save(variables(Network(replace(TWIN, width=0.5)), 1)),
    "float64": save({name: array.astype(np.float64) for name, array in variables(Network(TWIN), 1).items()}),
    "huge header": (2**62).to_bytes(8, "little") + b"{}",
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("fitting", [False, True], ids=["its hash differs", "its hash is in the card"])
def test_a_foreign_file_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fitting: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    store.publish_head(card(), variables(Network(TWIN), 1))
    here = Path(store.heads / "weapon" / "1")
    (here / "params.safetensors").write_bytes(FOREIGN[name])
    if fitting:
        forged = replace(store.read_card("weapon"), params_sha256=sha256(FOREIGN[name]).hexdigest())
        (here / "card.json").write_text(forged.to_json())
    with pytest.raises(InputError, match=r"params\.safetensors: ") as raised:
        store.read_head("weapon")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("pinned", ["sha256", "card_sha256"])
def test_a_head_that_is_not_the_pinned_one_is_refused(store: Store, pinned: str) -> None:
    ref = store.publish_head(card(), variables(Network(TWIN), 1))
    right = store.read_head(ref)
    hashes = {"sha256": right.card.params_sha256, "card_sha256": right.card_sha256}
    assert store.read_head(ref, **hashes).card == right.card
    with pytest.raises(InputError, match="not the file that was bundled"):
        store.read_head(ref, **{pinned: "0" * 64})


def test_another_heads_card_is_refused(store: Store) -> None:
    for _ in range(2):
        store.publish_head(card(), variables(Network(TWIN), 1))
    folder = Path(store.heads / "weapon")
    (folder / "2" / "card.json").write_bytes((folder / "1" / "card.json").read_bytes())
    with pytest.raises(InputError, match="is the card of weapon@1, not of weapon@2"):
        store.read_head("weapon")


def test_what_a_killed_process_left_does_not_count_and_is_swept_later(store: Store) -> None:
    store.publish_head(card(), variables(Network(TWIN), 1))
    here = Path(store.heads / "weapon")
    old, fresh = here / ".prohibit_jax-1-0123abcd", here / ".prohibit_jax-2-0123abcd"
    for left in (old, fresh):
        left.mkdir()
        (left / "params.safetensors").write_bytes(b"half")
    os.utime(old, times=(1, old.stat().st_mtime - 2 * ABANDONED))
    assert store.versions("weapon") == (1,)
    store.publish_head(card(), variables(Network(TWIN), 1))
    assert store.versions("weapon") == (1, 2)
    assert not old.exists()
    assert fresh.exists()


class FakeS3(MemoryFileSystem):  # type: ignore[misc]
    """An object store in memory, at s3:// addresses."""

    protocol = "s3"
    store: dict[str, object] = {}  # noqa: RUF012 (fsspec's own way)
    pseudo_dirs = [""]  # noqa: RUF012
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(os.fspath(path).removeprefix("s3:/")))


@pytest.fixture
def object_store() -> Iterator[Store]:
    fsspec.register_implementation("s3", FakeS3, clobber=True)
    yield Store("s3://bucket/store")
    FakeS3.store.clear()


def test_an_object_store_works_where_a_folder_does(object_store: Store) -> None:
    arrays = variables(Network(TWIN), 1)
    digest = object_store.publish_trunk(trunk(2))
    object_store.publish_head(card(), arrays)
    object_store.publish_head(card(), arrays)
    (epath.Path(object_store.heads) / "weapon" / "3").mkdir()
    (object_store.heads / "weapon" / "3" / "params.safetensors").write_bytes(b"an upload under way")
    assert object_store.classes() == ("weapon",)
    assert object_store.versions("weapon") == (1, 2)
    read = object_store.read_head("weapon")
    assert all(np.array_equal(read.variables[name], arrays[name]) for name in arrays)
    assert object_store.read_trunk(digest).keys() == trunk(2).keys()
    with pytest.raises(InputError, match="missing"):
        object_store.read_trunk("a" * 64)
    assert json.loads((object_store.heads / "weapon" / "2" / "card.json").read_text())["version"] == 2
