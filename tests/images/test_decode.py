"""Bytes to upright RGB, or one typed error and nothing else."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from prohibit_jax.images.decode import ImageError, Limits, decode, probe
from prohibit_jax.images.resize import load, resize
from prohibit_jax.types import InputError
from tests.tolerances import CMYK_PIXELS, DRAFT_PIXELS, JPEG_PIXELS, RAMP_PIXELS

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
REASONS = {"empty", "too_many_pixels", "too_many_bytes", "unsupported", "truncated", "damaged"}
LOSSLESS = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}


def scene(width: int = 60, height: int = 40) -> np.ndarray:
    """A smooth picture without any symmetry, [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x // width, 255 * y // height, 200 * x * y // (width * height)], -1).astype(np.uint8)


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(stream, kind, **options)
    return stream.getvalue()


def reason(data: bytes, **options: Any) -> str:
    """The reason for which `data` is refused."""
    with pytest.raises(ImageError) as caught:
        decode(data, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value)
    assert caught.value.reason in REASONS
    return caught.value.reason


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    data = encode(scene(), kind, **LOSSLESS.get(kind, {}))
    np.testing.assert_array_equal(decode(data), scene())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_jpeg(options: dict[str, bool]) -> None:
    assert difference(decode(encode(scene(), "JPEG", quality=95, **options)), scene()) < JPEG_PIXELS


@given(width=st.integers(1, 40), height=st.integers(1, 40), kind=st.sampled_from(FORMATS))
@settings(max_examples=60)
def test_shape_and_probe_follow_the_file(width: int, height: int, kind: str) -> None:
    data = encode(scene(width, height), kind)
    photo = decode(data)
    assert photo.dtype == np.uint8
    assert photo.shape == (height, width, 3)
    assert probe(data) == (width, height)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("red", "lime", "blue")]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(decode(data), np.full((7, 9, 3), (255, 0, 0), np.uint8))


def test_a_phone_s_two_picture_jpeg_is_a_jpeg() -> None:
    two = encode(Image.fromarray(scene(400, 300)), "MPO", save_all=True, append_images=[Image.new("RGB", (400, 300))])
    photo = decode(two, target=50)
    assert photo.shape == (150, 200, 3)  # decoded at reduced scale like any JPEG
    assert difference(decode(two), scene(400, 300)) < JPEG_PIXELS
    assert probe(two) == (400, 300)


# Orientation ---------------------------------------------------------------------------------------------------------

# What a camera that is held so that the orientation tag is n stores of an upright picture.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


def orientation_tag(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_gives_the_same_upright_photo(orientation: int, kind: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](scene())))
    data = encode(stored, kind, exif=orientation_tag(orientation), **LOSSLESS.get(kind, {}))
    assert probe(data) == (60, 40)
    photo = decode(data)
    assert photo.shape == (40, 60, 3)
    assert difference(photo, scene()) <= (JPEG_PIXELS if kind == "JPEG" else 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_orientation_in_both_byte_orders_and_integer_types(order: str, kind: int) -> None:
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *((6, 0) if kind == 3 else (6,)))
    tiff = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HIHHHI", 42, 8, 1, 0x0112, kind, 1) + value
    stored = np.ascontiguousarray(STORED[6](scene()))
    assert decode(encode(stored, "JPEG", exif=b"Exif\0\0" + tiff)).shape == (40, 60, 3)


