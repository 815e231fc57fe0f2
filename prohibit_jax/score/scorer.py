"""The one way from pixels to probabilities: the service, bulk scoring, evaluation and queries all enter here.

What is promised about bits (tests/score/test_scorer.py holds it to that): on one machine, with the same classes in the
same order and the same batch sizes, a class's column depends on its own head and on the photos alone, so that replacing
another head changes no bit of it. The number of heads and the padded batch size choose among compiled programs, which
may add the same numbers in another order: across those, columns agree to float32 rounding only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import jax
import numpy as np
from etils import epath

from prohibit_jax.bundle.card import Card
from prohibit_jax.bundle.lock import Bundle, Pin, check_bundle, read_bundle
from prohibit_jax.bundle.store import Head, Store, open_store
from prohibit_jax.score.stack import Folded, Plan, Weights, fold_head, fold_trunk, stack
from prohibit_jax.score.xla import Run, compile_plan
from prohibit_jax.types import HeadRef, Images, InputError, Scores, Thresholds, Variables

BATCH_SIZES = (1, 5, 32)
T = TypeVar("T")


def load_scorer(name: str, store: Store | epath.PathLike = "store", batch_sizes: Sequence[int] = BATCH_SIZES) -> Scorer:
    """The scorer of the bundle `name`; every file is verified against the hashes that its lock file pins.

    Args:
        name: of `bundles/NAME.json`.
        store: folder or object-store address.
        batch_sizes: numbers of photos to compile for; others are padded to the next, or cut at the largest.

    Raises InputError in one line if anything is missing, damaged or foreign.
    """
    store = open_store(store)
    bundle = read_bundle(store, name)
    heads = [store.read_head(pin.ref, sha256=pin.sha256, card_sha256=pin.card_sha256) for pin in bundle.pins]
    trunks = read_trunks(store, [head.card for head in heads])
    scorer = scorer_of(heads, trunks, batch_sizes)
    return replace(scorer, bundle=bundle, _store=store)


def scorer_of(
    heads: Sequence[Head], trunks: Mapping[str, Variables], batch_sizes: Sequence[int] = BATCH_SIZES
) -> Scorer:
    """The scorer of heads at hand, published or not; `trunks` are their trunks' variables by SHA-256."""
    bundle = Bundle("", tuple(Pin.of(head) for head in heads))
    check_bundle(bundle, "scorer")
    sizes = tuple(sorted(set(batch_sizes)))
    if not sizes or sizes[0] < 1:
        raise InputError(f"batch_sizes {tuple(batch_sizes)}: give at least one, each from 1")
    cards = tuple(head.card for head in heads)
    folded = tuple(fold_head(head) for head in heads)
    shared = {
        card.trunk.sha256: fold_trunk(card, trunks[card.trunk.sha256])
        for card in {card.trunk: card for card in cards}.values()
        if card.trunk
    }
    plan, weights = stack(cards, folded, shared)
    return Scorer(bundle, sizes, cards, plan, weights, compile_plan(plan), folded, shared, None)


