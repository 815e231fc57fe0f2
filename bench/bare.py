"""What the scorer does without a service around it, as one JSON object: photos a second from bytes, and from pixels.

python -m bench.bare --store store --photos FOLDER --seconds 10
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from bench.child import BUNDLE
from bench.load import read_photos
from prohibit_jax.images.resize import load
from prohibit_jax.score.pipeline import Pipeline
from prohibit_jax.score.scorer import BATCH_SIZES, load_scorer

ROUNDS = 3  # of which the fastest counts: what others do on this machine only ever slows it down


def main() -> None:
    """Parses, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of JPEG files")
    parser.add_argument("--most", type=int, default=64, help="of them are scored, in turn")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=list(BATCH_SIZES))
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each figure")
    arguments = parser.parse_args()
    scorer = load_scorer(BUNDLE, arguments.store, arguments.batch_sizes, precision=arguments.precision)
    photos = read_photos(arguments.photos, arguments.most)
    largest, seconds = scorer.batch_sizes[-1], arguments.seconds / ROUNDS

    decisions = Pipeline(scorer)(cycle(photos))
    list(islice(decisions, 4 * largest))  # from here on, decoding is as far ahead as it gets

    pixels = [{size: load(photo, size) for size in scorer.sizes} for photo in islice(cycle(photos), largest)]
    batch = {size: np.stack([photo[size] for photo in pixels]) for size in scorer.sizes}
    size = scorer.sizes[0]
    result = {
        "photos_per_second": best(lambda: len(list(islice(decisions, largest))), seconds),
        "scorer_photos_per_second": best(lambda: len(scorer(batch)), seconds),
        "decode_photos_per_second": best(lambda: len([load(photo, size) for photo in photos]), seconds),
        "batch_ms": {
            str(count): 1e3 * count / best(lambda part=part: len(scorer(part)), seconds)  # type: ignore[misc]
            for count, part in parts(batch, scorer.batch_sizes)
        },
    }
    print(json.dumps(result))


def parts(batch: dict[int, np.ndarray], counts: tuple[int, ...]) -> Iterator[tuple[int, dict[int, np.ndarray]]]:
    """The batch's first photos, as many as each compiled size holds."""
    for count in counts:
        yield count, {size: array[:count] for size, array in batch.items()}


def best(work: Callable[[], int], seconds: float) -> float:
    """The most photos a second of `ROUNDS` rounds; `work` returns how many it did."""
    work()
    return max(_rate(work, seconds) for _ in range(ROUNDS))


def _rate(work: Callable[[], int], seconds: float) -> float:
    begun, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds or not done:
        done += work()
    return done / passed


if __name__ == "__main__":
    main()