@given(garbage=st.binary(max_size=300), start=st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
@settings(max_examples=60)
def test_garbage_in_exif_never_spoils_a_good_photo(garbage: bytes, start: bytes) -> None:
    photo = decode(encode(scene(), "JPEG", exif=b"Exif\0\0" + start + garbage))
    assert sorted(photo.shape) == [3, 40, 60]


# Colour --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40)])
@pytest.mark.parametrize(("kind", "options"), [("TIFF", {}), ("JPEG", {"quality": 95})])
def test_cmyk_plain_and_adobe_inverted(kind: str, options: dict[str, int], colour: tuple[int, int, int]) -> None:
    data = encode(Image.new("RGB", (16, 16), colour).convert("CMYK"), kind, **options)
    assert (b"Adobe" in data) == (kind == "JPEG")
    assert np.abs(decode(data).astype(int) - colour).max() <= CMYK_PIXELS


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_lies_over_white(kind: str) -> None:
    rgba = np.zeros((3, 8, 4), np.uint8)  # black behind the alpha: dropping alpha would show it
    rgba[1], rgba[2] = (255, 0, 0, 255), (0, 0, 0, 128)
    photo = decode(encode(rgba, kind, **LOSSLESS.get(kind, {})))
    np.testing.assert_array_equal(photo[0], np.full((8, 3), 255))
    np.testing.assert_array_equal(photo[1], np.full((8, 3), (255, 0, 0)))
    np.testing.assert_allclose(photo[2], 127, atol=1)


def test_transparent_colours_without_an_alpha_channel() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 0, 0, 255])
    palette.putpixel((0, 0), 0)
    for image, options in (
        (palette, {"transparency": 0}),
        (palette, {"transparency": b"\0\xff"}),
        (palette.convert("RGB"), {"transparency": (0, 0, 0)}),
    ):
        photo = decode(encode(image, "PNG", **options))
        assert photo[0, 0].tolist() == [255, 255, 255]
        assert photo[3, 3].tolist() == [0, 0, 255]
    assert decode(encode(palette, "GIF", transparency=0))[0, 0].tolist() == [255, 255, 255]
    grey = decode(encode(Image.fromarray(np.array([[0, 65535, 257]], np.uint16)), "PNG", transparency=257))
    assert grey[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "LAB", "YCbCr"])
def test_other_modes_keep_a_grey_photo(mode: str) -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 2, np.uint8), (32, 1)))
    if mode == "LAB":
        lab = np.stack([np.asarray(ramp), *[np.full((32, 128), 0, np.uint8)] * 2], -1)
        image = Image.frombytes("LAB", (128, 32), lab.tobytes())
    else:
        image = ramp.convert("RGB").convert(mode) if mode in ("P", "YCbCr") else ramp.convert(mode)
    photo = decode(encode(image, "TIFF"))
    assert photo.shape == (32, 128, 3)
    assert difference(photo[..., 0], photo[..., 1]) < 2
    assert photo[:, :8].mean() < 10
    assert photo[:, -8:].mean() > 235


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)
    photo = decode(encode(Image.fromarray(ramp), kind))
    assert abs(photo.mean() - 127.5) < RAMP_PIXELS
    assert (photo[0, 0, 0], photo[-1, -1, 0]) == (0, 255)


def test_big_endian_sixteen_bits() -> None:
    ramp = np.linspace(0, 65535, 4096).astype(">u2").reshape(64, 64)
    data = encode(Image.frombytes("I;16B", (64, 64), ramp.tobytes()), "TIFF")
    assert data.startswith(b"MM")
    assert abs(decode(data).mean() - 127.5) < RAMP_PIXELS


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0, 1e6])
def test_float_and_wide_integers_state_no_range(white: float) -> None:
    ramp = (np.linspace(0, white, 4096, dtype=np.float32)).reshape(64, 64)
    images = [ramp] if white == 1 else [ramp, ramp.astype(np.int32)]
    for values in images:
        assert abs(decode(encode(values, "TIFF")).mean() - 127.5) < RAMP_PIXELS


def test_not_a_number_is_black() -> None:
    values = np.array([[np.nan, -3, 1, np.inf]], np.float32)
    assert decode(encode(values, "TIFF"))[0, :, 0].tolist() == [0, 0, 255, 0]


def test_colour_profiles_are_ignored() -> None:
    np.testing.assert_array_equal(decode(encode(scene(), icc_profile=b"no profile at all")), scene())


# Hostile files -------------------------------------------------------------------------------------------------------


