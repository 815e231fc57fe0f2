"""What decoding JPEG at reduced scale does to scores: a real network on real photographs, large as phones make them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prohibit_jax.bundle.card import Card
from prohibit_jax.bundle.store import Head
from prohibit_jax.images.decode import decode
from prohibit_jax.images.resize import load, resize
from prohibit_jax.score.scorer import scorer_of
from prohibit_jax.types import Calibration, HeadRef, Thresholds
from prohibit_jax.weights.imported import import_file
from tests.tolerances import DRAFT_LOGIT, DRAFT_SCORE

REVOLVER = 763  # its row among ImageNet's 1,000 classes
SIZE = 160


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[bytes]:
    """Twelve photographs, half of them of revolvers, six times as large, saved as a phone would."""
    folder = shared / "data" / "caltech101"
    paths = sorted((folder / "revolver").glob("*.jpg"))[:6] + sorted((folder / "BACKGROUND_Google").glob("*.jpg"))[:6]
    return [enlarged(path) for path in paths]


def enlarged(path: Path) -> bytes:
    with Image.open(path) as photo:
        large = photo.convert("RGB").resize((photo.width * 6, photo.height * 6), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    large.save(file, "JPEG", quality=90)
    return file.getvalue()


def test_scores_hardly_move(shared: Path, photos: list[bytes]) -> None:
    weights = import_file("timm", shared / "weights" / "tf_efficientnet_lite0.in1k.safetensors")
    one = {
        name: array[..., REVOLVER : REVOLVER + 1] for name, array in weights.variables.items() if "classifier" in name
    }
    card = Card(
        name="weapon",
        arch=replace(weights.arch, outputs=1),
        preprocessing=replace(weights.preprocessing, size=SIZE),
        trunk=None,
        calibration=Calibration(1.0, -8.0),  # ImageNet's logits of a photo that is no revolver lie around 0
        thresholds=Thresholds(),
        metrics={},
        data={},
        seed=0,
        config={},
        versions={},
    )
    scorer = scorer_of([Head(HeadRef("weapon", 1), card, {**weights.variables, **one})], {}, batch_sizes=(12,))
    reduced = np.stack([load(photo, SIZE) for photo in photos])
    full = np.stack([resize(decode(photo), SIZE) for photo in photos])
    assert (reduced != full).any()  # the photos are large enough for a reduced scale
    logits = scorer.logits(full)
    assert np.abs(scorer.logits(reduced) - logits).max() < DRAFT_LOGIT * np.ptp(logits)
    scores = scorer(full)
    assert scores[:6].min() > scores[6:].max()
    assert np.abs(scorer(reduced) - scores).max() < DRAFT_SCORE
