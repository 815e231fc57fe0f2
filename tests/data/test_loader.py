from __future__ import annotations

import contextlib
import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prohibit_jax.data.loader import batches, decoded, read
from prohibit_jax.data.sources import Source, open_source
from prohibit_jax.images.resize import load
from prohibit_jax.types import InputError
from tests.waiting import until

SIZE = 16
ROWS = np.random.default_rng(0).integers(0, 12, 30)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    rng = np.random.default_rng(1)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / f"{i:02}.jpg")
    return open_source(f"folder:{tmp_path}")


Batches = list[dict[str, np.ndarray]]


def stream(
    source: Source, rows: np.ndarray = ROWS, *, augment: bool = True, seed: int = 4, workers: int = 0, start: int = 0
) -> Batches:
    found = list(batches(source, rows, size=SIZE, batch=4, seed=seed, augment=augment, workers=workers, start=start))
    for one in found:
        assert one["image"].dtype == np.uint8
        assert one["row"].dtype == np.int64
        assert one["image"].shape == (len(one["row"]), SIZE, SIZE, 3)
    return found


def assert_same(a: Batches, b: Batches) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one["row"], other["row"])
        np.testing.assert_array_equal(one["image"], other["image"])


def test_batches_hold_the_rows_in_order_as_everyone_else_decodes_them(source: Source) -> None:
    found = stream(source, augment=False)
    assert [len(one["row"]) for one in found] == [4] * 7 + [2]
    assert np.concatenate([one["row"] for one in found]).tolist() == ROWS.tolist()
    for one in found:
        for row, image in zip(one["row"], one["image"], strict=True):
            np.testing.assert_array_equal(image, load(source.read(int(row)), SIZE))


def test_augmentation_depends_on_seed_and_place(source: Source) -> None:
    same_photo = np.zeros(8, np.int64)
    first, second = (np.concatenate([one["image"] for one in stream(source, same_photo, seed=s)]) for s in (1, 2))
    assert len({image.tobytes() for image in (*first, *second)}) == 16
    assert_same(stream(source, same_photo), stream(source, same_photo))


def test_a_stream_resumed_is_the_rest_of_the_whole_stream(source: Source) -> None:
    whole = stream(source)
    for start in (1, 5, 8):
        assert_same(stream(source, start=start), whole[start:])


def test_worker_processes_change_nothing(source: Source) -> None:
    assert_same(stream(source, workers=2, start=1), stream(source)[1:])


class Unprintable:
    """A source of so many photos that its text would fill the memory."""

    def __init__(self, source: Source) -> None:
        self.items, self.read = source.items, source.read

    def __repr__(self) -> str:
        raise MemoryError


def test_no_step_is_named_by_its_photos(source: Source) -> None:
    assert_same(stream(Unprintable(source)), stream(source))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photo_that_breaks_meanwhile_is_named(source: Source, workers: int) -> None:
    Path(source.items[7].path).unlink()
    Path(source.items[8].path).write_bytes(b"no photo")
    with pytest.raises(InputError, match=r"^photo '.*/07.jpg': cannot be read: No such file or directory$"):
        stream(source, np.array([1, 2, 3, 4, 5, 7]), workers=workers)
    with pytest.raises(InputError, match=r"^photo '.*/08.jpg': not a JPEG"):
        read(source, 8, SIZE)


def test_a_worker_that_is_killed_ends_in_one_line(source: Source) -> None:
    with contextlib.closing(batches(source, np.zeros(400, np.int64), size=SIZE, batch=4, workers=1)) as stream:
        next(stream)
        for worker in multiprocessing.active_children():
            worker.kill()
        with pytest.raises(InputError, match=r"^data\.workers: a process that decodes photos was killed"):
            list(stream)


def test_leaving_early_leaves_no_thread_behind(source: Source) -> None:
    before = set(threading.enumerate())
    for one in (batches(source, ROWS, size=SIZE, batch=4), decoded(source, ROWS, SIZE, chunk=4)):
        with contextlib.closing(one):
            next(one)
    left = set(threading.enumerate()) - before
    # Grain tells its threads to end and does not wait for the photo in their hands.
    until(lambda: not any(thread.is_alive() for thread in left))


@pytest.mark.parametrize("count", [0, 1, 8, 9, 30])
def test_decoded_gives_chunks_in_order(source: Source, count: int) -> None:
    calls: list[tuple[int, int]] = []
    chunks = list(decoded(source, ROWS[:count], SIZE, 2, lambda done, total: calls.append((done, total)), chunk=8))
    assert [len(rows) for rows, _ in chunks] == [8] * (count // 8) + [count % 8] * (count % 8 > 0)
    for rows, images in chunks:
        assert images.shape == (len(rows), SIZE, SIZE, 3)
        np.testing.assert_array_equal(images[-1], load(source.read(int(rows[-1])), SIZE))
    assert np.concatenate([ROWS[:0], *(rows for rows, _ in chunks)]).tolist() == ROWS[:count].tolist()
    assert [done for done, _ in calls] == np.cumsum([len(rows) for rows, _ in chunks]).tolist()


def test_decoded_names_a_broken_photo(source: Source) -> None:
    Path(source.items[3].path).write_bytes(b"")
    with pytest.raises(InputError, match=r"03.jpg': the file is empty"):
        list(decoded(source, np.arange(12), SIZE))