def test_limits() -> None:
    data = encode(scene())
    assert decode(data, Limits(bytes=len(data), pixels=2400)).shape == (40, 60, 3)
    assert reason(data, limits=Limits(bytes=len(data) - 1)) == "too_many_bytes"
    assert reason(data, limits=Limits(pixels=2399)) == "too_many_pixels"
    with pytest.raises(ImageError, match="60 x 40 pixels, more than the limit of 2,399"):
        probe(data, Limits(pixels=2399))


def test_no_picture_at_all() -> None:
    assert reason(b"") == "empty"
    for data in (b"\0", b"hello", b"<svg/>", b"%PDF-1.7", bytes(1000), b"RIFF\0\0\0\0WAVEfmt "):
        assert reason(data) == "unsupported"


def lying_png(width: int, height: int) -> bytes:
    """A PNG whose header promises any size and whose data is that of 60 x 40 pixels."""
    data = bytearray(encode(scene()))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def lying(kind: str, width: int, height: int) -> bytes:
    """A file of 60 x 40 pixels whose header promises any size up to 65,535."""
    if kind == "PNG":
        return lying_png(width, height)
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    data = bytearray(encode(scene(), kind, **options))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif kind == "WEBP":
        data[21:25] = ((width - 1) % 2**14 | (height - 1) % 2**14 << 14).to_bytes(4, "little")
    else:
        for tag, value in ((256, width), (257, height)):
            at = data.index(struct.pack("<HHI", tag, 4, 1))
            data[at + 8 : at + 12] = struct.pack("<I", value)
    return bytes(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_headers_that_promise_too_much(kind: str) -> None:
    assert reason(lying(kind, 16000, 65000)) == "too_many_pixels"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of TIFF tags; in service they are no errors either
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(0, 40), (60, 0), (61, 400), (1, 1), (2000, 2000)])
def test_headers_that_lie(kind: str, size: tuple[int, int]) -> None:
    survives(lying(kind, *size))