@dataclass(frozen=True)
class Scorer:
    """A compiled bundle: photos in, probabilities out. Immutable, and safe to call from several threads."""

    bundle: Bundle
    """Name and pinned heads; after `replace`, of what it scores with now."""
    batch_sizes: tuple[int, ...]
    """The numbers of photos that are ever compiled, ascending."""
    cards: tuple[Card, ...]
    plan: Plan
    _weights: Weights = field(repr=False)
    _run: Run = field(repr=False)
    _heads: tuple[Folded, ...] = field(repr=False)
    _trunks: Mapping[str, Folded] = field(repr=False)
    _store: Store | None = field(repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The order of the scores' columns."""
        return tuple(card.name for card in self.cards)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Edge lengths of the square inputs that the heads want, ascending, pixels."""
        return self.plan.sizes

    @property
    def thresholds(self) -> dict[str, Thresholds]:
        """Each class's thresholds."""
        return {card.name: card.thresholds for card in self.cards}

    def __call__(self, images: Images | Mapping[int, Images]) -> Scores:
        """Calibrated probabilities, float32 [b, k], 0 to 1.

        Args:
            images: uint8 [b, size, size, 3]; where `sizes` has several, {size: the same photos at that size}.
        """
        return self._score(images)[1]

    def logits(self, images: Images | Mapping[int, Images]) -> Scores:
        """What the networks put out before calibration, float32 [b, k]."""
        return self._score(images)[0]

    def warm(self) -> None:
        """Compiles for every batch size, so that no later call does."""
        for batch in self.batch_sizes:
            self._score({size: np.zeros((batch, size, size, 3), np.uint8) for size in self.sizes})

    def replace(self, head: Head | HeadRef | str) -> Scorer:
        """A scorer with this head in its class's place: `replace("weapon@4")`; `"weapon"` is its latest version.

        Every other column is identical to the last bit. Nothing is compiled anew unless the new head differs from the
        former in architecture, preprocessing or in whom it shares its trunk with. Raises InputError if its class is
        not in the bundle or it cannot be read.
        """
        if not isinstance(head, Head):
            if self._store is None:
                raise InputError(f"head {head}: this scorer was not loaded from a store; give the head itself")
            head = self._store.read_head(head)
        if head.card.name not in self.classes:
            raise InputError(f"head {head.ref}: its class is not among {', '.join(self.classes)}; make a new bundle")
        column = self.classes.index(head.card.name)
        pins = _with(self.bundle.pins, column, Pin.of(head))
        cards = _with(self.cards, column, head.card)
        heads = _with(self._heads, column, fold_head(head))
        trunks = {card.trunk.sha256: self._trunk(card) for card in cards if card.trunk}
        plan, weights = stack(cards, heads, trunks)
        return replace(
            self,
            bundle=replace(self.bundle, pins=pins),
            cards=cards,
            plan=plan,
            _weights=weights,
            _run=self._run if plan == self.plan else compile_plan(plan),
            _heads=heads,
            _trunks=trunks,
        )

    def _trunk(self, card: Card) -> Folded:
        assert card.trunk is not None
        if card.trunk.sha256 in self._trunks:
            return self._trunks[card.trunk.sha256]
        if self._store is None:
            raise InputError(f"head {card.name}: its trunk {card.trunk.sha256} is not at hand; load from a store")
        return fold_trunk(card, self._store.read_trunk(card.trunk.sha256, card.trunk_network()))

    def _score(self, images: Images | Mapping[int, Images]) -> tuple[Scores, Scores]:
        photos = self._checked(images)
        count = len(photos[self.sizes[0]])
        logits = np.empty((count, len(self.classes)), np.float32)
        scores = np.empty_like(logits)
        for start, stop, batch in batches(count, self.batch_sizes):
            part = {size: _padded(array[start:stop], batch) for size, array in photos.items()}
            raw, calibrated = jax.device_get(self._run(self._weights, part))
            logits[start:stop], scores[start:stop] = raw[: stop - start], calibrated[: stop - start]
        return logits, scores

    def _checked(self, images: Images | Mapping[int, Images]) -> dict[int, Images]:
        if not isinstance(images, Mapping):
            if len(self.sizes) > 1:
                raise InputError(
                    f"images: these heads want several sizes, give {{size: images}} for each of {self.sizes}"
                )
            images = {self.sizes[0]: images}
        if set(images) != set(self.sizes):
            raise InputError(f"images: given for sizes {tuple(sorted(images))}, these heads want {self.sizes}")
        counts = {len(array) for array in images.values()}
        for size, array in images.items():
            if array.dtype != np.uint8 or array.shape[1:] != (size, size, 3) or len(counts) > 1:
                raise InputError(
                    f"images: {array.dtype} {array.shape}, must be uint8 [b, {size}, {size}, 3], one b for all sizes"
                )
        return dict(images)


def batches(count: int, sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Cuts `count` photos into (start, stop, padded size): the largest of `sizes` while they fill it, then the rest in
    the smallest that holds it.

    Args:
        sizes: ascending.
    """
    for start in range(0, count, sizes[-1]):
        stop = min(start + sizes[-1], count)
        yield start, stop, next(size for size in sizes if size >= stop - start)


def _padded(images: Images, batch: int) -> Images:
    """`images` and black photos up to `batch`."""
    if len(images) == batch:
        return images
    return np.concatenate([images, np.zeros((batch - len(images), *images.shape[1:]), np.uint8)])


def read_trunks(store: Store, cards: Sequence[Card]) -> dict[str, Variables]:
    """The trunks that the heads of these cards follow, by SHA-256, each read and verified once."""
    used = {card.trunk: card for card in cards}
    return {trunk.sha256: store.read_trunk(trunk.sha256, card.trunk_network()) for trunk, card in used.items() if trunk}


def _with(items: tuple[T, ...], place: int, item: T) -> tuple[T, ...]:
    return (*items[:place], item, *items[place + 1 :])
