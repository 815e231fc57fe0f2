"""Quality over the rounds on one honest sample: today's test side, less what any head of the curve was trained on.

All heads are judged by the same photos, so that the curve moves with the heads alone. The sample grows with the random
and the imported labels; where it has few photos of either kind there is no curve rather than a wrong one. A photo that
is on the test side today may have trained an earlier head: the shares of the sides changed, or a near-identical photo
took it there. Each head's card and round say what it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prohibit_jax.active.estimate import next_gain
from prohibit_jax.active.rounds import Round, Rounds
from prohibit_jax.bundle.store import Store
from prohibit_jax.config import Config
from prohibit_jax.evaluate.metrics import Interval, average_precision, bootstrap
from prohibit_jax.heads.quick import LEAST, Labelled, among, classifier_of, held_out_of
from prohibit_jax.score.table import ScoreTable
from prohibit_jax.types import HeadRef


@dataclass(frozen=True)
class Curve:
    """Quality over the rounds.

    Attributes:
        sample: photos of the class and others on the honest sample.
        quality: average precision by round, of those whose head can be judged: it held out a test side.
    """

    sample: tuple[int, int]
    quality: dict[int, Interval]


def curve(
    made: Sequence[Round], rounds: Rounds, labelled: Labelled, store: Store, pool: ScoreTable, config: Config
) -> Curve:
    """Judges the heads of `made`, rounds of `rounds`, by today's labels."""
    heads = {
        one.number: ref
        for one in made
        if one.held_out and one.embedding == pool.embedding and (ref := one.ref(store)) is not None
    }
    seen = {photo for number, ref in heads.items() for photo in _trained(rounds.unseen(number), ref, store)}
    trained = np.array([photo in seen for photo in labelled.sha256], bool)
    tested = (labelled.sides == "test") & ~np.isin(labelled.clusters, labelled.clusters[trained])
    labels, features = labelled.labels[tested], labelled.features[tested]
    sample = int(labels.sum()), int((1 - labels).sum())

    def judged(head: HeadRef) -> Interval:
        logits = classifier_of(head, store)(features)
        return bootstrap(average_precision, labels, logits, config.train.seed, config.evaluate.bootstrap)

    return Curve(sample, {number: judged(ref) for number, ref in heads.items()} if min(sample) >= LEAST else {})


def expected_gain(rounds: Sequence[Round], course: Mapping[int, Interval], more: int) -> Interval | None:
    """Of average precision, from so many labels more; None where fewer than three rounds are judged."""
    judged = [made for made in rounds if made.number in course]
    return next_gain([made.labels for made in judged], [course[made.number].value for made in judged], more)


def _trained(known: Iterable[str], head: HeadRef, store: Store) -> list[str]:
    """Those of a round's labelled photos that its head was trained on."""
    photos = list(known)
    kept = among(photos, held_out_of(store.read_card(head)) or frozenset())
    return [photo for photo, out in zip(photos, kept, strict=True) if not out]