def survives(data: bytes) -> None:
    """Pixels or ImageError, the same twice."""
    try:
        photo = decode(data)
    except ImageError:
        reason(data)
    else:
        assert photo.dtype == np.uint8
        assert photo.ndim == 3
        assert photo.shape[2] == 3
        assert photo.size
        np.testing.assert_array_equal(decode(data), photo)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_at_every_tenth(kind: str) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    data = encode(noisy, kind)
    for tenth in range(1, 10):
        assert reason(data[: len(data) * tenth // 10]) in {"truncated", "damaged", "unsupported"}, f"{tenth} tenths"


def test_a_truncated_upload_says_so() -> None:
    for kind in ("JPEG", "PNG", "BMP"):
        data = encode(scene(), kind)
        assert reason(data[: len(data) // 2]) == "truncated", kind


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(kind=st.sampled_from(FORMATS), flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=9))
@settings(max_examples=150)
def test_flipped_bits(kind: str, flips: list[tuple[int, int]]) -> None:
    data = bytearray(encode(scene(), kind))
    for place, mask in flips:
        data[place % len(data)] ^= mask
    survives(bytes(data))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(kind=st.sampled_from(FORMATS), garbage=st.binary(max_size=200), keep=st.integers(2, 60))
@settings(max_examples=100)
def test_garbage_behind_a_true_signature(kind: str, garbage: bytes, keep: int) -> None:
    survives(encode(scene(), kind)[:keep] + garbage)


def test_what_follows_the_picture_is_ignored() -> None:
    for kind in FORMATS:
        data = encode(scene(), kind)
        np.testing.assert_array_equal(decode(data + b"PK\x03\x04 a zip, a script, a film" * 50), decode(data))


def test_a_compression_bomb_is_refused_by_its_header() -> None:
    black = zlib.compress(bytes(2**24))
    header = struct.pack(">IIBBBBB", 2**16, 2**16, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", black), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    assert reason(data) == "too_many_pixels"


def test_a_progressive_jpeg_of_countless_scans_is_refused() -> None:
    data = encode(Image.new("L", (4000, 4000), 90), "JPEG", progressive=True)
    assert decode(data, target=100).shape == (500, 500, 3)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert reason(data[:-2] + 400 * scan + b"\xff\xd9") == "damaged"


def test_the_error_is_input_error_and_travels_between_processes() -> None:
    error = ImageError("damaged", "one line")
    assert isinstance(error, InputError)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.reason, str(copy)) == ("damaged", "one line")


def test_threads_agree() -> None:
    files = [encode(scene(), kind) for kind in FORMATS] * 20 + [b"", lying_png(65000, 65000)] * 5

    def outcome(data: bytes) -> bytes | str:
        try:
            return decode(data).tobytes()
        except ImageError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, files)) == [outcome(data) for data in files]


# Reduced scale -------------------------------------------------------------------------------------------------------


@given(width=st.integers(1, 900), height=st.integers(1, 900), target=st.integers(1, 64))
@settings(max_examples=40)
def test_reduced_scale_keeps_twice_the_target(width: int, height: int, target: int) -> None:
    data = encode(Image.new("RGB", (width, height)), "JPEG")
    h, w, _ = decode(data, target=target).shape
    scale = next(s for s in (8, 4, 2, 1) if s == 1 or min(width, height) >= s * 2 * target)
    assert (w, h) == (-(-width // scale), -(-height // scale))


def test_reduced_scale_turns_and_limits_like_full_scale() -> None:
    data = encode(np.ascontiguousarray(STORED[6](scene(600, 400))), "JPEG", exif=orientation_tag(6), quality=95)
    assert decode(data, target=50).shape == (100, 150, 3)
    assert probe(data) == (600, 400)
    assert reason(data, limits=Limits(pixels=239_999), target=50) == "too_many_pixels"


def test_reduced_scale_on_photographs(shared: Path) -> None:
    files = sorted((shared / "data" / "caltech101" / "BACKGROUND_Google").glob("*.jpg"))[:40]
    pairs = [(load(file.read_bytes(), 32), resize(decode(file.read_bytes()), 32)) for file in files]
    assert np.mean([difference(a, b) for a, b in pairs]) < DRAFT_PIXELS
    assert any((a != b).any() for a, b in pairs)  # some of them are large enough


# The corpus ----------------------------------------------------------------------------------------------------------

CORPUS = """
import collections, json, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
from prohibit_jax.images.decode import ImageError, decode, probe

seen = collections.Counter()
for file in sorted(Path(sys.argv[1]).rglob("*")):
    if file.is_file():
        data = file.read_bytes()
        try:
            photo = decode(data)
            assert probe(data) == (photo.shape[1], photo.shape[0]), file
            seen["ok"] += 1
        except ImageError as error:
            seen[error.reason] += 1
print(json.dumps(seen))
status = Path("/proc/self/status").read_text()  # not getrusage: that one starts with the parent's peak
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


def test_every_odd_file_becomes_pixels_or_an_error(shared: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", CORPUS, str(shared / "data" / "odd_images")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts, peak = done.stdout.splitlines()
    seen = json.loads(counts)
    assert sum(seen.values()) >= 1025
    assert seen["ok"] >= 650
    assert seen["truncated"] >= 5
    assert seen["too_many_pixels"] >= 3
    assert int(peak) < 600  # MB: 50 million pixels of four bytes, a copy, and Python with jax


def test_known_odd_files(shared: Path) -> None:
    odd = shared / "data" / "odd_images"
    assert decode((odd / "exif_gps_typeerror.jpg").read_bytes()).size
    assert reason((odd / "truncated_jpeg.jpg").read_bytes()) == "truncated"
    assert reason((odd / "decompression_bomb.gif").read_bytes()) == "too_many_pixels"
    cmyk = decode((odd / "pil_sample_cmyk.jpg").read_bytes())
    rgb = decode((odd / "pil_sample_rgb.jpg").read_bytes())
    assert cmyk.shape == rgb.shape
    assert np.corrcoef(cmyk.ravel(), rgb.ravel())[0, 1] > 0.9
