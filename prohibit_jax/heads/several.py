"""A head that is one network of several classes, as a function: what it is compared with binary heads by."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import numpy as np

from prohibit_jax.bundle.store import Head
from prohibit_jax.evaluate.several import probabilities
from prohibit_jax.models.network import Network
from prohibit_jax.train.examples import at_batch
from prohibit_jax.train.state import predict_of
from prohibit_jax.types import Images, Variables


def class_scorer(head: Head, trunks: Mapping[str, Variables], batch: int = 32) -> Callable[[Images], np.ndarray]:
    """Photos to the softmax probabilities of `head.card.classes`, in that order.

    Args:
        head: of several classes.
        trunks: at least its own trunk's variables, by SHA-256, if it has one (`score.scorer.read_trunks`).
        batch: photos at once; fewer are padded, so that it compiles once.

    Returns:
        uint8 [b, size, size, 3], of `head.card.preprocessing.size`, to float64 [b, classes].
    """
    card = head.card
    trunk = trunks[card.trunk.sha256] if card.trunk else {}
    variables = jax.device_put({**trunk, **head.variables})
    predict = predict_of(Network(card.arch), card.preprocessing)
    run = at_batch(lambda images: predict(variables, images), batch)

    def score(images: Images) -> np.ndarray:
        parts = [run(images[begin : begin + batch]) for begin in range(0, len(images), batch)]
        return probabilities(np.concatenate(parts))

    return score
