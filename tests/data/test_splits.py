from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from prohibit_jax.data.index import Index, index
from prohibit_jax.data.sources import SIDES, Files, Item, open_source
from prohibit_jax.data.splits import clusters, leaks, split
from prohibit_jax.images.phash import NEAR_BITS

PICTURES = np.random.default_rng(5).integers(0, 256, (40, 16, 16), np.uint8)
HASHES = np.random.default_rng(6).integers(0, 2**64, 40, np.uint64)


def photo(picture: int, copy: int = 0, group: str = "", side: str = "", flips: tuple[int, ...] = ()) -> tuple:  # type: ignore[type-arg]
    """A made-up row of an index: `copy` numbers near-identical photos of a picture; `flips` are bits that differ."""
    sha = hashlib.sha256(f"{picture} {copy} {flips}".encode()).hexdigest()
    bits = HASHES[picture] ^ np.uint64(sum(1 << bit for bit in flips))
    return Item(f"{picture}_{copy}.jpg", "", group, side), sha, bits, PICTURES[picture]


def indexed(rows: list[tuple]) -> tuple[Index, list[Item]]:  # type: ignore[type-arg]
    items, shas, hashes, thumbs = (list(column) for column in zip(*rows, strict=True))
    ones = np.ones(len(rows), np.int32)
    return Index(tuple(shas), np.array(hashes), np.array(thumbs), ones, ones, ("",) * len(rows)), items


def sides_of(rows: list[tuple]) -> list[str]:  # type: ignore[type-arg]
    return list(split(*indexed(rows)))


flips = st.lists(st.integers(0, 63), max_size=NEAR_BITS, unique=True).map(tuple)
photos = st.builds(photo, st.integers(0, 39), st.integers(0, 3), st.sampled_from(["", "", "a", "b"]), flips=flips)
many = st.lists(photos, min_size=1, max_size=40)


