"""From a JPEG's bytes to the square that a network sees: ours beside Pillow, simplejpeg and pyvips, on one core.

    python -m bench.decode --data folder:PATH/caltech101

Three sets of photos: those of the source as they are, and mosaics of them, 1200 x 900 and 4000 x 3000 pixels, since
research data holds no uploads from phones. A mosaic sets photos side by side at about their own resolution, so that
the file is about as large as a camera's.

Pixels are compared first, with ours. Then engines take turns on the same bytes in memory, and what counts is processor
time of all threads of the process: photos a second of one core, whatever else the machine does. simplejpeg and pyvips
take part where they are installed (`pip install simplejpeg pyvips pyvips-binary`).
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from prohibit_jax.data.sources import open_source
from prohibit_jax.images.decode import probe
from prohibit_jax.images.resize import load, resize

QUALITY = 85  # of the mosaics, as phones and marketplaces' apps write them
MOSAICS = {(1200, 900): 16, (4000, 3000): 4}  # width and height -> how many

Engine = Callable[[bytes, int], np.ndarray]


def main() -> None:
    """Parses, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--count", type=int, default=200, help="photos of the source")
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 160])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    photos = jpegs(arguments.data, arguments.count)
    sets = {"as they are": photos}
    for (width, height), count in MOSAICS.items():
        sets[f"{width} x {height}"] = [mosaic(photos, width, height, seed) for seed in range(count)]
    engines, absent = make_engines()
    rows = [
        {"photos": name, "kilobytes": statistics.mean(map(len, files)) / 1000, "size": size, "engine": engine, **found}
        for name, files in sets.items()
        for size in arguments.sizes
        for engine, found in measure(engines, files, size, arguments.rounds).items()
    ]
    setting = {
        "rounds": arguments.rounds, "pillow": PIL.__version__, "libjpeg_turbo": features.version("libjpeg_turbo"),
        "absent": absent,
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(setting | {"rows": rows}))
        return
    print(", ".join(f"{key} {value}" for key, value in setting.items()))
    print("| photos | kB | to | engine | photos a second | same pixels | mean, largest difference |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['photos']} | {row['kilobytes']:.0f} | {row['size']} | {row['engine']} | "
            f"{row['photos_per_second']:.0f} | {row['same_pixels']:.0%} | "
            f"{row['mean_difference']:.2f}, {row['largest_difference']} |"
        )


def jpegs(data: str, count: int) -> list[bytes]:
    """`count` JPEG files, evenly from the source."""
    source = open_source(data)
    found = len(source.items)
    chosen = (source.read(number * found // count) for number in range(min(count, found)))
    return [file for file in chosen if file.startswith(b"\xff\xd8\xff")]


def mosaic(photos: Sequence[bytes], width: int, height: int, seed: int) -> bytes:
    """A JPEG of that many pixels, photos side by side in rows of 200 pixels."""
    rng, image, row = np.random.default_rng(seed), Image.new("RGB", (width, height)), 200
    for y in range(0, height, row):
        x = 0
        while x < width:
            tile = Image.open(io.BytesIO(photos[int(rng.integers(len(photos)))])).convert("RGB")
            image.paste(tile.resize((max(1, tile.width * row // tile.height), row)), (x, y))
            x += max(1, tile.width * row // tile.height)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def make_engines() -> tuple[dict[str, Engine], list[str]]:
    """The engines by name, ours first, and the libraries that are not installed."""
    engines: dict[str, Engine] = {"prohibit_jax": load, "Pillow, whole photo": pillow}
    absent = []
    for name, make in {"simplejpeg": with_simplejpeg, "pyvips": with_pyvips}.items():
        try:
            engines |= make(import_module(name))
        except (ImportError, OSError):  # OSError where pyvips finds no libvips
            absent.append(name)
    return engines, absent


def pillow(data: bytes, size: int) -> np.ndarray:
    """What most code does: decode every pixel, then resize."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def with_simplejpeg(simplejpeg: Any) -> dict[str, Engine]:
    """Decoding at our scale, 1/1 to 1/8 by halves, or at its own choice among eighths; then our resize."""

    def same_scale(data: bytes, size: int) -> np.ndarray:
        width, height = probe(data)
        scale = next((s for s in (8, 4, 2) if min(width, height) >= s * 2 * size), 1)
        least = {"min_height": -(-height // scale), "min_width": -(-width // scale)}
        return resize(simplejpeg.decode_jpeg(data, **least), size)

    def own_scale(data: bytes, size: int) -> np.ndarray:
        return resize(simplejpeg.decode_jpeg(data, min_height=2 * size, min_width=2 * size), size)

    return {"simplejpeg, our scale": same_scale, "simplejpeg, its scale": own_scale}


def with_pyvips(pyvips: Any) -> dict[str, Engine]:
    """Its thumbnail, which decodes at reduced scale and has a resize of its own."""
    pyvips.cache_set_max(0)  # else it would remember the rounds before

    def thumbnail(data: bytes, size: int) -> np.ndarray:
        image = pyvips.Image.thumbnail_buffer(data, size, height=size, size="force")
        return np.asarray(image.colourspace("srgb").numpy())

    return {"pyvips thumbnail": thumbnail}


def measure(engines: Mapping[str, Engine], files: Sequence[bytes], size: int, rounds: int) -> dict[str, dict[str, Any]]:
    """By engine: share of photos with our pixels, mean and largest difference of 255 levels, photos a second."""
    ours = [load(data, size).astype(int) for data in files]
    found: dict[str, dict[str, Any]] = {}
    for name, engine in engines.items():
        apart = [np.abs(engine(data, size) - photo) for data, photo in zip(files, ours, strict=True)]
        found[name] = {
            "same_pixels": statistics.mean(not difference.any() for difference in apart),
            "mean_difference": statistics.mean(float(difference.mean()) for difference in apart),
            "largest_difference": max(int(difference.max()) for difference in apart),
        }
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            begun = time.process_time()
            for data in files:
                engine(data, size)
            seconds[name].append(time.process_time() - begun)
    for name, values in seconds.items():
        found[name]["photos_per_second"] = len(files) / statistics.median(values)
    return found


if __name__ == "__main__":
    main()
