"""Bytes that anybody may have uploaded, to upright RGB pixels or to one typed error.

The format is told by content, never by name. Byte and pixel limits are checked from the header, before anything is
allocated. Each file format's class is called directly instead of `Image.open`, which would try other formats' plugins,
warn through global state, and hand a phone's two-picture JPEG to another decoder. Nothing global is touched: decoding
in many threads is safe, and Pillow leaves the GIL while it decodes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from prohibit_jax.types import InputError, Photo

SCAN_WORK = 5_000_000_000
"""Pixels times scans of a progressive JPEG, about 2 s of work. A scan that paints nothing takes a hundred bytes: a few
megabytes of them could keep a decoder busy for many minutes. Honest files have about ten."""


class ImageError(InputError):
    """A file that gives no pixels: `reason` is a slug for counting, the text one line that says what is wrong.

    Reasons: empty, too_many_bytes, too_many_pixels, unsupported, truncated, damaged.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)  # both, so that the error survives pickling on its way from a worker
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Limits:
    """The largest file (bytes) and the largest photo (pixels, as its header states them) that are looked at.

    Decoding takes up to 20 bytes of memory a pixel; a JPEG at reduced scale takes far less.
    """

    bytes: int = 32 * 2**20
    pixels: int = 50_000_000


def decode(data: bytes, limits: Limits = Limits(), target: int | None = None) -> Photo:
    """Returns the first picture in `data` upright, alpha over white, as uint8 [h, w, 3]; raises ImageError.

    JPEG, PNG, WebP, GIF, BMP and TIFF. With `target`, the edge of the square that the photo is to become, a JPEG is
    decoded at 1/2, 1/4 or 1/8 of its size where both edges stay at least twice that long.
    """
    return np.asarray(upright(data, limits, target))


def upright(data: bytes, limits: Limits = Limits(), target: int | None = None) -> Image.Image:
    """`decode` that leaves the pixels with Pillow, mode RGB: each way between it and NumPy is a copy of them all."""
    image = _open(data, limits)
    with _reading(image.format):
        if target is not None:
            image.draft(None, (2 * target, 2 * target))
        orientation = _orientation(image)
        rgb = _rgb(image)
        return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def probe(data: bytes, limits: Limits = Limits()) -> tuple[int, int]:
    """Returns the upright photo's (width, height) in pixels from its header alone; raises ImageError."""
    image = _open(data, limits)
    width, height = image.size
    return (height, width) if _orientation(image) >= 5 else (width, height)


class _Jpeg(JpegImageFile):
    """A JPEG whose EXIF Pillow never parses: it looks for a resolution there, and garbage would only cause warnings."""

    def getexif(self) -> Image.Exif:
        return Image.Exif()


_FORMATS: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (b"\xff\xd8\xff", _Jpeg),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"RIFF", WebPImageFile),
    (b"GIF87a", GifImageFile),
    (b"GIF89a", GifImageFile),
    (b"BM", BmpImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    (b"II+\0", TiffImageFile),
    (b"MM\0+", TiffImageFile),
)

# EXIF orientation -> what makes the photo upright. TIFF is not among the users: Pillow turns those itself.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _open(data: bytes, limits: Limits) -> ImageFile:
    """Reads the header and applies the limits; no pixel is decoded."""
    if not data:
        raise ImageError("empty", "the file is empty")
    if len(data) > limits.bytes:
        raise ImageError("too_many_bytes", f"{len(data):,} bytes, more than the limit of {limits.bytes:,}")
    reader = next((reader for magic, reader in _FORMATS if data.startswith(magic)), None)
    if reader is None or (reader is WebPImageFile and data[8:12] != b"WEBP"):
        raise ImageError("unsupported", "not a JPEG, PNG, WebP, GIF, BMP or TIFF image")
    if reader is WebPImageFile:  # its decoder allocates the canvas as soon as it is made
        _check_size(_webp_size(data), limits)
    with _reading(reader.format):
        image = reader(io.BytesIO(data))
    _check_size(image.size, limits)
    if image.info.get("progressive") and data.count(b"\xff\xda") * image.width * image.height > SCAN_WORK:
        raise ImageError("damaged", "JPEG: more scans than any honest file has")
    return image


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.pixels:
        raise ImageError("too_many_pixels", f"{width} x {height} pixels, more than the limit of {limits.pixels:,}")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from the first chunk of a WebP file: extended, lossless or lossy (RFC 9649)."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


@contextmanager
def _reading(name: str | None) -> Iterator[None]:
    """Turns whatever a decoder raises on hostile bytes, of any type, into one ImageError."""
    try:
        yield
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("too_many_pixels", f"{name}: needs more memory than may be used") from error
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        truncated = isinstance(error, EOFError) or "truncated" in detail.lower()
        raise ImageError("truncated" if truncated else "damaged", f"{name}: {detail[:200]}") from error


def _orientation(image: ImageFile) -> int:
    """EXIF tag 0x0112 of the first directory, 1 (upright) where it is absent or the EXIF data is garbage.

    Read by hand: whatever else EXIF data holds must never spoil a good photo.
    """
    exif = image.info.get("exif", b"")
    exif = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == 0x0112:
                (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), exif, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _rgb(image: Image.Image) -> Image.Image:
    """Decodes, and converts any of Pillow's modes to RGB; transparent parts become white.

    A CMYK JPEG is taken to be inverted, as Adobe writes them and browsers read them; colour profiles are ignored.
    """
    image.load()
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode, image.info.get("transparency")))
    if image.has_transparency_data:
        over = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.new("RGB", over.size, (255, 255, 255))
        image.paste(over, mask=over)
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(grey: np.ndarray, mode: str, transparent: object) -> np.ndarray:
    """Grey of 16 or 32 bits or floats, [h, w], to uint8; Pillow's own `convert` clips at 255 instead of scaling.

    `I;16` spans 0 to 65535. The wider modes state no range: white is the first of 1, 255, 65535 that nothing exceeds.
    """
    values = np.nan_to_num(grey.astype(np.float32), posinf=0, neginf=0).clip(min=0)
    peak = float(values.max())
    white = 65535 if mode.startswith("I;16") else next((w for w in (1, 255, 65535) if peak <= w), peak)
    result = np.rint(values * (255 / white)).astype(np.uint8)
    return np.where(grey == transparent, np.uint8(255), result) if isinstance(transparent, int) else result
