"""Strategies for extreme imbalance: what counts is where the classes part in the order of the scores, not 0.5.

Where negatives are a thousand times more common, the photos nearest to 0.5 are nearly all negatives. Both papers put
all photos, answered or not, in the order of their scores, and look for the place where yes turns into no. They wait for
each answer; here a batch is chosen whole, and its answers are known to the next. What stands in for an answer is said
at each strategy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np

from prohibit_jax.active.view import View, highest


def galaxy(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Bisects the stretches between a yes and a no that follow one another in the order of the scores.

    GALAXY, Zhang, Katz-Samuels and Nowak, arXiv 2202.01402, for one binary head, whose graph is the line of photos
    sorted by score. The paper's first step, S2 of arXiv 1506.08760, asks about the middle of the shortest path between
    two photos that are labelled differently, and on its answer goes on in one half; here both halves stay open and are
    bisected by turns. Its second, once each yes and no touch, asks around these cuts, nearest first. A class without
    any answer is taken to lie beyond its end of the line, where the paper asks at random.
    """
    line = _line(view, "galaxy")
    cuts = line.cuts()
    places = _bisected(sorted(cuts, key=lambda cut: cut[1] - cut[0]), budget)
    if len(places) < budget:
        places = _distinct([*places, *line.open[highest(-_distances(line.open, cuts), budget)].tolist()], budget)
    return line.rows[np.array(places, np.int64)]


def direct(view: View, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Around the threshold that parts the answers best, and anywhere in the stretch where it may lie, by turns.

    DIRECT, Nuggehalli, Zhang, Jain and Nowak, arXiv 2312.09196, for one binary head: one-dimensional agnostic learning
    of a threshold. Its first half of a batch narrows the stretch that may hold the threshold, from the lowest yes above
    every no to the highest no below every yes, by photos drawn evenly from it. Its second half takes the threshold with
    the fewest errors, so that no single wrong answer moves it, and asks the nearest above and below it by turns. Here
    the answers of the first half count in the next batch. Of thresholds equally good, the one nearest to 0.5.
    """
    line = _line(view, "direct")
    within = line.doubt()
    within = rng.choice(within, min(max(budget, 0), len(within)), replace=False).tolist()
    around = line.around(line.threshold(), budget).tolist()
    turns = chain.from_iterable(zip(around, within, strict=False))
    return line.rows[np.array(_distinct([*turns, *around], budget), np.int64)]


@dataclass(frozen=True)
class _Line:
    """All photos in falling order of their scores; a place is a number on it."""

    rows: np.ndarray  # of the view; what lies beyond its size is answered
    signs: np.ndarray  # int8: 1 yes, -1 no, 0 open
    half: int  # the first place at or below 0.5

    @property
    def open(self) -> np.ndarray:
        """The places that may be asked about."""
        return np.flatnonzero(self.signs == 0)

    def cuts(self) -> list[tuple[int, int]]:
        """Each two answered places with nothing answered between, one yes and one no; the ends of the line stand in."""
        places = np.flatnonzero(self.signs)
        signs = self.signs[places]
        if 1 not in signs:
            places, signs = np.append(-1, places), np.append(1, signs)
        if -1 not in signs:
            places, signs = np.append(places, len(self.signs)), np.append(signs, -1)
        first = np.flatnonzero(signs[1:] != signs[:-1])
        return list(zip(places[first].tolist(), places[first + 1].tolist(), strict=True))

    def threshold(self) -> int:
        """The place from which on to say no, with the fewest errors among the answers."""
        above = np.append(0, np.cumsum(self.signs, dtype=np.int64))
        best = np.flatnonzero(above == above.max())  # errors: all yes less (yes less no) above
        return int(best[np.argmin(np.abs(best - self.half))])

    def doubt(self) -> np.ndarray:
        """The open places between the lowest yes above every no and the highest no below every yes."""
        yes, no = np.flatnonzero(self.signs == 1), np.flatnonzero(self.signs == -1)
        top = yes[: np.searchsorted(yes, no[0])] if len(no) else yes
        bottom = no[np.searchsorted(no, yes[-1]) :] if len(yes) else no
        places = self.open
        low = np.searchsorted(places, top[-1]) if len(top) else 0
        return places[low : np.searchsorted(places, bottom[0]) if len(bottom) else len(places)]

    def around(self, place: int, budget: int) -> np.ndarray:
        """The open places nearest to the gap before `place`, above and below by turns while both last."""
        places, budget = self.open, max(budget, 0)
        middle = np.searchsorted(places, place)
        above, below = places[:middle][::-1][:budget], places[middle:][:budget]
        turn = np.concatenate([2 * np.arange(len(above)), 2 * np.arange(len(below)) + 1])
        return np.concatenate([above, below])[np.argsort(turn)][:budget]


def _line(view: View, strategy: str) -> _Line:
    scores = view.needed_scores(strategy)
    known = np.full(len(view.labels), np.nan, np.float32) if view.label_scores is None else view.label_scores
    scored = ~np.isnan(known)
    every = np.concatenate([scores, known[scored]])
    signs = np.zeros(len(every), np.int8)
    signs[len(scores) :] = np.where(view.labels[scored] == 1, 1, -1)
    rows = np.argsort(-every, kind="stable")
    return _Line(rows, signs[rows], int((every > 0.5).sum()))


def _bisected(cuts: Iterable[tuple[int, int]], budget: int) -> list[int]:
    """The middles of the stretches between cuts' ends, then of their halves, and so on."""
    stretches, places = deque(cuts), list[int]()
    while stretches and len(places) < budget:
        above, below = stretches.popleft()
        middle = (above + below) // 2
        if above < middle:
            places.append(middle)
            stretches += [(above, middle), (middle, below)]
    return places


def _distances(places: np.ndarray, cuts: list[tuple[int, int]]) -> np.ndarray:
    """float64: how far each place is from the middle of the nearest cut."""
    middles = np.sort([(above + below) / 2 for above, below in cuts])
    after = np.searchsorted(middles, places)
    before = np.abs(places - middles[np.maximum(after - 1, 0)])
    return np.asarray(np.minimum(before, np.abs(places - middles[np.minimum(after, len(middles) - 1)])))


def _distinct(places: Iterable[int], budget: int) -> list[int]:
    return list(dict.fromkeys(places))[: max(budget, 0)]
