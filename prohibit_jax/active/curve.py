"""Quality over the rounds on one honest sample: today's test side, which no head of the curve was trained on.

All heads are judged by the same photos, so that the curve moves with the heads alone. The sample grows with the random
and the imported labels; where it has few photos of either kind there is no curve rather than a wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prohibit_jax.active.estimate import next_gain
from prohibit_jax.active.rounds import Round
from prohibit_jax.bundle.store import Store
from prohibit_jax.config import Config
from prohibit_jax.evaluate.metrics import Interval, average_precision, bootstrap
from prohibit_jax.heads.quick import LEAST, Labelled, classifier_of
from prohibit_jax.score.table import ScoreTable
from prohibit_jax.types import HeadRef


def honest(labelled: Labelled) -> tuple[int, int]:
    """The photos of the class and the others on the test side."""
    tested = labelled.labels[labelled.sides == "test"]
    return int(tested.sum()), int((1 - tested).sum())


def curve(
    rounds: Sequence[Round], labelled: Labelled, store: Store, pool: ScoreTable, config: Config
) -> dict[int, Interval]:
    """Average precision by round, of those rounds whose head can be judged: it kept the test side out of training."""
    if min(honest(labelled)) < LEAST:
        return {}
    tested = labelled.sides == "test"
    labels, features = labelled.labels[tested], labelled.features[tested]

    def judged(head: HeadRef) -> Interval:
        logits = classifier_of(head, store)(features)
        return bootstrap(average_precision, labels, logits, config.train.seed, config.evaluate.bootstrap)

    return {
        made.number: judged(ref)
        for made in rounds
        if made.held_out and made.embedding == pool.embedding and (ref := made.ref(store))
    }


def expected_gain(rounds: Sequence[Round], course: Mapping[int, Interval], more: int) -> Interval | None:
    """Of average precision, from so many labels more; None where fewer than three rounds are judged."""
    judged = [made for made in rounds if made.number in course]
    return next_gain([made.labels for made in judged], [course[made.number].value for made in judged], more)
