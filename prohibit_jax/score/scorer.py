"""The one way from pixels to probabilities: the service, bulk scoring, evaluation and queries all enter here.

What is promised about bits (tests/score/test_scorer.py holds it to that): on one machine, with the same compiler,
precision and batch sizes, replacing a head or adding a class in a free slot changes no bit of any other column. The
number of slots and the padded batch size choose among compiled programs, which may add the same numbers in another
order: across those, columns agree to float32 rounding only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import jax
import numpy as np
from etils import epath

from prohibit_jax.bundle.card import Card
from prohibit_jax.bundle.lock import Bundle, Pin, check_bundle, read_bundle
from prohibit_jax.bundle.store import Head, Store, open_store
from prohibit_jax.score.engine import Compiler, Engine, Precision, engine_of, padded
from prohibit_jax.score.stack import Folded, Plan, arrange, fold_head, fold_trunk
from prohibit_jax.types import HeadRef, Images, InputError, Scores, Thresholds, Variables, sigmoid

BATCH_SIZES = (1, 5, 32)
T = TypeVar("T")


def load_scorer(
    name: str,
    store: Store | epath.PathLike = "store",
    batch_sizes: Sequence[int] = BATCH_SIZES,
    *,
    spare: int = 0,
    compiler: Compiler = "auto",
    precision: Precision = "float32",
    mesh: jax.sharding.Mesh | None = None,
) -> Scorer:
    """The scorer of the bundle `name`, ready: everything is compiled, and no later call compiles.

    Every file is verified against the hashes that the bundle's lock file pins. What was compiled is kept in the user's
    cache folder (`PROHIBIT_CACHE`) for the next start.

    Args:
        name: of `bundles/NAME.json`.
        store: folder or object-store address.
        batch_sizes: numbers of photos to compile for; others are padded to the next, or cut at the largest.
        spare: classes that `add` can take without compiling; the next as many are compiled in the background.
        compiler: `auto` is OpenVINO on a CPU where it is installed (extra `cpu`), else XLA.
        precision: `bfloat16` multiplies in bfloat16 and adds in float32.
        mesh: devices that share the work, with axes `heads` and `photos`, as `jax.make_mesh((4, 2), ("heads",
            "photos"))`; one device by default.

    Raises InputError in one line if anything is missing, damaged or foreign.
    """
    store = open_store(store)
    bundle = read_bundle(store, name)

    def read(pin: Pin) -> tuple[Card, Folded]:
        head = store.read_head(pin.ref, sha256=pin.sha256, card_sha256=pin.card_sha256)
        return head.card, fold_head(head)

    with ThreadPoolExecutor(2) as threads:
        cards, folded = zip(*threads.map(read, bundle.pins), strict=True)
    options = {"compiler": compiler, "precision": precision, "mesh": mesh, "keep": True}
    scorer = _scorer(bundle, cards, folded, read_trunks(store, cards), batch_sizes, spare, options)
    scorer.warm()
    return replace(scorer, _store=store)


def scorer_of(
    heads: Sequence[Head],
    trunks: Mapping[str, Variables],
    batch_sizes: Sequence[int] = BATCH_SIZES,
    *,
    spare: int = 0,
    compiler: Compiler = "auto",
    precision: Precision = "float32",
    mesh: jax.sharding.Mesh | None = None,
) -> Scorer:
    """The scorer of heads at hand, published or not; `trunks` are their trunks' variables by SHA-256.

    It compiles for a number of photos when it first meets it, or all at once by `warm`. The other arguments are those
    of `load_scorer`.
    """
    bundle = Bundle("", tuple(Pin.of(head) for head in heads))
    check_bundle(bundle, "scorer")
    options = {"compiler": compiler, "precision": precision, "mesh": mesh}
    cards, folded = tuple(head.card for head in heads), tuple(map(fold_head, heads))
    return _scorer(bundle, cards, folded, trunks, batch_sizes, spare, options)


def _scorer(
    bundle: Bundle,
    cards: tuple[Card, ...],
    folded: tuple[Folded, ...],
    trunks: Mapping[str, Variables],
    batch_sizes: Sequence[int],
    spare: int,
    options: Mapping[str, Any],
) -> Scorer:
    sizes = tuple(sorted(set(batch_sizes)))
    if not sizes or sizes[0] < 1:
        raise InputError(f"batch_sizes {tuple(batch_sizes)}: give at least one, each from 1")
    if not all(isinstance(size, int) for size in (*sizes, spare)):
        raise InputError(f"batch_sizes {sizes}, spare {spare}: give whole numbers")
    if spare < 0:
        raise InputError(f"spare {spare}: give the number of classes to keep room for, from 0")
    shared = {
        card.trunk.sha256: fold_trunk(card, trunks[card.trunk.sha256])
        for card in {card.trunk: card for card in cards}.values()
        if card.trunk
    }
    plan = arrange(cards, spare)
    engine = engine_of(plan, folded, shared, sizes, **options)
    return Scorer(bundle, cards, engine, spare, folded, shared, None)


@dataclass(frozen=True)
class Scorer:
    """A compiled bundle: photos in, probabilities out. Immutable, and safe to call from several threads."""

    bundle: Bundle
    """Name and pinned heads; after `replace` and `add`, of what it scores with now."""
    cards: tuple[Card, ...]
    engine: Engine = field(repr=False)
    spare: int
    _heads: tuple[Folded, ...] = field(repr=False)
    _trunks: Mapping[str, Folded] = field(repr=False)
    _store: Store | None = field(repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The order of the scores' columns."""
        return tuple(card.name for card in self.cards)

    @property
    def plan(self) -> Plan:
        """The groups of heads that run together."""
        return self.engine.plan

    @property
    def sizes(self) -> tuple[int, ...]:
        """Edge lengths of the square inputs that the heads want, ascending, pixels."""
        return self.plan.sizes

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The numbers of photos that are ever compiled, ascending."""
        return self.engine.batch_sizes

    @property
    def thresholds(self) -> dict[str, Thresholds]:
        """Each class's thresholds."""
        return {card.name: card.thresholds for card in self.cards}

    def __call__(self, images: Images | Mapping[int, Images]) -> Scores:
        """Calibrated probabilities, float32 [b, k], 0 to 1.

        Args:
            images: uint8 [b, size, size, 3]; where `sizes` has several, {size: the same photos at that size}.
        """
        scale = np.array([card.calibration.scale for card in self.cards], np.float32)
        offset = np.array([card.calibration.offset for card in self.cards], np.float32)
        return sigmoid(self.logits(images) * scale + offset).astype(np.float32)

    def logits(self, images: Images | Mapping[int, Images]) -> Scores:
        """What the networks put out before calibration, float32 [b, k]."""
        photos = self._checked(images)
        count = len(photos[self.sizes[0]])
        places = self.plan.places
        logits = np.empty((count, len(places)), np.float32)
        for start, stop, batch in batches(count, self.batch_sizes):
            part = {size: padded(array[start:stop], batch) for size, array in photos.items()}
            logits[start:stop] = self.engine(part)[: stop - start, places]
        return logits

    def warm(self) -> None:
        """Compiles for every batch size, so that no later call does."""
        self.engine.warm()

    def replace(self, head: Head | HeadRef | str) -> Scorer:
        """A scorer with this head in its class's place: `replace("weapon@4")`; `"weapon"` is its latest version.

        Every other column is identical to the last bit; calls in flight finish on the old one. Nothing is compiled
        anew unless the new head differs from the former in architecture, preprocessing or in whom it shares its trunk
        with; OpenVINO, for which weights are part of the program, compiles this head alone, in the background, and the
        new scorer's first call waits for it, as does `warm`.

        Raises InputError if its class is not in the bundle or it cannot be read.
        """
        head = self._read(head)
        if head.card.name not in self.classes:
            raise InputError(f"head {head.ref}: its class is not among {', '.join(self.classes)}; use add")
        column = self.classes.index(head.card.name)
        return self._with(
            _with(self.bundle.pins, column, Pin.of(head)),
            _with(self.cards, column, head.card),
            _with(self._heads, column, fold_head(head)),
        )

    def add(self, head: Head | HeadRef | str) -> Scorer:
        """A scorer with one more class, the last; nothing is compiled while the head's group has a free slot.

        Every other column is identical to the last bit then. When the slots have run out, the next `spare` ones are
        compiled in the background. Raises InputError if its class is in the bundle already or it cannot be read.
        """
        head = self._read(head)
        if head.card.name in self.classes:
            raise InputError(f"head {head.ref}: its class is in the bundle already; use replace")
        added = self._with((*self.bundle.pins, Pin.of(head)), (*self.cards, head.card), (*self._heads, fold_head(head)))
        if self.spare:
            another = replace(head.card, name=f"{head.card.name} and one more")
            grown = arrange((*added.cards, another), self.spare, added.plan)
            if grown.groups != added.plan.groups:
                added.engine.prepare(grown)
        return added

    def remove(self, name: str) -> Scorer:
        """A scorer without this class, whose slot is free then; every other column is identical to the last bit.

        Raises InputError if the class is not in the bundle, or the only one.
        """
        if name not in self.classes:
            raise InputError(f"class {name}: not among {', '.join(self.classes)}")
        if len(self.classes) == 1:
            raise InputError(f"class {name}: the only one; a scorer needs at least one head")
        column = self.classes.index(name)
        pins, cards, heads = (
            (*items[:column], *items[column + 1 :]) for items in (self.bundle.pins, self.cards, self._heads)
        )
        return self._with(pins, cards, heads)

    def _with(self, pins: tuple[Pin, ...], cards: tuple[Card, ...], heads: tuple[Folded, ...]) -> Scorer:
        trunks = {card.trunk.sha256: self._trunk(card) for card in cards if card.trunk}
        plan = arrange(cards, self.spare, self.plan)
        return replace(
            self,
            bundle=replace(self.bundle, pins=pins),
            cards=cards,
            engine=self.engine.update(plan, heads, trunks),
            _heads=heads,
            _trunks=trunks,
        )

    def _read(self, head: Head | HeadRef | str) -> Head:
        if isinstance(head, Head):
            return head
        if self._store is None:
            raise InputError(f"head {head}: this scorer was not loaded from a store; give the head itself")
        return self._store.read_head(head)

    def _trunk(self, card: Card) -> Folded:
        assert card.trunk is not None
        if card.trunk.sha256 in self._trunks:
            return self._trunks[card.trunk.sha256]
        if self._store is None:
            raise InputError(f"head {card.name}: its trunk {card.trunk.sha256} is not at hand; load from a store")
        return fold_trunk(card, self._store.read_trunk(card.trunk.sha256, card.trunk_network()))

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


def read_trunks(store: Store, cards: Sequence[Card]) -> dict[str, Variables]:
    """The trunks that the heads of these cards follow, by SHA-256, each read and verified once."""
    used = {card.trunk: card for card in cards}
    return {trunk.sha256: store.read_trunk(trunk.sha256, card.trunk_network()) for trunk, card in used.items() if trunk}


def _with(items: tuple[T, ...], place: int, item: T) -> tuple[T, ...]:
    return (*items[:place], item, *items[place + 1 :])
