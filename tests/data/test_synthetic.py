from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections import Counter
from hashlib import sha256

import pytest
from PIL import Image

from prohibit_jax.data.scenes import GOODS
from prohibit_jax.data.sources import Item
from prohibit_jax.data.synthetic import FREQUENCIES, ORIENTATION, SyntheticSource
from prohibit_jax.types import InputError


def test_items_name_seed_number_and_label() -> None:
    items = SyntheticSource(30, 7).items
    assert [item.path for item in items] == [f"synthetic/7/{i}.jpg" for i in range(30)]
    assert {item.label for item in items} <= set(GOODS)
    assert items[3] == Item("synthetic/7/3.jpg", items[3].label, "", "")


def test_photos_do_not_depend_on_count_or_order() -> None:
    small, large = SyntheticSource(6, 3), SyntheticSource(500, 3)
    assert large.items[:6] == small.items
    backwards = [large.read(i) for i in reversed(range(6))]
    assert backwards[::-1] == [small.read(i) for i in range(6)]


def test_another_process_gives_the_same_bytes() -> None:
    program = (
        "from hashlib import sha256; from prohibit_jax.data.synthetic import SyntheticSource as S\n"
        "s = S(8, 11); print(sha256(b''.join(s.read(i) for i in range(8))).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    source = SyntheticSource(8, 11)
    assert other == sha256(b"".join(source.read(i) for i in range(8))).hexdigest()


def test_pickled_source_reads_the_same() -> None:
    source = SyntheticSource(5, 1)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.items == source.items
    assert copy.read(4) == source.read(4)


def test_seeds_and_numbers_give_different_photos() -> None:
    sources = [SyntheticSource(8, seed) for seed in range(3)]
    assert len({source.read(i) for source in sources for i in range(4)}) == 12
    assert len({tuple(item.label for item in source.items) for source in sources}) == 3


def test_labels_come_as_often_as_promised() -> None:
    count = 20_000
    found = Counter(item.label for item in SyntheticSource(count, 0).items)
    assert set(FREQUENCIES) == set(GOODS)
    assert {label: n / count for label, n in found.items()} == pytest.approx(FREQUENCIES, abs=0.01)


@pytest.mark.parametrize("label", GOODS)
def test_every_label_gives_varied_jpegs_of_listing_size(label: str) -> None:
    source = SyntheticSource(400, 2)
    sizes = set()
    for i in [i for i, item in enumerate(source.items) if item.label == label][:4]:
        with Image.open(io.BytesIO(source.read(i))) as photo:
            photo.load()
            assert (photo.format, photo.mode) == ("JPEG", "RGB")
            assert 200 <= min(photo.size) <= max(photo.size) <= 480
            sizes.add(photo.size)
    assert len(sizes) > 1


def test_some_photos_lie_on_their_side() -> None:
    source = SyntheticSource(40, 4)
    tags = Counter(Image.open(io.BytesIO(source.read(i))).getexif().get(ORIENTATION) for i in range(40))
    assert set(tags) == {None, 3, 6, 8}
    assert tags[None] > 25


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_impossible_count_or_seed_is_refused(count: int, seed: int) -> None:
    with pytest.raises(InputError, match="synthetic source"):
        SyntheticSource(count, seed)