@given(many, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_order_does_not_matter(rows: list[tuple], random) -> None:  # type: ignore[no-untyped-def, type-arg]
    order = list(range(len(rows)))
    random.shuffle(order)
    before, after = sides_of(rows), sides_of([rows[i] for i in order])
    assert after == [before[i] for i in order]


@given(many, st.lists(st.integers(20, 39).map(photo), max_size=20))
@settings(max_examples=50)
def test_nothing_moves_when_unrelated_photos_are_added(rows: list[tuple], more: list[tuple]) -> None:  # type: ignore[type-arg]
    mine = [row for row in rows if int(row[0].path.partition("_")[0]) < 20] or [photo(0)]
    assert sides_of(mine + more)[: len(mine)] == sides_of(mine)


@given(many)
@settings(max_examples=50)
def test_a_group_a_content_and_a_picture_have_one_side(rows: list[tuple]) -> None:  # type: ignore[type-arg]
    sides = sides_of(rows)
    seen: dict[object, str] = {}
    for (item, sha, bits, _), side in zip(rows, sides, strict=True):
        assert side in SIDES
        for key in (sha, *([item.group] if item.group else [])):
            assert seen.setdefault(key, side) == side
        for (_, _, other, _), its_side in zip(rows, sides, strict=True):
            if np.bitwise_count(bits ^ other) <= NEAR_BITS:
                assert side == its_side


@given(flips)
def test_any_flipped_bits_up_to_the_limit_are_found(bits: tuple[int, ...]) -> None:
    assert clusters(*indexed([photo(0), photo(1), photo(0, flips=bits)])).tolist() == [0, 1, 0]


def test_thumbnails_and_hashes_must_both_agree() -> None:
    other = photo(1)
    same_hash_only = (other[0], other[1], HASHES[0], other[3])
    same_thumb_only = (other[0], other[1], HASHES[1], PICTURES[0])
    assert clusters(*indexed([photo(0), same_hash_only])).tolist() == [0, 1]
    assert clusters(*indexed([photo(0), same_thumb_only])).tolist() == [0, 1]
    assert clusters(*indexed([photo(0), photo(0, flips=tuple(range(NEAR_BITS + 1)))])).tolist() == [0, 1]


def test_groups_and_near_duplicates_merge() -> None:
    rows = [photo(0, group="a"), photo(0, 1, flips=(3,)), photo(1, group="b"), photo(1, 1, group="a"), photo(2)]
    assert clusters(*indexed(rows)).tolist() == [0, 0, 0, 0, 4]


def test_shares_are_as_asked() -> None:
    n = 4000
    shas = tuple(hashlib.sha256(str(i).encode()).hexdigest() for i in range(n))
    rng = np.random.default_rng(0)
    thumbs, ones = rng.integers(0, 256, (n, 16, 16), np.uint8), np.ones(n, np.int32)
    known = Index(shas, rng.integers(0, 2**64, n, np.uint64), thumbs, ones, ones, ("",) * n)
    items = [Item(f"{i}.jpg", "") for i in range(n)]
    for validation, test in ((0.2, 0.2), (0.1, 0.3), (0.0, 0.5)):
        sides = split(known, items, validation=validation, test=test)
        shares = [np.mean(sides == side) for side in ("validation", "test")]
        np.testing.assert_allclose(shares, (validation, test), atol=0.03)
    larger = split(known, items, validation=0.2, test=0.3)
    assert set(larger[split(known, items) == "test"]) == {"test"}


def test_a_bucket_of_thousands_is_no_trouble() -> None:
    n = 2000
    shas = tuple(hashlib.sha256(str(i).encode()).hexdigest() for i in range(n))
    flat = np.broadcast_to((50 + np.arange(n) % 100).astype(np.uint8)[:, None, None], (n, 16, 16))
    ones = np.ones(n, np.int32)
    known = Index(shas, np.zeros(n, np.uint64), flat, ones, ones, ("",) * n)
    assert not clusters(known, [Item(f"{i}.jpg", "") for i in range(n)]).any()


def test_the_manifest_wins_and_takes_its_cluster_along() -> None:
    for side in SIDES:
        rows = [photo(0, side=side), photo(0, 1, flips=(5,)), photo(1, group="g"), photo(2, group="g", side=side)]
        assert sides_of(rows) == [side] * 4
        assert leaks(*indexed(rows)) == []


def test_a_manifest_that_leaks_is_kept_and_told() -> None:
    rows = [photo(0, side="train"), photo(0, 1, side="test", flips=(5,)), photo(0, 2, flips=(6,)), photo(1)]
    assert sides_of(rows)[:3] == ["train", "test", "train"]
    (line,) = leaks(*indexed(rows))
    assert line.endswith("on several sides: 0_1.jpg (test), 0_0.jpg (train)")


def test_broken_photos_are_on_no_side() -> None:
    known, items = indexed([photo(0), photo(1, side="test"), photo(2)])
    broken = Index(known.sha256, known.phash, known.thumbs, known.width, known.height, ("", "damaged", ""))
    assert [bool(side) for side in split(broken, items)] == [True, False, True]
    assert leaks(broken, items) == []


def encoded(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "quality": lambda image: encoded(image, 40),
    "smaller": lambda image: encoded(image.resize((image.width // 2, image.height // 2))),
    "darker": lambda image: encoded(ImageEnhance.Brightness(image).enhance(0.7)),
    "grey": lambda image: encoded(image.convert("L")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_of_real_photos_are_found_and_different_ones_are_not(shared: Path, tmp_path: Path, change: str) -> None:
    originals = open_source(f"folder:{shared / 'data' / 'caltech101' / 'cup'}").items[:40]
    for i, item in enumerate(originals):
        (tmp_path / f"{i}.jpg").write_bytes(CHANGES[change](Image.open(item.path).convert("RGB")))
    copies = [Item(str(tmp_path / f"{i}.jpg"), "cup") for i in range(40)]
    source = Files((*originals, *copies))
    found = clusters(index(source), source.items)
    assert (found[:40] == found[40:]).all()
    assert len(set(found.tolist())) == 40
