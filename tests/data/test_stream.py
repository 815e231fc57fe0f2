from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prohibit_jax.data.stream import class_balanced
from prohibit_jax.types import InputError

some_labels = st.lists(st.sampled_from([-1, 0, 0, 1]), min_size=2, max_size=60).filter(lambda v: {0, 1} <= set(v))


@given(some_labels, st.integers(1, 30), st.integers(2, 16), st.floats(0.05, 0.95), st.integers(0, 9))
@settings(max_examples=60)
def test_every_batch_has_its_share_and_every_photo_its_turn(
    values: list[int], steps: int, batch: int, fraction: float, seed: int
) -> None:
    labels = np.array(values, np.int8)
    rows = class_balanced(labels, steps=steps, batch=batch, positive_fraction=fraction, seed=seed)
    assert rows.dtype == np.int64
    assert rows.shape == (steps * batch,)
    drawn = labels[rows].reshape(steps, batch)
    assert set(np.unique(drawn)) <= {0, 1}
    assert (np.abs(drawn.sum(1) - batch * fraction) <= 1).all()
    assert abs(drawn.sum() - steps * batch * fraction) <= 1
    for value in (0, 1):
        uses = np.bincount(rows, minlength=len(labels))[labels == value]
        assert uses.max() - uses.min() <= 1


def test_several_classes_take_turns() -> None:
    labels = np.repeat([-1, 0, 1, 2, 3], [5, 40, 3, 9, 1])
    drawn = labels[class_balanced(labels, steps=10, batch=12, positive_fraction=0.5, seed=0)].reshape(10, 12)
    assert [np.bincount(batch, minlength=4).tolist() for batch in drawn] == [[6, 2, 2, 2]] * 10


def test_a_seed_fixes_it_and_more_steps_only_lengthen_it() -> None:
    labels = (np.arange(50) < 7).astype(np.int8)

    def rows(steps: int, seed: int) -> list[int]:
        return list(class_balanced(labels, steps=steps, batch=8, positive_fraction=0.3, seed=seed))

    assert rows(20, 1) == rows(20, 1) != rows(20, 2)
    assert rows(40, 1)[:160] == rows(20, 1)


@pytest.mark.parametrize(("value", "name"), [(0, "positive"), (1, "negative")])
def test_a_class_without_photos_is_an_error(value: int, name: str) -> None:
    with pytest.raises(InputError, match=f"no {name} photo"):
        class_balanced(np.full(5, value, np.int8), steps=1, batch=4, positive_fraction=0.5, seed=0)
