from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from PIL import Image

from prohibit_jax.data import index as module
from prohibit_jax.data.index import Index, index
from prohibit_jax.data.sources import Files, Item, open_source
from prohibit_jax.images.decode import Limits, decode


def jpeg(seed: int, size: tuple[int, int] = (40, 30)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(file, "JPEG")
    return file.getvalue()


@dataclass
class Memory:
    """A source of bytes in memory; None cannot be read."""

    photos: list[bytes | None]

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(Item(f"{i}.jpg", "cup") for i in range(len(self.photos)))

    def read(self, i: int) -> bytes:
        data = self.photos[i]
        if data is None:
            raise FileNotFoundError(2, "No such file or directory", f"{i}.jpg")
        return data


def assert_same(a: Index, b: Index) -> None:
    for field in fields(Index):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one at each photo that is decoded."""
    calls: list[int] = []

    def counted(data: bytes, limits: Limits, target: int) -> np.ndarray:
        calls.append(len(data))
        return decode(data, limits, target)

    monkeypatch.setattr(module, "decode", counted)
    return calls


def test_index_says_what_is_known_and_what_is_broken() -> None:
    photos = [jpeg(0), b"", jpeg(1, (400, 200)), None, jpeg(1)[:200], b"no photo"]
    result = index(Memory(photos))
    assert [bool(error) for error in result.error] == [False, True, False, True, True, True]
    assert result.usable.tolist() == [True, False, True, False, False, False]
    assert result.error[3] == "cannot be read: No such file or directory"
    assert not any("\n" in error for error in result.error)
    assert result.sha256 == tuple(hashlib.sha256(data).hexdigest() if data is not None else "" for data in photos)
    assert result.width.tolist() == [40, 0, 400, 0, 0, 0]
    assert result.height.tolist() == [30, 0, 200, 0, 0, 0]
    assert (str(result.phash.dtype), str(result.thumbs.dtype)) == ("uint64", "uint8")
    assert result.thumbs.shape == (6, 16, 16)


def test_a_path_that_no_file_can_have_is_one_row_s_error() -> None:
    result = index(Files((Item("a\0.jpg", "cup"), Item("missing.jpg", "cup"))))
    impossible, missing = result.error
    assert impossible in ("embedded null byte", "stat: embedded null character in path")  # from Python 3.12 on
    assert missing == "cannot be read: No such file or directory"


def test_size_is_the_upright_photo_s_at_full_scale() -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1200, 900), (9, 99, 200)).save(file, "JPEG", exif=exif)
    result = index(Memory([file.getvalue()]))
    assert (result.width[0], result.height[0]) == (900, 1200)


def test_each_content_is_decoded_once(tmp_path: Path, decodes: list[int]) -> None:
    cache = epath.Path(tmp_path) / "cache"
    photos: list[bytes | None] = [jpeg(0), jpeg(1), jpeg(0)]
    first = index(Memory(photos), cache, workers=1)
    assert len(decodes) == 2
    assert_same(index(Memory(photos), cache), first)
    assert len(decodes) == 2
    grown = index(Memory([jpeg(2), *photos]), cache)
    assert len(decodes) == 3
    assert grown.phash[1:].tolist() == first.phash.tolist()
    assert_same(index(Memory(photos)), first)
    assert [path.suffix for path in cache.iterdir()] == [".npz"]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign"])
def test_a_damaged_cache_is_built_anew(tmp_path: Path, decodes: list[int], damage: str) -> None:
    cache = epath.Path(tmp_path)
    source = Memory([jpeg(0), jpeg(1)])
    expected = index(source, cache)
    (file,) = cache.iterdir()
    data = file.read_bytes()
    middle = len(data) // 2
    file.write_bytes(
        {
            "empty": b"",
            "cut": data[:-100],
            "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "foreign": b"PK\x03\x04 no archive",
        }[damage]
    )
    decodes.clear()
    assert_same(index(source, cache), expected)
    assert len(decodes) == 2
    assert_same(index(source, cache), expected)
    assert len(decodes) == 2


def test_limits_have_caches_of_their_own(tmp_path: Path) -> None:
    source, cache = Memory([jpeg(0)]), epath.Path(tmp_path)
    assert index(source, cache).usable.all()
    assert not index(source, cache, limits=Limits(pixels=1000)).usable.any()
    assert index(source, cache).usable.all()


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert index(Memory([jpeg(0)]), epath.Path(tmp_path) / "file" / "cache").usable.all()


def test_progress_ends_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    calls: list[tuple[int, int]] = []
    index(Memory([jpeg(i) for i in range(5)]), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_real_photos_and_hostile_ones(shared: Path) -> None:
    result = index(open_source(f"folder:{shared / 'data' / 'caltech101' / 'dollar_bill'}"))
    assert result.usable.all()
    assert len(set(result.phash.tolist())) > 30
    hostile = index(open_source(f"folder:{shared / 'data' / 'odd_images'}"))
    assert hostile.usable.any()
    assert not hostile.usable.all()
