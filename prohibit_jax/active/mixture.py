"""Several strategies in one batch, each with its share; no photo twice, near-identical ones once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import filterfalse, islice

import numpy as np

from prohibit_jax.active.near import NOTHING, Distinct, Seen
from prohibit_jax.active.strategies import STRATEGIES
from prohibit_jax.active.view import Strategy, View
from prohibit_jax.types import InputError

RANDOM = "random"
"""The strategy whose photos estimates rest on: of all that may be asked about, each is as likely."""

SLOW = "k_center"
"""The strategy whose work grows with the photos that it is asked for."""


@dataclass(frozen=True)
class Narrowed:
    """The part of a view that the strategies look at, all but `random`."""

    view: View
    rows: np.ndarray  # int64, rising: of the whole view


def mixture(text: str) -> dict[str, float]:
    """Reads `uncertainty`, or shares as in `positives=0.6,uncertainty=0.3,random=0.1`, which add up to 1.

    Raises InputError in one line that names the strategy.
    """
    quotas: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = (piece.strip() for piece in part.partition("="))
        if name not in STRATEGIES:
            raise InputError(f"strategy {name!r}: no such strategy; use {', '.join(STRATEGIES)}")
        if name in quotas:
            raise InputError(f"strategy {name!r}: it is named twice")
        try:
            quotas[name] = float(share or 1)
        except ValueError:
            raise InputError(f"strategy {name!r}: its share {share!r} is not a number") from None
        if not 0 < quotas[name] <= 1:
            raise InputError(f"strategy {name!r}: its share {share} is not a part of 1, as in {name}=0.5")
    if not math.isclose(total := sum(quotas.values()), 1, abs_tol=1e-6):
        raise InputError(f"strategy {text!r}: the shares add up to {total:g}, not to 1")
    return quotas


def rounded(quotas: Mapping[str, float], budget: int) -> dict[str, int]:
    """Whole numbers in the quotas' proportion that add up to the budget, by largest remainder."""
    total = sum(quotas.values())
    exact = {name: budget * share / total for name, share in quotas.items()}
    counts = {name: math.floor(value) for name, value in exact.items()}
    nearest = sorted(exact, key=lambda name: counts[name] - exact[name])
    return counts | {name: counts[name] + 1 for name in nearest[: budget - sum(counts.values())]}


def picks(
    view: View,
    quotas: Mapping[str, float],
    budget: int,
    rng: np.random.Generator,
    phash: np.ndarray | None = None,
    seen: Seen = NOTHING,
    narrowed: Narrowed | None = None,
) -> list[tuple[int, str]]:
    """At most `budget` rows of the view, each with the strategy that chose it, in the order to ask.

    The share of `random` is drawn first, from all photos, whatever they are like, so that it is an even sample of them.
    The others take their best by turns, so that whoever stops early has had about the shares asked for; what two would
    choose goes to the one whose turn comes first. What a strategy cannot fill goes to the others by their shares, and
    to `random` only where none of them has any left. The others pass over a photo near-identical to one that is taken,
    by `random` too, or seen already.

    Args:
        view: what may be asked about.
        quotas: each strategy's share, as `mixture` reads them.
        budget: photos to choose.
        rng: decides what chance decides.
        phash: uint64 [n], perceptual hashes; None where near-identical photos are not looked for.
        seen: photos that are answered or asked about elsewhere.
        narrowed: what the strategies other than `random` look at; None for the whole view.

    Raises:
        InputError: a strategy needs scores, embeddings or versions, and the view has none.
    """
    budget = max(min(budget, view.size), 0)
    counts = rounded(quotas, budget)
    whole = Narrowed(view, np.arange(view.size))
    part = whole if narrowed is None else narrowed
    rankings = {
        name: _Ranking(
            STRATEGIES[name],
            whole if name == RANDOM else part,
            min(2 * counts[name], budget) if name == SLOW else budget,
            rng,
        )
        for name in quotas
    }
    shares = {name: share for name, share in quotas.items() if name != RANDOM}
    even = counts.get(RANDOM, 0)
    while True:
        honest = list(islice(rankings[RANDOM], even)) if RANDOM in quotas else []
        distinct = Distinct(view.embeddings, phash, seen)
        distinct.add(honest)
        best = _by_turns(rankings, shares, budget - even, distinct, set(honest))
        short = budget - even - len(best)
        if not short or RANDOM not in quotas or len(honest) < even:
            return _interleaved(best, [(row, RANDOM) for row in honest])
        even += short


class _Ranking:
    """A strategy's rows, best first, each once; it is asked for more as they are used up."""

    def __init__(self, strategy: Strategy, part: Narrowed, count: int, rng: np.random.Generator) -> None:
        self._strategy, self._part, self._count = strategy, part, max(count, 1)
        self._rng = deepcopy(rng)  # so that chance decides alike when it is asked for more
        self._rows = self._best(rng)

    def __iter__(self) -> Iterator[int]:
        place = 0
        while place < len(self._rows) or self._grown():
            yield self._rows[place]
            place += 1

    def _grown(self) -> bool:
        before = len(self._rows)
        if before < self._count:
            return False
        self._count *= 4
        self._rows = list(dict.fromkeys([*self._rows, *self._best(deepcopy(self._rng))]))
        return len(self._rows) > before

    def _best(self, rng: np.random.Generator) -> list[int]:
        rows: list[int] = self._part.rows[self._strategy(self._part.view, self._count, rng)].tolist()
        return rows


def _by_turns(
    rankings: Mapping[str, _Ranking], shares: Mapping[str, float], budget: int, distinct: Distinct, used: set[int]
) -> list[tuple[int, str]]:
    """Rows with their strategies, none of `used`; less than the budget where every strategy has run out."""
    rows = {name: filter(distinct.take, filterfalse(used.__contains__, rankings[name])) for name in shares}
    taken: list[tuple[int, str]] = []
    while rows and len(taken) < budget:
        counts = rounded({name: shares[name] for name in rows}, budget - len(taken))
        for name in _turns(counts):
            row = next(rows[name], None) if name in rows else None
            if row is None:
                rows.pop(name, None)
            else:
                used.add(row)
                taken.append((row, name))
    return taken


def _turns(counts: Mapping[str, int]) -> list[str]:
    """Each name as often as it counts, evenly apart."""
    turns = [((turn + 0.5) / count, name) for name, count in counts.items() for turn in range(count)]
    return [name for _, name in sorted(turns, key=lambda turn: turn[0])]


def _interleaved(best: list[tuple[int, str]], honest: list[tuple[int, str]]) -> list[tuple[int, str]]:
    parts = {"best": iter(best), RANDOM: iter(honest)}
    return [next(parts[name]) for name in _turns({"best": len(best), RANDOM: len(honest)})]
