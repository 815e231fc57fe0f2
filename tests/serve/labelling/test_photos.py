from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prohibit_jax.data.sources import open_source
from prohibit_jax.images.decode import ImageError, Limits
from prohibit_jax.types import InputError
from serve.labelling.photos import reader, screen

SECRET = b"52.5200 N, 13.4050 E"


def photo(width: int, height: int, kind: str = "JPEG", orientation: int = 1) -> bytes:
    """Left half red, right half blue, as stored, with a camera's notes."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = SECRET.decode()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, exif=exif, **({"comment": SECRET} if kind == "JPEG" else {}))
    return file.getvalue()


def shown(data: bytes, edge: int) -> Image.Image:
    return Image.open(io.BytesIO(screen(data, hashlib.sha256(data).hexdigest(), edge)))


@pytest.mark.parametrize(("size", "edge", "expected"), [((640, 320), 160, (160, 80)), ((30, 90), 160, (30, 90))])
def test_it_is_no_larger_than_needed(size: tuple[int, int], edge: int, expected: tuple[int, int]) -> None:
    assert shown(photo(*size), edge).size == expected


def test_it_is_upright() -> None:
    image = shown(photo(640, 320, orientation=6), 160)
    assert image.size == (80, 160)
    pixels = np.asarray(image).astype(int)
    assert pixels[10, 40, 0] > 200, "what was left is on top"
    assert pixels[150, 40, 2] > 200


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_came_with_the_file_stays_behind(kind: str) -> None:
    data = photo(64, 64, kind)
    assert SECRET in data
    sent = screen(data, hashlib.sha256(data).hexdigest(), 480)
    assert sent.startswith(b"\xff\xd8\xff")
    assert SECRET not in sent
    image = Image.open(io.BytesIO(sent))
    assert image.format == "JPEG"
    assert not dict(image.getexif())
    assert "comment" not in image.info


def test_another_file_under_its_name_is_not_shown() -> None:
    with pytest.raises(InputError, match="changed"):
        screen(photo(64, 64), "0" * 64, 480)


def test_a_broken_or_huge_one_says_why() -> None:
    broken, large = photo(64, 64)[:200], photo(64, 64)
    with pytest.raises(ImageError) as caught:
        screen(broken, hashlib.sha256(broken).hexdigest(), 480)
    assert caught.value.reason == "truncated"
    for limits, reason in ((Limits(pixels=1000), "too_many_pixels"), (Limits(bytes=100), "too_many_bytes")):
        with pytest.raises(ImageError) as caught:
            screen(large, hashlib.sha256(large).hexdigest(), 480, limits)
        assert caught.value.reason == reason


def test_photos_come_from_files_or_from_the_source_that_has_them(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"a")
    source = open_source("synthetic:3:0")
    read = reader(source, {source.items[1].path, str(file)})
    assert read(str(file)) == b"a"
    assert read(source.items[1].path) == source.read(1)
    with pytest.raises(OSError, match="No such file"):
        read(source.items[2].path)  # no queue asks about it
    with pytest.raises(OSError, match="not a file"):
        reader(None, ())(str(tmp_path))
