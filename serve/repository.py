"""Which heads serve, and how that changes while they do.

A head is read and verified, compiled and tried, and then put in place between two batches. Whatever goes wrong before
that leaves what serves as it is.

A change by `load` and `unload` is this process's own; the bundle's lock file is what a new process begins with, and a
changed lock file overrules them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

import numpy as np

from prohibit_jax.bundle.lock import LOCK_LIMIT, Bundle, Pin, check_bundle, read_bundle
from prohibit_jax.bundle.store import Head, Store
from prohibit_jax.files import read_file
from prohibit_jax.score.scorer import Scorer, load_scorer
from prohibit_jax.types import HeadRef, InputError
from serve.edition import SHADOW, Edition, as_shadow
from serve.errors import Refusal
from serve.log import LOG, log
from serve.metrics import Metrics
from serve.settings import ServiceConfig

RESERVED = ("ensemble", "stats")
"""What no class that serves may be named: the protocol's routes have other uses for these."""

Action = Literal["load", "unload", "shadow", "reload"]


@dataclass(frozen=True)
class IndexEntry:
    """A head of the store."""

    name: str
    version: int
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class Repository:
    """The store's heads and the edition that serves. One change at a time, each in a thread of its own kind."""

    def __init__(
        self,
        store: Store,
        bundle: str,
        config: ServiceConfig,
        metrics: Metrics,
        changed: Callable[[Edition], None],
    ) -> None:
        """
        Args:
            store: that has the bundle.
            bundle: its name.
            config: what the scorer is compiled for.
            metrics: are told of changes.
            changed: is called with each new edition, on the event loop.
        """
        self._store = store
        self._bundle = bundle
        self._config = config
        self._metrics = metrics
        self._changed = changed
        self._edition: Edition | None = None
        self._changing = asyncio.Lock()
        self._change_in_hand: Future[Edition] | None = None
        self._seen = ""  # SHA-256 of the lock file that was last followed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="swap")

    @property
    def edition(self) -> Edition:
        """What serves. Raises Refusal 503 while nothing does."""
        if self._edition is None:
            raise Refusal(503, "starting: the heads are being loaded", {"Retry-After": "2"})
        return self._edition

    @property
    def busy(self) -> bool:
        """Whether a change is in hand."""
        return self._change_in_hand is not None and self._change_in_hand.running()

    async def open(self) -> Edition:
        """Loads the bundle, compiled for every batch size. Raises InputError in one line."""
        edition = await self._in_thread(self._open)
        self._put(edition)
        return edition

    async def load(self, name: str, version: int | None = None, *, shadow: bool = False) -> Edition:
        """Puts a head in its class's place, or beside it as a shadow; a class that the bundle has not is added.

        Args:
            name: the class.
            version: by default the latest of the store.
            shadow: scored and reported in metrics, decides nothing.

        Raises:
            Refusal: 404 where there is no such head; 409 where it is damaged or cannot serve. The old one serves on.
        """
        return await self._change("shadow" if shadow else "load", name, lambda: self._load(name, version, shadow))

    async def unload(self, name: str, *, shadow: bool = False) -> Edition:
        """Takes a class, with its shadow, or only its shadow, out of service. Raises Refusal 404 or 409."""
        return await self._change("unload", name, lambda: self._unload(name, shadow))

    async def reload(self) -> Edition:
        """Makes what serves what the bundle's lock file says now; shadows stay. Raises Refusal 409."""
        return await self._change("reload", "", self._reload)

    async def watch(self, seconds: float) -> None:
        """Looks at the lock file every so many seconds and reloads when its content is another, until cancelled.

        One that is refused is tried again each time, for its heads may still be on their way, and logged once.
        """
        refused = ""
        while True:
            await asyncio.sleep(seconds)
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._fingerprint)
            if found in ("", self._seen):
                continue
            try:
                await self._change("reload", "", self._reload, again=found == refused)
            except Refusal:
                refused = found
            except Exception:
                LOG.exception("error")  # whatever it was, the next change is another matter

    async def index(self) -> list[IndexEntry]:
        """Every head of the store, and whether it serves."""
        return await asyncio.to_thread(self._index)

    def stop(self) -> None:
        """Takes no more changes; `busy` says whether one is still in hand."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _change(self, action: Action, name: str, make: Callable[[], Scorer], again: bool = False) -> Edition:
        async with self._changing:  # until it is in place, for the next one builds on it
            return await self._carry_out(action, name, make, again)

    async def _carry_out(self, action: Action, name: str, make: Callable[[], Scorer], again: bool) -> Edition:
        began = monotonic()
        try:
            edition = await self._in_thread(self._made, make)
        except (InputError, Refusal) as error:
            known = name if self._edition and name in {*self._edition.cards, *self._edition.shadows} else ""
            if not again:
                self._metrics.swaps.labels(known, action, "refused").inc()
                log("refused", logging.WARNING, action=action, name=name, error=str(error))
            status = error.status if isinstance(error, Refusal) else 409
            raise Refusal(status, str(error).replace(str(self._store.root), "store")) from None
        if edition is self._edition:
            return edition
        self._put(edition)
        self._metrics.swaps.labels(name, action, "done").inc()
        self._metrics.swap_seconds.observe(monotonic() - began)
        log("swap", action=action, name=name, edition=edition.number, heads=_versions(edition))
        return edition

    async def _in_thread(self, function: Callable[..., Edition], *arguments: Any) -> Edition:
        self._change_in_hand = self._thread.submit(function, *arguments)
        return await asyncio.wrap_future(self._change_in_hand)

    def _put(self, edition: Edition) -> None:
        self._edition = edition
        self._changed(edition)

    def _made(self, make: Callable[[], Scorer]) -> Edition:
        """In the thread of changes: the edition that follows on the one that serves."""
        edition = self.edition
        scorer = make()
        if scorer is edition.scorer:
            return edition
        scorer.warm()
        _try(scorer)
        return edition.next(scorer)

    def _open(self) -> Edition:
        seen = self._fingerprint()
        _check_names(read_bundle(self._store, self._bundle).classes)
        config = self._config
        scorer = load_scorer(
            self._bundle,
            self._store,
            config.batch_sizes,
            spare=config.spare,
            compiler=config.compiler,
            precision=config.precision,
        )
        _try(scorer)
        self._seen = seen
        return Edition(1, scorer)

    def _load(self, name: str, version: int | None, shadow: bool) -> Scorer:
        with _absent():
            ref = self._store.resolve(HeadRef(name, version))
        _check_names((name,))
        scorer, head = self.edition.scorer, self._store.read_head(ref)
        if shadow:
            return _placed(scorer, as_shadow(head))
        check_bundle(Bundle(self._bundle, (Pin.of(head),)), f"head {ref}")
        candidate = self.edition.shadows.get(name)
        if candidate is not None and candidate.version == ref.version:
            scorer = scorer.remove(name + SHADOW)
        return _placed(scorer, head)

    def _unload(self, name: str, shadow: bool) -> Scorer:
        edition = self.edition
        if name not in (edition.shadows if shadow else edition.cards):
            raise Refusal(404, f"{'shadow of ' if shadow else ''}{name}: does not serve")
        if not shadow and len(edition.cards) == 1:
            raise Refusal(409, f"{name}: the only class that serves; load another before")
        scorer = edition.scorer
        for gone in (name + SHADOW,) if shadow else (name, name + SHADOW):
            if gone in scorer.classes:
                scorer = scorer.remove(gone)
        return scorer

    def _reload(self) -> Scorer:
        seen = self._fingerprint()
        edition = self.edition
        scorer, bundle = edition.scorer, read_bundle(self._store, self._bundle)
        _check_names(bundle.classes)
        heads = [
            self._store.read_head(pin.ref, sha256=pin.sha256, card_sha256=pin.card_sha256)
            for pin in bundle.pins
            if not any(_same(pin, other) for other in scorer.bundle.pins)
        ]
        for head in heads:
            scorer = _placed(scorer, head)
        for gone in set(edition.cards) - set(bundle.classes):
            scorer = scorer.remove(gone)
        self._seen = seen
        return scorer

    def _fingerprint(self) -> str:
        """The SHA-256 of the lock file as it lies there; "" while it cannot be read."""
        try:
            data = read_file(self._store.bundles / f"{self._bundle}.json", LOCK_LIMIT)
        except InputError:
            return ""
        return hashlib.sha256(data).hexdigest()

    def _index(self) -> list[IndexEntry]:
        edition = self._edition
        serving = {name: card.version for name, card in edition.cards.items()} if edition else {}
        shadows = {name: card.version for name, card in edition.shadows.items()} if edition else {}
        entries = []
        for name in sorted({*self._store.classes(), *serving, *shadows}):
            for version in sorted({*self._store.versions(name)} | {m[name] for m in (serving, shadows) if name in m}):
                ready = serving.get(name) == version
                reason = "shadow" if shadows.get(name) == version and not ready else ""
                entries.append(IndexEntry(name, version, "READY" if ready else "UNAVAILABLE", reason))
        return entries


def _check_names(classes: Sequence[str]) -> None:
    for name in classes:
        if name in RESERVED:
            raise InputError(f"class {name}: a class of this name cannot be served; train it under another")


def _same(pin: Pin, other: Pin) -> bool:
    """Whether `other` is what `pin` asks for, which may leave the card open."""
    return (pin.ref, pin.sha256) == (other.ref, other.sha256) and pin.card_sha256 in ("", other.card_sha256)


def _placed(scorer: Scorer, head: Head) -> Scorer:
    return scorer.replace(head) if head.card.name in scorer.classes else scorer.add(head)


def _try(scorer: Scorer) -> None:
    """Scores a photo of every size. Raises InputError where a head puts out anything but numbers."""
    grey = {size: np.full((1, size, size, 3), 128, np.uint8) for size in scorer.sizes}
    for name, score in zip(scorer.classes, scorer(grey)[0].tolist(), strict=True):
        if not np.isfinite(score):
            raise InputError(f"head {name}: puts out {score}; train it again")


@contextmanager
def _absent() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise Refusal(404, str(error)) from None


def _versions(edition: Edition) -> dict[str, int]:
    shadows = {f"{name} (shadow)": card.version for name, card in edition.shadows.items()}
    return {name: card.version for name, card in edition.cards.items()} | shadows
